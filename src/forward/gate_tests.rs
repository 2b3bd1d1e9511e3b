//! The whole stage under a gate that the test keeps, against a real server on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::stub::{Put, Reply, Stub};
use super::tests::{MS, Rig, SOON, block_on, config, numbered};
use super::thread::SpoolEnds;
use super::*;
use crate::gate::{
    DataStream, Doubt, Flag, Gate, Gates, Guidance, Keeper, Passage, Proof, Route, gate,
};
use crate::pipeline::Origin;
use crate::pipeline::testing::lane;
use crate::spool::Word;
use crate::spool::handle_testing::{Written, ends};

/// Long enough for what must not come to come.
pub(super) const A_WHILE: Duration = Duration::from_millis(150);

/// Gates of which the first stream that asks has this one.
pub(super) fn gates(gate: Gate) -> Gates {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    sender.send(gate).unwrap();
    Gates::new(move |_| receiver.try_recv().unwrap())
}

/// A forwarder, and who keeps its gate.
pub(super) struct Post {
    pub(super) rig: Rig,
    pub(super) keeper: Keeper,
    pub(super) told: Guidance,
}

impl Post {
    pub(super) fn new(config: Config, first: Guidance) -> Self {
        let (keeper, gate) = gate(first.clone());
        let rig = Rig::with_gates(config, lane("demo", 1 << 28), None, gates(gate));
        Self { rig, keeper, told: first }
    }

    /// Tells the next epoch.
    pub(super) fn tell(&mut self, route: Route, passage: Passage) {
        self.told.epoch += 1;
        (self.told.route, self.told.passage) = (route, passage);
        assert!(self.keeper.tell(self.told.clone()));
    }

    fn pass(&mut self, passage: Passage) {
        self.tell(self.told.route.clone(), passage);
    }

    fn last(&self, flag: Flag) -> Proof {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(proof) = self.keeper.seen().last(flag) {
                return proof;
            }
            assert!(Instant::now() < deadline, "{flag:?} is not seen");
            std::thread::yield_now();
        }
    }

    pub(super) fn wait_delivered(&self) {
        self.rig.wait_until("delivery", |status| status.batches == 0);
    }

    fn wait_gated(&self, code: &str) -> StreamReason {
        let status = self.rig.wait("a shut gate", |status| {
            (status.state == StreamState::Gated).then(|| status.clone())
        });
        let reason = status.reason.unwrap();
        assert_eq!(&*reason.code, code);
        reason
    }
}

/// A stream that has to be encrypted, and that nobody has said anything of.
fn required(passage: Passage) -> Guidance {
    let proof_holds = Some(Duration::from_secs(600));
    Guidance { passage, epoch: 1, proof_holds, ..Guidance::unminded() }
}

pub(super) fn data_stream(id: &str) -> Route {
    Route::Kinesis(Arc::new(DataStream { id: id.into(), record_bytes_max: 1 << 20 }))
}

fn flagged(put: &Put, encrypted: Option<bool>) -> Reply {
    Reply::flagged(put, encrypted, |_, _| false)
}

fn nothing_comes(stub: &Stub) {
    assert!(stub.puts.recv_timeout(A_WHILE).is_err(), "nothing may leave");
}

#[test]
fn an_answer_of_an_older_epoch_shuts_nothing_and_one_of_this_epoch_shuts_at_once() {
    let stub = Stub::start(|put| match put.number {
        0 => flagged(put, Some(false)).after(MS * 200),
        1 => flagged(put, Some(true)),
        _ => flagged(put, Some(put.number != 2)),
    });
    let mut post = Post::new(config(&stub.url()), required(Passage::Open));
    post.rig.send(&["old"]);
    stub.put();
    post.pass(Passage::Open);
    assert_eq!(post.last(Flag::Plain).epoch, 1, "it is told with the epoch of its request");
    post.wait_delivered();
    assert_eq!(post.rig.status().state, StreamState::Flowing);
    post.rig.send(&["confirmed"]);
    assert_eq!(stub.put().records, [b"confirmed"]);
    post.wait_delivered();
    post.rig.send(&["in the clear"]);
    assert_eq!(stub.put().records, [b"in the clear"]);
    post.rig.wait_until("the end", |status| status.state == StreamState::Gated);
    post.rig.send(&["waits"]);
    nothing_comes(&stub);
    let reason = post.wait_gated("NotEncrypted");
    assert!(reason.message.contains("not encrypted"), "{reason:?}");
    let proof = post.last(Flag::Plain);
    assert!(proof.epoch == 2 && proof.began_at <= proof.at);
    post.pass(Passage::Open);
    assert_eq!(stub.put().records, [b"waits"]);
    post.wait_delivered();
    assert_eq!(post.rig.status().state, StreamState::Flowing);
    let seen = post.keeper.seen().clone();
    assert_eq!((seen.records(Flag::Encrypted), seen.records(Flag::Plain)), (2, 2));
    post.rig.drain();
}

