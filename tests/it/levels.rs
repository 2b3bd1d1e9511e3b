//! The levels of an answer with a spool behind them: which one a request gets, and that it is true.
//!
//! What is answered as durable is there after a SIGKILL; what is answered as delivered is at the service. No
//! answer waits longer than it may. Scenarios end with the identity of the counters and every record id.

use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Client};
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

/// A pipe with a spool that says nothing of levels, and whose batches linger for a minute.
fn silent(upstream: &Upstream, directory: &TempDir) -> Setup {
    Setup::new(&upstream.endpoint())
        .spool_in(directory.path().to_str().unwrap())
        .set("STANDPIPE_DEFAULTS_ACK", "")
        .set("STANDPIPE_DEFAULTS_LINGER_MS", "60000")
        .config(
            "[forward]\nbackoff_max_ms = 200\nhold_min_ms = 100\nhold_max_ms = 200\n\
             [stop]\ngrace_ms = 4000\ndeliver_ms = 2000\nquiet_ms = 100\n",
        )
}

fn ack(level: &str) -> [(&'static str, &str); 1] {
    [("standpipe-ack", level)]
}

/// The status of an answer and the level that it names, in its header and in its body.
fn reached(answer: &Answer) -> (u16, String) {
    let named = answer.header("standpipe-ack").unwrap_or_default().to_owned();
    assert_eq!(answer.json()["ack"], named.as_str(), "{answer:?}");
    (answer.status, named)
}

/// Calls the Firehose protocol with records of the ledger, and notes those that were taken.
fn wire(ledger: &mut Ledger, client: &mut Client, records: usize, level: Option<&str>) -> Answer {
    let (ids, data): (Vec<u64>, Vec<Value>) = (0..records)
        .map(|_| {
            let (id, record) = ledger.record(100);
            (id, json!({"Data": STANDARD.encode_to_string(record)}))
        })
        .unzip();
    let (operation, body) = match &data[..] {
        [one] => ("PutRecord", json!({"DeliveryStreamName": "demo", "Record": one})),
        _ => ("PutRecordBatch", json!({"DeliveryStreamName": "demo", "Records": data})),
    };
    let target = format!("Firehose_20150804.{operation}");
    let mut headers = vec![("x-amz-target", target.as_str())];
    headers.extend(level.map(|level| ("standpipe-ack", level)));
    let answer = client.request("POST", "/", &headers, body.to_string().as_bytes());
    if answer.status == 200 {
        ids.into_iter().for_each(|id| ledger.note(id));
    }
    answer
}

/// Ends the pipe as a machine does that takes it away, and lets the next life deliver.
fn kill_and_deliver(pipe: Pipe, upstream: &Upstream, directory: &TempDir, ledger: &Ledger) {
    pipe.signal("KILL");
    let _killed = pipe.ended();
    upstream.heal();
    let next = silent(upstream, directory).start();
    next.drain();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn durable_is_the_level_that_nobody_has_to_ask_for_and_it_outlives_a_kill() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = silent(&upstream, &directory).start();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    let answer = ledger.post_to("demo", &mut client, (3, 200), &[]);
    assert_eq!(reached(&answer), (200, "durable".to_owned()));
    for records in [1, 4] {
        let answer = wire(&mut ledger, &mut client, records, None);
        assert_eq!((answer.status, answer.header("standpipe-ack")), (200, Some("durable")));
        let body = answer.json();
        assert!(body.get("Encrypted").is_none(), "that is the service's to say: {body}");
        if records == 4 {
            assert_eq!(body["FailedPutCount"], 0, "{body}");
            assert_eq!(body["RequestResponses"].as_array().unwrap().len(), 4);
        } else {
            assert!(body["RecordId"].as_str().is_some_and(|id| id.len() > 20), "{body}");
        }
    }
    kill_and_deliver(pipe, &upstream, &directory, &ledger);
}

#[test]
fn a_request_gets_the_level_that_it_names_in_both_dialects() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = silent(&upstream, &directory).set("STANDPIPE_DEFAULTS_LINGER_MS", "20").start();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    for (level, status) in [("memory", 202), ("durable", 200), ("delivered", 200)] {
        let answer = ledger.post_to("demo", &mut client, (2, 200), &ack(level));
        assert_eq!(reached(&answer), (status, level.to_owned()));
        for records in [1, 3] {
            let answer = wire(&mut ledger, &mut client, records, Some(level));
            assert_eq!((answer.status, answer.header("standpipe-ack")), (200, Some(level)));
            // With `delivered` the ids are the service's.
            let body = answer.json();
            let first = if records == 1 { &body } else { &body["RequestResponses"][0] };
            let is_there =
                upstream.records("demo").contains_key(first["RecordId"].as_str().unwrap());
            assert_eq!(is_there, level == "delivered", "{body}");
        }
    }
    pipe.drain();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn a_stream_lifts_what_is_named_to_its_floor_and_never_below_it() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    for (floor, expected) in [
        ("memory", [(202, "memory"), (200, "durable"), (200, "delivered")]),
        ("durable", [(200, "durable"), (200, "durable"), (200, "delivered")]),
        ("delivered", [(200, "delivered"), (200, "delivered"), (200, "delivered")]),
    ] {
        let pipe = silent(&upstream, &directory)
            .set("STANDPIPE_DEFAULTS_MIN_ACK", floor)
            .set("STANDPIPE_DEFAULTS_LINGER_MS", "20")
            .start();
        let mut client = pipe.client();
        for (level, (status, reached_level)) in
            ["memory", "durable", "delivered"].into_iter().zip(expected)
        {
            let answer = Ledger::default().post_to("demo", &mut client, (2, 200), &ack(level));
            assert_eq!(reached(&answer), (status, reached_level.to_owned()), "{floor} {level}");
        }
        drop(client);
        pipe.drain();
        assert_eq!(pipe.stop().0.code(), Some(0));
    }
}

