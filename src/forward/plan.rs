//! The plan of one stream: its records that are not settled, and which of its records make the next request.
//!
//! Pure: it is given `now`. Requests are filled from the oldest batch on, with records that failed before
//! and fresh ones alike, up to the limits; a batch goes in parts where it has to. Every record is in one
//! request at most, and leaves only when it is settled. It sends nothing and knows no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::held::{Counts, Held, State};
use super::inquest::{Finding, Inquest};
use super::request::{Bounds, Fate, Part, Pick, Request, Settlement, Verdict, runs};
use crate::pipeline::{Batch, Ticket};

/// All records of one stream that are not settled. See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    batches: BTreeMap<u64, Held>,
    /// The batches with records that wait.
    waiting: BTreeSet<u64>,
    next_id: u64,
    totals: Counts,
    inquest: Option<Inquest>,
    /// How many requests of the inquest are under way.
    inquest_in_flight: usize,
}

impl Plan {
    /// Takes a batch in.
    pub(super) fn push(&mut self, batch: Box<Batch>) {
        if batch.is_empty() {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.totals.add(State::Ready, batch.len());
        self.batches.insert(id, Held::new(batch));
        self.waiting.insert(id);
    }

    /// The next request at `now`, if anything may be sent.
    pub(super) fn next(&mut self, now: Instant, bounds: Bounds) -> Option<Request> {
        let Some(inquest) = &mut self.inquest else { return self.next_waiting(now, bounds) };
        if inquest.lacks_witness() {
            if self.totals.in_flight > 0 {
                return None;
            }
            // Somebody is accused: a record that nobody suspects says most.
            if inquest.has_accused()
                && let Some(witness) = self.next_waiting(now, Bounds { records_max: 1, ..bounds })
            {
                return Some(witness);
            }
        }
        if self.inquest_in_flight == 0
            && let Some(picks) = self.inquest.as_mut().and_then(Inquest::next)
        {
            return Some(self.begin(picks, true));
        }
        self.next_waiting(now, bounds)
    }

    fn next_waiting(&mut self, now: Instant, bounds: Bounds) -> Option<Request> {
        let mut picks = Vec::new();
        let mut bytes = 0;
        'full: for id in &self.waiting {
            let Some(held) = self.batches.get(id).filter(|held| held.is_due(now)) else { continue };
            for (index, record) in held.due(Some(now)) {
                let is_full = picks.len() >= bounds.records_max
                    || (!picks.is_empty() && bytes + record.len() > bounds.bytes_max);
                if is_full {
                    break 'full;
                }
                bytes += record.len();
                picks.push(pick(*id, index, record.len()));
            }
        }
        (!picks.is_empty()).then(|| self.begin(picks, false))
    }

    /// One record to ask with, whether its time has come or not: any that is not suspect, if there is one.
    pub(super) fn next_probe(&mut self, random: &mut fastrand::Rng) -> Option<Request> {
        if !self.waiting.is_empty() {
            let id = *self.waiting.iter().nth(random.usize(..self.waiting.len()))?;
            let held = self.batches.get(&id)?;
            let (index, record) = held.due(None).next()?;
            let picks = vec![pick(id, index, record.len())];
            return Some(self.begin(picks, false));
        }
        let pick = self.inquest.as_mut()?.next_alone()?;
        Some(self.begin(vec![pick], true))
    }

    /// The request was not sent: its records wait as before.
    pub(super) fn put_back(&mut self, request: Request) {
        let Request { picks, is_inquest, .. } = request;
        self.inquest_in_flight -= usize::from(is_inquest);
        let to = if is_inquest { State::Suspect } else { State::Ready };
        self.shift_all(&picks, to);
        if let Some(inquest) = self.inquest.as_mut().filter(|_| is_inquest) {
            inquest.put_back(picks);
        }
    }

