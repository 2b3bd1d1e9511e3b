//! The spool as a whole, on a real disk: what is kept comes back, and what is settled goes away.

use std::sync::Arc;
use std::time::Instant;

use super::testing::{Ring, rig, rig_with, wait_for};
use super::*;
use crate::pipeline::{NotDurable, Origin, PartitionKeys};

fn texts(batch: &crate::pipeline::Batch) -> Vec<String> {
    batch.records().map(|record| String::from_utf8_lossy(record).into_owned()).collect()
}

#[test]
fn a_group_is_answered_when_it_is_on_disk_and_goes_on_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig(dir.path(), Ring::new());
    rig.append(&["a", "b"]);
    let batch = rig.batch();
    assert_eq!(texts(&batch), ["a", "b"]);
    assert!(!batch.is_backlog());
    let origin = batch.origin().unwrap();
    assert_eq!(origin.frame, 0);
    assert_eq!(rig.status().records, 2);
    rig.spool_of().note(origin, vec![0]);
    rig.spool_of().note(origin, vec![1]);
    drop(batch);
    wait_for(|| rig.status().records == 0);
    let left = rig.stop();
    assert_eq!((left.records, left.is_whole), (0, true));
    assert!(rig_files(dir.path()).is_empty(), "{:?}", rig_files(dir.path()));
}

/// The files of all streams.
fn rig_files(dir: &std::path::Path) -> Vec<String> {
    let streams = std::fs::read_dir(dir.join("streams")).unwrap();
    let files = streams.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_not_settled_is_there_after_a_restart_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = rig(dir.path(), Ring::new());
    for group in [&["a", "b", "c"][..], &["d"], &["e", "f"]] {
        first.append(group);
        let batch = first.batch();
        if texts(&batch) == ["a", "b", "c"] {
            first.spool_of().note(batch.origin().unwrap(), vec![1]);
        }
        if texts(&batch) == ["d"] {
            first.spool_of().note(batch.origin().unwrap(), vec![0]);
        }
    }
    wait_for(|| first.status().records == 4);
    assert_eq!(first.stop().records, 4);

    let second = rig(dir.path(), Ring::new());
    assert!(!second.was_unclean());
    second.spool_of().want(true);
    let mut came = Vec::new();
    let mut batches = Vec::new();
    while came.len() < 4 {
        let batch = second.batch();
        assert!(batch.is_backlog());
        came.extend(texts(&batch));
        batches.push(batch);
    }
    assert_eq!(came, ["a", "c", "e", "f"]);
    wait_for(|| second.status().segments_uncounted == 0);
    assert_eq!((second.status().records, second.status().records_recovered), (4, 4));
    assert_eq!(second.status().records_waiting, 0);
    for batch in &batches {
        let numbers = (0..batch.len()).map(|index| batch.number(index).unwrap()).collect();
        second.spool_of().note(batch.origin().unwrap(), numbers);
    }
    wait_for(|| rig_files(dir.path()).is_empty());
    second.stop();
}

#[test]
fn a_batch_that_is_let_go_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig(dir.path(), Ring::new());
    rig.append(&["a", "b"]);
    rig.append(&["c"]);
    let (first, second) = (rig.batch(), rig.batch());
    let origins: Vec<Origin> = [&first, &second].map(|batch| batch.origin().unwrap()).into();
    rig.spool_of().note(origins[0], vec![0]);
    rig.spool_of().let_go(origins[0]);
    rig.spool_of().let_go(origins[1]);
    drop((first, second));
    wait_for(|| rig.status().records_waiting == 2);
    rig.spool_of().want(true);
    let again = rig.batch();
    assert_eq!((texts(&again), again.number(0)), (vec!["b".to_owned()], Some(1)));
    assert_eq!(again.origin(), Some(origins[0]));
    assert_eq!(texts(&rig.batch()), ["c"]);
    assert_eq!(rig.status().records_waiting, 0);
    rig.stop();
}

#[test]
fn a_copy_is_kept_and_its_batch_is_told_where() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), Ring::new());
    let spill = Spill {
        id: 9,
        opened_at: Instant::now(),
        lengths: vec![1, 0, 2],
        bytes: b"xyz".to_vec(),
        partition_keys: PartitionKeys::NONE,
    };
    rig.spool_of().spill(spill).unwrap();
    let Word::Spooled { id: 9, result: Ok(origin), .. } = rig.word() else { panic!() };
    assert_eq!(rig.status().records, 3);
    rig.spool_of().let_go(origin);
    rig.spool_of().want(true);
    assert_eq!(texts(&rig.batch()), ["x", "", "yz"]);
    rig.stop();
}

