//! One waiting batch and what became of each of its records so far.
//!
//! Records keep their index while any of them is under way; only then does the batch shrink. It plans
//! nothing: `plan` does.

use std::time::Instant;

use super::queues::Queue;
use super::turns::Load;
use crate::pipeline::{Batch, PartitionKeys, Ticket};

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It waits, and may be sent at any time.
    Ready,
    /// It failed, and waits for its batch's time.
    Failed,
    /// It is part of a request that is under way.
    InFlight,
    /// It was part of a request that was refused, and is looked into.
    Suspect,
    /// It alone was refused while others went through. It stays here, or until it is a dead letter.
    Aside,
    /// The service has it, or it is a dead letter.
    Settled,
}

/// How many records are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ready: usize,
    pub(super) failed: usize,
    pub(super) in_flight: usize,
    pub(super) suspect: usize,
    pub(super) aside: usize,
    pub(super) settled: usize,
}

impl Counts {
    fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Ready => &mut self.ready,
            State::Failed => &mut self.failed,
            State::InFlight => &mut self.in_flight,
            State::Suspect => &mut self.suspect,
            State::Aside => &mut self.aside,
            State::Settled => &mut self.settled,
        }
    }

    /// The records that still have to be delivered, without those set aside.
    pub(super) const fn undelivered(&self) -> usize {
        self.ready + self.failed + self.in_flight + self.suspect
    }

    /// Counts `records` more in `state`.
    pub(super) fn add(&mut self, state: State, records: usize) {
        *self.of(state) += records;
    }

    /// Counts records as being there no more.
    pub(super) const fn remove(&mut self, others: Self) {
        self.ready -= others.ready;
        self.failed -= others.failed;
        self.in_flight -= others.in_flight;
        self.suspect -= others.suspect;
        self.aside -= others.aside;
        self.settled -= others.settled;
    }

    /// Counts one record as having gone from one state to another.
    pub(super) fn shift(&mut self, from: State, to: State) {
        *self.of(from) -= 1;
        *self.of(to) += 1;
    }
}

/// A batch and the states of its records. See the module.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) batch: Box<Batch>,
    states: Vec<State>,
    pub(super) counts: Counts,
    /// How often records of this batch failed.
    pub(super) attempts: u32,
    /// When its failed records may be sent again.
    pub(super) again_at: Instant,
    /// The queue that it waits in.
    pub(super) queue: Option<Queue>,
    /// Until when it lingers, and what of it does. Nothing for one that lingers no more.
    pub(super) lingers: Option<(Instant, Load)>,
    /// The copy of it that is on its way to the disk.
    pub(super) copy: Option<u64>,
    /// Until when it is well that somebody waits for it.
    pub(super) awaited_at: Option<Instant>,
    /// How many of its records are on their way into the dead-letter store: they keep their index.
    pub(super) letters: usize,
}

impl Held {
    /// A batch of which nothing was sent.
    pub(super) fn new(batch: Box<Batch>) -> Self {
        let records = batch.len();
        let again_at = batch.opened_at();
        let counts = Counts { ready: records, ..Counts::default() };
        let load = Load { records, bytes: batch.bytes() };
        let lingers = batch.leaves_at().map(|until| (until, load));
        Self {
            batch,
            states: vec![State::Ready; records],
            counts,
            attempts: 0,
            again_at,
            queue: None,
            lingers,
            copy: None,
            awaited_at: None,
            letters: 0,
        }
    }

    /// The queue that it belongs into now.
    pub(super) fn next_queue(&self) -> Option<Queue> {
        if !self.is_waiting() {
            return None;
        }
        Some(match self.lingers {
            Some((until, _)) => Queue::Lingering(until),
            None if self.batch.is_backlog() => Queue::Backlog,
            None => Queue::Fresh,
        })
    }

