//! What the forwarder shows of each stream, for the status page and for tests.
//!
//! A plain snapshot. It changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::record::StreamName;

/// The state of one stream's delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    /// The delivery stream.
    pub stream: StreamName,
    /// How its delivery goes.
    pub state: StreamState,
    /// Since when it is in that state.
    pub since: Instant,
    /// Why, if it does not flow: the last failure.
    pub reason: Option<StreamReason>,
    /// Closed batches with records that are not settled.
    pub batches: usize,
    /// Records of those batches that wait to be sent, without those set aside.
    pub records_waiting: usize,
    /// Records that are in requests under way.
    pub records_in_flight: usize,
    /// Records that are set aside in memory: for good, or until the dead-letter store has them.
    pub records_set_aside: usize,
    /// Records of which a copy is on its way to the spool.
    pub records_spilling: usize,
    /// Requests under way.
    pub requests_in_flight: usize,
    /// How many may be.
    pub requests_in_flight_limit: usize,
    /// When the oldest record was accepted that still has to be delivered.
    pub oldest_accepted_at: Option<Instant>,
    /// When the service last took a record.
    pub last_success_at: Option<Instant>,
    /// How its records are joined.
    pub joined: Joined,
}

/// How the records of a stream are joined, and what came of it in this life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Joined {
    /// Whether they are, at present.
    pub is_joining: bool,
    /// Why, or why not.
    pub why: &'static str,
    /// Requests that delivered something.
    pub requests: u64,
    /// Records delivered.
    pub records: u64,
    /// Records of the service that they were.
    pub blobs: u64,
    /// What those are billed as, in bytes.
    pub bytes_billed: u64,
    /// How much more it would have been, had each record gone by itself.
    pub bytes_saved: u64,
}

impl StreamStatus {
    /// How old the oldest undelivered record is at `now`.
    #[must_use]
    pub fn oldest_age(&self, now: Instant) -> Option<Duration> {
        self.oldest_accepted_at.map(|at| now.saturating_duration_since(at))
    }
}

/// How the delivery of a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamState {
    /// Nothing is in the way.
    Flowing,
    /// The last requests failed; the next one waits a little.
    BackingOff,
    /// The service is away; it is asked again now and then.
    CircuitOpen,
    /// An operator has to put something right; the stream is asked again now and then.
    Held,
    /// Its records may not leave: where they go is not known, or the stream is not known to be encrypted.
    Gated,
}

impl StreamState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Flowing, Self::BackingOff, Self::CircuitOpen, Self::Held, Self::Gated];

    /// The state as it is shown to people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flowing => "flowing",
            Self::BackingOff => "backing_off",
            Self::CircuitOpen => "circuit_open",
            Self::Held => "held",
            Self::Gated => "gated",
        }
    }
}

/// Why a stream does not flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReason {
    /// The service's code, or one of our own for what never reached it.
    pub code: Arc<str>,
    /// The service's or the transport's words.
    pub message: Arc<str>,
}
