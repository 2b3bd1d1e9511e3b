//! What can be configured of the spool. Plain data.

use std::path::PathBuf;
use std::time::Duration;

/// Where the spool is, and everything that bounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory of the spool. One process at a time has it.
    pub dir: PathBuf,
    /// What becomes of the directory when the pod is deleted.
    pub volume: Volume,
    /// The most bytes on disk, over all streams.
    pub bytes_max: usize,
    /// The most bytes on disk of one stream.
    pub stream_bytes_max: usize,
    /// The bytes of each stream that no other one can take.
    pub stream_floor_bytes: usize,
    /// The bytes of the disk that are left free.
    pub free_bytes_min: usize,
    /// The bytes that are kept for what is in memory when the process stops.
    pub reserve_bytes: usize,
    /// A segment of this size is ended.
    pub segment_bytes_max: usize,
    /// A segment of this age is ended.
    pub segment_age_max: Duration,
    /// The most segments that are open for writing.
    pub files_max: usize,
    /// How many threads there are.
    pub threads: usize,
    /// The most bytes that are read ahead of the forwarder, over all streams.
    pub read_ahead_bytes_max: usize,
    /// The most bytes that one disk sync covers, and the most copies on their way to the disk.
    pub group_bytes_max: usize,
    /// The most bytes of dead letters, over all streams.
    pub dead_letter_bytes_max: usize,
    /// Whether the directory may be in memory, where a restart of the machine empties it.
    pub allow_tmpfs: bool,
}

impl Config {
    /// The memory that the spool takes for records, in bytes: what is read ahead, and what is on its way to
    /// the disk.
    #[must_use]
    pub const fn memory_bytes_max(&self) -> usize {
        self.read_ahead_bytes_max.saturating_add(self.group_bytes_max)
    }
}

/// What becomes of the spool's directory when the pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// It stays: the next start delivers what is there.
    Persistent,
    /// It goes: a stop delivers for the whole grace time.
    Ephemeral,
}

const MIB: usize = 1024 * 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            volume: Volume::Persistent,
            bytes_max: 4 * 1024 * MIB,
            stream_bytes_max: 4 * 1024 * MIB,
            stream_floor_bytes: 16 * MIB,
            free_bytes_min: 256 * MIB,
            reserve_bytes: 64 * MIB,
            segment_bytes_max: 64 * MIB,
            segment_age_max: Duration::from_secs(600),
            files_max: 2_048,
            threads: 4,
            read_ahead_bytes_max: 8 * MIB,
            group_bytes_max: 8 * MIB,
            dead_letter_bytes_max: 256 * MIB,
            allow_tmpfs: false,
        }
    }
}
