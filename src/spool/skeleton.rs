//! A SKELETON of the spool, so that the stages around it can be put together. The real one takes its place.
//!
//! It keeps nothing and opens no stream: everything that it is asked is answered with none.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::{Config, StreamSpool, Words};
use crate::pipeline::{Lane, NotDurable, Post};
use crate::record::StreamName;

/// SKELETON: who keeps the data keys.
pub trait KeyRing: Send + Sync + 'static {}

/// The running spool.
#[derive(Debug)]
pub struct Spool {
    spools: Spools,
}

/// The handles that are known, by stream. Cloning gives another handle to the same spool.
#[derive(Debug, Clone, Default)]
pub struct Spools {}

/// What is left in the spool at the end of a life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Records that are not delivered, as far as they are counted.
    pub records: u64,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Segments of an earlier life that were not looked into.
    pub segments_uncounted: u64,
}

/// What the spool holds of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    /// The stream.
    pub stream: StreamName,
    /// Records that are on disk and not delivered, as far as they are counted.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the oldest of them was accepted, in milliseconds since 1970, where it is known.
    pub oldest_unix_ms: Option<u64>,
    /// Segments of an earlier life that were not looked into yet.
    pub segments_uncounted: u64,
    /// Why no durable record is taken now.
    pub obstacle: Option<NotDurable>,
    /// Records that are damaged.
    pub records_quarantined: u64,
    /// Records that are set aside as dead letters.
    pub dead_letters: u64,
    /// Segments that wait for something, such as their key.
    pub waiting: Vec<WaitingSegment>,
}

/// A segment that can not be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingSegment {
    /// Its id.
    pub segment: u64,
    /// What it waits for.
    pub reason: String,
}

/// Why the spool does not start.
#[derive(Debug)]
pub enum StartError {
    /// The directory can not be used.
    Directory(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for StartError {}

impl Spool {
    /// SKELETON: starts nothing.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::needless_pass_by_value, reason = "the real one keeps them")]
    pub fn start(
        config: Config,
        ring: Arc<dyn KeyRing>,
        post: Post,
    ) -> Result<(Self, Words), StartError> {
        tracing::debug!(dir = %config.dir.display(), "a skeleton of a spool");
        drop((ring, post));
        let (_speaker, words) = super::words::words();
        Ok((Self { spools: Spools {} }, words))
    }

    /// Opens the spools of streams.
    #[must_use]
    pub fn spools(&self) -> Spools {
        self.spools.clone()
    }

    /// The streams that were found on disk.
    #[must_use]
    pub const fn leftovers(&self) -> Vec<StreamName> {
        Vec::new()
    }

    /// Whether the last life did not end cleanly.
    #[must_use]
    pub const fn was_unclean(&self) -> bool {
        false
    }

    /// Frees the reserve for what is in memory.
    pub const fn begin_stop(&self) {}

    /// Writes what is under way, ends the segments and the threads, and says what is left.
    #[must_use]
    pub fn stop(&self, _deadline: Instant) -> Left {
        Left::default()
    }

    /// What is held of each stream.
    #[must_use]
    pub const fn status(&self) -> Vec<StreamStatus> {
        Vec::new()
    }

    /// Brings the metrics up to date. For each scrape.
    pub const fn show_metrics(&self) {}
}

impl Spools {
    /// The spool of the lane's stream, which is opened here when it is not known yet.
    #[must_use]
    pub const fn open(&self, _lane: &Arc<Lane>) -> Option<StreamSpool> {
        None
    }
}
