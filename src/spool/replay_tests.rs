//! Dead letters that are sent on their way again: none is lost, whatever fails in between.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::faulty::{Call, Faulty};
use super::testing::{Rig, Ring, rig, rig_on, wait_for};
use super::tools::{Inspector, Keys};
use super::{LetterId, ReplayAsk};

fn texts(batch: &crate::pipeline::Batch) -> Vec<String> {
    batch.records().map(|record| String::from_utf8_lossy(record).into_owned()).collect()
}

/// What comes of the backlog, until so many records have; each is settled.
fn delivered(rig: &Rig, records: usize) -> Vec<String> {
    rig.spool_of().want(true);
    let mut came = Vec::new();
    while came.len() < records {
        let batch = rig.batch();
        assert!(batch.is_backlog());
        came.extend(texts(&batch));
        let numbers = (0..batch.len()).map(|index| batch.number(index).unwrap()).collect();
        rig.spool_of().note(batch.origin().unwrap(), numbers);
    }
    came
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir.join("dead-letters/demo")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// The dead letters that were not replayed, as one who looks from outside sees them.
fn letters(inspector: &Inspector) -> Vec<(LetterId, String)> {
    let ring = Ring::new();
    let mut keys = Keys::new(ring.as_ref(), Duration::ZERO);
    let mut letters = Vec::new();
    for file in inspector.list(None).unwrap().segments {
        if file.place == super::tools::Place::DeadLetters {
            let mut take = |letter: &super::tools::LetterOut<'_>| {
                letters.push((letter.id, String::from_utf8(letter.data.to_vec()).unwrap()));
                Ok(())
            };
            let report = inspector.letters(&file, &mut keys, false, &mut take, &mut |_| ());
            assert!(!report.unwrap().is_damaged());
        }
    }
    letters
}

#[test]
fn replayed_letters_come_as_backlog_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), Ring::new());
    rig.set_aside("a", "Strange");
    rig.set_aside("b", "Strange");
    assert!(rig.status().dead_letter_bytes > 0);
    let done = rig.replay(&[]);
    assert_eq!((done.letters, done.is_through, &done.obstacles[..]), (2, true, &[][..]));
    assert_eq!(rig.status().dead_letters_replayed, 2);
    wait_for(|| rig.status().records_waiting == 2);
    assert_eq!(rig.status().dead_letter_bytes, 0);
    assert!(files(dir.path()).is_empty());
    assert_eq!(delivered(&rig, 2), ["a", "b"]);
    wait_for(|| rig.status().records == 0);
    let again = rig.replay(&[]);
    assert_eq!((again.letters, again.is_through), (0, true), "there is nothing left");
    assert_eq!(rig.stop().records, 0);
}

#[test]
fn letters_of_an_earlier_life_are_counted_and_replayed_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = rig(dir.path(), Ring::new());
    for record in ["a", "b", "c"] {
        first.set_aside(record, "Strange");
    }
    first.stop();
    let inspector = Inspector::new(dir.path().to_owned());
    let all = letters(&inspector);
    assert_eq!(all.iter().map(|(_, record)| record.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);

    let second = rig(dir.path(), Ring::new());
    wait_for(|| second.status().dead_letters_found == 3);
    assert_eq!(second.status().dead_letters, 0);
    let ids = [all[1].0, LetterId { segment: 1, frame: 0, number: 0 }];
    let done = second.replay(&ids);
    assert_eq!((done.letters, done.is_through), (1, true), "the other one is not there");
    assert_eq!(delivered(&second, 1), ["b"]);
    wait_for(|| second.status().records == 0);
    second.stop();

    let left = letters(&inspector);
    assert_eq!(left, [all[0].clone(), all[2].clone()], "what was replayed is noted");
    let third = rig(dir.path(), Ring::new());
    assert_eq!(third.replay(&[]).letters, 2);
    assert_eq!(delivered(&third, 2), ["a", "c"]);
    assert!(files(dir.path()).is_empty());
    third.stop();
}

