//! Stops with a spool: what is in memory is saved, what can not be is named, and the grace time is kept.
//!
//! Every scenario measures the stop, and accounts for every record id over both lives.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Client, head};
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, is_true_within, wait_until};
use crate::upstream::Upstream;

const MEMORY: [(&str, &str); 1] = [("standpipe-ack", "memory")];
const DURABLE: [(&str, &str); 1] = [("standpipe-ack", "durable")];
const DELIVERED: [(&str, &str); 1] = [("standpipe-ack", "delivered")];

/// How much later than its grace time a process may be seen to end: it has to be scheduled, too.
const TOLERANCE: Duration = Duration::from_millis(400);

/// A pipe with so much time to stop.
fn setup(upstream: &Upstream, directory: &TempDir, grace_ms: u64) -> Setup {
    Setup::new(&upstream.endpoint()).spool_in(directory.path().to_str().unwrap()).config(&format!(
        "[forward]\nbackoff_max_ms = 200\nhold_min_ms = 100\nhold_max_ms = 200\n\
             [stop]\ngrace_ms = {grace_ms}\nquiet_ms = 100\n"
    ))
}

/// Stops it, which takes no longer than it may.
#[track_caller]
fn stop(pipe: Pipe, grace_ms: u64) -> (i32, Vec<Value>, Duration) {
    pipe.signal("TERM");
    ended(pipe, Instant::now(), grace_ms)
}

#[track_caller]
fn ended(pipe: Pipe, begun: Instant, grace_ms: u64) -> (i32, Vec<Value>, Duration) {
    let (status, log) = pipe.ended();
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(grace_ms) + TOLERANCE, "{took:?}: {log:?}");
    (status.code().unwrap(), log, took)
}

/// The line of the log that names what is left of a stream, at this level.
fn named<'a>(log: &'a [Value], level: &str, stream: &str) -> Option<&'a Value> {
    log.iter()
        .find(|line| line["level"] == level && line["stream"] == stream && line["records"].is_u64())
}

fn memory_goes_to_the_spool(outage: &Value) {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(outage);
    let pipe = setup(&upstream, &directory, 3_000).start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    for _ in 0..50 {
        assert_eq!(ledger.post(&mut client, 10, &MEMORY), 202);
    }
    drop(client);
    let (code, log, _) = stop(pipe, 3_000);
    assert_eq!(code, 0, "{log:?}");
    let left = named(&log, "INFO", "demo").expect("it is named");
    assert_eq!(left["records"], 500, "{left}");
    assert!(left["message"].as_str().unwrap().contains("the next start delivers them"));

    upstream.heal();
    let next = setup(&upstream, &directory, 3_000).start_durable();
    assert!(next.log_lines("did not end cleanly").is_empty());
    let accounts = next.drain();
    assert_eq!((accounts.recovered, accounts.delivered), (500.0, 500.0), "{accounts:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    let (code, log, _) = stop(next, 3_000);
    assert_eq!((code, named(&log, "INFO", "demo")), (0, None), "nothing is left");
}

#[test]
fn what_is_in_memory_goes_to_the_spool_when_the_service_refuses() {
    memory_goes_to_the_spool(&json!({"outage": "refuse"}));
}

#[test]
fn what_is_in_memory_goes_to_the_spool_when_the_service_hangs() {
    memory_goes_to_the_spool(&json!({"outage": "hang"}));
}

#[test]
fn what_is_in_memory_goes_to_the_spool_when_the_stream_is_held() {
    memory_goes_to_the_spool(&json!({"error_code": "AccessDeniedException"}));
}

#[test]
fn a_healthy_service_is_given_everything_and_the_stop_is_soon_over() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    for volume in ["persistent", "ephemeral"] {
        let pipe = setup(&upstream, &directory, 20_000)
            .set("STANDPIPE_SPOOL_VOLUME", volume)
            .set("STANDPIPE_DEFAULTS_LINGER_MS", "60000")
            .start_durable();
        let (mut client, mut ledger) =
            (pipe.client(), Ledger::from(upstream.records("demo").len() as u64));
        let before = upstream.records("demo").len();
        for _ in 0..10 {
            assert_eq!(ledger.post(&mut client, 7, &MEMORY), 202);
            assert_eq!(ledger.post(&mut client, 7, &DURABLE), 200);
        }
        drop(client);
        let (code, log, took) = stop(pipe, 20_000);
        assert_eq!((code, named(&log, "INFO", "demo")), (0, None), "{volume}: {log:?}");
        assert!(took < Duration::from_secs(5), "{volume}: {took:?}");
        assert_eq!(upstream.records("demo").len() - before, 140, "{volume}");
    }
}

