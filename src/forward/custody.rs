//! Where else the batches of one stream lie: in memory alone, on their way to the disk, or there too.
//!
//! Pure. It keeps names and numbers, no records. There is one only where there is a spool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::held::Held;
use super::request::Pick;

/// See the module.
#[derive(Debug)]
pub(super) struct Custody {
    /// How long somebody waits for the delivery of a batch before it is copied for that.
    awaited_after: Duration,
    next_id: u64,
    /// Batches that are in memory alone, with no copy on its way.
    pub(super) alone: BTreeSet<u64>,
    /// Those that somebody waits for, by the time until which that is well.
    awaited: BTreeSet<(Instant, u64)>,
    /// Copies on their way to the disk.
    pub(super) copies: BTreeMap<u64, Copied>,
    copying: Sizes,
    /// Fresh batches that the disk has too.
    pub(super) secured: BTreeSet<u64>,
    /// Batches of the backlog.
    pub(super) backlog: BTreeSet<u64>,
    /// Records that are on their way into the dead-letter store, or wait for that.
    pub(super) letters: BTreeMap<u64, Aside>,
}

/// A copy of a batch that is on its way to the disk.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) batch: u64,
    /// The numbers of the records that were settled since it was made.
    pub(super) settled: Vec<u16>,
    pub(super) sizes: Sizes,
}

/// A record that is to become a dead letter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aside {
    pub(super) pick: Pick,
    /// Whether the spool was told where the record lies, and notes it there.
    pub(super) is_noted_there: bool,
}

/// How many records there are, and what memory their batches take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Custody {
    /// A custody of nothing. A batch that somebody waits for is copied `awaited_after` it was opened.
    pub(super) fn new(awaited_after: Duration) -> Self {
        Self {
            awaited_after,
            next_id: 0,
            alone: BTreeSet::new(),
            awaited: BTreeSet::new(),
            copies: BTreeMap::new(),
            copying: Sizes::default(),
            secured: BTreeSet::new(),
            backlog: BTreeSet::new(),
            letters: BTreeMap::new(),
        }
    }

    /// A name that no copy and no letter had before.
    pub(super) const fn name(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A batch has come.
    pub(super) fn enter(&mut self, id: u64, held: &mut Held) {
        if held.batch.is_backlog() {
            self.backlog.insert(id);
        } else if held.batch.origin().is_some() {
            self.secured.insert(id);
        } else {
            self.left_alone(id, held);
        }
    }

    /// A batch is in memory alone, and nothing of it is on its way.
    pub(super) fn left_alone(&mut self, id: u64, held: &mut Held) {
        self.alone.insert(id);
        if held.batch.tickets().next().is_some() {
            let at = held.batch.opened_at() + self.awaited_after;
            held.awaited_at = Some(at);
            self.awaited.insert((at, id));
        }
    }

    /// A batch has left memory. A copy that is on its way is still heard of.
    pub(super) fn leave(&mut self, id: u64, held: &Held) {
        self.alone.remove(&id);
        self.secured.remove(&id);
        self.awaits_no_more(id, held.awaited_at);
        self.backlog.remove(&id);
    }

    /// A copy of a batch is on its way.
    pub(super) fn copying(&mut self, name: u64, id: u64, held: &mut Held, records: usize) {
        self.alone.remove(&id);
        self.awaits_no_more(id, held.awaited_at.take());
        held.copy = Some(name);
        let sizes = Sizes { records, bytes: held.memory_bytes() };
        self.copying.records += sizes.records;
        self.copying.bytes += sizes.bytes;
        self.copies.insert(name, Copied { batch: id, settled: Vec::new(), sizes });
    }

    /// A copy has arrived, or could not be kept.
    pub(super) fn copied(&mut self, name: u64) -> Option<Copied> {
        let copied = self.copies.remove(&name)?;
        self.copying.records -= copied.sizes.records;
        self.copying.bytes -= copied.sizes.bytes;
        Some(copied)
    }

    /// What is on its way to the disk.
    pub(super) const fn on_its_way(&self) -> Sizes {
        self.copying
    }

    /// A batch that somebody has waited for long enough at `now`, and that is in memory alone.
    pub(super) fn awaited(&self, now: Instant) -> Option<u64> {
        self.awaited.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// When somebody will have waited long enough.
    pub(super) fn awaited_at(&self) -> Option<Instant> {
        self.awaited.first().map(|(at, _)| *at)
    }

    fn awaits_no_more(&mut self, id: u64, at: Option<Instant>) {
        if let Some(at) = at {
            self.awaited.remove(&(at, id));
        }
    }
}
