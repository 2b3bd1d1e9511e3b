//! More than memory holds: what goes to the spool in an outage, and how it comes back.
//!
//! Answers are at the level `memory`: what is spooled is spooled since it has to be. While the disk has room
//! nobody is refused, memory stays in its bound, and healthy streams and fresh records do not wait for a
//! backlog. Every scenario ends with the identity of the counters and every record id.

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::http::Client;
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, is_true_within, wait_until};
use crate::upstream::Upstream;

const MIB: f64 = 1024.0 * 1024.0;

/// The bound on memory, in bytes; half of it is for records.
const MEMORY_BYTES: f64 = 24.0 * MIB;

/// So much is sent in a second, in megabytes: what a binary that was built for tests can keep up with.
const MEGABYTES_PER_SECOND: u64 = 12;

/// A pipe with little memory, whose records are answered out of it, and whose waits are short.
fn small(upstream: &Upstream, directory: &TempDir) -> Setup {
    Setup::new(&upstream.endpoint())
        .spool_in(directory.path().to_str().unwrap())
        .set("STANDPIPE_INGEST_BODY_BYTES_MAX", "1500000")
        .set("STANDPIPE_INGEST_DECODED_BYTES_MAX", "1500000")
        .config(
            "[memory]\nbytes_max = 25165824\n\
             [spool]\nread_ahead_bytes_max = 6291456\ngroup_bytes_max = 6291456\n\
             [forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 200\nhold_min_ms = 100\n\
             hold_max_ms = 200\n\
             [stop]\ngrace_ms = 4000\ndeliver_ms = 1000\nquiet_ms = 100\n",
        )
}

fn pause(duration: Duration) {
    let _is_over = is_true_within(duration, || false);
}

/// Posts `megabytes` requests of a megabyte each; none is refused, and memory stays in its bound.
fn flood(pipe: &Pipe, stream: &str, client: &mut Client, ledger: &mut Ledger, megabytes: usize) {
    for _ in 0..megabytes {
        pause(Duration::from_millis(1_000 / MEGABYTES_PER_SECOND));
        let answer = ledger.post_to(stream, client, (100, 10_000), &[]);
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        let used = pipe.metric("standpipe_pipeline_memory_bytes", "");
        assert!(used <= MEMORY_BYTES, "{used} bytes are reserved");
    }
}

/// The resident memory of a process, in bytes.
fn resident_bytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// How many files the spool has of a stream.
fn files_of(directory: &TempDir, stream: &str) -> usize {
    std::fs::read_dir(directory.path().join("spool/streams").join(stream)).unwrap().count()
}

