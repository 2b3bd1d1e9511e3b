//! The bounds of the data listener: connections, requests, heads, bodies, time, memory.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use serde_json::json;

use crate::http::{Client, head};
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

#[test]
fn one_connection_too_many_is_told_so_and_closed() {
    let upstream = Upstream::start();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_CONNECTIONS_MAX", "2").start();
    let mut open = [pipe.client(), pipe.client()];
    for client in &mut open {
        assert_eq!(client.request("POST", &Pipe::path("demo"), &[], b"x").status, 202);
    }
    let mut third = pipe.client();
    let answer = third.request("POST", &Pipe::path("demo"), &[], b"x");
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_connections"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(third.is_closed());
    assert_eq!(pipe.metric("standpipe_ingest_connections_closed_total", "too_many"), 1.0);
    drop(open);
    wait_until("there is a place again", || {
        pipe.client().request("POST", &Pipe::path("demo"), &[], b"x").status == 202
    });
}

#[test]
fn more_connections_than_the_usual_limit_of_files_are_served() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).after("ulimit -S -n 128").start();
    let mut clients: Vec<Client> = (0..300).map(|_| pipe.client()).collect();
    for client in &mut clients {
        assert_eq!(client.request("POST", &Pipe::path("demo"), &[], b"x").status, 202);
    }
    pipe.settle();
    assert_eq!(pipe.metric("standpipe_ingest_connections", ""), 300.0);
}

#[test]
fn one_request_too_many_is_told_so_and_its_connection_goes_on() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"latency_ms": 1_500}));
    let pipe = Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_REQUESTS_MAX", "1").start();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let headers = [("standpipe-ack", "delivered")];
            pipe.client().request("POST", &Pipe::path("demo"), &headers, b"x")
        });
        let mut client = pipe.client();
        wait_until("the first is being served", || {
            let answer = client.request("POST", &Pipe::path("demo"), &[], b"y");
            answer.status == 503 && answer.code() == "too_many_requests"
        });
        assert_eq!(waits.join().unwrap().status, 200);
        wait_until("there is a place again", || {
            client.request("POST", &Pipe::path("demo"), &[], b"y").status == 202
        });
    });
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let large = "x".repeat(17 * 1024);
    let answer = pipe.client().request("POST", &Pipe::path("demo"), &[("x-large", &large)], b"x");
    assert_eq!(answer.status, 431);
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), "1".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(pipe.client().request("POST", &Pipe::path("demo"), &many, b"x").status, 431);
}

#[test]
fn a_slow_head_is_cut_off_and_an_idle_connection_lives_longer() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_HEAD_TIMEOUT_MS", "500")
        .set("STANDPIPE_INGEST_IDLE_TIMEOUT_MS", "4000")
        .start();
    let mut idle = pipe.client();
    assert_eq!(idle.request("POST", &Pipe::path("demo"), &[], b"x").status, 202);
    let mut slow = pipe.client();
    slow.send(b"POST /v1/streams/demo/rec").unwrap();
    let mut silent = pipe.client();
    assert!(slow.is_closed() && silent.is_closed());
    wait_until("they are counted", || {
        pipe.metric("standpipe_ingest_connections_closed_total", "slow_head") == 2.0
    });
    assert_eq!(idle.request("POST", &Pipe::path("demo"), &[], b"x").status, 202);
    assert!(idle.is_closed(), "an idle connection is closed in the end");
    wait_until("it is counted", || {
        pipe.metric("standpipe_ingest_connections_closed_total", "idle") == 1.0
    });
}

#[test]
fn a_slow_body_is_408_and_its_memory_is_given_back() {
    let upstream = Upstream::start();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_BODY_TIMEOUT_MS", "300").start();
    let mut client = pipe.client();
    client.send(&head("POST", &Pipe::path("demo"), &[], 100_000)).unwrap();
    client.send(&[b'x'; 50_000]).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (408, "slow_body"));
    assert_eq!(pipe.metric("standpipe_pipeline_memory_bytes", ""), 0.0);
    assert_eq!(pipe.metric("standpipe_ingest_requests_total", "slow_body"), 1.0);
}

