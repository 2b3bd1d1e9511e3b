//! One stream under control: what is declared of it, what was seen, and what follows. Pure: it is given the
//! time and the dice.
//!
//! ```text
//!  declared ─┐                         ┌─► Guidance: route, passage, epoch ─► the gate
//!  described ┼─► guard, owner, place ──┤
//!  seen, now ┘                         └─► Action: ask the service, change the stream, tell a person
//! ```
//!
//! `guard` says whether the stream is known to be encrypted, `owner` what brings it to what it is meant to be;
//! both have their diagrams. Here they meet, with where the records go and with when the service is asked
//! next: at once when records wait for the answer, ever more seldom when it stays the same, and once in a long
//! while when all is well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Config;
use super::calls::{CallKind, Calls};
use super::declared::{Declared, Destination, Policy, Target};
use super::guard::{Guard, Stand};
use super::kept::{Kept, KeptRoute};
use super::observed::{Description, Place};
use super::owner::{Now, Outcome, Owner, Wish};
use super::trouble::{Class, Trouble};
use super::waits::Waits;
use super::words;
use crate::gate::{DataStream, Doubt, Flag, Guidance, Joins, Passage, Proof, Route, Seen};

/// How long the route of a stream may stay unknown before it is assumed.
const ROUTE_WAIT_MAX: Duration = Duration::from_secs(5);

/// The longest time after the start in which a stream whose route was kept is asked about again.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) declared: Declared,
    pub(super) guard: Guard,
    pub(super) owner: Owner,
    pub(super) calls: Calls,
    place: Option<Place>,
    is_assumed: bool,
    pub(super) description: Option<(Description, Instant)>,
    /// Why the service can not be asked.
    pub(super) trouble: Option<Trouble>,
    /// When the question that is under way was asked.
    asking: Option<Instant>,
    describe_at: Option<Instant>,
    opened_at: Instant,
    /// How often in a row the service was asked in haste, or in vain.
    looks: u32,
    /// How often in a row a doubt made it be asked.
    doubtful_looks: u32,
    waits: Waits,
    guidance: Guidance,
    passage_since: Instant,
    /// Whether the next answer decides.
    is_trying: bool,
    handled: [Option<Proof>; 3],
    handled_doubts: u64,
    random: fastrand::Rng,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing before that time, or before something is heard.
    Nothing(Option<Instant>),
    /// The service is to be asked.
    Describe,
    /// The stream is to be changed. The calls are to be kept first.
    Call(CallKind, Target, Place),
    /// A person is to be told.
    Tell(Outcome),
}

impl Machine {
    /// The control of a stream that begins now.
    pub(super) fn new(
        declared: Declared,
        config: &Config,
        kept: Kept,
        now: Instant,
        mut random: fastrand::Rng,
    ) -> Self {
        let default_place = kept.place(&declared.destination);
        let records_wait = default_place.is_none() || declared.policy == Policy::Require;
        let describe_at = if records_wait || declared.manage.is_some() {
            Some(now)
        } else if !declared.is_asked_about() {
            None
        } else {
            let within = FIRST_LOOK_MAX.min(config.watch_interval);
            Some(now + within.mul_f64(random.f64()))
        };
        let mut machine = Self {
            guard: Guard::new(now, config.settle, config.poll_max, config.proof_holds),
            owner: Owner::new(declared.manage.clone(), Waits::pace(config)),
            calls: kept.calls,
            place: default_place,
            is_assumed: false,
            description: None,
            trouble: None,
            asking: None,
            describe_at,
            opened_at: now,
            looks: 0,
            doubtful_looks: 0,
            waits: Waits::new(config),
            guidance: Guidance::unminded(),
            passage_since: now,
            is_trying: false,
            handled: [None; 3],
            handled_doubts: 0,
            random,
            declared,
        };
        machine.guidance = machine.guided();
        machine
    }

    /// What the data plane is told.
    pub(super) const fn guidance(&self) -> &Guidance {
        &self.guidance
    }

    /// Since when the passage is as it is.
    pub(super) const fn passage_since(&self) -> Instant {
        self.passage_since
    }

    /// Whether where the records go was assumed, since the service can not be asked.
    pub(super) const fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// When the service is asked next.
    pub(super) const fn describe_at(&self) -> Option<Instant> {
        self.describe_at
    }

    /// Where the records go, as far as it is known or assumed.
    pub(super) fn place(&self) -> Place {
        self.place.clone().unwrap_or(Place::Firehose)
    }

