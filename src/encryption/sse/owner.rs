//! The owner of one stream: what brings its encryption to what it is meant to be. Pure: it is given the time.
//!
//! ```text
//!          differs, looked again           call made             taken, or a change is under way
//!  Idle ─────────────────────────► (call) ───────────► Calling ────────────────────────────► Changing
//!   ▲ ▲                                                   │ refused                              │
//!   │ └────── waits: the pace, the day's limit ◄──────────┘                                      │
//!   └───────────────────────────────── the change has ended, well or not ◄───────────────────────┘
//! ```
//!
//! Only a declared owner changes a stream, and only after a second look: another one may just have done it.
//! Calls that nobody asked for are made ever more seldom the more there were in 24 hours, so that two owners
//! who disagree do not use them up. A person's order is done at once, within what the service allows; it is
//! in force until the process restarts. Encryption is never stopped but when that is declared or ordered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::calls::{CallKind, Calls};
use super::declared::Target;
use super::observed::{Need, Observed, Place};
use super::trouble::{Class, Trouble};

/// The time by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) unix_ms: u64,
}

impl Now {
    /// When that is by the other clock, or now when it is past.
    fn of_unix(self, unix_ms: u64) -> Instant {
        self.at + Duration::from_millis(unix_ms.saturating_sub(self.unix_ms))
    }
}

/// How often calls are made without a person asking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The wait between the first two; it doubles.
    pub(super) min: Duration,
    /// The most in 24 hours.
    pub(super) calls_max: u32,
}

/// The longest wait between two calls that nobody asked for.
const PACE_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// The first wait after the service said that the calls of the day are used up; it doubles.
const LIMIT_WAIT_MIN: Duration = Duration::from_secs(60 * 60);

/// The longest such wait.
const LIMIT_WAIT_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// How old what was seen may be for a call to be made on it, besides the time that the answer took.
const FRESH: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Owner {
    /// What is declared, if this process sees to it.
    declared: Option<Target>,
    /// What a person has ordered in this life.
    by_hand: Option<Target>,
    /// An order that is not done yet.
    order: Option<Order>,
    phase: Phase,
    pace: Pace,
    /// When it was first seen that a call is needed.
    noticed_at: Option<Instant>,
    /// No call before this, since the service said that there are none left.
    limited_until: Option<Instant>,
    limits_in_row: u32,
    /// Why the last call came to nothing.
    trouble: Option<Trouble>,
    /// How long the service took to say how it stands.
    took: Duration,
}

#[derive(Debug)]
struct Order {
    at: Instant,
    target: Target,
    /// What was in force by hand before.
    before: Option<Target>,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Idle,
    /// A call is under way.
    Calling(CallKind),
    /// The service was asked at that time and is at it.
    Changing(Instant),
}

/// What the owner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing, or nothing before that time.
    Nothing(Option<Instant>),
    /// The service is to be asked how it stands: now, or soon.
    Look {
        /// A person waits for it.
        at_once: bool,
    },
    /// A call is to be made.
    Call(CallKind, Target),
    /// A person's order is done, or can not be.
    Done(Outcome),
}

/// What became of a person's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The service took the call, or nothing had to be done.
    Done(Option<CallKind>),
    /// It can not be, and why.
    Impossible(Arc<str>),
    /// A change is under way.
    Busy,
    /// There are no calls left until then, if that is known.
    NoCalls(Option<Instant>),
    /// The call failed.
    Failed(Trouble),
}

impl Owner {
    pub(super) const fn new(declared: Option<Target>, pace: Pace) -> Self {
        Self {
            declared,
            by_hand: None,
            order: None,
            phase: Phase::Idle,
            pace,
            noticed_at: None,
            limited_until: None,
            limits_in_row: 0,
            trouble: None,
            took: Duration::ZERO,
        }
    }

    /// The service took so long to say how it stands. A slow one is not one that can not be believed.
    pub(super) const fn answer_took(&mut self, time: Duration) {
        self.took = time;
    }

    /// What this process sees to.
    pub(super) fn target(&self) -> Option<&Target> {
        let declared = self.declared.as_ref()?;
        Some(self.by_hand.as_ref().unwrap_or(declared))
    }

