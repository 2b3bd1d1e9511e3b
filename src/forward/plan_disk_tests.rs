//! The plan with a disk under every kind of outcome: nothing is lost, nothing is noted that is not settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::custody::Sizes;
use super::super::request::{Bounds, Fate, Request, Verdict};
use super::*;
use crate::pipeline::testing::{batch_of, lane, limits};
use crate::pipeline::{Batch, Batcher, Book, ChunkPool, Lane, Piece, post};

const BOUNDS: Bounds = Bounds { records_max: 500, bytes_max: 4 << 20, record_bytes_more: 0 };
const AWAITED_AFTER: Duration = Duration::from_secs(4);
const MS: Duration = Duration::from_millis(1);

fn origin(frame: u32) -> Origin {
    Origin { segment: 1, frame }
}

fn texts(plan: &Plan, request: &Request) -> Vec<String> {
    plan.records(request).map(|record| String::from_utf8(record.to_vec()).unwrap()).collect()
}

/// A durable group that the disk has as `frame`, and that leaves at `leaves_at`.
fn group(lane: &Arc<Lane>, records: &[String], frame: u32, now: Instant) -> Box<Batch> {
    let mut batcher = Batcher::durable(Arc::clone(lane), limits(), ChunkPool::new());
    let (_post, mut boxes) = post(1);
    let receipt = Book::new(boxes.remove(0)).open(0, lane.share()).unwrap();
    let mut entry = batcher.entry(now);
    for record in records {
        entry.push(&Piece::Copy(record.as_bytes(), None), None).unwrap();
    }
    entry.commit_durable(&receipt);
    batcher.close();
    let mut batch = batcher.take_closed().unwrap();
    batch.secure(origin(frame));
    Box::new(batch)
}

/// A frame of the disk with what is left of it, read back.
fn read_back(lane: &Arc<Lane>, frame: u32, records: &[(u16, String)], now: Instant) -> Box<Batch> {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for (number, record) in records {
        places.push((bytes.len()..bytes.len() + record.len(), *number));
        bytes.extend_from_slice(record.as_bytes());
    }
    let places = places.into_iter();
    let room = lane.share().empty_reservation();
    Box::new(Batch::of_frame(Arc::clone(lane), room, origin(frame), now, bytes, places))
}

#[test]
fn a_copy_and_a_letter_have_the_keys_of_their_records() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 28);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    let mut batcher = Batcher::new(Arc::clone(&lane), limits(), ChunkPool::new());
    let mut entry = batcher.entry(now);
    for (record, key) in [("a", Some("one")), ("b", None), ("c", Some("two"))] {
        entry.set_key(key.map(|key| key.parse().unwrap()));
        entry.push(&Piece::Copy(record.as_bytes(), None), None).unwrap();
    }
    entry.commit();
    batcher.close();
    plan.push(Box::new(batcher.take_closed().unwrap()));
    let request = plan.next(now, BOUNDS).unwrap();
    let fate = |place| if place == 0 { Fate::Put } else { Fate::Aside };
    let settlement = plan.settle(request, now, now, fate, |_| now);
    let copied = plan.copy(0).unwrap();
    assert_eq!(copied.records().collect::<Vec<_>>(), [b"b", b"c"]);
    let keys = &copied.partition_keys;
    assert_eq!([keys.get(0), keys.get(1)], [None, Some("two")], "by their numbers in the copy");
    let [(_, b), (_, c)] = settlement.letters[..] else { panic!("{settlement:?}") };
    assert_eq!(plan.letter(b).unwrap().partition_key, None);
    assert_eq!(plan.letter(c).unwrap().partition_key.as_deref(), Some("two"));
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

#[test]
fn small_groups_linger_until_there_is_enough_for_a_request_or_their_time_has_come() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 28);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    let bounds = Bounds { records_max: 10, ..BOUNDS };
    plan.push(group(&lane, &numbered("a", 4), 1, now));
    plan.push(group(&lane, &numbered("b", 4), 2, now + MS));
    assert!(plan.next(now + MS, bounds).is_none());
    assert_eq!(plan.next_at(now + MS), Some(now + limits().linger));
    plan.push(group(&lane, &numbered("c", 4), 3, now + MS * 2));
    let full = plan.next(now + MS * 2, bounds).unwrap();
    assert_eq!(full.picks.len(), 10);
    assert!(plan.next(now + MS * 2, bounds).is_none(), "the rest goes on lingering");
    let rest = plan.next(now + limits().linger + MS * 2, bounds).unwrap();
    assert_eq!(texts(&plan, &rest), ["c-2", "c-3"]);
}

