//! One stream under control, from its start on: what the gate is told, and when the service is asked.

use super::super::declared::Key;
use super::super::observed::{Observed, RECORD_BYTES_DEFAULT, Sse};
use super::super::status::State;
use super::super::trouble::Class;
use super::*;
use crate::gate::{Joins, gate};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn declared(policy: Policy) -> Declared {
    Declared { policy, ..Declared::default() }
}

fn description(sse: Sse) -> Description {
    let key = matches!(sse, Sse::Enabled).then_some(Key::AwsOwned);
    Description {
        place: Place::Firehose,
        source: Some("DirectPut".into()),
        status: "ACTIVE".into(),
        observed: Observed { sse, key, failure: None, is_changeable: !sse.is_passing() },
        joins: Joins::UNKNOWN,
    }
}

fn trouble(class: Class) -> Trouble {
    Trouble { class, code: "X".into(), message: "words".into() }
}

/// A machine with the two ends of its gate, and a clock that is turned by hand.
struct Desk {
    machine: Machine,
    keeper: crate::gate::Keeper,
    gate: crate::gate::Gate,
    start: Instant,
    now: Now,
    asked: u32,
}

impl Desk {
    fn new(declared: Declared) -> Self {
        Self::kept(declared, Kept::default(), 7)
    }

    fn kept(declared: Declared, kept: Kept, seed: u64) -> Self {
        let now = Now { at: Instant::now(), unix_ms: 1_000_000 };
        let random = fastrand::Rng::with_seed(seed);
        let machine = Machine::new(declared, &Config::default(), kept, now.at, random);
        let (keeper, gate) = gate(machine.guidance().clone());
        Self { machine, keeper, gate, start: now.at, now, asked: 0 }
    }

    fn pass(&mut self, time: Duration) {
        self.now.at += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap();
    }

    fn passage(&self) -> &Passage {
        &self.machine.guidance().passage
    }

    fn is_closed(&self) -> bool {
        matches!(self.passage(), Passage::Closed(_))
    }

    /// Lets that time pass, in which the service answers every question so.
    fn run(&mut self, time: Duration, answer: impl Fn() -> Result<Description, Trouble>) {
        let end = self.now.at + time;
        loop {
            match self.machine.next(self.now, true) {
                Action::Describe => {
                    self.asked += 1;
                    self.machine.described(answer(), self.now.at);
                }
                Action::Nothing(until) => {
                    let until = until.unwrap_or(end).max(self.now.at + Duration::from_millis(1));
                    let wait = until.min(end) - self.now.at;
                    self.pass(wait);
                    if self.now.at >= end {
                        return;
                    }
                }
                action => panic!("{action:?}"),
            }
        }
    }

    /// The data plane had an answer with this flag, to a request of this epoch.
    fn answered(&mut self, flag: Flag, epoch: u64) {
        self.pass(Duration::from_millis(1));
        let proof = Proof { epoch, began_at: self.now.at, at: self.now.at };
        self.gate.saw(flag, 10, proof, true);
        let seen = self.keeper.seen().clone();
        self.machine.seen(&seen, self.now.at);
    }

    fn epoch(&self) -> u64 {
        self.machine.guidance().epoch
    }

    /// A stream that has to be encrypted and is known to be.
    fn proven() -> Self {
        let mut desk = Self::new(declared(Policy::Require));
        desk.run(SECOND * 6, || Ok(description(Sse::Enabled)));
        assert_eq!(*desk.passage(), Passage::Half);
        let epoch = desk.epoch();
        desk.answered(Flag::Encrypted, epoch);
        assert_eq!(*desk.passage(), Passage::Open);
        desk
    }
}

#[test]
fn a_stream_that_has_to_be_encrypted_opens_by_what_an_answer_says_and_not_before() {
    let mut desk = Desk::new(declared(Policy::Require));
    assert!(desk.is_closed());
    desk.run(SECOND * 4, || Ok(description(Sse::Enabled)));
    assert!(desk.is_closed(), "the settle time");
    assert_eq!(desk.asked, 1, "the service is asked before the first record leaves, and once");
    desk.run(SECOND * 2, || Ok(description(Sse::Enabled)));
    assert_eq!(*desk.passage(), Passage::Half);
    let half = desk.epoch();
    desk.answered(Flag::Absent, half);
    assert_eq!(*desk.passage(), Passage::Half);
    desk.answered(Flag::Encrypted, half);
    assert_eq!(*desk.passage(), Passage::Open);
    assert_eq!(desk.machine.guidance().proof_holds, Some(SECOND * 30));
}

