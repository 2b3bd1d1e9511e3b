//! Whether the records of one stream may leave, by what it is told and by what the answers say.
//!
//! ```text
//!              told Open          told Half            told Closed, or no route
//!  told ─────► open ◄───true────┐ half: one record     shut
//!               │ ▲             │  │ true: waits to be told      ▲
//!               │ └─true─┐      │  │ nothing said: again later   │ false
//!      silence  ▼        │      │  └──────────────────────────────┤
//!               stale: one record ──────────────────────────────►┘
//! ```
//!
//! Pure: it is given `now` and the dice. What an answer says holds for the epoch in which its request
//! began, and only a newer epoch opens what an answer has shut. It knows no records and sends nothing;
//! backoff, circuit and hold are `flow`'s, and the stricter of both counts.

use std::mem::discriminant;
use std::time::{Duration, Instant};

use super::code::Code;
use super::flow::Permit;
use super::outcome::Reason;
use crate::aws::Backoff;
use crate::gate::{Flag, Guidance, Passage, Route};

/// See the module.
#[derive(Debug)]
pub(super) struct Passing {
    told: Guidance,
    /// How long an answer counts as news, where nothing was said before: from the telling on.
    sure_at: Instant,
    /// Which flags answers have had in this epoch, in the order of [`Flag::ALL`].
    heard: [bool; 3],
    /// Whether an answer of this epoch said that the stream is not encrypted, where it has to be.
    is_refuted: bool,
    /// Whether the one record of a half-open passage has its answer.
    is_decided: bool,
    /// How many records have left unencrypted in this epoch, as far as answers say so.
    unencrypted: u64,
    probe: Probe,
    attempts: u32,
    backoff: Backoff,
    /// Whether answers on this route have a flag at all.
    speaks: bool,
    /// Since when nothing but one record may leave.
    shut_since: Option<Instant>,
    /// Whether the last change that was told to people was an opening.
    was_open: bool,
}

/// The one record that goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// None was sent.
    Unsent,
    /// It is on its way.
    UnderWay,
    /// It came to nothing that says anything, and the next one goes at this time.
    Again(Instant),
}

/// How the passage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stance {
    Open,
    Half,
    Shut,
}

/// What an answer has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing that anybody should know.
    Nothing,
    /// Something that the control plane is to be told. `wakes`: it waits for it.
    Flag {
        /// See [`crate::gate::Gate::saw`].
        wakes: bool,
    },
}

/// What a telling has brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The route or the passage is another one.
    pub(super) is_new_epoch: bool,
    /// The route is another one.
    pub(super) is_new_route: bool,
}

/// A change that is worth a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shift {
    /// Records may leave no more.
    Shut {
        /// Why.
        reason: Reason,
        /// The epoch in which that is so.
        epoch: u64,
        /// How many records had left unencrypted in it, where an answer has shut it.
        unencrypted: Option<u64>,
    },
    /// They may.
    Opened {
        /// The epoch in which that is so.
        epoch: u64,
    },
}

impl Passing {
    /// A stream that is told this at its beginning. A record that went first and came to nothing is followed
    /// by another after a wait between `backoff_min` and `backoff_max`.
    pub(super) fn new(
        now: Instant,
        told: Guidance,
        backoff_min: Duration,
        backoff_max: Duration,
    ) -> Self {
        let mut passing = Self {
            told,
            sure_at: now,
            heard: [false; 3],
            is_refuted: false,
            is_decided: false,
            unencrypted: 0,
            probe: Probe::Unsent,
            attempts: 0,
            backoff: Backoff::new(backoff_min, backoff_max),
            speaks: false,
            shut_since: None,
            was_open: true,
        };
        passing.look(now);
        passing
    }

    /// What it was told last.
    pub(super) const fn told(&self) -> &Guidance {
        &self.told
    }