#[test]
fn what_was_replayed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = rig(dir.path(), Ring::new());
    first.set_aside("a", "Strange");
    assert_eq!(first.replay(&[]).letters, 1);
    assert_eq!(first.stop().records, 1);
    let second = rig(dir.path(), Ring::new());
    assert_eq!(delivered(&second, 1), ["a"]);
    second.stop();
}

#[test]
fn a_letter_that_comes_back_during_a_replay_is_not_replayed_again_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), Ring::new());
    rig.set_aside("a", "Strange");
    let first = rig.replay(&[]);
    assert_eq!(first.letters, 1);
    rig.set_aside("a", "Strange");
    let ask = ReplayAsk {
        ids: None,
        segment_max: Some(first.segment_max),
        until: Instant::now() + Duration::from_secs(20),
    };
    let on = rig.spool_of().replay(ask).recv().unwrap();
    assert_eq!((on.letters, on.is_through), (0, true));
    assert_eq!(rig.replay(&[]).letters, 1);
    rig.stop();
}

#[test]
fn a_replay_ends_in_time_and_waits_for_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Ring::new();
    let rig = rig(dir.path(), Arc::clone(&ring));
    rig.set_aside("a", "Strange");
    let ask = |until| ReplayAsk { ids: None, segment_max: None, until };
    let late = rig.spool_of().replay(ask(Instant::now())).recv().unwrap();
    assert_eq!((late.letters, late.is_through), (0, false));
    ring.lock();
    let soon = Instant::now() + Duration::from_millis(300);
    let without = rig.spool_of().replay(ask(soon)).recv().unwrap();
    assert_eq!(without.letters, 0);
    assert!(!without.obstacles.is_empty(), "{without:?}");
    ring.unlock();
    wait_for(|| rig.replay(&[]).letters == 1);
    rig.stop();
}

#[test]
fn what_fails_in_between_replays_twice_and_loses_nothing() {
    let dir = Path::new("/spool");
    for call in
        [Call::OpenAppend, Call::Append, Call::SyncData, Call::ReadAt, Call::Remove, Call::SyncDir]
    {
        for nth in 1..=4 {
            let storage = Faulty::new(7);
            let ring = Ring::new();
            let first = rig_on(Arc::new(storage.clone()), dir, Arc::clone(&ring), |_| ());
            first.set_aside("a", "Strange");
            first.set_aside("b", "Strange");
            storage.fail_nth(call, nth, ErrorKind::Other);
            let done = first.replay(&[]);
            let crashed = storage.crash();
            first.forget();
            let second = rig_on(Arc::new(crashed.clone()), dir, ring, |_| ());
            let inspector = Inspector::on(Arc::new(crashed), dir.to_owned());
            let left = letters(&inspector);
            // What is no letter any more is a record.
            let expected = ["a", "b"]
                .into_iter()
                .filter(|record| left.iter().all(|(_, letter)| letter != record))
                .count();
            let mut came = delivered(&second, expected);
            came.extend(left.into_iter().map(|(_, record)| record));
            for record in ["a", "b"] {
                assert!(came.iter().any(|one| one == record), "{call:?} {nth} {done:?} {came:?}");
            }
            second.stop();
        }
    }
}

#[test]
fn damaged_letters_are_told_and_the_others_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let first = rig(dir.path(), Ring::new());
    for record in ["a", "b", "c"] {
        first.set_aside(record, "Strange");
    }
    first.stop();
    let path = files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let frames: Vec<usize> = memchr::memmem::find_iter(&bytes, b"SPFR").collect();
    bytes[frames[1] + 50] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let second = rig(dir.path(), Ring::new());
    let done = second.replay(&[]);
    assert_eq!((done.letters, done.letters_unreadable, done.is_through), (2, 1, true));
    assert_eq!(delivered(&second, 2), ["a", "c"]);
    assert!(path.exists(), "what is damaged stays for people to look at");
    assert_eq!(second.replay(&[]).letters, 0, "and the others are not replayed twice");
    second.stop();
}