#[test]
fn an_outage_goes_to_the_spool_and_comes_back_once_while_fresh_records_flow() {
    let mut upstream = Upstream::start();
    let directory = tempfile::tempdir().unwrap();
    let pipe = small(&upstream, &directory).start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    upstream.go_away();
    flood(&pipe, "demo", &mut client, &mut ledger, 40);
    wait_until("memory is free again", || {
        pipe.metric("standpipe_pipeline_records_in_memory", "") == 0.0
    });
    let spooled = pipe.balance().spooled;
    assert_eq!(spooled, 4_000.0);
    let shown = pipe.stream("demo");
    assert_eq!(shown["state"], "circuit_open", "{shown}");
    let age = || pipe.metric("standpipe_spool_oldest_waiting_age_seconds", "demo");
    wait_until("the backlog has an age", || age() > 0.5);

    upstream.come_back();
    // While the backlog drains, fresh records are delivered soon.
    let mut fresh = Ledger::from(1_000_000);
    let mut latest = Duration::ZERO;
    let mut rounds = 0;
    wait_until("the stream flows", || pipe.stream("demo")["state"] == "flowing");
    while pipe.accounts().spooled > 1_000.0 {
        let begun = Instant::now();
        let wait = [("standpipe-ack", "delivered")];
        let answer = fresh.post_to("demo", &mut client, (5, 200), &wait);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        latest = latest.max(begun.elapsed());
        rounds += 1;
    }
    assert!(rounds >= 3, "there was a backlog to drain: {rounds} rounds");
    assert!(latest < Duration::from_secs(2), "{latest:?} after {rounds} rounds");
    ledger.add(&fresh);
    let accounts = pipe.drain();
    assert_eq!(accounts.delivered, ledger.len() as f64, "{accounts:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0, "none is there twice");
    wait_until("the backlog has no age", || age() == 0.0);
    let resident = resident_bytes(pipe.pid());
    assert!(resident < 1.2 * MEMORY_BYTES + 48.0 * MIB, "{resident} bytes are resident");
    let (status, log) = pipe.stop();
    assert_eq!(status.code(), Some(0), "{log:?}");
    assert_eq!(files_of(&directory, "demo"), 0, "nothing is left on the disk");
}

#[test]
fn the_age_of_a_backlog_falls_while_it_drains() {
    let upstream = Upstream::start();
    let directory = tempfile::tempdir().unwrap();
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = small(&upstream, &directory).start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    // Four seconds of records, which are delivered at a few times that rate.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        flood(&pipe, "demo", &mut client, &mut ledger, 1);
    }
    let quota =
        json!({"records_per_s": 100_000, "requests_per_s": 1_000, "bytes_per_s": 12_000_000});
    upstream.control("PUT", "/emulator/streams/demo/quota", &quota);
    upstream.heal();
    let age = || pipe.metric("standpipe_spool_oldest_waiting_age_seconds", "demo");
    let mut ages = Vec::new();
    wait_until("it is delivered", || {
        ages.push(age());
        pipe.accounts().spooled == 0.0
    });
    let oldest = ages.iter().copied().fold(0.0, f64::max);
    assert!((3.0..30.0).contains(&oldest), "{ages:?}");
    // It falls step by step, and not all at once at the end.
    let in_between = ages.iter().filter(|age| (0.1 * oldest..0.7 * oldest).contains(*age)).count();
    assert!(in_between > 2, "{ages:?}");
    pipe.drain();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

/// A stream that is held beside a healthy one, which flows as if it were alone.
fn a_held_stream_is_no_matter_of_a_healthy_one(code: &str) {
    let upstream = Upstream::with_streams(&["demo", "held"]);
    upstream.fault_of("held", &json!({"error_code": code}));
    let directory = tempfile::tempdir().unwrap();
    let pipe = small(&upstream, &directory).set("STANDPIPE_STREAMS", "demo,held").start_durable();
    let (mut client, mut held) = (pipe.client(), Ledger::default());
    // More than the memory holds: it goes to the disk, and leaves memory to others.
    let mut demo = Ledger::default();
    let mut latest = Duration::ZERO;
    for _ in 0..36 {
        flood(&pipe, "held", &mut client, &mut held, 1);
        let begun = Instant::now();
        let wait = [("standpipe-ack", "delivered")];
        let answer = demo.post_to("demo", &mut client, (10, 200), &wait);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        latest = latest.max(begun.elapsed());
    }
    assert!(latest < Duration::from_secs(1), "{latest:?}");
    let shown = pipe.stream("held");
    assert_eq!(shown["state"], "held", "{shown}");
    assert!(shown["reason"].as_str().unwrap().contains(code), "{shown}");
    wait_until("the held one is on the disk", || {
        pipe.metric("standpipe_spool_records", "held") == held.len() as f64
    });
    assert_eq!(demo.check(upstream.records("demo").values()), 0);
    assert!(upstream.records("held").is_empty());
    upstream.control("DELETE", "/emulator/streams/held/faults", &serde_json::Value::Null);
    let accounts = pipe.drain();
    assert_eq!(accounts.delivered, (demo.len() + held.len()) as f64, "{accounts:?}");
    assert_eq!(held.check(upstream.records("held").values()), 0, "none is there twice");
}

#[test]
fn a_stream_that_is_missing_is_no_matter_of_a_healthy_one() {
    a_held_stream_is_no_matter_of_a_healthy_one("ResourceNotFoundException");
}

#[test]
fn a_stream_that_may_not_be_written_to_is_no_matter_of_a_healthy_one() {
    a_held_stream_is_no_matter_of_a_healthy_one("AccessDeniedException");
}

#[test]
fn when_the_disk_is_used_up_too_requests_are_refused_and_what_was_accepted_is_delivered() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let directory = tempfile::tempdir().unwrap();
    let pipe = small(&upstream, &directory)
        .set("STANDPIPE_SPOOL_BYTES_MAX", "33554432")
        .set("STANDPIPE_SPOOL_SEGMENT_BYTES_MAX", "8388608")
        .start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    let mut refused = 0;
    while refused < 30 {
        pause(Duration::from_millis(30));
        let answer = ledger.post_to("demo", &mut client, (100, 10_000), &[]);
        if answer.status == 503 {
            assert_eq!(answer.code(), "no_room");
            refused += 1;
        }
        assert!(ledger.len() < 10_000, "there is a bound");
    }
    assert!(ledger.len() > 3_000, "memory and disk are both used: {}", ledger.len());
    let answer = ledger.post_to("demo", &mut client, (1, 200), &[("standpipe-ack", "durable")]);
    assert_eq!((answer.status, answer.code().as_str()), (503, "durable_unavailable"));
    let obstacle = pipe.stream("demo")["spool"]["obstacle"].as_str().unwrap().to_owned();
    assert!(matches!(obstacle.as_str(), "stream_full" | "spool_full"), "{obstacle}");
    assert!(pipe.metric("standpipe_spool_bytes", "") <= 33_554_432.0);
    let accounts = pipe.balance();
    assert!(accounts.in_memory > 0.0 && accounts.spooled > 0.0, "{accounts:?}");
    upstream.heal();
    wait_until("there is room again", || ledger.post(&mut client, 10, &[]) == 202);
    wait_until("durable too", || {
        ledger.post(&mut client, 10, &[("standpipe-ack", "durable")]) == 200
    });
    pipe.drain();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn an_outage_that_comes_and_goes_neither_loses_nor_doubles_a_record() {
    let upstream = Upstream::start();
    let directory = tempfile::tempdir().unwrap();
    let pipe = small(&upstream, &directory).set("STANDPIPE_INGEST_WORKERS", "2").start_durable();
    let mut ledgers: Vec<Ledger> = Vec::new();
    std::thread::scope(|scope| {
        let levels = ["memory", "memory", "durable", "durable", "delivered"];
        let senders: Vec<_> = (0_u64..)
            .zip(levels)
            .map(|(index, level)| {
                let pipe = &pipe;
                scope.spawn(move || {
                    let (mut client, mut ledger) = (pipe.client(), Ledger::from(index * 1_000_000));
                    let headers = [("standpipe-ack", level)];
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_secs(7) {
                        let answer = ledger.post_to("demo", &mut client, (50, 2_000), &headers);
                        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
                        pause(Duration::from_millis(100));
                    }
                    ledger
                })
            })
            .collect();
        // Long enough that the stream counts as one that can not be sent to, and short enough for neither.
        for (down_ms, up_ms) in [(1_600, 300), (200, 100), (1_600, 500), (300, 50), (1_800, 400)] {
            upstream.fault(&json!({"outage": "unavailable"}));
            pause(Duration::from_millis(down_ms));
            upstream.heal();
            pause(Duration::from_millis(up_ms));
        }
        ledgers.extend(senders.into_iter().map(|sender| sender.join().unwrap()));
    });
    let mut all = Ledger::default();
    ledgers.iter().for_each(|ledger| all.add(ledger));
    let accounts = pipe.drain();
    assert_eq!(accounts.accepted, all.len() as f64, "{accounts:?}");
    assert!(pipe.metric("standpipe_forward_records_let_go_total", "") > 0.0, "it was spooled");
    assert!(pipe.metric("standpipe_spool_frames_read_total", "") > 0.0, "and read back");
    assert_eq!(all.check(upstream.records("demo").values()), 0, "none is there twice");
}
