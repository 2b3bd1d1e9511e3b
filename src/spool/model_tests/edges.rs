//! Single situations at the edges of the engine: bounds, full disks, stops, and words that come late.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::faulty::{Call, Faulty};
use super::super::fs::{self, Storage as _};
use super::super::names;
use super::super::{Config, StreamStatus};
use super::life::{Life, Said, numbered};
use super::ring::ModelRing;
use super::world::{DIR, NAMES};
use crate::pipeline::{Batch, NotDurable, Origin, Outcome};

/// A life on a disk, which other lives may follow.
struct Stage {
    storage: Faulty,
    ring: Arc<ModelRing>,
    life: Life,
    /// What came that was not fetched yet.
    batches: Vec<(usize, Box<Batch>)>,
    answers: Vec<Outcome>,
    spooled: Vec<Result<Origin, NotDurable>>,
    set_aside: Vec<Result<(), NotDurable>>,
}

fn config() -> Config {
    Config { dir: DIR.into(), reserve_bytes: 0, free_bytes_min: 0, ..Config::default() }
}

fn stage(set: impl FnOnce(&mut Config)) -> Stage {
    stage_on(Faulty::new(0), set)
}

fn stage_on(storage: Faulty, set: impl FnOnce(&mut Config)) -> Stage {
    let mut config = config();
    set(&mut config);
    let ring = ModelRing::new();
    let life = Life::start(&storage, &ring, config, &NAMES, Instant::now()).unwrap();
    let mut stage = Stage {
        storage,
        ring,
        life,
        batches: Vec::new(),
        answers: Vec::new(),
        spooled: Vec::new(),
        set_aside: Vec::new(),
    };
    stage.run();
    stage
}

impl Stage {
    fn run(&mut self) {
        let said = self.life.run();
        self.hear(said);
    }

    fn pass(&mut self, millis: u64) {
        let said = self.life.pass(Duration::from_millis(millis));
        self.hear(said);
    }

    fn hear(&mut self, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Answer { outcome, .. } => self.answers.push(outcome),
                Said::Batch { stream, batch } => self.batches.push((stream, batch)),
                Said::Spooled { result, .. } => self.spooled.push(result),
                Said::SetAside { result, .. } => self.set_aside.push(result),
            }
        }
    }

    /// Hands a record over as one group.
    fn hand(&mut self, stream: usize, record: impl AsRef<[u8]>) {
        self.life.append(stream, vec![vec![record.as_ref().to_vec()]]);
    }

    /// Writes a record of `bytes` as one group. Says what the answer is.
    fn write(&mut self, stream: usize, bytes: usize) -> Outcome {
        self.hand(stream, vec![b'x'; bytes]);
        self.run();
        self.answers.pop().expect("it is answered at once")
    }

    /// The batches that came until now, with those that linger.
    fn batches(&mut self) -> Vec<Batch> {
        self.pass(1_002);
        self.batches.drain(..).map(|(_, batch)| *batch).collect()
    }

    fn note(&self, stream: usize, batch: &Batch) {
        let numbers = numbered(batch).into_keys().collect();
        self.life.streams[stream].spool.note(batch.origin().unwrap(), numbers);
    }

    fn let_go(&self, stream: usize, batch: &Batch) {
        self.life.streams[stream].spool.let_go(batch.origin().unwrap());
    }

    fn want(&mut self) {
        self.life.streams.iter().for_each(|stream| stream.spool.want(true));
    }

    fn status(&self) -> StreamStatus {
        self.life.status(0)
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let is_one = |path: &PathBuf| path.extension().is_some_and(|of| of == kind);
        let streams = Path::new(DIR).join("streams");
        let below = |path: &PathBuf| path.starts_with(&streams);
        self.storage.paths().into_iter().filter(is_one).filter(below).collect()
    }
}

const REFUSED: fn(NotDurable) -> Outcome = Outcome::Refused;