#[test]
fn what_lingers_goes_along_with_others_and_nothing_lingers_when_the_process_stops() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 28);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    plan.push(group(&lane, &numbered("a", 2), 1, now));
    plan.push(Box::new(batch_of(&lane, &["due"])));
    let both = plan.next(now, BOUNDS).unwrap();
    assert_eq!(texts(&plan, &both), ["due", "a-0", "a-1"]);
    plan.push(group(&lane, &numbered("b", 2), 2, now));
    assert!(plan.next(now, BOUNDS).is_none());
    plan.hurry(now);
    plan.push(group(&lane, &numbered("c", 2), 3, now));
    assert_eq!(plan.next(now, BOUNDS).unwrap().picks.len(), 4);
}

#[test]
fn a_request_that_was_not_sent_goes_on_lingering() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 28);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    let bounds = Bounds { records_max: 3, ..BOUNDS };
    plan.push(group(&lane, &numbered("a", 4), 1, now));
    let request = plan.next(now, bounds).unwrap();
    plan.put_back(request);
    let request = plan.next(now, bounds).unwrap();
    assert_eq!(texts(&plan, &request), ["a-0", "a-1", "a-2"]);
    plan.failed(request, |_| now + MS);
    // What failed has waited already.
    assert_eq!(plan.next(now + MS, BOUNDS).unwrap().picks.len(), 4);
}

#[test]
fn the_backlog_and_fresh_records_take_turns_and_either_gets_everything_alone() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 28);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    let bounds = Bounds { records_max: 10, ..BOUNDS };
    let old: Vec<(u16, String)> = (0..400).map(|n| (n, format!("old-{n}"))).collect();
    for frame in 0..5 {
        plan.push(read_back(&lane, frame, &old, now));
    }
    let alone = plan.next(now, bounds).unwrap();
    assert!(texts(&plan, &alone).iter().all(|text| text.starts_with("old")));
    for _ in 0..5 {
        plan.push(Box::new(batch_of(&lane, &numbered("fresh", 400))));
    }
    let mut of_backlog = 0;
    for _ in 0..100 {
        let request = plan.next(now, bounds).unwrap();
        of_backlog += texts(&plan, &request).iter().filter(|text| text.starts_with("old")).count();
    }
    assert!((190..=210).contains(&of_backlog), "a fifth while it is young: {of_backlog}");
    let later = now + Duration::from_secs(600);
    of_backlog = 0;
    for _ in 0..100 {
        let request = plan.next(later, bounds).unwrap();
        of_backlog += texts(&plan, &request).iter().filter(|text| text.starts_with("old")).count();
    }
    assert!((780..=820).contains(&of_backlog), "four fifths when it is old: {of_backlog}");
}

#[test]
fn what_was_settled_while_its_copy_was_on_its_way_is_noted_when_it_has_arrived() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 20);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    plan.push(Box::new(batch_of(&lane, &["a", "b", "c", "d"])));
    // The first one is settled before the copy is made, so that the others have other numbers.
    let one = plan.next(now, Bounds { records_max: 1, ..BOUNDS }).unwrap();
    let two = plan.next(now, Bounds { records_max: 2, ..BOUNDS }).unwrap();
    let first = plan.settle(one, now, now, |_| Fate::Put, |_| now);
    assert!(first.notes.is_empty());
    let spill = plan.copy(0).unwrap();
    assert_eq!(
        (spill.lengths.as_slice(), spill.bytes.as_slice()),
        ([1, 1, 1].as_slice(), b"bcd".as_slice())
    );
    plan.copying(spill.id, 0, 3);
    assert_eq!(plan.on_its_way().records, 3);
    assert!(plan.copy(0).is_some() && plan.newest_alone(None, true).is_none(), "one at a time");
    let second = plan.settle(
        two,
        now,
        now,
        |place| if place == 0 { Fate::Put } else { Fate::Again },
        |_| now,
    );
    assert!(second.notes.is_empty(), "nobody knows yet where it lies");
    assert_eq!(lane.records_in_memory(), 2);
    let secured = plan.secured(spill.id, origin(7));
    assert_eq!((secured.note, lane.records_in_memory()), (Some((origin(7), vec![0])), 0));
    let rest = plan.next(now, BOUNDS).unwrap();
    let last = plan.settle(rest, now, now, |_| Fate::Put, |_| now);
    assert_eq!(last.notes, [(origin(7), vec![1, 2])]);
    last.done.into_iter().for_each(Batch::settle);
    assert_eq!(plan.batches(), 0);
}

