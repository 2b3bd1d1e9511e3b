//! The durable level at the data listener, with a spool that is this test: it says when the disk has what.

mod limits;
mod streams;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use serde_json::Value;

use super::*;
use crate::lifecycle::{Lifecycle, Phase};
use crate::pipeline::testing::limits;
use crate::pipeline::{
    Batch, Delivered, Inlet, Intake, NotDurable, Origin, Outflow, Post, Word, durable_way, handoff,
    post,
};
use crate::record::{PartitionKey, RECORD_BYTES_MAX};

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A data listener whose spool and forwarder are the test.
struct Rig {
    address: SocketAddr,
    ingest: Ingest,
    streams: Arc<Streams>,
    lifecycle: Lifecycle,
    outflow: Outflow,
    wakes: Receiver<()>,
    asides: Receiver<Aside>,
    post: Post,
    intake: Intake,
    frames: std::cell::Cell<u32>,
}

/// An answer that is waited for.
struct Asked(TcpStream);

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Value,
}

pub(super) fn settings(ack: Ack, min_ack: Ack) -> StreamSettings {
    StreamSettings {
        ack,
        min_ack,
        framing: Framing::Auto,
        delimiter: Delimiter::Auto,
        oversize: Oversize::Refuse,
        partition_key_header: false,
        limits: limits(),
        memory_floor_bytes: 0,
        ingest_limits: IngestLimits::NONE,
    }
}

fn config(ack: Ack, min_ack: Ack) -> Config {
    let settings = settings(ack, min_ack);
    Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        durable_wait: PATIENCE,
        delivered_wait: PATIENCE,
        streams: vec![StreamConfig { name: "demo".parse().unwrap(), settings }],
        ..Config::default()
    }
}

impl Rig {
    /// One whose spool takes records.
    fn start(config: Config) -> Self {
        let rig = Self::start_closed(config);
        rig.outflow.set_obstacle(None);
        rig
    }

    /// One whose spool is not open yet.
    fn start_closed(config: Config) -> Self {
        Self::start_minded(config, StreamControl::nobody())
    }

    /// One whose streams somebody minds.
    fn start_minded(config: Config, control: StreamControl) -> Self {
        let (wake, wakes) = unbounded();
        let (inlet, outflow) = durable_way(Arc::new(move || {
            // At its end the test listens no more.
            let _is_heard = wake.send(()).is_ok();
        }));
        let (aside, asides) = unbounded();
        let set_aside: SetAside = Arc::new(move |one| aside.send(one).map_err(|error| error.0));
        let opener: Opener = Box::new(move |_| {
            Some(SpoolEnds { inlet: Inlet::clone(&inlet), set_aside: Arc::clone(&set_aside) })
        });
        let streams = Arc::new(Streams::new(64 << 20, &config, opener));
        let (outlets, intake) = handoff(1, 16);
        let (post, mailboxes) = post(1);
        let ends = outlets.into_iter().zip(mailboxes);
        let ends = ends.map(|(outlet, mailbox)| Ends { outlet, mailbox }).collect();
        let lifecycle = Lifecycle::new();
        let ingest =
            Ingest::start(config, Arc::clone(&streams), control, ends, &lifecycle).unwrap();
        let address = ingest.local_addr();
        let frames = std::cell::Cell::new(0);
        Self { address, ingest, streams, lifecycle, outflow, wakes, asides, post, intake, frames }
    }

    fn send(&self, head: &str, body: &str) -> Asked {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        Asked(stream)
    }

    /// Posts lines.
    fn post(&self, ack: &str, body: &str) -> Asked {
        let mut head =
            "POST /v1/streams/demo/records HTTP/1.1\r\ncontent-type: application/jsonl".to_owned();
        if !ack.is_empty() {
            head.push_str(&format!("\r\nstandpipe-ack: {ack}"));
        }
        self.send(&head, body)
    }

    fn wire(&self, operation: &str, body: &str) -> Asked {
        let target = format!("x-amz-target: Firehose_20150804.{operation}");
        self.send(&format!("POST / HTTP/1.1\r\n{target}"), body)
    }

