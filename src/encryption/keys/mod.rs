//! The data keys of the spool.
//!
//! ```text
//!  spool ──current, used, unwrap──► ring ──► state ◄── thread `encryption` ──► kms, or file
//!          (never waits)                      │ current: the current key of each stream
//!                                             │ unwraps: keys of old segments, cached
//!                                             └ agenda: what is due when
//! ```
//!
//! A data key (AES-256) is made and wrapped by KMS, or under a local key file. Each stream has its own. Its
//! encryption context names the application and the stream, so that a wrapped key of one stream is none for
//! another. It is asked for ahead of its use and renewed after [`Config::soft_age`], or when
//! [`Config::key_bytes_max`] bytes were sealed under it; the spool takes the new one for its next segment. Past
//! [`Config::hard_age`] a key is not given out any more.
//!
//! What decides is pure and is given `now`. The lock around it is taken once a segment and once a group of
//! records that is synced to disk; never over a call. Nothing is asked of a key that the configuration does
//! not list, whatever a segment's header says. The data plane never imports this room but through
//! [`spool::KeyRing`](crate::spool::KeyRing).

mod agenda;
mod current;
mod file;
mod handle;
mod kms;
mod look;
pub mod metrics;
mod outcome;
mod providers;
mod ring;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod thread;
mod unwraps;
mod wrap;

use std::path::PathBuf;
use std::time::Duration;

pub use file::FileError;
pub use handle::{Keys, StartError, Watcher};
pub use look::{Look, look};
pub use metrics::METRICS;
pub use status::{KeyReason, KeyState, Status, StreamKeyStatus, WaitingKey};

use crate::aws::Upstream;
use crate::spool::Provider;

/// How data keys are had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who wraps new data keys.
    pub provider: Provider,
    /// The ARN of the KMS key that new data keys are wrapped under. Needed when KMS wraps them.
    pub key: Option<String>,
    /// ARNs of KMS keys that old segments may be opened with, and that wrap nothing new.
    pub decrypt_only: Vec<String>,
    /// The key file. Needed when it wraps new data keys; otherwise it only opens old segments.
    pub file: Option<PathBuf>,
    /// Where KMS is, and as whom it is asked.
    pub upstream: Upstream,
    /// What the encryption context calls the application. It is no secret: KMS logs it in the clear.
    pub application: String,
    /// The age at which a data key is renewed.
    pub soft_age: Duration,
    /// The age from which a data key is given out no more.
    pub hard_age: Duration,
    /// After how many sealed bytes a data key is renewed.
    pub key_bytes_max: u64,
    /// How long a connection to KMS may take to be made.
    pub connect_timeout: Duration,
    /// How long one call of KMS may take in all.
    pub attempt_timeout: Duration,
    /// The upper bound of the first wait after a failure that passes by itself; each further one doubles it.
    pub backoff_min: Duration,
    /// The upper bound of every such wait.
    pub backoff_max: Duration,
    /// The first wait after a failure that an operator has to put right; it doubles up to `hold_max`.
    pub hold_min: Duration,
    /// The longest such wait.
    pub hold_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            provider: Provider::Kms,
            key: None,
            decrypt_only: Vec::new(),
            file: None,
            upstream: Upstream::default(),
            application: "standpipe".to_owned(),
            // Long enough that a fleet's calls cost next to nothing (24 a stream and day), short enough that
            // a key which leaks opens an hour.
            soft_age: Duration::from_secs(60 * 60),
            hard_age: Duration::from_secs(24 * 60 * 60),
            key_bytes_max: 1024 * 1024 * 1024,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(20),
            hold_min: Duration::from_secs(5),
            hold_max: Duration::from_secs(120),
        }
    }
}

/// The most calls of KMS at once.
const CALLS_MAX: usize = 4;

/// The most data keys of old segments that are kept in the clear.
const UNWRAPPED_MAX: usize = 64;

/// How long such a key is kept after its last use.
const UNWRAPPED_KEEP: Duration = Duration::from_secs(5 * 60);

/// The part of the soft age by which it is shortened at random, so that a fleet does not ask in step.
const SOFT_AGE_JITTER: f64 = 0.1;
