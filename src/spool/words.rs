//! The words between the spool and the forwarder, and the channel on which the spool's come.
//!
//! Plain data, and a bell. It decides nothing.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender};

use crate::pipeline::{Batch, Bell, NotDurable, Origin, PartitionKeys};
use crate::record::StreamName;

/// A copy of records that are to be kept on disk, while their batch stays in memory until they are.
#[derive(Debug)]
pub struct Spill {
    /// What the forwarder calls it.
    pub id: u64,
    /// When the oldest of its records was accepted.
    pub opened_at: Instant,
    /// Each record's length, in the order of their numbers: at most 500.
    pub lengths: Vec<u32>,
    /// The records one behind the other: at most 4 MiB, or one record.
    pub bytes: Vec<u8>,
    /// The records' partition keys, by their numbers.
    pub partition_keys: PartitionKeys,
}

impl Spill {
    /// What it takes in memory, in bytes.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.partition_keys.capacity_bytes()
    }

    /// The records in the order of their numbers.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0_usize;
        self.lengths.iter().map(move |length| {
            let from = start;
            start = from.saturating_add(*length as usize);
            self.bytes.get(from..start).unwrap_or_default()
        })
    }
}

/// A record that alone is at fault, to be set aside for people to look at.
#[derive(Debug)]
pub struct Letter {
    /// What the forwarder calls it.
    pub id: u64,
    /// The record.
    pub record: Vec<u8>,
    /// Its partition key, if it came with one.
    pub partition_key: Option<Arc<str>>,
    /// When the batch that it was in was opened.
    pub opened_at: Instant,
    /// What proves that the record is at fault: a stable word.
    pub reason: &'static str,
    /// The service's code.
    pub code: Arc<str>,
    /// The service's words.
    pub message: Arc<str>,
    /// Where it lies in the spool: noted there once it is a dead letter.
    pub origin: Option<(Origin, u16)>,
}

/// What the spool says to the forwarder.
#[derive(Debug)]
pub enum Word {
    /// A batch to be sent: one that is secured and comes on from memory, or one of the backlog.
    Batch(Box<Batch>),
    /// The copy of this id lies on disk now, or could not be kept: its batch is still in memory.
    Spooled {
        /// The stream.
        stream: StreamName,
        /// The id of the [`Spill`].
        id: u64,
        /// Where it lies, or why it does not.
        result: Result<Origin, NotDurable>,
    },
    /// The record of this id is a dead letter now, or could not be kept: it is still in memory.
    SetAside {
        /// The stream.
        stream: StreamName,
        /// The id of the [`Letter`].
        id: u64,
        /// Whether it is kept, or why it is not.
        result: Result<(), NotDurable>,
    },
}

/// The forwarder's end: what the spool says.
#[derive(Debug)]
pub struct Words {
    words: Receiver<Word>,
    bell: Bell,
}

/// The spool's end. Cloning gives another one of the same channel.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    words: Sender<Word>,
    bell: Bell,
}

/// A channel of words. It needs no bound of its own: what it holds is paid for, or bounded by the jobs.
pub(super) fn words() -> (Speaker, Words) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let bell = Bell::default();
    (Speaker { words: sender, bell: bell.clone() }, Words { words: receiver, bell })
}

impl Words {
    /// Waits until the spool has said something.
    ///
    /// Dropping the future loses no word.
    pub async fn heard(&self) {
        self.bell.heard().await;
    }

    /// The next word, if there is one.
    #[must_use]
    pub fn try_take(&self) -> Option<Word> {
        self.words.try_recv().ok()
    }

    /// The bell that wakes the forward thread.
    #[must_use]
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }
}

impl Speaker {
    /// Says all of `words`, and wakes the forward thread once.
    pub(super) fn say(&self, words: impl IntoIterator<Item = Word>) {
        let mut has_said = false;
        for word in words {
            // A forwarder that is gone sends nothing any more: the disk keeps what was to be sent.
            has_said |= self.words.send(word).is_ok();
        }
        if has_said {
            self.bell.ring();
        }
    }
}

/// The time of `at` in milliseconds since 1970, as it is written to disk.
pub(super) fn unix_ms(at: Instant) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = now.saturating_sub(at.elapsed());
    u64::try_from(then.as_millis()).unwrap_or(u64::MAX)
}

/// The time that was `unix_ms` milliseconds after 1970, as far as the clock of this life reaches back.
pub(super) fn instant(unix_ms: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.saturating_sub(std::time::Duration::from_millis(unix_ms));
    let instant = Instant::now();
    instant.checked_sub(age).unwrap_or(instant)
}