#[test]
fn room_for_a_copy_is_asked_for_before_it_is_made_and_given_back_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig_with(dir.path(), Ring::new(), |config| config.group_bytes_max = 1_000);
    let spool = rig.spool_of();
    let copy = |id| Spill {
        id,
        opened_at: Instant::now(),
        lengths: vec![600],
        bytes: vec![b'x'; 600],
        partition_keys: PartitionKeys::NONE,
    };
    let most = spool.inner.spilling_bytes_max;
    let all = spool.spill_room(most + 1).expect("one may always go when none is on its way");
    assert!(spool.spill_room(1).is_none() && spool.spill(copy(1)).is_err());
    drop(all);
    let room = spool.spill_room(most).unwrap();
    spool.spill_into(room, copy(2));
    let Word::Spooled { id: 2, result: Ok(_), .. } = rig.word() else { panic!() };
    wait_for(|| spool.spill_room(most).is_some());
    spool.spill(copy(3)).unwrap();
    assert!(matches!(rig.word(), Word::Spooled { id: 3, result: Ok(_), .. }));
    rig.stop();
}

/// What the records of a batch are, and their partition keys.
fn keyed(batch: &crate::pipeline::Batch) -> Vec<(String, Option<&str>)> {
    texts(batch).into_iter().enumerate().map(|(at, text)| (text, batch.key(at))).collect()
}

#[test]
fn a_record_keeps_its_partition_key_on_disk_as_a_dead_letter_and_when_it_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let first = rig(dir.path(), Ring::new());
    let keys = [Some("k"), None, Some("k\u{e4}ufer"), Some("k\u{e4}ufer")];
    let spill = Spill {
        id: 1,
        opened_at: Instant::now(),
        lengths: vec![1; 4],
        bytes: b"abcd".to_vec(),
        partition_keys: PartitionKeys::collect(keys.into_iter()),
    };
    first.spool_of().spill(spill).unwrap();
    let Word::Spooled { result: Ok(origin), .. } = first.word() else { panic!() };
    first.spool_of().note(origin, vec![0]);
    wait_for(|| first.status().records == 3);
    first.stop();

    let second = rig(dir.path(), Ring::new());
    second.spool_of().want(true);
    let batch = second.batch();
    let expected = [
        ("b".to_owned(), None),
        ("c".to_owned(), Some("k\u{e4}ufer")),
        ("d".to_owned(), Some("k\u{e4}ufer")),
    ];
    assert_eq!(keyed(&batch), expected);
    for (index, (text, key)) in keyed(&batch).into_iter().enumerate() {
        second.spool_of().set_aside(Letter {
            id: index as u64,
            record: text.into_bytes(),
            partition_key: key.map(Arc::from),
            opened_at: batch.opened_at(),
            reason: "refused_alone",
            code: "ValidationException".into(),
            message: "no".into(),
            origin: Some((origin, batch.number(index).unwrap())),
        });
        assert!(matches!(second.word(), Word::SetAside { result: Ok(()), .. }));
    }
    wait_for(|| second.status().records == 0);
    assert_eq!(second.replay(&[]).letters, 3);
    let replayed = second.batch();
    assert_eq!(keyed(&replayed), expected, "one frame of letters with a key and without");
    second.stop();
}

#[test]
fn without_a_key_nothing_is_taken_and_with_one_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new();
    ring.lock();
    let mut rig = rig(dir.path(), Arc::clone(&ring));
    wait_for(|| rig.spool_of().inlet().obstacle() == Some(NotDurable::NoKey));
    rig.append(&["a"]);
    assert_eq!(rig.outcome(), crate::pipeline::Outcome::Refused(NotDurable::NoKey));
    ring.unlock();
    wait_for(|| rig.spool_of().inlet().obstacle().is_none());
    rig.append(&["b"]);
    assert_eq!(rig.outcome(), crate::pipeline::Outcome::Durable);
    assert_eq!(texts(&rig.batch()), ["b"]);
    rig.stop();
}