#[test]
fn a_batch_that_was_delivered_while_its_copy_was_on_its_way_is_noted_in_full() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 20);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    plan.push(Box::new(batch_of(&lane, &["a", "b"])));
    let request = plan.next(now, BOUNDS).unwrap();
    let spill = plan.copy(0).unwrap();
    plan.copying(spill.id, 0, 2);
    let settlement = plan.settle(request, now, now, |_| Fate::Put, |_| now);
    settlement.done.into_iter().for_each(Batch::settle);
    assert!(!plan.is_all_copied(), "its note is still to be written");
    assert_eq!(plan.secured(spill.id, origin(1)).note, Some((origin(1), vec![0, 1])));
    assert_eq!((plan.is_all_copied(), plan.on_its_way()), (true, Sizes::default()));
}

#[test]
fn what_is_under_way_is_not_let_go_and_what_is_let_go_loses_nothing() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 20);
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    plan.push(group(&lane, &numbered("a", 2), 1, now));
    plan.hurry(now);
    let request = plan.next(now, BOUNDS).unwrap();
    assert!(plan.newest_secured(None, true).is_none() && plan.let_go(0).is_none());
    plan.failed(request, |_| now);
    assert_eq!(plan.newest_secured(None, false).unwrap().0, 0);
    assert!(plan.is_only_probe(0));
    let gone = plan.let_go(0).unwrap();
    assert_eq!((gone.origin, gone.batch.len()), (origin(1), 2));
    drop(gone);
    assert_eq!((plan.batches(), plan.has_probe(), lane.lost()), (0, false, (0, 0)));
}

#[test]
fn a_batch_that_somebody_waits_for_is_to_be_copied_when_its_time_has_come() {
    let now = Instant::now();
    let lane = lane("demo", 1 << 20);
    let (_post, mut boxes) = post(1);
    let receipt = Book::new(boxes.remove(0)).open(1, lane.share()).unwrap();
    let mut batcher = Batcher::new(Arc::clone(&lane), limits(), ChunkPool::new());
    let mut entry = batcher.entry(now);
    entry.push(&Piece::Copy(b"a", None), Some(receipt.ticket(0))).unwrap();
    entry.commit();
    batcher.close();
    let mut plan = Plan::with_disk(AWAITED_AFTER);
    plan.push(Box::new(batch_of(&lane, &["nobody waits"])));
    plan.push(Box::new(batcher.take_closed().unwrap()));
    let _under_way = plan.next(now, BOUNDS).unwrap();
    assert_eq!(plan.awaited_at(), Some(now + AWAITED_AFTER));
    assert_eq!(plan.awaited(now + AWAITED_AFTER - MS), None);
    let id = plan.awaited(now + AWAITED_AFTER).unwrap();
    let spill = plan.copy(id).unwrap();
    plan.copying(spill.id, id, 1);
    assert_eq!(plan.awaited_at(), None);
    plan.not_secured(spill.id);
    assert_eq!(plan.awaited(now + AWAITED_AFTER), Some(id), "it is tried again");
    let spill = plan.copy(id).unwrap();
    plan.copying(spill.id, id, 1);
    assert_eq!(plan.secured(spill.id, origin(1)).tickets, [receipt.ticket(0)]);
}

/// What the disk holds of each frame: the records by their numbers, and which of them are noted.
#[derive(Debug, Default)]
struct Disk {
    frames: BTreeMap<u32, Vec<(String, bool)>>,
    /// The frames that nobody has in memory.
    waiting: BTreeSet<u32>,
}

impl Disk {
    fn add(&mut self, records: Vec<String>) -> u32 {
        let frame = u32::try_from(self.frames.len()).unwrap();
        self.frames.insert(frame, records.into_iter().map(|record| (record, false)).collect());
        frame
    }

