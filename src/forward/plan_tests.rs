//! The plan under every kind of outcome: nothing is lost, nothing is sent twice at once.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::blobs::{Aggregate, End as Ending, When};
use super::super::partition::PartitionKey;
use super::super::request::{Fate, Verdict};
use super::*;
use crate::pipeline::testing::{batch_of, lane};

const BOUNDS: Bounds = Bounds { records_max: 500, bytes_max: 4 << 20, record_bytes_more: 0 };

fn plan_of(batches: &[&[&str]]) -> Plan {
    let lane = lane("demo", 1 << 28);
    let mut plan = Plan::default();
    for batch in batches {
        plan.push(Box::new(batch_of(&lane, batch)));
    }
    plan
}

fn texts(plan: &Plan, request: &Request) -> Vec<String> {
    plan.records(request).map(|record| String::from_utf8(record.to_vec()).unwrap()).collect()
}

#[test]
fn small_batches_go_together_and_a_large_one_goes_in_parts() {
    let now = Instant::now();
    let mut plan = plan_of(&[&["a", "b"], &["c", "d", "e"]]);
    let bounds = Bounds { records_max: 4, ..BOUNDS };
    let first = plan.next(now, bounds).unwrap();
    let second = plan.next(now, bounds).unwrap();
    assert_eq!(texts(&plan, &first), ["a", "b", "c", "d"]);
    assert_eq!(texts(&plan, &second), ["e"]);
    assert!(plan.next(now, bounds).is_none());
    assert_eq!(plan.settle(second, now, now, |_| Fate::Put, |_| now).done.len(), 0);
    assert_eq!(plan.settle(first, now, now, |_| Fate::Put, |_| now).done.len(), 2);
    assert_eq!((plan.batches(), plan.counts()), (0, Counts::default()));
}

#[test]
fn a_record_that_is_larger_than_the_bound_goes_alone() {
    let now = Instant::now();
    let mut plan = plan_of(&[&["12345", "6", "7"]]);
    let bounds = Bounds { bytes_max: 2, ..BOUNDS };
    let first = plan.next(now, bounds).unwrap();
    let second = plan.next(now, bounds).unwrap();
    assert_eq!(
        (texts(&plan, &first), texts(&plan, &second)),
        (vec!["12345".to_owned()], vec!["6".to_owned(), "7".to_owned()])
    );
}

#[test]
fn only_what_failed_is_sent_again_after_its_wait_and_together_with_fresh_records() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let mut plan = plan_of(&[&["a", "b", "c"]]);
    let request = plan.next(now, BOUNDS).unwrap();
    let settlement = plan.settle(
        request,
        now,
        now,
        |place| if place == 1 { Fate::Again } else { Fate::Put },
        |_| later,
    );
    assert_eq!((settlement.again, settlement.parts.len(), settlement.done.len()), (1, 1, 0));
    assert!(plan.next(now, BOUNDS).is_none());
    assert_eq!(plan.next_at(now), Some(later));
    plan.push(Box::new(batch_of(&lane("demo", 1 << 20), &["fresh"])));
    let merged = plan.next(later, BOUNDS).unwrap();
    assert_eq!(texts(&plan, &merged), ["b", "fresh"]);
    assert_eq!(plan.settle(merged, later, later, |_| Fate::Put, |_| later).done.len(), 2);
}

#[test]
fn a_record_that_waits_for_another_try_does_not_keep_the_rest_of_its_batch_waiting() {
    let now = Instant::now();
    let mut plan = plan_of(&[&["a", "b"]]);
    let first = plan.next(now, Bounds { records_max: 1, ..BOUNDS }).unwrap();
    let later = now + Duration::from_secs(9);
    let _settlement = plan.settle(first, now, now, |_| Fate::Again, |_| later);
    let second = plan.next(now, BOUNDS).unwrap();
    assert_eq!(texts(&plan, &second), ["b"]);
}

