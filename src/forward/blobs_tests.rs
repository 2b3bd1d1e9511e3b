//! Joined records: what goes into a request comes out of its body again, and each record has its own fate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::blobs::{Aggregate, BLOB_RECORDS_MAX, End, Joining, When};
use super::gate_tests::{Post, data_stream, gates};
use super::partition::{Keys, PartitionKey};
use super::plan::Plan;
use super::request::{Bounds, Fate, Request, Verdict};
use super::sink::Sink;
use super::stub::{Put, Reply, Stub};
use super::tests::{Rig, config, numbered};
use super::*;
use crate::embedded::kpl;
use crate::gate::{Guidance, Joins, gate};
use crate::pipeline::testing::{batch_of, lane};
use crate::pipeline::{Batch, Batcher, ChunkPool, Outcome, Piece};
use crate::record::RECORD_BYTES_MAX;

const BOUNDS: Bounds = Bounds { records_max: 500, bytes_max: 4 << 20, record_bytes_more: 0 };

fn aggregate(bytes: usize, end: End) -> Aggregate {
    Aggregate { when: When::On, bytes, end }
}

fn lines(bytes: usize) -> Joining {
    Joining::for_firehose(&aggregate(bytes, End::Newline))
}

fn plan_of<T: AsRef<[u8]>>(records: &[T], joining: Joining) -> Plan {
    let lane = lane("demo", 1 << 30);
    let mut plan = Plan::default();
    plan.joining = Some(joining);
    for records in records.chunks(500) {
        plan.push(Box::new(batch_of(&lane, records)));
    }
    plan
}

/// The records of the service in a request, each with its key.
fn blobs(plan: &Plan, request: &Request, sink: &Sink) -> Vec<(Vec<u8>, Option<String>)> {
    let stream = "demo".parse().unwrap();
    let mut keys = Keys::new(PartitionKey::Random);
    let body = sink.body(&stream, plan, request, &mut keys);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let sent = body["Records"].as_array().unwrap().iter().map(|record| {
        let data = record["Data"].as_str().unwrap();
        let data = base64_simd::STANDARD.decode_to_vec(data).unwrap();
        (data, record["PartitionKey"].as_str().map(str::to_owned))
    });
    sent.collect()
}

fn kinesis(record_bytes_max: usize) -> Sink {
    let id = "s".into();
    Sink::Kinesis(std::sync::Arc::new(crate::gate::DataStream { id, record_bytes_max }))
}

/// All that a plan sends when everything is put.
fn all_blobs(plan: &mut Plan, sink: &Sink, bounds: Bounds) -> Vec<(Vec<u8>, Option<String>)> {
    let mut all = Vec::new();
    let now = Instant::now();
    while let Some(request) = plan.next(now, bounds) {
        let sent = blobs(plan, &request, sink);
        assert_eq!(sent.len(), request.entries());
        let bytes: usize = sent.iter().map(|(data, _)| data.len()).sum();
        assert_eq!(bytes, request.bytes, "sizes are known before it is written");
        let keys: usize = sent.iter().map(|(_, key)| key.as_ref().map_or(0, String::len)).sum();
        assert!(sent.len() <= bounds.records_max);
        assert!(bytes + keys <= bounds.bytes_max || request.picks.len() == 1);
        all.extend(sent);
        plan.settle(request, now, now, |_| Fate::Put, |_| now)
            .done
            .into_iter()
            .for_each(Batch::settle);
    }
    assert_eq!(plan.batches(), 0);
    all
}

