//! What the model knows of every record, and the steps that it takes with the spool.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::faulty::{Call, Faulty};
use super::super::frame::{self, Head};
use super::super::keyring::{NoKey, UnwrapError};
use super::super::{Config, header, letter, seal};
use super::life::{Life, Said, key_of, numbered};
use super::ring::{self, ModelRing, Unwraps};
use crate::pipeline::{Batch, Origin, Outcome};
use crate::record::PartitionKey;

pub(super) const DIR: &str = "/spool";

/// Two streams, one of which has a name that is written otherwise on disk.
pub(super) const NAMES: [&str; 2] = ["demo", "A.b"];

/// All ways to fail: the kinds of calls, and an append that writes a part.
pub(super) const KINDS: [(Call, bool); 17] = {
    let mut kinds = [(Call::Append, true); 17];
    let mut at = 0;
    while at < CALLS.len() {
        kinds[at] = (CALLS[at], false);
        at += 1;
    }
    kinds
};

/// All calls of a storage.
pub(super) const CALLS: [Call; 16] = [
    Call::CreateNew,
    Call::OpenRead,
    Call::OpenAppend,
    Call::ReadDir,
    Call::CreateDir,
    Call::SyncDir,
    Call::Rename,
    Call::Remove,
    Call::FreeBytes,
    Call::IsVolatile,
    Call::Lock,
    Call::Preallocate,
    Call::Append,
    Call::SyncData,
    Call::ReadAt,
    Call::Bytes,
];

/// What was said of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing yet.
    None,
    /// It is durable: it must come back until it is noted.
    Durable,
    /// It was not accepted, or nobody learned of it: it may come back in a later life.
    No,
}

/// How far the note of a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Note {
    No,
    /// The reader of an earlier life was told. Nobody knows whether it wrote it.
    Maybe,
    /// An earlier life wrote it: only a crash may undo it.
    Kept,
    /// The reader was told.
    Told,
    /// It is written: only a crash may undo it.
    Written,
    /// It is durable.
    Synced,
}

#[derive(Debug)]
struct Known {
    answer: Answer,
    note: Note,
    is_in_hand: bool,
    /// Whether it is known in this life that it lies on disk.
    is_here: bool,
}

/// A frame in the forwarder's hand.
struct Held {
    stream: usize,
    origin: Origin,
    left: BTreeMap<u16, Vec<u8>>,
    batch: Option<Box<Batch>>,
    /// Records that are on their way to the dead letters.
    letters: usize,
}

/// See the module.
pub(super) struct World {
    pub(super) storage: Faulty,
    pub(super) ring: Arc<ModelRing>,
    pub(super) config: Config,
    pub(super) random: fastrand::Rng,
    pub(super) life: Option<Life>,
    pub(super) now: Instant,
    records: Vec<BTreeMap<Vec<u8>, Known>>,
    held: Vec<Held>,
    spills: BTreeMap<u64, (usize, Vec<Vec<u8>>)>,
    letters: BTreeMap<u64, (usize, Origin, u16)>,
    /// What is a dead letter for certain.
    buried: Vec<Vec<u8>>,
    /// What was let go in this life.
    gone: Vec<(usize, Origin, u16, Vec<u8>)>,
    /// How many records of each stream were noted in this life.
    noted: Vec<u64>,
    nonces: HashMap<([u8; 32], [u8; 12]), [u8; 32]>,
    next: u64,
    /// Whether nothing failed in this life so far.
    pub(super) is_clean: bool,
    pub(super) seen: Seen,
    /// How often each kind of call failed.
    pub(super) failures: [u64; KINDS.len()],
}

/// How often things happened, so that a test can tell that they did.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) durable: u64,
    pub(super) refused: u64,
    pub(super) from_backlog: u64,
    pub(super) recovered: u64,
    pub(super) crashes: u64,
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) buried: u64,
    pub(super) came_back_refused: u64,
    pub(super) came_back_noted: u64,
}