    /// What is to be kept over a restart.
    pub(super) fn kept(&self) -> Kept {
        let described = self.description.as_ref().map(|(description, _)| &description.place);
        // What was kept is kept on while the service can not be asked.
        let is_kept = self.declared.destination == Destination::Auto && !self.is_assumed;
        let before = self.place.as_ref().filter(|_| is_kept);
        let route = described.or(before).and_then(KeptRoute::of);
        Kept { route, calls: self.calls.clone() }
    }

    /// What is to be done now. What it says to do is under way then. Nothing is asked unless `may_ask`.
    pub(super) fn next(&mut self, now: Now, may_ask: bool) -> Action {
        self.guard.tick(now.at);
        self.calls.come_back(now.unix_ms);
        let is_late = now.at.saturating_duration_since(self.opened_at) >= ROUTE_WAIT_MAX;
        if self.place.is_none() && is_late {
            self.assume();
        }
        self.refresh(now.at);
        if self.asking.is_some() {
            return Action::Nothing(self.due_at(None));
        }
        let place = self.place();
        let seen = self.description.as_ref().map(|(description, at)| (&description.observed, *at));
        let wish = self.owner.wish(seen, &place, &self.calls, now);
        let until = match wish {
            Wish::Call(kind, target) => {
                let own = self.owner.calling(kind);
                self.calls.count(kind, own, now.unix_ms);
                return Action::Call(kind, target, place);
            }
            Wish::Done(outcome) => {
                self.owner.end_order(&outcome);
                return Action::Tell(outcome);
            }
            Wish::Look { at_once } => {
                let wait = if at_once { Duration::ZERO } else { self.haste() };
                self.ask_by(now.at + wait);
                None
            }
            Wish::Nothing(until) => until,
        };
        if may_ask && self.describe_at.is_some_and(|at| at <= now.at) {
            self.describe_at = None;
            self.asking = Some(now.at);
            return Action::Describe;
        }
        Action::Nothing(self.due_at(until))
    }

    /// The service has answered the question that was under way, or not. Says what became of a person's order,
    /// if that ends it.
    pub(super) fn described(
        &mut self,
        result: Result<Description, Trouble>,
        now: Instant,
    ) -> Option<Outcome> {
        let asked_at = self.asking.take()?;
        self.owner.answer_took(now.saturating_duration_since(asked_at));
        let mut outcome = None;
        match result {
            Ok(description) => {
                let is_same = self.description.as_ref().is_some_and(|(last, _)| {
                    last.observed == description.observed && last.place == description.place
                });
                self.looks = if is_same { self.looks.saturating_add(1) } else { 0 };
                self.trouble = None;
                self.is_assumed = false;
                if self.place.as_ref() != Some(&description.place) {
                    if self.place.as_ref().is_some_and(|place| !place.is_same(&description.place)) {
                        self.guard.forget(now);
                    }
                    self.place = Some(description.place.clone());
                    self.doubtful_looks = 0;
                }
                if description.place != Place::Nowhere {
                    self.guard.described(description.observed.sse, asked_at, now);
                }
                self.description = Some((description, asked_at));
            }
            Err(trouble) => {
                self.looks = self.looks.saturating_add(1);
                outcome = self.owner.fail_order(&trouble);
                if trouble.class == Class::NotFound {
                    // One that is made again under its name is another stream.
                    self.guard.forget(now);
                }
                self.trouble = Some(trouble);
                if self.place.is_none() {
                    self.assume();
                }
            }
        }
        self.refresh(now);
        let next = self.next_look();
        self.describe_at = next.map(|wait| now + wait);
        outcome
    }

    /// A call came back. Says what became of a person's order, if it was one.
    pub(super) fn called(&mut self, result: Result<(), Trouble>, now: Now) -> Option<Outcome> {
        self.looks = 0;
        let outcome = self.owner.called(result, now, &mut self.random);
        let wait = self.haste();
        self.ask_by(now.at + wait);
        outcome
    }

    /// A person orders a change. Says no when another order or a call is under way.
    pub(super) fn order(&mut self, target: Target, now: Now) -> bool {
        self.owner.order(target, now)
    }

