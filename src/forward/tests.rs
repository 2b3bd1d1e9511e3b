//! The whole stage against a real server on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::stub::{Put, Reply, Stub};
use super::thread::SpoolEnds;
use super::*;
use crate::aws::Credentials;
use crate::embedded::{self, Emulator, Faults};
use crate::gate::Gates;
use crate::pipeline::testing::{batch_of, lane, limits};
use crate::pipeline::{
    Batcher, Book, ChunkPool, Lane, Outcome, Outlet, Piece, Receipt, handoff, post,
};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A forwarder in front of a server, and the ends that an ingest worker would have.
pub(super) struct Rig {
    pub(super) forward: Forward,
    pub(super) outlet: Outlet,
    pub(super) lane: Arc<Lane>,
    pub(super) book: Book,
}

pub(super) fn config(url: &str) -> Config {
    Config {
        upstream: Upstream {
            endpoint: Some(url.to_owned()),
            credentials: Credentials::Embedded,
            ..Upstream::default()
        },
        kinesis_endpoint: Some(url.to_owned()),
        backoff_min: MS * 5,
        backoff_max: MS * 50,
        hold_min: MS * 10,
        hold_max: MS * 40,
        ..Config::default()
    }
}

impl Rig {
    fn new(config: Config) -> Self {
        Self::with_spool(config, lane("demo", 1 << 28), None)
    }

    pub(super) fn with_spool(config: Config, lane: Arc<Lane>, spool: Option<SpoolEnds>) -> Self {
        Self::with_gates(config, lane, spool, Gates::unminded())
    }

    pub(super) fn with_gates(
        config: Config,
        lane: Arc<Lane>,
        spool: Option<SpoolEnds>,
        gates: Gates,
    ) -> Self {
        let (mut outlets, intake) = handoff(1, 1_024);
        let (post, mut boxes) = post(1);
        let forward = Forward::start_with(config, intake, post, spool, gates).unwrap();
        let book = Book::new(boxes.remove(0));
        Self { forward, outlet: outlets.remove(0), lane, book }
    }

    /// What becomes of the records that somebody waits for.
    pub(super) fn outcome(&self, receipt: Receipt) -> Outcome {
        let book = self.book.clone();
        block_on(async move {
            let listen = async {
                loop {
                    book.listen().await
                }
            };
            tokio::select! {
                outcome = receipt => outcome,
                () = listen => unreachable!(),
                () = tokio::time::sleep(SOON) => panic!("no receipt"),
            }
        })
    }

    pub(super) fn send<T: AsRef<[u8]>>(&mut self, records: &[T]) {
        let batch = batch_of(&self.lane, records);
        self.outlet.hand_over(batch);
    }

    pub(super) fn status(&self) -> StreamStatus {
        self.wait("a status", |status| Some(status.clone()))
    }

    pub(super) fn wait<T>(&self, what: &str, look: impl Fn(&StreamStatus) -> Option<T>) -> T {
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

    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&StreamStatus) -> bool) {
        self.wait(what, |status| is_so(status).then_some(()));
    }

    /// Stops it, and expects that everything was delivered.
    pub(super) fn drain(self) {
        block_on(self.forward.stop(Instant::now() + SOON));
        assert_eq!((self.lane.lost(), self.lane.records_in_memory()), ((0, 0), 0));
    }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(super) fn numbered(count: usize) -> Vec<String> {
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

#[test]
fn records_that_failed_are_sent_again_alone_whatever_the_count_says() {
    let stub = Stub::start(|put| {
        let is_first = put.number == 0;
        Reply::entries(put, |_, record| is_first && (record == b"r1" || record == b"r3"))
    });
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&numbered(5));
    assert_eq!(stub.put().records.len(), 5);
    assert_eq!(stub.put().records, [b"r1", b"r3"]);
    rig.drain();
    assert!(stub.puts.is_empty());
}

#[test]
fn an_empty_id_is_none_and_an_empty_code_is_no_failure() {
    let stub = Stub::start(|put| {
        if put.number > 0 {
            return Reply::ok(put);
        }
        let entries = [
            serde_json::json!({"RecordId": ""}),
            serde_json::json!({"RecordId": "id", "ErrorCode": "", "ErrorMessage": ""}),
        ];
        Reply::json(200, &serde_json::json!({"FailedPutCount": 0, "RequestResponses": entries}))
    });
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&["without an id", "with one"]);
    assert_eq!(stub.put().records.len(), 2);
    assert_eq!(stub.put().records, [b"without an id"]);
    rig.drain();
    assert!(stub.puts.is_empty());
}

