//! One life of a spool without threads: a test gives its actors their turns and is its forwarder.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::super::faulty::Faulty;
use super::super::pool::{ByHand, Pool};
use super::super::{
    Config, Letter, Spill, Spool, StartError, StreamSpool, StreamStatus, Word, Words,
};
use super::ring::ModelRing;
use crate::pipeline::{
    Batch, Batcher, Book, ChunkPool, Lane, NotDurable, Origin, Outcome, PartitionKeys, Piece,
    Receipt, testing,
};
use crate::record::PartitionKey;

/// The most turns there may be until nothing is left to do now: what is beyond that spins.
const TURNS_MAX: usize = 20_000;

/// See the module.
pub(super) struct Life {
    pub(super) now: Instant,
    pub(super) spool: Spool,
    pub(super) streams: Vec<Stream>,
    hand: ByHand,
    words: Words,
    book: Book,
    waiting: Vec<(usize, Receipt, Vec<Vec<u8>>)>,
    /// Turns that were given.
    pub(super) turns: u64,
}

/// A stream of a life.
pub(super) struct Stream {
    pub(super) spool: StreamSpool,
    pub(super) lane: Arc<Lane>,
    batcher: Batcher,
}

/// What a life says.
#[derive(Debug)]
pub(super) enum Said {
    /// What became of the records of a request.
    Answer {
        stream: usize,
        records: Vec<Vec<u8>>,
        outcome: Outcome,
    },
    /// Records are in the forwarder's hand.
    Batch {
        stream: usize,
        batch: Box<Batch>,
    },
    Spooled {
        stream: usize,
        id: u64,
        result: Result<Origin, NotDurable>,
    },
    SetAside {
        stream: usize,
        id: u64,
        result: Result<(), NotDurable>,
    },
}

impl Life {
    pub(super) fn start(
        storage: &Faulty,
        ring: &Arc<ModelRing>,
        config: Config,
        names: &[&str],
        now: Instant,
    ) -> Result<Self, StartError> {
        let (post, mut boxes) = crate::pipeline::post(1);
        let (pool, hand) = Pool::by_hand(now);
        let disk = Arc::new(storage.clone());
        let ring = Arc::<ModelRing>::clone(ring);
        let (spool, words) = Spool::start_in(disk, config, ring, post, || Ok(pool))?;
        let streams = names.iter().map(|name| {
            let lane = testing::lane(name, 1 << 26);
            let stream = spool.spools().open(&lane).unwrap();
            let batcher = Batcher::durable(Arc::clone(&lane), testing::limits(), ChunkPool::new());
            Stream { spool: stream, lane, batcher }
        });
        let streams = streams.collect();
        let book = Book::new(boxes.remove(0));
        let waiting = Vec::new();
        Ok(Self { now, spool, streams, hand, words, book, waiting, turns: 0 })
    }

    /// Hands over a group of requests, each with its records.
    pub(super) fn append(&mut self, stream: usize, requests: Vec<Vec<Vec<u8>>>) {
        let Stream { spool, lane, batcher } = &mut self.streams[stream];
        for records in requests {
            let receipt = self.book.open(0, lane.share()).unwrap();
            let mut entry = batcher.entry(self.now);
            for record in &records {
                entry.set_key(key_of(record));
                entry.push(&Piece::Copy(record, None), None).unwrap();
            }
            entry.commit_durable(&receipt);
            self.waiting.push((stream, receipt, records));
        }
        batcher.close();
        while let Some(batch) = batcher.take_closed() {
            spool.inlet().submit(batch);
        }
    }

    /// Hands over a copy of records. Says whether there was room for it on its way.
    pub(super) fn spill(&self, stream: usize, id: u64, records: &[Vec<u8>]) -> bool {
        let lengths = records.iter().map(|record| u32::try_from(record.len()).unwrap()).collect();
        let keys: Vec<_> = records.iter().map(|record| key_of(record)).collect();
        let keys = keys.iter().map(|key| key.as_ref().map(PartitionKey::as_str));
        let partition_keys = PartitionKeys::collect(keys);
        let (opened_at, bytes) = (self.now, records.concat());
        let spill = Spill { id, opened_at, lengths, bytes, partition_keys };
        self.streams[stream].spool.spill(spill).is_ok()
    }

