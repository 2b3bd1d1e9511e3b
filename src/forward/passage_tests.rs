//! Every event in every state, against a model that knows nothing but what has happened.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::gate::{DataStream, Flag};

const MS: Duration = Duration::from_millis(1);
const HOLDS: Duration = Duration::from_millis(1_000);
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));

/// What is told, without its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Unknown,
    Nowhere,
    Closed,
    Half,
    Open,
}

const TOLD: [Told; 5] = [Told::Unknown, Told::Nowhere, Told::Closed, Told::Half, Told::Open];

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The next epoch begins.
    Tell(Told, bool),
    /// The same is told once more.
    TellAgain,
    /// A request begins if it may, while so many others are under way.
    Begin { others: usize },
    /// An answer to a request of this epoch, or of the one before.
    Answer { flag: Flag, put: usize, is_old: bool },
    /// No answer, to a request of this epoch, or of the one before.
    Fail { is_old: bool },
    /// Time passes: the half of what a confirmation holds and a little more.
    Pass,
}

fn events() -> Vec<Event> {
    let mut events = vec![Event::TellAgain, Event::Pass];
    for told in TOLD {
        events.extend([true, false].map(|is_required| Event::Tell(told, is_required)));
    }
    events.extend([0, 1].map(|others| Event::Begin { others }));
    for is_old in [false, true] {
        events.push(Event::Fail { is_old });
        for flag in Flag::ALL {
            events.extend([0, 3].map(|put| Event::Answer { flag, put, is_old }));
        }
    }
    events
}

fn guidance(told: Told, is_required: bool, epoch: u64) -> Guidance {
    let route = match told {
        Told::Unknown => Route::Unknown,
        Told::Nowhere => Route::Nowhere("it reads from MSK".into()),
        Told::Closed | Told::Half | Told::Open => Route::Firehose,
    };
    let passage = match told {
        Told::Closed => Passage::Closed("it is off".into()),
        Told::Half => Passage::Half,
        Told::Unknown | Told::Nowhere | Told::Open => Passage::Open,
    };
    let proof_holds = is_required.then_some(HOLDS);
    Guidance { route, passage, epoch, proof_holds, ..Guidance::unminded() }
}

/// What may leave, without the times of waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    All,
    One,
    NothingForAWhile,
    Nothing,
}

fn may(permit: Permit) -> May {
    match permit {
        Permit::Full => May::All,
        Permit::Probe => May::One,
        Permit::Nothing { until: Some(_) } => May::NothingForAWhile,
        Permit::Nothing { until: None } => May::Nothing,
    }
}

/// One thing that counts, as the model remembers it.
#[derive(Debug, Clone, Copy)]
enum Fact {
    True {
        at: Instant,
    },
    False {
        put: usize,
    },
    /// An answer without a flag, and whether any answer on this route ever had one.
    Silence {
        at: Instant,
        speaks: bool,
    },
    /// Nothing that says anything. `wait_until`: when the next record goes, if one went first.
    Void {
        wait_until: Option<Instant>,
    },
    /// A record went first.
    Sent,
}

/// The rules once more, each read off what has happened in this epoch.
struct Model {
    told: Told,
    is_required: bool,
    epoch: u64,
    told_at: Instant,
    facts: Vec<Fact>,
    speaks: bool,
}

impl Model {
    fn is_routed(&self) -> bool {
        !matches!(self.told, Told::Unknown | Told::Nowhere)
    }

    fn has_refuted(&self) -> bool {
        self.is_required && self.facts.iter().any(|fact| matches!(fact, Fact::False { .. }))
    }