#[test]
fn what_is_under_way_when_an_answer_shuts_the_passage_opens_it_no_more() {
    let stub = Stub::start(|put| match put.number {
        0 => flagged(put, Some(false)).after(MS * 100),
        _ => flagged(put, Some(true)).after(MS * 300),
    });
    let mut post = Post::new(config(&stub.url()), required(Passage::Open));
    post.rig.send(&["first"]);
    stub.put();
    post.rig.send(&["second"]);
    stub.put();
    post.wait_gated("NotEncrypted");
    post.rig.send(&["third"]);
    post.last(Flag::Encrypted);
    nothing_comes(&stub);
    post.wait_gated("NotEncrypted");
}

#[test]
fn through_a_half_open_passage_one_record_goes_and_nothing_more_until_it_is_told() {
    let stub = Stub::start(|put| flagged(put, Some(true)));
    let mut post = Post::new(config(&stub.url()), required(Passage::Half));
    let mut heard = post.keeper.listen();
    heard.mark_unchanged();
    post.rig.send(&numbered(10));
    assert_eq!(stub.put().records.len(), 1);
    assert_eq!(post.last(Flag::Encrypted).epoch, 1);
    assert!(heard.has_changed().unwrap());
    nothing_comes(&stub);
    post.wait_gated("NotEncrypted");
    post.pass(Passage::Open);
    assert_eq!(stub.put().records.len(), 9);
    post.wait_delivered();
    post.rig.drain();
}

#[test]
fn a_record_that_goes_first_and_learns_nothing_is_followed_by_another_after_a_while() {
    let stub = Stub::start(|put| match put.number {
        0 => Reply::error(400, "ThrottlingException", ""),
        1 => Reply::flagged(put, Some(true), |_, _| true),
        2 => flagged(put, None),
        3 => Reply::error(400, "ValidationException", ""),
        4 => Reply::text(200, "not json"),
        _ => flagged(put, Some(put.number != 5)),
    });
    let slow = Config { backoff_min: MS * 40, backoff_max: MS * 40, ..config(&stub.url()) };
    let mut post = Post::new(slow, required(Passage::Half));
    post.rig.send(&numbered(10));
    let puts: Vec<Put> = (0..6).map(|_| stub.put()).collect();
    assert!(puts.iter().all(|put| put.records.len() == 1));
    assert!(puts.windows(2).all(|pair| pair[1].at - pair[0].at >= MS * 20), "it waits in between");
    // The last one says that it goes out in the clear.
    nothing_comes(&stub);
    let reason = post.wait_gated("NotEncrypted");
    assert!(reason.message.contains("not encrypted"), "{reason:?}");
    assert_eq!((post.last(Flag::Plain).epoch, post.last(Flag::Absent).epoch), (1, 1));
    assert_eq!(post.keeper.seen().last(Flag::Encrypted), None, "what was not put confirms nothing");
    post.pass(Passage::Open);
    post.wait_delivered();
    post.rig.drain();
}

#[test]
fn after_a_silence_one_record_goes_first_and_its_answer_decides_here() {
    let stub = Stub::start(|put| flagged(put, Some(put.number != 4)));
    let holds = MS * 100;
    let first = Guidance { proof_holds: Some(holds), ..required(Passage::Open) };
    let mut post = Post::new(config(&stub.url()), first);
    post.rig.send(&numbered(5));
    assert_eq!(stub.put().records.len(), 5, "the telling itself is fresh");
    post.wait_delivered();
    post.rig.send(&numbered(5));
    assert_eq!(stub.put().records.len(), 5);
    post.wait_delivered();
    let confirmed_at = post.last(Flag::Encrypted).at;
    while confirmed_at.elapsed() <= holds {
        std::thread::yield_now();
    }
    post.rig.send(&numbered(5));
    assert_eq!([stub.put().records.len(), stub.put().records.len()], [1, 4]);
    post.wait_delivered();
    let confirmed_at = post.last(Flag::Encrypted).at;
    while confirmed_at.elapsed() <= holds {
        std::thread::yield_now();
    }
    post.rig.send(&numbered(5));
    assert_eq!(stub.put().records.len(), 1);
    nothing_comes(&stub);
    post.wait_gated("NotEncrypted");
}

