//! Damage, read by the whole engine: what can be read comes, what can not is counted and moved aside.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::faulty::{Call, Faulty};
use super::super::frame::{self, HEAD_BYTES};
use super::super::fs::{self, Storage as _};
use super::super::keyring::UnwrapError;
use super::super::{Config, StreamStatus, header, names};
use super::life::{Life, Said, numbered};
use super::ring::{ModelRing, Unwraps};
use super::world::{DIR, NAMES};
use crate::pipeline::Batch;

/// A disk with what a life left on it.
struct Scene {
    storage: Faulty,
    ring: Arc<ModelRing>,
    now: Instant,
    /// What was durable and not noted, of each stream.
    kept: [BTreeSet<Vec<u8>>; 2],
}

/// What the next life made of it.
#[derive(Debug)]
struct Found {
    came: [Vec<Vec<u8>>; 2],
    status: [StreamStatus; 2],
}

fn config() -> Config {
    Config {
        dir: DIR.into(),
        reserve_bytes: 0,
        free_bytes_min: 0,
        segment_age_max: Duration::from_secs(20),
        ..Config::default()
    }
}

impl Scene {
    fn new() -> Self {
        let kept = [BTreeSet::new(), BTreeSet::new()];
        Self { storage: Faulty::new(0), ring: ModelRing::new(), now: Instant::now(), kept }
    }

    /// A life that writes `groups` into a stream, each a number of records, and notes `noted` of the first.
    fn with(&mut self, stream: usize, groups: &[usize], noted: &[u16], is_ended: bool) {
        let mut life = self.start();
        let mut origin = None;
        for (group, records) in groups.iter().enumerate() {
            let records: Vec<Vec<u8>> = (0..*records)
                .map(|number| format!("{}.{group}.{number}", NAMES[stream]).into_bytes())
                .collect();
            let left = records.iter().enumerate();
            let left = left.filter(|(number, _)| {
                group > 0 || !noted.contains(&u16::try_from(*number).unwrap())
            });
            self.kept[stream].extend(left.map(|(_, record)| record.clone()));
            life.append(stream, vec![records]);
            let said = life.run();
            assert!(matches!(&said[..], [Said::Answer { .. }]), "{said:?}");
        }
        for said in life.pass(Duration::from_secs(2)) {
            if let Said::Batch { batch, .. } = said {
                origin = origin.or(batch.origin());
            }
        }
        if !noted.is_empty() {
            life.streams[stream].spool.note(origin.unwrap(), noted.to_vec());
            life.run();
        }
        self.now = life.now;
        if is_ended {
            assert!(life.stop().1);
        }
    }

    fn start(&self) -> Life {
        Life::start(&self.storage, &self.ring, config(), &NAMES, self.now).unwrap()
    }

    /// The segments of a stream.
    fn segments(&self, stream: usize) -> Vec<PathBuf> {
        let dir =
            Path::new(DIR).join("streams").join(names::encode(&NAMES[stream].parse().unwrap()));
        let is_segment = |path: &PathBuf| {
            path.parent() == Some(&dir) && path.extension().is_some_and(|kind| kind == "seg")
        };
        self.storage.paths().into_iter().filter(is_segment).collect()
    }

    fn contents(&self, path: &Path) -> Vec<u8> {
        self.storage.contents(path).unwrap()
    }

    /// Where each frame of a segment lies, the end frame too.
    fn frames(&self, path: &Path) -> Vec<std::ops::Range<usize>> {
        let bytes = self.contents(path);
        let mut at = header::decode(&bytes).unwrap().bytes;
        let mut frames = Vec::new();
        while let Ok(head) = frame::parse_head(&bytes[at..]) {
            frames.push(at..at + head.frame_bytes());
            at += head.frame_bytes();
        }
        frames
    }

    fn damage(&self, path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
        self.storage.damage(path, how);
    }

    /// A life that reads everything that there is, and settles it.
    fn read(&self) -> Found {
        let mut life = self.start();
        let found = self.read_in(&mut life);
        assert!(life.stop().1);
        found
    }