#[test]
fn what_is_taken_out_of_a_request_is_aside_and_the_rest_goes_as_before() {
    let now = Instant::now();
    let mut plan = plan_of(&[&["a", "large", "b"], &["larger"], &["c"]]);
    let mut request = plan.next(now, BOUNDS).unwrap();
    let taken = plan.take_out(&mut request, &[1, 3]);
    assert_eq!(texts(&plan, &request), ["a", "b", "c"]);
    assert_eq!((request.bytes, taken.done.len()), (3, 0), "without a store they stay");
    assert_eq!(taken.letters, [(5, None), (6, None)]);
    assert_eq!((plan.counts().aside, plan.counts().in_flight), (2, 3));
    let settlement = plan.settle(request, now, now, |_| Fate::Put, |_| now);
    assert_eq!((settlement.done.len(), plan.batches()), (1, 2));
    // One of which nothing is left was part of finding out who is at fault.
    let mut plan = plan_of(&[&["d", "e"]]);
    let request = plan.next(now, BOUNDS).unwrap();
    assert_eq!(plan.refused(request, now, now).0, Verdict::Open);
    let mut request = plan.next(now, BOUNDS).unwrap();
    assert!(request.is_inquest);
    plan.take_out(&mut request, &[0]);
    assert_eq!((plan.inquest_in_flight, plan.counts().aside, plan.counts().suspect), (0, 1, 1));
    let request = plan.next(now, BOUNDS).unwrap();
    assert_eq!(texts(&plan, &request), ["e"]);
}

/// Drives a plan against a service that refuses any request with a record that is `bad`.
fn drive(plan: &mut Plan, bad: impl Fn(&str) -> bool, requests_max: usize) -> Vec<Verdict> {
    let mut now = Instant::now();
    let mut verdicts = Vec::new();
    for _ in 0..requests_max {
        now += Duration::from_millis(1);
        let Some(request) = plan.next(now, BOUNDS) else { break };
        let began_at = now;
        now += Duration::from_millis(1);
        if texts(plan, &request).iter().any(|record| bad(record)) {
            verdicts.push(plan.refused(request, now, began_at).0);
            if verdicts.last() == Some(&Verdict::Hold) {
                break;
            }
        } else {
            let _settlement = plan.settle(request, now, began_at, |_| Fate::Put, |_| now);
        }
    }
    verdicts
}

#[test]
fn a_record_that_is_refused_alone_is_set_aside_and_stays() {
    let mut plan = plan_of(&[&["a", "bad", "c"], &["d"]]);
    let verdicts = drive(&mut plan, |record| record == "bad", 50);
    assert_eq!(verdicts.last(), Some(&Verdict::SetAside { bytes: 3, letter: None }));
    assert_eq!(plan.counts(), Counts { aside: 1, ..Counts::default() });
    assert_eq!(plan.oldest(), None);
}

#[test]
fn a_single_bad_record_waits_for_another_one_to_go_through_before_it_is_set_aside() {
    let mut plan = plan_of(&[&["bad"]]);
    assert_eq!(drive(&mut plan, |record| record == "bad", 9), [Verdict::Open]);
    assert!(plan.is_stuck(), "the stream is held");
    assert_eq!(plan.counts().aside, 0);
    // What asks a held stream is a record that nobody suspects, if there is one.
    plan.push(Box::new(batch_of(&lane("demo", 1 << 20), &["good"])));
    let now = Instant::now() + Duration::from_secs(1);
    let probe = plan.next_probe(&mut fastrand::Rng::with_seed(1)).unwrap();
    assert_eq!(texts(&plan, &probe), ["good"]);
    let _settlement = plan.settle(probe, now, now, |_| Fate::Put, |_| now);
    let again = plan.next(now, BOUNDS).unwrap();
    let (verdict, _) = plan.refused(again, now, now);
    assert_eq!(verdict, Verdict::SetAside { bytes: 3, letter: None });
}