fn apart_at_newlines(blob: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(blob.last(), Some(&b'\n'), "a blob ends with a newline");
    blob[..blob.len() - 1].split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1_usize..20, 1_usize..2_000).prop_map(|(records_max, bytes_max)| Bounds {
        records_max,
        bytes_max,
        record_bytes_more: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Records with no newline inside, with one at their end or without, come out of lines as they went in, in
    /// their order.
    #[test]
    fn what_is_joined_with_newlines_is_taken_apart_at_newlines(
        records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..100), any::<bool>()), 1..300),
        blob_bytes in 1_usize..1_000,
        bounds in bounds(),
    ) {
        let bare = |record: &[u8]| -> Vec<u8> {
            record.iter().copied().filter(|byte| *byte != b'\n').collect()
        };
        let expected: Vec<Vec<u8>> = records.iter().map(|(record, _)| bare(record)).collect();
        let given: Vec<Vec<u8>> = records
            .iter()
            .map(|(record, has_end)| [&bare(record)[..], if *has_end { b"\n" } else { b"" }].concat())
            .collect();
        let mut plan = plan_of(&given, lines(blob_bytes));
        let all = all_blobs(&mut plan, &Sink::Firehose, bounds);
        for (blob, _) in &all {
            let is_one = apart_at_newlines(blob).len() == 1;
            prop_assert!(blob.len() <= blob_bytes || is_one);
        }
        let apart: Vec<Vec<u8>> = all.iter().flat_map(|(blob, _)| apart_at_newlines(blob)).collect();
        prop_assert_eq!(apart, expected);
    }

    /// Whatever the records are, joined with nothing between they are the same bytes.
    #[test]
    fn what_is_joined_with_nothing_is_the_same_bytes(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..300),
        blob_bytes in 1_usize..1_000,
        bounds in bounds(),
    ) {
        let mut plan = plan_of(&records, Joining::for_firehose(&aggregate(blob_bytes, End::Nothing)));
        let all = all_blobs(&mut plan, &Sink::Firehose, bounds);
        let together: Vec<u8> = all.into_iter().flat_map(|(blob, _)| blob).collect();
        prop_assert_eq!(together, records.concat());
    }

    /// Any records at all come out of the KPL's format as they went in, those of one key in their order and
    /// under their key; even records that are of the format themselves.
    #[test]
    fn what_is_joined_for_a_data_stream_is_taken_apart_by_whoever_knows_the_format(
        records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..100), 0_u8..5), 1..300),
        nested in any::<prop::sample::Index>(),
        blob_bytes in 1_usize..1_000,
        takes in 200_usize..1_000,
        bounds in bounds(),
        has_keys in any::<bool>(),
    ) {
        let mut given: Vec<Vec<u8>> = records
            .iter()
            .map(|(record, key)| serde_json::to_vec(&serde_json::json!({"k": key, "d": record})).unwrap())
            .collect();
        let nested = nested.index(given.len());
        let mut inner = Vec::new();
        super::kpl::begin(&mut inner, "k");
        super::kpl::add(&mut inner, b"inside");
        super::kpl::end(&mut inner);
        given[nested] = inner.clone();
        let from = if has_keys {
            PartitionKey::Pointer("/k".parse().unwrap())
        } else {
            PartitionKey::Random
        };
        let joining = Joining::for_kinesis(&aggregate(blob_bytes, End::Newline), &from, takes + 1_024);
        let mut plan = plan_of(&given, joining);
        let all = all_blobs(&mut plan, &kinesis(takes + 1_024), bounds);
        let mut by_key: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let mut in_order = Vec::new();
        for (blob, key) in all {
            let inside = kpl::apart(&blob);
            prop_assert!(blob.len() <= blob_bytes.max(inner.len()) || inside.len() == 1);
            let of_key = by_key.entry(key.unwrap()).or_default();
            for record in inside {
                of_key.push(record.to_vec());
                in_order.push(record.to_vec());
            }
        }
        // What is nested was sent as it is, and so taken apart as it would have been.
        let mut expected = given.clone();
        expected[nested] = b"inside".to_vec();
        if has_keys {
            for (number, record) in expected.iter().enumerate().filter(|(n, _)| *n != nested) {
                let key = records[number].1.to_string();
                prop_assert!(by_key[&key].contains(record));
            }
            for key in 0_u8..5 {
                let of_key: Vec<&Vec<u8>> = (0..given.len())
                    .filter(|n| *n != nested && records[*n].1 == key)
                    .map(|n| &expected[n])
                    .collect();
                prop_assert_eq!(by_key.get(&key.to_string()).map_or(Vec::new(), |all| all.iter().collect()), of_key);
            }
            in_order.sort();
            expected.sort();
        }
        prop_assert!(in_order == expected);
    }
}

#[test]
fn a_request_of_blobs_holds_many_more_records_than_the_service_counts() {
    let records: Vec<Vec<u8>> = (0..60_000).map(|n| format!("{n:060}").into_bytes()).collect();
    let mut plan = plan_of(&records, lines(128 * 1024));
    let now = Instant::now();
    let request = plan.next(now, BOUNDS).unwrap();
    assert_eq!(request.picks.len(), 60_000, "61 bytes each");
    assert_eq!(request.entries(), 60_000 / BLOB_RECORDS_MAX, "no blob has more than 500");
    let sent = request.sent(|_| true);
    assert_eq!((sent.records, sent.blobs), (60_000, 120));
    assert_eq!(sent.billed, 120 * 30_720, "30,500 bytes, rounded up");
    assert_eq!(sent.saved, 60_000 * 5_120 - sent.billed);
}

