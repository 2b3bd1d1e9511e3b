//! Closed batches to the service: sending, settling each record, sending again only what failed.
//!
//! ```text
//!  Intake ─► thread ─► worker (one for each stream)
//!  Words  ─►            │  plan: which records make the next request     held: what became of each
//!   ▲                   │    queues: fresh, backlog, lingering           turns: whose turn it is
//!   │  gate ◄── heed ───┤  passage: may records of this stream leave at all
//!   │                   │  flow: may anything go now                     backoff, concurrency, circuit, hold
//!   │                   │  room: bytes under way, over all streams
//!   │                   │  filling, blobs, kpl: records of a request that go as one
//!   │                   ├─ sink, body ─► firehose or kinesis ─► aws ─► the service
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
mod blobs;
#[cfg(test)]
mod blobs_tests;
mod body;
mod circuit;
mod code;
mod concurrency;
mod custody;
mod filling;
mod firehose;
mod flow;
#[cfg(test)]
mod gate_tests;
mod handle;
mod hear;
mod heed;
mod held;
mod hold;
mod inquest;
mod kinesis;
mod kinesis_body;
#[cfg(test)]
mod kinesis_tests;
mod kpl;
mod letters;
pub mod metrics;
mod outcome;
mod overflow;
mod partition;
mod passage;
mod plan;
mod plan_disk;
mod plan_look;
mod plan_settle;
mod queues;
#[cfg(test)]
mod real_spool_tests;
mod report;
mod request;
mod room;
mod settle;
mod sink;
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

use std::collections::BTreeMap;
use std::time::Duration;

pub use blobs::{Aggregate, End, When};
use handle::Statuses;
pub use handle::{Forward, StartError, Stopper, Watcher};
pub use metrics::METRICS;
pub use partition::{BadPointer, PartitionKey, Pointer};
pub use status::{Joined, StreamReason, StreamState, StreamStatus};

use crate::aws::Upstream;
use crate::record::{BATCH_RECORDS_MAX, StreamName};

/// How records are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where Firehose is, and as whom it is asked.
    pub upstream: Upstream,
    /// The URL of Kinesis; otherwise the Region's own.
    pub kinesis_endpoint: Option<String>,
    /// What is set for the streams that are known by name.
    pub streams: BTreeMap<StreamName, StreamConfig>,
    /// What is set for any other.
    pub others: StreamConfig,
    /// How long a connection to the service may take to be made.
    pub connect_timeout: Duration,
    /// How long one request may take in all.
    pub attempt_timeout: Duration,
    /// The most records in one request: 1 to 500.
    pub request_records_max: usize,
    /// The most raw bytes in one request; otherwise, and at most, what the service takes: 4 MiB for Firehose,
    /// 10 MiB with the partition keys for Kinesis. A single larger record goes alone.
    pub request_bytes_max: Option<usize>,
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

/// How the records of one stream are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamConfig {
    /// Where the partition keys come from, if the records go into a Kinesis data stream.
    pub partition_key: PartitionKey,
    /// The most records in one request of this stream, if fewer than [`Config::request_records_max`].
    pub request_records_max: Option<usize>,
    /// The most raw bytes in one request of this stream, if less than [`Config::request_bytes_max`].
    pub request_bytes_max: Option<usize>,
    /// Whether and how its records are joined. A request then has as many blobs as it else has records.
    pub aggregate: Aggregate,
}

impl Config {
    /// What is set for a stream.
    fn stream(&self, name: &StreamName) -> &StreamConfig {
        self.streams.get(name).unwrap_or(&self.others)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            upstream: Upstream::default(),
            kinesis_endpoint: None,
            streams: BTreeMap::new(),
            others: StreamConfig::default(),
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(30),
            request_records_max: BATCH_RECORDS_MAX,
            request_bytes_max: None,
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