#[test]
fn an_answer_that_denies_it_closes_and_earlier_ones_that_come_late_open_nothing() {
    let mut desk = Desk::proven();
    let open = desk.epoch();
    desk.answered(Flag::Plain, open);
    assert!(desk.is_closed());
    let closed = desk.epoch();
    assert!(closed > open);
    desk.answered(Flag::Encrypted, open);
    assert!(desk.is_closed(), "its request began before");
    // The service is asked soon.
    let asked = desk.asked;
    desk.run(SECOND * 3, || Ok(description(Sse::Disabled)));
    assert!(desk.asked > asked);
    assert!(desk.is_closed());
    desk.run(SECOND * 600, || Ok(description(Sse::Enabled)));
    assert_eq!(*desk.passage(), Passage::Half);
    let half = desk.epoch();
    desk.answered(Flag::Plain, closed);
    assert_eq!(*desk.passage(), Passage::Half, "its request began before");
    desk.answered(Flag::Encrypted, half);
    assert_eq!(*desk.passage(), Passage::Open);
}

#[test]
fn denied_and_confirmed_in_one_epoch_stays_closed_in_whatever_order_they_are_heard() {
    let mut desk = Desk::proven();
    let epoch = desk.epoch();
    let at = |ms| desk.now.at + Duration::from_millis(ms);
    let proof = |ms| Proof { epoch, began_at: at(ms), at: at(ms) };
    desk.gate.saw(Flag::Encrypted, 1, proof(9), true);
    desk.gate.saw(Flag::Plain, 1, proof(5), true);
    let seen = desk.keeper.seen().clone();
    desk.machine.seen(&seen, at(10));
    assert!(matches!(desk.machine.guidance().passage, Passage::Closed(_)));
}

#[test]
fn a_failed_change_of_the_key_keeps_the_gate_open() {
    let mut desk = Desk::proven();
    let epoch = desk.epoch();
    for sse in [Sse::Enabling, Sse::EnablingFailed, Sse::Enabled] {
        desk.gate.doubts(Doubt::Key);
        desk.answered(Flag::Encrypted, epoch);
        desk.run(SECOND * 10, || Ok(description(sse)));
        desk.answered(Flag::Encrypted, epoch);
        assert_eq!((desk.passage(), desk.epoch()), (&Passage::Open, epoch), "{sse:?}");
    }
}

#[test]
fn a_service_that_can_not_be_asked_opens_nothing_and_closes_nothing() {
    let mut desk = Desk::new(declared(Policy::Require));
    desk.run(SECOND * 3_600, || Err(trouble(Class::Operator)));
    let Passage::Closed(why) = desk.passage() else { panic!() };
    assert!(why.contains("X: words"), "{why}");
    assert!(desk.asked > 10 && desk.asked < 40, "{}", desk.asked);
    let mut desk = Desk::proven();
    desk.run(DAY, || Err(trouble(Class::Operator)));
    assert_eq!(*desk.passage(), Passage::Open);
}

#[test]
fn where_encryption_is_not_required_the_passage_is_open_whatever_is_known() {
    for policy in [Policy::Ignore, Policy::Report] {
        for sse in Sse::ALL {
            let mut desk = Desk::new(declared(policy));
            desk.run(SECOND * 10, || Ok(description(sse)));
            let epoch = desk.epoch();
            for flag in Flag::ALL {
                desk.answered(flag, epoch);
                assert_eq!((desk.passage(), desk.epoch()), (&Passage::Open, epoch));
            }
            assert_eq!(desk.machine.guidance().proof_holds, None);
        }
    }
}

#[test]
fn the_route_is_asked_for_once_and_assumed_when_nobody_answers() {
    let mut desk = Desk::new(declared(Policy::Ignore));
    assert_eq!(desk.machine.guidance().route, Route::Unknown);
    desk.run(SECOND, || Ok(description(Sse::Disabled)));
    assert_eq!((&desk.machine.guidance().route, desk.asked), (&Route::Firehose, 1));

    let mut desk = Desk::new(declared(Policy::Report));
    desk.run(SECOND, || Err(trouble(Class::Passing)));
    assert_eq!(desk.machine.guidance().route, Route::Firehose);
    assert!(desk.machine.is_assumed());
    desk.run(SECOND * 600, || Ok(description(Sse::Disabled)));
    assert!(!desk.machine.is_assumed());

    // A question that nobody answers at all.
    let mut desk = Desk::new(declared(Policy::Report));
    assert_eq!(desk.machine.next(desk.now, true), Action::Describe);
    desk.pass(ROUTE_WAIT_MAX);
    desk.machine.next(desk.now, true);
    assert_eq!(desk.machine.guidance().route, Route::Firehose);
}