    /// What became of the record that went first, if one did: nothing while it is on its way.
    fn first_one(&self) -> Option<Option<Instant>> {
        self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Sent => Some(Some(None)),
            Fact::Void { wait_until: Some(until) } => Some(Some(Some(*until))),
            Fact::Void { wait_until: None } => None,
            // A silence decides nothing where answers speak, or where one record has to decide.
            Fact::Silence { speaks, .. } if *speaks || self.told == Told::Half => None,
            Fact::True { .. } | Fact::False { .. } | Fact::Silence { .. } => Some(None),
        })?
    }

    fn is_shut(&self) -> bool {
        let has_decided = self.told == Told::Half
            && self.facts.iter().any(|fact| matches!(fact, Fact::True { .. } | Fact::False { .. }));
        !self.is_routed() || self.told == Told::Closed || self.has_refuted() || has_decided
    }

    fn last_said_at(&self) -> Instant {
        let said = self.facts.iter().rev().find_map(|fact| match fact {
            Fact::True { at } => Some(*at),
            Fact::Silence { at, speaks: false } => Some(*at),
            _ => None,
        });
        said.unwrap_or(self.told_at)
    }

    fn goes_first(&self, now: Instant) -> bool {
        let is_silent_for_long = self.is_required && now - self.last_said_at() > HOLDS;
        self.told == Told::Half || self.first_one().is_some() || is_silent_for_long
    }

    fn may(&self, now: Instant, others: usize) -> May {
        if self.is_shut() {
            return May::Nothing;
        }
        if !self.goes_first(now) {
            return May::All;
        }
        match self.first_one() {
            // The silence may be over with the next answer.
            None if self.told == Told::Open && others > 0 => May::Nothing,
            None => May::One,
            Some(None) => May::Nothing,
            Some(Some(until)) if until > now => May::NothingForAWhile,
            Some(Some(_)) => May::One,
        }
    }

    /// Whether no more than one record leaves, and that is not just about to be found out.
    fn is_gated(&self) -> bool {
        self.is_shut()
            || self.told == Told::Half
            || self.first_one().flatten().is_some()
            || self.retries() > 0
    }

    /// How often the record that goes first came to nothing, since something was said.
    fn retries(&self) -> usize {
        let tail = self.facts.iter().rev().take_while(|fact| match fact {
            Fact::True { .. } | Fact::False { .. } => false,
            Fact::Silence { speaks, .. } => *speaks || self.told == Told::Half,
            Fact::Void { .. } | Fact::Sent => true,
        });
        tail.filter(|fact| matches!(fact, Fact::Void { wait_until: Some(_) })).count()
    }
}

/// The passage and the model, side by side.
struct Pair {
    passing: Passing,
    model: Model,
    now: Instant,
    random: fastrand::Rng,
}

impl Pair {
    fn new(told: Told, is_required: bool) -> Self {
        let now = Instant::now();
        Self {
            passing: Passing::new(now, guidance(told, is_required, 1), WAITS.0, WAITS.1),
            model: Model {
                told,
                is_required,
                epoch: 1,
                told_at: now,
                facts: Vec::new(),
                speaks: false,
            },
            now,
            random: fastrand::Rng::with_seed(3),
        }
    }

    fn is_under_way(&self) -> bool {
        self.model.first_one() == Some(None)
    }

    /// When the next record goes, which is the dice's to say.
    fn waits_until(&mut self) -> Option<Instant> {
        match self.passing.probe {
            Probe::Again(at) => {
                let wait = at - self.now;
                assert!(wait >= WAITS.0 / 2 && wait <= WAITS.1, "{wait:?}");
                Some(at)
            }
            Probe::Unsent | Probe::UnderWay => panic!("it is to be sent again"),
        }
    }

    fn void(&mut self) {
        let wait_until = if self.is_under_way() { self.waits_until() } else { None };
        if wait_until.is_some() {
            self.model.facts.push(Fact::Void { wait_until });
        }
    }

    fn step(&mut self, event: Event) {
        self.now += MS;
        let now = self.now;
        match event {
            Event::Tell(told, is_required) => {
                let was_routed = (self.model.told, self.model.is_routed());
                let epoch = self.model.epoch + 1;
                let news = self.passing.tell(now, &guidance(told, is_required, epoch));
                assert!(news.is_new_epoch);
                let speaks = self.model.speaks;
                self.model =
                    Model { told, is_required, epoch, told_at: now, facts: Vec::new(), speaks };
                let is_same_route = was_routed.1 == self.model.is_routed()
                    && (was_routed.1 || was_routed.0 == told);
                assert_eq!(news.is_new_route, !is_same_route);
                self.model.speaks &= is_same_route;
            }
            Event::TellAgain => {
                let again = self.passing.told().clone();
                assert_eq!(self.passing.tell(now, &again), News::default());
            }
            Event::Begin { others } => {
                if matches!(self.model.may(now, others), May::All | May::One) {
                    if self.model.goes_first(now) {
                        self.model.facts.push(Fact::Sent);
                    }
                    self.passing.began(now);
                }
            }
            Event::Answer { flag, put, is_old } => self.answer(flag, put, is_old),
            Event::Fail { is_old } => {
                let epoch = self.model.epoch - u64::from(is_old);
                self.passing.failed(now, epoch, &mut self.random);
                if !is_old {
                    self.void();
                }
            }
            Event::Pass => self.now += HOLDS / 2,
        }
        self.check(event);
    }

