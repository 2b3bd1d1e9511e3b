//! One measurement of one process: its CPU time around a load, and what the load saw.

use std::time::Duration;

use crate::common::fault::Fault;
use crate::common::ledger::Ledger;
use crate::common::load::{self, Aim, Load, Until};
use crate::common::process::{Cpu, Spent};

/// What a process did and used in one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Records that were accepted, or sent.
    pub(crate) records: u64,
    /// Requests that were accepted.
    pub(crate) requests: u64,
    /// How long the load took.
    pub(crate) elapsed: Duration,
    /// Requests that were refused for want of room.
    pub(crate) refused: u64,
    /// Seconds of CPU time per million records.
    pub(crate) cpu_s: f64,
    /// The same by the name of the thread.
    pub(crate) cpu_s_by_thread: Vec<(String, f64)>,
    /// Records a second.
    pub(crate) rate: f64,
    /// The answer time that half of the requests do not exceed, in microseconds.
    pub(crate) p50_us: f64,
    /// The same for 99 %.
    pub(crate) p99_us: f64,
    /// The same for 99.9 %.
    pub(crate) p999_us: f64,
    /// How late the generator was itself, in 99 % of the requests.
    pub(crate) lag_p99_us: f64,
    /// From the last answer until the sink had everything, in seconds.
    pub(crate) drain_s: f64,
}

impl Sample {
    /// Of records that were accepted or sent in this time.
    pub(crate) fn new(records: u64, elapsed: Duration, spent: &Spent) -> Self {
        let per_million = |ns: u64| ns as f64 / 1e3 / records.max(1) as f64;
        let by_thread = spent.by_thread.iter();
        Self {
            records,
            elapsed,
            cpu_s: per_million(spent.ns),
            cpu_s_by_thread: by_thread.map(|(name, ns)| (name.clone(), per_million(*ns))).collect(),
            rate: records as f64 / elapsed.as_secs_f64(),
            ..Self::default()
        }
    }
}

/// How a server is put under load.
#[derive(Debug, Clone)]
pub(crate) struct Drive {
    /// Where requests go.
    pub(crate) aim: Aim,
    /// How many come in a second, or as many as can be.
    pub(crate) pace: Option<u32>,
    /// For how long.
    pub(crate) time: Duration,
}

/// Puts a server under load and says what it did and used until all had arrived, where it sends on.
///
/// # Errors
/// When an answer is wrong, or the sink does not get exactly what was accepted.
pub(crate) async fn server(
    pid: u32,
    drive: &Drive,
    ledger: Option<&mut Ledger>,
) -> Result<Sample, Fault> {
    let before = Cpu::of(pid)?;
    let load = match drive.pace {
        Some(rate) => load::pace(&drive.aim, rate, drive.time).await?,
        None => load::saturate(&drive.aim, Until::Elapsed(drive.time)).await?,
    };
    let records = records(drive, &load);
    let drained = match ledger {
        Some(ledger) => ledger.settle(records).await?,
        None => Duration::ZERO,
    };
    let spent = Cpu::of(pid)?.since(&before);
    Ok(Sample {
        requests: load.accepted,
        refused: load.refused,
        p50_us: load.answers.permille_us(500),
        p99_us: load.answers.permille_us(990),
        p999_us: load.answers.permille_us(999),
        lag_p99_us: load.lags.permille_us(990),
        drain_s: drained.as_secs_f64(),
        ..Sample::new(records, load.elapsed, &spent)
    })
}

/// Sends so many requests over each connection, for what is slow only at first to be behind.
pub(crate) async fn warm_up(
    drive: &Drive,
    requests: u64,
    ledger: Option<&mut Ledger>,
) -> Result<(), Fault> {
    let load = load::saturate(&drive.aim, Until::Accepted(requests)).await?;
    if let Some(ledger) = ledger {
        ledger.settle(records(drive, &load)).await?;
    }
    Ok(())
}

fn records(drive: &Drive, load: &Load) -> u64 {
    let per_request = u64::try_from(drive.aim.requests.shape().records).unwrap_or(u64::MAX);
    load.accepted * per_request
}