impl World {
    pub(super) fn new(seed: u64, config: Config) -> Self {
        Self {
            storage: Faulty::new(seed),
            ring: ModelRing::new(),
            config,
            random: fastrand::Rng::with_seed(seed),
            life: None,
            now: Instant::now(),
            records: NAMES.map(|_| BTreeMap::new()).into(),
            held: Vec::new(),
            spills: BTreeMap::new(),
            letters: BTreeMap::new(),
            buried: Vec::new(),
            gone: Vec::new(),
            noted: NAMES.map(|_| 0).into(),
            nonces: HashMap::new(),
            next: 0,
            is_clean: true,
            seen: Seen::default(),
            failures: [0; KINDS.len()],
        }
    }

    pub(super) fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("a life is under way")
    }

    /// Begins a life, however often the storage fails to let it.
    pub(super) fn open(&mut self) {
        assert!(self.life.is_none());
        for known in self.records.iter_mut().flat_map(BTreeMap::values_mut) {
            (known.is_in_hand, known.is_here) = (false, false);
            if known.answer == Answer::None {
                known.answer = Answer::No;
            }
            known.note = match known.note {
                Note::Told => Note::Maybe,
                Note::Written => Note::Kept,
                note => note,
            };
        }
        self.held.clear();
        self.gone.clear();
        self.spills.clear();
        self.letters.clear();
        self.noted.iter_mut().for_each(|noted| *noted = 0);
        self.is_clean = self.storage.is_sound();
        for _ in 0..100 {
            let config = self.config.clone();
            match Life::start(&self.storage, &self.ring, config, &NAMES, self.now) {
                Ok(life) => {
                    self.life = Some(life);
                    return;
                }
                Err(_) if self.storage.has_crashed() => self.lose_what_is_unsynced(),
                Err(_) => self.storage.heal(),
            }
        }
        panic!("a healthy storage does not start");
    }

    /// The machine dies and is there again.
    pub(super) fn crash(&mut self) {
        self.seen.crashes += 1;
        self.collect_nonces();
        self.life = None;
        self.lose_what_is_unsynced();
        self.open();
    }

    fn lose_what_is_unsynced(&mut self) {
        for (failures, (call, is_short)) in self.failures.iter_mut().zip(KINDS) {
            *failures += self.storage.failures(call, is_short);
        }
        self.storage = self.storage.crash();
        for known in self.records.iter_mut().flat_map(BTreeMap::values_mut) {
            if matches!(known.note, Note::Written | Note::Kept) {
                known.note = Note::Maybe;
            }
        }
    }

    /// The process dies and is there again.
    pub(super) fn kill(&mut self) {
        self.seen.kills += 1;
        self.collect_nonces();
        self.life = None;
        self.open();
    }

    /// The process ends as it should, and is there again.
    pub(super) fn stop(&mut self) {
        self.seen.stops += 1;
        let Some(life) = self.life.take() else { return };
        let (said, is_whole) = life.stop();
        if self.storage.has_crashed() {
            self.hear(said);
            return self.crash();
        }
        assert!(is_whole, "every actor says that it has ended");
        self.hear(said);
        if self.is_clean {
            self.notes_are(Note::Synced);
        }
        self.collect_nonces();
        self.open();
    }

    fn notes_are(&mut self, at_least: Note) {
        for known in self.records.iter_mut().flat_map(BTreeMap::values_mut) {
            if known.note >= Note::Told {
                known.note = known.note.max(at_least);
            }
        }
    }

    /// Something is told to fail from now on.
    pub(super) fn spoil(&mut self) {
        self.is_clean = false;
    }

    /// Nothing fails any more, and every key is there.
    pub(super) fn heal(&mut self) {
        self.storage.heal();
        self.ring.refuse(None);
        self.ring.arrive();
    }

    /// Gives a few turns, in any order, or turns until nobody is awake.
    pub(super) fn turns(&mut self, most: usize) {
        for _ in 0..most {
            let awake = self.life().awake();
            if awake == 0 {
                break;
            }
            let which = self.random.usize(..awake);
            let said = self.life().turn(which);
            self.hear(said);
            if self.storage.has_crashed() {
                return self.crash();
            }
        }
    }

    /// Gives turns until nobody is awake: then everybody has an answer.
    pub(super) fn settle(&mut self) {
        let said = self.life().run();
        self.hear(said);
        if self.storage.has_crashed() {
            return self.crash();
        }
        assert!(self.life().is_answered(), "a request waits although nobody is awake");
        assert!(self.spills.is_empty() && self.letters.is_empty(), "something is not answered");
        if self.is_clean {
            self.notes_are(Note::Written);
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let said = self.life().pass(time);
        self.now = self.life().now;
        self.hear(said);
        if self.storage.has_crashed() {
            self.crash();
        }
    }

    pub(super) fn want(&mut self, is_wanted: bool) {
        for stream in &self.life().streams {
            stream.spool.want(is_wanted);
        }
    }

    /// A record that there was never before.
    fn record(&mut self, stream: usize) -> Vec<u8> {
        self.next += 1;
        let bytes = if self.random.u8(..20) == 0 { 3_000 } else { self.random.usize(..200) };
        let mut record = format!("{}/{}/", NAMES[stream], self.next).into_bytes();
        record.resize(record.len() + bytes, b'.');
        let known =
            Known { answer: Answer::None, note: Note::No, is_in_hand: false, is_here: false };
        self.records[stream].insert(record.clone(), known);
        record
    }

    fn some_records(&mut self, stream: usize) -> Vec<Vec<u8>> {
        (0..self.random.usize(1..5)).map(|_| self.record(stream)).collect()
    }

    pub(super) fn append(&mut self, stream: usize) {
        let requests = self.random.usize(1..4);
        let requests = (0..requests).map(|_| self.some_records(stream)).collect();
        self.life().append(stream, requests);
    }

    pub(super) fn spill(&mut self, stream: usize) {
        let records = self.some_records(stream);
        self.next += 1;
        let id = self.next;
        if self.life().spill(stream, id, &records) {
            self.spills.insert(id, (stream, records));
        } else {
            self.answered(stream, &records, Answer::No);
        }
    }

    fn some_held(&mut self) -> Option<usize> {
        let free: Vec<usize> = (0..self.held.len())
            .filter(|held| self.held[*held].letters == 0 && !self.held[*held].left.is_empty())
            .collect();
        self.random.choice(free)
    }

    /// The service has some records that are in hand.
    pub(super) fn note(&mut self) {
        let Some(at) = self.some_held() else { return };
        let all = self.random.bool();
        let Held { left, .. } = &self.held[at];
        let numbers: Vec<u16> =
            left.keys().copied().filter(|_| all || self.random.bool()).collect();
        self.note_numbers(at, &numbers);
    }

    fn note_numbers(&mut self, at: usize, numbers: &[u16]) {
        let Held { stream, origin, .. } = self.held[at];
        self.life().streams[stream].spool.note(origin, numbers.to_vec());
        for number in numbers {
            let record = self.held[at].left.remove(number).expect("it is in hand");
            self.is_noted(stream, &record);
        }
        let held = &mut self.held[at];
        if let Some(batch) = &mut held.batch {
            let is_left: Vec<bool> = (0..batch.len())
                .map(|index| batch.number(index).is_some_and(|n| held.left.contains_key(&n)))
                .collect();
            batch.retain(|index| is_left[index]);
        }
        if held.left.is_empty() {
            self.held.swap_remove(at);
        }
    }

    fn is_noted(&mut self, stream: usize, record: &[u8]) {
        let known = self.records[stream].get_mut(record).expect("a record of the model");
        assert_eq!(known.note, Note::No);
        (known.note, known.is_in_hand) = (Note::Told, false);
        self.noted[stream] += 1;
    }

    /// The forwarder lets something go; at times it says so twice.
    pub(super) fn let_go(&mut self) {
        let Some(at) = self.some_held() else { return };
        let Held { stream, origin, left, .. } = self.held.swap_remove(at);
        for _ in 0..self.random.usize(1..3) {
            self.life().streams[stream].spool.let_go(origin);
        }
        for (number, record) in left {
            self.known(stream, &record).is_in_hand = false;
            self.gone.push((stream, origin, number, record));
        }
    }

    /// The service had something that was let go.
    pub(super) fn note_late(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let at = self.random.usize(..self.gone.len());
        let (stream, origin, number, record) = self.gone.swap_remove(at);
        let known = self.known(stream, &record);
        if known.note == Note::No && !known.is_in_hand {
            self.life().streams[stream].spool.note(origin, vec![number]);
            self.is_noted(stream, &record);
        }
    }

    pub(super) fn set_aside(&mut self) {
        let Some(at) = self.some_held() else { return };
        let Held { stream, origin, .. } = self.held[at];
        let (number, record) = self.held[at].left.first_key_value().expect("it has records");
        let (number, record) = (*number, record.clone());
        self.next += 1;
        let id = self.next;
        self.life().set_aside(stream, id, &record, (origin, number));
        self.held[at].letters += 1;
        // Whether it was noted is known with the answer.
        self.known(stream, &record).note = Note::Told;
        self.letters.insert(id, (stream, origin, number));
    }

    fn known(&mut self, stream: usize, record: &[u8]) -> &mut Known {
        self.records[stream].get_mut(record).expect("a record that was written to this stream")
    }

    fn answered(&mut self, stream: usize, records: &[Vec<u8>], answer: Answer) {
        match answer {
            Answer::Durable => self.seen.durable += records.len() as u64,
            _ => self.seen.refused += records.len() as u64,
        }
        for record in records {
            let known = self.known(stream, record);
            known.answer = answer;
            known.is_here = answer == Answer::Durable;
        }
    }

    fn hear(&mut self, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Answer { stream, records, outcome } => {
                    let answer = match outcome {
                        Outcome::Durable => Answer::Durable,
                        Outcome::Refused(_) => Answer::No,
                        Outcome::Delivered(_) => panic!("nobody delivered anything"),
                        Outcome::CutShort => panic!("nobody ended the waits"),
                    };
                    self.answered(stream, &records, answer);
                }
                Said::Batch { stream, batch } => self.batch(stream, batch),
                Said::Spooled { stream, id, result } => {
                    let (of, records) = self.spills.remove(&id).expect("it was spilled");
                    assert_eq!(of, stream);
                    let Ok(origin) = result else {
                        self.answered(stream, &records, Answer::No);
                        continue;
                    };
                    self.answered(stream, &records, Answer::Durable);
                    records.iter().for_each(|record| self.known(stream, record).is_in_hand = true);
                    let left = (0..).zip(records).collect();
                    self.held.push(Held { stream, origin, left, batch: None, letters: 0 });
                }
                Said::SetAside { stream, id, result } => {
                    self.is_set_aside(stream, id, result.is_ok());
                }
            }
        }
    }

    fn is_set_aside(&mut self, stream: usize, id: u64, is_kept: bool) {
        let (of, origin, number) = self.letters.remove(&id).expect("it was set aside");
        assert_eq!(of, stream);
        let held = self.held.iter().position(|held| held.stream == of && held.origin == origin);
        let at = held.expect("its frame is in hand");
        self.held[at].letters -= 1;
        let record = self.held[at].left[&number].clone();
        self.known(stream, &record).note = Note::No;
        if is_kept {
            self.seen.buried += 1;
            self.buried.push(record.clone());
            let held = &mut self.held[at];
            held.left.remove(&number);
            if let Some(batch) = &mut held.batch {
                let numbers: Vec<_> = (0..batch.len()).map(|index| batch.number(index)).collect();
                batch.retain(|index| numbers[index] != Some(number));
            }
            if held.left.is_empty() {
                self.held.swap_remove(at);
            }
            self.is_noted(stream, &record);
        }
    }

    /// A batch comes: every record of it is right, is nobody else's, and is not settled.
    fn batch(&mut self, stream: usize, batch: Box<Batch>) {
        let origin = batch.origin().expect("what the spool hands over lies in it");
        let left = numbered(&batch);
        assert!(!left.is_empty(), "a batch has records");
        for record in left.values() {
            let known = self.records[stream].get_mut(record);
            let known = known.expect("every record that comes was written to this stream");
            assert!(
                !known.is_in_hand,
                "it is in hand already: {:?}",
                String::from_utf8_lossy(record)
            );
            known.is_in_hand = true;
            if !batch.is_backlog() {
                assert_eq!(known.answer, Answer::Durable, "what goes on from memory was answered");
            }
            if !known.is_here {
                // It is of an earlier life.
                assert!(batch.is_backlog());
                self.seen.recovered += 1;
                assert!(
                    known.note <= Note::Maybe,
                    "it was noted for good: {known:?} {} {origin:?}",
                    String::from_utf8_lossy(&record[..10.min(record.len())])
                );
                self.seen.came_back_noted += u64::from(known.note == Note::Maybe);
                self.seen.came_back_refused += u64::from(known.answer != Answer::Durable);
                known.note = Note::No;
                known.is_here = true;
            }
            assert_eq!(known.note, Note::No, "what is noted does not come again in the same life");
        }
        self.seen.from_backlog += u64::from(batch.is_backlog());
        self.held.push(Held { stream, origin, left, batch: Some(batch), letters: 0 });
    }

    /// Everything works again: what must come back does, the counts are right, and what is noted goes away.
    pub(super) fn peace(&mut self) {
        self.heal();
        self.settle();
        self.want(true);
        for _ in 0..400 {
            self.pass(Duration::from_secs(2));
            if self.missing().is_empty() && self.is_counted() {
                break;
            }
            if self.random.bool() {
                // There may be no memory for more.
                self.note_all();
            }
        }
        let missing = self.missing();
        let status = [0, 1].map(|stream| self.life().status(stream));
        let some: Vec<_> = missing.iter().take(3).collect();
        let paths = self.storage.paths();
        assert!(missing.is_empty(), "{} lost: {some:?} {status:#?} {paths:?}", missing.len());
        assert!(self.is_counted(), "never counted: {status:#?}");
        self.check_counts();
        self.check_letters();
        self.note_all();
        self.pass(Duration::from_secs(62));
        self.notes_are(Note::Written);
        self.check_counts();
        for (stream, name) in NAMES.into_iter().enumerate() {
            let status = self.life().status(stream);
            let open = status.segments;
            assert_eq!((status.records, status.records_waiting), (0, 0), "{name}: {status:#?}");
            assert!(open <= 1, "{name}: {status:#?} {:?}", self.storage.paths());
            assert_eq!(status.oldest_unix_ms, None, "{status:#?}");
        }
        // What is open ends at the latest when it is old.
        self.pass(self.config.segment_age_max + Duration::from_secs(62));
        let left = self.files_below("streams");
        // A start may have been kept from taking a note away whose segment is gone; the next one does.
        let is_orphan = |path: &PathBuf| {
            path.extension().is_some_and(|kind| kind == "note")
                && !left.contains(&path.with_extension("seg"))
        };
        let left: Vec<_> = left.iter().filter(|path| !is_orphan(path)).collect();
        let status = [0, 1].map(|stream| self.life().status(stream));
        assert!(left.is_empty(), "everything is noted, and there is {left:?}: {status:#?}");
        for status in status {
            assert_eq!((status.segments, status.segments_uncounted), (0, 0), "{status:#?}");
            assert_eq!(status.bytes, 0, "{status:#?}");
        }
        self.stop();
        let left = self.files_below("streams");
        assert!(left.is_empty(), "{left:?}");
        assert!(self.files_below("quarantine").is_empty(), "nothing was damaged");
        self.collect_nonces();
        for (failures, (call, is_short)) in self.failures.iter_mut().zip(KINDS) {
            *failures += self.storage.failures(call, is_short);
        }
    }

    fn note_all(&mut self) {
        while let Some(at) = self.some_held() {
            let numbers: Vec<u16> = self.held[at].left.keys().copied().collect();
            self.note_numbers(at, &numbers);
        }
        self.settle();
    }

    /// Whether everything that lies on disk is known, and nothing of it waits.
    fn is_counted(&mut self) -> bool {
        (0..NAMES.len()).all(|stream| {
            let status = self.life().status(stream);
            (status.segments_uncounted, status.records_waiting) == (0, 0)
        })
    }

    /// What has to be in hand, and is not.
    fn missing(&self) -> Vec<String> {
        let of = |(record, known): (&Vec<u8>, &Known)| {
            let must = known.answer == Answer::Durable || known.is_here;
            (must && known.note == Note::No && !known.is_in_hand).then(|| {
                format!("{} {known:?}", String::from_utf8_lossy(&record[..8.min(record.len())]))
            })
        };
        self.records.iter().flatten().filter_map(of).collect()
    }

    fn check_counts(&mut self) {
        for stream in 0..NAMES.len() {
            let status = self.life().status(stream);
            let here = self.records[stream].values().filter(|known| known.is_here);
            let here = here.filter(|known| known.note == Note::No).count() as u64;
            assert_eq!(status.records, here, "{status:#?}");
            assert_eq!(status.records_waiting, 0, "{status:#?}");
            assert_eq!(
                status.records_recovered + status.records_written - status.dead_letters,
                self.noted[stream] + status.records + status.records_quarantined,
                "noted {}: {status:#?}",
                self.noted[stream]
            );
            assert_eq!(status.records_quarantined, 0, "{status:#?}");
            assert_eq!(self.life().streams[stream].lane.lost(), (0, 0));
        }
    }

    pub(super) fn files_below(&self, folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(DIR).join(folder);
        self.storage.paths().into_iter().filter(|path| path.starts_with(&folder)).collect()
    }

    /// Every dead letter that somebody was told of can be read.
    fn check_letters(&self) {
        let mut found = Vec::new();
        for path in self.files_below("dead-letters") {
            let bytes = self.storage.contents(&path).expect("it is there");
            let Ok(parsed) = header::decode(&bytes) else { continue };
            let number = parsed.header.key.wrapped[0];
            let keys = parsed.keys(&ring::key(&parsed.header.stream, number)).unwrap();
            for (head, frame) in frames(&bytes[parsed.bytes..]) {
                let mut sealed = frame[frame::HEAD_BYTES..].to_vec();
                let Ok(payload) = frame::open(&keys, &parsed.digest, &head, &mut sealed) else {
                    continue;
                };
                let Ok(payload) = super::super::payload::parse(payload, head.kind, head.records)
                else {
                    continue;
                };
                let keys = payload.keys();
                for (number, record) in payload.records().enumerate() {
                    let record = letter::decode(record).unwrap().record;
                    let key = key_of(record);
                    assert_eq!(keys.get(number), key.as_ref().map(PartitionKey::as_str));
                    found.push(record.to_vec());
                }
            }
        }
        for record in &self.buried {
            assert!(found.contains(record), "a dead letter is lost");
        }
    }

    /// No nonce was ever used for two frames under one key.
    fn collect_nonces(&mut self) {
        for bytes in self.storage.all_contents() {
            let Ok(parsed) = header::decode(&bytes) else { continue };
            for (head, frame) in frames(&bytes[parsed.bytes..]) {
                let mut nonce = [0; 12];
                nonce[..4].copy_from_slice(&head.index.to_be_bytes());
                nonce[4..].copy_from_slice(&head.random);
                let digest = seal::digest(frame);
                let other = self.nonces.insert((parsed.header.salt, nonce), digest);
                // A page of zeros makes a frame another one, and no second one.
                let is_torn = frame.chunks(64).any(|chunk| chunk.iter().all(|byte| *byte == 0));
                if !is_torn && let Some(other) = other {
                    assert_eq!(other, digest, "a nonce was used twice");
                }
            }
        }
    }

    /// Takes one random step.
    pub(super) fn step(&mut self) {
        let stream = self.random.usize(..NAMES.len());
        match self.random.u8(..100) {
            0..20 => self.append(stream),
            20..28 => self.spill(stream),
            28..31 => self.set_aside(),
            31..43 => self.note(),
            43..50 => self.let_go(),
            50..52 => self.note_late(),
            52..55 => {
                let is_wanted = self.random.bool();
                self.want(is_wanted);
            }
            55..70 => {
                let most = self.random.usize(1..6);
                self.turns(most);
            }
            70..76 => self.settle(),
            76..83 => {
                let times = [1, 20, 300, 1_000, 5_000, 31_000, 700_000];
                let time = times[self.random.usize(..times.len())];
                self.pass(Duration::from_millis(time));
            }
            83..86 => self.key_step(),
            86..92 => self.fault_step(),
            92..94 => self.heal(),
            94 => self.crash(),
            95 => self.kill(),
            96 => self.stop(),
            _ => {
                self.append(stream);
                self.settle();
            }
        }
    }

    fn key_step(&mut self) {
        let message = || "the model says so".to_owned();
        match self.random.u8(..6) {
            0 => self.ring.refuse(Some(NoKey::NotYet)),
            1 => self.ring.refuse(Some(NoKey::TooOld { age: Duration::from_secs(90_000) })),
            2 => self.ring.set_unwraps(Unwraps::Later),
            3 => self.ring.set_unwraps(Unwraps::Refused(match self.random.u8(..3) {
                0 => UnwrapError::Foreign { key_id: message() },
                1 => UnwrapError::Disabled { message: message() },
                _ => UnwrapError::Unavailable { message: message() },
            })),
            4 => self.ring.rotate(),
            _ => {
                self.ring.refuse(None);
                self.ring.arrive();
            }
        }
    }

    fn fault_step(&mut self) {
        self.spoil();
        let n = self.random.u64(1..6);
        let call = CALLS[self.random.usize(..CALLS.len())];
        match self.random.u8(..10) {
            0 => {
                let used: usize = self
                    .storage
                    .paths()
                    .iter()
                    .filter_map(|path| self.storage.contents(path))
                    .map(|bytes| bytes.len())
                    .sum();
                self.storage.fill_up_at((used + self.random.usize(..20_000)) as u64);
            }
            1 => self.storage.short_write_nth(n, ErrorKind::Other),
            2 => self.storage.short_write_nth(n, ErrorKind::StorageFull),
            3 => self.storage.fail_all(call, ErrorKind::Other),
            4 => self.storage.crash_nth(call, n),
            _ => self.storage.fail_nth(call, n, ErrorKind::Other),
        }
    }
}

/// The frames at the beginning of `bytes`, as far as their heads are sane.
fn frames(mut bytes: &[u8]) -> Vec<(Head, &[u8])> {
    let mut all = Vec::new();
    while let Ok(head) = frame::parse_head(bytes) {
        let Some((frame, rest)) = bytes.split_at_checked(head.frame_bytes()) else { break };
        all.push((head, frame));
        bytes = rest;
    }
    all
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        self.durable += other.durable;
        self.refused += other.refused;
        self.from_backlog += other.from_backlog;
        self.recovered += other.recovered;
        self.crashes += other.crashes;
        self.kills += other.kills;
        self.stops += other.stops;
        self.buried += other.buried;
        self.came_back_refused += other.came_back_refused;
        self.came_back_noted += other.came_back_noted;
    }
}