    fn note(&mut self, notes: impl IntoIterator<Item = Note>, settled: &BTreeMap<String, usize>) {
        for (origin, numbers) in notes {
            let frame = self.frames.get_mut(&origin.frame).unwrap();
            for number in numbers {
                let (record, is_noted) = &mut frame[usize::from(number)];
                assert!(settled.contains_key(record), "{record} is noted and not settled");
                assert!(!std::mem::replace(is_noted, true), "{record} is noted twice");
            }
        }
    }
}

struct Model {
    plan: Plan,
    lane: Arc<Lane>,
    disk: Disk,
    now: Instant,
    made: usize,
    settled: BTreeMap<String, usize>,
    under_way: Vec<(Request, Instant, Vec<String>)>,
    /// Copies by name, with the records in them.
    copies: Vec<(u64, Vec<String>)>,
    /// Letters by name, with the record and where the spool was told that it lies.
    letters: Vec<(u64, String, Option<Note>)>,
}

impl Model {
    fn fresh_records(&mut self, count: usize) -> Vec<String> {
        let records = (0..count).map(|n| format!("{:03}", self.made + n)).collect();
        self.made += count;
        records
    }

    fn step(&mut self, action: u8, dice: u64) {
        self.now += MS;
        let count = usize::try_from(dice % 9).unwrap() + 1;
        match action {
            0 => {
                let records = self.fresh_records(count);
                self.plan.push(Box::new(batch_of(&self.lane, &records)));
            }
            1 => {
                let records = self.fresh_records(count);
                let frame = self.disk.add(records.clone());
                self.plan.push(group(&self.lane, &records, frame, self.now));
            }
            2 => self.read_back(),
            3 | 4 => self.send(count * 3),
            5 | 6 => self.land(dice),
            7 => self.copy(dice),
            8 => self.copied(!dice.is_multiple_of(3)),
            9 => self.let_go(dice.is_multiple_of(2)),
            _ => self.bury(),
        }
    }

    fn read_back(&mut self) {
        if let Some(frame) = self.disk.waiting.pop_first() {
            let records = self.disk.frames[&frame].iter().enumerate();
            let left = records.filter(|(_, (_, is_noted))| !is_noted);
            let left: Vec<(u16, String)> = left
                .map(|(number, (record, _))| (u16::try_from(number).unwrap(), record.clone()))
                .collect();
            self.plan.push(read_back(&self.lane, frame, &left, self.now));
        }
    }

    fn send(&mut self, records_max: usize) {
        let bounds = Bounds { records_max, ..BOUNDS };
        let request = if self.plan.is_stuck() {
            self.plan.next_probe(&mut fastrand::Rng::with_seed(5))
        } else {
            self.plan.next(self.now, bounds)
        };
        if let Some(request) = request {
            let records = texts(&self.plan, &request);
            for record in &records {
                assert!(!self.settled.contains_key(record), "{record} is sent twice");
                assert!(self.under_way.iter().all(|(_, _, others)| !others.contains(record)));
            }
            self.under_way.push((request, self.now, records));
        }
    }

    fn land(&mut self, dice: u64) {
        if self.under_way.is_empty() {
            return;
        }
        let at = usize::try_from(dice).unwrap_or(0) % self.under_way.len();
        let (request, began_at, records) = self.under_way.swap_remove(at);
        let now = self.now;
        match dice % 8 {
            0 => self.plan.failed(request, |_| now + MS),
            1 => self.plan.put_back(request),
            2 => {
                let (verdict, done) = self.plan.refused(request, now, began_at);
                done.into_iter().for_each(Batch::settle);
                if let Verdict::SetAside { letter: Some(name), .. } = verdict {
                    self.write_letter(name);
                }
            }
            _ => {
                let fate = |place: usize| match dice >> (place % 32) & 3 {
                    0 if place > 0 => Fate::Aside,
                    1 => Fate::Again,
                    _ => Fate::Put,
                };
                for (place, record) in records.iter().enumerate() {
                    if fate(place) == Fate::Put {
                        *self.settled.entry(record.clone()).or_default() += 1;
                    }
                }
                let settlement = self.plan.settle(request, now, began_at, fate, |_| now + MS);
                self.disk.note(settlement.notes, &self.settled);
                settlement.letters.iter().for_each(|(_, name)| self.write_letter(*name));
                settlement.done.into_iter().for_each(Batch::settle);
            }
        }
    }