#[test]
fn on_a_volume_that_goes_a_stop_delivers_the_backlog_when_the_service_comes_back_in_time() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"outage": "unavailable"}));
    let first = setup(&upstream, &directory, 2_000).start_durable();
    let mut ledger = Ledger::default();
    assert_eq!(ledger.post(&mut first.client(), 300, &DURABLE), 200);
    assert_eq!(stop(first, 2_000).0, 0);

    let pipe = setup(&upstream, &directory, 8_000)
        .set("STANDPIPE_SPOOL_VOLUME", "ephemeral")
        .start_durable();
    let mut client = pipe.client();
    assert_eq!(ledger.post(&mut client, 200, &DURABLE), 200);
    assert_eq!(ledger.post(&mut client, 100, &MEMORY), 202);
    drop(client);
    let begun = Instant::now();
    pipe.signal("TERM");
    assert!(!is_true_within(Duration::from_secs(3), || !upstream.records("demo").is_empty()));
    upstream.heal();
    let (code, log, _) = ended(pipe, begun, 8_000);
    assert_eq!(code, 0, "{log:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn on_a_volume_that_goes_a_stop_delivers_all_the_time_and_names_exactly_what_is_left() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = setup(&upstream, &directory, 4_000)
        .set("STANDPIPE_SPOOL_VOLUME", "ephemeral")
        .set("STANDPIPE_DEFAULTS_BATCH_RECORDS_MAX", "10")
        .start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    for level in [&MEMORY[..], &DURABLE[..]] {
        assert!(ledger.post(&mut client, 500, level) < 300);
    }
    drop(client);
    // Eighty records a second, and as many at once: some, and not all of them.
    let quota = json!({"records_per_s": 80, "requests_per_s": 100, "bytes_per_s": 1_000_000});
    upstream.control("PUT", "/emulator/streams/demo/quota", &quota);
    upstream.heal();
    let (code, log, took) = stop(pipe, 4_000);
    assert_eq!(code, 74, "{log:?}");
    assert!(took > Duration::from_millis(2_500), "it delivers as long as it may: {took:?}");
    let delivered = upstream.records("demo").len();
    assert!(delivered >= 160, "{delivered}");
    let left = named(&log, "ERROR", "demo").expect("it is named");
    // The service may have what it could not answer for in time.
    let (left_records, not_there) = (left["records"].as_u64().unwrap(), 1_000 - delivered as u64);
    assert!((not_there..=not_there + 20).contains(&left_records), "{not_there} {left}");
    assert!(left["message"].as_str().unwrap().contains("ephemeral"), "{left}");
    // Should the volume still be there, nothing is missing.
    upstream.control("DELETE", "/emulator/streams/demo/quota", &Value::Null);
    let next = setup(&upstream, &directory, 2_000).start_durable();
    next.drain();
    assert!(ledger.check(upstream.records("demo").values()) <= 20);
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing_that_is_durable() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"outage": "hang"}));
    let pipe = setup(&upstream, &directory, 20_000).start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    assert_eq!(ledger.post(&mut client, 20, &DURABLE), 200);
    let mut in_memory = Ledger::from(1_000);
    assert_eq!(in_memory.post(&mut client, 5, &MEMORY), 202);
    pipe.signal("TERM");
    wait_until("it drains", || pipe.admin().get("/readyz").status == 503);
    let begun = Instant::now();
    pipe.signal("INT");
    let (code, log, _) = ended(pipe, begun, 2_000);
    // What was in memory alone is either lost, and named, or was saved after all.
    let lost = named(&log, "ERROR", "demo").map_or(0, |line| line["records"].as_u64().unwrap());
    assert_eq!(code, if lost > 0 { 74 } else { 0 }, "{log:?}");
    upstream.heal();
    let next = setup(&upstream, &directory, 2_000).start_durable();
    let accounts = next.drain();
    assert_eq!(accounts.recovered, 25.0 - lost as f64, "{accounts:?}");
    if lost == 0 {
        ledger.add(&in_memory);
    }
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

