//! What an answer brings to the plan: records are settled, wait for another try, or are looked into.
//!
//! Pure: it is given `now`. Every record is settled by its own place in the request. It sends nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use super::held::State;
use super::inquest::{Finding, Inquest};
use super::plan::Plan;
use super::request::{Fate, Part, Pick, Request, Settlement, TakenOut, Verdict, runs};
use crate::pipeline::Batch;

impl Plan {
    /// The service answered for each record, or for the blob that it is in: `fate` says what, by the record's
    /// place in the request.
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
        let Request { picks, is_inquest, blobs, .. } = request;
        self.inquest_in_flight -= usize::from(is_inquest);
        let mut settlement = Settlement::default();
        let mut suspects: BTreeMap<usize, Vec<Pick>> = BTreeMap::new();
        let (mut place, mut all_put) = (0, 0);
        for (id, run) in runs(&picks) {
            let (mut put, mut again) = (0, 0);
            let mut numbers = Vec::new();
            let is_noted = self.is_noted(id);
            for pick in run {
                let fate = fate(place);
                match fate {
                    Fate::Put => {
                        put += 1;
                        if is_noted {
                            numbers.extend(self.number(*pick));
                        }
                        self.shift(*pick, State::Settled);
                    }
                    Fate::Again => {
                        again += 1;
                        self.shift(*pick, State::Failed);
                    }
                    Fate::Aside => {
                        let letter = self.set_aside(*pick);
                        settlement.letters.extend(letter.map(|name| (place, name)));
                    }
                    Fate::Suspect => {
                        self.shift(*pick, State::Suspect);
                        let entry = blobs.as_ref().map_or(place, |blobs| blobs.entry_of(place));
                        suspects.entry(entry).or_default().push(*pick);
                    }
                }
                place += 1;
            }
            settlement.again += again;
            all_put += put;
            settlement.notes.extend(self.settled_on_disk(id, numbers));
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
        if !suspects.is_empty() {
            // Others of the same request went through, which is what a witness has to have seen.
            let inquest = self.inquest.get_or_insert_with(|| Inquest::new(began_at));
            suspects.into_values().for_each(|group| inquest.put_back(group));
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
                self.totals.settled -= held.compact();
            }
            self.requeue(id);
        }
    }

    /// The records of a request at these places, which grow, are at fault, and are not sent with the others.
    pub(super) fn take_out(&mut self, request: &mut Request, places: &[usize]) -> TakenOut {
        let mut taken = TakenOut::default();
        let picks = request.take_out(places);
        if request.picks.is_empty() {
            self.inquest_in_flight -= usize::from(std::mem::take(&mut request.is_inquest));
        }
        for pick in &picks {
            taken.letters.push((pick.bytes as usize, self.set_aside(*pick)));
        }
        for (id, _) in runs(&picks) {
            taken.done.extend(self.tidy(id));
        }
        self.end_inquest();
        taken
    }

    /// The records go elsewhere from now on: what was put before says nothing of who is at fault there.
    pub(super) fn rerouted(&mut self, now: Instant) {
        if let Some(inquest) = &mut self.inquest {
            inquest.renew(now);
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
                let letter = self.set_aside(pick);
                let done = self.tidy(pick.batch).into_iter().collect();
                self.end_inquest();
                (Verdict::SetAside { bytes: pick.bytes as usize, letter }, done)
            }
        }
    }
}
