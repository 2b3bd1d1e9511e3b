//! What must hold for the batcher and the arena, whatever is put in.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::testing::{lane, lane as lane_of, limits};
use super::{Batch, Batcher, ChunkPool, Limits, Piece, SharedBody, Ticket};
use crate::record::{PARTITION_KEY_CHARS_MAX, PartitionKey};

fn contents(batch: &Batch) -> Vec<Vec<u8>> {
    batch.records().map(<[u8]>::to_vec).collect()
}

fn drain(batcher: &mut Batcher) -> Vec<Batch> {
    std::iter::from_fn(|| batcher.take_closed()).collect()
}

fn copy(record: &[u8]) -> Piece<'_> {
    Piece::Copy(record, None)
}

#[test]
fn a_batch_closes_at_its_last_record_and_not_before() {
    let lane = lane("demo", 1 << 22);
    let mut batcher = Batcher::new(lane, limits(), ChunkPool::new());
    let now = Instant::now();
    for _ in 0..499 {
        let mut entry = batcher.entry(now);
        entry.push(&copy(b"x"), None).unwrap();
        entry.commit();
    }
    assert!(batcher.take_closed().is_none());
    let mut entry = batcher.entry(now);
    entry.push(&copy(b"x"), None).unwrap();
    entry.commit();
    assert_eq!(batcher.take_closed().unwrap().len(), 500);
}

#[test]
fn a_batch_holds_its_last_byte_and_the_next_byte_opens_another() {
    let lane = lane("demo", 1 << 26);
    let mut batcher = Batcher::new(lane, limits(), ChunkPool::new());
    let quarter = vec![0; 1_000_000];
    let rest = vec![0; 4_194_304 - 4_000_000 - 1];
    let mut entry = batcher.entry(Instant::now());
    for record in [&quarter, &quarter, &quarter, &quarter, &rest, &vec![0], &vec![0]] {
        entry.push(&copy(record), None).unwrap();
    }
    entry.commit();
    batcher.close();
    let bytes: Vec<usize> = drain(&mut batcher).iter().map(Batch::bytes).collect();
    assert_eq!(bytes, [4_194_304, 1]);
}

#[test]
fn a_batch_leaves_when_its_first_record_has_lingered() {
    let lane = lane("demo", 1 << 20);
    let mut batcher = Batcher::new(lane, limits(), ChunkPool::new());
    let opened = Instant::now();
    for late in [0, 400, 999] {
        let mut entry = batcher.entry(opened + Duration::from_millis(late));
        entry.push(&copy(b"x"), None).unwrap();
        entry.commit();
    }
    batcher.close_if_due(opened + Duration::from_millis(999));
    assert!(batcher.take_closed().is_none());
    batcher.close_if_due(opened + Duration::from_secs(1));
    let batch = batcher.take_closed().unwrap();
    assert_eq!((batch.len(), batch.opened_at()), (3, opened));
}

#[test]
fn jitter_only_ever_shortens_the_linger_time() {
    let limits = Limits { linger_jitter_percent: 20, ..limits() };
    let mut batcher = Batcher::new(lane("demo", 1 << 20), limits, ChunkPool::new());
    let now = Instant::now();
    for _ in 0..200 {
        let mut entry = batcher.entry(now);
        entry.push(&copy(b"x"), None).unwrap();
        entry.commit();
        let linger = batcher.leaves_at().unwrap() - now;
        assert!(linger >= Duration::from_millis(800) && linger <= Duration::from_secs(1));
        batcher.close();
        drop(drain(&mut batcher));
    }
}

#[test]
fn memory_is_counted_as_capacity_and_given_back_in_full() {
    let lane = lane("demo", 1 << 22);
    let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
    let mut entry = batcher.entry(Instant::now());
    entry.push(&copy(b"x"), None).unwrap();
    entry.commit();
    assert!(lane.share().used_bytes() >= 1_024, "one byte takes the chunk that it lies in");
    batcher.close();
    drop(drain(&mut batcher));
    assert_eq!((lane.share().used_bytes(), lane.records_in_memory()), (0, 0));
}

