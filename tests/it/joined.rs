//! Records that are joined on their way: each is accounted for by itself, whatever becomes of the blobs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

/// How large blobs are here: about twenty records.
const BLOB_BYTES: usize = 4_096;

fn joining(upstream: &Upstream) -> Setup {
    Setup::new(&upstream.endpoint())
        .config(
            "[forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 200\nhold_min_ms = 100\n\
             hold_max_ms = 200\nattempt_timeout_ms = 1000\nconnect_timeout_ms = 500\n",
        )
        .set("STANDPIPE_DEFAULTS_AGGREGATE", "on")
        .set("STANDPIPE_DEFAULTS_AGGREGATE_BYTES", &BLOB_BYTES.to_string())
}

fn post(pipe: &Pipe, ledger: &mut Ledger, requests: usize) {
    let mut client = pipe.client();
    for _ in 0..requests {
        assert_eq!(ledger.post(&mut client, 10, &[]), 202);
    }
}

/// Checks what was billed, by both sides, and what was saved by it.
#[track_caller]
fn is_billed_right(pipe: &Pipe, upstream: &Upstream, records: usize) {
    let metric = |name: &str| pipe.metric(&format!("standpipe_forward_{name}_total"), "");
    assert_eq!(metric("records_delivered"), records as f64);
    let counters = upstream.counters("demo");
    assert_eq!(metric("bytes_billed"), counters["counters"]["bytes_billed"].as_f64().unwrap());
    assert_eq!(metric("bytes_billed") + metric("bytes_saved"), records as f64 * 5_120.0);
    assert!(metric("blobs_delivered") * 5.0 < records as f64, "{}", metric("blobs_delivered"));
    let shown = &pipe.stream("demo")["aggregate"];
    assert_eq!((&shown["joins"], &shown["records"]), (&json!(true), &json!(records)));
    assert_eq!(shown["bytes_saved"].as_f64(), Some(metric("bytes_saved")));
}

#[test]
fn only_the_records_of_the_blobs_that_failed_are_sent_again() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"record_failure_rate": 0.3, "seed": 7}));
    let pipe = joining(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 300);
    pipe.settle();
    let blobs = upstream.records("demo");
    assert_eq!(ledger.check(blobs.values()), 0);
    assert!(blobs.values().all(|blob| blob.len() <= BLOB_BYTES));
    let delivered = upstream.delivered("demo");
    assert_eq!(ledger.check(delivered.split_inclusive(|byte| *byte == b'\n')), 0);
    let failed = pipe.metric("standpipe_forward_records_failed_total", "ServiceUnavailable");
    assert!(failed > 300.0, "{failed} records failed on the way");
    is_billed_right(&pipe, &upstream, 3_000);
}

#[test]
fn answers_that_are_lost_cost_duplicates_and_no_record() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"lost_answer_rate": 0.5, "record_failure_rate": 0.1, "seed": 3}));
    let pipe = joining(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 100);
    wait_until("answers were lost", || {
        pipe.metric("standpipe_forward_requests_total", "ambiguous") >= 2.0
    });
    upstream.heal();
    pipe.settle();
    let duplicates = ledger.check(upstream.records("demo").values());
    let ambiguous = pipe.metric("standpipe_forward_records_ambiguous_total", "");
    assert!(duplicates > 0 && duplicates as f64 <= ambiguous, "{duplicates} of {ambiguous}");
}

#[test]
fn a_receipt_names_the_blob_that_its_record_is_in() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"record_failure_rate": 0.3, "seed": 5}));
    let pipe = joining(&upstream).start();
    let mut client = pipe.client();
    let mut ledger = Ledger::default();
    let mut named = Vec::new();
    for _ in 0..20 {
        let lines: Vec<String> = (0..50).map(|_| ledger.record(200).1).collect();
        let headers = [("content-type", "application/x-ndjson"), ("standpipe-ack", "delivered")];
        let body = lines.concat();
        let answer = client.request("POST", &Pipe::path("demo"), &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let answer = answer.json();
        let ids = answer["record_ids"].as_array().unwrap();
        assert_eq!(ids.len(), lines.len());
        let ids = ids.iter().map(|id| id.as_str().unwrap().to_owned());
        named.extend(ids.zip(lines));
    }
    let blobs = upstream.records("demo");
    for (id, line) in &named {
        let blob = String::from_utf8(blobs[id].clone()).unwrap();
        assert!(blob.split_inclusive('\n').any(|inside| inside == line), "{id}");
    }
    let ids: BTreeSet<&String> = named.iter().map(|(id, _)| id).collect();
    assert!(ids.len() * 5 < named.len(), "many share one");
}

#[test]
fn one_bad_record_in_a_blob_is_a_dead_letter_and_those_beside_it_are_delivered() {
    for scope in ["batch", "record"] {
        is_set_aside_alone(scope);
    }
}

