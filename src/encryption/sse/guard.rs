//! The guard of one stream: is it known to be encrypted? Pure: it is given the time.
//!
//! ```text
//!            said to be on             settle time over           an answer says: encrypted
//!  Unknown ───────────────► Settling ──────────────────► Trying ───────────────────────────► Proven
//!    │ said to be off, or       │ said to be off   ▲       │ an answer says: not              │
//!    ▼ being switched on        ▼                  │       ▼ encrypted, or said to be off     ▼
//!  Plain ◄──────────────────────┴──────────────────┼───────┴──────────────────────────────────┘
//!    └──────────── said to be on, asked since ─────┘ (by way of Settling)
//! ```
//!
//! What the service says opens nothing by itself: an answer has to confirm it, to one record that goes first.
//! `ENABLING` counts as not encrypted, but for a stream that was seen encrypted before: its key is being
//! changed then, the old one encrypts meanwhile and when that fails, and answers go on saying so. One that was
//! being confirmed until now stays open; when nothing was confirmed lately, one record goes first again. Answers that deny what the service says make the next
//! try later and later, since each costs a record in the clear.

use std::time::{Duration, Instant};

use super::observed::Sse;
use crate::gate::Flag;

/// What is known. See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nobody has said anything that counts.
    Unknown,
    /// It is not encrypted, or that can not be told.
    Plain,
    /// It is said to be encrypted, and has time to become so until then.
    Settling { until: Instant },
    /// It is said to be encrypted: the next answer decides.
    Trying,
    /// Answers say that it is encrypted.
    Proven,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Guard {
    stand: Stand,
    since: Instant,
    settle: Duration,
    settle_max: Duration,
    proof_holds: Duration,
    /// When an answer last said: encrypted.
    confirmed_at: Option<Instant>,
    /// When an answer last said: not encrypted.
    denied_at: Option<Instant>,
    /// How often in a row an answer has denied what the service says.
    contradictions: u32,
    /// The last try was answered without a flag.
    is_silent: bool,
}

impl Guard {
    /// A guard who knows nothing. `settle` is doubled for each contradiction, up to `settle_max`.
    pub(super) fn new(
        now: Instant,
        settle: Duration,
        settle_max: Duration,
        proof_holds: Duration,
    ) -> Self {
        Self {
            stand: Stand::Unknown,
            since: now,
            settle,
            settle_max: settle_max.max(settle),
            proof_holds,
            confirmed_at: None,
            denied_at: None,
            contradictions: 0,
            is_silent: false,
        }
    }

    pub(super) const fn stand(&self) -> Stand {
        self.stand
    }

    /// Since when it stands so.
    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    /// Whether answers have denied what the service says, and none has confirmed it since.
    pub(super) const fn is_contradicted(&self) -> bool {
        self.contradictions > 0
    }

    /// How often in a row answers have denied what the service says.
    pub(super) const fn contradictions(&self) -> u32 {
        self.contradictions
    }

    /// Whether the last try was answered without a flag.
    pub(super) const fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// When time alone changes something.
    pub(super) const fn due_at(&self) -> Option<Instant> {
        match self.stand {
            Stand::Settling { until } => Some(until),
            Stand::Unknown | Stand::Plain | Stand::Trying | Stand::Proven => None,
        }
    }

    /// It is another stream from now on, or none: what was known says nothing of it.
    pub(super) fn forget(&mut self, now: Instant) {
        self.confirmed_at = None;
        self.denied_at = None;
        self.contradictions = 0;
        self.become_(Stand::Unknown, now);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        if let Stand::Settling { until } = self.stand
            && until <= now
        {
            self.become_(Stand::Trying, now);
        }
    }

    /// The service said so, when it was asked at `asked_at`.
    pub(super) fn described(&mut self, sse: Sse, asked_at: Instant, now: Instant) {
        let to = match (self.stand, sse) {
            (Stand::Proven, Sse::Enabled | Sse::DisablingFailed)
            | (Stand::Trying | Stand::Settling { .. }, Sse::Enabled | Sse::DisablingFailed) => {
                return;
            }
            // What was asked before an answer denied it says nothing of the time since.
            (Stand::Plain, Sse::Enabled | Sse::DisablingFailed)
                if self.denied_at.is_some_and(|denied| asked_at < denied) =>
            {
                return;
            }
            (Stand::Unknown | Stand::Plain, Sse::Enabled | Sse::DisablingFailed) => {
                Stand::Settling { until: now + self.settle_time() }
            }
            // A change of the key: the old one encrypts meanwhile, and when that fails.
            (Stand::Proven, Sse::Enabling | Sse::EnablingFailed | Sse::Other) => {
                if self.is_fresh(now) {
                    return;
                }
                Stand::Trying
            }
            (
                Stand::Trying | Stand::Settling { .. },
                Sse::Enabling | Sse::EnablingFailed | Sse::Other,
            )
            | (Stand::Unknown, Sse::Other) => return,
            (_, Sse::Disabled | Sse::Disabling)
            | (Stand::Unknown | Stand::Plain, Sse::Enabling | Sse::EnablingFailed)
            | (Stand::Plain, Sse::Other) => Stand::Plain,
        };
        if matches!(sse, Sse::Disabled | Sse::Disabling) {
            self.contradictions = 0;
        }
        self.become_(to, now);
    }