    /// The next group that is handed to the spool.
    fn group(&self) -> Box<Batch> {
        self.wakes.recv_timeout(PATIENCE).expect("a group is handed over");
        self.outflow.try_take().expect("who wakes the spool has given it a group")
    }

    /// Whether nothing more is handed over for a while.
    fn is_quiet(&self) -> bool {
        self.wakes.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout)
    }

    /// The disk has the group: it is answered, and the spool has nothing to write.
    fn keep(&self, mut group: Box<Batch>) -> Box<Batch> {
        self.frames.set(self.frames.get() + 1);
        group.secure(Origin { segment: 1, frame: self.frames.get() });
        let parts = group.take_parts();
        self.post.settle(parts.into_iter().map(|part| (part, Word::Secured)));
        self.rest();
        group
    }

    fn refuse(&self, mut group: Box<Batch>, why: NotDurable) {
        let parts = group.take_parts();
        self.post.settle(parts.into_iter().map(|part| (part, Word::Refused(why))));
        drop(group);
        self.rest();
    }

    fn rest(&self) {
        if self.outflow.rest() {
            self.post.ring_all();
        }
    }

    /// The service has the records of the batch.
    fn deliver(&self, batch: Box<Batch>) {
        let word = |index| {
            let record_id = format!("id-{index}").into();
            Word::Delivered(Delivered { record_id, encrypted: Some(true) })
        };
        let settled: Vec<_> = batch.tickets().map(|(at, ticket)| (ticket, word(at))).collect();
        self.post.settle(settled);
        batch.settle();
    }

    /// The next batch that goes to the forwarder from memory.
    fn batch(&self) -> Box<Batch> {
        let mut batch = None;
        wait_until("a batch is handed over", || {
            batch = self.intake.try_take();
            batch.is_some()
        });
        batch.unwrap()
    }

    fn accepted(&self) -> u64 {
        self.streams.all().iter().map(|stream| stream.lane.accepted().0).sum()
    }

    fn used_bytes(&self) -> usize {
        self.streams.all().iter().map(|stream| stream.lane.share().used_bytes()).sum()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.lifecycle.advance(Phase::Stopped);
    }
}

impl Asked {
    fn is_answered(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let is_answered = self.0.peek(&mut [0]).is_ok();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        is_answered
    }

    fn reply(mut self) -> Reply {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_owned(), body: serde_json::from_str(body).unwrap() }
    }
}

impl Reply {
    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }

    fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap()
    }
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let (_keep, never) = unbounded::<()>();
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        let _timed_out = never.recv_timeout(Duration::from_millis(2)).is_err();
    }
}

#[test]
fn a_durable_request_is_answered_when_the_disk_has_it_and_not_before() {
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    let mut asked = rig.post("", "a\nb\n");
    let group = rig.group();
    assert_eq!(group.records().collect::<Vec<_>>(), [b"a\n", b"b\n"]);
    assert!(!asked.is_answered());
    assert_eq!(rig.accepted(), 0, "nothing is accepted that is not durable");
    rig.keep(group).settle();
    let reply = asked.reply();
    assert_eq!((reply.status, &reply.body["ack"]), (200, &Value::from("durable")));
    assert_eq!((&reply.body["accepted"], &reply.body["bytes"]), (&2.into(), &4.into()));
    assert!(reply.has("standpipe-ack: durable"), "{reply:?}");
    assert_eq!(rig.accepted(), 2);
}

#[test]
fn requests_that_come_during_a_sync_share_the_next_group() {
    const WAITING: usize = 20;
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    let first = rig.post("", "first\n");
    let group = rig.group();
    let others: Vec<Asked> = (0..WAITING).map(|_| rig.post("", "x\n")).collect();
    assert!(rig.is_quiet(), "while the disk is busy the group stays open");
    let rung = rig.ingest.wakeups();
    rig.keep(group).settle();
    let group = rig.group();
    assert_eq!(group.len(), WAITING);
    assert_eq!(first.reply().status, 200);
    rig.keep(group).settle();
    assert!(others.into_iter().all(|asked| asked.reply().status == 200));
    let rung = rig.ingest.wakeups() - rung;
    assert!(rung <= 3, "two syncs and a rest woke the worker {rung} times");
}

