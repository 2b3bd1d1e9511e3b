//! The batches of one stream with records that wait to be sent, in queues: fresh ones, the backlog, and
//! those that linger.
//!
//! Pure. It keeps names and counts, no records, and plans nothing. A batch is in one queue at most.

use std::collections::BTreeSet;
use std::time::Instant;

use super::request::Bounds;
use super::turns::Load;

/// Which queue a batch waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// What came from the application.
    Fresh,
    /// What was read back out of the spool.
    Backlog,
    /// What is fresh, and until this time waits for more to be sent with.
    Lingering(Instant),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) fresh: BTreeSet<u64>,
    pub(super) backlog: BTreeSet<u64>,
    lingering: BTreeSet<(Instant, u64)>,
    /// What lingers in all.
    load: Load,
}

impl Queues {
    /// Moves a batch from one queue, or none, to another.
    pub(super) fn shift(&mut self, id: u64, from: Option<Queue>, to: Option<Queue>) {
        match from {
            None => {}
            Some(Queue::Fresh) => drop(self.fresh.remove(&id)),
            Some(Queue::Backlog) => drop(self.backlog.remove(&id)),
            Some(Queue::Lingering(until)) => drop(self.lingering.remove(&(until, id))),
        }
        match to {
            None => {}
            Some(Queue::Fresh) => drop(self.fresh.insert(id)),
            Some(Queue::Backlog) => drop(self.backlog.insert(id)),
            Some(Queue::Lingering(until)) => drop(self.lingering.insert((until, id))),
        }
    }

    /// Counts records as lingering.
    pub(super) const fn add_lingering(&mut self, load: Load) {
        self.load.add(load);
    }

    /// Counts records as lingering no more.
    pub(super) const fn take_lingering(&mut self, load: Load) {
        self.load.take(load);
    }

    /// Whether what lingers is enough for a full request.
    pub(super) fn is_enough(&self, bounds: Bounds) -> bool {
        !self.lingering.is_empty()
            && (self.load.records >= bounds.records_max || self.load.bytes >= bounds.bytes_max)
    }

    /// A batch that lingers and has done so long enough at `now`.
    pub(super) fn lingered(&self, now: Instant) -> Option<u64> {
        self.lingering.first().filter(|(until, _)| *until <= now).map(|(_, id)| *id)
    }

    /// Any batch that lingers.
    pub(super) fn any_lingering(&self) -> Option<u64> {
        self.lingering.first().map(|(_, id)| *id)
    }

    /// Until when the next batch lingers, if one does.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        self.lingering.first().map(|(until, _)| *until)
    }

    /// The batches that linger, those first whose time comes first.
    pub(super) fn lingering(&self) -> impl Iterator<Item = u64> {
        self.lingering.iter().map(|(_, id)| *id)
    }

    /// How many batches wait.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.backlog.len() + self.lingering.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All batches that wait.
    pub(super) fn all(&self) -> impl Iterator<Item = u64> {
        self.fresh.iter().chain(&self.backlog).copied().chain(self.lingering())
    }
}
