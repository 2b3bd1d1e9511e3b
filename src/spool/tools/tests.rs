//! Looking into spools that live, that were left, and that are damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::testing::{Rig, Ring, Segment, rig, wait_for};
use super::super::{Letter, names};
use super::*;

/// A directory as a process that is gone leaves it.
struct Left {
    dir: tempfile::TempDir,
}

impl Left {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["streams/demo", "quarantine/demo", "dead-letters/demo"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("lock"), b"").unwrap();
        Self { dir }
    }

    fn put(&self, folder: &str, id: u64, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(folder).join(names::segment_file(id));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn inspector(&self) -> Inspector {
        Inspector::new(self.dir.path().to_owned())
    }

    fn list(&self) -> Vec<SegmentFile> {
        self.inspector().list(None).unwrap().segments
    }

    fn verify(&self) -> Vec<Report> {
        verify(&self.inspector(), &Ring::new())
    }
}

fn verify(inspector: &Inspector, ring: &Arc<Ring>) -> Vec<Report> {
    let mut keys = Keys::new(ring.as_ref(), Duration::ZERO);
    let files = inspector.list(None).unwrap().segments;
    files.iter().map(|file| inspector.verify(file, &mut keys, &mut |_| ())).collect()
}

fn records(dir: &Path, is_all: bool) -> Vec<(String, Option<bool>)> {
    let inspector = Inspector::new(dir.to_owned());
    let ring = Ring::new();
    let mut keys = Keys::new(ring.as_ref(), Duration::ZERO);
    let mut records = Vec::new();
    for file in inspector.list(None).unwrap().segments {
        let mut take = |record: &RecordOut<'_>| {
            records.push((String::from_utf8(record.data.to_vec()).unwrap(), record.is_delivered));
            Ok(())
        };
        let report = inspector.records(&file, &mut keys, is_all, &mut take, &mut |_| ()).unwrap();
        let not_opened = report.not_opened;
        // One that is only being made at this moment is none yet.
        assert!(
            matches!(not_opened, None | Some(NotOpened::Gone | NotOpened::Unborn)),
            "{not_opened:?}"
        );
    }
    records
}

