//! The forwarder and the real spool together, under all faults at once, over several lives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::spool_model_tests::{record, service};
use super::tests::{MS, SOON, block_on, config};
use super::*;
use crate::gate::Gates;
use crate::pipeline::testing::{batch_of, lane, limits};
use crate::pipeline::{Batcher, Book, ChunkPool, Lane, Outlet, Piece, Receipt, handoff, post};
use crate::record::StreamName;
use crate::spool::{self, DataKey, KeyRing, NoKey, Provider, Spool, Unwrapped, WrappedKey};

/// A ring with one key.
struct Ring;

fn key() -> Arc<DataKey> {
    let wrapped = WrappedKey {
        provider: Provider::File,
        key_id: "test".to_owned(),
        context: BTreeMap::new(),
        wrapped: b"wrapped".to_vec(),
    };
    Arc::new(DataKey::new(wrapped, *b"a data key that is not random..."))
}

impl KeyRing for Ring {
    fn current(&self, _: &StreamName) -> Result<Arc<DataKey>, NoKey> {
        Ok(key())
    }

    fn used(&self, _: &StreamName, _: u64) {}

    fn unwrap(&self, _: &StreamName, _: &WrappedKey, _: Box<dyn FnOnce() + Send>) -> Unwrapped {
        Unwrapped::Ready(key())
    }
}

/// One life of the pipe, as `app` puts it together.
struct Life {
    forward: Forward,
    spool: Spool,
    outlet: Outlet,
    lane: Arc<Lane>,
    book: Book,
    group: Batcher,
    receipts: Vec<Receipt>,
}

impl Life {
    fn begin(dir: &Path, config: Config) -> Self {
        let lane = lane("demo", 1 << 20);
        let (mut outlets, intake) = handoff(1, 1_024);
        let (post, mut boxes) = post(1);
        let spool_config = spool::Config {
            dir: dir.to_owned(),
            reserve_bytes: 4096,
            free_bytes_min: 0,
            segment_bytes_max: 200 * 1024,
            group_bytes_max: 128 * 1024,
            read_ahead_bytes_max: 256 * 1024,
            threads: 2,
            allow_tmpfs: true,
            ..spool::Config::default()
        };
        let (spool, words) = Spool::start(spool_config, Arc::new(Ring), post.clone()).unwrap();
        assert!(!spool.was_unclean());
        let spools = Some((spool.spools(), words));
        let streams = vec![Arc::clone(&lane)];
        let forward =
            Forward::start(config, intake, post, spools, streams, Gates::unminded()).unwrap();
        let limits = crate::pipeline::Limits { linger: MS * 30, ..limits() };
        Self {
            forward,
            spool,
            outlet: outlets.remove(0),
            book: Book::new(boxes.remove(0)),
            group: Batcher::durable(Arc::clone(&lane), limits, ChunkPool::new()),
            lane,
            receipts: Vec::new(),
        }
    }

    /// Takes records at the level `durable`, or `memory`, as there is room.
    fn take(&mut self, records: &[Vec<u8>], is_durable: bool) {
        let deadline = Instant::now() + SOON * 2;
        let (keep, never) = crossbeam_channel::bounded::<()>(0);
        while self.lane.share().room_bytes() < 100 * 1024 {
            assert!(Instant::now() < deadline, "no room: {:?}", self.forward.status());
            assert!(never.recv_timeout(MS).is_err());
        }
        drop(keep);
        if !is_durable {
            self.outlet.hand_over(batch_of(&self.lane, records));
            return;
        }
        let receipt = self.book.open(0, self.lane.share()).unwrap();
        let mut entry = self.group.entry(Instant::now());
        for record in records {
            entry.push(&Piece::Copy(record, None), None).unwrap();
        }
        entry.commit_durable(&receipt);
        self.group.close();
        let inlet = self.spool.spools().open(&self.lane).unwrap().inlet();
        inlet.submit(self.group.take_closed().unwrap());
        self.receipts.push(receipt);
    }

    /// Waits until the spool has every group.
    fn all_durable(&mut self) {
        let book = self.book.clone();
        let receipts = std::mem::take(&mut self.receipts);
        block_on(async {
            let listen = async {
                loop {
                    book.listen().await
                }
            };
            let all = async {
                for receipt in receipts {
                    assert!(matches!(receipt.await, crate::pipeline::Outcome::Durable));
                }
            };
            tokio::select! {
                () = all => {}
                () = listen => unreachable!(),
                () = tokio::time::sleep(SOON) => panic!("a group is not durable"),
            }
        });
    }

    /// Stops it. Gives what is left on disk, the records that were accepted, and the dead letters.
    fn end(mut self, within: Duration) -> (spool::Left, u64, u64) {
        self.all_durable();
        let deadline = Instant::now() + within;
        self.spool.begin_stop();
        block_on(self.forward.stop(deadline));
        assert_eq!((self.lane.lost(), self.lane.records_in_memory()), ((0, 0), 0));
        let letters = self.spool.status()[0].dead_letters;
        let left = self.spool.stop(Instant::now() + SOON);
        assert!(left.is_whole);
        (left, self.lane.accepted().0, letters)
    }
}

#[test]
fn over_several_lives_and_under_all_faults_every_record_is_delivered_once_or_is_a_dead_letter() {
    const LIVES: usize = 4;
    const RECORDS: usize = 480;
    let dir = tempfile::tempdir().unwrap();
    let (take, taken) = crossbeam_channel::unbounded();
    let is_away = Arc::new(AtomicBool::new(false));
    let stub = service(take, &is_away);
    let config = Config {
        request_records_max: 60,
        circuit_failures: 3,
        spool_blocked_after: MS * 5,
        ..config(&stub.url())
    };
    let (mut accepted, mut letters) = (0, 0);
    for life in 0..LIVES {
        let mut now = Life::begin(dir.path(), config.clone());
        for first in (0..RECORDS).step_by(40) {
            let first = life * RECORDS + first;
            let records: Vec<Vec<u8>> = (first..first + 40).map(record).collect();
            now.take(&records, first.is_multiple_of(80));
        }
        // Each life ends early, with much in memory and a service that is gone.
        is_away.store(true, Ordering::SeqCst);
        let (left, was_accepted, new_letters) = now.end(SOON);
        assert!(left.records > 0);
        is_away.store(false, Ordering::SeqCst);
        accepted += was_accepted;
        letters += new_letters;
    }
    assert_eq!(accepted, (LIVES * RECORDS) as u64);
    let last = Life::begin(dir.path(), Config { stop_delivers_backlog: true, ..config });
    let (left, _, new_letters) = last.end(SOON * 2);
    letters += new_letters;
    assert_eq!((left.records, left.segments_uncounted), (0, 0), "{left:?}");
    let all: Vec<Vec<u8>> = taken.try_iter().collect();
    let taken: BTreeSet<&Vec<u8>> = all.iter().collect();
    // A stop does not wait for what is under way when its time is over: that may come twice.
    let twice = all.len() - taken.len();
    assert!(twice <= LIVES * 8 * 60, "{twice} came twice");
    let is_bad = |record: &Vec<u8>| record.ends_with(b"bad") || record.ends_with(b"spoils");
    let bad = (0..LIVES * RECORDS).map(record).filter(is_bad).count();
    assert_eq!(letters, bad as u64);
    for number in 0..LIVES * RECORDS {
        let record = record(number);
        assert!(is_bad(&record) != taken.contains(&record), "record {number}");
    }
}