#[test]
fn a_backlog_waits_for_its_key_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = rig(dir.path(), Ring::new());
    first.append(&["a"]);
    drop(first.batch());
    first.stop();
    let ring = Ring::new();
    ring.lock();
    let second = rig(dir.path(), Arc::clone(&ring));
    second.spool_of().want(true);
    wait_for(|| second.status().waits_for.is_some());
    assert_eq!(second.status().segments_uncounted, 1);
    ring.unlock();
    assert_eq!(texts(&second.batch()), ["a"]);
    second.stop();
}

#[test]
fn a_dead_letter_is_kept_sealed_and_its_record_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig(dir.path(), Ring::new());
    rig.append(&["good", "poison"]);
    let batch = rig.batch();
    let origin = batch.origin().unwrap();
    rig.spool_of().note(origin, vec![0]);
    rig.spool_of().set_aside(Letter {
        id: 4,
        record: b"poison".to_vec(),
        partition_key: None,
        opened_at: batch.opened_at(),
        reason: "refused_alone",
        code: "ValidationException".into(),
        message: "no".into(),
        origin: Some((origin, 1)),
    });
    assert!(matches!(rig.word(), Word::SetAside { id: 4, result: Ok(()), .. }));
    wait_for(|| rig.status().records == 0);
    assert_eq!(rig.status().dead_letters, 1);
    rig.stop();
    let letters = dir.path().join("dead-letters/demo");
    let files: Vec<_> =
        std::fs::read_dir(letters).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let bytes = std::fs::read(&files[0]).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"poison"));
}

#[test]
fn a_record_that_a_request_sets_aside_is_answered_by_its_receipt_and_not_to_the_forwarder() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig_with(dir.path(), Ring::new(), |config| config.group_bytes_max = 1_000);
    // More than may be on its way at once, one after the other.
    for _ in 0..3 {
        rig.set_aside_for(&[b'x'; 2_000]).unwrap();
        assert_eq!(rig.outcome(), crate::pipeline::Outcome::Durable);
    }
    assert_eq!(rig.status().dead_letters, 3);
    rig.append(&["a"]);
    assert_eq!(texts(&rig.batch()), ["a"], "the next word is none of a dead letter");
    rig.stop();

    let mut full = rig_with(dir.path(), Ring::new(), |config| config.dead_letter_bytes_max = 1_000);
    full.set_aside_for(b"more").unwrap();
    let refused = crate::pipeline::Outcome::Refused(NotDurable::DeadLettersFull);
    assert_eq!(full.outcome(), refused);
    full.stop();
}

#[test]
fn a_directory_is_one_process_s_and_a_life_that_was_cut_off_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let first = rig(dir.path(), Ring::new());
    let again = testing::start(dir.path(), Ring::new());
    assert!(matches!(again, Err(StartError::InUse { .. })));
    // It ends without a word.
    first.forget();
    let second = rig(dir.path(), Ring::new());
    assert!(second.was_unclean());
    second.stop();
    let third = rig(dir.path(), Ring::new());
    assert!(!third.was_unclean());
    third.stop();
}

#[test]
fn segments_are_ended_when_they_are_full_and_the_room_of_a_stream_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig_with(dir.path(), Ring::new(), |config| {
        config.segment_bytes_max = 20_000;
        config.stream_bytes_max = 60_000;
    });
    let large = "x".repeat(8_000);
    let mut kept = 0;
    loop {
        rig.append(&[&large]);
        match rig.outcome() {
            crate::pipeline::Outcome::Durable => kept += 1,
            refused => {
                assert_eq!(refused, crate::pipeline::Outcome::Refused(NotDurable::StreamFull));
                break;
            }
        }
    }
    assert!((3..=7).contains(&kept), "{kept}");
    let batches: Vec<_> = (0..kept).map(|_| rig.batch()).collect();
    let segments: std::collections::BTreeSet<u64> =
        batches.iter().map(|batch| batch.origin().unwrap().segment).collect();
    assert!(segments.len() >= 3);
    // What is settled makes room again.
    for batch in batches {
        rig.spool_of().note(batch.origin().unwrap(), vec![0]);
    }
    wait_for(|| rig.status().segments <= 1);
    wait_for(|| rig.spool_of().inlet().obstacle().is_none());
    rig.append(&[&large]);
    assert_eq!(rig.outcome(), crate::pipeline::Outcome::Durable);
    drop(rig.batch());
    rig.stop();
}