#[test]
fn where_there_is_no_spool_nothing_is_listed_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    for dir in [dir.path().to_owned(), dir.path().join("none")] {
        let error = Inspector::new(dir.clone()).list(None).unwrap_err();
        assert!(matches!(error, ListError::NoSpool { .. }), "{error}");
        assert!(error.to_string().contains(dir.to_str().unwrap()));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_listing_says_how_each_segment_was_left_and_needs_no_key() {
    let left = Left::new();
    let closed = Segment::of(1, &[2, 1], true);
    left.put("streams/demo", 1, &closed.bytes);
    left.put("streams/demo", 2, &Segment::of(2, &[2], false).bytes);
    left.put("streams/demo", 3, &Segment::of(3, &[1], true).bytes[..20]);
    let mut newer = Segment::of(4, &[1], true).bytes;
    newer[8] = 9;
    left.put("streams/demo", 4, &newer);
    left.put("streams/demo", 5, &closed.bytes);
    left.put("streams/demo", 6, b"no segment at all, whatever its name says");
    left.put("quarantine/demo", 7, &Segment::of(7, &[1], true).bytes);
    std::fs::write(left.dir.path().join("streams/demo/0000000000000001.note"), b"x").unwrap();
    std::fs::write(left.dir.path().join("streams/demo/stranger"), b"x").unwrap();
    let files = left.list();
    let states: Vec<&str> = files.iter().map(|file| file.state.as_str()).collect();
    assert_eq!(
        states,
        ["closed", "no_end", "unborn", "foreign_format", "unfit", "unfit", "closed"]
    );
    assert_eq!(files[0].claim, Some(Claim { frames: 3, records: closed.records_in_all() }));
    assert_eq!((files[0].note_bytes, files[1].note_bytes), (1, 0));
    assert_eq!(files[0].bytes, closed.bytes.len() as u64);
    assert_eq!(files[0].created_unix_ms, Some(1_700_000_000_000));
    assert_eq!(files[0].key.as_ref().unwrap().key_id, super::super::testing::KEY_ID);
    assert_eq!(files[1].claim, None);
    assert!(files[3].state.reason().unwrap().contains("version 9"));
    assert!(files[4].state.reason().unwrap().contains("0000000000000001"));
    assert_eq!(files[6].place, Place::Quarantine);
}

#[test]
fn whole_segments_verify_and_what_a_crash_cut_short_is_no_damage() {
    let left = Left::new();
    let closed = Segment::of(1, &[2, 2], true);
    left.put("streams/demo", 1, &closed.bytes);
    let torn = Segment::of(2, &[2, 2], false);
    let (cut, _) = torn.frames[3];
    left.put("streams/demo", 2, &torn.bytes[..cut + 50]);
    left.put("streams/demo", 3, &[0; 4096]);
    let reports = left.verify();
    assert!(reports.iter().all(|report| !report.is_damaged()), "{reports:?}");
    assert_eq!((reports[0].frames, reports[0].records), (4, closed.records_in_all()));
    assert_eq!((reports[1].frames, reports[1].torn_bytes), (3, 50));
    assert_eq!(reports[2].not_opened, Some(NotOpened::Unborn));
}

#[test]
fn damage_is_told_with_its_place_and_its_records() {
    let left = Left::new();
    let segment = Segment::of(1, &[2, 2, 2], true);
    let mut bytes = segment.bytes.clone();
    // Frames 1 and 2: two and three records.
    for frame in [1, 2] {
        bytes[segment.frames[frame].0 + 60] ^= 1;
    }
    left.put("streams/demo", 1, &bytes);
    let report = left.verify().remove(0);
    assert!(report.is_damaged());
    let [from, to] = [1, 3].map(|frame| segment.frames[frame].0 as u64);
    let missing =
        Missing { offset: from, bytes: to - from, frames: 2, records: 5, records_undelivered: 5 };
    assert_eq!(report.missing, [missing]);
    assert_eq!((report.frames, report.records), (4, segment.records_in_all() - 5));
    assert_eq!(records(left.dir.path(), false).len() as u64, report.records);
}

#[test]
fn a_header_that_was_changed_is_damage_and_a_key_that_is_away_is_not() {
    let left = Left::new();
    let changed = Segment::of(1, &[1], true);
    let (header_bytes, _) = changed.frames[0];
    let mut bytes = changed.bytes;
    // The salt: before the commitment.
    bytes[header_bytes - 40] ^= 1;
    left.put("streams/demo", 1, &bytes);
    for id in 2..40 {
        left.put("streams/demo", id, &Segment::of(id, &[1], true).bytes);
    }
    let ring = Ring::new();
    ring.lock();
    let begun_at = Instant::now();
    let mut keys = Keys::new(ring.as_ref(), Duration::from_millis(300));
    let inspector = left.inspector();
    for file in &left.list()[1..] {
        let report = inspector.verify(file, &mut keys, &mut |_| ());
        assert!(matches!(report.not_opened, Some(NotOpened::Waits(_))), "{report:?}");
        assert!(!report.is_damaged());
    }
    let waited = begun_at.elapsed();
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    assert!(waited < Duration::from_secs(3), "each waits no time of its own: {waited:?}");
    ring.unlock();
    let report = inspector.verify(&left.list()[0], &mut keys, &mut |_| ());
    assert!(matches!(report.not_opened, Some(NotOpened::Unfit(_))) && report.is_damaged());
}

#[test]
fn a_key_that_comes_late_is_waited_for() {
    let left = Left::new();
    left.put("streams/demo", 1, &Segment::of(1, &[1], true).bytes);
    let ring = Ring::new();
    ring.lock();
    let opener = Arc::clone(&ring);
    let later = std::thread::spawn(move || {
        let _when = crossbeam_channel::after(Duration::from_millis(100)).recv();
        opener.unlock();
    });
    let mut keys = Keys::new(ring.as_ref(), Duration::from_secs(20));
    let report = left.inspector().verify(&left.list()[0], &mut keys, &mut |_| ());
    assert_eq!((report.frames, report.not_opened), (1, None));
    later.join().unwrap();
}

#[test]
fn exactly_what_is_not_delivered_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = rig(dir.path(), Ring::new());
    first.append(&["a", "b", "c"]);
    let batch = first.batch();
    first.spool_of().note(batch.origin().unwrap(), vec![1]);
    first.append(&["d"]);
    let batch = first.batch();
    first.spool_of().note(batch.origin().unwrap(), vec![0]);
    first.append(&["e"]);
    drop(first.batch());
    wait_for(|| first.status().records == 3);
    first.stop();
    let texts = |records: Vec<(String, Option<bool>)>| -> Vec<String> {
        records.into_iter().map(|(text, _)| text).collect()
    };
    assert_eq!(texts(records(dir.path(), false)), ["a", "c", "e"]);
    let all = records(dir.path(), true);
    let delivered: Vec<&str> = all
        .iter()
        .filter(|(_, is_delivered)| *is_delivered == Some(true))
        .map(|(text, _)| text.as_str())
        .collect();
    assert_eq!((all.len(), delivered), (5, vec!["b", "d"]));
    // It was looked at, and is as it was.
    let second = rig(dir.path(), Ring::new());
    wait_for(|| second.status().segments_uncounted == 1 || second.status().records == 3);
    second.stop();
    assert_eq!(records(dir.path(), false).len(), 3);
}

