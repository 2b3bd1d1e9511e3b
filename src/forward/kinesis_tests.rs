//! The whole stage into a Kinesis data stream, which a real server on loopback plays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::gate_tests::{A_WHILE, Post, data_stream, gates};
use super::partition::{PartitionKey, Pointer};
use super::stub::{Reply, Stub};
use super::tests::{MS, Rig, SOON, block_on, config, numbered};
use super::thread::SpoolEnds;
use super::*;
use crate::gate::{DataStream, Doubt, Flag, Guidance, Passage, Route, gate};
use crate::pipeline::testing::{lane, limits};
use crate::pipeline::{Batcher, ChunkPool, Outcome, Piece};
use crate::spool::handle_testing::{Written, ends};

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/source";

fn through(route: Route) -> Guidance {
    Guidance { route, ..Guidance::unminded() }
}

fn unknown() -> Guidance {
    through(Route::Unknown)
}

#[test]
fn a_data_stream_is_named_by_its_arn_or_its_name_in_a_signed_request() {
    for id in [ARN, "source"] {
        let stub = Stub::start(Reply::ok);
        let mut post = Post::new(config(&stub.url()), through(data_stream(id)));
        post.rig.send(&["one", ""]);
        let put = stub.put();
        assert_eq!((&*put.stream, put.records), (id, vec![b"one".to_vec(), Vec::new()]));
        let header = |name: &str| put.headers[name].to_str().unwrap();
        assert_eq!(header("x-amz-target"), "Kinesis_20131202.PutRecords");
        assert!(header("authorization").contains("/us-east-1/kinesis/aws4_request"));
        post.wait_delivered();
        post.rig.drain();
    }
}

#[test]
fn records_that_failed_are_sent_again_alone_whatever_the_count_says() {
    let stub = Stub::start(|put| {
        let is_first = put.number == 0;
        Reply::entries(put, |_, record| is_first && (record == b"r1" || record == b"r3"))
    });
    let mut post = Post::new(config(&stub.url()), through(data_stream(ARN)));
    post.rig.send(&numbered(5));
    assert_eq!(stub.put().records.len(), 5);
    assert_eq!(stub.put().records, [b"r1", b"r3"]);
    post.wait_delivered();
    let seen = post.keeper.seen().clone();
    assert_eq!((seen.records(Flag::Encrypted), seen.latest()), (5, Some(Flag::Encrypted)));
    post.rig.drain();
    assert!(stub.puts.is_empty());
}

#[test]
fn throttles_and_failures_of_the_whole_are_asked_again_and_keys_hold_the_stream() {
    let stub = Stub::start(|put| match put.number {
        0 => Reply::error(400, "ProvisionedThroughputExceededException", "Rate exceeded"),
        1 => Reply::error(400, "KMSThrottlingException", ""),
        2 => Reply::error(500, "InternalFailureException", ""),
        _ => Reply::ok(put),
    });
    let mut post = Post::new(config(&stub.url()), through(data_stream(ARN)));
    post.rig.send(&numbered(3));
    for _ in 0..4 {
        assert_eq!(stub.put().records.len(), 3, "nothing of it holds the stream");
    }
    post.wait_delivered();
    assert_eq!(post.keeper.seen().doubts(Doubt::Key), 0);
    post.rig.drain();
    for code in [
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSAccessDeniedException",
        "KMSNotFoundException",
        "KMSOptInRequired",
    ] {
        let stub = Stub::start(move |put| {
            if put.number == 0 { Reply::error(400, code, "no") } else { Reply::ok(put) }
        });
        let mut post = Post::new(config(&stub.url()), through(data_stream(ARN)));
        post.rig.send(&numbered(3));
        assert_eq!([stub.put().records.len(), stub.put().records.len()], [3, 1], "{code}");
        post.wait_delivered();
        assert_eq!(post.keeper.seen().doubts(Doubt::Key), 1, "{code}");
        post.rig.drain();
    }
}

#[test]
fn the_type_of_the_encryption_is_the_flag_and_the_shard_and_the_number_are_the_id() {
    for (said, flag) in [("KMS", Some(true)), ("NONE", Some(false)), ("QUANTUM", None)] {
        let stub = Stub::start(move |_| {
            let entries = [serde_json::json!({"ShardId": "shardId-07", "SequenceNumber": "4711"})];
            Reply::json(200, &serde_json::json!({"EncryptionType": said, "Records": entries}))
        });
        let mut post = Post::new(config(&stub.url()), through(data_stream(ARN)));
        let rig = &mut post.rig;
        let receipt = rig.book.open(1, rig.lane.share()).unwrap();
        let mut batcher = Batcher::new(Arc::clone(&rig.lane), limits(), ChunkPool::new());
        let mut entry = batcher.entry(std::time::Instant::now());
        entry.push(&Piece::Copy(b"a", None), Some(receipt.ticket(0))).unwrap();
        entry.commit();
        batcher.close();
        rig.outlet.hand_over(batcher.take_closed().unwrap());
        let outcome = rig.outcome(receipt);
        let Outcome::Delivered(delivered) = outcome else { panic!("{outcome:?}") };
        assert_eq!((&*delivered[0].record_id, delivered[0].encrypted), ("shardId-07:4711", flag));
        assert_eq!(post.keeper.seen().records(Flag::of(flag)), 1);
        post.rig.drain();
    }
}