#[test]
fn groups_that_do_not_fit_into_a_turn_are_written_in_the_next_and_not_seconds_later() {
    let mut stage = stage(|config| config.group_bytes_max = 1);
    for number in 0..5 {
        stage.hand(0, format!("{number}"));
    }
    stage.run();
    assert_eq!(stage.answers, vec![Outcome::Durable; 5]);
}

#[test]
fn a_stop_answers_what_was_handed_over_before_it_and_after_it() {
    let mut stage = stage(|config| config.group_bytes_max = 1);
    (0..3).for_each(|number| stage.hand(0, format!("{number}")));
    (0..3).for_each(|id| assert!(stage.life.spill(1, id, &[b"copy".to_vec()]) || id > 0));
    stage.life.spool.end_writers();
    (0..3).for_each(|number| stage.hand(0, format!("late {number}")));
    assert!(
        stage.life.spill(0, 9, &[b"late".to_vec()]) || !stage.life.spill(0, 9, &[b"l".to_vec()])
    );
    stage.run();
    // The groups are taken before what ends the writer.
    let durable = stage.answers.iter().filter(|outcome| **outcome == Outcome::Durable).count();
    let refused = REFUSED(NotDurable::Stopping);
    assert_eq!(stage.answers.len(), 6);
    assert!(durable >= 3 && stage.answers.iter().all(|o| *o == Outcome::Durable || *o == refused));
    let inlet = stage.life.streams[0].spool.inlet();
    assert!(inlet.is_idle(), "no worker waits to be rung");
    assert_eq!(inlet.obstacle(), Some(NotDurable::Stopping));
    // They wake the writer once.
    (0..3).for_each(|number| stage.hand(0, format!("later {number}")));
    stage.run();
    assert_eq!(stage.answers[6..], [refused.clone(), refused.clone(), refused]);
    assert!(stage.life.streams[0].spool.inlet().is_idle());
}

#[test]
fn a_backlog_is_read_past_frames_in_hand_however_long_they_are() {
    let mut stage = stage(|_| ());
    for _ in 0..20 {
        assert_eq!(stage.write(0, 50_000), Outcome::Durable);
    }
    let mut batches = stage.batches();
    assert_eq!(batches.len(), 20);
    let last = batches.pop().unwrap();
    stage.let_go(0, &last);
    stage.want();
    stage.run();
    assert_eq!(stage.batches.len(), 1);
}

#[test]
fn a_frame_that_is_longer_than_what_may_be_read_ahead_is_read_alone() {
    let mut stage = stage(|config| config.read_ahead_bytes_max = 1_000);
    (0..3).for_each(|_| assert_eq!(stage.write(0, 50_000), Outcome::Durable));
    for batch in stage.batches() {
        stage.let_go(0, &batch);
    }
    stage.want();
    for _ in 0..3 {
        stage.pass(400);
        assert_eq!(stage.batches.len(), 1);
        let (_, batch) = stage.batches.pop().unwrap();
        stage.note(0, &batch);
    }
    stage.pass(400);
    assert_eq!(stage.status().records, 0);
}

#[test]
fn a_frame_that_is_let_go_while_it_is_being_passed_over_is_read_all_the_same() {
    // The scanner stops at an error just when it has seen the head of the frame and looks at the next one.
    for (n, which) in (1..8).flat_map(|n| [0, 1, 2].map(|which| (n, which))) {
        let mut stage = stage(|_| ());
        (0..4).for_each(|_| assert_eq!(stage.write(0, 100_000), Outcome::Durable));
        let batches = stage.batches();
        stage.let_go(0, &batches[3]);
        stage.storage.fail_nth(Call::ReadAt, n, ErrorKind::Other);
        stage.want();
        stage.run();
        stage.let_go(0, &batches[which]);
        stage.pass(2_000);
        assert_eq!(stage.batches.len(), 2, "{n} {which}");
        assert_eq!(stage.status().records_waiting, 0);
    }
}