#[test]
fn a_record_that_is_larger_than_a_blob_goes_by_itself_and_none_becomes_too_large() {
    let full = vec![b'x'; RECORD_BYTES_MAX];
    let almost = vec![b'x'; RECORD_BYTES_MAX - 1];
    let records: [&[u8]; 5] = [b"a", &full, b"b", &almost, b"c"];
    let mut plan = plan_of(&records, lines(RECORD_BYTES_MAX));
    let sizes: Vec<usize> =
        all_blobs(&mut plan, &Sink::Firehose, BOUNDS).iter().map(|(blob, _)| blob.len()).collect();
    assert_eq!(sizes, [2, RECORD_BYTES_MAX, 2, RECORD_BYTES_MAX, 2]);
}

#[test]
fn what_fails_with_its_blob_is_joined_anew_and_no_other_record_goes_again() {
    let now = Instant::now();
    let mut plan = plan_of(&["a", "b", "c", "d", "e", "f"], lines(4));
    let request = plan.next(now, BOUNDS).unwrap();
    assert_eq!((request.entries(), request.bytes), (3, 12));
    let of: Vec<usize> = (0..6).map(|place| request.entry_of(place)).collect();
    assert_eq!(of, [0, 0, 1, 1, 2, 2]);
    let failed = |place| if of[place] == 1 { Fate::Again } else { Fate::Put };
    let settlement = plan.settle(request, now, now, failed, |_| now);
    assert_eq!(settlement.again, 2);
    let again = plan.next(now, BOUNDS).unwrap();
    assert_eq!(blobs(&plan, &again, &Sink::Firehose), [(b"c\nd\n".to_vec(), None)]);
    let settlement = plan.settle(again, now, now, |_| Fate::Put, |_| now);
    assert_eq!((settlement.done.len(), plan.batches()), (1, 0));
}

#[test]
fn a_blob_that_is_refused_is_taken_apart_until_one_record_is_at_fault() {
    let mut now = Instant::now();
    let mut plan = plan_of(&["a", "b", "bad", "d", "e", "f"], lines(8));
    let request = plan.next(now, BOUNDS).unwrap();
    assert_eq!(request.entries(), 2);
    let of: Vec<usize> = (0..6).map(|place| request.entry_of(place)).collect();
    let fate = |place| if of[place] == 0 { Fate::Suspect } else { Fate::Put };
    let settlement = plan.settle(request, now, now, fate, |_| now);
    assert_eq!((settlement.done.len(), plan.counts().suspect), (0, 3));
    now += Duration::from_millis(1);
    let asked = plan.next(now, BOUNDS).unwrap();
    assert!(asked.is_inquest && asked.entries() == 3, "each by itself");
    assert_eq!(
        blobs(&plan, &asked, &Sink::Firehose).into_iter().map(|(data, _)| data).collect::<Vec<_>>(),
        [b"a\n".to_vec(), b"b\n".to_vec(), b"bad\n".to_vec()],
        "with the end that it has among others"
    );
    // The service refuses the whole, as it does with one that is too large.
    assert_eq!(plan.refused(asked, now, now).0, Verdict::Open);
    let mut verdicts = Vec::new();
    for _ in 0..10 {
        now += Duration::from_millis(1);
        let Some(asked) = plan.next(now, BOUNDS) else { break };
        let is_bad = plan.records(&asked).any(|record| record == b"bad");
        if is_bad {
            verdicts.push(plan.refused(asked, now, now).0);
        } else {
            let _settlement = plan.settle(asked, now, now, |_| Fate::Put, |_| now);
        }
    }
    assert_eq!(verdicts.last(), Some(&Verdict::SetAside { bytes: 3, letter: None }));
    assert_eq!((plan.counts().aside, plan.counts().undelivered()), (1, 0));
}

#[test]
fn what_was_refused_as_many_blobs_is_asked_for_in_requests_that_the_service_takes() {
    let records: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let mut plan = plan_of(&records, lines(1_000));
    let mut now = Instant::now();
    let request = plan.next(now, BOUNDS).unwrap();
    assert_eq!(request.picks.len(), 5_000);
    let _verdict = plan.refused(request, now, now);
    let mut requests = 0;
    while let Some(asked) = plan.next(now, BOUNDS) {
        requests += 1;
        assert!(asked.entries() <= 500 && asked.bytes <= 4 << 20);
        now += Duration::from_millis(1);
        let is_bad = plan.records(&asked).any(|record| record == b"777");
        if is_bad {
            let _verdict = plan.refused(asked, now, now);
        } else {
            let _settlement = plan.settle(asked, now, now, |_| Fate::Put, |_| now);
        }
    }
    assert_eq!((plan.counts().aside, plan.counts().undelivered()), (1, 0));
    assert!(requests < 40, "{requests}");
}