#[test]
fn a_full_group_does_not_wait_for_the_disk_to_be_idle() {
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    let first = rig.post("", "first\n");
    let busy = rig.group();
    let large = rig.post("", &"x\n".repeat(1_100));
    let full = [rig.group(), rig.group()];
    assert_eq!(full.each_ref().map(|group| group.len()), [500, 500]);
    assert!(rig.is_quiet(), "the rest of the request waits");
    for group in [busy].into_iter().chain(full) {
        rig.keep(group).settle();
    }
    rig.keep(rig.group()).settle();
    assert_eq!(first.reply().status, 200);
    assert_eq!(large.reply().body["accepted"], 1_100);
}

#[test]
fn an_obstacle_refuses_before_anything_is_taken_and_says_which() {
    let rig = Rig::start_closed(config(Ack::Durable, Ack::Memory));
    for why in NotDurable::ALL {
        rig.outflow.set_obstacle(Some(why));
        let reply = rig.post("", "a\n").reply();
        assert_eq!((reply.status, reply.body["code"].as_str()), (503, Some("durable_unavailable")));
        assert!(reply.detail().contains(why.sentence()), "{reply:?}");
        assert!(reply.has("retry-after: 1"), "{reply:?}");
        // What needs no disk flows.
        assert_eq!(rig.post("memory", "m\n").reply().status, 202);
    }
    assert!(rig.is_quiet());
    assert_eq!(rig.accepted(), NotDurable::ALL.len() as u64);
}

#[test]
fn a_group_that_the_disk_refuses_is_refused_and_leaves_nothing_behind() {
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    let asked = rig.post("", "a\n");
    rig.refuse(rig.group(), NotDurable::DiskFailed);
    let reply = asked.reply();
    assert_eq!((reply.status, reply.body["code"].as_str()), (503, Some("durable_unavailable")));
    assert!(reply.detail().contains("may be kept all the same"), "{reply:?}");
    assert!(reply.detail().contains(NotDurable::DiskFailed.sentence()));
    assert!(reply.has("retry-after: 1"));
    assert_eq!((rig.accepted(), rig.used_bytes()), (0, 0));
}

#[test]
fn a_wait_for_the_disk_has_an_end_and_what_comes_later_is_kept() {
    let mut config = config(Ack::Durable, Ack::Memory);
    config.durable_wait = Duration::from_millis(50);
    let rig = Rig::start(config);
    let asked = rig.post("", "a\n");
    let group = rig.group();
    let reply = asked.reply();
    assert_eq!((reply.status, reply.body["code"].as_str()), (503, Some("durable_unavailable")));
    assert!(reply.detail().contains("may be kept all the same"), "{reply:?}");
    rig.keep(group).settle();
    assert_eq!(rig.accepted(), 1);
}

#[test]
fn records_of_a_client_that_goes_away_are_kept() {
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    let asked = rig.post("", "a\n");
    let group = rig.group();
    drop(asked);
    wait_until("the connection is gone", || rig.ingest.connections() == 0);
    rig.keep(group).settle();
    assert_eq!(rig.accepted(), 1);
}

#[test]
fn delivered_on_a_stream_that_is_never_below_durable_waits_for_both() {
    let mut config = config(Ack::Delivered, Ack::Durable);
    let rig = Rig::start(config.clone());
    let mut asked = rig.post("", "a\nb\n");
    let batch = rig.keep(rig.group());
    assert!(!asked.is_answered());
    rig.deliver(batch);
    let reply = asked.reply();
    assert_eq!((reply.status, &reply.body["ack"]), (200, &Value::from("delivered")));
    assert_eq!(reply.body["record_ids"], serde_json::json!(["id-0", "id-1"]));

    config.delivered_wait = Duration::from_millis(300);
    let rig = Rig::start(config);
    let kept = rig.post("", "a\n");
    rig.keep(rig.group()).settle();
    let reply = kept.reply();
    assert_eq!((reply.status, &reply.body["ack"]), (202, &Value::from("durable")));
    assert!(reply.has("standpipe-ack: durable"));
    let not_even_kept = rig.post("", "b\n").reply();
    assert_eq!(not_even_kept.body["code"], "durable_unavailable");
}