    /// The data plane has seen that.
    pub(super) fn seen(&mut self, seen: &Seen, now: Instant) {
        let mut news: Vec<(Flag, Proof)> = Vec::new();
        for (flag, handled) in Flag::ALL.into_iter().zip(&mut self.handled) {
            if let Some(proof) = seen.last(flag)
                && handled.replace(proof) != Some(proof)
            {
                news.push((flag, proof));
            }
        }
        news.sort_by_key(|(_, proof)| proof.at);
        for (flag, proof) in news {
            // An answer to a request of an earlier epoch says nothing of this one.
            if proof.epoch != self.guidance.epoch {
                continue;
            }
            self.doubtful_looks = 0;
            let before = self.guard.stand();
            self.guard.answered(flag, proof.at, now);
            self.refresh(now);
            let is_denied = before != self.guard.stand() && self.guard.stand() == Stand::Plain;
            if is_denied && self.declared.policy != Policy::Ignore {
                self.looks = 0;
                self.ask_soon(now);
            }
        }
        let doubts = seen.doubts(Doubt::Source) + seen.doubts(Doubt::Key);
        if doubts != self.handled_doubts {
            self.handled_doubts = doubts;
            let wait = self.waits.poll.long_wait(self.doubtful_looks, &mut self.random);
            self.doubtful_looks = self.doubtful_looks.saturating_add(1);
            let at = self.declared.is_asked_about().then(|| now + wait);
            at.into_iter().for_each(|at| self.ask_by(at));
        }
    }

    /// Whether records wait for what the service says.
    fn is_urgent(&self) -> bool {
        let is_closed = self.declared.policy == Policy::Require
            && matches!(self.guard.stand(), Stand::Unknown | Stand::Plain);
        let is_nowhere = self.place == Some(Place::Nowhere);
        is_closed || is_nowhere || self.is_assumed || self.owner.is_busy()
    }

    /// How long until the service is asked again.
    fn next_look(&mut self) -> Option<Duration> {
        if self.is_urgent() {
            return Some(self.haste());
        }
        if self.trouble.is_some() {
            return Some(self.waits.calm.long_wait(self.looks, &mut self.random));
        }
        let is_asked_about = self.declared.is_asked_about();
        is_asked_about.then(|| self.waits.watch.mul_f64(0.5 + self.random.f64()))
    }

    /// A short wait that grows with every look that brought nothing new.
    fn haste(&mut self) -> Duration {
        self.waits.poll.long_wait(self.looks.saturating_add(1), &mut self.random)
    }

    fn ask_soon(&mut self, now: Instant) {
        let wait = self.waits.after_denial(self.guard.contradictions(), &mut self.random);
        self.ask_by(now + wait);
    }

    fn ask_by(&mut self, at: Instant) {
        self.describe_at = Some(self.describe_at.map_or(at, |before| before.min(at)));
    }

    fn assume(&mut self) {
        self.place = Some(Place::Firehose);
        self.is_assumed = true;
    }

    fn due_at(&self, until: Option<Instant>) -> Option<Instant> {
        let route_at = self.place.is_none().then(|| self.opened_at + ROUTE_WAIT_MAX);
        let describe_at = self.describe_at.filter(|_| self.asking.is_none());
        [until, describe_at, self.guard.due_at(), route_at].into_iter().flatten().min()
    }

    /// Brings the guidance up to date. A new epoch begins when the route or the passage is another one.
    fn refresh(&mut self, now: Instant) {
        let mut guided = self.guided();
        let is_same_passage = std::mem::discriminant(&guided.passage)
            == std::mem::discriminant(&self.guidance.passage);
        if !is_same_passage {
            self.passage_since = now;
        }
        // Where encryption is not required the passage stays as it is, and the next answer is to be heard all
        // the same, even if it says what the one before it said.
        let is_trying = self.guard.stand() == Stand::Trying;
        let is_new_try = is_trying && !self.is_trying;
        self.is_trying = is_trying;
        let is_new = !is_same_passage || guided.route != self.guidance.route || is_new_try;
        guided.epoch = self.guidance.epoch + u64::from(is_new);
        self.guidance = guided;
    }

    fn guided(&self) -> Guidance {
        let route = match &self.place {
            None => Route::Unknown,
            Some(Place::Firehose) => Route::Firehose,
            Some(Place::Kinesis { id, record_bytes_max }) => Route::Kinesis(Arc::new(DataStream {
                id: Arc::clone(id),
                record_bytes_max: *record_bytes_max,
            })),
            Some(Place::Nowhere) => Route::Nowhere(words::nowhere(self.description.as_ref())),
        };
        let requires = self.declared.policy == Policy::Require;
        let passage = match self.guard.stand() {
            _ if !requires => Passage::Open,
            Stand::Proven => Passage::Open,
            Stand::Trying => Passage::Half,
            Stand::Unknown | Stand::Plain | Stand::Settling { .. } => {
                Passage::Closed(words::closed(self))
            }
        };
        Guidance {
            route,
            passage,
            epoch: self.guidance.epoch,
            proof_holds: requires.then_some(self.waits.proof_holds),
            joins: self
                .description
                .as_ref()
                .map_or(Joins::UNKNOWN, |(described, _)| described.joins),
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
