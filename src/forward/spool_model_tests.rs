//! The whole stage under all faults at once, with a small memory and a disk that a test plays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::stub::{Reply, Stub};
use super::tests::{MS, Rig, SOON, block_on, config};
use super::thread::SpoolEnds;
use super::*;
use crate::pipeline::testing::{batch_of, lane};
use crate::pipeline::{Batch, Lane, NotDurable, Origin};
use crate::spool::Word;
use crate::spool::handle_testing::{Ends, Read, Written, ends};

/// A disk that fails now and then, as its writer and its reader would be seen.
struct Disk {
    ends: Ends,
    lane: Arc<Lane>,
    random: fastrand::Rng,
    frames: BTreeMap<Origin, Vec<Option<Vec<u8>>>>,
    waiting: BTreeSet<Origin>,
    letters: Vec<Vec<u8>>,
    copies: usize,
}

impl Disk {
    fn new(ends: Ends, lane: Arc<Lane>) -> Self {
        Self {
            ends,
            lane,
            random: fastrand::Rng::with_seed(11),
            frames: BTreeMap::new(),
            waiting: BTreeSet::new(),
            letters: Vec::new(),
            copies: 0,
        }
    }

    /// Works until there is nothing to do and `is_over`.
    fn run(mut self, is_over: &AtomicBool) -> Self {
        loop {
            let was_over = is_over.load(Ordering::SeqCst);
            let mut has_done = false;
            while let Some(read) = self.ends.read(Duration::ZERO) {
                has_done = true;
                self.read(read);
            }
            if let Some(written) = self.ends.written(MS) {
                has_done = true;
                self.write(written);
            }
            if self.ends.is_wanted() {
                self.hand_over();
            }
            if was_over && !has_done {
                return self;
            }
        }
    }

    fn read(&mut self, read: Read) {
        match read {
            Read::LetGo(origin) => assert!(self.waiting.insert(origin)),
            Read::Note(origin, numbers) => {
                numbers.into_iter().for_each(|number| self.note(origin, number))
            }
        }
    }

    fn note(&mut self, origin: Origin, number: u16) {
        let frame = self.frames.get_mut(&origin).unwrap();
        assert!(frame[usize::from(number)].take().is_some(), "it is noted once");
    }

    fn write(&mut self, written: Written) {
        let stream = self.lane.name().clone();
        let fails = self.random.u8(..10) == 0;
        match written {
            Written::Spill(spill) => {
                self.copies += 1;
                let origin = Origin { segment: 1, frame: self.copies.try_into().unwrap() };
                let records = spill.records().map(|record| Some(record.to_vec())).collect();
                let result = if fails { Err(NotDurable::DiskFailed) } else { Ok(origin) };
                if !fails {
                    self.frames.insert(origin, records);
                }
                self.ends.say(Word::Spooled { stream, id: spill.id, result });
            }
            Written::SetAside(letter) => {
                let result = if fails { Err(NotDurable::SpoolFull) } else { Ok(()) };
                if !fails {
                    self.letters.push(letter.record);
                    if let Some((origin, number)) = letter.origin {
                        self.note(origin, number);
                    }
                }
                self.ends.say(Word::SetAside { stream, id: letter.id, result });
            }
        }
    }

    fn hand_over(&mut self) {
        while let Some(origin) = self.waiting.first().copied() {
            let mut bytes = Vec::new();
            let mut places = Vec::new();
            for (number, record) in (0..).zip(&self.frames[&origin]) {
                if let Some(record) = record {
                    places.push((bytes.len()..bytes.len() + record.len(), number));
                    bytes.extend_from_slice(record);
                }
            }
            let Some(room) = self.ends.room(bytes.len()) else { return };
            let (lane, now) = (Arc::clone(&self.lane), Instant::now());
            let batch = Batch::of_frame(lane, room, origin, now, bytes, places.into_iter());
            self.waiting.remove(&origin);
            self.ends.say(Word::Batch(Box::new(batch)));
        }
    }

    fn left(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.frames.values().flatten().flatten()
    }
}

/// What every record is answered while the service is away.
fn away() -> Reply {
    Reply::error(400, "AccessDeniedException", "no")
}

