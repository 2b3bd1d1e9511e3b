//! What may be sent after each kind of answer.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn flow() -> Flow {
    Flow::new(&Config { circuit_failures: 2, ..Config::default() })
}

fn plain(at: Instant) -> Begin {
    Begin { at, is_probe: false, is_at_limit: false, epoch: 0 }
}

#[test]
fn an_answer_in_which_most_records_failed_puts_the_whole_stream_off() {
    let start = Instant::now();
    let mut flow = flow();
    flow.ended(start, plain(start), Fate::Answered { put: 450, failed: 50 });
    assert_eq!(flow.permit(start, 0), Permit::Full);
    assert_eq!(flow.limit(), 2, "but fewer requests go at once");
    flow.ended(start, plain(start), Fate::Answered { put: 1, failed: 499 });
    assert!(matches!(flow.permit(start, 0), Permit::Nothing { until: Some(_) }));
    assert_eq!(flow.standing(), Standing::BackingOff);
}

#[test]
fn a_held_stream_gets_one_probe_at_a_time_and_is_released_by_it() {
    let start = Instant::now();
    let mut flow = flow();
    assert_eq!(flow.ended(start, plain(start), Fate::Failed(Class::Hold)), [Change::Held]);
    let Permit::Nothing { until: Some(until) } = flow.permit(start, 0) else { panic!() };
    assert_eq!(flow.permit(until, 0), Permit::Probe);
    let begin = flow.began(until, Permit::Probe, 1);
    assert_eq!(flow.permit(until, 1), Permit::Nothing { until: None });
    let changes = flow.ended(until, begin, Fate::Answered { put: 1, failed: 0 });
    assert_eq!(changes, [Change::Released]);
    assert_eq!(flow.permit(until, 0), Permit::Full);
}

#[test]
fn a_probe_of_a_held_stream_that_meets_an_outage_is_repeated() {
    let start = Instant::now();
    let mut flow = flow();
    flow.ended(start, plain(start), Fate::Failed(Class::Hold));
    let Permit::Nothing { until: Some(until) } = flow.permit(start, 0) else { panic!() };
    for class in [Class::Ambiguous, Class::Throttled, Class::Unreachable, Class::Refused] {
        let begin = flow.began(until, Permit::Probe, 1);
        flow.ended(until, begin, Fate::Failed(class));
        assert!(matches!(flow.permit(until, 0), Permit::Nothing { until: Some(_) }), "{class:?}");
    }
}

#[test]
fn an_open_circuit_that_finds_the_stream_held_closes() {
    let start = Instant::now();
    let mut flow = flow();
    flow.ended(start, plain(start), Fate::Failed(Class::Unreachable));
    let changes = flow.ended(start, plain(start), Fate::Failed(Class::Unreachable));
    assert_eq!(changes, [Change::Opened]);
    let Permit::Nothing { until: Some(until) } = flow.permit(start, 0) else { panic!() };
    let begin = flow.began(until, Permit::Probe, 1);
    let changes = flow.ended(until, begin, Fate::Failed(Class::Hold));
    assert_eq!(changes, [Change::Closed, Change::Held]);
    assert_eq!(flow.standing(), Standing::Held);
}

#[test]
fn a_held_stream_is_asked_at_once_in_a_new_epoch_and_old_requests_hold_it_no_more() {
    let start = Instant::now();
    let mut flow = flow();
    flow.ended(start, plain(start), Fate::Failed(Class::Hold));
    let old = flow.began(start, Permit::Probe, 1);
    flow.renew(start, 1, true);
    assert_eq!(flow.permit(start, 1), Permit::Probe);
    flow.ended(start, old, Fate::Failed(Class::Hold));
    assert_eq!(flow.permit(start, 1), Permit::Probe, "the old probe puts nothing off");
    let begin = flow.began(start, Permit::Probe, 1);
    assert_eq!(flow.ended(start, begin, Fate::Answered { put: 1, failed: 0 }), [Change::Released]);
    assert_eq!(flow.ended(start, old, Fate::Failed(Class::Hold)), []);
    assert_eq!(flow.standing(), Standing::Flowing);
}

#[test]
fn of_two_permits_the_stricter_one_counts() {
    let now = Instant::now();
    let nothing = |until| Permit::Nothing { until };
    let (soon, later) = (Some(now), Some(now + MS));
    for (one, other, both) in [
        (Permit::Full, Permit::Full, Permit::Full),
        (Permit::Full, Permit::Probe, Permit::Probe),
        (Permit::Probe, Permit::Probe, Permit::Probe),
        (Permit::Full, nothing(soon), nothing(soon)),
        (Permit::Probe, nothing(None), nothing(None)),
        (nothing(soon), nothing(later), nothing(later)),
        (nothing(soon), nothing(None), nothing(None)),
    ] {
        assert_eq!(one.and(other), both);
        assert_eq!(other.and(one), both);
    }
}

#[test]
fn a_stop_puts_nothing_off_for_long() {
    let start = Instant::now();
    let mut flow = flow();
    flow.ended(start, plain(start), Fate::Failed(Class::Hold));
    flow.hurry(start);
    assert_eq!(flow.permit(start + HURRIED_WAIT_MAX, 0), Permit::Probe);
    assert!(flow.record_wait(30) <= HURRIED_WAIT_MAX);
    let begin = flow.began(start, Permit::Probe, 1);
    flow.ended(start + MS, begin, Fate::Failed(Class::Hold));
    assert_eq!(flow.permit(start + MS + HURRIED_WAIT_MAX, 0), Permit::Probe);
}
