//! The whole stage between a real server on loopback and a spool whose other ends the test holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::stub::{Reply, Stub};
use super::tests::{MS, Rig, SOON, block_on, config, numbered};
use super::thread::SpoolEnds;
use super::*;
use crate::pipeline::testing::{batch_of, lane, limits};
use crate::pipeline::{
    Batch, Batcher, Book, ChunkPool, Lane, NotDurable, Origin, Outcome, Piece, Receipt, post,
};
use crate::spool::handle_testing::{Ends, Read, Written, ends};
use crate::spool::{Letter, Spill, Word};

/// A forwarder with a server on one side and a spool on the other.
struct Desk {
    rig: Rig,
    ends: Ends,
    frames: u32,
}

fn origin(frame: u32) -> Origin {
    Origin { segment: 9, frame }
}

fn spool_config(stub: &Stub) -> Config {
    Config { spool_blocked_after: MS * 30, spool_awaited_after: MS * 100, ..config(&stub.url()) }
}

impl Desk {
    fn new(config: Config) -> Self {
        Self::with_memory(config, 1 << 28)
    }

    fn with_memory(config: Config, bytes: usize) -> Self {
        let lane = lane("demo", bytes);
        let (spool, ends, words) = ends(1 << 30);
        let open = Box::new(move |_: &Arc<Lane>| Some(spool.clone()));
        let spool = SpoolEnds { open, words, streams: vec![Arc::clone(&lane)] };
        Self { rig: Rig::with_spool(config, lane, Some(spool)), ends, frames: 0 }
    }

    fn spill(&self) -> Spill {
        match self.ends.written(SOON) {
            Some(Written::Spill(spill)) => spill,
            other => panic!("a copy was to come, and not {other:?}"),
        }
    }

    fn letter(&self) -> Letter {
        match self.ends.written(SOON) {
            Some(Written::SetAside(letter)) => letter,
            other => panic!("a letter was to come, and not {other:?}"),
        }
    }

    fn answer(&self, id: u64, result: Result<Origin, NotDurable>) {
        self.ends.say(Word::Spooled { stream: self.rig.lane.name().clone(), id, result });
    }

    fn answer_letter(&self, id: u64, result: Result<(), NotDurable>) {
        self.ends.say(Word::SetAside { stream: self.rig.lane.name().clone(), id, result });
    }

    /// Keeps a copy, and says where.
    fn keep(&mut self, spill: &Spill) -> Origin {
        self.frames += 1;
        let origin = origin(self.frames);
        self.answer(spill.id, Ok(origin));
        origin
    }

    fn read(&self) -> Read {
        self.ends.read(SOON).expect("the reader is told something")
    }

    /// Hands over what the disk has, as the reader does.
    fn read_back<T: AsRef<[u8]>>(&self, frame: u32, records: &[T]) {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for (number, record) in (0..).zip(records) {
            let record = record.as_ref();
            places.push((bytes.len()..bytes.len() + record.len(), number));
            bytes.extend_from_slice(record);
        }
        let (lane, now) = (Arc::clone(&self.rig.lane), Instant::now());
        let room = self.ends.room(bytes.len()).unwrap();
        let batch = Batch::of_frame(lane, room, origin(frame), now, bytes, places.into_iter());
        self.ends.say(Word::Batch(Box::new(batch)));
    }

    /// Hands over a durable group that the disk has, as the writer does.
    fn secured<T: AsRef<[u8]>>(&self, frame: u32, records: &[T]) {
        let lane = Arc::clone(&self.rig.lane);
        let (_post, mut boxes) = post(1);
        let receipt = Book::new(boxes.remove(0)).open(0, lane.share()).unwrap();
        let mut batcher = Batcher::durable(lane, limits(), ChunkPool::new());
        let mut entry = batcher.entry(Instant::now());
        for record in records {
            entry.push(&Piece::Copy(record.as_ref(), None), None).unwrap();
        }
        entry.commit_durable(&receipt);
        batcher.close();
        let mut batch = batcher.take_closed().unwrap();
        batch.secure(origin(frame));
        self.ends.say(Word::Batch(Box::new(batch)));
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.rig.forward.status());
            std::thread::yield_now();
        }
    }

    fn stop(self, within: Duration) -> Arc<Lane> {
        block_on(self.rig.forward.stop(Instant::now() + within));
        self.rig.lane
    }
}