    fn read_in(&self, life: &mut Life) -> Found {
        let mut came = [Vec::new(), Vec::new()];
        life.streams.iter().for_each(|stream| stream.spool.want(true));
        let turns = life.turns;
        for _ in 0..5 {
            for said in life.pass(Duration::from_secs(10)) {
                let Said::Batch { stream, batch } = said else { panic!("{said:?}") };
                came[stream].extend(settled(life, stream, &batch));
            }
        }
        assert!(life.turns - turns < 2_000, "it spins");
        for (stream, came) in came.iter().enumerate() {
            let all: BTreeSet<_> = came.iter().collect();
            assert_eq!(all.len(), came.len(), "nothing comes twice");
            assert!(came.iter().all(|record| self.kept[stream].contains(record)), "{came:?}");
        }
        let status = [0, 1].map(|stream| life.status(stream));
        for (status, came) in status.iter().zip(&came) {
            assert_eq!((status.records, status.records_waiting), (0, 0), "{status:#?}");
            let here = status.records_recovered;
            assert_eq!(here, came.len() as u64 + status.records_quarantined, "{status:#?}");
            let quarantined = self.files("quarantine", Some(&status.stream)).len() as u64;
            assert_eq!(quarantined, status.segments_quarantined, "{status:#?}");
        }
        Found { came, status }
    }

    fn files(&self, folder: &str, stream: Option<&crate::record::StreamName>) -> Vec<PathBuf> {
        let mut dir = Path::new(DIR).join(folder);
        if let Some(stream) = stream {
            dir.push(names::encode(stream));
        }
        self.storage.paths().into_iter().filter(|path| path.starts_with(&dir)).collect()
    }

    /// Nothing is left but what is in quarantine.
    fn is_cleared(&self) -> bool {
        self.files("streams", None).is_empty()
    }
}

/// The service has all of a batch.
fn settled(life: &Life, stream: usize, batch: &Batch) -> Vec<Vec<u8>> {
    assert!(batch.is_backlog());
    let records = numbered(batch);
    let numbers = records.keys().copied().collect();
    life.streams[stream].spool.note(batch.origin().unwrap(), numbers);
    records.into_values().collect()
}

impl Found {
    /// So many records of the first stream came, and so many are quarantined.
    #[track_caller]
    fn is(&self, came: usize, quarantined: u64) {
        let status = &self.status[0];
        assert_eq!(
            (self.came[0].len(), status.records_quarantined),
            (came, quarantined),
            "{:?} {status:#?}",
            self.came[0]
        );
    }
}

/// Frames of 2, 3, 1 and 2 records, of which one is noted; and another stream, of which nothing is lost.
fn scene(is_ended: bool) -> Scene {
    let mut scene = Scene::new();
    scene.with(1, &[1], &[], true);
    scene.with(0, &[2, 3, 1, 2], &[1], is_ended);
    scene
}

/// How many records of each frame are not noted.
const LEFT: [usize; 4] = [1, 3, 1, 2];
const ALL: usize = 7;

#[test]
fn without_damage_everything_comes_and_no_file_is_left() {
    for is_ended in [true, false] {
        let scene = scene(is_ended);
        let found = scene.read();
        found.is(ALL, 0);
        assert_eq!(found.came[1].len(), 1);
        assert!(scene.is_cleared() && scene.files("quarantine", None).is_empty());
        assert_eq!(found.status[0].torn_bytes, 0);
    }
}