#[test]
fn a_stream_that_refuses_everything_is_held_and_keeps_every_record() {
    let records: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let mut plan = plan_of(&[&records, &["x", "y"]]);
    let verdicts = drive(&mut plan, |_| true, 1_000);
    assert_eq!(verdicts.last(), Some(&Verdict::Hold));
    assert!(verdicts.len() < 30, "{}", verdicts.len());
    assert_eq!((plan.counts().undelivered(), plan.counts().aside), (502, 0));
    // Asked again with one record at a time, it is every record's turn.
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..1_000 {
        let now = Instant::now();
        let probe = plan.next_probe(&mut random).unwrap();
        assert_eq!(probe.picks.len(), 1);
        let (verdict, _) = plan.refused(probe, now, now);
        assert_ne!(verdict, Verdict::SetAside { bytes: 1, letter: None });
    }
    assert_eq!(plan.counts().undelivered(), 502);
}

#[test]
fn a_request_that_finds_no_room_leaves_everything_as_it_was() {
    let now = Instant::now();
    let mut plan = plan_of(&[&["a", "b"]]);
    let request = plan.next(now, BOUNDS).unwrap();
    plan.put_back(request);
    let request = plan.next(now, BOUNDS).unwrap();
    assert_eq!(texts(&plan, &request), ["a", "b"]);
}

/// What may happen to a request.
#[derive(Debug, Clone)]
enum End {
    Entries(u64),
    Failed,
    Refused,
    PutBack,
}

fn fates() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => any::<u64>().prop_map(End::Entries),
        1 => Just(End::Failed),
        2 => Just(End::Refused),
        1 => Just(End::PutBack),
    ]
}

struct Model {
    plan: Plan,
    now: Instant,
    /// How often each record was delivered.
    delivered: BTreeMap<String, usize>,
    under_way: Vec<(Request, Instant, Vec<String>)>,
}