    /// Whether there is a record that may be sent at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.counts.ready > 0 || (self.counts.failed > 0 && self.again_at <= now)
    }

    /// The memory that goes with it, in bytes. A body that it shares with others counts by its records.
    pub(super) fn memory_bytes(&self) -> usize {
        self.batch.reserved_bytes().max(self.batch.bytes())
    }

    /// Whether a record of it is in use by its index, so that it can neither shrink nor go.
    pub(super) const fn is_pinned(&self) -> bool {
        self.counts.in_flight + self.counts.suspect + self.letters > 0
    }

    /// Whether the record at `index` is neither delivered nor a dead letter.
    pub(super) fn is_unsettled(&self, index: usize) -> bool {
        self.states.get(index).is_some_and(|state| *state != State::Settled)
    }

    /// Who waits for records that are not settled.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let tickets = self.batch.tickets().filter(|(index, _)| self.is_unsettled(*index));
        tickets.map(|(_, ticket)| ticket)
    }

    /// What a copy of the records that are not settled takes in memory.
    pub(super) fn copy_bytes(&self) -> usize {
        let records = self.batch.records().enumerate();
        records.filter(|(index, _)| self.is_unsettled(*index)).map(|(_, record)| record.len()).sum()
    }

    /// Numbers the records that are not settled, and copies them: their lengths, one behind the other, and
    /// their partition keys.
    pub(super) fn copy_records(&mut self) -> (Vec<u32>, Vec<u8>, PartitionKeys) {
        let states = &self.states;
        let is_in = |index: usize| states.get(index).is_some_and(|state| *state != State::Settled);
        self.batch.number_records(is_in);
        let mut lengths = Vec::with_capacity(self.batch.len());
        let mut bytes = Vec::with_capacity(self.copy_bytes());
        let records = self.batch.records().enumerate();
        for (_, record) in records.filter(|(index, _)| is_in(*index)) {
            lengths.push(u32::try_from(record.len()).unwrap_or(u32::MAX));
            bytes.extend_from_slice(record);
        }
        let all = self.batch.partition_keys();
        let keys = if all.is_empty() {
            PartitionKeys::NONE
        } else {
            let in_it = (0..self.batch.len()).filter(|index| is_in(*index));
            PartitionKeys::collect(in_it.map(|index| all.get(index)))
        };
        (lengths, bytes, keys)
    }

    /// Whether there is a record that may be sent at some time.
    pub(super) const fn is_waiting(&self) -> bool {
        self.counts.ready + self.counts.failed > 0
    }

    /// The records that may be sent at `now`, each with its index, or all that wait if `now` is nothing.
    pub(super) fn due(&self, now: Option<Instant>) -> impl Iterator<Item = (usize, &[u8])> {
        let with_failed = now.is_none_or(|now| self.again_at <= now);
        self.batch.records().zip(&self.states).enumerate().filter_map(
            move |(index, (record, state))| match state {
                State::Ready => Some((index, record)),
                State::Failed if with_failed => Some((index, record)),
                _ => None,
            },
        )
    }

    /// Moves the record at `index` to another state. Gives back the one that it was in.
    pub(super) fn shift(&mut self, index: usize, to: State) -> State {
        let state = self.states.get_mut(index).expect(
            "indexes come from this batch, and it does not shrink while records are under way",
        );
        let from = std::mem::replace(state, to);
        self.counts.shift(from, to);
        from
    }

    /// Lets settled records go if no index is in use. Says how many went.
    pub(super) fn compact(&mut self) -> usize {
        let settled = self.counts.settled;
        if settled == 0 || self.is_pinned() {
            return 0;
        }
        if settled == self.states.len() {
            // The whole batch goes in a moment; there is nothing to copy.
            return 0;
        }
        let states = &self.states;
        self.batch.retain(|index| states.get(index).is_some_and(|state| *state != State::Settled));
        self.states.retain(|state| *state != State::Settled);
        self.counts.settled = 0;
        settled
    }

    /// Lets the batch go: what is settled as such, and the rest as lost.
    pub(super) fn close(mut self) {
        let states = &self.states;
        self.batch.retain(|index| states.get(index).is_some_and(|state| *state != State::Settled));
    }
}
