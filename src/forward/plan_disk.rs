//! What a plan knows of the disk: which of its batches it has, which are on their way, what may go.
//!
//! Pure: it is given `now`. Without a spool nothing here does anything. It moves nothing: `spooling` does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::custody::{Aside, Custody, Sizes};
use super::held::State;
use super::plan::Plan;
use super::request::{Buried, LetGo, Note, Pick, Secured};
use crate::pipeline::Origin;
use crate::spool::Spill;

/// A dead letter's own part: the record, when its batch was opened, and where it lies on disk.
pub(super) struct Enclosed {
    pub(super) record: Vec<u8>,
    pub(super) partition_key: Option<Arc<str>>,
    pub(super) opened_at: Instant,
    pub(super) origin: Option<(Origin, u16)>,
}

impl Plan {
    /// A plan that knows of the disk. A batch that somebody waits for is copied so long after it was opened.
    pub(super) fn with_disk(awaited_after: Duration) -> Self {
        let mut plan = Self::default();
        plan.custody = Some(Custody::new(awaited_after));
        plan
    }

    /// Whether no batch is in memory alone, nor a copy or a letter on its way.
    pub(super) fn is_all_on_disk(&self) -> bool {
        self.custody.as_ref().is_none_or(|custody| {
            custody.alone.is_empty() && custody.copies.is_empty() && custody.letters.is_empty()
        })
    }

    /// Whether there is no batch in memory alone, and no copy is on its way.
    pub(super) fn is_all_copied(&self) -> bool {
        self.custody
            .as_ref()
            .is_none_or(|custody| custody.alone.is_empty() && custody.copies.is_empty())
    }

    /// What is on its way to the disk.
    pub(super) fn on_its_way(&self) -> Sizes {
        self.custody.as_ref().map(Custody::on_its_way).unwrap_or_default()
    }

    /// Whether there is a record to ask the stream with, or one is under way.
    pub(super) fn has_probe(&self) -> bool {
        !self.queues.is_empty() || self.totals.in_flight > 0
    }

    /// The newest batch below `below` that is in memory alone. `with_pinned`: also one that is under way.
    ///
    /// Its name, and the memory that it takes.
    pub(super) fn newest_alone(
        &self,
        below: Option<u64>,
        with_pinned: bool,
    ) -> Option<(u64, usize)> {
        let custody = self.custody.as_ref()?;
        let older = custody.alone.range(..below.unwrap_or(u64::MAX)).rev();
        let held = older.filter_map(|id| Some((*id, self.batches.get(id)?)));
        let mut fit = held.filter(|(_, held)| with_pinned || !held.is_pinned());
        fit.next().map(|(id, held)| (id, held.memory_bytes()))
    }

    /// The newest batch below `below` that the disk has and that nothing keeps here. `with_backlog`: also
    /// one that was read back.
    ///
    /// Its name, and the memory that it takes.
    pub(super) fn newest_secured(
        &self,
        below: Option<u64>,
        with_backlog: bool,
    ) -> Option<(u64, usize)> {
        let custody = self.custody.as_ref()?;
        let below = below.unwrap_or(u64::MAX);
        let is_free = |id: &u64| self.batches.get(id).is_some_and(|held| !held.is_pinned());
        let fresh = custody.secured.range(..below).rev().copied().find(is_free);
        let mut back = custody.backlog.range(..below).rev().copied();
        let back = if with_backlog { back.find(is_free) } else { None };
        let id = fresh.max(back)?;
        self.batches.get(&id).map(|held| (id, held.memory_bytes()))
    }

    /// Whether nothing would be left to ask the stream with if this batch went.
    pub(super) fn is_only_probe(&self, id: u64) -> bool {
        self.totals.in_flight == 0 && self.queues.len() == 1 && self.queues.all().next() == Some(id)
    }

    /// A batch in memory alone that somebody has waited for long enough at `now`.
    pub(super) fn awaited(&self, now: Instant) -> Option<u64> {
        self.custody.as_ref()?.awaited(now)
    }

    /// When somebody will have waited long enough for a batch in memory alone.
    pub(super) fn awaited_at(&self) -> Option<Instant> {
        self.custody.as_ref()?.awaited_at()
    }

    /// What a copy of what is not settled of a batch takes in memory, in bytes: at most.
    pub(super) fn copy_bytes(&self, id: u64) -> Option<usize> {
        let held = self.batches.get(&id)?;
        Some(held.copy_bytes() + held.batch.partition_keys().capacity_bytes())
    }

    /// A copy of what is not settled of a batch, to be kept on disk.
    ///
    /// It is not on its way before [`Plan::copying`] says so.
    pub(super) fn copy(&mut self, id: u64) -> Option<Spill> {
        let held = self.batches.get_mut(&id)?;
        let name = self.custody.as_mut()?.name();
        let opened_at = held.batch.opened_at();
        let (lengths, bytes, partition_keys) = held.copy_records();
        Some(Spill { id: name, opened_at, lengths, bytes, partition_keys })
    }