#[test]
fn no_more_of_an_answer_is_read_than_one_can_have() {
    let stub = Stub::start(|put| {
        if put.number > 0 {
            return Reply::ok(put);
        }
        let padding = " ".repeat(2 * 1024 * 1024);
        let entries = r#"{"FailedPutCount": 0, "RequestResponses": [{"RecordId": "id"}]}"#;
        Reply::text(200, &format!("{padding}{entries}"))
    });
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&["one"]);
    assert_eq!(stub.put().records, [b"one"]);
    // The service may have it: it is sent again, since the answer was not read.
    assert_eq!(stub.put().records, [b"one"]);
    rig.drain();
}

#[test]
fn a_receipt_gets_the_services_id_of_its_own_record() {
    let stub = Stub::start(|put| {
        let is_first = put.number == 0;
        Reply::entries(put, |place, _| is_first && place == 1)
    });
    let mut rig = Rig::new(config(&stub.url()));
    let receipt = rig.book.open(3, rig.lane.share()).unwrap();
    let mut batcher = Batcher::new(Arc::clone(&rig.lane), limits(), ChunkPool::new());
    let mut entry = batcher.entry(Instant::now());
    entry.push(&Piece::Copy(b"nobody waits", None), None).unwrap();
    for (index, record) in [b"a", b"b", b"c"].into_iter().enumerate() {
        entry.push(&Piece::Copy(record, None), Some(receipt.ticket(index))).unwrap();
    }
    entry.commit();
    batcher.close();
    rig.lane.await_settled();
    rig.outlet.hand_over(batcher.take_closed().unwrap());
    let delivered = rig.outcome(receipt);
    let Outcome::Delivered(delivered) = delivered else { panic!("{delivered:?}") };
    let ids: Vec<&str> = delivered.iter().map(|delivered| &*delivered.record_id).collect();
    assert_eq!(ids, ["id-a", "id-b", "id-c"]);
    assert!(delivered.iter().all(|delivered| delivered.encrypted == Some(true)));
    rig.drain();
}

#[test]
fn an_answer_in_which_every_record_is_throttled_is_never_followed_at_once_for_long() {
    let stub = Stub::start(|put| {
        let is_full = put.number < 8;
        Reply::entries(put, |_, _| is_full)
    });
    let slow = Config { backoff_min: MS * 40, backoff_max: MS * 200, ..config(&stub.url()) };
    let mut rig = Rig::new(slow);
    let start = Instant::now();
    rig.send(&numbered(500));
    let puts: Vec<Put> = (0..9).map(|_| stub.put()).collect();
    assert!(puts.iter().all(|put| put.records.len() == 500));
    let waits: Duration = puts.windows(2).map(|pair| pair[1].at - pair[0].at).sum();
    // Full jitter makes one wait short at times, but not all eight: their mean sum is over half a second.
    assert!(waits > MS * 100, "{waits:?}");
    rig.drain();
    assert!(start.elapsed() < SOON);
}

#[test]
fn an_unavailable_service_is_asked_again_until_it_takes_the_records() {
    let stub = Stub::start(|put| match put.number {
        0 => Reply::error(503, "ServiceUnavailableException", "Slow down."),
        1 => Reply::error(400, "ThrottlingException", "Please slow down."),
        2 => Reply::error(500, "InternalFailure", ""),
        3 => Reply::text(500, "<html>"),
        4 => Reply::text(200, "not json"),
        5 => Reply::json(200, &serde_json::json!({"FailedPutCount": 0, "RequestResponses": []})),
        6 => Reply::json(
            200,
            &serde_json::json!({"FailedPutCount": 0, "RequestResponses": [{}, {}]}),
        ),
        _ => Reply::ok(put),
    });
    let mut rig = Rig::new(Config { circuit_failures: 100, ..config(&stub.url()) });
    rig.send(&["a", "b"]);
    let puts: Vec<Put> = (0..8).map(|_| stub.put()).collect();
    assert!(puts.iter().all(|put| put.records == [b"a", b"b"]), "{puts:?}");
    rig.wait_until("flowing", |status| status.state == StreamState::Flowing && status.batches == 0);
    rig.drain();
}

#[test]
fn a_stream_that_an_operator_has_to_put_right_is_held_with_its_reason_and_then_released() {
    for (status, code, message) in [
        (400, "ResourceNotFoundException", "Firehose demo under account 0 not found."),
        (400, "InvalidKMSResourceException", "The grant for the CMK might have been revoked."),
        (403, "AccessDeniedException", "not authorized"),
        (403, "ExpiredTokenException", "expired"),
        (
            400,
            "InvalidArgumentException",
            "This operation is not permitted on KinesisStreamAsSource",
        ),
    ] {
        let is_right = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_right);
        let stub = Stub::start(move |put| {
            if seen.load(Ordering::SeqCst) {
                Reply::ok(put)
            } else {
                Reply::error(status, code, message)
            }
        });
        let mut rig = Rig::new(config(&stub.url()));
        rig.send(&numbered(20));
        rig.wait_until("a hold", |status| status.state == StreamState::Held);
        let reason = rig.status().reason.unwrap();
        assert_eq!((&*reason.code, &*reason.message), (code, message));
        assert_eq!(stub.put().records.len(), 20);
        // Asked again with one record at a time, and nothing is lost meanwhile.
        assert_eq!([stub.put().records.len(), stub.put().records.len()], [1, 1]);
        assert_eq!(rig.lane.batches_outstanding(), 1);
        is_right.store(true, Ordering::SeqCst);
        rig.wait_until("the release", |status| {
            status.state == StreamState::Flowing && status.batches == 0
        });
        assert_eq!(rig.status().reason, None);
        rig.drain();
    }
}

