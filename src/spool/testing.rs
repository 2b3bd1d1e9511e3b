//! What the spool's tests share: a key, and small segments made by hand.

use std::sync::Arc;

use super::frame::{self, FrameKind, Head};
use super::header::{self, Encoded, Header, Kind};
use super::keyring::{DataKey, Provider, WrappedKey};
use super::payload;
use crate::pipeline::PartitionKeys;

pub(super) const KEY: [u8; 32] = *b"a data key that is not random...";
pub(super) const KEY_ID: &str = "arn:aws:kms:eu-central-1:111122223333:key/0f1e2d3c";

/// The one data key of the tests.
pub(super) fn data_key() -> Arc<DataKey> {
    let context = [("application", "test"), ("stream", "demo")];
    let wrapped = WrappedKey {
        provider: Provider::Kms,
        key_id: KEY_ID.to_owned(),
        context: context.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        wrapped: b"a wrapped key".to_vec(),
    };
    Arc::new(DataKey::new(wrapped, KEY))
}

/// A header that is always the same but for its id.
pub(super) fn header(id: u64) -> Header {
    Header {
        id,
        created_unix_ms: 1_700_000_000_000,
        kind: Kind::Records,
        stream: "demo".parse().unwrap(),
        key: data_key().wrapped().clone(),
        salt: std::array::from_fn(|at| u8::try_from(at).unwrap()),
    }
}

/// A segment made by hand, always the same.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) encoded: Encoded,
    /// Header and frames.
    pub(super) bytes: Vec<u8>,
    /// Where each frame begins, and its head.
    pub(super) frames: Vec<(usize, Head)>,
    /// The records of each frame.
    pub(super) records: Vec<Vec<Vec<u8>>>,
}

impl Segment {
    /// A segment of no frames yet.
    pub(super) fn new(header: &Header) -> Self {
        let encoded = header::encode(header, &data_key()).unwrap();
        let bytes = encoded.bytes.clone();
        Self { encoded, bytes, frames: Vec::new(), records: Vec::new() }
    }

    /// A segment of `groups` groups of frames of a few records each; with an end frame when it `ends`.
    pub(super) fn of(id: u64, groups: &[u32], ends: bool) -> Self {
        let mut segment = Self::new(&header(id));
        for frames in groups {
            let watermark = segment.index();
            for _ in 0..*frames {
                let index = segment.index();
                let records = (0..1 + index % 3)
                    .map(|number| format!("record {number} of frame {index}").into_bytes());
                segment.append(records.collect(), watermark);
            }
        }
        if ends {
            segment.end();
        }
        segment
    }

    /// The index of the next frame.
    pub(super) fn index(&self) -> u32 {
        u32::try_from(self.frames.len()).unwrap()
    }

    /// Appends a frame.
    pub(super) fn append(&mut self, records: Vec<Vec<u8>>, watermark: u32) {
        self.append_keyed(records, &PartitionKeys::NONE, watermark);
    }

    /// Appends a frame of records with these partition keys.
    pub(super) fn append_keyed(
        &mut self,
        records: Vec<Vec<u8>>,
        keys: &PartitionKeys,
        watermark: u32,
    ) {
        self.push(payload::kind_for(keys), keys, &records, watermark);
        self.records.push(records);
    }

    /// Appends the end frame.
    pub(super) fn end(&mut self) {
        self.push(FrameKind::End, &PartitionKeys::NONE, &[], self.index());
    }

    fn push(
        &mut self,
        kind: FrameKind,
        partition_keys: &PartitionKeys,
        records: &[Vec<u8>],
        watermark: u32,
    ) {
        let index = self.index();
        let head = Head {
            kind,
            index,
            records: u32::try_from(records.len()).unwrap(),
            sealed_bytes: 0,
            watermark,
            records_before: self.records_in_all(),
            random: (u64::from(index) * 0x0101_0101_0101_0101).to_le_bytes(),
        };
        let at = self.bytes.len();
        let Encoded { keys, digest, .. } = &self.encoded;
        let head = frame::seal(keys, digest, head, &mut self.bytes, |out| {
            if kind != FrameKind::End {
                let records = records.iter().map(Vec::as_slice);
                payload::append(out, 1_700_000_000_123, partition_keys, records);
            }
        });
        self.frames.push((at, head.unwrap()));
    }

