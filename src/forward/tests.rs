//! The whole stage against a real server on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::stub::{Put, Reply, Stub};
use super::*;
use crate::pipeline::testing::{batch_of, lane, limits};
use crate::pipeline::{Batcher, Book, ChunkPool, Lane, Outlet, Piece, handoff, post};

const MS: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(20);

/// A forwarder in front of a server, and the ends that an ingest worker would have.
struct Rig {
    forward: Forward,
    outlet: Outlet,
    lane: Arc<Lane>,
    book: Book,
}

fn config(url: &str) -> Config {
    Config {
        upstream: Upstream {
            endpoint: Some(url.to_owned()),
            credentials: Credentials::Embedded,
            ..Upstream::default()
        },
        backoff_min: MS * 5,
        backoff_max: MS * 50,
        hold_min: MS * 10,
        hold_max: MS * 40,
        ..Config::default()
    }
}

impl Rig {
    fn new(config: Config) -> Self {
        let (mut outlets, intake) = handoff(1, 1_024);
        let (post, mut boxes) = post(1);
        let forward = Forward::start(config, intake, post).unwrap();
        let book = Book::new(boxes.remove(0));
        Self { forward, outlet: outlets.remove(0), lane: lane("demo", 1 << 28), book }
    }

    fn send<T: AsRef<[u8]>>(&mut self, records: &[T]) {
        let batch = batch_of(&self.lane, records);
        self.outlet.hand_over(batch);
    }

    fn status(&self) -> StreamStatus {
        self.wait("a status", |status| Some(status.clone()))
    }

    fn wait<T>(&self, what: &str, look: impl Fn(&StreamStatus) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.forward.status();
            if let Some(found) = status.first().and_then(&look) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} does not come: {status:?}");
            std::thread::yield_now();
        }
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&StreamStatus) -> bool) {
        self.wait(what, |status| is_so(status).then_some(()));
    }

    /// Stops it, and expects that everything was delivered.
    fn drain(self) {
        let left = block_on(self.forward.stop(Instant::now() + SOON));
        assert_eq!((left, self.lane.records_in_memory()), (Vec::new(), 0));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("r{number}")).collect()
}

#[test]
fn a_batch_is_delivered_in_one_signed_request_and_its_memory_is_given_back() {
    let stub = Stub::start(Reply::ok);
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&["one", "", "three"]);
    let put = stub.put();
    assert_eq!(put.stream, "demo");
    assert_eq!(put.records, [b"one".to_vec(), Vec::new(), b"three".to_vec()]);
    let header = |name: &str| put.headers[name].to_str().unwrap();
    assert_eq!(header("x-amz-target"), "Firehose_20150804.PutRecordBatch");
    assert_eq!(header("content-type"), "application/x-amz-json-1.1");
    assert!(header("authorization").contains("/us-east-1/firehose/aws4_request"));
    assert!(header("user-agent").contains("standpipe"), "{}", header("user-agent"));
    rig.wait_until("delivery", |status| status.last_success_at.is_some() && status.batches == 0);
    assert_eq!(rig.lane.share().used_bytes(), 0);
    rig.drain();
}