/// A batch of so many records of these bytes, and what it had reserved when it had each number of them.
fn reserved_along(
    lane: &std::sync::Arc<super::Lane>,
    records: usize,
    bytes: usize,
) -> (Batch, Vec<usize>) {
    let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
    let mut reserved = Vec::new();
    for _ in 0..records {
        let mut entry = batcher.entry(Instant::now());
        entry.push(&copy(&vec![7; bytes]), None).unwrap();
        entry.commit();
        reserved.push(lane.share().used_bytes());
    }
    batcher.close();
    (batcher.take_closed().unwrap(), reserved)
}

#[test]
fn what_a_batch_reserves_grows_with_what_it_holds() {
    let lane = lane("demo", 1 << 24);
    let (batch, reserved) = reserved_along(&lane, 500, 100);
    assert!(reserved[0] < 2_560, "{} bytes for one record", reserved[0]);
    assert!(reserved[29] < 3 * 30 * 100, "{} bytes for thirty", reserved[29]);
    for (at, reserved) in reserved.iter().enumerate() {
        let held = (at + 1) * (100 + 12);
        assert!(
            (held..2 * held + 2_500).contains(reserved),
            "{reserved} bytes for {} records",
            at + 1
        );
    }
    assert!(
        batch.reserved_bytes() >= 500 * (100 + 12),
        "a full batch is charged for what it takes"
    );
    drop(batch);
    assert_eq!(lane.share().used_bytes(), 0);
}

#[test]
fn a_thousand_streams_with_a_record_each_fit_three_mebibytes() {
    let budget = super::Budget::new(3 << 20);
    let batches: Vec<Batch> = (0..1_000)
        .map(|number| {
            let name = format!("stream-{number}").parse().unwrap();
            reserved_along(&super::Lane::new(name, budget.share(0)), 1, 500).0
        })
        .collect();
    assert_eq!(batches.len(), 1_000);
}

#[test]
fn a_request_that_is_taken_back_gives_back_all_that_it_made_a_batch_grow_by() {
    let lane = lane("demo", 1 << 24);
    let (_post, mut boxes) = super::post(1);
    let receipt = super::Book::new(boxes.remove(0)).open(1, lane.share()).unwrap();
    for before in [0, 1, 15, 16, 17, 200] {
        let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
        let mut entry = batcher.entry(Instant::now());
        for _ in 0..before {
            entry.push(&copy(b"first"), None).unwrap();
        }
        entry.commit();
        let reserved = lane.share().used_bytes();
        let mut entry = batcher.entry(Instant::now());
        for index in 0..300 {
            entry.set_key(key_of(index));
            entry.push(&copy(&[7; 2_000]), Some(receipt.ticket(index))).unwrap();
        }
        assert!(lane.share().used_bytes() > reserved + 300 * 2_000);
        drop(entry);
        assert_eq!(lane.share().used_bytes(), reserved, "after {before} records");
        let mut entry = batcher.entry(Instant::now());
        entry.push(&copy(b"second"), None).unwrap();
        entry.commit();
        batcher.close();
        let batch = batcher.take_closed().unwrap();
        assert_eq!((batch.len(), batch.tickets().count()), (before + 1, 0));
        assert!(batch.partition_keys().is_empty());
        assert_eq!(batch.records().last(), Some(&b"second"[..]));
    }
}

#[test]
fn where_there_is_no_room_to_grow_what_is_there_stays_and_is_paid_for() {
    let record_of = |number: usize| [u8::try_from(number).unwrap(); 70];
    for room in (1_000..9_000).step_by(97) {
        let lane = lane("demo", room);
        let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
        let mut entry = batcher.entry(Instant::now());
        entry.set_key(Some("key".parse().unwrap()));
        let mut records = 0;
        while records < 200 && entry.push(&copy(&record_of(records)), None).is_ok() {
            records += 1;
        }
        assert!(records < 200 && lane.share().used_bytes() <= room);
        if records == 0 {
            drop(entry);
        } else {
            entry.commit();
            batcher.close();
            let batch = batcher.take_closed().unwrap();
            let expected: Vec<Vec<u8>> =
                (0..records).map(|record| record_of(record).to_vec()).collect();
            assert_eq!(contents(&batch), expected);
            assert_eq!(batch.key(records - 1), Some("key"));
            assert!(records * 70 > room / 4 || room < 4_000, "{records} records in {room} bytes");
        }
        assert_eq!(lane.share().used_bytes(), 0);
    }
}

