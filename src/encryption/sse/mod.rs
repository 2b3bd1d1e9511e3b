//! The control of the streams: where their records go, and whether they are encrypted at the service.
//!
//! ```text
//!  Config: what is declared ─► book ─► machine (one for each stream): guard, owner, calls
//!                               │  ▲              │ Guidance          │ Action
//!           gates, watcher ◄────┘  │ Seen         ▼                   ▼
//!           (forward, admin)       └────────── the gate        thread ─► service: firehose, kinesis
//!                                                                 └────► file: what survives a restart
//! ```
//!
//! What decides is pure and is given the time: `guard` says whether a stream is known to be encrypted,
//! `owner` brings it to what it is meant to be, `machine` joins both with where the records go and when the
//! service is asked next. Each has its diagram. The thread asks a few questions a second at most, since all
//! sidecars of an account share five, and makes no change that was neither declared nor ordered. `direct` is
//! the same for the command line, without a thread.

mod book;
mod calls;
mod declared;
mod direct;
mod file;
mod firehose;
mod guard;
mod handle;
mod joins;
mod kept;
mod kinesis;
mod lines;
mod machine;
mod metrics;
mod observed;
mod owner;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod thread;
mod trouble;
mod waits;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use declared::{BadKey, Declared, Destination, Key, Policy, Target};
pub use direct::{Described, Direct};
pub use handle::{Change, ChangeRefused, Changed, Control, StartError, Watcher};
pub use metrics::METRICS;
pub use status::{Records, State, StreamStatus};

use crate::aws::Upstream;
use crate::record::StreamName;

/// How the streams are minded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where Firehose is, and as whom it is asked.
    pub upstream: Upstream,
    /// The URL of Kinesis; otherwise the Region's own.
    pub kinesis_endpoint: Option<String>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one call may take in all.
    pub attempt_timeout: Duration,
    /// What is declared of the streams that are known by name.
    pub streams: BTreeMap<StreamName, Declared>,
    /// What is declared of any other.
    pub others: Declared,
    /// How often the service is asked about a stream with which all is well. Half of it to one and a half, at
    /// random.
    pub watch_interval: Duration,
    /// How long the service may take after `ENABLED` until every record is encrypted.
    pub settle: Duration,
    /// How long one answer that confirms the encryption holds. After a longer silence one record goes first.
    pub proof_holds: Duration,
    /// The first wait before the service is asked again about something that is not well; it doubles.
    pub poll_min: Duration,
    /// The longest such wait.
    pub poll_max: Duration,
    /// Start and Stop calls of one stream in 24 hours that are made without a person asking.
    pub calls_max: u32,
    /// The directory in which is kept what has to survive a restart: the calls and the sources.
    pub dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            upstream: Upstream::default(),
            kinesis_endpoint: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(10),
            streams: BTreeMap::new(),
            others: Declared::default(),
            // A thousand sidecars ask less than once in three seconds, of five calls a second that there are.
            watch_interval: Duration::from_secs(60 * 60),
            settle: Duration::from_secs(5),
            proof_holds: Duration::from_secs(30),
            poll_min: Duration::from_secs(2),
            poll_max: Duration::from_secs(5 * 60),
            // The service allows 25; the rest is for people.
            calls_max: 20,
            dir: None,
        }
    }
}