#[test]
fn an_answer_without_a_flag_shuts_no_open_passage_and_where_nobody_requires_it_none_does() {
    for (proof_holds, flag) in [(Some(SOON), None), (None, Some(false))] {
        let stub = Stub::start(move |put| flagged(put, flag));
        let first = Guidance { proof_holds, ..required(Passage::Open) };
        let mut post = Post::new(config(&stub.url()), first);
        for _ in 0..3 {
            post.rig.send(&numbered(4));
            assert_eq!(stub.put().records.len(), 4);
            post.wait_delivered();
        }
        assert_eq!(post.rig.status().state, StreamState::Flowing);
        assert_eq!(post.keeper.seen().records(Flag::of(flag)), 12);
        post.rig.drain();
    }
}

#[test]
fn what_may_not_leave_is_spooled_and_a_stop_does_not_wait_for_the_gate() {
    let unknown = Guidance { route: Route::Unknown, ..required(Passage::Open) };
    let nowhere = Guidance { route: Route::Nowhere("no".into()), ..required(Passage::Open) };
    let closed = required(Passage::Closed("it is switched off".into()));
    for (first, code) in [(unknown, "NoRoute"), (nowhere, "NoRoute"), (closed, "NotEncrypted")] {
        for waits in [true, false] {
            let stub = Stub::start(Reply::ok);
            let lane = lane("demo", 1 << 28);
            let (spool, ends, words) = ends(1 << 30);
            let open = Box::new(move |_: &Arc<crate::pipeline::Lane>| Some(spool.clone()));
            let ways = SpoolEnds { open, words, streams: vec![Arc::clone(&lane)] };
            let (keeper, gate) = gate(first.clone());
            let blocked_after = if waits { MS * 30 } else { SOON };
            let config = Config { spool_blocked_after: blocked_after, ..config(&stub.url()) };
            let mut rig = Rig::with_gates(config, lane, Some(ways), gates(gate));
            rig.send(&numbered(3));
            let keep = || {
                let Some(Written::Spill(spill)) = ends.written(SOON) else {
                    panic!("a copy comes")
                };
                assert_eq!(spill.records().count(), 3);
                let origin = Origin { segment: 9, frame: 1 };
                let stream = "demo".parse().unwrap();
                ends.say(Word::Spooled { stream, id: spill.id, result: Ok(origin) });
            };
            if waits {
                keep();
                rig.wait_until("a gate", |status| {
                    let reason = status.reason.as_ref();
                    status.state == StreamState::Gated && reason.is_some_and(|r| &*r.code == code)
                });
                assert!(stub.puts.is_empty(), "nothing leaves");
                assert!(!ends.is_wanted(), "what can not leave is not read back");
                assert!(keeper.tell(Guidance { epoch: 2, ..required(Passage::Open) }));
                let deadline = Instant::now() + SOON;
                while !ends.is_wanted() {
                    assert!(Instant::now() < deadline);
                    std::thread::yield_now();
                }
            } else {
                rig.wait_until("records", |status| status.records_waiting == 3);
                let start = Instant::now();
                std::thread::scope(|scope| {
                    scope.spawn(keep);
                    block_on(rig.forward.stop(start + SOON));
                });
                assert!(start.elapsed() < SOON / 4, "{:?}", start.elapsed());
                assert_eq!(rig.lane.lost(), (0, 0));
                assert!(stub.puts.is_empty(), "nothing leaves");
            }
        }
    }
}

#[test]
fn a_stream_whose_source_is_another_one_is_held_doubted_and_asked_at_once_by_its_new_route() {
    let stub = Stub::start(|put| {
        if put.is_kinesis {
            return Reply::ok(put);
        }
        let words =
            "This operation is not permitted on KinesisStreamAsSource delivery stream type.";
        Reply::error(400, "InvalidArgumentException", words)
    });
    let minute = Duration::from_secs(60);
    let slow = Config { hold_min: minute, hold_max: minute, ..config(&stub.url()) };
    let mut post = Post::new(slow, Guidance::unminded());
    post.rig.send(&numbered(20));
    post.rig.wait_until("a hold", |status| status.state == StreamState::Held);
    assert_eq!(post.keeper.seen().doubts(Doubt::Source), 1);
    assert_eq!(stub.put().records.len(), 20);
    nothing_comes(&stub);
    post.tell(data_stream("source"), Passage::Open);
    let put = stub.put();
    assert_eq!((&*put.stream, put.records.len()), ("source", 1), "a held stream is asked with one");
    assert_eq!(stub.put().records.len(), 19);
    post.wait_delivered();
    assert_eq!(post.rig.status().state, StreamState::Flowing);
    post.rig.drain();
}