    /// The copy with this name, of this batch and so many records, is on its way.
    pub(super) fn copying(&mut self, name: u64, id: u64, records: usize) {
        if let (Some(held), Some(custody)) = (self.batches.get_mut(&id), &mut self.custody) {
            custody.copying(name, id, held, records);
        }
    }

    /// The copy with this name lies on disk. Its batch is still here, if not all of it was settled.
    pub(super) fn secured(&mut self, name: u64, origin: Origin) -> Secured {
        let Some(custody) = &mut self.custody else { return Secured::default() };
        let Some(copied) = custody.copied(name) else { return Secured::default() };
        let mut secured = Secured { records: copied.sizes.records, ..Secured::default() };
        if let Some(held) = self.batches.get_mut(&copied.batch) {
            held.copy = None;
            held.batch.secure(origin);
            secured.tickets = held.tickets().collect();
            custody.secured.insert(copied.batch);
        }
        secured.note = (!copied.settled.is_empty()).then_some((origin, copied.settled));
        secured
    }

    /// The copy with this name could not be kept: its batch is in memory alone, as before.
    pub(super) fn not_secured(&mut self, name: u64) -> usize {
        let Some(custody) = &mut self.custody else { return 0 };
        let Some(copied) = custody.copied(name) else { return 0 };
        if let Some(held) = self.batches.get_mut(&copied.batch) {
            held.copy = None;
            custody.left_alone(copied.batch, held);
        }
        copied.sizes.records
    }

    /// Lets a batch go that the disk has.
    pub(super) fn let_go(&mut self, id: u64) -> Option<LetGo> {
        let held = self.batches.get(&id).filter(|held| !held.is_pinned())?;
        let origin = held.batch.origin()?;
        let held = self.remove(id)?;
        Some(LetGo { origin, batch: held.batch })
    }

    /// What is to be written of the letter with this name. Its record may have come to disk since it was
    /// set aside.
    pub(super) fn letter(&mut self, name: u64) -> Option<Enclosed> {
        let aside = self.custody.as_mut()?.letters.get_mut(&name)?;
        let held = self.batches.get(&aside.pick.batch)?;
        let index = aside.pick.index as usize;
        let record = held.batch.records().nth(index)?.to_vec();
        let partition_key = held.batch.key(index).map(Arc::from);
        let origin = held.batch.origin().zip(held.batch.number(index));
        aside.is_noted_there = origin.is_some();
        let opened_at = held.batch.opened_at();
        Some(Enclosed { record, partition_key, opened_at, origin })
    }

    /// The letter with this name is in its store: the record is settled.
    pub(super) fn buried(&mut self, name: u64) -> Option<Buried> {
        let Aside { pick, is_noted_there } = self.custody.as_mut()?.letters.remove(&name)?;
        let number = self.number(pick).filter(|_| !is_noted_there && self.is_noted(pick.batch));
        let note = self.settled_on_disk(pick.batch, number.into_iter().collect());
        self.shift(pick, State::Settled);
        if let Some(held) = self.batches.get_mut(&pick.batch) {
            held.letters -= 1;
            held.batch.note_settled(1);
        }
        Some(Buried { note, done: self.tidy(pick.batch) })
    }

    /// A record alone is at fault. Gives the name of the letter that it is to become, where there is a store.
    pub(super) fn set_aside(&mut self, pick: Pick) -> Option<u64> {
        self.shift(pick, State::Aside);
        let custody = self.custody.as_mut()?;
        let held = self.batches.get_mut(&pick.batch)?;
        held.letters += 1;
        let name = custody.name();
        custody.letters.insert(name, Aside { pick, is_noted_there: false });
        Some(name)
    }

    /// Whether the disk has this batch, or a copy of it is on its way.
    pub(super) fn is_noted(&self, id: u64) -> bool {
        self.custody.is_some()
            && self
                .batches
                .get(&id)
                .is_some_and(|held| held.copy.is_some() || held.batch.origin().is_some())
    }

    /// What a record is called in the spool.
    pub(super) fn number(&self, pick: Pick) -> Option<u16> {
        self.batches.get(&pick.batch)?.batch.number(pick.index as usize)
    }

    /// Records of a batch are settled. Gives what is to be noted now; of a copy that is on its way that is
    /// kept until it has arrived.
    pub(super) fn settled_on_disk(&mut self, id: u64, numbers: Vec<u16>) -> Option<Note> {
        if numbers.is_empty() {
            return None;
        }
        let held = self.batches.get(&id)?;
        if let Some(origin) = held.batch.origin() {
            return Some((origin, numbers));
        }
        let copied = self.custody.as_mut()?.copies.get_mut(&held.copy?)?;
        copied.settled.extend(numbers);
        None
    }
}

#[cfg(test)]
#[path = "plan_disk_tests.rs"]
mod tests;