/// The records of a copy.
fn records(spill: &Spill) -> Vec<String> {
    spill.records().map(|record| String::from_utf8(record.to_vec()).unwrap()).collect()
}

fn gone() -> Reply {
    Reply::error(400, "ResourceNotFoundException", "gone")
}

#[test]
fn a_backlog_is_asked_for_at_the_start_and_what_is_delivered_of_it_is_noted() {
    let stub = Stub::start(|put| {
        let is_first = put.number == 0;
        Reply::entries(put, |place, _| is_first && place == 1)
    });
    let desk = Desk::new(spool_config(&stub));
    desk.wait_until("the backlog is asked for", |desk| desk.ends.is_wanted());
    desk.read_back(5, &["a", "b", "c"]);
    assert_eq!(desk.read(), Read::Note(origin(5), vec![0, 2]));
    assert_eq!(desk.read(), Read::Note(origin(5), vec![1]));
    assert_eq!(stub.put().records.len(), 3);
    assert_eq!(stub.put().records, [b"b"]);
    let lane = desk.stop(SOON);
    assert_eq!((lane.lost(), lane.records_in_memory(), lane.accepted()), ((0, 0), 0, (0, 0)));
    assert_eq!(lane.share().used_bytes(), 0);
}

#[test]
fn a_held_stream_keeps_nothing_in_memory_but_something_to_ask_with() {
    let is_right = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_right);
    let stub =
        Stub::start(move |put| if seen.load(Ordering::SeqCst) { Reply::ok(put) } else { gone() });
    let mut desk = Desk::new(spool_config(&stub));
    for batch in 0..5 {
        desk.rig.send(&[format!("{batch}-a"), format!("{batch}-b")]);
    }
    let mut copied = BTreeSet::new();
    let mut origins = BTreeSet::new();
    for _ in 0..5 {
        let spill = desk.spill();
        copied.extend(records(&spill));
        origins.insert(desk.keep(&spill));
    }
    assert_eq!(copied.len(), 10);
    let mut let_go = BTreeSet::new();
    for _ in 0..4 {
        let Read::LetGo(origin) = desk.read() else { panic!("nothing is delivered") };
        assert!(let_go.insert(origin));
    }
    let mut kept = *origins.difference(&let_go).next().unwrap();
    desk.wait_until("nothing is in memory alone", |desk| desk.rig.lane.records_in_memory() == 0);
    desk.rig.wait_until("one batch", |status| status.batches == 1);
    desk.wait_until("no backlog is wanted", |desk| !desk.ends.is_wanted());
    // What comes now goes the same way, at once since the disk has it already: it, or the one before it.
    desk.secured(77, &["durable", "too"]);
    let gone = desk.read();
    if gone == Read::LetGo(kept) {
        kept = origin(77);
    } else {
        assert_eq!(gone, Read::LetGo(origin(77)));
    }
    is_right.store(true, Ordering::SeqCst);
    let mut noted = Vec::new();
    while noted.len() < 2 {
        let Read::Note(origin, numbers) = desk.read() else { panic!("it flows") };
        assert_eq!(origin, kept);
        noted.extend(numbers);
    }
    desk.wait_until("the backlog is wanted", |desk| desk.ends.is_wanted());
    assert_eq!(desk.stop(SOON).lost(), (0, 0));
}

#[test]
fn a_held_stream_without_a_record_in_memory_asks_the_disk_for_one() {
    let stub = Stub::start(|put| if put.number < 3 { gone() } else { Reply::ok(put) });
    let desk = Desk::new(spool_config(&stub));
    desk.read_back(1, &["a"]);
    desk.rig.wait_until("a hold", |status| status.state == StreamState::Held);
    // It is kept, as the only one; others are let go.
    desk.wait_until("no more is wanted", |desk| !desk.ends.is_wanted());
    desk.read_back(2, &["b"]);
    assert!(matches!(desk.read(), Read::LetGo(_)));
    let Read::Note(..) = desk.read() else { panic!("the probe goes through at last") };
    desk.wait_until("the backlog is wanted", |desk| desk.ends.is_wanted());
    assert_eq!(desk.stop(SOON).lost(), (0, 0));
}

