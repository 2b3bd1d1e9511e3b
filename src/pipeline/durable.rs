//! The way to the spool for records that are accepted only when it has them: one for each stream.
//!
//! A two-ended thing: ingest workers submit groups at the [`Inlet`]s, the spool takes them at the
//! [`Outflow`]. A worker hands its open group over as soon as the spool is idle and keeps it open while it
//! is not, so that the requests of one disk sync share it. It waits for nothing and touches no disk.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crossbeam_channel::{Receiver, Sender};

use super::batch::Batch;

/// Why the spool takes no durable records of a stream now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NotDurable {
    /// The process has just been started, and the spool is not there yet.
    Starting = 1,
    /// There is no data key to seal them with yet, or the key service is away.
    NoKey = 2,
    /// The data key is past its hard age, and the key service gives no new one.
    KeyTooOld = 3,
    /// The stream has used up its part of the spool.
    StreamFull = 4,
    /// The spool has used up the disk space that it may use.
    SpoolFull = 5,
    /// The disk is full.
    DiskFull = 6,
    /// The disk failed to write or to sync.
    DiskFailed = 7,
    /// The process is stopping.
    Stopping = 8,
    /// The store of dead letters is full.
    DeadLettersFull = 9,
}

impl NotDurable {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::NoKey,
        Self::KeyTooOld,
        Self::StreamFull,
        Self::SpoolFull,
        Self::DiskFull,
        Self::DiskFailed,
        Self::Stopping,
        Self::DeadLettersFull,
    ];

    /// The reason as a stable word, for metrics and status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::NoKey => "no_key",
            Self::KeyTooOld => "key_too_old",
            Self::StreamFull => "stream_full",
            Self::SpoolFull => "spool_full",
            Self::DiskFull => "disk_full",
            Self::DiskFailed => "disk_failed",
            Self::Stopping => "stopping",
            Self::DeadLettersFull => "dead_letters_full",
        }
    }

    /// The reason in a sentence that says what to look at.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Starting => "the spool is not open yet",
            Self::NoKey => "there is no data key to seal records with: see [keys] and the log",
            Self::KeyTooOld => {
                "the data key is older than keys.hard_age_ms and no new one is to be had: see the log"
            }
            Self::StreamFull => "the spool of the stream is full (spool.stream_bytes_max)",
            Self::SpoolFull => "the spool is full (spool.bytes_max)",
            Self::DiskFull => "the disk of the spool is full",
            Self::DiskFailed => "the disk of the spool failed: see the log",
            Self::Stopping => "the process is stopping",
            Self::DeadLettersFull => {
                "the store of dead letters is full (spool.dead_letter_bytes_max): export and replay them"
            }
        }
    }

    /// Whether there is no room, of the disk or of what may be used of it.
    #[must_use]
    pub const fn is_for_room(self) -> bool {
        matches!(self, Self::StreamFull | Self::SpoolFull | Self::DiskFull)
    }

    fn of(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == value)
    }
}

impl fmt::Display for NotDurable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// Schedules the spool's writer of a stream.
type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug)]
struct State {
    is_busy: AtomicBool,
    is_awaited: AtomicBool,
    /// The obstacle, or 0.
    obstacle: AtomicU8,
}

/// An ingest worker's end. Cloning gives another one of the same way.
#[derive(Clone)]
pub struct Inlet {
    groups: Sender<Box<Batch>>,
    state: Arc<State>,
    wake: Wake,
}

/// The spool's end.
#[derive(Debug)]
pub struct Outflow {
    groups: Receiver<Box<Batch>>,
    state: Arc<State>,
}