#[test]
fn a_segment_that_was_begun_for_what_had_no_room_in_it_is_taken_away_again() {
    let mut stage = stage(|config| {
        config.bytes_max = 20_000;
        config.stream_floor_bytes = 0;
        config.segment_age_max = Duration::from_secs(5);
    });
    assert_eq!(stage.write(0, 30_000), REFUSED(NotDurable::SpoolFull));
    assert_eq!(stage.storage.calls(Call::CreateNew), 2, "one for the life, and the segment");
    stage.pass(20_000);
    assert!(stage.files("seg").is_empty());
    assert_eq!((stage.status().segments, stage.status().bytes), (0, 0));
}

#[test]
fn what_is_noted_after_it_was_let_go_does_not_come_again_and_leaves_nothing_behind() {
    let mut stage = stage(|config| config.segment_age_max = Duration::from_secs(10));
    stage.life.append(0, vec![vec![b"a".to_vec(), b"b".to_vec()]]);
    stage.run();
    let batch = stage.batches().remove(0);
    let origin = batch.origin().unwrap();
    stage.let_go(0, &batch);
    stage.run();
    assert_eq!(stage.status().records_waiting, 2);
    for number in [1, 0] {
        stage.life.streams[0].spool.note(origin, vec![number]);
    }
    // Of a segment and of a frame that there are not.
    stage.life.streams[0].spool.note(Origin { segment: 5, ..origin }, vec![0]);
    stage.life.streams[0].spool.let_go(Origin { frame: 5, ..origin });
    stage.run();
    assert_eq!((stage.status().records, stage.status().records_waiting), (0, 0));
    stage.want();
    stage.pass(11_000);
    assert!(stage.batches.is_empty() && stage.answers.len() == 1);
    assert_eq!((stage.files("seg"), stage.files("note")), (vec![], vec![]));
}

#[test]
fn damage_below_what_is_in_hand_counts_when_it_is_let_go_and_not_before() {
    let mut stage = stage(|_| ());
    (0..5).for_each(|_| assert_eq!(stage.write(0, 100), Outcome::Durable));
    let mut batches = stage.batches();
    let path = stage.files("seg").remove(0);
    let frame = stage.storage.contents(&path).unwrap().len() / 6;
    // Two frames in the middle become unreadable; one of them, and a sound one, are to be read again.
    stage.storage.damage(&path, |bytes| {
        let from = bytes.len() - 3 * frame;
        bytes[from - 20..from + 20].fill(0xAA);
    });
    let sound = batches.pop().unwrap();
    stage.let_go(0, &sound);
    stage.want();
    stage.run();
    assert_eq!(stage.batches.len(), 1);
    let status = stage.status();
    assert_eq!((status.records, status.records_waiting, status.records_quarantined), (5, 0, 0));
    // One of those in hand is delivered, the others are let go.
    let delivered = batches.remove(2);
    stage.note(0, &delivered);
    batches.into_iter().for_each(|batch| stage.let_go(0, &batch));
    stage.run();
    let status = stage.status();
    assert_eq!(status.records_waiting, 0, "{status:#?}");
    assert_eq!(status.records + status.records_quarantined, 4, "{status:#?}");
    assert!((1..=2).contains(&status.records_quarantined), "{status:#?}");
    assert_eq!(stage.batches.len() as u64, status.records);
}

#[test]
fn a_disk_that_is_full_to_the_last_byte_is_freed_by_what_is_delivered() {
    let mut stage = stage(|config| config.segment_bytes_max = 3_000);
    (0..20).for_each(|_| assert_eq!(stage.write(0, 2_000), Outcome::Durable));
    let used: usize =
        stage.storage.paths().iter().map(|path| stage.storage.contents(path).unwrap().len()).sum();
    stage.storage.fill_up_at(used as u64);
    assert_eq!(stage.write(0, 2_000), REFUSED(NotDurable::DiskFull));
    let segments = stage.files("seg").len();
    let batches = stage.batches();
    batches.iter().for_each(|batch| stage.note(0, batch));
    stage.pass(2_000);
    assert!(stage.files("seg").len() < segments - 3);
    stage.pass(2_000);
    assert_eq!(stage.write(0, 2_000), Outcome::Durable);
}