#[test]
fn delivered_that_is_spooled_instead_says_durable_and_that_stays_in_memory_says_memory() {
    let mut config = config(Ack::Delivered, Ack::Memory);
    config.delivered_wait = Duration::from_millis(500);
    let rig = Rig::start(config);
    let asked = rig.post("", "a\n");
    let batch = rig.batch();
    let tickets: Vec<_> = batch.tickets().map(|(_, ticket)| ticket).collect();
    rig.post.settle(tickets.into_iter().map(|ticket| (ticket, Word::Spooled)));
    let reply = asked.reply();
    assert_eq!((reply.status, &reply.body["ack"]), (202, &Value::from("durable")));
    assert!(reply.detail().contains("in the spool"));
    batch.settle();

    let reply = rig.post("", "b\n").reply();
    assert_eq!((reply.status, &reply.body["ack"]), (202, &Value::from("memory")));
    assert!(reply.detail().contains("as long as the process lives"));
    rig.batch().settle();
}

#[test]
fn a_durable_call_of_the_firehose_protocol_has_ids_of_our_own_and_no_word_on_encryption() {
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    let put = r#"{"DeliveryStreamName":"demo","Record":{"Data":"YQ=="}}"#;
    let asked = rig.wire("PutRecord", put);
    rig.keep(rig.group()).settle();
    let reply = asked.reply();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body["RecordId"].as_str().unwrap().len(), 32);
    assert_eq!(reply.body.get("Encrypted"), None);
    assert!(reply.has("standpipe-ack: durable"));

    let batch = r#"{"DeliveryStreamName":"demo","Records":[{"Data":"YQ=="},{"Data":"Yg=="}]}"#;
    let asked = rig.wire("PutRecordBatch", batch);
    rig.keep(rig.group()).settle();
    let reply = asked.reply();
    assert_eq!(reply.body["FailedPutCount"], 0);
    assert_eq!(reply.body["RequestResponses"].as_array().unwrap().len(), 2);

    // What is not durable is refused whole, in the service's own words.
    let asked = rig.wire("PutRecordBatch", batch);
    rig.refuse(rig.group(), NotDurable::DiskFull);
    let refused = [asked.reply(), {
        rig.outflow.set_obstacle(Some(NotDurable::DiskFull));
        rig.wire("PutRecord", put).reply()
    }];
    for reply in refused {
        assert_eq!(
            (reply.status, &reply.body["__type"]),
            (503, &"ServiceUnavailableException".into())
        );
        assert!(reply.has("retry-after: 1"), "{reply:?}");
    }
}

