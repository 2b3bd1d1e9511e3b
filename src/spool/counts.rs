//! What is known of one stream's spool, as atomics that its writer and its reader keep and anybody may read.
//!
//! It is what `/metrics` and `/v1/status` show. It decides nothing.

#[expect(
    clippy::disallowed_types,
    reason = "a sentence for people, written when a state changes"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

use super::handle::Backlog;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Records on disk that are neither noted nor quarantined, as far as they are counted.
    pub(super) records: Count,
    /// Those of them that are in nobody's hand: they wait on disk alone.
    pub(super) waiting: Count,
    /// Records that linger with the writer before the forwarder has them.
    pub(super) onward: Count,
    /// Bytes of segments and notes.
    pub(super) bytes: Count,
    /// Segments that are there.
    pub(super) segments: Count,
    /// Segments of an earlier life whose records are not counted yet.
    pub(super) segments_uncounted: Count,
    /// Records that an earlier life left behind, as far as they are counted.
    pub(super) recovered: Count,
    /// Records that were made durable in this life.
    pub(super) written: Count,
    /// Bytes that were made durable in this life.
    pub(super) written_bytes: Count,
    /// Records that can not be read any more.
    pub(super) quarantined: Count,
    /// Segments that were moved aside for damage.
    pub(super) quarantined_segments: Count,
    /// Bytes of torn tails, which nobody was promised.
    pub(super) torn_bytes: Count,
    /// Entries of notes that did not verify, in bytes.
    pub(super) unverified_note_bytes: Count,
    /// Records that became dead letters in this life.
    pub(super) dead_letters: Count,
    /// Dead letters that an earlier life left, as the ends of their segments claim.
    pub(super) dead_letters_found: Count,
    /// Dead letters that were sent on their way again in this life.
    pub(super) dead_letters_replayed: Count,
    /// Segments of dead letters of an earlier life without an end.
    pub(super) dead_letter_segments_uncounted: Count,
    /// Bytes of dead letters on disk.
    pub(super) dead_letter_bytes: Count,
    /// Frames that were read.
    pub(super) frames_read: Count,
    /// Reads, writes and syncs that failed.
    pub(super) failures: Count,
    /// When the oldest record that waits was accepted, in ms since 1970; or 0.
    pub(super) oldest_unix_ms: Count,
    /// Why durable records are not taken, and why old segments wait.
    pub(super) writing: Words,
    pub(super) reading: Words,
}

/// A number that several threads change. What moves from one to another is added there first, so that who
/// asks in the other order never misses it.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Acquire)
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Release);
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Release);
    }

    pub(super) fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Release);
    }
}

/// A sentence that is there or not.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "a sentence for people, written when a state changes")]
pub(super) struct Words(Mutex<Option<String>>);

impl Words {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().ok().and_then(|words| words.clone())
    }

    pub(super) fn set(&self, words: Option<String>) {
        if let Ok(mut place) = self.0.lock() {
            *place = words;
        }
    }
}

impl Counts {
    /// What waits on disk alone.
    pub(super) fn backlog(&self) -> Backlog {
        // Segments come to be counted: they are asked for first.
        let segments_uncounted = self.segments_uncounted.get();
        let oldest = self.oldest_unix_ms.get();
        Backlog {
            records: self.waiting.get(),
            undelivered: self.records.get(),
            lingering: self.onward.get(),
            is_growing: false,
            segments_uncounted,
            oldest_unix_ms: (oldest != 0).then_some(oldest),
        }
    }
}
