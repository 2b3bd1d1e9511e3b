//! The load: requests over keep-alive connections, with every answer looked at and every time kept.

mod closed;
mod paced;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use closed::{Until, saturate};
pub(crate) use paced::pace;

use crate::common::fault::Fault;
use crate::common::records::{Request, Requests};
use crate::common::stats::Times;

/// How long an answer may take before the run is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection waits after a 503 before it sends again.
const REFUSED_WAIT: Duration = Duration::from_millis(5);

/// Where requests go, over how many connections.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    /// The server.
    pub(crate) addr: SocketAddr,
    /// How many connections there are.
    pub(crate) connections: u16,
    /// What is sent.
    pub(crate) requests: Arc<Requests>,
    /// The next record's number, where each has one of its own.
    pub(crate) numbers: Option<Arc<AtomicU64>>,
}

impl Aim {
    /// The request as it is sent: in `buffer` when its records are numbered.
    fn ready<'a>(&self, request: &'a Request, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(numbers) = &self.numbers else { return request.as_bytes() };
        let shape = self.requests.shape();
        let records = u64::try_from(shape.records).unwrap_or(u64::MAX);
        request.numbered(shape, numbers.fetch_add(records, Ordering::Relaxed), buffer);
        buffer
    }
}

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    /// Requests that were accepted.
    pub(crate) accepted: u64,
    /// Requests that were answered 503.
    pub(crate) refused: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// The answer times of what was accepted.
    pub(crate) answers: Times,
    /// How late requests were sent although their connection was free: the generator's own fault.
    pub(crate) lags: Times,
}

/// What one connection saw.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    refused: u64,
    answers_ns: Vec<u64>,
    lags_ns: Vec<u64>,
}

impl Tally {
    /// Counts an answer, and says whether it was an acceptance.
    fn count(&mut self, status: u16) -> Result<bool, Fault> {
        match status {
            200 | 202 => self.accepted += 1,
            503 => self.refused += 1,
            status => return Err(Fault::new(format!("a request was answered {status}"))),
        }
        Ok(status != 503)
    }
}

fn sum(tallies: Vec<Tally>, elapsed: Duration) -> Load {
    let mut all = Tally::default();
    for mut tally in tallies {
        all.accepted += tally.accepted;
        all.refused += tally.refused;
        all.answers_ns.append(&mut tally.answers_ns);
        all.lags_ns.append(&mut tally.lags_ns);
    }
    Load {
        accepted: all.accepted,
        refused: all.refused,
        elapsed,
        answers: Times::new(all.answers_ns),
        lags: Times::new(all.lags_ns),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