impl Model {
    fn land(&mut self, at: usize, fate: &End) {
        let (request, began_at, records) = self.under_way.swap_remove(at);
        self.now += Duration::from_millis(1);
        let now = self.now;
        let again_at = |attempt: u32| now + Duration::from_millis(u64::from(attempt % 5));
        match fate {
            End::Entries(bits) => {
                let is_put = |place: usize| bits >> (request.entry_of(place) % 64) & 1 == 0;
                let is_any_put = (0..records.len()).any(is_put);
                let is_apart = |place| {
                    bits >> 63 == 1 && is_any_put && request.records_of(request.entry_of(place)) > 1
                };
                let fates: Vec<Fate> = (0..records.len())
                    .map(|place| match is_put(place) {
                        true => Fate::Put,
                        false if is_apart(place) => Fate::Suspect,
                        false => Fate::Again,
                    })
                    .collect();
                for (_, record) in records.iter().enumerate().filter(|(place, _)| is_put(*place)) {
                    *self.delivered.entry(record.clone()).or_default() += 1;
                }
                let fate = |place: usize| fates[place];
                let settlement = self.plan.settle(request, now, began_at, fate, again_at);
                settlement.done.into_iter().for_each(Batch::settle);
            }
            End::Failed => self.plan.failed(request, again_at),
            End::Refused => {
                let (_, done) = self.plan.refused(request, now, began_at);
                done.into_iter().for_each(Batch::settle);
            }
            End::PutBack => self.plan.put_back(request),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, every record is delivered once or set aside, is in one request at a time, and
    /// no request is beyond its bounds.
    #[test]
    fn nothing_is_lost_and_nothing_is_in_two_requests(
        sizes in prop::collection::vec(1_usize..40, 1..12),
        records_max in 1_usize..60,
        bytes_max in 1_usize..300,
        steps in prop::collection::vec((any::<prop::sample::Index>(), fates(), 0_u8..4), 0..120),
        joining in 0_u8..4,
        blob_bytes in 1_usize..200,
    ) {
        let lane = lane("demo", 1 << 28);
        let bounds = Bounds { records_max, bytes_max, ..BOUNDS };
        let all: usize = sizes.iter().sum();
        let mut fresh = sizes.iter().enumerate().map(|(batch, size)| {
            let records: Vec<String> = (0..*size).map(|n| format!("{batch}-{n}")).collect();
            Box::new(batch_of(&lane, &records))
        });
        let mut model = Model {
            plan: Plan::default(), now: Instant::now(),
            delivered: BTreeMap::new(), under_way: Vec::new(),
        };
        let aggregate = |end| Aggregate { when: When::On, bytes: blob_bytes, end };
        model.plan.joining = match joining {
            0 => None,
            1 => Some(Joining::for_firehose(&aggregate(Ending::Newline))),
            2 => Some(Joining::for_firehose(&aggregate(Ending::Nothing))),
            _ => Some(Joining::for_kinesis(&aggregate(Ending::Newline), &PartitionKey::Random, 1_000)),
        };
        let mut random = fastrand::Rng::with_seed(9);
        let mut pushed = 0;
        // After the steps everything goes well, until nothing is left to do.
        let well = std::iter::repeat_n((None, End::Entries(0), 1), 20 * all + 100);
        let steps = steps.into_iter().map(|(index, fate, action)| (Some(index), fate, action));
        for (index, fate, action) in steps.chain(well) {
            if action != 0 && let Some(batch) = fresh.next() {
                pushed += batch.len();
                model.plan.push(batch);
            }
            let next = if action == 2 || model.plan.is_stuck() {
                model.plan.next_probe(&mut random)
            } else {
                model.plan.next(model.now, bounds)
            };
            if let Some(request) = next {
                prop_assert!(request.entries() <= records_max);
                prop_assert!(request.bytes <= bytes_max || request.picks.len() == 1);
                for blob in request.blobs.iter().flat_map(|blobs| &blobs.blobs) {
                    prop_assert!(blob.bytes <= blob_bytes || blob.records == 1);
                }
                let records = texts(&model.plan, &request);
                prop_assert_eq!(records.len(), request.picks.len());
                for (_, _, others) in &model.under_way {
                    prop_assert!(records.iter().all(|record| !others.contains(record)));
                }
                prop_assert!(records.iter().all(|record| !model.delivered.contains_key(record)));
                model.under_way.push((request, model.now, records));
            }
            model.now += Duration::from_millis(1);
            if !model.under_way.is_empty() && action != 3 {
                let at = index.map_or(0, |index| index.index(model.under_way.len()));
                model.land(at, &fate);
            }
            let counts = model.plan.counts();
            let in_flight: usize = model.under_way.iter().map(|(request, ..)| request.picks.len()).sum();
            prop_assert_eq!(counts.in_flight, in_flight);
            prop_assert_eq!(model.delivered.len() + counts.undelivered() + counts.aside, pushed);
            let accounted = model.delivered.len() as u64 + lane.records_in_memory();
            prop_assert_eq!(accounted, pushed as u64, "at any time");
            prop_assert_eq!(lane.batches_outstanding() == 0, counts.undelivered() == 0);
            prop_assert_eq!(lane.lost(), (0, 0));
        }
        prop_assert_eq!(model.plan.counts().undelivered(), 0);
        prop_assert_eq!(model.delivered.len() + model.plan.counts().aside, all);
        prop_assert!(model.delivered.values().all(|times| *times == 1));
        let aside = model.plan.counts().aside;
        prop_assert_eq!(model.plan.batches() == 0, aside == 0);
        drop(fresh);
        model.plan.close();
        prop_assert_eq!(lane.lost().0, aside as u64);
        prop_assert_eq!((lane.share().used_bytes(), lane.batches_outstanding()), (0, 0));
    }
}

#[test]
fn what_is_settled_is_not_lost_at_the_end_although_its_batch_is_still_under_way() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 20);
    let mut plan = Plan::default();
    plan.push(Box::new(batch_of(&lane, &["a", "b", "c"])));
    let first = plan.next(now, Bounds { records_max: 2, ..BOUNDS }).unwrap();
    let second = plan.next(now, BOUNDS).unwrap();
    let _settlement = plan.settle(first, now, now, |_| Fate::Put, |_| now);
    assert_eq!(texts(&plan, &second), ["c"]);
    plan.close();
    assert_eq!((lane.lost(), lane.records_in_memory()), ((1, 1), 0));
}