    /// How many records it has.
    pub(super) fn records_in_all(&self) -> u64 {
        u64::try_from(self.records.iter().map(Vec::len).sum::<usize>()).unwrap()
    }
}

/// A key ring with one key, which can be away.
pub(super) struct Ring {
    is_locked: std::sync::atomic::AtomicBool,
}

impl Ring {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { is_locked: false.into() })
    }

    pub(super) fn lock(&self) {
        self.is_locked.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    pub(super) fn unlock(&self) {
        self.is_locked.store(false, std::sync::atomic::Ordering::SeqCst);
    }

    fn is_locked(&self) -> bool {
        self.is_locked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl super::KeyRing for Ring {
    fn current(&self, _: &crate::record::StreamName) -> Result<Arc<DataKey>, super::NoKey> {
        if self.is_locked() { Err(super::NoKey::NotYet) } else { Ok(data_key()) }
    }

    fn used(&self, _: &crate::record::StreamName, _: u64) {}

    fn unwrap(
        &self,
        _: &crate::record::StreamName,
        wrapped: &WrappedKey,
        _: Box<dyn FnOnce() + Send>,
    ) -> super::Unwrapped {
        if self.is_locked() {
            let message = "the test says so".to_owned();
            return super::Unwrapped::Refused(super::UnwrapError::Unavailable { message });
        }
        assert_eq!(wrapped, data_key().wrapped());
        super::Unwrapped::Ready(data_key())
    }
}

/// A spool with one stream, and both ends of what it is connected to.
pub(super) struct Rig {
    spool: super::Spool,
    words: super::Words,
    stream: super::StreamSpool,
    batcher: crate::pipeline::Batcher,
    book: crate::pipeline::Book,
    receipts: std::collections::VecDeque<crate::pipeline::Receipt>,
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Waits until something holds.
#[track_caller]
pub(super) fn wait_for(mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited in vain");
        let _timed_out = never.recv_timeout(std::time::Duration::from_millis(2)).is_err();
    }
}

pub(super) fn start(
    dir: &std::path::Path,
    ring: Arc<Ring>,
) -> Result<(super::Spool, super::Words), super::StartError> {
    let (post, _boxes) = crate::pipeline::post(1);
    super::Spool::start(config(dir), ring, post)
}

fn config(dir: &std::path::Path) -> super::Config {
    super::Config {
        dir: dir.to_owned(),
        reserve_bytes: 4096,
        free_bytes_min: 0,
        threads: 2,
        allow_tmpfs: true,
        ..super::Config::default()
    }
}

pub(super) fn rig(dir: &std::path::Path, ring: Arc<Ring>) -> Rig {
    rig_with(dir, ring, |_| ())
}

pub(super) fn rig_with(
    dir: &std::path::Path,
    ring: Arc<Ring>,
    set: impl FnOnce(&mut super::Config),
) -> Rig {
    rig_on(Arc::new(super::fs::Disk), dir, ring, set)
}

pub(super) fn rig_on(
    storage: Arc<dyn super::fs::Storage>,
    dir: &std::path::Path,
    ring: Arc<Ring>,
    set: impl FnOnce(&mut super::Config),
) -> Rig {
    use crate::pipeline::{Batcher, Book, ChunkPool, testing};
    let mut config = config(dir);
    set(&mut config);
    let (post, mut boxes) = crate::pipeline::post(1);
    let (spool, words) = super::Spool::start_on(storage, config, ring, post).unwrap();
    let lane = testing::lane("demo", 1 << 26);
    let stream = spool.spools().open(&lane).unwrap();
    let limits = crate::pipeline::Limits { linger: std::time::Duration::ZERO, ..testing::limits() };
    let batcher = Batcher::durable(lane, limits, ChunkPool::new());
    let book = Book::new(boxes.remove(0));
    Rig { spool, words, stream, batcher, book, receipts: std::collections::VecDeque::new() }
}

impl Rig {
    /// Hands a group over, as one request.
    pub(super) fn append(&mut self, records: &[&str]) {
        use crate::pipeline::Piece;
        let share = Arc::clone(self.batcher.lane().share());
        let receipt = self.book.open(0, &share).unwrap();
        let mut entry = self.batcher.entry(std::time::Instant::now());
        for record in records {
            entry.push(&Piece::Copy(record.as_bytes(), None), None).unwrap();
        }
        entry.commit_durable(&receipt);
        self.batcher.close();
        self.stream.inlet().submit(self.batcher.take_closed().unwrap());
        self.receipts.push_back(receipt);
    }

    /// Sets a record aside, as one request.
    pub(super) fn set_aside_for(&mut self, record: &[u8]) -> Result<(), Vec<u8>> {
        let share = Arc::clone(self.batcher.lane().share());
        let receipt = self.book.open(0, &share).unwrap();
        let letter = super::Letter {
            id: 0,
            record: record.to_vec(),
            partition_key: None,
            opened_at: std::time::Instant::now(),
            reason: "oversize",
            code: "".into(),
            message: "larger than the service takes".into(),
            origin: None,
        };
        self.stream.set_aside_for(receipt.part(), letter)?;
        self.receipts.push_back(receipt);
        Ok(())
    }

    /// What became of the oldest group that was not asked for yet.
    pub(super) fn outcome(&mut self) -> crate::pipeline::Outcome {
        let receipt = self.receipts.pop_front().unwrap();
        let book = self.book.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listen = async {
                loop {
                    book.listen().await;
                }
            };
            tokio::select! {
                outcome = receipt => outcome,
                () = listen => unreachable!(),
                () = tokio::time::sleep(PATIENCE) => panic!("nothing became of it"),
            }
        })
    }

    /// Makes a record a dead letter, as if it had never been on disk.
    pub(super) fn set_aside(&self, record: &str, code: &str) {
        self.stream.set_aside(super::Letter {
            id: 0,
            record: record.into(),
            partition_key: None,
            opened_at: std::time::Instant::now(),
            reason: "refused_alone",
            code: code.into(),
            message: "it is too strange".into(),
            origin: None,
        });
        assert!(matches!(self.word(), super::Word::SetAside { result: Ok(()), .. }));
    }

    /// Replays dead letters.
    pub(super) fn replay(&self, ids: &[super::LetterId]) -> super::Replayed {
        let ask = super::ReplayAsk {
            ids: (!ids.is_empty()).then(|| ids.iter().copied().collect()),
            segment_max: None,
            until: std::time::Instant::now() + PATIENCE,
        };
        self.stream.replay(ask).recv_timeout(PATIENCE).unwrap()
    }

    /// The next word of the spool.
    pub(super) fn word(&self) -> super::Word {
        let mut word = None;
        wait_for(|| {
            word = self.words.try_take();
            word.is_some()
        });
        word.unwrap()
    }

    /// The next word, which is to be a batch.
    pub(super) fn batch(&self) -> Box<crate::pipeline::Batch> {
        match self.word() {
            super::Word::Batch(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    pub(super) const fn spool_of(&self) -> &super::StreamSpool {
        &self.stream
    }

    pub(super) fn status(&self) -> super::StreamStatus {
        self.spool.status().remove(0)
    }

    pub(super) const fn was_unclean(&self) -> bool {
        self.spool.was_unclean()
    }

    pub(super) fn stop(self) -> super::Left {
        self.spool.begin_stop();
        self.spool.stop(std::time::Instant::now() + PATIENCE)
    }

    /// Ends it without a word, as a kill does.
    pub(super) fn forget(self) {
        drop(self.spool);
    }
}
