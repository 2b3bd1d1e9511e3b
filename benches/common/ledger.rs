//! What was accepted, and whether it arrived: a run in which a record is missing has no figures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::fault::{During as _, Fault};
use super::http;

/// How long what was accepted may take to arrive at the sink.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the sink is asked whether it has all.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);

/// What was accepted that has to arrive, and the sink where it has to.
#[derive(Debug)]
pub(crate) struct Ledger {
    sink: SocketAddr,
    /// All that was accepted or sent since the sink began.
    accepted: u64,
}

/// What has arrived at a sink since it began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrived {
    /// All records.
    pub(crate) records: u64,
    /// Those of them that had not been there before. Without a number, each counts as another one.
    pub(crate) distinct: u64,
}

impl Arrived {
    /// How many came more than once.
    pub(crate) const fn duplicates(self) -> u64 {
        self.records.saturating_sub(self.distinct)
    }
}

impl Ledger {
    /// Of a sink that has nothing yet.
    pub(crate) const fn new(sink: SocketAddr) -> Self {
        Self { sink, accepted: 0 }
    }

    /// Writes down that so many more were accepted.
    pub(crate) const fn accept(&mut self, records: u64) {
        self.accepted += records;
    }

    /// How many were accepted in all.
    pub(crate) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// What has arrived by now.
    pub(crate) async fn arrived(&self) -> Result<Arrived, Fault> {
        let (_, said) = http::get(self.sink, "/").await?;
        let (records, distinct) = said
            .trim()
            .split_once(' ')
            .ok_or_else(|| Fault::new("the sink says something else"))?;
        Ok(Arrived {
            records: records.parse().during("the sink")?,
            distinct: distinct.parse().during("the sink")?,
        })
    }

    /// Whether all has arrived that was accepted. More than that is a fault.
    pub(crate) fn is_settled(&self, arrived: Arrived) -> Result<bool, Fault> {
        if arrived.distinct > self.accepted {
            return Err(self.off(arrived));
        }
        Ok(arrived.distinct == self.accepted)
    }

    /// The fault that the books do not agree.
    pub(crate) fn off(&self, arrived: Arrived) -> Fault {
        let (accepted, distinct) = (self.accepted, arrived.distinct);
        Fault::new(format!("{accepted} records were accepted in all, and {distinct} arrived"))
    }

    /// Waits until the sink has these records too and not one more, and says how long that took.
    pub(crate) async fn settle(&mut self, records: u64) -> Result<Duration, Fault> {
        self.accept(records);
        let begin = Instant::now();
        loop {
            let arrived = self.arrived().await?;
            if self.is_settled(arrived)? {
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > DRAIN_TIMEOUT {
                return Err(self.off(arrived));
            }
            sleep(DRAIN_INTERVAL).await;
        }
    }
}