    pub(super) const fn by_hand(&self) -> Option<&Target> {
        self.by_hand.as_ref()
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why the last call came to nothing.
    pub(super) const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether something is under way or wanted, so that the service is to be asked often.
    pub(super) const fn is_busy(&self) -> bool {
        self.order.is_some() || !matches!(self.phase, Phase::Idle) || self.noticed_at.is_some()
    }

    /// A person orders it. Says no when there is an order already.
    pub(super) fn order(&mut self, target: Target, now: Now) -> bool {
        if self.order.is_some() || matches!(self.phase, Phase::Calling(_)) {
            return false;
        }
        self.order = Some(Order { at: now.at, target, before: self.by_hand.clone() });
        true
    }

    /// What is to be done now. `seen` was asked for at `asked_at`.
    pub(super) fn wish(
        &mut self,
        seen: Option<(&Observed, Instant)>,
        place: &Place,
        calls: &Calls,
        now: Now,
    ) -> Wish {
        if matches!(self.phase, Phase::Calling(_)) {
            return Wish::Nothing(None);
        }
        self.settle_phase(seen);
        if let Some(order) = &self.order {
            let Some((seen, _)) = seen.filter(|(_, asked_at)| *asked_at >= order.at) else {
                return Wish::Look { at_once: true };
            };
            return Self::carry_out(order, seen, place, calls, now);
        }
        let Some(target) = self.target() else { return Wish::Nothing(None) };
        let Some((seen, asked_at)) = seen else { return Wish::Look { at_once: false } };
        let kind = match seen.need(target) {
            Need::Nothing => {
                self.noticed_at = None;
                self.trouble = None;
                return Wish::Nothing(None);
            }
            Need::Patience => return Wish::Look { at_once: false },
            Need::Start => CallKind::Start,
            Need::Stop => CallKind::Stop,
        };
        if let Some(until) = self.not_before(kind, place, calls, now) {
            return Wish::Nothing(Some(until));
        }
        let is_fresh = now.at.saturating_duration_since(asked_at) <= FRESH + self.took;
        match self.noticed_at {
            Some(noticed) if is_fresh && asked_at >= noticed => Wish::Call(kind, target.clone()),
            _ => {
                self.noticed_at = Some(now.at);
                Wish::Look { at_once: false }
            }
        }
    }

    fn carry_out(order: &Order, seen: &Observed, place: &Place, calls: &Calls, now: Now) -> Wish {
        if let (Target::Encrypted(key), Place::Firehose) = (&order.target, place)
            && !key.is_for_firehose()
        {
            let why = format!("a delivery stream needs the ARN of a key, and {key} is none");
            return Wish::Done(Outcome::Impossible(why.into()));
        }
        if *place == Place::Nowhere {
            let why = "the stream's source is one whose encryption is not minded here";
            return Wish::Done(Outcome::Impossible(why.into()));
        }
        let kind = match seen.need_when_asked(&order.target) {
            Need::Nothing => return Wish::Done(Outcome::Done(None)),
            Need::Patience => return Wish::Done(Outcome::Busy),
            Need::Start => CallKind::Start,
            Need::Stop => CallKind::Stop,
        };
        if calls.left(kind, place, now.unix_ms) == 0 {
            let free_at = calls.next_free_ms(now.unix_ms).map(|at| now.of_unix(at));
            return Wish::Done(Outcome::NoCalls(free_at));
        }
        Wish::Call(kind, order.target.clone())
    }

    /// A call is on its way. Says whether nobody asked for it.
    pub(super) fn calling(&mut self, kind: CallKind) -> bool {
        self.phase = Phase::Calling(kind);
        self.order.is_none()
    }

    /// The call came back. Says what became of the order, if it was one.
    pub(super) fn called(
        &mut self,
        result: Result<(), Trouble>,
        now: Now,
        random: &mut fastrand::Rng,
    ) -> Option<Outcome> {
        let Phase::Calling(kind) = self.phase else { return None };
        self.noticed_at = None;
        self.trouble = result.as_ref().err().cloned();
        self.phase = match result.as_ref().map_err(|trouble| trouble.class) {
            Ok(()) | Err(Class::Busy | Class::Unanswered) => Phase::Changing(now.at),
            Err(_) => Phase::Idle,
        };
        if result.as_ref().is_err_and(|trouble| trouble.class == Class::Limit) {
            let doublings = self.limits_in_row.min(8);
            let ceiling = LIMIT_WAIT_MIN.saturating_mul(1 << doublings).min(LIMIT_WAIT_MAX);
            self.limits_in_row = self.limits_in_row.saturating_add(1);
            self.limited_until = Some(now.at + ceiling.mul_f64(random.f64().midpoint(1.0)));
        } else if result.is_ok() {
            self.limits_in_row = 0;
            self.limited_until = None;
        }
        let order = self.order.take()?;
        Some(match result {
            Ok(()) => {
                self.by_hand = Some(order.target);
                Outcome::Done(Some(kind))
            }
            Err(trouble) => {
                self.by_hand = order.before;
                match trouble.class {
                    Class::Busy => Outcome::Busy,
                    Class::Limit => Outcome::NoCalls(self.limited_until),
                    _ => Outcome::Failed(trouble),
                }
            }
        })
    }

    /// The order ends without a call.
    pub(super) fn end_order(&mut self, outcome: &Outcome) {
        if let Some(order) = self.order.take()
            && matches!(outcome, Outcome::Done(_))
        {
            self.by_hand = Some(order.target);
        }
    }

    /// The service could not be asked: an order ends with that.
    pub(super) fn fail_order(&mut self, trouble: &Trouble) -> Option<Outcome> {
        self.order.take().map(|_| Outcome::Failed(trouble.clone()))
    }

    /// A change has ended when somebody who asked after it began sees none under way.
    fn settle_phase(&mut self, seen: Option<(&Observed, Instant)>) {
        if let (Phase::Changing(since), Some((seen, asked_at))) = (self.phase, seen)
            && asked_at > since
            && !seen.sse.is_passing()
            && seen.is_changeable
        {
            self.phase = Phase::Idle;
        }
    }

    /// When the next call may be made that nobody asks for, if not now.
    fn not_before(
        &self,
        kind: CallKind,
        place: &Place,
        calls: &Calls,
        now: Now,
    ) -> Option<Instant> {
        let own = calls.own(now.unix_ms);
        let paced = own.map(|own| {
            if own.count >= self.pace.calls_max {
                return now.of_unix(own.first_ms.saturating_add(DAY_MS));
            }
            let doublings = own.count.saturating_sub(1).min(20);
            let wait = self.pace.min.saturating_mul(1 << doublings).min(PACE_MAX);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            now.of_unix(own.last_ms.saturating_add(wait_ms))
        });
        let is_used_up = calls.left(kind, place, now.unix_ms) == 0;
        let free = calls.next_free_ms(now.unix_ms).filter(|_| is_used_up);
        let free = free.map(|at| now.of_unix(at));
        [paced, free, self.limited_until].into_iter().flatten().max().filter(|at| *at > now.at)
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