#[test]
fn the_tickets_of_a_batch_are_paid_for_and_given_back_with_it() {
    let lane = lane("demo", 1 << 20);
    let (_post, mut boxes) = super::post(1);
    let receipt = super::Book::new(boxes.remove(0)).open(1, lane.share()).unwrap();
    let reserved = |is_awaited: bool| {
        let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
        let mut entry = batcher.entry(Instant::now());
        for index in 0..500 {
            entry.push(&copy(b"x"), is_awaited.then(|| receipt.ticket(index))).unwrap();
        }
        entry.commit();
        let mut batch = batcher.take_closed().unwrap();
        let reserved = batch.reserved_bytes();
        batch.retain(|index| index == 7);
        (reserved, batch.reserved_bytes())
    };
    let ((all, one), (all_awaited, one_awaited)) = (reserved(false), reserved(true));
    let tickets = 500 * size_of::<(u32, Ticket)>();
    assert!(all_awaited >= all + tickets && one_awaited >= one, "{all_awaited} {all}");
    drop(receipt);
    assert_eq!(lane.share().used_bytes(), 0);
}

#[test]
fn a_shared_body_is_paid_for_until_its_last_record_is_settled() {
    let lane = lane("demo", 1 << 20);
    let body = b"a\nb\nc\n".to_vec();
    let room = lane.share().reserve(body.capacity()).unwrap();
    let body = SharedBody::new(body, room);
    let limits = Limits { batch_records_max: 2, ..limits() };
    let mut batcher = Batcher::new(lane.clone(), limits, ChunkPool::new());
    let mut entry = batcher.entry(Instant::now());
    for at in [0, 2, 4] {
        entry.push(&Piece::Slice(&body, at..at + 2), None).unwrap();
    }
    entry.commit();
    batcher.close();
    drop(body);
    let mut batches = drain(&mut batcher);
    assert_eq!(contents(&batches[1]), [b"c\n"]);
    assert_eq!(contents(&batches.remove(0)), [b"a\n", b"b\n"]);
    assert!(lane.share().used_bytes() > 0);
    drop(batches);
    assert_eq!(lane.share().used_bytes(), 0);
}

#[test]
fn settling_most_of_a_batch_gives_most_of_its_memory_back() {
    let lane = lane("demo", 1 << 22);
    let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
    let mut entry = batcher.entry(Instant::now());
    for index in 0..500_u32 {
        entry.push(&copy(&[&index.to_be_bytes()[..], &[7; 2_000]].concat()), None).unwrap();
    }
    entry.commit();
    let mut batch = batcher.take_closed().unwrap();
    batch.retain(|index| index % 100 == 7);
    assert!(batch.reserved_bytes() < 20_000, "{} bytes for five records", batch.reserved_bytes());
    assert_eq!(lane.records_in_memory(), 5);
    let left: Vec<u32> =
        batch.records().map(|record| u32::from_be_bytes(record[..4].try_into().unwrap())).collect();
    assert_eq!(left, [7, 107, 207, 307, 407]);
}

#[test]
fn a_record_that_somebody_waits_for_lingers_no_longer_than_that_allows() {
    let lane = lane("demo", 1 << 20);
    let (_post, mut boxes) = super::post(1);
    let receipt = super::Book::new(boxes.remove(0)).open(1, lane.share()).unwrap();
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut batcher =
        Batcher::new(lane, limits(), ChunkPool::new()).awaited_for(Duration::from_millis(100));
    let mut put = |now, ticket, is_committed| {
        let mut entry = batcher.entry(now);
        entry.push(&copy(b"x"), ticket).unwrap();
        if is_committed {
            entry.commit();
        } else {
            drop(entry);
        }
        batcher.leaves_at()
    };
    assert_eq!(put(start, None, true), Some(at(1_000)));
    assert_eq!(put(at(10), Some(receipt.ticket(0)), false), Some(at(1_000)), "it was never there");
    assert_eq!(put(at(20), Some(receipt.ticket(0)), true), Some(at(120)));
    assert_eq!(put(at(50), Some(receipt.ticket(0)), true), Some(at(120)), "the first one counts");
}