#[test]
fn memory_that_runs_short_is_made_free_by_what_came_last() {
    // Each batch takes about 2.3 KiB of it, and the service does not answer.
    let stub = Stub::start(|put| Reply::ok(put).after(SOON * 2));
    let config =
        Config { requests_in_flight_max: 1, request_records_max: 10, ..spool_config(&stub) };
    let mut desk = Desk::with_memory(config, 30 * 1024);
    desk.rig.send(&["0"]);
    let _under_way = stub.put();
    for batch in 1..7 {
        assert!(desk.ends.written(Duration::ZERO).is_none(), "there is room for {batch}");
        desk.rig.send(&[format!("{batch}")]);
        desk.rig.wait_until("it has come", |status| status.records_waiting == batch);
    }
    let spill = desk.spill();
    assert_eq!(records(&spill), ["6"]);
    let origin = desk.keep(&spill);
    assert_eq!(desk.read(), Read::LetGo(origin));
    desk.rig.forward.stopper().stop_now();
}

#[test]
fn a_disk_that_takes_no_copies_is_asked_again_and_the_records_stay_in_memory() {
    let stub = Stub::start(|_| gone());
    let mut desk = Desk::new(spool_config(&stub));
    desk.rig.send(&["a", "b"]);
    let first = desk.spill();
    desk.answer(first.id, Err(NotDurable::DiskFull));
    desk.wait_until("it stays", |desk| desk.rig.status().records_spilling == 0);
    assert_eq!(desk.rig.lane.records_in_memory(), 2);
    let second = desk.spill();
    assert_eq!((records(&second), second.id == first.id), (records(&first), false));
    desk.keep(&second);
    desk.wait_until("it is on disk", |desk| desk.rig.lane.records_in_memory() == 0);
    assert_eq!(desk.stop(SOON).lost(), (0, 0));
}

fn wait_for(book: &Book, receipt: Receipt) -> Outcome {
    let book = book.clone();
    block_on(async move {
        let listen = async {
            loop {
                book.listen().await
            }
        };
        tokio::select! {
            outcome = receipt => outcome,
            () = listen => unreachable!(),
            () = tokio::time::sleep(SOON) => panic!("no receipt"),
        }
    })
}

#[test]
fn who_waits_too_long_for_a_delivery_is_told_that_the_spool_has_the_records_that_are_under_way() {
    let stub = Stub::start(|put| Reply::ok(put).after(MS * 1_500));
    let mut desk = Desk::new(spool_config(&stub));
    let receipt = desk.rig.book.open(2, desk.rig.lane.share()).unwrap();
    let mut batcher = Batcher::new(Arc::clone(&desk.rig.lane), limits(), ChunkPool::new());
    let mut entry = batcher.entry(Instant::now());
    for (index, record) in [b"a", b"b"].into_iter().enumerate() {
        entry.push(&Piece::Copy(record, None), Some(receipt.ticket(index))).unwrap();
    }
    entry.commit();
    batcher.close();
    desk.rig.outlet.hand_over(batcher.take_closed().unwrap());
    assert_eq!(stub.put().records.len(), 2);
    let spill = desk.spill();
    let kept = desk.keep(&spill);
    assert_eq!(wait_for(&desk.rig.book, receipt), Outcome::Durable);
    // It was delivered after all, and once.
    assert_eq!(desk.read(), Read::Note(kept, vec![0, 1]));
    assert_eq!(desk.stop(SOON).lost(), (0, 0));
    assert!(stub.puts.is_empty());
}

fn refusing_bad() -> Stub {
    Stub::start(|put| {
        let entry = |record: &Vec<u8>| {
            if record.starts_with(b"bad") {
                serde_json::json!({"ErrorCode": "ValidationException", "ErrorMessage": "no"})
            } else {
                serde_json::json!({"RecordId": "id"})
            }
        };
        let entries: Vec<_> = put.records.iter().map(entry).collect();
        Reply::json(200, &serde_json::json!({"FailedPutCount": 1, "RequestResponses": entries}))
    })
}