    fn answer(&mut self, flag: Flag, put: usize, is_old: bool) {
        let now = self.now;
        let epoch = self.model.epoch - u64::from(is_old);
        let before = self.passing.heard;
        let is_awaited = (self.model.told == Told::Half && !self.model.is_shut())
            || self.model.first_one().is_some();
        let heard = self.passing.answered(now, epoch, flag, put, &mut self.random);
        let says_something = put > 0 || flag == Flag::Plain;
        if !says_something {
            assert_eq!(heard, Heard::Nothing);
            if !is_old {
                self.void();
            }
            return;
        }
        let is_news = before != self.passing.heard;
        assert_eq!(heard, Heard::Flag { wakes: !is_old && (is_awaited || is_news) });
        if is_old {
            assert!(!is_news);
            return;
        }
        match flag {
            Flag::Encrypted => self.model.facts.push(Fact::True { at: now }),
            Flag::Plain => self.model.facts.push(Fact::False { put }),
            Flag::Absent
                if self.model.speaks || self.model.told != Told::Open || self.model.is_shut() =>
            {
                self.void();
                let speaks = true;
                self.model.facts.push(Fact::Silence { at: now, speaks });
            }
            Flag::Absent => self.model.facts.push(Fact::Silence { at: now, speaks: false }),
        }
        self.model.speaks |= flag != Flag::Absent;
    }

    fn check(&mut self, event: Event) {
        let now = self.now;
        for others in [0, 1] {
            let what = may(self.passing.permit(now, others));
            assert_eq!(what, self.model.may(now, others), "{event:?} {others} {:?}", self.passing);
        }
        assert_eq!(self.passing.is_shut(), self.model.is_shut(), "{event:?}");
        let is_gated = self.passing.shut_since().is_some();
        assert_eq!(is_gated, self.model.is_gated(), "{event:?} {:?}", self.passing);
        assert_eq!(self.passing.reason().is_some(), is_gated);
        let has_route = self.model.is_routed();
        let codes = self.passing.reason().map(|reason| reason.code);
        assert!(codes.is_none_or(|code| (code == Code::NotEncrypted) == has_route));
        let unencrypted: usize = self
            .model
            .facts
            .iter()
            .map(|fact| match fact {
                Fact::False { put } => *put,
                _ => 0,
            })
            .sum();
        assert_eq!(self.passing.unencrypted, unencrypted as u64);
    }
}

/// What leads into each state.
fn states() -> Vec<(Told, bool, Vec<Event>)> {
    let answer = |flag| Event::Answer { flag, put: 3, is_old: false };
    let begin = Event::Begin { others: 0 };
    let fail = Event::Fail { is_old: false };
    let stale = [Event::Pass, Event::Pass, Event::Pass];
    let mut ways = vec![
        vec![],
        vec![begin],
        vec![begin, fail],
        vec![begin, fail, Event::Pass],
        vec![begin, fail, Event::Pass, begin],
        stale.to_vec(),
    ];
    for flag in Flag::ALL {
        ways.push(vec![begin, answer(flag)]);
        let mut way = vec![begin, answer(flag)];
        way.extend(stale);
        ways.push(way.clone());
        way.push(begin);
        ways.push(way.clone());
        for then in [fail, answer(Flag::Absent), answer(Flag::Encrypted), answer(Flag::Plain)] {
            let mut way = way.clone();
            way.push(then);
            ways.push(way);
        }
    }
    let mut states = Vec::new();
    for told in TOLD {
        for is_required in [true, false] {
            states.extend(ways.iter().map(|way| (told, is_required, way.clone())));
        }
    }
    states
}