/// A short key for most records that have this number, and none for the others.
fn key_of(number: usize) -> Option<PartitionKey> {
    (!number.is_multiple_of(4)).then(|| format!("key {}", number / 3).parse().unwrap())
}

#[test]
fn a_key_takes_nothing_of_a_record_and_a_batch_without_one_nothing_for_it() {
    let lane = lane("demo", 1 << 24);
    let put = |key: Option<&str>| {
        let limits = Limits { batch_bytes_max: 50_000, ..limits() };
        let mut batcher = Batcher::new(lane.clone(), limits, ChunkPool::new());
        let mut entry = batcher.entry(Instant::now());
        entry.set_key(key.map(|key| key.parse().unwrap()));
        for _ in 0..500 {
            entry.push(&copy(&[7; 100]), None).unwrap();
        }
        assert_eq!((entry.records(), entry.bytes()), (500, 50_000));
        entry.commit();
        batcher.take_closed().unwrap()
    };
    let longest = "\u{1f511}".repeat(PARTITION_KEY_CHARS_MAX);
    let (plain, keyed) = (put(None), put(Some(&longest)));
    assert!(plain.partition_keys().is_empty() && plain.key(0).is_none());
    assert_eq!(plain.partition_keys().capacity_bytes(), 0);
    assert_eq!(contents(&plain), contents(&keyed));
    assert!((0..500).all(|index| keyed.key(index) == Some(&longest)));
    let more = keyed.reserved_bytes() - plain.reserved_bytes();
    assert_eq!(more, keyed.partition_keys().capacity_bytes());
    assert!(more < 2_500, "{more}: the key of a request is there once");
}

#[test]
fn records_of_a_shared_body_have_keys_and_a_frame_s_are_by_its_numbers() {
    let lane = lane("demo", 1 << 20);
    let body = SharedBody::new(b"a\nb\n".to_vec(), lane.share().empty_reservation());
    let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
    let mut entry = batcher.entry(Instant::now());
    entry.push(&Piece::Slice(&body, 0..2), None).unwrap();
    entry.set_key(Some("k".parse().unwrap()));
    entry.push(&Piece::Slice(&body, 2..4), None).unwrap();
    entry.commit();
    batcher.close();
    let batch = batcher.take_closed().unwrap();
    assert_eq!((batch.key(0), batch.key(1)), (None, Some("k")));

    let keys = [Some("zero"), None, Some("two"), Some("two")];
    let of_frame = super::PartitionKeys::collect(keys.into_iter());
    let room = lane.share().empty_reservation();
    let origin = super::Origin { segment: 1, frame: 0 };
    let places = [(0..1, 1), (1..2, 3), (2..3, 0)].into_iter();
    let batch =
        Batch::of_frame(lane.clone(), room, origin, Instant::now(), b"xyz".to_vec(), places);
    let before = lane.share().used_bytes();
    let batch = batch.with_frame_keys(&of_frame);
    assert_eq!([0, 1, 2].map(|index| batch.key(index)), [None, Some("two"), Some("zero")]);
    let taken = batch.partition_keys().capacity_bytes();
    assert_eq!(lane.share().used_bytes(), before + taken);
}

/// One request of a random life: its records, whether it is committed, and how long after the last one.
type Request = (Vec<Vec<u8>>, bool, u64);

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let record = prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::vec(
        (prop::collection::vec(record, 0..12), prop::bool::weighted(0.8), 0..700_u64),
        0..40,
    )
}