/// Sends poison that takes its request down, or the record of the service that it is in.
fn is_set_aside_alone(scope: &str) {
    let upstream = Upstream::start();
    upstream.fault(&json!({"poison": "poisoned", "poison_scope": scope}));
    let pipe = joining(&upstream).spool().start_durable();
    let mut ledger = Ledger::default();
    let mut client = pipe.client();
    for number in 0..3 {
        assert_eq!(ledger.post(&mut client, 30, &[]), 202);
        let bad = format!("{{\"poisoned\":{number}}}\n");
        let answer = client.request("POST", &Pipe::path("demo"), &[], bad.as_bytes());
        assert_eq!(answer.status, 202);
        assert_eq!(ledger.post(&mut client, 30, &[]), 202);
    }
    wait_until("the bad ones are dead letters", || {
        pipe.metric("standpipe_forward_records_dead_lettered_total", "") == 3.0
    });
    let accounts = pipe.drain();
    assert_eq!((accounts.delivered, accounts.dead_lettered), (180.0, 3.0));
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn what_waited_on_disk_is_joined_when_it_is_sent_and_noted_by_each_record() {
    let mut upstream = Upstream::start();
    let pipe = joining(&upstream).set("STANDPIPE_DEFAULTS_ACK", "durable").spool().start_durable();
    let mut ledger = Ledger::default();
    upstream.go_away();
    let mut client = pipe.client();
    for _ in 0..100 {
        assert_eq!(ledger.post(&mut client, 10, &[]), 200);
    }
    upstream.come_back();
    upstream.fault(&json!({"record_failure_rate": 0.3, "seed": 9}));
    let accounts = pipe.drain();
    assert_eq!(accounts.delivered, 1_000.0);
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    is_billed_right(&pipe, &upstream, 1_000);
}

#[test]
fn a_data_stream_gets_the_kpl_s_format_which_firehose_takes_apart() {
    let upstream = Upstream::with_data_streams(&[], &["source=demo"]);
    upstream.fault(&json!({"record_failure_rate": 0.3, "seed": 7}));
    let pipe = joining(&upstream)
        .set("STANDPIPE_DEFAULTS_AGGREGATE", "auto")
        .set("STANDPIPE_DEFAULTS_PARTITION_KEY", "header")
        .set("STANDPIPE_UPSTREAM_KINESIS_ENDPOINT", &upstream.endpoint())
        .start();
    let shown = || pipe.stream("demo")["aggregate"].clone();
    let mut ledger = Ledger::default();
    // The worker begins with the first record; the service says what the stream is.
    assert_eq!(ledger.post(&mut pipe.client(), 1, &[]), 202);
    wait_until("it is known what the stream is", || shown()["joins"] == true);
    assert!(shown()["reason"].as_str().unwrap().contains("KPL"), "{}", shown());
    let mut keys: BTreeMap<u64, String> = BTreeMap::new();
    let mut client = pipe.client();
    for number in 0..100 {
        let key = format!("key-{}", number % 3);
        let first = 1 + number * 10;
        keys.extend((first..first + 10).map(|id| (id, key.clone())));
        let headers = [("standpipe-partition-key", key.as_str())];
        assert_eq!(ledger.post(&mut client, 10, &headers), 202);
    }
    pipe.settle();
    // The delivery stream has the records themselves, and the data stream has fewer, larger ones.
    let entries = upstream.entries("demo");
    assert_eq!(ledger.check(entries.iter().map(|entry| &entry.data)), 0);
    for entry in &entries {
        let id = serde_json::from_slice::<serde_json::Value>(&entry.data).unwrap()["id"].as_u64();
        if let Some(key) = keys.get(&id.unwrap()) {
            assert_eq!(entry.partition_key.as_ref(), Some(key), "each lies under its own key");
        }
    }
    let blobs = upstream.data_entries("source");
    assert!(blobs.len() * 5 < entries.len(), "{} of {}", blobs.len(), entries.len());
    assert!(blobs.iter().any(|blob| blob.data.starts_with(&[0xf3, 0x89, 0x9a, 0xc2])));
    assert_eq!(ledger.check([upstream.delivered("demo")]), 0);
}

#[test]
fn what_the_service_says_of_a_stream_decides_where_that_is_asked_for() {
    let upstream = Upstream::start();
    let pipe = joining(&upstream).set("STANDPIPE_DEFAULTS_AGGREGATE", "auto").start();
    let mut ledger = Ledger::default();
    assert_eq!(ledger.post(&mut pipe.client(), 1, &[]), 202);
    let shown = || pipe.stream("demo")["aggregate"].clone();
    wait_until("it is known what the stream is", || shown()["joins"] == true);
    assert!(shown()["reason"].as_str().unwrap().contains("S3"), "{}", shown());
    post(&pipe, &mut ledger, 50);
    pipe.settle();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    assert!(upstream.records("demo").len() < 200);
}