#[test]
fn every_event_in_every_state_leads_where_the_model_says() {
    let mut pairs = 0;
    for (told, is_required, way) in states() {
        for event in events() {
            let mut pair = Pair::new(told, is_required);
            way.iter().for_each(|step| pair.step(*step));
            pair.step(event);
            // What is next to happen does not depend on what was looked at.
            pair.step(Event::Begin { others: 0 });
            pairs += 1;
        }
    }
    assert_eq!(pairs, 2 * 5 * 27 * 28);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn so_does_whatever_happens_after_whatever(
        steps in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let events = events();
        let mut pair = Pair::new(Told::Open, true);
        for step in steps {
            pair.step(*step.get(&events));
        }
    }
}

fn passing(told: Told, is_required: bool) -> (Passing, Instant, fastrand::Rng) {
    let now = Instant::now();
    let passing = Passing::new(now, guidance(told, is_required, 1), WAITS.0, WAITS.1);
    (passing, now, fastrand::Rng::with_seed(1))
}

#[test]
fn only_openings_and_closings_are_told_and_one_by_an_answer_with_what_had_left() {
    let (mut passing, now, mut random) = passing(Told::Unknown, true);
    let Some(Shift::Shut { reason, epoch: 1, unencrypted: None }) = passing.shift() else {
        panic!()
    };
    assert_eq!((reason.code, &*reason.message), (Code::NoRoute, ROUTE_UNKNOWN));
    passing.tell(now, &guidance(Told::Closed, true, 2));
    passing.tell(now, &guidance(Told::Half, true, 3));
    assert_eq!(passing.shift(), None, "it is still shut");
    passing.tell(now, &guidance(Told::Open, true, 4));
    assert_eq!(passing.shift(), Some(Shift::Opened { epoch: 4 }));
    passing.answered(now, 3, Flag::Plain, 7, &mut random);
    assert_eq!(passing.shift(), None, "an older epoch shuts nothing");
    passing.answered(now, 4, Flag::Encrypted, 7, &mut random);
    passing.answered(now, 4, Flag::Plain, 500, &mut random);
    let Some(Shift::Shut { reason, epoch: 4, unencrypted: Some(500) }) = passing.shift() else {
        panic!()
    };
    assert_eq!((reason.code, &*reason.message), (Code::NotEncrypted, REFUTED));
    passing.answered(now, 4, Flag::Plain, 20, &mut random);
    assert_eq!((passing.shift(), passing.unencrypted), (None, 520));
}

#[test]
fn another_reason_for_the_same_closing_is_shown_and_is_no_new_epoch() {
    let (mut passing, now, _) = passing(Told::Closed, true);
    let mut told = guidance(Told::Closed, true, 1);
    told.passage = Passage::Closed("it is being switched on".into());
    assert_eq!(passing.tell(now + MS, &told), News::default());
    assert_eq!(&*passing.reason().unwrap().message, "it is being switched on");
    assert_eq!(passing.shut_since(), Some(now));
}

#[test]
fn a_stop_puts_the_record_that_goes_first_off_for_no_longer_than_it_says() {
    let (mut passing, now, mut random) = passing(Told::Half, true);
    passing.began(now);
    passing.failed(now, 1, &mut random);
    assert!(matches!(passing.permit(now, 0), Permit::Nothing { until: Some(_) }));
    passing.shorten(now + MS);
    assert_eq!(passing.permit(now + MS, 0), Permit::Probe);
}

#[test]
fn into_another_stream_is_another_route() {
    let (mut passing, now, _) = passing(Told::Open, true);
    let data_stream = |id: &str| Arc::new(DataStream { id: id.into(), record_bytes_max: 1 });
    let told = |id, epoch| Guidance {
        route: Route::Kinesis(data_stream(id)),
        ..guidance(Told::Open, true, epoch)
    };
    for (id, epoch, is_new_route) in [("a", 2, true), ("a", 3, false), ("b", 4, true)] {
        let news = passing.tell(now, &told(id, epoch));
        assert_eq!(news, News { is_new_epoch: true, is_new_route });
    }
}