#[test]
fn any_bit_of_an_ended_segment_costs_its_frame_at_most_and_what_it_costs_is_counted() {
    let template = scene(true);
    let path = template.segments(0).remove(0);
    let bytes = template.contents(&path);
    let frames = template.frames(&path);
    let (first, end) = (frames[0].start, frames[4].start);
    for bit in 0..bytes.len() * 8 {
        let scene = scene_like(&template, &path, &bytes);
        scene.damage(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let at = bit / 8;
        if at < first {
            // The header: nothing can be opened. It waits for a version that knows it, or is quarantined.
            let mut life = scene.start();
            let found = scene.read_in(&mut life);
            let status = &found.status[0];
            assert!(found.came[0].is_empty());
            if status.waits_for.is_some() {
                assert_eq!((status.segments, status.segments_uncounted), (1, 1), "bit {bit}");
                assert_eq!(scene.segments(0).len(), 1, "bit {bit}");
            } else {
                // What is noted of it can not be known.
                assert_eq!(status.records_quarantined, 8, "bit {bit}");
                assert!(scene.is_cleared(), "bit {bit}");
            }
            assert!(life.stop().1);
            continue;
        }
        let found = scene.read();
        assert_eq!(found.came[1].len(), 1);
        assert!(scene.is_cleared(), "bit {bit}");
        if at >= end {
            // Only the end: nothing is missing, and nobody knows that it was ended.
            found.is(ALL, 0);
            assert_eq!(found.status[0].segments_quarantined, 0);
            assert!(found.status[0].torn_bytes > 0);
        } else {
            let hit = frames.iter().position(|frame| frame.contains(&at)).unwrap();
            found.is(ALL - LEFT[hit], LEFT[hit] as u64);
            assert_eq!(found.status[0].segments_quarantined, 1, "bit {bit}");
        }
    }
}

/// A scene with the same files, of which one holds `bytes`.
fn scene_like(template: &Scene, path: &Path, bytes: &[u8]) -> Scene {
    let storage = Faulty::new(0);
    for file in template.storage.paths() {
        fs::create_dirs(&storage, file.parent().unwrap()).unwrap();
        let contents = template.contents(&file);
        let contents = if file == path { bytes } else { &contents };
        storage.create_new(&file).unwrap().append(contents).unwrap();
    }
    let Scene { ring, now, kept, .. } = template;
    Scene { storage, ring: Arc::clone(ring), now: *now, kept: kept.clone() }
}

#[test]
fn any_bit_of_a_segment_without_an_end_costs_its_frame_at_most() {
    let template = scene(false);
    let path = template.segments(0).remove(0);
    let bytes = template.contents(&path);
    let frames = template.frames(&path);
    for bit in (frames[0].start * 8..bytes.len() * 8).step_by(3) {
        let scene = scene_like(&template, &path, &bytes);
        scene.damage(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let found = scene.read();
        assert!(scene.is_cleared(), "bit {bit}");
        let hit = frames.iter().position(|frame| frame.contains(&(bit / 8))).unwrap();
        // Of the last group nobody knows that it was answered.
        let is_torn = hit == 3;
        found.is(ALL - LEFT[hit], if is_torn { 0 } else { LEFT[hit] as u64 });
        assert_eq!(found.status[0].torn_bytes > 0, is_torn);
        assert_eq!(found.status[0].segments_quarantined, u64::from(!is_torn));
    }
}

#[test]
fn any_bit_of_a_note_brings_duplicates_at_most() {
    let template = scene(true);
    let path = template.segments(0).remove(0);
    let note = path.with_extension("note");
    let bytes = template.contents(&note);
    for bit in 0..bytes.len() * 8 {
        let mut scene = scene_like(&template, &note, &bytes);
        scene.kept[0].insert(b"demo.0.1".to_vec());
        scene.damage(&note, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let found = scene.read();
        let is_of_an_entry = bit / 8 >= 16;
        found.is(ALL + usize::from(is_of_an_entry), 0);
        assert!(found.status[0].unverified_note_bytes > 0);
        assert!(scene.is_cleared());
    }
}

#[test]
fn a_forged_note_says_nothing() {
    let mut template = scene(true);
    template.kept[0].insert(b"demo.0.1".to_vec());
    let path = template.segments(0).remove(0);
    let note = path.with_extension("note");
    let mut longest = vec![b'N'; 300_000];
    longest.extend([1; 50]);
    for forged in
        [vec![], vec![0; 5_000], longest, b"N\x01\0\0\0\0\xff\xff\xff\xff0123456789abcdef".to_vec()]
    {
        let scene = scene_like(&template, &note, &forged);
        scene.read().is(ALL + 1, 0);
        assert!(scene.is_cleared());
    }
}

#[test]
fn a_segment_that_is_cut_gives_what_is_left_of_it() {
    let template = scene(true);
    let path = template.segments(0).remove(0);
    let bytes = template.contents(&path);
    let frames = template.frames(&path);
    for cut in 0..bytes.len() {
        let scene = scene_like(&template, &path, &bytes[..cut]);
        let found = scene.read();
        let whole = frames[..4].iter().filter(|frame| frame.end <= cut).count();
        found.is(LEFT[..whole].iter().sum(), 0);
        assert!(scene.is_cleared());
        // It has a note: it was no segment that was only being made.
        assert_eq!(found.status[0].segments_quarantined, u64::from(cut < frames[0].start), "{cut}");
    }
}

#[test]
fn a_segment_that_was_only_being_made_is_taken_away_and_one_that_was_zeroed_is_not() {
    let mut template = Scene::new();
    template.with(0, &[1], &[], true);
    let path = template.segments(0).remove(0);
    let bytes = template.contents(&path);
    let start = template.frames(&path)[0].start;
    for cut in 0..start {
        for made in [bytes[..cut].to_vec(), vec![0; cut]] {
            let scene = scene_like(&template, &path, &made);
            let found = scene.read();
            assert!(scene.is_cleared() && scene.files("quarantine", None).is_empty());
            assert_eq!(found.status[0].torn_bytes, cut as u64);
        }
    }
    // A frame lies behind it, or it is longer than anything that is only being made.
    let mut zeroed = bytes.clone();
    zeroed[..start].fill(0);
    let mut longer = bytes;
    longer[13] ^= 0x20;
    for damaged in [zeroed, longer, vec![0; 16 * 1024], vec![0; 100_000]] {
        let scene = scene_like(&template, &path, &damaged);
        let found = scene.read();
        assert_eq!(found.status[0].segments_quarantined, 1, "{} bytes", damaged.len());
        let moved = scene.files("quarantine", None).remove(0);
        assert_eq!(scene.contents(&moved), damaged, "it is kept as it is");
    }
}

#[test]
fn a_move_to_quarantine_that_is_not_made_durable_at_once_is_made_so_later() {
    let mut scene = Scene::new();
    scene.with(0, &[2, 3], &[0], true);
    let path = scene.segments(0).remove(0);
    scene.damage(&path, |bytes| bytes[0] ^= 1);
    let mut life = scene.start();
    // The folder above that of the stream's quarantine, then that one itself.
    scene.storage.fail_nth(Call::SyncDir, 2, ErrorKind::Other);
    life.run();
    assert_eq!(scene.storage.failures(Call::SyncDir, false), 1);
    scene.storage.heal();
    let found = scene.read_in(&mut life);
    let status = &found.status[0];
    assert_eq!((status.segments, status.segments_quarantined), (0, 1), "{status:#?}");
    assert_eq!((status.waits_for.as_deref(), status.records_quarantined), (None, 5));
    assert_eq!(scene.files("quarantine", None).len(), 1);
    assert!(scene.is_cleared() && life.stop().1);
}

#[test]
fn frames_that_are_swapped_repeated_left_out_or_put_in_cost_no_other_frame() {
    let mut template = Scene::new();
    template.with(0, &[1; 6], &[], true);
    let path = template.segments(0).remove(0);
    let bytes = template.contents(&path);
    let frames = template.frames(&path);
    let frame = |index: usize| bytes[frames[index].clone()].to_vec();
    let with = |order: &[usize]| {
        let mut with = bytes[..frames[0].start].to_vec();
        order.iter().for_each(|index| with.extend(frame(*index)));
        scene_like(&template, &path, &with)
    };
    for (order, came, quarantined, is_damaged) in [
        (&[0, 2, 1, 3, 4, 5, 6][..], 5, 1, true),
        (&[0, 0, 1, 2, 3, 4, 5, 6], 6, 0, true),
        (&[0, 1, 3, 4, 5, 6], 5, 1, true),
        (&[0, 1, 2, 3, 4, 6], 5, 1, true),
        (&[5, 4, 3, 2, 1, 0, 6], 1, 5, true),
        (&[6, 0, 1, 2, 3, 4, 5], 0, 6, true),
        (&[0, 1, 2, 3, 4, 5, 6, 6], 6, 0, true),
        (&[6], 0, 6, true),
        // Without its end frame nobody knows of the last one.
        (&[0, 1, 2, 3, 4], 5, 0, false),
    ] {
        let scene = with(order);
        let found = scene.read();
        found.is(came, quarantined);
        assert_eq!(found.status[0].segments_quarantined, u64::from(is_damaged), "{order:?}");
        assert!(scene.is_cleared());
    }
    // Something that is no frame, between frames and within one.
    for at in [frames[2].start, frames[2].start + HEAD_BYTES + 3] {
        let mut with = bytes.clone();
        with.splice(at..at, b"SPFR and no more of it".iter().copied());
        let scene = scene_like(&template, &path, &with);
        let found = scene.read();
        let hit = usize::from(at != frames[2].start);
        found.is(6 - hit, hit as u64);
        assert_eq!(found.status[0].segments_quarantined, 1);
    }
}

#[test]
fn segments_that_are_not_where_they_belong_are_moved_aside_and_counted() {
    let mut template = Scene::new();
    template.with(0, &[1, 2], &[], true);
    template.with(0, &[4], &[], true);
    template.with(1, &[8], &[], true);
    let (mine, other) = (template.segments(0), template.segments(1).remove(0));
    let contents = |path| template.contents(path);
    // Two of one stream, with each other's ids.
    let scene = scene_like(&template, &mine[0], &contents(&mine[1]));
    scene.damage(&mine[1], |bytes| *bytes = contents(&mine[0]));
    let found = scene.read();
    found.is(0, 7);
    assert_eq!((found.status[0].segments_quarantined, found.came[1].len()), (2, 8));
    // Two streams with each other's segments.
    let scene = scene_like(&template, &mine[1], &contents(&other));
    scene.damage(&other, |bytes| *bytes = contents(&mine[1]));
    let found = scene.read();
    found.is(3, 8);
    assert_eq!((found.status[1].records_quarantined, found.came[1].len()), (4, 0));
    assert!(scene.is_cleared());
    // A count that can not be true is not repeated.
    let scene = scene_like(&template, &mine[1], &contents(&other));
    scene.damage(&mine[1], |bytes| {
        let end = bytes.len() - HEAD_BYTES - 16;
        bytes[end + 24..end + 32].fill(0xFF);
    });
    scene.read().is(3, 0);
}

#[test]
fn a_key_that_is_refused_is_no_damage_and_one_that_never_fits_is() {
    let message = || "the model says so".to_owned();
    for (refusal, why) in [
        (Unwraps::Refused(UnwrapError::Foreign { key_id: "k".into() }), "keys.decrypt_only"),
        (Unwraps::Refused(UnwrapError::Disabled { message: message() }), "can not be used"),
        (Unwraps::Refused(UnwrapError::Unavailable { message: message() }), "is away"),
        (Unwraps::Later, "on its way"),
    ] {
        let scene = scene(true);
        scene.ring.set_unwraps(refusal);
        let mut life = scene.start();
        let found = scene.read_in(&mut life);
        found.is(0, 0);
        let status = &found.status[0];
        assert!(status.waits_for.as_ref().unwrap().contains(why), "{status:?}");
        assert_eq!((status.segments, status.segments_uncounted), (1, 1));
        assert!(scene.ring.asked() < 40, "asked {} times in a minute", scene.ring.asked());
        // Durable records are taken meanwhile.
        life.append(0, vec![vec![b"new".to_vec()]]);
        assert!(matches!(&life.run()[..], [Said::Answer { .. }]));
        let Some(Said::Batch { batch, .. }) = life.pass(Duration::from_secs(2)).pop() else {
            panic!()
        };
        life.streams[0].spool.note(batch.origin().unwrap(), vec![0]);
        scene.ring.arrive();
        let mut came = Vec::new();
        for said in life.pass(Duration::from_secs(31)) {
            let Said::Batch { stream, batch } = said else { panic!() };
            let records = settled(&life, stream, &batch);
            came.extend(records.into_iter().filter(|_| stream == 0));
        }
        assert_eq!(came.len(), ALL);
        life.run();
        assert_eq!(life.status(0).waits_for, None);
        assert!(life.stop().1);
        assert!(scene.is_cleared() && scene.files("quarantine", None).is_empty());
    }
    let scene = scene(true);
    scene.ring.set_unwraps(Unwraps::Refused(UnwrapError::Invalid { message: message() }));
    let found = scene.read();
    found.is(0, 8);
    assert_eq!(found.status[0].segments_quarantined, 1);
}

#[test]
fn a_disk_that_can_not_be_read_is_no_damage_and_stops_only_what_lies_there() {
    for call in [Call::OpenRead, Call::ReadAt, Call::Bytes] {
        let scene = scene(true);
        scene.storage.fail_all(call, ErrorKind::Other);
        let mut life = scene.start();
        let found = scene.read_in(&mut life);
        let status = &found.status[0];
        assert!(status.waits_for.as_ref().unwrap().contains("disk fails"), "{call:?} {status:?}");
        assert!((4..20).contains(&status.failures), "{call:?} {status:?}");
        found.is(0, 0);
        scene.storage.heal();
        let mut came = found.came[1].len();
        for said in life.pass(Duration::from_secs(62)) {
            let Said::Batch { stream, batch } = said else { panic!() };
            came += settled(&life, stream, &batch).len();
        }
        assert_eq!(came, ALL + 1);
        life.run();
        assert_eq!(life.status(0).waits_for, None);
        assert!(life.stop().1);
        assert!(scene.is_cleared() && scene.files("quarantine", None).is_empty());
    }
}

#[test]
fn what_can_not_be_moved_to_quarantine_is_moved_later_and_counted_once() {
    let template = scene(true);
    let path = template.segments(0).remove(0);
    let bytes = template.contents(&path);
    let first = template.frames(&path)[0].clone();
    // Its header, which is seen at once; and a frame, which is seen when it is read.
    for (at, came, lost) in [(3, 0, 8), (first.start + 50, ALL - LEFT[0], 1)] {
        for call in [Call::Rename, Call::SyncDir, Call::CreateDir, Call::Remove] {
            let scene = scene_like(&template, &path, &bytes);
            scene.damage(&path, |bytes| bytes[at] ^= 1);
            let mut life = scene.start();
            scene.storage.fail_all(call, ErrorKind::Other);
            life.streams.iter().for_each(|stream| stream.spool.want(true));
            let mut records = 0;
            let mut hear = |life: &mut Life, seconds| {
                for said in life.pass(Duration::from_secs(seconds)) {
                    let Said::Batch { stream, batch } = said else { panic!() };
                    let settled = settled(life, stream, &batch).len();
                    records += if stream == 0 { settled } else { 0 };
                }
            };
            (0..4).for_each(|_| hear(&mut life, 5));
            scene.storage.heal();
            hear(&mut life, 60);
            let status = life.status(0);
            assert_eq!((records, status.records_quarantined), (came, lost), "{call:?} {status:#?}");
            assert_eq!(status.segments_quarantined, 1, "{call:?} {status:#?}");
            assert_eq!((status.segments, status.segments_uncounted), (0, 0), "{call:?}");
            assert!(scene.is_cleared(), "{call:?}: {:?}", scene.files("streams", None));
            assert_eq!(scene.files("quarantine", None).len(), 1);
            assert!(scene.storage.failures(call, false) > 0, "{call:?} {at}");
            assert!(life.stop().1);
        }
    }
}
