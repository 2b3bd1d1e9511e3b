//! HTTP in: the data listener, its two dialects, and their bounds.

mod body;
mod bucket;
mod connection;
mod constraint;
mod decode;
mod firehose_api;
mod firehose_json;
mod firehose_streams;
mod level;
mod limit;
mod lines;
mod listen;
mod metrics;
mod native;
mod oversize;
mod partition;
mod places;
mod refusal;
mod repeats;
mod response;
mod server;
mod service;
mod shared;
mod stream_control;
mod streams;
#[cfg(test)]
mod tests;
mod waiting;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::pipeline::Limits;
use crate::record::{Ack, StreamName};

pub use limit::{LimitStatus, RateStatus};
pub use metrics::METRICS;
pub use server::{Ends, Ingest, StartError};
pub use stream_control::{
    CallAnswer, CallFailed, EncryptionCall, EncryptionFacts, StreamControl, StreamFacts,
};
pub use streams::{Aside, Opener, SetAside, SpoolEnds, Stream, Streams};

/// The data listener and everything that bounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where TCP connections are taken.
    pub listen: SocketAddr,
    /// A Unix socket beside it.
    pub unix_socket: Option<PathBuf>,
    /// The file that holds the bearer token which every request needs. None is needed when `None`. The
    /// Firehose wire protocol has no place for one: its calls are refused then.
    pub token_file: Option<PathBuf>,
    /// How many threads serve connections: 1 to 64. More than one share the port with `SO_REUSEPORT`.
    pub workers: u16,
    /// The most open connections, over all workers. One more is told 503 and closed.
    pub connections_max: usize,
    /// The most requests that are read, served or waited for at once, over all workers.
    pub requests_max: usize,
    /// The most bytes of a request's line and headers, or of an HTTP/2 header list.
    pub head_bytes_max: usize,
    /// The most bytes of a body as it is sent.
    pub body_bytes_max: usize,
    /// The most bytes of a body after decompression.
    pub decoded_bytes_max: usize,
    /// How long the head of a request may take from its first byte.
    pub head_timeout: Duration,
    /// How long the body of a request may take from the end of its head.
    pub body_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How long an answer waits for `delivered` before it says what is true until then.
    pub delivered_wait: Duration,
    /// How long an answer waits until the spool has the records. After that it is refused.
    pub durable_wait: Duration,
    /// What `Retry-After` says when there is no room, in whole seconds.
    pub retry_after: Duration,
    /// Whether applications may start and stop the encryption of streams.
    pub allow_encryption_calls: bool,
    /// The Region that stream ARNs are shown with, where it is known.
    pub region: Option<String>,
    /// The window in which a repeated `amz-sdk-invocation-id` gets the first answer. Off when `None`.
    pub repeats: Option<RepeatsConfig>,
    /// The streams that are known by name.
    pub streams: Vec<StreamConfig>,
    /// What a stream is that is not known by name, and how many of those there may be.
    pub any_stream: Option<AnyStream>,
}

/// The window for repeated invocation ids. All three bounds hold; the oldest entry goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatsConfig {
    /// How long an answer is remembered.
    pub window: Duration,
    /// How many answers are remembered.
    pub entries_max: usize,
    /// How many bytes the remembered answers may take.
    pub bytes_max: usize,
}

impl Default for RepeatsConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), entries_max: 10_000, bytes_max: 4 * 1024 * 1024 }
    }
}

/// One stream as ingest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// The delivery stream's name.
    pub name: StreamName,
    /// The template's fields, for this stream.
    pub settings: StreamSettings,
}

/// What can be set for each stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// The level of an answer when the request names none.
    pub ack: Ack,
    /// The weakest level that a request gets, whatever it names.
    pub min_ack: Ack,
    /// How a native body is cut into records.
    pub framing: Framing,
    /// What records end with.
    pub delimiter: Delimiter,
    /// What becomes of a native record that is larger than the service takes.
    pub oversize: Oversize,
    /// Whether records take their partition key from the header `standpipe-partition-key` of their request.
    pub partition_key_header: bool,
    /// When a batch closes.
    pub limits: Limits,
    /// The memory that no other stream can take, in bytes.
    pub memory_floor_bytes: usize,
    /// How much is taken in a second.
    pub ingest_limits: IngestLimits,
}

/// How much of a stream is taken in a second. What is `None` or 0 is not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestLimits {
    /// The most records.
    pub records_per_second: Option<u64>,
    /// The most raw bytes, with delimiters.
    pub bytes_per_second: Option<u64>,
    /// How much may come at once, as a time at the rate. A request that is larger still is taken when nothing
    /// has come for as long, and the next ones wait until it is paid off.
    pub burst: Duration,
}

impl IngestLimits {
    /// No limit.
    pub const NONE: Self =
        Self { records_per_second: None, bytes_per_second: None, burst: Duration::from_secs(1) };
}

/// Streams that come into being when they are first written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyStream {
    /// How many there may be.
    pub streams_max: usize,
    /// What each of them is.
    pub settings: StreamSettings,
}

/// How a native body is cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By the content type: NDJSON and JSON lines by line, everything else is one record.
    Auto,
    /// A record per non-empty line, whatever the content type.
    Lines,
    /// The body is one record, whatever the content type.
    Body,
}

/// What records end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    /// Native records end with a newline, wire records are left byte for byte.
    Auto,
    /// All records end with a newline, which is added when it is missing.
    Newline,
    /// Nothing is added; a line's own newline is not part of its record.
    None,
}

/// What becomes of a native record that is larger than the service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oversize {
    /// Its request is refused.
    Refuse,
    /// It is set aside as a dead letter, and the answer says so. Needs a spool.
    DeadLetter,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4573)),
            unix_socket: None,
            token_file: None,
            workers: 1,
            connections_max: 10_000,
            requests_max: 1_024,
            head_bytes_max: 16 * 1024,
            body_bytes_max: 8 * 1024 * 1024,
            decoded_bytes_max: 16 * 1024 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            delivered_wait: Duration::from_secs(5),
            durable_wait: Duration::from_secs(10),
            retry_after: Duration::from_secs(1),
            allow_encryption_calls: false,
            region: None,
            repeats: None,
            streams: Vec::new(),
            any_stream: None,
        }
    }
}
