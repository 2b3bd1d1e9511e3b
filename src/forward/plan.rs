//! The plan of one stream: its records that are not settled, and which of them make the next request.
//!
//! Pure: it is given `now`. Requests are filled from the oldest batch on, with records that failed before
//! and fresh ones alike, up to the limits; fresh records and the backlog take turns. A batch goes in parts
//! where it has to. Every record is in one request at most, and leaves only when it is settled, or when the
//! disk has it. It sends nothing and knows no clock. `plan_settle` has what an answer brings, `plan_disk`
//! what there is with a spool, `plan_look` what a request is made of.

use std::collections::BTreeMap;
use std::time::Instant;

use super::blobs::{BLOB_RECORDS_MAX, Joining};
use super::custody::Custody;
use super::filling::Filling;
use super::held::{Counts, Held, State};
use super::inquest::Inquest;
use super::overflow::earlier;
use super::queues::Queues;
use super::request::{Blobs, Bounds, Pick, Request, runs};
use super::turns::{Load, Side, Turns};
use crate::pipeline::Batch;

/// All records of one stream that are not settled. See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) batches: BTreeMap<u64, Held>,
    pub(super) queues: Queues,
    turns: Turns,
    next_id: u64,
    pub(super) totals: Counts,
    pub(super) inquest: Option<Inquest>,
    /// How many requests of the inquest are under way.
    pub(super) inquest_in_flight: usize,
    /// Nothing lingers any more.
    is_hurried: bool,
    /// Where else the batches lie, if there is a spool.
    pub(super) custody: Option<Custody>,
    /// How records are joined, if they are.
    pub(super) joining: Option<Joining>,
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
        let mut held = Held::new(batch);
        if self.is_hurried {
            held.lingers = None;
        }
        if let Some((_, load)) = held.lingers {
            self.queues.add_lingering(load);
        }
        if let Some(custody) = &mut self.custody {
            custody.enter(id, &mut held);
        }
        self.batches.insert(id, held);
        self.requeue(id);
    }

    /// The next request at `now`, if anything may be sent.
    pub(super) fn next(&mut self, now: Instant, bounds: Bounds) -> Option<Request> {
        let Some(inquest) = &mut self.inquest else { return self.next_joined(now, bounds) };
        if inquest.lacks_witness() {
            if self.totals.in_flight > 0 {
                return None;
            }
            // Somebody is accused: a record that nobody suspects says most.
            let one = Bounds { records_max: 1, ..bounds };
            if inquest.has_accused()
                && let Some(witness) = self.next_waiting(now, one, None)
            {
                return Some(self.alone(witness));
            }
        }
        if self.inquest_in_flight == 0
            && let Some(picks) = self.inquest.as_mut().and_then(|inquest| inquest.next(bounds))
        {
            return Some(self.begin_alone(picks, true));
        }
        self.next_joined(now, bounds)
    }

    /// The next request of what waits. Its records are joined, if that is what is done.
    fn next_joined(&mut self, now: Instant, bounds: Bounds) -> Option<Request> {
        let mut joining = self.joining.take();
        let request = self.next_waiting(now, bounds, joining.as_mut());
        self.joining = joining;
        request
    }

    fn next_waiting(
        &mut self,
        now: Instant,
        bounds: Bounds,
        joining: Option<&mut Joining>,
    ) -> Option<Request> {
        // How full a request is made, by the records as they wait.
        let per_blob = if joining.is_some() { BLOB_RECORDS_MAX } else { 1 };
        let full = Bounds { records_max: bounds.records_max.saturating_mul(per_blob), ..bounds };
        while let Some(id) = self.queues.lingered(now) {
            self.linger_no_more(id);
        }
        let is_enough = self.queues.is_enough(full);
        let contest = self.contest(now, is_enough);
        let is_backlogs = contest.is_some_and(|(side, _)| side == Side::Backlog);
        let queues = &self.queues;
        let mut filling = Filling::new(bounds, joining);
        let mut fill = |ids: &mut dyn Iterator<Item = u64>| {
            for id in ids {
                let held = self.batches.get(&id).filter(|held| held.is_due(now));
                if held.is_some_and(|held| !filling.add(id, held, now)) {
                    break;
                }
            }
            !filling.is_empty()
        };
        let (mut fresh, mut backlog) =
            (queues.fresh.iter().copied(), queues.backlog.iter().copied());
        // What lingers goes when it is enough, and else along with others.
        let has_any = if is_backlogs {
            fill(&mut backlog);
            fill(&mut fresh) && fill(&mut queues.lingering())
        } else {
            let has_fresh = fill(&mut fresh);
            let goes_along = has_fresh || is_enough;
            if goes_along {
                fill(&mut queues.lingering());
            }
            fill(&mut backlog) && (goes_along || fill(&mut queues.lingering()))
        };
        let (picks, blobs) = filling.finish();
        if let Some((_, opened_at)) = contest {
            let (fresh, backlog) = self.loads(&picks);
            self.turns.took(fresh, backlog, full, now.saturating_duration_since(opened_at));
        }
        has_any.then(|| self.begin(picks, false, blobs))
    }

    /// Whose turn it is, if both sides have something to send, and when the backlog's oldest was accepted.
    fn contest(&mut self, now: Instant, is_enough: bool) -> Option<(Side, Instant)> {
        let oldest = self.queues.backlog.first().and_then(|id| self.batches.get(id));
        let Some(opened_at) = oldest.map(|held| held.batch.opened_at()) else {
            self.turns.rest();
            return None;
        };
        let is_due = |id: &u64| self.batches.get(id).is_some_and(|held| held.is_due(now));
        let has_fresh = is_enough || self.queues.fresh.iter().any(is_due);
        if !(has_fresh && self.queues.backlog.iter().any(is_due)) {
            self.turns.rest();
            return None;
        }
        Some((self.turns.next(), opened_at))
    }

    /// What of a request is fresh, and what is of the backlog.
    fn loads(&self, picks: &[Pick]) -> (Load, Load) {
        let (mut fresh, mut backlog) = (Load::default(), Load::default());
        for (id, run) in runs(picks) {
            let is_backlog = self.batches.get(&id).is_some_and(|held| held.batch.is_backlog());
            let load = if is_backlog { &mut backlog } else { &mut fresh };
            load.records += run.len();
            load.bytes += run.iter().map(|pick| pick.bytes as usize).sum::<usize>();
        }
        (fresh, backlog)
    }

    /// One record to ask with, whether its time has come or not: any that is not suspect, if there is one.
    pub(super) fn next_probe(&mut self, random: &mut fastrand::Rng) -> Option<Request> {
        if !self.queues.is_empty() {
            let id = self.queues.all().nth(random.usize(..self.queues.len()))?;
            let held = self.batches.get(&id)?;
            let (index, record) = held.due(None).next()?;
            let picks = vec![pick(id, index, record.len())];
            return Some(self.begin_alone(picks, false));
        }
        let pick = self.inquest.as_mut()?.next_alone()?;
        Some(self.begin_alone(vec![pick], true))
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

    /// Whether nothing is left but records that were refused alone, and nothing that could say whether
    /// that is their fault: it looks like the stream's then.
    pub(super) fn is_stuck(&self) -> bool {
        self.totals.in_flight == 0
            && self.queues.is_empty()
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
        let has_more = |held: &&Held| held.counts.undelivered() > 0;
        let first = self.batches.values().find(has_more);
        // What was read back came late, and is older than that.
        let back = self.custody.as_ref().and_then(|custody| {
            custody.backlog.iter().filter_map(|id| self.batches.get(id)).find(has_more)
        });
        first.into_iter().chain(back).map(|held| held.batch.opened_at()).min()
    }

    /// When the next failed record may be sent again, or the next batch has lingered long enough, as far
    /// as `now` is before that.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let waiting = self.queues.fresh.iter().chain(&self.queues.backlog);
        let held = waiting.filter_map(|id| self.batches.get(id));
        let again_at = held.filter(|held| !held.is_due(now)).map(|held| held.again_at).min();
        earlier(again_at, self.queues.lingers_until().filter(|until| *until > now))
    }

    /// Lets every failed record be sent again at `at` at the latest, and nothing linger any more.
    pub(super) fn hurry(&mut self, at: Instant) {
        self.is_hurried = true;
        while let Some(id) = self.queues.any_lingering() {
            self.linger_no_more(id);
        }
        for held in self.batches.values_mut() {
            held.again_at = held.again_at.min(at);
        }
    }

    /// Lets everything go at the end: what is settled as such, so that only the rest counts as lost.
    pub(super) fn close(self) {
        self.batches.into_values().for_each(Held::close);
    }

    fn begin(&mut self, picks: Vec<Pick>, is_inquest: bool, blobs: Option<Blobs>) -> Request {
        self.inquest_in_flight += usize::from(is_inquest);
        self.shift_all(&picks, State::InFlight);
        let bytes = match &blobs {
            Some(blobs) => blobs.bytes(),
            None => picks.iter().map(|pick| pick.bytes as usize).sum(),
        };
        Request { picks, bytes, is_inquest, blobs }
    }

    /// Begins a request whose records are not joined.
    fn begin_alone(&mut self, picks: Vec<Pick>, is_inquest: bool) -> Request {
        let request = self.begin(picks, is_inquest, None);
        self.alone(request)
    }

    /// The same request, each record of it with the end that it would have among others.
    fn alone(&self, mut request: Request) -> Request {
        let form = self.joining.as_ref().map(|joining| joining.form);
        request.blobs = form.and_then(|form| form.each_alone(self.records(&request)));
        request.bytes = request.blobs.as_ref().map_or(request.bytes, Blobs::bytes);
        request
    }

    pub(super) fn shift_all(&mut self, picks: &[Pick], to: State) {
        for (id, run) in runs(picks) {
            for pick in run {
                self.shift(*pick, to);
            }
            self.requeue(id);
        }
    }

    pub(super) fn shift(&mut self, pick: Pick, to: State) {
        let held = self.batches.get_mut(&pick.batch);
        let held = held.expect("a batch stays while one of its records is under way or suspect");
        let from = held.shift(pick.index as usize, to);
        self.totals.shift(from, to);
        if let Some((_, load)) = &mut held.lingers {
            let one = Load { records: 1, bytes: pick.bytes as usize };
            if from == State::Ready {
                load.take(one);
                self.queues.take_lingering(one);
            } else if to == State::Ready {
                load.add(one);
                self.queues.add_lingering(one);
            }
        }
    }

    /// Puts a batch into the queue that it belongs into.
    pub(super) fn requeue(&mut self, id: u64) {
        let Some(held) = self.batches.get_mut(&id) else { return };
        // What failed has waited already.
        if held.counts.failed > 0
            && let Some((_, load)) = held.lingers.take()
        {
            self.queues.take_lingering(load);
        }
        let to = held.next_queue();
        if to != held.queue {
            self.queues.shift(id, held.queue, to);
            held.queue = to;
        }
    }

    fn linger_no_more(&mut self, id: u64) {
        let lingers = self.batches.get_mut(&id).and_then(|held| held.lingers.take());
        if let Some((_, load)) = lingers {
            self.queues.take_lingering(load);
        }
        self.requeue(id);
    }

    /// Takes a batch out.
    pub(super) fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.batches.remove(&id)?;
        self.queues.shift(id, held.queue, None);
        if let Some((_, load)) = held.lingers {
            self.queues.take_lingering(load);
        }
        if let Some(custody) = &mut self.custody {
            custody.leave(id, &held);
        }
        self.totals.remove(held.counts);
        Some(held)
    }

    /// Lets what is settled of a batch go: some records, or the whole batch.
    pub(super) fn tidy(&mut self, id: u64) -> Option<Batch> {
        self.requeue(id);
        let held = self.batches.get_mut(&id)?;
        self.totals.settled -= held.compact();
        if held.counts.undelivered() > 0 {
            return None;
        }
        if held.counts.aside > 0 {
            held.batch.set_aside();
            return None;
        }
        self.remove(id).map(|held| *held.batch)
    }

    /// Ends an inquest that has nothing left to find out and nothing on its way.
    pub(super) fn end_inquest(&mut self) {
        if self.inquest_in_flight == 0 && self.inquest.as_ref().is_some_and(Inquest::is_over) {
            self.inquest = None;
        }
    }
}

/// The name of a record.
pub(super) fn pick(batch: u64, index: usize, bytes: usize) -> Pick {
    let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
    Pick { batch, index: narrow(index), bytes: narrow(bytes) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