#[test]
fn a_repeat_gets_the_first_durable_answer_and_a_refusal_is_tried_again() {
    let mut config = config(Ack::Durable, Ack::Memory);
    config.repeats = Some(RepeatsConfig::default());
    let rig = Rig::start(config);
    let put = |rig: &Rig| {
        let head = "POST / HTTP/1.1\r\namz-sdk-invocation-id: one\r\n\
                    x-amz-target: Firehose_20150804.PutRecord";
        rig.send(head, r#"{"DeliveryStreamName":"demo","Record":{"Data":"YQ=="}}"#)
    };
    let refused = put(&rig);
    rig.refuse(rig.group(), NotDurable::DiskFailed);
    assert_eq!(refused.reply().status, 503);
    let first = put(&rig);
    let group = rig.group();
    // One that comes while the first is served waits for it, and one whose client is gone is served on.
    let second = put(&rig);
    drop(first);
    rig.keep(group).settle();
    let id = second.reply().body["RecordId"].clone();
    assert_eq!(put(&rig).reply().body["RecordId"], id);
    assert!(rig.is_quiet());
    assert_eq!(rig.accepted(), 1);
}

#[test]
fn a_stop_hands_over_the_group_that_waits() {
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    let first = rig.post("", "a\n");
    let busy = rig.group();
    let second = rig.post("", "b\n");
    assert!(rig.is_quiet());
    rig.lifecycle.advance(Phase::Flushing);
    let last = rig.group();
    rig.keep(busy).settle();
    rig.keep(last).settle();
    assert_eq!([first.reply().status, second.reply().status], [200, 200]);
    wait_until("all is handed over", || rig.ingest.has_flushed());
}

#[test]
fn a_stream_that_is_known_from_the_disk_alone_takes_no_records() {
    let rig = Rig::start(config(Ack::Durable, Ack::Memory));
    rig.streams.adopt("left".parse().unwrap());
    rig.streams.adopt("demo".parse().unwrap());
    let post = "POST /v1/streams/left/records HTTP/1.1";
    let reply = rig.send(post, "x").reply();
    assert_eq!((reply.status, reply.body["code"].as_str()), (404, Some("unknown_stream")));
    let known: Vec<(String, bool)> = rig
        .streams
        .all()
        .iter()
        .map(|stream| (stream.lane.name().to_string(), stream.takes_records))
        .collect();
    assert_eq!(known, [("demo".to_owned(), true), ("left".to_owned(), false)]);
    let listed = rig.wire("ListDeliveryStreams", "{}").reply();
    assert_eq!(listed.body["DeliveryStreamNames"], serde_json::json!(["demo"]));
}

#[test]
fn where_any_stream_may_come_a_backlog_makes_one_that_takes_records() {
    let mut config = config(Ack::Memory, Ack::Memory);
    let settings = config.streams[0].settings.clone();
    config.any_stream = Some(AnyStream { streams_max: 1, settings });
    let rig = Rig::start(config);
    rig.streams.adopt("first".parse().unwrap());
    rig.streams.adopt("second".parse().unwrap());
    for (stream, status) in [("first", 202), ("second", 404), ("third", 404)] {
        let post = format!("POST /v1/streams/{stream}/records HTTP/1.1");
        assert_eq!(rig.send(&post, "x").reply().status, status, "{stream}");
    }
}

#[test]
fn a_record_that_is_too_large_is_set_aside_before_the_others_are_taken() {
    let mut config = config(Ack::Memory, Ack::Memory);
    config.streams[0].settings.oversize = Oversize::DeadLetter;
    let rig = Rig::start(config);
    let large = "x".repeat(RECORD_BYTES_MAX);
    let body = format!("a\n{large}\nb\n{large}y");
    let mut asked = rig.post("", &body);
    let mut records = Vec::new();
    for _ in 0..2 {
        let Aside { record, ticket, .. } = rig.asides.recv_timeout(PATIENCE).unwrap();
        assert!(!asked.is_answered());
        assert_eq!(rig.accepted(), records.len() as u64, "one after the other");
        records.push(record);
        rig.post.settle([(ticket, Word::Secured)]);
    }
    let reply = asked.reply();
    assert_eq!(reply.status, 202);
    let expected = serde_json::json!({"accepted": 2, "bytes": 4, "ack": "memory", "set_aside": 2});
    assert_eq!(reply.body, expected);
    assert_eq!(records, [format!("{large}\n").into_bytes(), format!("{large}y\n").into_bytes()]);
    assert_eq!(rig.accepted(), 4, "what is set aside was accepted");

    // Nothing is taken of a request whose record can not be set aside, and it is not delivered either.
    let asked = rig.post("", &body);
    let aside = rig.asides.recv_timeout(PATIENCE).unwrap();
    rig.post.settle([(aside.ticket, Word::Refused(NotDurable::DiskFull))]);
    let reply = asked.reply();
    assert_eq!((reply.status, reply.body["code"].as_str()), (503, Some("durable_unavailable")));
    assert_eq!(rig.accepted(), 4);

    // One that is alone, with nothing else to answer for; and one that no frame would hold.
    let post = "POST /v1/streams/demo/records HTTP/1.1";
    let asked = rig.send(post, &large);
    let aside = rig.asides.recv_timeout(PATIENCE).unwrap();
    rig.post.settle([(aside.ticket, Word::Secured)]);
    let reply = asked.reply();
    assert_eq!(
        (reply.status, &reply.body["accepted"], &reply.body["set_aside"]),
        (200, &0.into(), &1.into())
    );
    let reply = rig.send(post, &"x".repeat(5 << 20)).reply();
    assert_eq!((reply.status, reply.body["code"].as_str()), (413, Some("record_too_large")));
    assert!(rig.asides.is_empty());
}

#[test]
fn a_stream_that_sets_nothing_aside_refuses_a_record_that_is_too_large() {
    let rig = Rig::start(config(Ack::Memory, Ack::Memory));
    let large = "x".repeat(RECORD_BYTES_MAX);
    let reply = rig.post("", &format!("a\n{large}\n")).reply();
    assert_eq!((reply.status, reply.body["code"].as_str()), (413, Some("record_too_large")));
    assert_eq!(reply.body["index"], 1);
    assert!(rig.asides.is_empty());
}

/// A stream that takes the partition key from the header.
fn keyed_config() -> Config {
    let mut config = config(Ack::Memory, Ack::Memory);
    config.streams[0].settings.partition_key_header = true;
    config.streams[0].settings.oversize = Oversize::DeadLetter;
    config.streams[0].settings.limits.batch_records_max = 2;
    config
}

const NATIVE: &str = "POST /v1/streams/demo/records HTTP/1.1\r\ncontent-type: application/jsonl";
const WIRE: &str = "POST / HTTP/1.1\r\nx-amz-target: Firehose_20150804.PutRecordBatch";
const WIRE_BODY: &str =
    r#"{"DeliveryStreamName":"demo","Records":[{"Data":"YQo="},{"Data":"Ygo="}]}"#;

#[test]
fn a_request_s_key_holds_for_all_of_its_records_in_both_dialects() {
    let rig = Rig::start(keyed_config());
    let mut batches = Vec::new();
    for (head, body) in [(NATIVE, "a\nb\n"), (WIRE, WIRE_BODY)] {
        let keyed = format!("{head}\r\nstandpipe-partition-key: k\u{e4}ufer");
        assert!(rig.send(&keyed, body).reply().status < 300);
        assert!(rig.send(head, body).reply().status < 300);
        wait_until("batches come", || {
            batches.extend(rig.intake.try_take());
            batches.len() == 2
        });
        for (batch, key) in batches.drain(..).zip([Some("k\u{e4}ufer"), None]) {
            assert_eq!(batch.records().collect::<Vec<_>>(), [b"a\n", b"b\n"]);
            assert_eq!([batch.key(0), batch.key(1)], [key; 2]);
            batch.settle();
        }
    }
    // A record that is set aside takes it along.
    let large = "x".repeat(RECORD_BYTES_MAX + 1);
    let asked = rig.send(&format!("{NATIVE}\r\nstandpipe-partition-key: 7"), &large);
    let aside = rig.asides.recv_timeout(PATIENCE).unwrap();
    assert_eq!(aside.partition_key.as_ref().map(PartitionKey::as_str), Some("7"));
    rig.post.settle([(aside.ticket, Word::Secured)]);
    assert_eq!(asked.reply().status, 200);
}

#[test]
fn what_is_no_key_is_refused_in_both_dialects_and_ignored_where_it_means_nothing() {
    let rig = Rig::start(keyed_config());
    let key = "x".repeat(257);
    let native = rig.send(&format!("{NATIVE}\r\nstandpipe-partition-key: {key}"), "a\n").reply();
    assert_eq!((native.status, &native.body["code"]), (400, &"invalid".into()));
    assert!(native.detail().contains("standpipe-partition-key") && native.detail().contains("257"));
    let wire = rig.send(&format!("{WIRE}\r\nstandpipe-partition-key: {key}"), WIRE_BODY).reply();
    assert_eq!((wire.status, &wire.body["__type"]), (400, &"ValidationException".into()));
    assert!(wire.body["message"].as_str().unwrap().contains("257"), "{wire:?}");
    assert_eq!(rig.accepted(), 0);

    let rig = Rig::start(config(Ack::Memory, Ack::Memory));
    let ignored = rig.send(&format!("{NATIVE}\r\nstandpipe-partition-key: {key}"), "a\n");
    assert_eq!(ignored.reply().status, 202);
}