fn settle(rig: &Rig, batch: &crate::pipeline::Batch) {
    let numbers = (0..batch.len()).map(|index| batch.number(index).unwrap()).collect();
    rig.spool_of().note(batch.origin().unwrap(), numbers);
}

#[test]
fn a_spool_is_looked_into_while_it_is_written_and_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = super::super::testing::rig_with(dir.path(), Ring::new(), |config| {
        config.segment_bytes_max = 20_000;
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let looker = std::thread::spawn({
        let (is_over, dir) = (Arc::clone(&is_over), dir.path().to_owned());
        move || {
            let (mut looks, mut frames, mut open) = (0, 0, 0);
            while !is_over.load(Ordering::SeqCst) || looks < 2 {
                let inspector = Inspector::new(dir.clone());
                let listing = inspector.list(None).unwrap();
                assert!(listing.is_alive);
                open += listing.segments.iter().filter(|file| file.state == State::Open).count();
                for report in verify(&inspector, &Ring::new()) {
                    assert!(!report.is_damaged(), "{report:?}");
                    frames += report.frames;
                }
                records(&dir, true);
                looks += 1;
            }
            (frames, open)
        }
    });
    let large = "x".repeat(3_000);
    let mut kept = Vec::new();
    for round in 0..150 {
        rig.append(&[&large, "y"]);
        kept.push(rig.batch());
        // Some stay for a while, so that segments of all ages are seen.
        if round % 3 == 2 {
            kept.drain(..2).for_each(|batch| settle(&rig, &batch));
        }
    }
    is_over.store(true, Ordering::SeqCst);
    let (frames, open) = looker.join().unwrap();
    assert!(frames > 0 && open > 0, "{frames} {open}");
    rig.stop();
    let listing = Inspector::new(dir.path().to_owned()).list(None).unwrap();
    assert!(!listing.is_alive);
    assert!(listing.segments.iter().all(|file| file.state == State::Closed));
}

#[test]
fn what_was_delivered_after_the_listing_is_gone_and_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig(dir.path(), Ring::new());
    rig.append(&["a"]);
    let batch = rig.batch();
    let inspector = Inspector::new(dir.path().to_owned());
    let files = inspector.list(None).unwrap().segments;
    assert_eq!(files.len(), 1);
    settle(&rig, &batch);
    wait_for(|| rig.status().records == 0);
    rig.stop();
    let ring = Ring::new();
    let mut keys = Keys::new(ring.as_ref(), Duration::ZERO);
    let report = inspector.verify(&files[0], &mut keys, &mut |_| ());
    assert_eq!(report.not_opened, Some(NotOpened::Gone));
    assert!(!report.is_damaged());
}

#[test]
fn dead_letters_are_read_with_what_the_service_said() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(dir.path(), Ring::new());
    rig.spool_of().set_aside(Letter {
        id: 4,
        record: b"poison".to_vec(),
        partition_key: None,
        opened_at: Instant::now(),
        reason: "refused_alone",
        code: "ValidationException".into(),
        message: "no".into(),
        origin: None,
    });
    drop(rig.word());
    // Another process looks: the segment is still open.
    let inspector = Inspector::new(dir.path().to_owned());
    let files = inspector.list(Some(&"demo".parse().unwrap())).unwrap().segments;
    assert_eq!((files[0].place, &files[0].state), (Place::DeadLetters, &State::Open));
    let ring = Ring::new();
    let mut keys = Keys::new(ring.as_ref(), Duration::ZERO);
    let mut seen = 0;
    let mut take = |letter: &LetterOut<'_>| {
        assert_eq!(
            (letter.reason, letter.code, letter.message),
            ("refused_alone", "ValidationException", "no")
        );
        assert_eq!((letter.data, letter.is_replayed), (&b"poison"[..], false));
        assert_eq!(letter.id.frame, 0);
        seen += 1;
        Ok(())
    };
    let report = inspector.letters(&files[0], &mut keys, false, &mut take, &mut |_| ()).unwrap();
    assert_eq!((seen, report.records_given), (1, 1));
    assert!(inspector.list(Some(&"other".parse().unwrap())).unwrap().segments.is_empty());
    rig.stop();
}