#[test]
fn a_stop_that_frees_room_is_not_waited_for() {
    let mut stage = stage(|config| config.stream_bytes_max = 20_000);
    while stage.write(0, 4_000) == Outcome::Durable {}
    stage.pass(10_000);
    // The segment that was full is ended, and needs less room than one that is open.
    while stage.write(0, 4_000) == Outcome::Durable {}
    stage.pass(10_000);
    assert_eq!(stage.write(0, 4_000), REFUSED(NotDurable::StreamFull));
    stage.life.spool.begin_stop();
    stage.run();
    assert_eq!(stage.life.streams[0].spool.inlet().obstacle(), None);
    assert!(stage.life.spill(0, 1, &[vec![b'x'; 4_000]]));
    stage.run();
    assert!(matches!(stage.spooled[..], [Ok(_)]));
}

#[test]
fn a_disk_that_failed_is_tried_once_more_at_the_end() {
    let mut stage = stage(|_| ());
    stage.storage.fail_nth(Call::SyncData, 2, ErrorKind::Other);
    assert_eq!(stage.write(0, 10), REFUSED(NotDurable::DiskFailed));
    assert!(stage.life.spill(0, 1, &[b"left".to_vec()]));
    stage.life.spool.end_writers();
    stage.run();
    assert!(matches!(stage.spooled[..], [Ok(_)]));
}

#[test]
fn dead_letters_are_kept_where_records_have_no_room_and_make_some() {
    let mut stage = stage(|config| {
        config.stream_bytes_max = 20_000;
        config.segment_bytes_max = 3_000;
    });
    while stage.write(0, 4_000) == Outcome::Durable {}
    for batch in stage.batches() {
        let origin = batch.origin().unwrap();
        stage.life.set_aside(0, u64::from(origin.frame), b"poison", (origin, 0));
        stage.run();
    }
    assert!(stage.set_aside.len() > 2 && stage.set_aside.iter().all(Result::is_ok));
    stage.pass(2_000);
    assert_eq!(stage.write(0, 4_000), Outcome::Durable);
}

#[test]
fn dead_letters_end_at_their_bound_and_stop_no_record() {
    let mut stage = stage(|config| config.dead_letter_bytes_max = 20_000);
    let mut kept = 0;
    for id in 0..20 {
        assert_eq!(stage.write(0, 10), Outcome::Durable);
        let origin = stage.batches().remove(0).origin().unwrap();
        stage.life.set_aside(0, id, &[b'x'; 2_000], (origin, 0));
        stage.run();
        kept += usize::from(stage.set_aside.pop().unwrap().is_ok());
    }
    assert!((3..=8).contains(&kept), "{kept}");
    let letters =
        stage.storage.paths().into_iter().filter(|path| path.starts_with("/spool/dead-letters"));
    let bytes: usize = letters.map(|path| stage.storage.contents(&path).unwrap().len()).sum();
    assert!(bytes <= 20_000, "{bytes}");
    assert_eq!(stage.life.streams[0].spool.inlet().obstacle(), None);
    assert_eq!(stage.status().records, 20 - kept as u64);
}