    fn write_letter(&mut self, name: u64) {
        let enclosed = self.plan.letter(name).unwrap();
        let record = String::from_utf8(enclosed.record).unwrap();
        let place = enclosed.origin.map(|(origin, number)| (origin, vec![number]));
        self.letters.push((name, record, place));
    }

    fn copy(&mut self, dice: u64) {
        let Some((id, _)) = self.plan.newest_alone(None, dice.is_multiple_of(2)) else { return };
        let spill = self.plan.copy(id).unwrap();
        let mut bytes = spill.bytes.as_slice();
        let mut records = Vec::new();
        for length in &spill.lengths {
            let (record, rest) = bytes.split_at(*length as usize);
            records.push(String::from_utf8(record.to_vec()).unwrap());
            bytes = rest;
        }
        assert!(bytes.is_empty());
        self.plan.copying(spill.id, id, records.len());
        self.copies.push((spill.id, records));
    }

    fn copied(&mut self, is_kept: bool) {
        if self.copies.is_empty() {
            return;
        }
        let (name, records) = self.copies.remove(0);
        if is_kept {
            let frame = self.disk.add(records);
            let secured = self.plan.secured(name, origin(frame));
            self.disk.note(secured.note, &self.settled);
        } else {
            self.plan.not_secured(name);
        }
    }

    fn let_go(&mut self, with_backlog: bool) {
        if let Some((id, _)) = self.plan.newest_secured(None, with_backlog) {
            let gone = self.plan.let_go(id).unwrap();
            assert!(self.disk.waiting.insert(gone.origin.frame), "it is let go once");
        }
    }

    fn bury(&mut self) {
        let Some((name, record, place)) = self.letters.pop() else { return };
        let buried = self.plan.buried(name).unwrap();
        *self.settled.entry(record).or_default() += 1;
        // The spool notes itself what it was told the place of.
        self.disk.note(place.into_iter().chain(buried.note), &self.settled);
        buried.done.into_iter().for_each(Batch::settle);
    }

    /// Every record is in one place; what is in memory alone is what the lane says.
    fn check(&self) {
        assert!(self.settled.values().all(|times| *times == 1));
        let kept: BTreeSet<&String> = self
            .disk
            .frames
            .values()
            .flatten()
            .filter(|(record, is_noted)| !is_noted && !self.settled.contains_key(record))
            .map(|(record, _)| record)
            .collect();
        let alone = self.made - self.settled.len() - kept.len();
        assert_eq!(self.lane.records_in_memory(), alone as u64);
        assert_eq!(self.lane.lost(), (0, 0));
        let on_way: usize = self.copies.iter().map(|(_, records)| records.len()).sum();
        assert_eq!(self.plan.on_its_way().records, on_way);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent, copied, let go and read back, in whatever order: every record is settled once, and
    /// exactly what is settled is noted.
    #[test]
    fn nothing_is_lost_and_only_what_is_settled_is_noted(
        steps in prop::collection::vec((0_u8..11, any::<u64>()), 0..250),
    ) {
        let lane = lane("demo", 1 << 28);
        let mut model = Model {
            plan: Plan::with_disk(AWAITED_AFTER), lane, disk: Disk::default(), now: Instant::now(), made: 0,
            settled: BTreeMap::new(), under_way: Vec::new(), copies: Vec::new(), letters: Vec::new(),
        };
        for (action, dice) in steps {
            model.step(action, dice);
            model.check();
        }
        // From now on everything goes well, until nothing is left to do.
        model.plan.hurry(model.now);
        // A record that nobody suspects comes last, in case that all others are under suspicion.
        model.step(0, 0);
        for round in 0..20 * model.made + 100 {
            model.read_back();
            model.send(7);
            model.land(u64::MAX << 1 | 3);
            model.copied(true);
            model.bury();
            model.now += MS;
            if round % 50 == 0 {
                model.check();
            }
        }
        model.check();
        prop_assert_eq!(model.plan.batches(), 0, "{:?}", model.plan.counts());
        prop_assert_eq!(model.settled.len(), model.made);
        prop_assert!(model.disk.frames.values().flatten().all(|(_, is_noted)| *is_noted));
        prop_assert!(model.plan.is_all_on_disk());
        prop_assert_eq!((model.lane.share().used_bytes(), model.lane.batches_outstanding()), (0, 0));
    }
}