proptest! {
    /// Everything that was committed comes out once, in order, within the limits; nothing else does.
    #[test]
    fn what_was_committed_comes_out_once_in_order_and_within_the_limits(
        requests in requests(), records_max in 1..9_usize, bytes_max in 1..900_usize,
        room in 8_000..90_000_usize,
    ) {
        let lane = lane("demo", room);
        let (_post, mut boxes) = super::post(1);
        let book = super::Book::new(boxes.remove(0));
        let receipt = book.open(1, lane_of("receipts", 1 << 10).share()).unwrap();
        let limits = Limits { batch_records_max: records_max, batch_bytes_max: bytes_max, ..limits() };
        let mut batcher = Batcher::new(lane.clone(), limits, ChunkPool::new());
        let mut now = Instant::now();
        let (mut expected, mut batches) = (VecDeque::new(), Vec::new());
        for (records, commit, later) in requests {
            now += Duration::from_millis(later);
            batcher.close_if_due(now);
            let reserved = lane.share().used_bytes();
            let was_awaited = batcher.is_awaited();
            let ticket = (later % 3 == 0).then(|| receipt.ticket(expected.len()));
            let key = key_of(usize::try_from(later).unwrap());
            let mut entry = batcher.entry(now);
            entry.set_key(key.clone());
            let fits = records.iter().all(|record| entry.push(&copy(record), ticket).is_ok());
            if commit && fits {
                entry.commit();
                expected.extend(records.into_iter().map(|record| (record, ticket, key.clone())));
            } else {
                drop(entry);
                prop_assert_eq!(batcher.is_awaited(), was_awaited);
                prop_assert_eq!(lane.share().used_bytes(), reserved, "a refused request left something");
            }
            // The forwarder takes what was closed now and then.
            if later % 2 == 0 {
                batches.extend(drain(&mut batcher));
            }
            prop_assert!(lane.share().used_bytes() <= room);
        }
        batcher.close();
        batches.extend(drain(&mut batcher));
        prop_assert_eq!(lane.records_in_memory(), expected.len() as u64);
        for batch in &batches {
            prop_assert!(batch.len() <= records_max);
            prop_assert!(batch.bytes() <= bytes_max || batch.len() == 1);
            let mut tickets: HashMap<usize, Ticket> = batch.tickets().collect();
            for (index, record) in batch.records().enumerate() {
                let key = batch.key(index).map(|key| key.parse().unwrap());
                let seen = (record.to_vec(), tickets.remove(&index), key);
                prop_assert_eq!(Some(seen), expected.pop_front());
            }
            prop_assert!(tickets.is_empty());
        }
        prop_assert!(expected.is_empty());
        drop(batches);
        prop_assert_eq!((lane.share().used_bytes(), lane.records_in_memory()), (0, 0));
    }

    /// Whatever is settled, the rest is byte for byte what it was, with its tickets.
    #[test]
    fn what_is_retained_is_what_was_put_in(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5_000), 1..40),
        rounds in prop::collection::vec(any::<u64>(), 1..4),
    ) {
        let lane = lane("demo", 1 << 24);
        let (_post, mut boxes) = super::post(1);
        let receipt = super::Book::new(boxes.remove(0)).open(records.len(), lane.share()).unwrap();
        let receipt_bytes = lane.share().used_bytes();
        let mut batcher = Batcher::new(lane.clone(), limits(), ChunkPool::new());
        let mut entry = batcher.entry(Instant::now());
        for (index, record) in records.iter().enumerate() {
            let ticket = (index % 3 == 0).then(|| receipt.ticket(index));
            entry.set_key(key_of(index));
            entry.push(&copy(record), ticket).unwrap();
        }
        entry.commit();
        batcher.close();
        let mut batch = batcher.take_closed().unwrap();
        let mut expected: Vec<(usize, Vec<u8>)> = records.into_iter().enumerate().collect();
        for round in rounds {
            let mut index = 0;
            expected.retain(|_| { index += 1; round >> (index % 64) & 1 == 0 });
            batch.retain(|index| round >> ((index + 1) % 64) & 1 == 0);
            prop_assert_eq!(contents(&batch), expected.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>());
            let tickets: Vec<_> = batch.tickets().collect();
            let wanted: Vec<_> = expected.iter().enumerate().filter(|(_, (original, _))| original % 3 == 0)
                .map(|(now, (original, _))| (now, receipt.ticket(*original))).collect();
            prop_assert_eq!(tickets, wanted);
            for (now, (original, _)) in expected.iter().enumerate() {
                let key = batch.key(now).map(|key| key.parse().unwrap());
                prop_assert_eq!(key, key_of(*original));
            }
            prop_assert_eq!(batch.reserved_bytes(), lane.share().used_bytes() - receipt_bytes);
        }
    }
}