#[test]
fn no_bound_is_passed_and_each_is_named() {
    // One stream's.
    let mut full = stage(|config| config.stream_bytes_max = 30_000);
    let mut answer = Outcome::Durable;
    while answer == Outcome::Durable {
        answer = full.write(0, 500);
        assert!(full.status().bytes <= 30_000);
    }
    assert_eq!(answer, REFUSED(NotDurable::StreamFull));
    assert!(full.status().bytes > 24_000, "{}", full.status().bytes);
    assert_eq!(full.write(1, 500), Outcome::Durable);
    // All streams', of which each has its floor.
    let mut full = stage(|config| {
        config.bytes_max = 60_000;
        config.stream_floor_bytes = 10_000;
    });
    answer = Outcome::Durable;
    while answer == Outcome::Durable {
        answer = full.write(0, 500);
        assert!(full.status().bytes <= 50_000);
    }
    assert_eq!(answer, REFUSED(NotDurable::SpoolFull));
    assert!(full.status().bytes > 44_000, "{}", full.status().bytes);
    assert_eq!(full.write(1, 500), Outcome::Durable);
    // The disk's.
    let mut full = stage(|config| config.free_bytes_min = 10_000);
    let used = |stage: &Stage| -> u64 {
        let paths = stage.storage.paths();
        paths.iter().map(|path| stage.storage.contents(path).unwrap().len() as u64).sum()
    };
    full.storage.fill_up_at(60_000);
    answer = Outcome::Durable;
    while answer == Outcome::Durable {
        full.pass(300);
        answer = full.write(0, 500);
    }
    assert_eq!(answer, REFUSED(NotDurable::DiskFull));
    assert!(used(&full) <= 52_000, "{}", used(&full));
    full.storage.heal();
    full.pass(2_000);
    assert_eq!(full.write(0, 500), Outcome::Durable);
}

#[test]
fn a_stop_has_its_reserve_when_the_spool_and_the_disk_are_full() {
    let mut stage = stage(|config| {
        config.bytes_max = 60_000;
        config.reserve_bytes = 20_000;
        config.free_bytes_min = 1_000;
        config.stream_floor_bytes = 0;
    });
    stage.storage.fill_up_at(62_000);
    while stage.write(0, 1_000) == Outcome::Durable {
        stage.pass(300);
    }
    stage.pass(5_000);
    stage.life.spool.begin_stop();
    let mut kept = 0;
    for id in 0..15 {
        assert!(stage.life.spill(1, id, &[vec![b'x'; 1_000]]));
        stage.run();
        kept += usize::from(stage.spooled.pop().unwrap().is_ok());
    }
    assert_eq!(kept, 15);
}

#[test]
fn after_a_failed_sync_earlier_frames_are_read_and_those_of_the_group_are_not() {
    let mut stage = stage(|_| ());
    stage.hand(0, "first");
    stage.run();
    stage.storage.fail_nth(Call::SyncData, 1, ErrorKind::Other);
    stage.hand(0, "second");
    stage.hand(0, "third");
    stage.run();
    assert_eq!(
        stage.answers[1..],
        [REFUSED(NotDurable::DiskFailed), REFUSED(NotDurable::DiskFailed)]
    );
    stage.hand(0, "fourth");
    stage.run();
    assert_eq!(
        stage.answers.pop(),
        Some(REFUSED(NotDurable::DiskFailed)),
        "it is not tried again at once"
    );
    stage.pass(1_100);
    stage.hand(0, "fifth");
    stage.run();
    assert_eq!(stage.answers.pop(), Some(Outcome::Durable));
    for batch in stage.batches() {
        stage.let_go(0, &batch);
    }
    stage.want();
    stage.run();
    let came: Vec<_> = stage.batches.iter().flat_map(|(_, batch)| numbered(batch)).collect();
    assert_eq!(came, [(0, b"first".to_vec()), (0, b"fifth".to_vec())]);
    let segments: BTreeSet<u64> =
        stage.batches.iter().map(|(_, batch)| batch.origin().unwrap().segment).collect();
    assert_eq!(segments.len(), 2);
    assert_eq!(stage.status().segments_quarantined, 0);
}

#[test]
fn a_disk_that_only_says_it_has_room_is_not_tried_again_and_again() {
    let mut stage = stage(|_| ());
    let before = stage.storage.calls(Call::CreateNew);
    // A segment can be begun, and takes no group: a quota.
    for _ in 0..2_000 {
        stage.storage.heal();
        let begins = u64::from(stage.files("seg").is_empty());
        stage.storage.fail_nth(Call::SyncData, 1 + begins, ErrorKind::QuotaExceeded);
        stage.hand(0, "x");
        stage.run();
        assert!(matches!(stage.answers.pop(), Some(Outcome::Refused(NotDurable::DiskFull))));
        stage.storage.heal();
        stage.pass(20);
    }
    let begun = stage.storage.calls(Call::CreateNew) - before;
    assert!(begun < 120, "{begun} segments in 40 s");
}