#[test]
fn a_stream_that_comes_to_read_from_elsewhere_is_routed_anew() {
    let kinesis = || Description {
        place: Place::Kinesis { id: "arn:d".into(), record_bytes_max: 5 },
        source: Some("KinesisStreamAsSource".into()),
        ..description(Sse::Disabled)
    };
    let mut desk = Desk::new(declared(Policy::Report));
    desk.run(SECOND, || Ok(description(Sse::Disabled)));
    let epoch = desk.epoch();
    desk.gate.doubts(Doubt::Source);
    let seen = desk.keeper.seen().clone();
    desk.machine.seen(&seen, desk.now.at);
    desk.run(SECOND * 3, || Ok(kinesis()));
    let Route::Kinesis(stream) = &desk.machine.guidance().route else { panic!() };
    assert_eq!((&*stream.id, stream.record_bytes_max), ("arn:d", 5));
    assert!(desk.epoch() > epoch);
    // The next life begins with it, and asks in its own time.
    let kept = desk.machine.kept();
    let mut next = Desk::kept(declared(Policy::Report), kept, 9);
    assert!(matches!(next.machine.guidance().route, Route::Kinesis(_)));
    assert!(matches!(next.machine.next(next.now, true), Action::Nothing(Some(_))));
    let nowhere = || Description {
        place: Place::Nowhere,
        source: Some("MSKAsSource".into()),
        ..description(Sse::Disabled)
    };
    next.run(SECOND * 61, || Ok(nowhere()));
    let Route::Nowhere(why) = &next.machine.guidance().route else { panic!() };
    assert!(why.contains("MSKAsSource"), "{why}");
}

#[test]
fn doubts_without_end_do_not_make_it_ask_without_end() {
    let mut desk = Desk::new(declared(Policy::Report));
    desk.run(SECOND, || Ok(description(Sse::Enabled)));
    for _ in 0..3_600 {
        desk.gate.doubts(Doubt::Source);
        let seen = desk.keeper.seen().clone();
        desk.machine.seen(&seen, desk.now.at);
        desk.run(SECOND, || Ok(description(Sse::Enabled)));
    }
    assert!(desk.asked < 40, "{}", desk.asked);
}

#[test]
fn a_fleet_asks_seldom_and_not_in_step() {
    let kept = Kept { route: Some(KeptRoute::Firehose), ..Kept::default() };
    let mut first = Vec::new();
    for seed in 0..50 {
        let mut desk = Desk::kept(declared(Policy::Report), kept.clone(), seed);
        let Action::Nothing(Some(at)) = desk.machine.next(desk.now, true) else { panic!() };
        first.push(at - desk.start);
        desk.run(DAY, || Ok(description(Sse::Enabled)));
        assert!((15..=50).contains(&desk.asked), "{}", desk.asked);
    }
    first.sort();
    assert!(first[40] - first[10] > SECOND * 15, "spread over a minute: {first:?}");
}

#[test]
fn an_owner_s_calls_are_kept_and_the_next_life_goes_on_counting() {
    let mut desk = Desk::new(Declared {
        manage: Some(Target::Encrypted(Key::AwsOwned)),
        ..declared(Policy::Require)
    });
    let mut calls = 0;
    let action = loop {
        match desk.machine.next(desk.now, true) {
            Action::Describe => {
                desk.machine.described(Ok(description(Sse::Disabled)), desk.now.at);
            }
            Action::Nothing(Some(until)) => {
                let wait = until - desk.now.at;
                desk.pass(wait);
            }
            action => break action,
        }
        calls += 1;
        assert!(calls < 20);
    };
    let Action::Call(CallKind::Start, _, Place::Firehose) = action else { panic!("{action:?}") };
    // Killed before the answer: the call is known all the same.
    let kept = desk.machine.kept();
    let next = Desk::kept(declared(Policy::Report), kept, 1);
    let left = next.machine.calls.left(CallKind::Stop, &Place::Firehose, next.now.unix_ms);
    assert_eq!(left, 24);
}

#[test]
fn nothing_is_asked_of_who_ignores_encryption_and_knows_the_way() {
    let mut desk =
        Desk::new(Declared { destination: Destination::Firehose, ..declared(Policy::Ignore) });
    desk.run(DAY, || Ok(description(Sse::Enabled)));
    let epoch = desk.epoch();
    desk.answered(Flag::Plain, epoch);
    desk.run(DAY, || Ok(description(Sse::Enabled)));
    assert_eq!(desk.asked, 0);
}