#[test]
fn a_record_that_alone_is_at_fault_becomes_a_dead_letter_and_leaves_memory() {
    let stub = refusing_bad();
    let mut desk = Desk::new(spool_config(&stub));
    desk.rig.send(&["good", "bad", "better"]);
    let letter = desk.letter();
    assert_eq!(
        (letter.record.as_slice(), letter.reason, &*letter.code),
        (b"bad".as_slice(), "own_error", "ValidationException")
    );
    assert_eq!(letter.origin, None);
    desk.wait_until("the others", |desk| desk.rig.lane.records_in_memory() == 1);
    desk.rig.wait_until("it is shown", |status| status.records_set_aside == 1);
    desk.answer_letter(letter.id, Ok(()));
    desk.wait_until("it is gone", |desk| desk.rig.lane.records_in_memory() == 0);
    // What the disk has is noted by the spool itself, with the letter.
    desk.secured(3, &["fine", "bad too"]);
    let letter = desk.letter();
    assert_eq!(letter.origin, Some((origin(3), 1)));
    assert_eq!(desk.read(), Read::Note(origin(3), vec![0]));
    desk.answer_letter(letter.id, Ok(()));
    desk.rig.wait_until("it is gone", |status| status.batches == 0);
    assert_eq!(desk.stop(SOON).lost(), (0, 0));
}

#[test]
fn a_dead_letter_store_that_is_full_holds_the_stream_until_it_takes_the_record() {
    let stub = refusing_bad();
    let mut desk = Desk::new(spool_config(&stub));
    desk.rig.send(&["good", "bad"]);
    let letter = desk.letter();
    desk.answer_letter(letter.id, Err(NotDurable::SpoolFull));
    desk.rig.wait_until("a hold", |status| status.state == StreamState::Held);
    let reason = desk.rig.status().reason.unwrap();
    assert_eq!(&*reason.code, "DeadLetterStore");
    assert!(reason.message.contains("spool.bytes_max"), "{}", reason.message);
    assert_eq!(stub.put().records.len(), 2);
    desk.rig.send(&["waits"]);
    // It is tried again, and nothing is sent meanwhile.
    let mut copies = 0;
    let again = loop {
        match desk.ends.written(SOON).unwrap() {
            Written::SetAside(letter) => break letter,
            Written::Spill(_) => copies += 1,
        }
    };
    assert_eq!((again.id, again.record), (letter.id, b"bad".to_vec()));
    assert!(stub.puts.is_empty() && copies <= 2);
    desk.answer_letter(again.id, Ok(()));
    assert_eq!(stub.put().records, [b"waits"]);
    desk.rig.wait_until("it flows", |status| status.state == StreamState::Flowing);
    desk.rig.forward.stopper().stop_now();
}

#[test]
fn a_stop_spools_what_it_could_not_deliver_even_if_it_is_under_way() {
    let stub = Stub::start(|put| Reply::ok(put).after(SOON * 2));
    let mut desk = Desk::new(spool_config(&stub));
    desk.rig.send(&numbered(20));
    assert_eq!(stub.put().records.len(), 20);
    desk.rig.send(&["later"]);
    let Desk { rig, ends, .. } = desk;
    let (stream, start) = (rig.lane.name().clone(), Instant::now());
    let disk = std::thread::spawn(move || {
        let mut copied = 0;
        while let Some(Written::Spill(spill)) = ends.written(MS * 3_000) {
            copied += spill.lengths.len();
            let (stream, id) = (stream.clone(), spill.id);
            ends.say(Word::Spooled { stream, id, result: Ok(origin(1)) });
        }
        copied
    });
    block_on(rig.forward.stop(start + MS * 900));
    assert!(start.elapsed() >= MS * 600, "first it has tried to deliver");
    assert_eq!(disk.join().unwrap(), 21);
    assert_eq!((rig.lane.lost(), rig.lane.records_in_memory()), ((0, 0), 0));
}

#[test]
fn a_stop_while_the_service_is_away_spools_everything_and_does_not_wait() {
    let stub = Stub::start(|_| gone());
    let mut desk = Desk::new(Config { spool_blocked_after: SOON, ..spool_config(&stub) });
    desk.rig.send(&numbered(20));
    desk.rig.wait_until("a hold", |status| status.state == StreamState::Held);
    let Desk { rig, ends, .. } = desk;
    let (stream, start) = (rig.lane.name().clone(), Instant::now());
    let disk = std::thread::spawn(move || {
        let Some(Written::Spill(spill)) = ends.written(SOON) else { panic!("a copy comes") };
        ends.say(Word::Spooled { stream, id: spill.id, result: Ok(origin(1)) });
        ends
    });
    block_on(rig.forward.stop(start + SOON));
    assert!(start.elapsed() < SOON / 2);
    assert_eq!((rig.lane.lost(), rig.lane.records_in_memory()), ((0, 0), 0));
    assert!(!disk.join().unwrap().is_wanted());
}