/// A service with outages, throttles, lost records, refusals, and records that are bad. It says what it has
/// taken.
pub(super) fn service(taken: Sender<Vec<u8>>, is_away: &Arc<AtomicBool>) -> Stub {
    let is_away = Arc::clone(is_away);
    Stub::start(move |put| {
        if is_away.load(Ordering::SeqCst) {
            return away();
        }
        let (period, kind) = (put.number / 30 % 4, put.number % 7);
        if period == 2 && kind != 6 {
            return Reply::error(500, "InternalFailure", "");
        }
        if period == 3 && kind < 3 {
            return away();
        }
        if put.records.iter().any(|record| record.ends_with(b"spoils")) {
            return Reply::error(400, "ValidationException", "1 validation error detected");
        }
        let number = put.number;
        let entry = |(place, record): (usize, &Vec<u8>)| {
            if record.ends_with(b"bad") {
                serde_json::json!({"ErrorCode": "ValidationException", "ErrorMessage": "no"})
            } else if (place + number).is_multiple_of(5) {
                serde_json::json!({"ErrorCode": "InternalFailure", "ErrorMessage": "no"})
            } else {
                taken.send(record.clone()).unwrap();
                serde_json::json!({"RecordId": format!("id-{}", String::from_utf8_lossy(record))})
            }
        };
        let entries: Vec<_> = put.records.iter().enumerate().map(entry).collect();
        Reply::json(200, &serde_json::json!({"FailedPutCount": 1, "RequestResponses": entries}))
            .after(MS * u64::try_from(kind).map_or(0, |kind| u32::try_from(kind).unwrap_or(0)))
    })
}

pub(super) fn record(number: usize) -> Vec<u8> {
    let tail = match number % 97 {
        13 => "bad",
        50 if number > 400 => "spoils",
        _ => "",
    };
    format!("{number}-{}{tail}", "x".repeat(200)).into_bytes()
}

#[test]
fn under_all_faults_at_once_every_record_is_delivered_or_on_disk_or_a_dead_letter() {
    const RECORDS: usize = 6_000;
    let (take, taken) = crossbeam_channel::unbounded();
    let stub = service(take, &Arc::default());
    let lane = lane("demo", 512 * 1024);
    let (spool, ends, words) = ends(64 * 1024);
    let open = Box::new(move |_: &Arc<Lane>| Some(spool.clone()));
    let spool = SpoolEnds { open, words, streams: vec![Arc::clone(&lane)] };
    let config = Config {
        request_records_max: 60,
        circuit_failures: 3,
        spool_blocked_after: MS * 5,
        ..config(&stub.url())
    };
    let mut rig = Rig::with_spool(config, Arc::clone(&lane), Some(spool));
    let is_over = Arc::new(AtomicBool::new(false));
    let disk = std::thread::spawn({
        let (disk, is_over) = (Disk::new(ends, Arc::clone(&lane)), Arc::clone(&is_over));
        move || disk.run(&is_over)
    });
    let deadline = Instant::now() + SOON * 2;
    for first in (0..RECORDS).step_by(40) {
        // The application waits for room, as one that gets a 503 does.
        while lane.share().room_bytes() < 100 * 1024 {
            assert!(Instant::now() < deadline, "{:?}", rig.forward.status());
            std::thread::yield_now();
        }
        let records: Vec<Vec<u8>> = (first..first + 40).map(record).collect();
        rig.outlet.hand_over(batch_of(&lane, &records));
    }
    // A good part of the backlog is delivered while the process lives.
    while stub.puts.len() < 300 {
        assert!(Instant::now() < deadline, "{:?}", rig.forward.status());
        std::thread::yield_now();
    }
    block_on(rig.forward.stop(Instant::now() + SOON));
    is_over.store(true, Ordering::SeqCst);
    let disk = disk.join().unwrap();
    assert_eq!((lane.lost(), lane.records_in_memory()), ((0, 0), 0));
    assert!(disk.copies > 10, "{} copies", disk.copies);
    assert!(!disk.letters.is_empty());
    let all: Vec<Vec<u8>> = taken.try_iter().collect();
    let taken: BTreeSet<&Vec<u8>> = all.iter().collect();
    assert_eq!(taken.len(), all.len(), "no answer was lost: the service has each record once");
    let left: BTreeSet<&Vec<u8>> = disk.left().collect();
    let dead: BTreeSet<&Vec<u8>> = disk.letters.iter().collect();
    assert_eq!(dead.len(), disk.letters.len(), "a record is a dead letter once");
    assert!(dead.iter().all(|record| record.ends_with(b"bad") || record.ends_with(b"spoils")));
    assert!(taken.is_disjoint(&dead));
    for number in 0..RECORDS {
        let record = record(number);
        let is_known = taken.contains(&record) || left.contains(&record) || dead.contains(&record);
        assert!(is_known, "record {number} is nowhere");
    }
    assert_eq!(lane.share().used_bytes(), 0);
}