#[test]
fn ids_go_on_from_those_on_disk_whatever_the_clock_says() {
    let storage = Faulty::new(0);
    let far = 1_u64 << 60;
    for (folder, id) in [("streams/demo", far), ("quarantine/%41%2eb", far + 7)] {
        let dir = Path::new(DIR).join(folder);
        fs::create_dirs(&storage, &dir).unwrap();
        storage.create_new(&dir.join(names::segment_file(id))).unwrap();
    }
    let mut stage = stage_on(storage, |_| ());
    for (stream, id) in [(0, far + 1), (1, far + 8)] {
        assert_eq!(stage.write(stream, 1), Outcome::Durable);
        let batch = stage.batches().remove(0);
        assert_eq!(batch.origin().unwrap().segment, id);
    }
}

#[test]
fn a_start_reads_listings_and_no_file() {
    let storage = Faulty::new(0);
    let dir = Path::new(DIR).join("streams/demo");
    fs::create_dirs(&storage, &dir).unwrap();
    for id in 0..2_000 {
        storage.create_new(&dir.join(names::segment_file(id))).unwrap().append(&[1; 100]).unwrap();
    }
    let ring = ModelRing::new();
    let mut life = Life::start(&storage, &ring, config(), &NAMES, Instant::now()).unwrap();
    assert_eq!([Call::OpenRead, Call::ReadAt, Call::Bytes].map(|call| storage.calls(call)), [0; 3]);
    assert_eq!(life.status(0).segments_uncounted, 2_000);
    assert_eq!(life.status(0).bytes, 200_000);
    // A turn looks at a few of them.
    life.now += Duration::from_secs(5);
    assert_eq!(life.awake(), 4);
    (0..4).for_each(|_| drop(life.turn(0)));
    assert!(storage.calls(Call::OpenRead) <= 8);
    life.run();
    assert_eq!(
        (life.status(0).segments, life.status(0).segments_quarantined),
        (0, 2_000),
        "{:#?}",
        life.status(0)
    );
}

#[test]
fn few_files_are_held_open_however_many_segments_there_are() {
    let mut stage = stage(|config| config.segment_bytes_max = 3_000);
    for _ in 0..40 {
        stage.life.append(0, vec![vec![vec![b'x'; 2_000], vec![b'y'; 10]]]);
        stage.run();
    }
    let batches = stage.batches();
    assert_eq!(stage.files("seg").len(), 40);
    for batch in &batches {
        stage.life.streams[0].spool.note(batch.origin().unwrap(), vec![1]);
        stage.run();
    }
    assert_eq!(stage.files("note").len(), 40);
    assert!(stage.storage.open_files() <= 10, "{}", stage.storage.open_files());
    batches.into_iter().for_each(|batch| stage.let_go(0, &batch));
    stage.want();
    stage.run();
    assert_eq!(stage.batches.len(), 40);
    assert!(stage.storage.open_files() <= 10, "{}", stage.storage.open_files());
    // All notes are durable after a stop, also those that are closed.
    let synced = stage.storage.calls(Call::SyncData);
    assert!(stage.life.stop().1);
    assert!(stage.storage.calls(Call::SyncData) >= synced + 40);
}

#[test]
fn segments_are_ended_when_there_are_too_many_files() {
    let mut stage = stage(|config| config.files_max = 1);
    assert_eq!(stage.write(0, 1), Outcome::Durable);
    assert_eq!(stage.write(1, 1), Outcome::Durable);
    stage.pass(6_000);
    assert_eq!(stage.storage.open_files(), 0);
}

#[test]
fn what_is_sealed_is_counted_against_its_key() {
    let mut stage = stage(|_| ());
    assert_eq!(stage.write(0, 1_000), Outcome::Durable);
    assert_eq!(stage.ring.used_bytes(), stage.status().bytes_written);
    assert!(stage.ring.used_bytes() > 1_000);
}