#[test]
fn a_stop_asks_a_disk_at_once_that_had_no_room() {
    let stub = Stub::start(|_| gone());
    let mut desk = Desk::new(spool_config(&stub));
    desk.rig.send(&numbered(20));
    // Each time it is longer until it is asked again: 1.6 s at least, at last.
    for _ in 0..5 {
        let spill = desk.spill();
        desk.answer(spill.id, Err(NotDurable::SpoolFull));
    }
    desk.wait_until("it is heard", |desk| desk.rig.status().records_spilling == 0);
    let Desk { rig, ends, .. } = desk;
    let (stream, start) = (rig.lane.name().clone(), Instant::now());
    let disk = std::thread::spawn(move || {
        let Some(Written::Spill(spill)) = ends.written(SOON) else { panic!("a copy comes") };
        ends.say(Word::Spooled { stream, id: spill.id, result: Ok(origin(1)) });
    });
    block_on(rig.forward.stop(start + MS * 1_500));
    assert_eq!((rig.lane.lost(), rig.lane.records_in_memory()), ((0, 0), 0));
    disk.join().unwrap();
}

#[test]
fn what_the_disk_does_not_take_at_a_stop_is_lost_and_named() {
    let stub = Stub::start(|put| Reply::ok(put).after(SOON * 2));
    let mut desk = Desk::new(spool_config(&stub));
    desk.rig.send(&["one", "two"]);
    let _under_way = stub.put();
    assert_eq!(desk.stop(MS * 200).lost(), (2, 6));
}

#[test]
fn where_the_disk_goes_with_the_process_a_stop_delivers_the_backlog_too() {
    let stub = Stub::start(Reply::ok);
    let config = Config { stop_delivers_backlog: true, ..spool_config(&stub) };
    let desk = Desk::new(config);
    desk.wait_until("the backlog is asked for", |desk| desk.ends.is_wanted());
    desk.ends.set_backlog(3);
    let Desk { rig, ends, .. } = desk;
    let (forward, lane) = (rig.forward, rig.lane);
    let disk = std::thread::spawn({
        let lane = Arc::clone(&lane);
        move || {
            for frame in 0..3 {
                let bytes = b"x".to_vec();
                let (room, now) = (ends.room(1).unwrap(), Instant::now());
                let places = std::iter::once((0..1, 0));
                let lane = Arc::clone(&lane);
                let batch = Batch::of_frame(lane, room, origin(frame), now, bytes, places);
                ends.say(Word::Batch(Box::new(batch)));
                assert_eq!(ends.read(SOON), Some(Read::Note(origin(frame), vec![0])));
                assert!(ends.is_wanted());
                ends.set_backlog(2 - u64::from(frame));
            }
        }
    });
    let start = Instant::now();
    block_on(forward.stop(start + SOON));
    assert!(start.elapsed() < SOON / 2);
    disk.join().unwrap();
    assert_eq!(stub.puts.try_iter().map(|put| put.records.len()).sum::<usize>(), 3);
    assert_eq!(lane.lost(), (0, 0));
}

#[test]
fn small_durable_groups_are_sent_together_when_their_time_has_come() {
    let stub = Stub::start(Reply::ok);
    let desk = Desk::new(spool_config(&stub));
    let start = Instant::now();
    for frame in 0..20 {
        desk.secured(frame, &["x"]);
    }
    let put = stub.put();
    assert_eq!(put.records.len(), 20);
    assert!(put.at - start >= limits().linger / 2);
    let noted: BTreeSet<Origin> = (0..20)
        .map(|_| match desk.read() {
            Read::Note(origin, numbers) if numbers == [0] => origin,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(noted.len(), 20);
    assert_eq!(desk.stop(SOON).lost(), (0, 0));
}

#[test]
fn without_a_backlog_and_with_a_spool_a_batch_in_memory_is_delivered_as_ever() {
    let stub = Stub::start(Reply::ok);
    let mut desk = Desk::new(spool_config(&stub));
    desk.rig.outlet.hand_over(batch_of(&desk.rig.lane, &["one", "two"]));
    assert_eq!(stub.put().records.len(), 2);
    desk.rig.wait_until("delivery", |status| status.batches == 0);
    assert!(
        desk.ends.written(Duration::ZERO).is_none() && desk.ends.read(Duration::ZERO).is_none()
    );
    assert_eq!(desk.stop(SOON).lost(), (0, 0));
}
