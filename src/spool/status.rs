//! What one stream's spool holds and how it does, for people and programs. Plain data.

use crate::pipeline::NotDurable;
use crate::record::StreamName;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    /// The stream.
    pub stream: StreamName,
    /// Records on disk that the service does not have, as far as they are counted.
    pub records: u64,
    /// Those of them that are on disk alone.
    pub records_waiting: u64,
    /// Bytes of segments and notes.
    pub bytes: u64,
    /// Segments that are there.
    pub segments: u64,
    /// Those whose records are not counted yet.
    pub segments_uncounted: u64,
    /// When the oldest record that waits was accepted, in milliseconds since 1970.
    pub oldest_unix_ms: Option<u64>,
    /// Why durable records are refused.
    pub obstacle: Option<NotDurable>,
    /// The same in the words of the disk or the key service.
    pub obstacle_detail: Option<String>,
    /// Why segments wait to be read.
    pub waits_for: Option<String>,
    /// Records that an earlier life left behind, as far as they are counted.
    pub records_recovered: u64,
    /// Records that can not be read any more.
    pub records_quarantined: u64,
    /// Segments that were moved aside for damage.
    pub segments_quarantined: u64,
    /// Bytes of torn tails that were cut off.
    pub torn_bytes: u64,
    /// Bytes of notes that did not verify.
    pub unverified_note_bytes: u64,
    /// Records that became dead letters in this life.
    pub dead_letters: u64,
    /// Dead letters that an earlier life left, as the ends of their segments claim.
    pub dead_letters_found: u64,
    /// Dead letters that were sent on their way again in this life.
    pub dead_letters_replayed: u64,
    /// Segments of dead letters of an earlier life that have no end, so that their letters are not counted.
    pub dead_letter_segments_uncounted: u64,
    /// Bytes of dead letters on disk.
    pub dead_letter_bytes: u64,
    /// Records that were written in this life.
    pub records_written: u64,
    /// Bytes that were written in this life, sealed.
    pub bytes_written: u64,
    /// Frames that were read in this life.
    pub frames_read: u64,
    /// Reads, writes and syncs that failed.
    pub failures: u64,
}