#[test]
fn a_body_that_is_broken_off_leaves_nothing_behind() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    for _ in 0..20 {
        let mut client = pipe.client();
        let headers = [("content-type", "application/x-ndjson")];
        client.send(&head("POST", &Pipe::path("demo"), &headers, 200_000)).unwrap();
        client.send("line\n".repeat(20_000).as_bytes()).unwrap();
        drop(client);
    }
    wait_until("all of it is given back", || {
        pipe.metric("standpipe_ingest_connections", "") == 0.0
            && pipe.metric("standpipe_pipeline_memory_bytes", "") == 0.0
    });
    assert_eq!(pipe.metric("standpipe_ingest_records_accepted_total", ""), 0.0);
}

#[test]
fn full_memory_is_503_with_retry_after_and_what_was_accepted_is_delivered() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_MEMORY_BYTES_MAX", "9000000")
        .set("STANDPIPE_INGEST_BODY_BYTES_MAX", "1000000")
        .set("STANDPIPE_INGEST_DECODED_BYTES_MAX", "1000000")
        .start();
    let mut ledger = Ledger::default();
    let mut client = pipe.client();
    let mut refused = 0;
    while refused < 50 {
        if ledger.post(&mut client, 100, &[]) == 503 {
            refused += 1;
        }
    }
    let answer = client.request("POST", &Pipe::path("demo"), &[], &[b'x'; 900_000]);
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_room"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let used = pipe.metric("standpipe_pipeline_memory_bytes", "");
    assert!(used <= 9_000_000.0, "{used} bytes are reserved");
    assert!(ledger.len() > 10_000, "the memory holds records: {}", ledger.len());
    assert_eq!(pipe.admin().get("/readyz").status, 200, "an outage does not make it unready");
    upstream.heal();
    pipe.settle();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn a_stream_that_is_held_can_not_take_the_memory_of_another() {
    let upstream = Upstream::with_streams(&["demo"]);
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_STREAMS", "demo,missing")
        .set("STANDPIPE_MEMORY_BYTES_MAX", "20000000")
        .set("STANDPIPE_INGEST_BODY_BYTES_MAX", "1000000")
        .set("STANDPIPE_INGEST_DECODED_BYTES_MAX", "1000000")
        .start();
    let mut client = pipe.client();
    let body = [b'x'; 60_000];
    wait_until("the held stream has filled the memory", || {
        client.request("POST", &Pipe::path("missing"), &[], &body).status == 503
    });
    let mut ledger = Ledger::default();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let status = ledger.post(&mut client, 10, &[("standpipe-ack", "delivered")]);
        assert_eq!(status, 200, "the healthy stream has its floor");
    }
    wait_until("it is delivered", || upstream.records("demo").len() == ledger.len());
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);

    // A call of the Firehose protocol is read before it says which stream it is for.
    let data = STANDARD.encode_to_string([b'x'; 300]);
    let call = json!({"DeliveryStreamName": "demo", "Records": vec![json!({"Data": data}); 500]});
    let headers =
        [("x-amz-target", "Firehose_20150804.PutRecordBatch"), ("standpipe-ack", "delivered")];
    for _ in 0..20 {
        let answer = client.request("POST", "/", &headers, call.to_string().as_bytes());
        assert_eq!((answer.status, &answer.json()["FailedPutCount"]), (200, &json!(0)));
    }
}

#[test]
fn a_client_that_never_reads_its_answers_harms_nobody_and_loses_its_connection() {
    let upstream = Upstream::start();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_IDLE_TIMEOUT_MS", "500").start();
    let mut deaf = TcpStream::connect(&pipe.data).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let requests = [&head("POST", &Pipe::path("demo"), &[], 1)[..], b"x"].concat().repeat(1_000);
    // Until neither side can write any more.
    while deaf.write_all(&requests).is_ok() {}
    assert_eq!(pipe.client().request("POST", &Pipe::path("demo"), &[], b"y").status, 202);
    wait_until("its connection is closed", || {
        pipe.metric("standpipe_ingest_connections", "") == 0.0
    });
    assert!(pipe.metric("standpipe_ingest_connections_closed_total", "idle") >= 1.0);
}