#[test]
fn a_record_that_spoils_its_request_is_set_aside_and_all_others_are_delivered() {
    let stub = Stub::start(|put| {
        if put.records.iter().any(|record| record == b"r77") {
            Reply::error(400, "ValidationException", "1 validation error detected")
        } else {
            Reply::ok(put)
        }
    });
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&numbered(200));
    rig.wait_until("a record set aside", |status| status.records_set_aside == 1);
    rig.wait_until("the others", |status| status.records_waiting + status.records_in_flight == 0);
    assert_eq!(rig.status().state, StreamState::Flowing);
    let mut put: Vec<Vec<u8>> = stub
        .puts
        .try_iter()
        .filter(|put| !put.records.iter().any(|record| record == b"r77"))
        .flat_map(|put| put.records)
        .collect();
    put.sort();
    put.dedup();
    assert_eq!(put.len(), 199);
    // It stays in memory until the process goes, and is named then.
    block_on(rig.forward.stop(Instant::now() + SOON));
    assert_eq!(rig.lane.lost(), (1, 3));
}

#[test]
fn a_stream_that_refuses_every_record_is_held_and_sets_none_aside() {
    let stub = Stub::start(|_| Reply::error(400, "InvalidArgumentException", "no"));
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&numbered(100));
    rig.wait_until("a hold", |status| status.state == StreamState::Held);
    assert_eq!(rig.status().records_set_aside, 0);
    rig.forward.stopper().stop_now();
    block_on(rig.forward.stop(Instant::now() + SOON));
    assert_eq!(rig.lane.lost().0, 100);
}

#[test]
fn a_service_that_does_not_answer_in_time_is_asked_again() {
    let stub = Stub::start(|put| {
        let delay = if put.number == 0 { SOON } else { Duration::ZERO };
        Reply::ok(put).after(delay)
    });
    let mut rig = Rig::new(Config { attempt_timeout: MS * 200, ..config(&stub.url()) });
    rig.send(&["a"]);
    assert_eq!([stub.put().records, stub.put().records], [[b"a"], [b"a"]]);
    rig.drain();
}

#[test]
fn a_refused_connection_opens_the_circuit_and_one_record_closes_it_when_the_service_is_back() {
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let mut rig = Rig::new(config(&format!("http://{address}")));
    rig.send(&numbered(50));
    rig.wait_until("an open circuit", |status| status.state == StreamState::CircuitOpen);
    assert_eq!(&*rig.status().reason.unwrap().code, "Connect");
    let stub = Stub::start_at(address, Reply::ok);
    assert_eq!(stub.put().records.len(), 1);
    rig.wait_until("delivery", |status| status.batches == 0);
    assert_eq!(rig.status().state, StreamState::Flowing);
    rig.drain();
}

#[test]
fn a_stop_delivers_what_it_can_until_its_deadline_and_names_the_rest() {
    let stub = Stub::start(|_| Reply::error(400, "ResourceNotFoundException", "gone"));
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&["one", "two"]);
    block_on(rig.forward.stop(Instant::now() + MS * 100));
    assert_eq!(rig.lane.lost(), (2, 6));
}

#[test]
fn a_stop_ends_at_once_when_it_is_told_to_even_while_it_waits() {
    let stub = Stub::start(|put| Reply::ok(put).after(SOON));
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&["one"]);
    let _put = stub.put();
    let stopper = rig.forward.stopper();
    let start = Instant::now();
    block_on(async {
        let stop = rig.forward.stop(Instant::now() + SOON);
        tokio::pin!(stop);
        tokio::select! {
            () = &mut stop => panic!("it has something to wait for"),
            () = tokio::time::sleep(MS * 50) => stopper.stop_now(),
        }
        stop.await;
    });
    assert_eq!(rig.lane.lost().0, 1);
    assert!(start.elapsed() < SOON / 2);
}

