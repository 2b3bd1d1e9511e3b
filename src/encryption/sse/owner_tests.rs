//! The owner against every thing that can be seen and every answer that a call can have.

use proptest::prelude::*;

use super::super::declared::Key;
use super::super::observed::Sse;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const PACE: Pace = Pace { min: Duration::from_secs(60), calls_max: 5 };

fn owned() -> Target {
    Target::Encrypted(Key::AwsOwned)
}

fn seen(sse: Sse) -> Observed {
    let key = matches!(sse, Sse::Enabled | Sse::DisablingFailed).then_some(Key::AwsOwned);
    Observed { sse, key, failure: None, is_changeable: !sse.is_passing() }
}

fn trouble(class: Class) -> Trouble {
    Trouble { class, code: "X".into(), message: "".into() }
}

/// An owner with its calls, and a clock that is turned by hand.
struct Desk {
    owner: Owner,
    calls: Calls,
    now: Now,
    random: fastrand::Rng,
}

impl Desk {
    fn new(declared: Option<Target>) -> Self {
        Self {
            owner: Owner::new(declared, PACE),
            calls: Calls::default(),
            now: Now { at: Instant::now(), unix_ms: 1_000_000 },
            random: fastrand::Rng::with_seed(7),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.at += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap();
    }

    /// What is wished for after a look just now.
    fn wish(&mut self, sse: Sse) -> Wish {
        let seen = seen(sse);
        self.owner.wish(Some((&seen, self.now.at)), &Place::Firehose, &self.calls, self.now)
    }

    /// Looks as often as it is wished for, and gives what is wished for then.
    fn decide(&mut self, sse: Sse) -> Wish {
        match self.wish(sse) {
            Wish::Look { .. } => {
                self.pass(SECOND);
                self.wish(sse)
            }
            wish => wish,
        }
    }

    fn call(&mut self, kind: CallKind) {
        let own = self.owner.calling(kind);
        self.calls.count(kind, own, self.now.unix_ms);
    }

    fn called(&mut self, result: Result<(), Trouble>) -> Option<Outcome> {
        self.pass(SECOND);
        self.owner.called(result, self.now, &mut self.random)
    }
}

#[test]
fn who_is_no_owner_changes_nothing_whatever_is_seen() {
    for sse in Sse::ALL {
        let mut desk = Desk::new(None);
        assert_eq!(desk.decide(sse), Wish::Nothing(None), "{sse:?}");
    }
}

#[test]
fn an_owner_looks_twice_before_it_calls() {
    let mut desk = Desk::new(Some(owned()));
    assert_eq!(desk.wish(Sse::Disabled), Wish::Look { at_once: false });
    desk.pass(SECOND);
    // Another one has done it meanwhile.
    assert_eq!(desk.wish(Sse::Enabling), Wish::Look { at_once: false });
    desk.pass(SECOND);
    assert_eq!(desk.wish(Sse::Enabled), Wish::Nothing(None));
    assert_eq!(desk.wish(Sse::Disabled), Wish::Look { at_once: false });
    let old = (seen(Sse::Disabled), desk.now.at);
    desk.pass(SECOND * 10);
    let wish = desk.owner.wish(Some((&old.0, old.1)), &Place::Firehose, &desk.calls, desk.now);
    assert_eq!(wish, Wish::Look { at_once: false }, "what was seen is too old");
    assert_eq!(desk.wish(Sse::Disabled), Wish::Call(CallKind::Start, owned()));
}

#[test]
fn every_answer_to_a_call_leads_where_the_table_says() {
    let table = [
        (Ok(()), true),
        (Err(trouble(Class::Busy)), true),
        (Err(trouble(Class::Unanswered)), true),
        (Err(trouble(Class::Passing)), false),
        (Err(trouble(Class::Operator)), false),
        (Err(trouble(Class::NotFound)), false),
        (Err(trouble(Class::Limit)), false),
    ];
    for (result, is_changing) in table {
        let mut desk = Desk::new(Some(owned()));
        assert_eq!(desk.decide(Sse::Disabled), Wish::Call(CallKind::Start, owned()));
        desk.call(CallKind::Start);
        assert_eq!(desk.wish(Sse::Disabled), Wish::Nothing(None), "while it is under way");
        assert_eq!(desk.called(result.clone()), None);
        assert_eq!(matches!(desk.owner.phase(), Phase::Changing(_)), is_changing, "{result:?}");
        desk.pass(SECOND);
        // No second call follows soon, whatever came of the first.
        assert!(!matches!(desk.decide(Sse::Disabled), Wish::Call(..)), "{result:?}");
        assert_eq!(desk.decide(Sse::Enabled), Wish::Nothing(None), "{result:?}");
    }
}

#[test]
fn calls_that_nobody_asked_for_become_ever_more_seldom_and_end_for_the_day() {
    let mut desk = Desk::new(Some(owned()));
    let mut gaps = Vec::new();
    let mut last = desk.now.at;
    // Somebody else switches it off again and again.
    for _ in 0..PACE.calls_max {
        loop {
            match desk.decide(Sse::Disabled) {
                Wish::Call(..) => break,
                Wish::Nothing(Some(until)) => {
                    let wait = until - desk.now.at;
                    desk.pass(wait);
                }
                wish => panic!("{wish:?}"),
            }
        }
        gaps.push((desk.now.at - last).as_secs() / 60);
        last = desk.now.at;
        desk.call(CallKind::Start);
        desk.called(Ok(()));
    }
    assert_eq!(gaps, [0, 1, 2, 4, 8]);
    let Wish::Nothing(Some(until)) = desk.decide(Sse::Disabled) else { panic!() };
    assert!(until - desk.now.at > HOUR * 23, "until the first of them is a day old");
    assert_eq!(desk.calls.left(CallKind::Start, &Place::Firehose, desk.now.unix_ms), 20);
}

#[test]
fn a_limit_that_the_service_has_reached_is_waited_for_in_hours() {
    let mut desk = Desk::new(Some(owned()));
    for least in [HOUR / 2, HOUR, HOUR * 2] {
        while !matches!(desk.decide(Sse::Disabled), Wish::Call(..)) {
            desk.pass(SECOND * 30);
        }
        desk.call(CallKind::Start);
        desk.called(Err(trouble(Class::Limit)));
        let Wish::Nothing(Some(until)) = desk.decide(Sse::Disabled) else { panic!() };
        assert!(until - desk.now.at >= least - SECOND * 3, "{:?}", until - desk.now.at);
    }
}

#[test]
fn a_person_s_order_is_done_at_once_and_is_in_force_from_then_on() {
    let mut desk = Desk::new(Some(owned()));
    assert!(desk.owner.order(Target::Plain, desk.now));
    assert!(!desk.owner.order(owned(), desk.now), "one at a time");
    let look = desk.owner.wish(None, &Place::Firehose, &desk.calls, desk.now);
    assert_eq!(look, Wish::Look { at_once: true });
    assert_eq!(desk.wish(Sse::Enabled), Wish::Call(CallKind::Stop, Target::Plain));
    desk.call(CallKind::Stop);
    assert_eq!(desk.called(Ok(())), Some(Outcome::Done(Some(CallKind::Stop))));
    desk.pass(SECOND);
    assert_eq!(desk.decide(Sse::Disabled), Wish::Nothing(None), "the declaration does not undo it");
    assert_eq!(desk.owner.by_hand(), Some(&Target::Plain));
    assert_eq!(desk.calls.own(desk.now.unix_ms), None);
}

#[test]
fn an_order_that_fails_leaves_in_force_what_was() {
    for (class, outcome) in [
        (Class::Busy, Outcome::Busy),
        (Class::Operator, Outcome::Failed(trouble(Class::Operator))),
        (Class::Unanswered, Outcome::Failed(trouble(Class::Unanswered))),
    ] {
        let mut desk = Desk::new(Some(owned()));
        assert!(desk.owner.order(Target::Plain, desk.now));
        assert!(matches!(desk.wish(Sse::Enabled), Wish::Call(..)));
        desk.call(CallKind::Stop);
        assert_eq!(desk.called(Err(trouble(class))), Some(outcome));
        assert_eq!(desk.owner.by_hand(), None);
        assert_eq!(desk.owner.target(), Some(&owned()));
    }
}

#[test]
fn an_order_that_can_not_be_or_need_not_be_makes_no_call() {
    let mut desk = Desk::new(None);
    let alias = Target::Encrypted(Key::Customer("alias/a".into()));
    assert!(desk.owner.order(alias, desk.now));
    assert!(matches!(desk.wish(Sse::Disabled), Wish::Done(Outcome::Impossible(_))));
    desk.owner.end_order(&Outcome::Busy);
    assert!(desk.owner.order(owned(), desk.now));
    assert_eq!(desk.wish(Sse::Enabled), Wish::Done(Outcome::Done(None)));
    desk.owner.end_order(&Outcome::Done(None));
    assert!(desk.owner.order(Target::Plain, desk.now));
    assert_eq!(desk.wish(Sse::Disabling), Wish::Done(Outcome::Busy));
    desk.owner.end_order(&Outcome::Busy);
    assert!(desk.owner.order(Target::Plain, desk.now));
    for _ in 0..25 {
        desk.calls.count(CallKind::Start, false, desk.now.unix_ms);
    }
    assert!(matches!(desk.wish(Sse::Enabled), Wish::Done(Outcome::NoCalls(Some(_)))));
}

/// What happens to an owner.
#[derive(Debug, Clone)]
enum Event {
    Seen(Sse),
    Called(Option<Class>),
    Passed(u64),
}

fn events() -> impl Strategy<Value = Event> {
    let class = prop::sample::select(vec![
        None,
        Some(Class::Busy),
        Some(Class::Passing),
        Some(Class::Operator),
        Some(Class::Limit),
        Some(Class::Unanswered),
        Some(Class::NotFound),
    ]);
    prop_oneof![
        prop::sample::select(Sse::ALL.to_vec()).prop_map(Event::Seen),
        class.prop_map(Event::Called),
        (1_u64..20_000).prop_map(Event::Passed),
    ]
}

proptest! {
    #[test]
    fn nothing_is_ever_done_that_was_not_declared_and_never_too_often(
        encrypted in any::<bool>(),
        events in prop::collection::vec(events(), 1..300),
    ) {
        let target = if encrypted { owned() } else { Target::Plain };
        let mut desk = Desk::new(Some(target.clone()));
        let mut made: Vec<u64> = Vec::new();
        for event in events {
            match event {
                Event::Seen(sse) => {
                    if let Wish::Call(kind, wished) = desk.decide(sse) {
                        prop_assert_eq!(&wished, &target);
                        prop_assert_eq!(kind == CallKind::Start, encrypted);
                        made.push(desk.now.unix_ms);
                        desk.call(kind);
                    }
                }
                Event::Called(class) => {
                    desk.called(class.map_or(Ok(()), |class| Err(trouble(class))));
                }
                Event::Passed(seconds) => desk.pass(SECOND * u32::try_from(seconds).unwrap()),
            }
            let day = |at: &&u64| **at + DAY_MS > desk.now.unix_ms;
            prop_assert!(made.iter().filter(day).count() <= PACE.calls_max as usize);
        }
        for pair in made.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 60_000);
        }
    }
}