    /// It is told this now.
    pub(super) fn tell(&mut self, now: Instant, told: &Guidance) -> News {
        let is_new_route = told.route != self.told.route;
        let is_same_way = told.route.is_same_way(&self.told.route);
        let is_new_passage = discriminant(&told.passage) != discriminant(&self.told.passage);
        let is_new_epoch = is_new_route || is_new_passage || told.epoch != self.told.epoch;
        self.told = told.clone();
        if is_new_epoch {
            self.sure_at = now;
            self.heard = [false; 3];
            self.is_refuted = false;
            self.is_decided = false;
            self.unencrypted = 0;
            self.probe = Probe::Unsent;
            self.attempts = 0;
            self.speaks &= is_same_way;
        }
        if self.told.proof_holds.is_none() && self.stance() == Stance::Open {
            self.end_trial();
        }
        self.look(now);
        News { is_new_epoch, is_new_route }
    }

    /// What may leave at `now`, when `in_flight` requests are under way.
    pub(super) fn permit(&self, now: Instant, in_flight: usize) -> Permit {
        match self.stance() {
            Stance::Shut => return Permit::Nothing { until: None },
            Stance::Open if !self.is_on_trial(now) => return Permit::Full,
            // What is under way may say it yet. More beside it would go on for ever, were it always so.
            Stance::Open if in_flight > 0 && self.probe == Probe::Unsent => {
                return Permit::Nothing { until: None };
            }
            Stance::Open | Stance::Half => {}
        }
        match self.probe {
            Probe::UnderWay => Permit::Nothing { until: None },
            Probe::Again(at) if at > now => Permit::Nothing { until: Some(at) },
            Probe::Unsent | Probe::Again(_) => Permit::Probe,
        }
    }

    /// A request begins at `now` that [`Passing::permit`] has let pass.
    pub(super) fn began(&mut self, now: Instant) {
        if self.stance() == Stance::Half || self.is_on_trial(now) {
            self.probe = Probe::UnderWay;
        }
    }