    /// An answer said so, to a request of the present epoch.
    pub(super) fn answered(&mut self, flag: Flag, at: Instant, now: Instant) {
        match flag {
            Flag::Encrypted => self.confirmed_at = Some(at),
            Flag::Plain => self.denied_at = Some(at),
            Flag::Absent => {}
        }
        match (self.stand, flag) {
            // Until the settle time is over it may be both.
            (Stand::Settling { .. }, _)
            | (Stand::Unknown | Stand::Plain | Stand::Proven, Flag::Absent)
            | (Stand::Plain, Flag::Plain) => {}
            // One that only lasts a moment is no agreement: the next one may deny it again.
            (Stand::Proven, Flag::Encrypted) => {
                if now.saturating_duration_since(self.since) >= self.proof_holds {
                    self.contradictions = 0;
                }
            }
            (Stand::Trying, Flag::Absent) => self.is_silent = true,
            (Stand::Unknown | Stand::Plain | Stand::Trying, Flag::Encrypted) => {
                self.become_(Stand::Proven, now);
            }
            (Stand::Trying | Stand::Proven, Flag::Plain) => {
                self.contradictions = self.contradictions.saturating_add(1);
                self.become_(Stand::Plain, now);
            }
            (Stand::Unknown, Flag::Plain) => self.become_(Stand::Plain, now),
        }
    }

    /// Whether an answer has confirmed the encryption lately.
    fn is_fresh(&self, now: Instant) -> bool {
        self.confirmed_at.is_some_and(|at| now.saturating_duration_since(at) <= self.proof_holds)
    }

    fn settle_time(&self) -> Duration {
        let doublings = self.contradictions.min(20);
        self.settle.saturating_mul(1 << doublings).min(self.settle_max).max(self.settle)
    }

    fn become_(&mut self, to: Stand, now: Instant) {
        if self.stand != to {
            self.stand = to;
            self.since = now;
            self.is_silent = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SETTLE: Duration = Duration::from_secs(5);
    const HOLDS: Duration = Duration::from_secs(30);

    /// What can happen, as far as it makes a difference.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Described(Sse),
        /// The same, when it was asked before an answer denied it.
        DescribedLate(Sse),
        Answered(Flag),
        Settled,
    }

    /// A state, and whether an answer has confirmed it lately.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Kind {
        Unknown,
        Plain,
        Denied,
        Settling,
        Trying,
        ProvenLately,
        ProvenLongAgo,
    }

    const KINDS: [Kind; 7] = [
        Kind::Unknown,
        Kind::Plain,
        Kind::Denied,
        Kind::Settling,
        Kind::Trying,
        Kind::ProvenLately,
        Kind::ProvenLongAgo,
    ];

    fn events() -> Vec<Event> {
        let described = Sse::ALL.map(Event::Described);
        let late = Sse::ALL.map(Event::DescribedLate);
        let answered = Flag::ALL.map(Event::Answered);
        described.into_iter().chain(late).chain(answered).chain([Event::Settled]).collect()
    }

    /// A guard in that state at the second 100.
    fn guard(kind: Kind, start: Instant) -> Guard {
        let now = start + SECOND * 100;
        let mut guard = Guard::new(start, SETTLE, SETTLE * 100, HOLDS);
        match kind {
            Kind::Unknown => {}
            Kind::Plain => guard.described(Sse::Disabled, start, start),
            Kind::Denied => guard.answered(Flag::Plain, now, now),
            Kind::Settling => guard.described(Sse::Enabled, now, now),
            Kind::Trying => {
                guard.described(Sse::Enabled, start, start);
                guard.tick(start + SETTLE);
            }
            Kind::ProvenLately => guard.answered(Flag::Encrypted, now, now),
            Kind::ProvenLongAgo => guard.answered(Flag::Encrypted, start, start),
        }
        guard
    }