#[test]
fn what_raises_a_doubt_holds_and_is_told_but_not_of_an_epoch_that_is_over() {
    for (code, message, doubt) in [
        ("ResourceNotFoundException", "", Some(Doubt::Source)),
        ("InvalidSourceException", "", Some(Doubt::Source)),
        ("InvalidKMSResourceException", "", Some(Doubt::Key)),
        ("AccessDeniedException", "no kms:GenerateDataKey", Some(Doubt::Key)),
        ("AccessDeniedException", "no firehose:PutRecordBatch", None),
    ] {
        let stub = Stub::start(move |put| match put.number {
            0 => Reply::error(400, code, message),
            1 => Reply::error(400, code, message).after(MS * 100),
            _ => Reply::ok(put),
        });
        let mut post = Post::new(config(&stub.url()), Guidance::unminded());
        post.rig.send(&numbered(3));
        post.rig.wait_until("a hold", |status| status.state == StreamState::Held);
        // It has been asked once more; a new epoch begins before the answer.
        assert_eq!([stub.put().records.len(), stub.put().records.len()], [3, 1]);
        post.pass(Passage::Open);
        post.wait_delivered();
        let doubts = [Doubt::Source, Doubt::Key].map(|doubt| post.keeper.seen().doubts(doubt));
        let once = |of| u64::from(doubt == Some(of));
        assert_eq!(doubts, [once(Doubt::Source), once(Doubt::Key)], "{code}");
        post.rig.drain();
    }
}

#[test]
fn what_went_through_on_the_old_route_condemns_nothing_on_the_new_one() {
    let stub = Stub::start(|put| match put.number {
        1 => Reply::ok(put),
        2 => Reply::error(400, "ValidationException", "odd").after(MS * 200),
        _ => Reply::error(400, "InvalidArgumentException", "no"),
    });
    let mut post = Post::new(config(&stub.url()), Guidance::unminded());
    post.rig.send(&numbered(8));
    // All are refused, one half of them goes through, and the others are under way when the route changes.
    let loads = [(); 3].map(|()| stub.put().records.len());
    assert_eq!(loads, [8, 4, 4]);
    post.tell(data_stream("source"), Passage::Open);
    post.rig.wait_until("a hold", |status| status.state == StreamState::Held);
    assert!(stub.put().is_kinesis);
    let status = post.rig.status();
    assert_eq!(
        (status.records_set_aside, status.records_waiting + status.records_in_flight),
        (0, 4)
    );
}

#[test]
fn under_load_every_record_arrives_whichever_way_it_goes_and_none_is_set_aside() {
    const BATCHES: usize = 90;
    const RECORDS: usize = 40;
    let ways = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let taken = Arc::clone(&ways);
    let stub = Stub::start(move |put| {
        taken[usize::from(put.is_kinesis)].fetch_add(1, Ordering::SeqCst);
        let number = put.number;
        let reply = match number % 7 {
            // The delivery stream's source is another one at times, for whoever still asks it.
            2 if !put.is_kinesis => Reply::error(400, "ResourceNotFoundException", ""),
            4 => Reply::error(400, "ValidationException", "one of them is odd"),
            5 => Reply::error(500, "InternalFailure", ""),
            _ => Reply::entries(put, move |place, _| (place + number) % 5 == 0),
        };
        reply.after(MS * 3)
    });
    let first = Guidance { route: Route::Unknown, ..Guidance::unminded() };
    let rig_config = Config { request_records_max: 60, ..config(&stub.url()) };
    let mut post = Post::new(rig_config, first);
    let routes =
        [Route::Firehose, data_stream("a"), Route::Unknown, Route::Firehose, data_stream("b")];
    for batch in 0..BATCHES {
        if batch % 6 == 5 {
            let route = routes[batch / 6 % routes.len()].clone();
            post.tell(route, Passage::Open);
        }
        let records: Vec<String> =
            (0..RECORDS).map(|record| format!("{}", batch * RECORDS + record)).collect();
        post.rig.send(&records);
        std::thread::yield_now();
        if batch % 6 == 0 {
            let far = stub.puts.len();
            let deadline = Instant::now() + MS * 30;
            while stub.puts.len() == far && Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }
    post.tell(Route::Firehose, Passage::Open);
    post.wait_delivered();
    assert_eq!(post.rig.status().records_set_aside, 0);
    assert!(ways.iter().all(|way| way.load(Ordering::SeqCst) > 0), "{ways:?}");
    post.rig.drain();
    let mut sent: BTreeMap<usize, usize> = BTreeMap::new();
    for record in stub.puts.try_iter().flat_map(|put| put.records) {
        *sent.entry(String::from_utf8(record).unwrap().parse().unwrap()).or_default() += 1;
    }
    assert_eq!(sent.len(), BATCHES * RECORDS);
}