    pub(super) fn set_aside(&self, stream: usize, id: u64, record: &[u8], origin: (Origin, u16)) {
        self.streams[stream].spool.set_aside(Letter {
            id,
            record: record.to_vec(),
            partition_key: key_of(record).map(Arc::from),
            opened_at: self.now,
            reason: "refused_alone",
            code: "ValidationException".into(),
            message: "the model says so".into(),
            origin: Some(origin),
        });
    }

    /// Whether nobody waits for an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many actors are awake.
    pub(super) fn awake(&mut self) -> usize {
        self.hand.awake(self.now)
    }

    /// Gives one of those that are awake a turn.
    pub(super) fn turn(&mut self, which: usize) -> Vec<Said> {
        self.turns += 1;
        self.hand.turn(which, self.now);
        self.hear()
    }

    /// When something happens next by itself.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.hand.next_timer()
    }

    /// Gives turns until nobody is awake.
    pub(super) fn run(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        for _ in 0..TURNS_MAX {
            if self.awake() == 0 {
                return said;
            }
            said.extend(self.turn(0));
        }
        panic!("it spins: {:?}", self.status(0));
    }

    /// Lets time pass, with everything that happens meanwhile by itself.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Said> {
        let until = self.now + time;
        let mut said = self.run();
        for _ in 0..TURNS_MAX {
            match self.next_timer() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => {
                    self.now = until;
                    said.extend(self.run());
                    return said;
                }
            }
            said.extend(self.run());
        }
        panic!("it spins slowly: {:?}", self.status(0));
    }

    pub(super) fn status(&self, stream: usize) -> StreamStatus {
        let Stream { spool, lane, .. } = &self.streams[stream];
        spool.status(lane.name().clone())
    }

    /// Ends it as a stop does. Gives what it said at last, and whether all actors ended.
    pub(super) fn stop(mut self) -> (Vec<Said>, bool) {
        self.spool.begin_stop();
        let mut said = self.run();
        let writers = self.spool.end_writers();
        said.extend(self.run());
        let readers = self.spool.end_readers();
        said.extend(self.run());
        assert!(self.is_answered(), "a stop leaves nobody without an answer");
        let ended = self.spool.done.try_iter().count();
        let is_whole = ended == writers + readers;
        let _left = self.spool.ended(is_whole);
        (said, is_whole)
    }

    /// What was said since the last time.
    fn hear(&mut self) -> Vec<Said> {
        let mut cx = Context::from_waker(Waker::noop());
        let _is_heard = pin!(self.book.listen()).poll(&mut cx).is_ready();
        let mut said = Vec::new();
        self.waiting.retain_mut(|(stream, receipt, records)| {
            let Poll::Ready(outcome) = pin!(receipt).poll(&mut cx) else { return true };
            let records = std::mem::take(records);
            said.push(Said::Answer { stream: *stream, records, outcome });
            false
        });
        while let Some(word) = self.words.try_take() {
            said.push(self.translated(word));
        }
        said
    }

    fn translated(&self, word: Word) -> Said {
        let of = |name| self.streams.iter().position(|stream| stream.lane.name() == name).unwrap();
        match word {
            Word::Batch(batch) => Said::Batch { stream: of(batch.lane().name()), batch },
            Word::Spooled { stream, id, result } => {
                Said::Spooled { stream: of(&stream), id, result }
            }
            Word::SetAside { stream, id, result } => {
                Said::SetAside { stream: of(&stream), id, result }
            }
        }
    }
}

/// The partition key that a record of the model has: some come in groups without one.
pub(super) fn key_of(record: &[u8]) -> Option<PartitionKey> {
    let number = record.split(|byte| *byte == b'/').nth(1)?;
    let number: u64 = str::from_utf8(number).ok()?.parse().ok()?;
    let has_key = number / 8 % 2 == 1 && !number.is_multiple_of(5);
    has_key.then(|| format!("key {}", number / 3).parse().unwrap())
}

/// The records of a batch by their numbers, each of which has the key that it came with.
pub(super) fn numbered(batch: &Batch) -> BTreeMap<u16, Vec<u8>> {
    let records = batch.records().enumerate();
    let records = records.inspect(|(index, record)| {
        let key = key_of(record);
        assert_eq!(batch.key(*index), key.as_ref().map(PartitionKey::as_str), "its own key");
    });
    records.map(|(index, record)| (batch.number(index).unwrap(), record.to_vec())).collect()
}
