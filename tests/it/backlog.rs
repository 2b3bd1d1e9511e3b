//! A start with a backlog: ready before any of it is read; what is not counted is said to be, and is counted
//! to the record in the end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::format;
use crate::kills::identity;
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

/// As many segments as can be open at once.
const FILES_MAX: usize = 16;

/// More streams than that: a segment is begun and ended with almost every group.
const STREAMS: usize = 24;

/// How many segments are made.
const SEGMENTS: usize = 300;

/// A pipe with keys of KMS.
fn setup(upstream: &Upstream, directory: &str, streams: &str) -> Setup {
    let (endpoint, key) = (upstream.endpoint(), upstream.key_arn());
    Setup::new(&endpoint)
        .spool_in(directory)
        .set("STANDPIPE_KEYS_PROVIDER", "kms")
        .set("STANDPIPE_STREAMS", streams)
        .set("STANDPIPE_SPOOL_FILES_MAX", &FILES_MAX.to_string())
        .set("STANDPIPE_SPOOL_RESERVE_BYTES", "1000000")
        .config(&format!(
            "[keys]\nkey = \"{key}\"\nendpoint = \"{endpoint}\"\n[forward]\nbackoff_min_ms = 10\n\
             backoff_max_ms = 100\n[stop]\ngrace_ms = 2500\ndeliver_ms = 300\nquiet_ms = 50\n"
        ))
}

/// The sum of a figure of the spools of all streams.
fn sum(pipe: &Pipe, figure: &str) -> u64 {
    let status = pipe.status();
    let streams = status["streams"].as_array().unwrap();
    streams.iter().map(|stream| stream["spool"][figure].as_u64().unwrap()).sum()
}

#[test]
fn a_start_is_ready_before_the_backlog_is_read_and_its_counts_become_exact() {
    let names: Vec<String> = (0..STREAMS).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let upstream = Upstream::with_streams(&names);
    upstream.fault(&json!({"outage": "unavailable"}));
    let directory = tempfile::tempdir().unwrap();
    let setup = || setup(&upstream, directory.path().to_str().unwrap(), &names.join(","));
    let folder = directory.path().join("spool/streams");

    let first = setup().start();
    let mut client = first.client();
    let mut ledgers: Vec<Ledger> = names.iter().map(|_| Ledger::default()).collect();
    wait_until("there are segments enough", || {
        for (name, ledger) in names.iter().zip(&mut ledgers) {
            // At first a stream has no key yet.
            let answer = ledger.try_post(&mut client, name, "durable", 3);
            assert!([200, 503].contains(&answer.status), "{answer:?}");
        }
        format::segments(&folder).len() >= SEGMENTS
    });
    let records: usize = ledgers.iter().map(Ledger::len).sum();
    first.signal("KILL");
    let _killed = first.ended();
    let segments = format::segments(&folder).len() as u64;

    // KMS answers nobody: not one segment can be read.
    upstream.control("PUT", "/emulator/kms/faults", &json!({"outage": "unavailable"}));
    let begun = Instant::now();
    let next = setup().start();
    let took = begun.elapsed();
    eprintln!("ready {took:?} after the start, with {segments} segments of {records} records");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(sum(&next, "segments_uncounted"), segments);
    assert_eq!(sum(&next, "segments"), segments);
    assert_eq!(sum(&next, "records"), 0, "what is not known is not guessed");
    assert!(sum(&next, "disk_bytes") > 300 * segments);
    assert_eq!(next.metric("standpipe_spool_segments_uncounted", ""), segments as f64);
    wait_until("it says what the segments wait for", || {
        next.metric("standpipe_spool_reading_waits", "") == STREAMS as f64
    });
    assert_eq!(next.client().request("POST", &Pipe::path("s0"), &[], b"x").status, 202);

    // What was ended is counted as soon as it can be opened, though the service is away.
    upstream.control("PUT", "/emulator/kms/faults", &json!({}));
    wait_until("what was ended is counted", || {
        sum(&next, "segments_uncounted") <= FILES_MAX as u64
    });
    upstream.heal();
    wait_until("all is delivered", || {
        let sum = |name: &str| next.metric(&format!("standpipe_{name}"), "");
        sum("spool_records") + sum("spool_segments_uncounted") == 0.0
            && sum("pipeline_records_in_memory") == 0.0
    });
    assert_eq!(sum(&next, "records_recovered"), records as u64);
    identity(&next);
    wait_until("nothing is left", || format::segments(&folder).is_empty());
    for (name, ledger) in names.iter().zip(&ledgers) {
        let records = upstream.records(name);
        assert_eq!(ledger.check(records.values().filter(|record| *record != b"x\n")), 0);
    }
}