    /// An answer came to a request that began in `epoch`, of which `put` records were put.
    ///
    /// Where none was put, only `false` says anything: a record that was not taken has confirmed nothing.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        epoch: u64,
        flag: Flag,
        put: usize,
        random: &mut fastrand::Rng,
    ) -> Heard {
        let is_said = put > 0 || flag == Flag::Plain;
        if epoch != self.told.epoch {
            return if is_said { Heard::Flag { wakes: false } } else { Heard::Nothing };
        }
        if !is_said {
            self.came_to_nothing(now, random);
            return Heard::Nothing;
        }
        let is_awaited = self.stance() == Stance::Half || self.probe != Probe::Unsent;
        let is_news = self.is_first(flag);
        match flag {
            Flag::Encrypted => self.confirmed(now),
            Flag::Plain => self.refuted(put),
            // It is all that a service without flags ever says: that shuts no passage that is open.
            Flag::Absent if !self.speaks && self.stance() == Stance::Open => {
                self.sure_at = now;
                self.end_trial();
            }
            Flag::Absent => self.came_to_nothing(now, random),
        }
        self.look(now);
        Heard::Flag { wakes: is_awaited || is_news }
    }

    /// A request that began in `epoch` came to nothing.
    pub(super) fn failed(&mut self, now: Instant, epoch: u64, random: &mut fastrand::Rng) {
        if epoch == self.told.epoch {
            self.came_to_nothing(now, random);
        }
    }

    /// The process stops: the next record goes first at `at` at the latest.
    pub(super) fn shorten(&mut self, at: Instant) {
        if let Probe::Again(again_at) = &mut self.probe {
            *again_at = (*again_at).min(at);
        }
    }

    /// Whether nothing leaves at all until something else is told.
    pub(super) fn is_shut(&self) -> bool {
        self.stance() == Stance::Shut
    }

    /// Since when no more than one record may leave, if that is so.
    pub(super) const fn shut_since(&self) -> Option<Instant> {
        self.shut_since
    }

    /// Why no more than one record may leave, if that is so.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.shut_since?;
        let unencrypted = |why: &str| Some(Reason::ours(Code::NotEncrypted, why));
        match (&self.told.route, &self.told.passage) {
            (Route::Unknown, _) => Some(Reason::ours(Code::NoRoute, ROUTE_UNKNOWN)),
            (Route::Nowhere(why), _) => Some(Reason::ours(Code::NoRoute, why)),
            (_, Passage::Closed(why)) => unencrypted(why),
            _ if self.is_refuted => unencrypted(REFUTED),
            (_, Passage::Half) if self.is_decided => unencrypted(DECIDED),
            (_, Passage::Half) => unencrypted(HALF),
            (_, Passage::Open) => unencrypted(STALE),
        }
    }

    /// Whether records may leave or may no more, if that has changed since this was asked last.
    pub(super) fn shift(&mut self) -> Option<Shift> {
        let is_open = self.stance() == Stance::Open;
        if std::mem::replace(&mut self.was_open, is_open) == is_open {
            return None;
        }
        let epoch = self.told.epoch;
        if is_open {
            return Some(Shift::Opened { epoch });
        }
        let unencrypted = self.is_refuted.then_some(self.unencrypted);
        Some(Shift::Shut { reason: self.reason()?, epoch, unencrypted })
    }

    fn stance(&self) -> Stance {
        match (&self.told.route, &self.told.passage) {
            (Route::Unknown | Route::Nowhere(_), _) | (_, Passage::Closed(_)) => Stance::Shut,
            _ if self.is_refuted || self.is_decided => Stance::Shut,
            (_, Passage::Half) => Stance::Half,
            (_, Passage::Open) => Stance::Open,
        }
    }

    /// Whether one record goes first although the passage is open: no answer has said anything for too long.
    fn is_on_trial(&self, now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.sure_at);
        let is_stale = self.told.proof_holds.is_some_and(|holds| silence > holds);
        self.stance() == Stance::Open && (is_stale || self.probe != Probe::Unsent)
    }

    /// Whether no answer of this epoch had this flag before.
    fn is_first(&mut self, flag: Flag) -> bool {
        let heard = Flag::ALL.iter().zip(&mut self.heard).find(|(known, _)| **known == flag);
        heard.is_some_and(|(_, heard)| !std::mem::replace(heard, true))
    }

    const fn confirmed(&mut self, now: Instant) {
        self.speaks = true;
        self.sure_at = now;
        self.is_decided = matches!(self.told.passage, Passage::Half);
        self.end_trial();
    }

    const fn refuted(&mut self, put: usize) {
        self.speaks = true;
        self.unencrypted += put as u64;
        self.is_refuted |= self.told.proof_holds.is_some();
        self.is_decided = matches!(self.told.passage, Passage::Half);
        self.end_trial();
    }

    const fn end_trial(&mut self) {
        self.probe = Probe::Unsent;
        self.attempts = 0;
    }

    fn came_to_nothing(&mut self, now: Instant, random: &mut fastrand::Rng) {
        if self.probe == Probe::UnderWay {
            self.attempts = self.attempts.saturating_add(1);
            self.probe = Probe::Again(now + self.backoff.long_wait(self.attempts, random));
            self.look(now);
        }
    }

    /// Keeps since when it is shut.
    fn look(&mut self, now: Instant) {
        let is_open = self.stance() == Stance::Open && self.attempts == 0;
        self.shut_since = if is_open { None } else { self.shut_since.or(Some(now)) };
    }
}

const ROUTE_UNKNOWN: &str = "the service is being asked where the records of this stream go";

const REFUTED: &str = "an answer of the service says that the stream is not encrypted";

const HALF: &str = "one record goes first: its answer says whether the stream is encrypted";

const DECIDED: &str = "the answer to the one record that went first has come and is being judged";

const STALE: &str =
    "no answer has confirmed the encryption of late: one record goes first, again and again";

#[cfg(test)]
#[path = "passage_tests.rs"]
mod tests;
