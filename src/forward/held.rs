//! One waiting batch and what became of each of its records so far.
//!
//! Records keep their index while any of them is under way; only then does the batch shrink. It plans
//! nothing: `plan` does.

use std::time::Instant;

use crate::pipeline::Batch;

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
    /// It alone was refused while others went through. It stays here.
    Aside,
    /// The service has it.
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
}

impl Held {
    /// A batch of which nothing was sent.
    pub(super) fn new(batch: Box<Batch>) -> Self {
        let records = batch.len();
        let again_at = batch.opened_at();
        let counts = Counts { ready: records, ..Counts::default() };
        Self { batch, states: vec![State::Ready; records], counts, attempts: 0, again_at }
    }

    /// Whether there is a record that may be sent at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.counts.ready > 0 || (self.counts.failed > 0 && self.again_at <= now)
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
        if settled == 0 || self.counts.in_flight + self.counts.suspect > 0 {
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
