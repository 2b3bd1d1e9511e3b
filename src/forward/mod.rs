//! Closed batches to the service: sending, settling each record, sending again only what failed.
//!
//! ```text
//!  Intake ─► thread ─► worker (one for each stream)
//!  Words  ─►            │  plan: which records make the next request     held: what became of each
//!   ▲                   │    queues: fresh, backlog, lingering           turns: whose turn it is
//!   │                   │  flow: may anything go now                     backoff, concurrency, circuit, hold
//!   │                   │  room: bytes under way, over all streams
//!   │                   ├─ body ─► firehose ─► aws ─► the service
//!   │                   ├─ settle ◄─ answer;  outcome: what a failure means;  inquest: whose fault it is
//!  spool ◄── spooling ──┘  overflow: what has to leave memory           custody: what the disk has of it
//!  Post ◄── tickets of what the service or the spool has
//! ```
//!
//! Everything runs on one thread with a runtime of its own. What decides is pure and is given `now`. A
//! record leaves memory when the service has given it an id, or the spool has it, as a record or as a dead
//! letter, and otherwise only with the process. Without a spool none of the spool's parts does anything.

mod answer;
mod backoff;
mod body;
mod circuit;
mod code;
mod concurrency;
mod custody;
mod firehose;
mod flow;
mod handle;
mod hear;
mod held;
mod hold;
mod inquest;
mod letters;
pub mod metrics;
mod outcome;
mod overflow;
mod plan;
mod plan_disk;
mod plan_settle;
mod queues;
#[cfg(test)]
mod real_spool_tests;
mod report;
mod request;
mod room;
mod settle;
#[cfg(test)]
mod spool_model_tests;
#[cfg(test)]
mod spool_tests;
mod spooling;
mod status;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;
mod thread;
mod turns;
mod worker;

use std::time::Duration;

use handle::Statuses;
pub use handle::{Forward, StartError, Stopper, Watcher};
pub use metrics::METRICS;
pub use status::{StreamReason, StreamState, StreamStatus};

use crate::aws::Upstream;
use crate::record::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// How records are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to, and as whom.
    pub upstream: Upstream,
    /// How long a connection to the service may take to be made.
    pub connect_timeout: Duration,
    /// How long one request may take in all.
    pub attempt_timeout: Duration,
    /// The most records in one request: 1 to 500.
    pub request_records_max: usize,
    /// The most raw bytes in one request: up to 4 MiB. A single larger record goes alone.
    pub request_bytes_max: usize,
    /// The most requests of one stream that are under way at once. The true number adapts below it.
    pub requests_in_flight_max: usize,
    /// The most raw bytes that are under way at once, over all streams. A single request may always go.
    pub bytes_in_flight_max: usize,
    /// The upper bound of the first wait before something is sent again; each further one doubles it.
    pub backoff_min: Duration,
    /// The upper bound of every such wait.
    pub backoff_max: Duration,
    /// After how many failed requests in a row a stream's circuit opens.
    pub circuit_failures: u32,
    /// How often a stream that is held is asked again at first; the wait doubles up to `hold_max`.
    pub hold_min: Duration,
    /// How often a stream that is held is asked again at last.
    pub hold_max: Duration,
    /// How long a stream is held, or its circuit open, before what is in memory alone goes to the spool.
    pub spool_blocked_after: Duration,
    /// How long somebody waits for the delivery of a batch in memory before it is copied to the spool, so
    /// that they can be told that it is durable. Less than they wait at most.
    pub spool_awaited_after: Duration,
    /// Whether a stop delivers the backlog too, until its deadline: the disk goes with the process.
    pub stop_delivers_backlog: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            upstream: Upstream::default(),
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(30),
            request_records_max: BATCH_RECORDS_MAX,
            request_bytes_max: BATCH_BYTES_MAX,
            requests_in_flight_max: 8,
            bytes_in_flight_max: 16 * 1024 * 1024,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(20),
            circuit_failures: 5,
            hold_min: Duration::from_secs(5),
            hold_max: Duration::from_secs(120),
            spool_blocked_after: Duration::from_secs(1),
            spool_awaited_after: Duration::from_secs(4),
            stop_delivers_backlog: false,
        }
    }
}