/// Clients that wait for delivery while the pipe stops; what each is told, and how the stop went.
fn stop_with_waiting_clients(setup: Setup, grace_ms: u64) -> (Vec<(u16, String)>, i32, Vec<Value>) {
    let pipe = setup.set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "60000").start();
    let clients: Vec<_> = (0..8_u64)
        .map(|index| {
            let mut client = pipe.client();
            std::thread::spawn(move || {
                let mut ledger = Ledger::from(index * 100);
                let answer = ledger.post_to("demo", &mut client, (3, 200), &DELIVERED);
                let ack = answer.header("standpipe-ack").unwrap_or_default().to_owned();
                let said = if ack.is_empty() { answer.code() } else { ack };
                (answer.status, said)
            })
        })
        .collect();
    wait_until("they wait", || pipe.status()["requests"] == 8);
    let (code, log, _) = stop(pipe, grace_ms);
    let told = clients.into_iter().map(|client| client.join().unwrap()).collect();
    (told, code, log)
}

#[test]
fn clients_that_wait_for_delivery_are_told_in_time_and_do_not_make_a_stop_longer() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "hang"}));
    let without = Setup::new(&upstream.endpoint())
        .config("[stop]\ngrace_ms = 2500\nquiet_ms = 100\ndeliver_ms = 1000\n");
    let (told, code, log) = stop_with_waiting_clients(without, 2_500);
    assert!(
        told.iter().all(|(status, code)| (*status, code.as_str()) == (503, "stopping")),
        "{told:?}"
    );
    assert_eq!(code, 74, "{log:?}");
    assert_eq!(named(&log, "ERROR", "demo").unwrap()["records"], 24, "{log:?}");
}

#[test]
fn clients_that_wait_for_delivery_are_told_that_it_is_durable_where_a_stop_spools_it() {
    for (outage, volume) in
        [("hang", "persistent"), ("refuse", "persistent"), ("hang", "ephemeral")]
    {
        let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
        upstream.fault(&json!({"outage": outage}));
        let with = setup(&upstream, &directory, 4_000).set("STANDPIPE_SPOOL_VOLUME", volume);
        let (told, code, log) = stop_with_waiting_clients(with, 4_000);
        assert!(
            told.iter().all(|(status, ack)| (*status, ack.as_str()) == (202, "durable")),
            "{outage} {volume}: {told:?} {log:?}"
        );
        assert_eq!(code, if volume == "ephemeral" { 74 } else { 0 }, "{log:?}");
        upstream.heal();
        let next = setup(&upstream, &directory, 2_500).start_durable();
        assert_eq!(next.drain().recovered, 24.0);
    }
}

#[test]
fn a_body_that_never_comes_to_its_end_does_not_make_a_stop_longer() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = setup(&upstream, &directory, 2_500).start_durable();
    let mut ledger = Ledger::default();
    let mut slow = Client::tcp(&pipe.data);
    slow.send(&head("POST", &Pipe::path("demo"), &[], 100_000)).unwrap();
    slow.send(b"half of it").unwrap();
    assert_eq!(ledger.post(&mut pipe.client(), 5, &DURABLE), 200);
    let (code, log, _) = stop(pipe, 2_500);
    assert_eq!(code, 0, "{log:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn a_kms_that_hangs_does_not_make_a_stop_longer() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let kms = Upstream::start();
    let key = kms.key();
    upstream.fault(&json!({"outage": "unavailable"}));
    let setup = || {
        setup(&upstream, &directory, 2_500)
            .kms(&kms.endpoint(), &key)
            .config("[keys]\nsoft_age_ms = 1000\n")
    };
    let pipe = setup().start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    assert_eq!(ledger.post(&mut client, 5, &DURABLE), 200);
    kms.kms_fault(&json!({"outage": "hang"}));
    let asked = kms.kms_calls("GenerateDataKey");
    wait_until("a renewal hangs", || kms.kms_calls("GenerateDataKey") > asked);
    assert_eq!(ledger.post(&mut client, 5, &MEMORY), 202);
    drop(client);
    let (code, log, _) = stop(pipe, 2_500);
    assert_eq!(code, 0, "{log:?}");
    // Nor does one that hangs while an old key is asked for.
    let pipe = setup().launch();
    wait_until("an old key is asked for", || kms.kms_calls("Decrypt") > 0);
    assert_eq!(stop(pipe, 2_500).0, 0);
    kms.kms_fault(&json!({}));
    upstream.heal();
    let next = setup().start_durable();
    next.drain();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}
