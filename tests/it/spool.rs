//! The spool from outside: what has to be configured for it, and what the process keeps to itself.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

/// Runs `words` to their end, and says how they ended and what they printed.
fn run(setup: &Setup, words: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = setup.command_of(&directory, words).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn a_pipe_that_has_no_spool_and_says_no_level_does_not_start() {
    let setup = Setup::new("http://127.0.0.1:9").set("STANDPIPE_DEFAULTS_ACK", "");
    let (code, said) = run(&setup, &["serve"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("must say ack = \"memory\" itself"), "{said}");
    assert!(said.contains("spool.dir"), "{said}");
}

#[test]
fn a_check_says_where_the_spool_is_and_at_which_level_streams_answer() {
    let upstream = Upstream::start();
    let without = Setup::new(&upstream.endpoint());
    let (code, said) = run(&without, &["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("demo: answers at memory") && said.contains("spool     none"), "{said}");

    let with = Setup::new(&upstream.endpoint()).spool().set("STANDPIPE_DEFAULTS_ACK", "");
    let (code, said) = run(&with, &["check", "--live"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("demo: answers at durable, never below memory"), "{said}");
    assert!(said.contains("live      spool ./spool: is not there yet and can be made"), "{said}");

    let wrong = with.set("STANDPIPE_SPOOL_DIR", "/dev/null");
    let (code, said) = run(&wrong, &["check", "--live"]);
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("live      spool /dev/null: /dev/null can not be used"), "{said}");
}

/// Whether the process leaves its memory in a file when it dies of a signal that is meant for that.
fn dumps_core(setup: Setup) -> bool {
    let pipe = setup.after("ulimit -c unlimited").start();
    pipe.signal("ABRT");
    let (status, _) = pipe.ended();
    assert_eq!(status.signal(), Some(6));
    status.core_dumped()
}

#[test]
fn a_process_with_a_spool_leaves_its_memory_in_no_core_dump() {
    let upstream = Upstream::start();
    if !dumps_core(Setup::new(&upstream.endpoint())) {
        // This machine dumps nobody's core, so that nothing can be shown here.
        return;
    }
    assert!(!dumps_core(Setup::new(&upstream.endpoint()).spool()));
}

/// A service that is away, so that what is in the spool stays there.
fn away() -> Upstream {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    upstream
}

/// A pipe whose default level is durable, and whose stop is short.
fn durable(upstream: &Upstream, directory: &tempfile::TempDir) -> Setup {
    Setup::new(&upstream.endpoint())
        .spool_in(directory.path().to_str().unwrap())
        .set("STANDPIPE_DEFAULTS_ACK", "durable")
        .config("[stop]\ngrace_ms = 2500\ndeliver_ms = 500\nquiet_ms = 100\n")
}

fn spooled(pipe: &Pipe, stream: &str) -> Value {
    let status = pipe.status();
    let streams = status["streams"].as_array().unwrap();
    streams.iter().find(|found| found["name"] == stream).unwrap().clone()
}

/// Whether the stream has a backlog of so many records, which nobody may have counted yet.
fn has_backlog(pipe: &Pipe, stream: &str, records: u64) -> bool {
    let spool = &spooled(pipe, stream)["spool"];
    spool["records"] == records || spool["segments_uncounted"].as_u64().unwrap() > 0
}

#[test]
fn what_was_answered_as_durable_is_there_after_a_kill() {
    let (upstream, directory) = (away(), tempfile::tempdir().unwrap());
    let first = durable(&upstream, &directory).start();
    let mut ledger = Ledger::default();
    for _ in 0..10 {
        assert_eq!(ledger.post(&mut first.client(), 7, &[]), 200);
    }
    let metric = |pipe: &Pipe, name| pipe.metric(name, "");
    assert_eq!(metric(&first, "standpipe_ingest_records_accepted_total"), 70.0);
    assert_eq!(metric(&first, "standpipe_pipeline_records_in_memory"), 0.0);
    assert_eq!(spooled(&first, "demo")["spool"]["records"], 70);
    first.signal("KILL");
    let _killed = first.ended();

    let second = durable(&upstream, &directory).start();
    assert_eq!(second.log_lines("did not end cleanly").len(), 1);
    assert_eq!(metric(&second, "standpipe_spool_last_life_unclean"), 1.0);
    assert!(has_backlog(&second, "demo", 70));
    let (status, log) = second.stop();
    assert!(status.success(), "{log:?}");
    let stays =
        log.iter().find(|line| line["message"].as_str().unwrap().contains("stay in the spool"));
    assert_eq!(stays.unwrap()["level"], "INFO", "{log:?}");

    // The next life names another stream: the backlog of this one is known, and takes nothing more.
    let third = durable(&upstream, &directory).set("STANDPIPE_STREAMS", "other").start();
    assert!(third.log_lines("did not end cleanly").is_empty());
    assert!(has_backlog(&third, "demo", 70));
    assert_eq!(spooled(&third, "demo")["configured"], false);
    assert_eq!(Ledger::default().post(&mut third.client(), 1, &[]), 404);
}

#[test]
fn what_was_answered_as_durable_is_delivered_by_the_next_life() {
    let (upstream, directory) = (away(), tempfile::tempdir().unwrap());
    let first = durable(&upstream, &directory).start();
    let mut ledger = Ledger::default();
    for _ in 0..10 {
        assert_eq!(ledger.post(&mut first.client(), 7, &[]), 200);
    }
    first.signal("KILL");
    let _killed = first.ended();
    upstream.heal();
    let second = durable(&upstream, &directory).start();
    wait_until("all is delivered", || upstream.records("demo").len() >= ledger.len());
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    wait_until("the spool is empty", || spooled(&second, "demo")["spool"]["records"] == 0);
    assert_eq!(second.stop().0.code(), Some(0));
}

#[test]
fn what_a_stop_leaves_on_a_volume_that_goes_is_named_as_lost() {
    let (upstream, directory) = (away(), tempfile::tempdir().unwrap());
    let setup = durable(&upstream, &directory).set("STANDPIPE_SPOOL_VOLUME", "ephemeral");
    let pipe = setup.start();
    assert_eq!(Ledger::default().post(&mut pipe.client(), 5, &[]), 200);
    let (status, log) = pipe.stop();
    assert_eq!(status.code(), Some(74), "{log:?}");
    let lost = log.iter().find(|line| line["level"] == "ERROR" && line["stream"] == "demo");
    assert_eq!(lost.unwrap()["records"], 5, "{log:?}");
    let last = log.last().unwrap()["message"].as_str().unwrap();
    assert!(last.contains("5 records are lost with the volume of the spool"), "{last}");
}

#[test]
fn delivered_is_durable_when_the_service_is_away_and_the_floor_says_so() {
    let (upstream, directory) = (away(), tempfile::tempdir().unwrap());
    let pipe = durable(&upstream, &directory)
        .set("STANDPIPE_DEFAULTS_MIN_ACK", "durable")
        .set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "500")
        .start();
    let answer =
        pipe.client().request("POST", &Pipe::path("demo"), &[("standpipe-ack", "delivered")], b"x");
    assert_eq!((answer.status, answer.header("standpipe-ack")), (202, Some("durable")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("in the spool"));
}

#[test]
fn a_record_that_is_too_large_becomes_a_dead_letter_where_the_stream_says_so() {
    let (upstream, directory) = (away(), tempfile::tempdir().unwrap());
    let pipe =
        durable(&upstream, &directory).set("STANDPIPE_DEFAULTS_OVERSIZE", "dead-letter").start();
    let body = format!("small\n{}\n", "x".repeat(1_024_000));
    let lines = [("content-type", "application/x-ndjson")];
    let answer = pipe.client().request("POST", &Pipe::path("demo"), &lines, body.as_bytes());
    let expected = json!({"accepted": 1, "bytes": 6, "ack": "durable", "set_aside": 1});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(spooled(&pipe, "demo")["spool"]["dead_letters"], 1);
    let letters = directory.path().join("spool/dead-letters/demo");
    assert_eq!(std::fs::read_dir(letters).unwrap().count(), 1);
}

#[test]
fn requests_at_the_same_time_share_a_sync_and_wake_their_worker_by_the_group() {
    const CLIENTS: usize = 32;
    const ROUNDS: usize = 40;
    let (upstream, directory) = (away(), tempfile::tempdir().unwrap());
    let pipe = durable(&upstream, &directory).start();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = pipe.client();
                for _ in 0..ROUNDS {
                    assert_eq!(Ledger::default().post(&mut client, 1, &[]), 200);
                }
            });
        }
    });
    let syncs = pipe.metric("standpipe_spool_sync_seconds_count", "");
    let rung = pipe.metric("standpipe_ingest_wakeups_total", "");
    let requests = (CLIENTS * ROUNDS) as f64;
    assert!(syncs < requests / 2.0, "{syncs} syncs for {requests} requests");
    assert!(rung <= 2.0 * syncs + 2.0, "{rung} wake-ups for {syncs} syncs");
}