/// A way that is not open yet: its obstacle is [`NotDurable::Starting`]. `wake` is called for each group.
#[must_use]
pub fn durable_way(wake: Wake) -> (Inlet, Outflow) {
    // Its groups need no bound of their own: their memory is reserved, and their number is bounded by
    // the workers, since each hands one over when the spool is idle or the group is full.
    let (sender, groups) = crossbeam_channel::unbounded();
    let state = Arc::new(State {
        is_busy: AtomicBool::new(false),
        is_awaited: AtomicBool::new(false),
        obstacle: AtomicU8::new(NotDurable::Starting as u8),
    });
    (Inlet { groups: sender, state: Arc::clone(&state), wake }, Outflow { groups, state })
}

impl Inlet {
    /// Why no durable record is taken now.
    #[must_use]
    pub fn obstacle(&self) -> Option<NotDurable> {
        NotDurable::of(self.state.obstacle.load(Ordering::Relaxed))
    }

    /// Whether the spool has nothing to write for this stream. If not, it rings the workers when it has not.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        if !self.state.is_busy.load(Ordering::SeqCst) {
            return true;
        }
        self.state.is_awaited.store(true, Ordering::SeqCst);
        // It may have become idle between the look and the word.
        !self.state.is_busy.load(Ordering::SeqCst)
    }

    /// Whether there is a group that is not written yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.state.is_busy.load(Ordering::SeqCst)
    }

    /// Hands a group over. It comes back as the tickets of its parts, and as a batch to be forwarded.
    pub fn submit(&self, group: Batch) {
        self.state.is_busy.store(true, Ordering::SeqCst);
        // Without a spool at the other end the group is dropped: nobody was told that it is accepted.
        if self.groups.send(Box::new(group)).is_ok() {
            (self.wake)();
        }
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet").field("obstacle", &self.obstacle()).finish_non_exhaustive()
    }
}

impl Outflow {
    /// The next group, if there is one.
    #[must_use]
    pub fn try_take(&self) -> Option<Box<Batch>> {
        self.groups.try_recv().ok()
    }

    /// Whether there is a group to take.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Says why durable records can not be taken, or that they can.
    pub fn set_obstacle(&self, obstacle: Option<NotDurable>) {
        self.state.obstacle.store(obstacle.map_or(0, |reason| reason as u8), Ordering::Relaxed);
    }

    /// Why durable records can not be taken.
    #[must_use]
    pub fn obstacle(&self) -> Option<NotDurable> {
        NotDurable::of(self.state.obstacle.load(Ordering::Relaxed))
    }

    /// Says that all that was taken is written. Says in turn whether a worker keeps a group open for that:
    /// then it is to be rung.
    #[must_use]
    pub fn rest(&self) -> bool {
        self.state.is_busy.store(false, Ordering::SeqCst);
        if !self.groups.is_empty() {
            // It came in between; the spool is scheduled for it already.
            self.state.is_busy.store(true, Ordering::SeqCst);
            return false;
        }
        self.state.is_awaited.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing::{batch_of, lane};

    #[test]
    fn a_worker_that_finds_the_spool_busy_is_rung_when_it_rests() {
        let (inlet, outflow) = durable_way(Arc::new(|| ()));
        let lane = lane("demo", 1 << 20);
        assert!(inlet.is_idle());
        inlet.submit(batch_of(&lane, &[b"a"]));
        assert!(!inlet.is_idle());
        assert!(!outflow.rest(), "there is a group to write");
        outflow.try_take().unwrap().settle();
        assert!(outflow.rest());
        assert!(inlet.is_idle());
        assert!(!outflow.rest(), "nobody waits any more");
    }

    #[test]
    fn every_obstacle_is_heard_at_the_other_end_and_a_way_begins_with_one() {
        let (inlet, outflow) = durable_way(Arc::new(|| ()));
        assert_eq!(inlet.obstacle(), Some(NotDurable::Starting));
        for reason in NotDurable::ALL {
            outflow.set_obstacle(Some(reason));
            assert_eq!(inlet.obstacle(), Some(reason));
        }
        outflow.set_obstacle(None);
        assert_eq!(inlet.obstacle(), None);
    }
}
