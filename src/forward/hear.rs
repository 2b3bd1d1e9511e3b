//! The third of a worker that deals with its spool: what it says, and how memory is kept in bounds.
//!
//! Without a spool a worker hears of batches and of nothing else, and has nothing to tend to.

use std::time::{Duration, Instant};

use super::flow::Permit;
use super::letters::Cause;
use super::outcome::Reason;
use super::overflow::{self, Outlook, earlier};
use super::request::Note;
use super::spooling::Spooling;
use super::thread::Mode;
use super::worker::Worker;
use crate::pipeline::{self, Batch, NotDurable, Origin, Ticket};
use crate::spool::Word;

/// How often a stop that delivers the backlog looks whether there is any left.
const BACKLOG_LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Worker {
    /// Takes a batch in, or what became of a copy or of a letter.
    pub(super) fn hear(&mut self, word: Word) {
        match word {
            Word::Batch(batch) => self.plan.push(batch),
            Word::Spooled { id, result, .. } => self.spooled(id, result),
            Word::SetAside { id, result, .. } => self.buried(id, result),
        }
    }

    fn spooled(&mut self, name: u64, result: Result<Origin, NotDurable>) {
        let Some(spooling) = &mut self.spooling else { return };
        match result {
            Ok(origin) => {
                let secured = self.plan.secured(name, origin);
                spooling.note(secured.note);
                spooling.metrics.records_spilled.increment(secured.records as u64);
                if spooling.kept() {
                    self.report.spooled_again();
                }
                self.tell_spooled(secured.tickets);
            }
            Err(why) => {
                let now = Instant::now();
                let records = self.plan.not_secured(name);
                spooling.metrics.records_not_spilled.increment(records as u64);
                spooling.refused(now);
                self.report.not_spooled(now, records, why);
            }
        }
    }

    fn buried(&mut self, name: u64, result: Result<(), NotDurable>) {
        let Some(spooling) = &mut self.spooling else { return };
        match result {
            Ok(()) => {
                let Some(buried) = self.plan.buried(name) else { return };
                spooling.note(buried.note);
                spooling.metrics.records_dead_lettered.increment(1);
                if spooling.letters.taken(name) {
                    self.report.letters_taken();
                }
                self.let_go(buried.done.into_iter().collect());
            }
            Err(why) => {
                if spooling.letters.refused(name, why, Instant::now(), &mut self.random) {
                    self.report.letter_refused(why);
                }
            }
        }
    }

    /// Notes what is settled where the disk has it.
    pub(super) fn note_on_disk(&self, notes: Vec<Note>) {
        if let Some(spooling) = &self.spooling {
            spooling.note(notes);
        }
    }

    /// Makes a dead letter of a record that was set aside.
    pub(super) fn write_letter(&mut self, name: u64, proof: &'static str, reason: &Reason) {
        if let Some(spooling) = &mut self.spooling {
            let (code, message) = (reason.text.clone(), reason.message.clone());
            let cause = Cause { reason: proof, code, message };
            spooling.set_aside(&mut self.plan, name, cause);
        }
    }

    fn tell_spooled(&self, tickets: Vec<Ticket>) {
        if !tickets.is_empty() {
            let words = tickets.into_iter().map(|ticket| (ticket, pipeline::Word::Spooled));
            self.shared.post.settle(words);
        }
    }

    /// Keeps memory in its bounds. Says when to look again.
    pub(super) fn tend(&mut self) -> Option<Instant> {
        self.spooling.as_ref()?;
        let now = Instant::now();
        let (outlook, changes_at) = self.outlook(now);
        let spooling = self.spooling.as_mut()?;
        let tended =
            spooling.tend(now, &mut self.plan, self.lane.share(), outlook, self.passing.is_shut());
        self.tell_spooled(tended.tickets);
        if tended.has_let_go {
            self.ring_if_settled();
        }
        let is_draining = matches!(*self.shared.modes.borrow(), Mode::Drain { .. });
        // Nobody says when the disk has nothing more.
        let polls = is_draining
            && (self.stops.delivers_backlog
                || self.spooling.as_ref().is_some_and(Spooling::is_expecting));
        let look_at = earlier(tended.look_at, polls.then_some(now + BACKLOG_LOOK_INTERVAL));
        earlier(look_at, changes_at)
    }

    /// What may be sent at `now`.
    pub(super) fn permit(&self, now: Instant) -> Permit {
        if let Some(spooling) = &self.spooling {
            let is_ending = self.outlook(now).0 == Outlook::Ending { keeps: false };
            if spooling.letters.block().is_some() || (is_ending && !spooling.is_failing()) {
                return Permit::Nothing { until: None };
            }
        }
        let in_flight = self.flights.len();
        self.passing.permit(now, in_flight).and(self.flow.permit(now, in_flight))
    }

    /// How the stream and the process stand at `now`, and when that changes by itself.
    fn outlook(&self, now: Instant) -> (Outlook, Option<Instant>) {
        let stop = match *self.shared.modes.borrow() {
            Mode::Drain { spool_at } => Some(spool_at),
            Mode::Run | Mode::End => None,
        };
        overflow::outlook(now, self.blocked_since(), stop, self.stops)
    }

    /// Since when the stream can not be sent to, if that is so.
    fn blocked_since(&self) -> Option<Instant> {
        let letters = self.spooling.as_ref().and_then(|spooling| spooling.letters.block());
        let since = earlier(self.flow.blocked_since(), self.passing.shut_since());
        earlier(since, letters.map(|(since, _)| since))
    }

    /// Whether a stop has nothing to wait for here.
    pub(super) fn is_done(&self) -> bool {
        let has_nothing = self.words.is_empty() && self.plan.counts().undelivered() == 0;
        let Some(spooling) = &self.spooling else { return has_nothing };
        match self.outlook(Instant::now()).0 {
            Outlook::Ending { keeps: false } => {
                let is_answered = self.flights.is_empty() || self.flow.blocked_since().is_some();
                // A letter that the store does not take is spooled with its batch.
                let is_all_there = if spooling.letters.block().is_some() {
                    self.plan.is_all_copied()
                } else {
                    self.plan.is_all_on_disk()
                };
                self.words.is_empty() && is_all_there && is_answered
            }
            // What the disk has just been given comes from there, and is delivered like the rest.
            Outlook::Draining => {
                !spooling.is_expecting() && has_nothing && self.plan.is_all_on_disk()
            }
            Outlook::Flowing | Outlook::Blocked | Outlook::Ending { keeps: true } => {
                has_nothing && self.plan.is_all_on_disk() && spooling.has_no_backlog()
            }
        }
    }

    /// Lets batches go of which everything is settled, and wakes who waits until nothing is outstanding.
    pub(super) fn let_go(&self, done: Vec<Batch>) {
        done.into_iter().for_each(Batch::settle);
        self.ring_if_settled();
    }

    fn ring_if_settled(&self) {
        if self.lane.take_awaited() {
            self.shared.post.ring_all();
        }
    }
}