    /// What is to be known after it: the rules of the module, written once more as a table of names.
    fn model(kind: Kind, event: Event) -> &'static str {
        use Kind::{Denied, Plain, ProvenLately, ProvenLongAgo, Settling, Trying, Unknown};
        let same = match kind {
            Unknown => "unknown",
            Plain | Denied => "plain",
            Settling => "settling",
            Trying => "trying",
            ProvenLately | ProvenLongAgo => "proven",
        };
        match event {
            Event::Settled => {
                if kind == Settling {
                    "trying"
                } else {
                    same
                }
            }
            Event::Answered(_) if kind == Settling => same,
            Event::Answered(Flag::Encrypted) => "proven",
            Event::Answered(Flag::Plain) => "plain",
            Event::Answered(Flag::Absent) => same,
            Event::DescribedLate(Sse::Enabled | Sse::DisablingFailed) if kind == Denied => same,
            Event::Described(sse) | Event::DescribedLate(sse) => match sse {
                Sse::Disabled | Sse::Disabling => "plain",
                Sse::Enabled | Sse::DisablingFailed => match kind {
                    Unknown | Plain | Denied => "settling",
                    _ => same,
                },
                Sse::Enabling | Sse::EnablingFailed | Sse::Other => match kind {
                    Unknown if sse == Sse::Other => same,
                    Settling | Trying | ProvenLately => same,
                    ProvenLongAgo => "trying",
                    Unknown | Plain | Denied => "plain",
                },
            },
        }
    }

    fn name(stand: Stand) -> &'static str {
        match stand {
            Stand::Unknown => "unknown",
            Stand::Plain => "plain",
            Stand::Settling { .. } => "settling",
            Stand::Trying => "trying",
            Stand::Proven => "proven",
        }
    }

    #[test]
    fn every_event_in_every_state_leads_where_the_model_says() {
        let start = Instant::now();
        let now = start + SECOND * 101;
        let mut pairs = 0;
        for kind in KINDS {
            for event in events() {
                let mut guard = guard(kind, start);
                match event {
                    Event::Described(sse) => guard.described(sse, now, now),
                    Event::DescribedLate(sse) => guard.described(sse, start + SECOND * 99, now),
                    Event::Answered(flag) => guard.answered(flag, now, now),
                    Event::Settled => guard.tick(now + SETTLE),
                }
                assert_eq!(name(guard.stand()), model(kind, event), "{kind:?} {event:?}");
                pairs += 1;
            }
        }
        assert_eq!(pairs, 7 * 18);
    }

    #[test]
    fn no_way_leads_to_proven_but_through_an_answer_that_says_so() {
        // All walks of four events from the start, without such an answer.
        let start = Instant::now();
        let all: Vec<Event> = events()
            .into_iter()
            .filter(|event| !matches!(event, Event::Answered(Flag::Encrypted)))
            .collect();
        let mut walks = 0_u32;
        for walk in 0..all.len().pow(4) {
            let mut guard = Guard::new(start, SETTLE, SETTLE, HOLDS);
            let mut rest = walk;
            for step in 1..=4 {
                let now = start + SECOND * 10 * step;
                match all[rest % all.len()] {
                    Event::Described(sse) => guard.described(sse, now, now),
                    Event::DescribedLate(sse) => guard.described(sse, start, now),
                    Event::Answered(flag) => guard.answered(flag, now, now),
                    Event::Settled => guard.tick(now),
                }
                rest /= all.len();
                assert_ne!(guard.stand(), Stand::Proven);
            }
            walks += 1;
        }
        assert_eq!(walks, 17_u32.pow(4));
    }

    #[test]
    fn each_contradiction_makes_the_next_try_later_up_to_a_bound() {
        let start = Instant::now();
        let mut guard = Guard::new(start, SETTLE, SETTLE * 4, HOLDS);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..5 {
            guard.described(Sse::Enabled, now, now);
            let until = guard.due_at().unwrap();
            waits.push(until - now);
            now = until;
            guard.tick(now);
            assert_eq!(guard.stand(), Stand::Trying);
            guard.answered(Flag::Plain, now, now);
            assert!(guard.contradictions() > 0);
            now += SECOND;
        }
        assert_eq!(waits, [SETTLE, SETTLE * 2, SETTLE * 4, SETTLE * 4, SETTLE * 4]);
        guard.described(Sse::Disabled, now, now);
        assert_eq!(guard.contradictions(), 0, "the service says the same now");
    }

    #[test]
    fn answers_that_say_now_this_and_now_that_make_the_next_try_later_too() {
        let start = Instant::now();
        let mut guard = Guard::new(start, SETTLE, SETTLE * 4, HOLDS);
        let mut now = start;
        let mut waits = Vec::new();
        let mut try_it = |guard: &mut Guard, proven: Duration| {
            guard.described(Sse::Enabled, now, now);
            let until = guard.due_at().unwrap();
            waits.push(until - now);
            guard.tick(until);
            guard.answered(Flag::Encrypted, until, until);
            now = until + proven;
            guard.answered(Flag::Encrypted, now, now);
            assert_eq!(guard.stand(), Stand::Proven);
            guard.answered(Flag::Plain, now, now);
            assert_eq!(guard.stand(), Stand::Plain);
            now += SECOND;
        };
        for _ in 0..3 {
            try_it(&mut guard, SECOND);
        }
        try_it(&mut guard, HOLDS);
        try_it(&mut guard, SECOND);
        assert_eq!(waits, [SETTLE, SETTLE * 2, SETTLE * 4, SETTLE * 4, SETTLE * 2]);
    }

    #[test]
    fn a_try_that_is_answered_without_a_flag_opens_nothing_and_is_remembered() {
        let start = Instant::now();
        let mut guard = guard(Kind::Trying, start);
        guard.answered(Flag::Absent, start + SECOND, start + SECOND);
        assert_eq!((guard.stand(), guard.is_silent()), (Stand::Trying, true));
        guard.answered(Flag::Encrypted, start + SECOND, start + SECOND);
        assert_eq!((guard.stand(), guard.is_silent()), (Stand::Proven, false));
    }
}