    /// The records of a request in its order.
    pub(super) fn records<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = &'a [u8]> {
        runs(&request.picks).flat_map(|(id, run)| {
            let records = self.batches.get(&id).into_iter().flat_map(|held| held.batch.records());
            let mut wanted = run.iter().map(|pick| pick.index as usize).peekable();
            records
                .enumerate()
                .filter(move |(index, _)| wanted.next_if_eq(index).is_some())
                .map(|(_, record)| record)
        })
    }

    /// Who waits for which record of a request: the record's place in the request, and the ticket.
    pub(super) fn tickets(&self, request: &Request) -> Vec<(usize, Ticket)> {
        let mut tickets = Vec::new();
        let mut before = 0;
        for (id, run) in runs(&request.picks) {
            if let Some(held) = self.batches.get(&id) {
                tickets.extend(held.batch.tickets().filter_map(|(index, ticket)| {
                    let at = run.binary_search_by_key(&index, |pick| pick.index as usize).ok()?;
                    Some((before + at, ticket))
                }));
            }
            before += run.len();
        }
        tickets
    }

    /// The service answered for each record: `fate` says what, by the record's place in the request.
    ///
    /// `again_at` says when what failed for the nth time may be sent again.
    pub(super) fn settle(
        &mut self,
        request: Request,
        now: Instant,
        began_at: Instant,
        fate: impl Fn(usize) -> Fate,
        mut again_at: impl FnMut(u32) -> Instant,
    ) -> Settlement {
        let Request { picks, is_inquest, .. } = request;
        self.inquest_in_flight -= usize::from(is_inquest);
        let mut settlement = Settlement::default();
        let (mut place, mut all_put) = (0, 0);
        for (id, run) in runs(&picks) {
            let (mut put, mut again) = (0, 0);
            for pick in run {
                let to = match fate(place) {
                    Fate::Put => State::Settled,
                    Fate::Again => State::Failed,
                    Fate::Aside => State::Aside,
                };
                put += usize::from(to == State::Settled);
                again += usize::from(to == State::Failed);
                self.shift(*pick, to);
                place += 1;
            }
            settlement.again += again;
            all_put += put;
            if let Some(held) = self.batches.get_mut(&id) {
                if again > 0 {
                    held.attempts = held.attempts.saturating_add(1);
                    held.again_at = again_at(held.attempts);
                }
                if put > 0 {
                    held.batch.note_settled(put);
                    settlement.parts.push(Part { opened_at: held.batch.opened_at() });
                }
            }
            settlement.done.extend(self.tidy(id));
        }
        if let Some(inquest) = &mut self.inquest {
            if all_put > 0 {
                inquest.witnessed(now, began_at);
            }
            self.end_inquest();
        }
        settlement
    }

    /// The request came to nothing, and no record is to blame: all of it waits until `again_at`.
    pub(super) fn failed(&mut self, request: Request, mut again_at: impl FnMut(u32) -> Instant) {
        if request.is_inquest {
            self.put_back(request);
            return;
        }
        for (id, run) in runs(&request.picks) {
            for pick in run {
                self.shift(*pick, State::Failed);
            }
            if let Some(held) = self.batches.get_mut(&id) {
                held.attempts = held.attempts.saturating_add(1);
                held.again_at = again_at(held.attempts);
                self.waiting.insert(id);
                self.totals.settled -= held.compact();
            }
        }
    }

    /// The request was refused in a way that may be the fault of one record in it.
    pub(super) fn refused(
        &mut self,
        request: Request,
        now: Instant,
        began_at: Instant,
    ) -> (Verdict, Vec<Batch>) {
        self.inquest_in_flight -= usize::from(request.is_inquest);
        self.shift_all(&request.picks, State::Suspect);
        let inquest = self.inquest.get_or_insert_with(|| Inquest::new(now));
        match inquest.refused(request.picks, began_at) {
            Finding::Open => (Verdict::Open, Vec::new()),
            Finding::Stream => (Verdict::Hold, Vec::new()),
            Finding::Guilty(pick) => {
                self.shift(pick, State::Aside);
                let done = self.tidy(pick.batch).into_iter().collect();
                self.end_inquest();
                (Verdict::SetAside { bytes: pick.bytes as usize }, done)
            }
        }
    }

    /// Whether nothing is left but records that were refused alone, and nothing that could say whether
    /// that is their fault: it looks like the stream's then.
    pub(super) fn is_stuck(&self) -> bool {
        self.totals.in_flight == 0
            && self.waiting.is_empty()
            && self.inquest.as_ref().is_some_and(|inquest| {
                inquest.lacks_witness() && inquest.has_accused() && !inquest.has_groups()
            })
    }

    /// How many records are in which state, over all batches.
    pub(super) const fn counts(&self) -> Counts {
        self.totals
    }

    /// How many batches there are, with those of which only set-aside records are left.
    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// When the oldest record was accepted that still has to be delivered.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.batches
            .values()
            .find(|held| held.counts.undelivered() > 0)
            .map(|held| held.batch.opened_at())
    }

    /// When the next failed record may be sent again, as far as `now` is before that.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let held = self.waiting.iter().filter_map(|id| self.batches.get(id));
        held.filter(|held| !held.is_due(now)).map(|held| held.again_at).min()
    }

    /// Lets every failed record be sent again at `at` at the latest.
    pub(super) fn shorten(&mut self, at: Instant) {
        for held in self.batches.values_mut() {
            held.again_at = held.again_at.min(at);
        }
    }

    /// Lets everything go at the end: what is settled as such, so that only the rest counts as lost.
    pub(super) fn close(self) {
        self.batches.into_values().for_each(Held::close);
    }

    fn begin(&mut self, picks: Vec<Pick>, is_inquest: bool) -> Request {
        self.inquest_in_flight += usize::from(is_inquest);
        self.shift_all(&picks, State::InFlight);
        let bytes = picks.iter().map(|pick| pick.bytes as usize).sum();
        Request { picks, bytes, is_inquest }
    }

    fn shift_all(&mut self, picks: &[Pick], to: State) {
        for (id, run) in runs(picks) {
            for pick in run {
                self.shift(*pick, to);
            }
            self.note_waiting(id);
        }
    }

    fn shift(&mut self, pick: Pick, to: State) {
        let held = self.batches.get_mut(&pick.batch);
        let held = held.expect("a batch stays while one of its records is under way or suspect");
        let from = held.shift(pick.index as usize, to);
        self.totals.shift(from, to);
    }

    fn note_waiting(&mut self, id: u64) {
        if self.batches.get(&id).is_some_and(Held::is_waiting) {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
    }

    /// Lets what is settled of a batch go: some records, or the whole batch.
    fn tidy(&mut self, id: u64) -> Option<Batch> {
        self.note_waiting(id);
        let held = self.batches.get_mut(&id)?;
        self.totals.settled -= held.compact();
        if held.counts.undelivered() > 0 {
            return None;
        }
        if held.counts.aside > 0 {
            held.batch.set_aside();
            return None;
        }
        let held = self.batches.remove(&id)?;
        self.totals.settled -= held.counts.settled;
        Some(*held.batch)
    }

    /// Ends an inquest that has nothing left to find out and nothing on its way.
    fn end_inquest(&mut self) {
        if self.inquest_in_flight == 0 && self.inquest.as_ref().is_some_and(Inquest::is_over) {
            self.inquest = None;
        }
    }
}

fn pick(batch: u64, index: usize, bytes: usize) -> Pick {
    let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
    Pick { batch, index: narrow(index), bytes: narrow(bytes) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