#[test]
fn delivered_with_the_service_away_is_durable_in_time_and_outlives_a_kill() {
    const WAIT: Duration = Duration::from_secs(2);
    for floor in ["memory", "durable"] {
        let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
        upstream.fault(&json!({"outage": "refuse"}));
        let pipe = silent(&upstream, &directory)
            .set("STANDPIPE_DEFAULTS_MIN_ACK", floor)
            .set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "2000")
            .start();
        let (mut client, mut ledger) = (pipe.client(), Ledger::default());
        for _ in 0..2 {
            let begun = Instant::now();
            let answer = ledger.post_to("demo", &mut client, (5, 200), &ack("delivered"));
            let took = begun.elapsed();
            assert_eq!(reached(&answer), (202, "durable".to_owned()), "{took:?}");
            assert!(took < WAIT + Duration::from_millis(500), "{took:?}");
            assert!(answer.json()["detail"].as_str().unwrap().contains("in the spool"));
        }
        let begun = Instant::now();
        let answer = wire(&mut ledger, &mut client, 3, Some("delivered"));
        assert_eq!((answer.status, answer.header("standpipe-ack")), (200, Some("durable")));
        assert!(begun.elapsed() < WAIT + Duration::from_millis(500), "{:?}", begun.elapsed());
        assert!(pipe.metric("standpipe_ingest_delivered_wait_seconds_count", "durable") >= 1.0);
        assert_eq!(pipe.balance().spooled, 13.0);
        kill_and_deliver(pipe, &upstream, &directory, &ledger);
    }
}

#[test]
fn delivered_with_a_service_that_is_too_slow_is_durable_in_time_and_delivered_once() {
    const WAIT: Duration = Duration::from_millis(2_500);
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"latency_ms": 5_000}));
    let pipe =
        silent(&upstream, &directory).set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "2500").start();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    for _ in 0..2 {
        let begun = Instant::now();
        let answer = ledger.post_to("demo", &mut client, (5, 200), &ack("delivered"));
        assert_eq!(reached(&answer), (202, "durable".to_owned()));
        let took = begun.elapsed();
        assert!(took < WAIT + Duration::from_millis(500), "{took:?}");
    }
    pipe.drain();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn durable_at_an_idle_pipe_is_answered_at_once() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = silent(&upstream, &directory).start();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(ledger.post(&mut client, 1, &ack("durable")), 200);
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    assert!(
        took[10] < Duration::from_millis(100),
        "the batch lingers, the answer does not: {took:?}"
    );
    // Each was alone, so that each has a sync of its own.
    assert_eq!(pipe.metric("standpipe_spool_group_records_count", ""), 20.0);
    assert!(upstream.records("demo").is_empty(), "they linger for others to be sent with");
    assert_eq!(pipe.balance().spooled, 20.0);
    drop(client);
    let (status, log) = pipe.stop();
    assert_eq!(status.code(), Some(0), "{log:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn requests_at_the_same_time_share_syncs_and_nobody_is_woken_for_a_record() {
    const CLIENTS: usize = 32;
    const ROUNDS: usize = 60;
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = silent(&upstream, &directory).set("STANDPIPE_DEFAULTS_LINGER_MS", "1000").start();
    let ledgers: Vec<Ledger> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|index| {
                let pipe = &pipe;
                scope.spawn(move || {
                    let (mut client, mut ledger) =
                        (pipe.client(), Ledger::from(index as u64 * 1_000));
                    for _ in 0..ROUNDS {
                        assert_eq!(ledger.post(&mut client, 1, &[]), 200);
                    }
                    ledger
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let metric = |name| pipe.metric(name, "");
    let (records, groups) = (
        metric("standpipe_spool_group_records_sum"),
        metric("standpipe_spool_group_records_count"),
    );
    assert_eq!(records, (CLIENTS * ROUNDS) as f64);
    assert!(records / groups > 4.0, "{groups} groups for {records} records");
    let ingest = metric("standpipe_ingest_wakeups_total");
    assert!(ingest <= 2.0 * groups + 2.0, "{ingest} wake-ups for {groups} groups");
    let forward = metric("standpipe_forward_wakeups_total");
    assert!(forward <= groups / 2.0, "{forward} wake-ups for {groups} groups");
    pipe.drain();
    let mut all = Ledger::default();
    ledgers.iter().for_each(|ledger| all.add(ledger));
    assert_eq!(all.check(upstream.records("demo").values()), 0);
    let calls = metric("standpipe_forward_requests_total");
    assert!(calls < 30.0, "{calls} calls for {records} records");
    wait_until("the notes are written and the segments gone", || {
        metric("standpipe_spool_records") == 0.0
    });
}
