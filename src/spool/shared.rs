//! What all actors of the spool share: the disk and its room, the keys, the ways to the other stages.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::config::Config;
use super::fs::Storage;
use super::keyring::KeyRing;
use super::names;
use super::words::Speaker;
use crate::pipeline::{Budget, NotDurable, Post, Share};
use crate::record::StreamName;

/// See the module.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) ring: Arc<dyn KeyRing>,
    pub(super) speaker: Speaker,
    pub(super) post: Post,
    /// The bytes on disk of all streams together, each with its floor.
    pub(super) disk: Arc<Budget>,
    /// The bytes of dead letters.
    pub(super) letters: Arc<Share>,
    /// The memory for what is read ahead.
    pub(super) read_ahead: Arc<Budget>,
    /// Bytes of copies that are on their way to a writer.
    pub(super) spilling_bytes: Arc<AtomicUsize>,
    /// Segments that are open for writing.
    pub(super) files: AtomicUsize,
    /// Whether the process stops: what is in memory goes into the reserve now.
    pub(super) is_stopping: AtomicBool,
}

impl Shared {
    /// Where the segments of a stream are.
    pub(super) fn stream_dir(&self, stream: &StreamName) -> PathBuf {
        self.config.dir.join(STREAMS).join(names::encode(stream))
    }

    /// Where the damaged segments of a stream are.
    pub(super) fn quarantine_dir(&self, stream: &StreamName) -> PathBuf {
        self.config.dir.join(QUARANTINE).join(names::encode(stream))
    }

    /// Where the dead letters of a stream are.
    pub(super) fn letters_dir(&self, stream: &StreamName) -> PathBuf {
        self.config.dir.join(DEAD_LETTERS).join(names::encode(stream))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Whether so many segments are open that those with nothing to write are to be ended.
    pub(super) fn is_short_of_files(&self) -> bool {
        self.files.load(Ordering::Relaxed) >= self.config.files_max
    }

    /// Whether `bytes` more would leave the disk as much free space as it is to have.
    pub(super) fn has_free_space(&self, bytes: u64) -> Result<(), NotDurable> {
        let kept = if self.is_stopping() { 0 } else { self.config.free_bytes_min as u64 };
        match self.storage.free_bytes(&self.config.dir) {
            Ok(free) if free < kept.saturating_add(bytes) => Err(NotDurable::DiskFull),
            Ok(_) => Ok(()),
            Err(error) => Err(obstacle_of(error.kind())),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dir", &self.config.dir).finish_non_exhaustive()
    }
}

/// What an error of the disk means for who wants to write.
pub(super) const fn obstacle_of(kind: ErrorKind) -> NotDurable {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => NotDurable::DiskFull,
        _ => NotDurable::DiskFailed,
    }
}

/// The folder of the streams.
pub(super) const STREAMS: &str = "streams";

/// The folder of damaged segments.
pub(super) const QUARANTINE: &str = "quarantine";

/// The folder of dead letters.
pub(super) const DEAD_LETTERS: &str = "dead-letters";