#[test]
fn an_entry_without_a_shard_or_a_number_is_not_put() {
    let stub = Stub::start(|put| {
        if put.number > 0 {
            return Reply::ok(put);
        }
        let entries = [
            serde_json::json!({"ShardId": "shardId-1"}),
            serde_json::json!({"SequenceNumber": "1"}),
            serde_json::json!({"ShardId": "shardId-1", "SequenceNumber": "1", "ErrorCode": ""}),
        ];
        Reply::json(200, &serde_json::json!({"Records": entries}))
    });
    let mut post = Post::new(config(&stub.url()), through(data_stream(ARN)));
    post.rig.send(&["no number", "no shard", "both"]);
    assert_eq!(stub.put().records.len(), 3);
    assert_eq!(stub.put().records, [b"no number".as_slice(), b"no shard"]);
    post.rig.drain();
}

#[test]
fn random_keys_spread_and_a_pointer_gives_those_of_the_records() {
    let stub = Stub::start(Reply::ok);
    let mut post = Post::new(config(&stub.url()), through(data_stream(ARN)));
    post.rig.send(&numbered(500));
    let keys = stub.put().keys;
    // Each shard of four, by the hash's first bits, would get its part; here the keys' own.
    let mut quarters: BTreeMap<u32, usize> = BTreeMap::new();
    for key in &keys {
        *quarters.entry(u32::from_str_radix(&key[..1], 16).unwrap() / 4).or_default() += 1;
    }
    assert!(quarters.len() == 4 && quarters.values().all(|count| *count > 60), "{quarters:?}");
    assert!(keys.iter().collect::<BTreeSet<_>>().len() > 490);
    post.rig.drain();

    let pointer: Pointer = "/user/id".parse().unwrap();
    let mut config = config(&stub.url());
    let keyed =
        StreamConfig { partition_key: PartitionKey::Pointer(pointer), ..StreamConfig::default() };
    config.streams.insert("demo".parse().unwrap(), keyed);
    let mut post = Post::new(config, through(data_stream(ARN)));
    post.rig.send(&[r#"{"user":{"id":"a b"}}"#, r#"{"user":{"id":7}}"#, r#"{"user":{}}"#, "text"]);
    let keys = stub.put().keys;
    assert_eq!(keys[..2], ["a b", "7"]);
    assert!(keys[2..].iter().all(|key| key.len() == 8 && key != "text"), "{keys:?}");
    post.rig.drain();
}

#[test]
fn a_key_that_came_with_the_record_goes_with_it_again_and_again() {
    let stub = Stub::start(|put| {
        let is_first = put.number == 0;
        Reply::entries(put, |place, _| is_first && place != 1)
    });
    let mut config = config(&stub.url());
    config.others.partition_key = PartitionKey::Header;
    let mut post = Post::new(config, through(data_stream(ARN)));
    let mut batcher = Batcher::new(Arc::clone(&post.rig.lane), limits(), ChunkPool::new());
    let mut entry = batcher.entry(std::time::Instant::now());
    for (record, key) in [("a", Some("one")), ("b", Some("two")), ("c", None), ("d", Some("four"))]
    {
        entry.set_key(key.map(|key| key.parse().unwrap()));
        entry.push(&Piece::Copy(record.as_bytes(), None), None).unwrap();
    }
    entry.commit();
    batcher.close();
    post.rig.outlet.hand_over(batcher.take_closed().unwrap());
    let keys = stub.put().keys;
    assert_eq!([&*keys[0], &keys[1], &keys[3]], ["one", "two", "four"]);
    assert_eq!(keys[2].len(), 8, "it came with none");
    let again = stub.put();
    assert_eq!(again.records, [b"a", b"c", b"d"]);
    assert_eq!([&*again.keys[0], &again.keys[2]], ["one", "four"]);
    post.rig.drain();
}

/// How many records of so many bytes each request takes, when all of them wait.
fn loads(config: Config, route: Route, sizes: &[usize], stub: &Stub) -> Vec<usize> {
    let mut post = Post::new(config, unknown());
    for few in sizes.chunks(5) {
        let records: Vec<Vec<u8>> = few.iter().map(|bytes| vec![b'x'; *bytes]).collect();
        post.rig.send(&records);
    }
    post.rig.wait_until("all", |status| status.records_waiting == sizes.len());
    assert!(stub.puts.is_empty(), "nothing is sent before it is known where to");
    assert_eq!(&*post.rig.status().reason.unwrap().code, "NoRoute");
    post.tell(route, Passage::Open);
    post.wait_delivered();
    post.rig.drain();
    let mut loads: Vec<_> = stub.puts.try_iter().map(|put| put.records.len()).collect();
    loads.sort_unstable();
    loads.reverse();
    loads
}

#[test]
fn a_request_has_ten_mebibytes_with_its_keys_and_not_a_byte_more() {
    const EACH: usize = 10 * 1024 * 1024 / 16 - 8;
    let roomy = |url: &str| Config { bytes_in_flight_max: 64 << 20, ..config(url) };
    let stub = Stub::start(Reply::ok);
    let sizes = [EACH; 16];
    assert_eq!(loads(roomy(&stub.url()), data_stream(ARN), &sizes, &stub), [16]);
    let mut more = sizes;
    more[15] += 1;
    assert_eq!(loads(roomy(&stub.url()), data_stream(ARN), &more, &stub), [15, 1]);
    assert_eq!(loads(roomy(&stub.url()), Route::Firehose, &sizes, &stub), [6, 6, 4]);
    // What is configured for the stream holds below that.
    let mut bounded = roomy(&stub.url());
    bounded.others.request_bytes_max = Some(3 * (EACH + 8));
    assert_eq!(loads(bounded.clone(), data_stream(ARN), &sizes, &stub), [3, 3, 3, 3, 3, 1]);
    let own = StreamConfig { request_records_max: Some(10), ..StreamConfig::default() };
    bounded.streams.insert("demo".parse().unwrap(), own);
    assert_eq!(loads(bounded, data_stream(ARN), &sizes, &stub), [10, 6]);
}

#[test]
fn a_record_that_is_too_large_for_the_data_stream_is_set_aside_and_never_sent() {
    let stub = Stub::start(Reply::ok);
    let lane = lane("demo", 1 << 28);
    let (spool, ends, words) = ends(1 << 30);
    let open = Box::new(move |_: &Arc<crate::pipeline::Lane>| Some(spool.clone()));
    let ways = SpoolEnds { open, words, streams: vec![Arc::clone(&lane)] };
    let small = DataStream { id: ARN.into(), record_bytes_max: 108 };
    let (_keeper, gate) = gate(through(Route::Kinesis(Arc::new(small))));
    let mut rig = Rig::with_gates(config(&stub.url()), lane, Some(ways), gates(gate));
    rig.send(&[vec![b'a'; 100], vec![b'b'; 101], vec![b'c'; 7]]);
    let sent = stub.put().records;
    assert_eq!(sent, [vec![b'a'; 100], vec![b'c'; 7]]);
    let Some(Written::SetAside(letter)) = ends.written(SOON) else { panic!("a letter comes") };
    assert_eq!(
        (letter.record.len(), letter.reason, &*letter.code),
        (101, "over_limit", "RecordTooLarge")
    );
    assert!(letter.message.contains("101 bytes") && letter.message.contains("108"), "{letter:?}");
    let stream = "demo".parse().unwrap();
    ends.say(crate::spool::Word::SetAside { stream, id: letter.id, result: Ok(()) });
    rig.wait_until("all of it", |status| status.batches == 0);
    // One alone leaves nothing to send, and the stream goes on.
    rig.send(&[vec![b'd'; 500]]);
    let Some(Written::SetAside(letter)) = ends.written(SOON) else { panic!("a letter comes") };
    let stream = "demo".parse().unwrap();
    ends.say(crate::spool::Word::SetAside { stream, id: letter.id, result: Ok(()) });
    rig.send(&["fits"]);
    assert_eq!(stub.put().records, [b"fits"]);
    rig.wait_until("all of it", |status| status.batches == 0);
    assert_eq!(rig.status().state, StreamState::Flowing);
    assert!(stub.puts.recv_timeout(A_WHILE).is_err());
    assert_eq!(rig.lane.lost(), (0, 0));
}

#[test]
fn what_is_too_large_by_its_own_key_is_so_and_without_a_spool_it_stays() {
    let stub = Stub::start(Reply::ok);
    let small = DataStream { id: ARN.into(), record_bytes_max: 30 };
    let mut config = config(&stub.url());
    config.others.partition_key = PartitionKey::Pointer("/k".parse().unwrap());
    let mut post = Post::new(config, through(Route::Kinesis(Arc::new(small))));
    let (short, long) = (r#"{"k":"123456789"}  "#, r#"{"k":"1234567890123"}"#);
    assert_eq!((short.len() + 9, long.len() + 13), (28, 34));
    post.rig.send(&[short, long]);
    let put = stub.put();
    assert_eq!((put.records.len(), &*put.keys[0]), (1, "123456789"));
    post.rig.wait_until("one aside", |status| status.records_set_aside == 1);
    post.rig.wait_until("the other", |status| status.records_in_flight == 0);
    block_on(post.rig.forward.stop(std::time::Instant::now() + MS * 500));
    assert_eq!(post.rig.lane.lost().0, 1, "it is named at the end");
}