#[test]
fn a_probe_is_one_record_that_is_not_joined() {
    let now = Instant::now();
    let mut plan = plan_of(&["a", "b", "c"], lines(100));
    let probe = plan.next_probe(&mut fastrand::Rng::with_seed(1)).unwrap();
    assert_eq!((probe.picks.len(), probe.entries(), probe.bytes), (1, 1, 2));
    plan.put_back(probe);
    assert_eq!(plan.next(now, BOUNDS).unwrap().picks.len(), 3);
}

#[test]
fn what_is_too_large_for_a_data_stream_is_taken_out_and_the_other_blobs_stay() {
    let large = "x".repeat(200);
    let records = ["a", "b", &large, "c", &large, "d"];
    let joining = Joining::for_kinesis(&aggregate(60, End::Newline), &PartitionKey::Random, 100);
    let mut plan = plan_of(&records, joining);
    let now = Instant::now();
    let mut request = plan.next(now, BOUNDS).unwrap();
    let sink = kinesis(100);
    let large = sink.too_large(&plan, &request, &mut Keys::new(PartitionKey::Random));
    assert_eq!(large, Some((vec![2, 4], 100)));
    let before = blobs(&plan, &request, &sink);
    plan.take_out(&mut request, &[2, 4]);
    let after = blobs(&plan, &request, &sink);
    let small: Vec<_> = before.into_iter().filter(|(blob, _)| blob.len() < 100).collect();
    assert_eq!(after, small);
    let inside: usize = after.iter().map(|(blob, _)| kpl::apart(blob).len()).sum();
    assert_eq!((inside, request.entries()), (4, after.len()));
}

fn on() -> StreamConfig {
    StreamConfig { aggregate: aggregate(64, End::Newline), ..StreamConfig::default() }
}

fn joined(url: &str, stream: StreamConfig) -> Config {
    Config { others: stream, ..config(url) }
}

fn records_of(put: &Put) -> Vec<String> {
    let lines = put.records.iter().flat_map(|blob| apart_at_newlines(blob));
    lines.map(|line| String::from_utf8(line).unwrap()).collect()
}

#[test]
fn joined_records_are_settled_by_their_blobs_and_each_once() {
    // Every third blob fails, until it is tried for the third time.
    let stub = Stub::start(|put| Reply::entries(put, |place, _| put.number < 2 && place % 3 == 1));
    let mut rig = Rig::with_spool(joined(&stub.url(), on()), lane("demo", 1 << 28), None);
    let all = numbered(500);
    rig.send(&all);
    let mut delivered: Vec<String> = Vec::new();
    for number in 0..3 {
        let put = stub.put();
        assert!(put.records.iter().all(|blob| blob.len() <= 64));
        let is_put = |place: &usize| number == 2 || place % 3 != 1;
        let blobs = put.records.iter().enumerate().filter(|(place, _)| is_put(place));
        let lines = blobs.flat_map(|(_, blob)| apart_at_newlines(blob));
        delivered.extend(lines.map(|line| String::from_utf8(line).unwrap()));
    }
    delivered.sort();
    let mut expected = all;
    expected.sort();
    assert_eq!(delivered, expected);
    rig.wait_until("delivery", |status| status.batches == 0);
    let joined = rig.status().joined;
    assert!(joined.is_joining && joined.records == 500 && joined.blobs < 50, "{joined:?}");
    assert_eq!(joined.bytes_billed, joined.blobs * 5_120);
    assert_eq!(joined.bytes_saved, (500 - joined.blobs) * 5_120);
    rig.drain();
}

#[test]
fn a_receipt_has_the_id_of_the_blob_that_its_record_went_in() {
    let stub = Stub::start(|put| Reply::entries(put, |place, _| put.number == 0 && place == 0));
    let mut rig = Rig::with_spool(joined(&stub.url(), on()), lane("demo", 1 << 28), None);
    let receipt = rig.book.open(4, rig.lane.share()).unwrap();
    let mut batcher = Batcher::new(
        std::sync::Arc::clone(&rig.lane),
        crate::pipeline::testing::limits(),
        ChunkPool::new(),
    );
    let mut entry = batcher.entry(Instant::now());
    let texts = ["x".repeat(40), "y".repeat(20), "z".repeat(40), "w".repeat(20)];
    for (at, text) in texts.iter().enumerate() {
        entry.push(&Piece::Copy(text.as_bytes(), None), Some(receipt.ticket(at))).unwrap();
    }
    entry.commit();
    batcher.close();
    rig.outlet.hand_over(batcher.take_closed().unwrap());
    let outcome = rig.outcome(receipt);
    let Outcome::Delivered(delivered) = outcome else { panic!("{outcome:?}") };
    let ids: Vec<&str> = delivered.iter().map(|one| &*one.record_id).collect();
    let id = |blob: &str| format!("id-{blob}");
    let first = id(&format!("{}\n{}\n", texts[0], texts[1]));
    let second = id(&format!("{}\n{}\n", texts[2], texts[3]));
    assert_eq!(ids, [&first, &first, &second, &second]);
    assert_eq!([stub.put().records.len(), stub.put().records.len()], [2, 1]);
    rig.drain();
}