#[test]
fn all_streams_go_on_while_one_is_held_and_bytes_under_way_are_bounded() {
    let stub = Stub::start(|put| {
        if put.stream == "held" {
            Reply::error(400, "ResourceNotFoundException", "gone")
        } else {
            Reply::ok(put)
        }
    });
    let mut rig = Rig::new(Config { bytes_in_flight_max: 2_000, ..config(&stub.url()) });
    let held = lane("held", 1 << 20);
    for _ in 0..20 {
        rig.outlet.hand_over(batch_of(&held, &["x"]));
        rig.send(&[[b'y'; 1_500]]);
    }
    let deadline = Instant::now() + SOON;
    while rig.lane.batches_outstanding() > 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(held.batches_outstanding(), 20);
    let states: Vec<StreamState> = rig.forward.status().iter().map(|status| status.state).collect();
    assert_eq!(states, [StreamState::Flowing, StreamState::Held]);
}

#[test]
fn streams_whose_requests_hang_leave_room_for_the_others() {
    const KIB: usize = 1024;
    let stub = Stub::start(|put| {
        let hangs = put.stream.starts_with("hangs");
        Reply::ok(put).after(if hangs { SOON * 2 } else { Duration::ZERO })
    });
    let mut rig = Rig::new(Config {
        bytes_in_flight_max: 64 * KIB,
        request_bytes_max: Some(16 * KIB),
        ..config(&stub.url())
    });
    for number in 0..3 {
        let hangs = lane(&format!("hangs-{number}"), 1 << 20);
        for _ in 0..8 {
            rig.outlet.hand_over(batch_of(&hangs, &[[b'x'; 1024]; 16]));
        }
        // Its requests are under way when the next stream comes.
        let in_flight = |status: &StreamStatus| status.requests_in_flight > 0;
        let deadline = Instant::now() + SOON;
        while rig.forward.status().get(number).is_none_or(|status| !in_flight(status)) {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
    let start = Instant::now();
    for _ in 0..8 {
        rig.send(&[[b'y'; 1024]; 16]);
    }
    while rig.lane.batches_outstanding() > 0 {
        assert!(start.elapsed() < SOON, "the healthy stream waits for those that hang");
        std::thread::yield_now();
    }
}

#[test]
fn a_record_with_an_error_of_its_own_is_set_aside_when_its_siblings_went_through() {
    let stub = Stub::start(|put| {
        let entry = |record: &Vec<u8>| match record.as_slice() {
            b"bad" => serde_json::json!({"ErrorCode": "ValidationException", "ErrorMessage": "no"}),
            _ => serde_json::json!({"RecordId": "id"}),
        };
        let entries: Vec<_> = put.records.iter().map(entry).collect();
        Reply::json(200, &serde_json::json!({"FailedPutCount": 1, "RequestResponses": entries}))
    });
    let mut rig = Rig::new(config(&stub.url()));
    rig.send(&["bad"]);
    // Alone it proves nothing: it looks like the stream's fault until another record goes through.
    rig.wait_until("a hold", |status| status.state == StreamState::Held);
    rig.send(&["good"]);
    rig.wait_until("a record set aside", |status| status.records_set_aside == 1);
    rig.send(&["good", "bad", "better"]);
    rig.wait_until("another one", |status| status.records_set_aside == 2 && status.batches == 2);
    assert_eq!((rig.status().state, rig.lane.batches_outstanding()), (StreamState::Flowing, 0));
}

/// Everything that can go wrong on the way, at once, with the emulated service over its own protocol.
#[test]
fn under_all_faults_at_once_every_record_arrives_and_none_is_left() {
    const BATCHES: usize = 120;
    const RECORDS: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults {
        seed: 7,
        throttle_rate: 0.1,
        error_code: Some("InternalFailure".to_owned()),
        error_rate: 0.1,
        record_failure_rate: 0.1,
        latency_jitter_ms: 5,
        reset_before_rate: 0.03,
        reset_after_rate: 0.03,
        lost_answer_rate: 0.05,
        ..Faults::default()
    };
    let emulator = Emulator::start(embedded::Config {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: dir.path().to_owned(),
        streams: vec!["demo".parse().unwrap()],
        quota: None,
        faults,
        ..embedded::Config::default()
    })
    .unwrap();
    let rig_config = Config { request_records_max: 120, ..config(&emulator.endpoint_url()) };
    let mut rig = Rig::new(rig_config);
    for batch in 0..BATCHES {
        let records: Vec<String> =
            (0..RECORDS).map(|record| format!("{}\n", batch * RECORDS + record)).collect();
        rig.send(&records);
    }
    rig.drain();
    emulator.stop().unwrap();
    let delivered = embedded::read_delivered(dir.path(), "demo").unwrap();
    let mut numbers: Vec<usize> =
        String::from_utf8(delivered).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..BATCHES * RECORDS).collect::<Vec<_>>());
}