#[test]
fn where_encryption_is_not_required_what_answers_say_is_heard_all_the_same() {
    for (flag, state) in [(Flag::Encrypted, State::Enabled), (Flag::Plain, State::Contradicted)] {
        let mut desk = Desk::new(declared(Policy::Report));
        desk.run(SECOND, || Ok(description(Sse::Enabled)));
        let before = desk.epoch();
        desk.answered(flag, before);
        desk.run(SECOND * 60, || Ok(description(Sse::Enabled)));
        assert_eq!(*desk.passage(), Passage::Open);
        let trying = desk.epoch();
        assert_eq!(trying, before + 1, "the data plane speaks up anew, though it says the same");
        desk.answered(flag, trying);
        assert_eq!(words::state(&desk.machine), state);
        // It stays so while the service says on that it is encrypted and answers say on that it is not.
        desk.run(SECOND * 60, || Ok(description(Sse::Enabled)));
        assert_eq!(words::state(&desk.machine), state);
    }
}

fn described_at(place: Place) -> Result<Description, Trouble> {
    Ok(Description { place, ..description(Sse::Enabled) })
}

fn data_stream(id: &str, record_bytes_max: usize) -> Place {
    Place::Kinesis { id: id.into(), record_bytes_max }
}

#[test]
fn what_answers_of_one_stream_confirmed_opens_no_other() {
    let elsewhere = || described_at(data_stream("d", RECORD_BYTES_DEFAULT));
    let mut desk = Desk::proven();
    // The next look comes within one and a half watch intervals.
    desk.run(SECOND * 5_400 - SECOND, elsewhere);
    desk.run(SECOND, elsewhere);
    assert!(matches!(desk.machine.guidance().route, Route::Kinesis(_)));
    assert_ne!(*desk.passage(), Passage::Open, "nothing has confirmed the data stream");
    desk.run(SECOND * 10, elsewhere);
    assert_eq!(*desk.passage(), Passage::Half);
    let epoch = desk.epoch();
    desk.answered(Flag::Encrypted, epoch);
    assert_eq!(*desk.passage(), Passage::Open);
    // The same one, which takes larger records now.
    desk.run(SECOND * 5_400, || described_at(data_stream("d", 2 * RECORD_BYTES_DEFAULT)));
    assert_eq!(*desk.passage(), Passage::Open);
    assert!(desk.epoch() > epoch);
}

#[test]
fn a_stream_that_is_gone_is_not_known_to_be_encrypted_when_one_of_its_name_comes_back() {
    let mut desk = Desk::proven();
    desk.run(SECOND * 5_400, || Err(trouble(Class::NotFound)));
    assert!(desk.is_closed());
    desk.run(SECOND * 600, || Ok(description(Sse::Disabled)));
    assert!(desk.is_closed());
    let mut desk = Desk::proven();
    desk.run(SECOND * 5_400, || Err(trouble(Class::Operator)));
    assert_eq!(*desk.passage(), Passage::Open, "answers go on confirming it");
}

#[test]
fn where_records_went_is_kept_while_the_service_can_not_be_asked() {
    let kept = Kept {
        route: KeptRoute::of(&data_stream("d", RECORD_BYTES_DEFAULT)),
        calls: Calls::default(),
    };
    let mut desk = Desk::kept(declared(Policy::Report), kept.clone(), 7);
    assert_eq!(desk.machine.kept(), kept);
    desk.run(SECOND * 120, || Err(trouble(Class::Operator)));
    assert_eq!(desk.machine.kept(), kept);
    let mut desk = Desk::new(declared(Policy::Report));
    desk.run(SECOND * 120, || Err(trouble(Class::Operator)));
    assert!(desk.machine.is_assumed());
    assert_eq!(desk.machine.kept().route, None, "what is assumed is not kept");
}

#[test]
fn an_owner_acts_on_what_a_slow_service_says() {
    let manage = Some(Target::Encrypted(Key::AwsOwned));
    let mut desk = Desk::new(Declared { manage, ..declared(Policy::Require) });
    for _ in 0..100 {
        match desk.machine.next(desk.now, true) {
            Action::Describe => {
                desk.pass(SECOND * 8);
                desk.machine.described(Ok(description(Sse::Disabled)), desk.now.at);
            }
            Action::Nothing(until) => {
                let wait = until.expect("it is to be asked again") - desk.now.at;
                desk.pass(wait.max(Duration::from_millis(1)));
            }
            Action::Call(kind, ..) => return assert_eq!(kind, CallKind::Start),
            Action::Tell(outcome) => panic!("{outcome:?}"),
        }
    }
    panic!("it never acts");
}