#[test]
fn an_answer_that_does_not_fit_the_blobs_or_is_lost_sends_all_of_it_again() {
    let stub = Stub::start(|put| match put.number {
        // As many entries as records: a service that counts them is not the one that was asked.
        0 => {
            let entries = vec![serde_json::json!({"RecordId": "x"}); 20];
            Reply::json(200, &serde_json::json!({"FailedPutCount": 0, "RequestResponses": entries}))
        }
        1 => Reply::error(500, "InternalFailure", ""),
        _ => Reply::ok(put),
    });
    let mut rig = Rig::with_spool(joined(&stub.url(), on()), lane("demo", 1 << 28), None);
    let all = numbered(20);
    rig.send(&all);
    for _ in 0..3 {
        assert_eq!(records_of(&stub.put()), all);
    }
    rig.drain();
    assert!(stub.puts.is_empty());
}

#[test]
fn whether_records_are_joined_follows_what_is_told_where_that_decides() {
    let stub = Stub::start(Reply::ok);
    let when = Aggregate { when: When::Auto, ..Aggregate::default() };
    let stream = StreamConfig { aggregate: when, ..StreamConfig::default() };
    let mut post = Post::new(joined(&stub.url(), stream), Guidance::unminded());
    post.rig.send(&["a", "b"]);
    assert_eq!(stub.put().records, [b"a", b"b"], "as they are, as long as nobody knows");
    post.wait_delivered();
    assert_eq!(post.rig.status().joined.why, Joins::UNKNOWN.why);
    post.told.joins = Joins { is_safe: true, why: "plain" };
    assert!(post.keeper.tell(post.told.clone()));
    post.rig.wait_until("the news", |status| status.joined.is_joining);
    assert_eq!(post.rig.status().joined.why, "plain");
    post.rig.send(&["a", "b"]);
    assert_eq!(stub.put().records, [b"a\nb\n"]);
    post.wait_delivered();
    // Another route: another form.
    post.tell(data_stream("s"), crate::gate::Passage::Open);
    post.rig.send(&["a", "b"]);
    let put = stub.put();
    assert!(put.is_kinesis && put.records.len() == 1);
    assert_eq!(kpl::apart(&put.records[0]), [b"a", b"b"]);
    post.wait_delivered();
    post.told.joins = Joins::UNKNOWN;
    assert!(post.keeper.tell(post.told.clone()));
    post.rig.wait_until("the news", |status| !status.joined.is_joining);
    post.rig.send(&["a", "b"]);
    assert_eq!(stub.put().records, [b"a", b"b"]);
    post.wait_delivered();
    post.rig.drain();
}

#[test]
fn records_of_one_key_go_together_and_those_without_a_key_among_themselves() {
    let stub = Stub::start(Reply::ok);
    let stream = StreamConfig {
        aggregate: Aggregate { when: When::On, ..Aggregate::default() },
        partition_key: PartitionKey::Pointer("/k".parse().unwrap()),
        ..StreamConfig::default()
    };
    let (_keeper, end) = gate(Guidance { route: data_stream("s"), ..Guidance::unminded() });
    let mut rig =
        Rig::with_gates(joined(&stub.url(), stream), lane("demo", 1 << 28), None, gates(end));
    let records =
        [r#"{"k":1}"#, r#"{"k":2}"#, "none", r#"{"k":1,"n":2}"#, "also none", r#"{"k":2,"n":2}"#];
    rig.send(&records);
    let put = stub.put();
    let inside: Vec<Vec<&[u8]>> = put.records.iter().map(|blob| kpl::apart(blob)).collect();
    let text = |place: usize| records[place].as_bytes();
    assert_eq!(inside, [[text(0), text(3)], [text(1), text(5)], [text(2), text(4)]]);
    assert_eq!((&*put.keys[0], &*put.keys[1], put.keys[2].len()), ("1", "2", 8));
    rig.drain();
}
