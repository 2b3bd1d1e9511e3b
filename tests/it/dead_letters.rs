//! Records that the service refuses alone: each becomes a sealed dead letter, and its siblings are delivered.
//!
//! A store that is full holds the stream, says so, and drops nothing; with room again it goes on. Every
//! scenario ends with the identity of the counters and every record id.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::http::Client;
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, TokenFile, is_true_within, wait_until};
use crate::upstream::Upstream;

/// What the service refuses.
const POISON: &str = "poisoned";

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn setup(upstream: &Upstream, directory: &TempDir) -> Setup {
    Setup::new(&upstream.endpoint()).spool_in(directory.path().to_str().unwrap()).config(
        "[forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 200\nhold_min_ms = 100\n\
             hold_max_ms = 300\n[stop]\ngrace_ms = 4000\ndeliver_ms = 2000\nquiet_ms = 100\n",
    )
}

/// A record that is at fault, of about `bytes`.
fn poisoned(ledger: &mut Ledger, bytes: usize) -> (u64, String) {
    let (id, record) = ledger.record(bytes);
    let end = format!(",\"{POISON}\":true}}\n");
    (id, record.replace("}\n", &end))
}

/// The bytes of all files below a directory, however many.
fn bytes_below(directory: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(bytes_below(&path)),
            false => all.push(std::fs::read(path).unwrap()),
        }
    }
    all
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Posts `records`, of which those at `bad` are at fault. Notes the others.
fn post_with_poison(
    client: &mut Client,
    ledger: &mut Ledger,
    level: &str,
    (records, bad): (usize, &[usize]),
) {
    let mut body = String::new();
    for at in 0..records {
        if bad.contains(&at) {
            body.push_str(&poisoned(ledger, 100).1);
        } else {
            let (id, record) = ledger.record(100);
            body.push_str(&record);
            ledger.note(id);
        }
    }
    let headers = [NDJSON, ("standpipe-ack", level)];
    let answer = client.request("POST", &Pipe::path("demo"), &headers, body.as_bytes());
    assert!(answer.status < 300, "{answer:?}");
    assert_eq!(answer.json()["accepted"], records);
}

/// A poison that takes its request down, or fails by its index, in memory and in the spool.
fn poison_becomes_a_letter(scope: &str, code: &str, level: &str) {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"poison": POISON, "poison_code": code, "poison_scope": scope}));
    let pipe = setup(&upstream, &directory).start_durable();
    let mut ledger = Ledger::default();
    post_with_poison(&mut pipe.client(), &mut ledger, level, (200, &[0, 77, 199]));
    wait_until("its siblings are delivered", || upstream.records("demo").len() == 197);
    let accounts = pipe.drain();
    assert_eq!((accounts.dead_lettered, accounts.delivered), (3.0, 197.0), "{accounts:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    assert_eq!(pipe.stream("demo")["state"], "flowing");
    assert_eq!(pipe.stream("demo")["spool"]["dead_letters"], 3);
    wait_until("it is logged", || pipe.log_lines("record is set aside").len() == 3);
    let said = pipe.log_lines("record is set aside");
    assert!(said.iter().all(|line| line["code"] == code), "{said:?}");
    assert!(!format!("{said:?}").contains(POISON), "payload is never logged");

    // It is sealed, and it is there.
    let files = bytes_below(&directory.path().join("spool/dead-letters/demo"));
    assert!(!files.is_empty() && files.iter().all(|file| !contains(file, POISON.as_bytes())));
    let files = bytes_below(&directory.path().join("spool"));
    assert!(files.iter().all(|file| !contains(file, b"filler")), "nothing is in the clear");

    // The next life neither sends it nor sets it aside again: it is noted in the spool.
    assert_eq!(pipe.stop().0.code(), Some(0));
    let next = setup(&upstream, &directory).start_durable();
    wait_until("the letters are counted", || {
        next.metric("standpipe_spool_dead_letters_found_total", "demo") == 3.0
    });
    let accounts = next.drain();
    assert_eq!((accounts.recovered, accounts.dead_lettered), (0.0, 0.0), "{accounts:?}");
    assert_eq!(upstream.records("demo").len(), 197);
}

#[test]
fn poison_that_takes_its_request_down_is_found_in_memory() {
    poison_becomes_a_letter("batch", "InvalidArgumentException", "memory");
}

#[test]
fn poison_that_takes_its_request_down_is_found_in_what_is_durable() {
    poison_becomes_a_letter("batch", "ValidationException", "durable");
}

#[test]
fn poison_that_fails_by_its_index_becomes_a_letter() {
    poison_becomes_a_letter("record", "InvalidArgumentException", "memory");
    poison_becomes_a_letter("record", "ValidationException", "durable");
}

#[test]
fn poison_in_a_backlog_becomes_a_letter_in_the_life_that_finds_it() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = setup(&upstream, &directory).start_durable();
    let mut ledger = Ledger::default();
    post_with_poison(&mut pipe.client(), &mut ledger, "durable", (150, &[40, 41]));
    pipe.signal("KILL");
    let _killed = pipe.ended();
    upstream.fault(&json!({"poison": POISON, "poison_code": "ValidationException"}));
    let next = setup(&upstream, &directory).start_durable();
    let accounts = next.drain();
    assert_eq!((accounts.recovered, accounts.dead_lettered), (150.0, 2.0), "{accounts:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn a_record_that_is_refused_alone_holds_its_stream_until_another_one_went_through() {
    for level in ["memory", "durable"] {
        let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
        upstream.fault(&json!({"poison": POISON, "poison_code": "ValidationException"}));
        let pipe = setup(&upstream, &directory).start_durable();
        let (mut client, mut ledger) = (pipe.client(), Ledger::default());
        post_with_poison(&mut client, &mut ledger, level, (1, &[0]));
        // Nobody knows yet whether it is the record's fault or the stream's.
        wait_until("the stream is held", || pipe.stream("demo")["state"] == "held");
        assert_eq!(pipe.balance().dead_lettered, 0.0);
        assert!(ledger.post(&mut client, 1, &[("standpipe-ack", level)]) < 300);
        let accounts = pipe.drain();
        assert_eq!((accounts.dead_lettered, accounts.delivered), (1.0, 1.0), "{accounts:?}");
        wait_until("it flows", || pipe.stream("demo")["state"] == "flowing");
        assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    }
}

#[test]
fn a_store_that_is_full_holds_the_stream_and_with_room_again_it_goes_on() {
    let upstream = Upstream::with_streams(&["demo", "other"]);
    let directory = tempfile::tempdir().unwrap();
    upstream.fault(&json!({"poison": POISON, "poison_code": "ValidationException"}));
    let setup = |bytes_max: &str| {
        setup(&upstream, &directory)
            .set("STANDPIPE_STREAMS", "demo,other")
            .set("STANDPIPE_SPOOL_DEAD_LETTER_BYTES_MAX", bytes_max)
    };
    let pipe = setup("8388608").start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    // Ten of them are more than the store takes. A good one beside each says whose fault it is.
    for _ in 0..10 {
        let (_, bad) = poisoned(&mut ledger, 900_000);
        let (id, good) = ledger.record(100);
        ledger.note(id);
        let body = [bad, good].concat();
        let answer = client.request("POST", &Pipe::path("demo"), &[NDJSON], body.as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    wait_until("the stream is held for it", || {
        let shown = pipe.stream("demo");
        let reason = shown["reason"].as_str().unwrap_or_default().to_owned();
        shown["state"] == "held" && reason.contains("spool.dead_letter_bytes_max")
    });
    wait_until("it is logged once", || {
        pipe.log_lines("records that the service refuses can not be set aside").len() == 1
    });
    assert!(pipe.metric("standpipe_spool_dead_letter_bytes", "") <= 8_388_608.0);
    let stored = pipe.metric("standpipe_spool_records_dead_lettered_total", "demo");
    assert!((5.0..10.0).contains(&stored), "{stored}");
    // What comes now is taken and waits, at both levels; another stream is not concerned.
    for level in ["memory", "durable"] {
        let status = ledger.post(&mut client, 20, &[("standpipe-ack", level)]);
        assert!(status < 300, "{level}: {status}");
    }
    let mut other = Ledger::default();
    let wait = [("standpipe-ack", "delivered")];
    assert_eq!(other.post_to("other", &mut client, (5, 200), &wait).status, 200);
    let sent = upstream.records("demo").len();
    assert!(!is_true_within(Duration::from_secs(1), || upstream.records("demo").len() > sent));
    let accounts = pipe.balance();
    assert_eq!(accounts.accepted, 10.0 + 10.0 + 40.0 + 5.0, "{accounts:?}");
    assert_eq!(pipe.admin().get("/readyz").status, 200);
    drop(client);
    let (status, log) = pipe.stop();
    assert_eq!(status.code(), Some(0), "all of it is on the disk: {log:?}");

    // The bound is raised.
    let next = setup("33554432").start_durable();
    // The last of them may be left alone: then a good one has to say whose fault it is.
    wait_until("all good ones are delivered", || upstream.records("demo").len() == ledger.len());
    assert_eq!(ledger.post(&mut next.client(), 1, &[]), 202);
    let accounts = next.drain();
    // The stop may have set the last of them aside, into the room that is kept for it.
    let found = next.metric("standpipe_spool_dead_letters_found_total", "demo");
    assert!(found >= stored);
    assert_eq!(accounts.dead_lettered + found, 10.0, "{accounts:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    assert_eq!(other.check(upstream.records("other").values()), 0);
    assert_eq!(next.stream("demo")["state"], "flowing");
}

#[test]
fn a_replay_makes_room_in_a_full_store_and_delivers_what_is_mended() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    upstream.fault(&json!({"poison": POISON, "poison_code": "ValidationException"}));
    let token = TokenFile::new("a-token-of-the-test");
    let pipe = setup(&upstream, &directory)
        .set("STANDPIPE_ADMIN_TOKEN_FILE", token.path())
        .set("STANDPIPE_SPOOL_DEAD_LETTER_BYTES_MAX", "8388608")
        .start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    for _ in 0..12 {
        let (id, bad) = poisoned(&mut ledger, 900_000);
        // Each of them is delivered in the end.
        ledger.note(id);
        let (id, good) = ledger.record(100);
        ledger.note(id);
        let body = [bad, good].concat();
        let answer = client.request("POST", &Pipe::path("demo"), &[NDJSON], body.as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    wait_until("the stream is held for it", || {
        pipe.stream("demo")["reason"].as_str().is_some_and(|why| why.contains("dead_letter_bytes"))
    });
    upstream.heal();
    let right = [("authorization", "Bearer a-token-of-the-test")];
    let answer = pipe.admin().request("POST", "/v1/dead-letters/demo/replay", &right, b"");
    assert!(answer.status < 300, "{answer:?}");
    wait_until("it flows", || pipe.stream("demo")["state"] == "flowing");
    // What found no room is a letter by now, and is replayed like the others.
    wait_until("all are delivered", || {
        let answer = pipe.admin().request("POST", "/v1/dead-letters/demo/replay", &right, b"");
        assert!(answer.status < 300, "{answer:?}");
        upstream.records("demo").len() == 24
    });
    let accounts = pipe.drain();
    assert_eq!(accounts.delivered, 24.0, "{accounts:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    assert_eq!(pipe.metric("standpipe_spool_dead_letter_bytes", ""), 0.0);
}

#[test]
fn a_record_that_is_too_large_is_set_aside_and_with_a_full_store_its_request_is_refused_whole() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = setup(&upstream, &directory)
        .set("STANDPIPE_DEFAULTS_OVERSIZE", "dead-letter")
        .set("STANDPIPE_SPOOL_DEAD_LETTER_BYTES_MAX", "8388608")
        .start_durable();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    let (mut set_aside, mut refused) = (0, 0);
    for _ in 0..8 {
        let (_, large) = ledger.record(2_000_000);
        let (id, small) = ledger.record(100);
        let body = [large, small].concat();
        let answer = client.request("POST", &Pipe::path("demo"), &[NDJSON], body.as_bytes());
        if answer.status == 202 {
            let shown = answer.json();
            assert_eq!((&shown["accepted"], &shown["set_aside"]), (&json!(1), &json!(1)));
            ledger.note(id);
            set_aside += 1;
        } else {
            assert_eq!((answer.status, answer.code().as_str()), (503, "durable_unavailable"));
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("spool.dead_letter_bytes_max"), "{detail}");
            refused += 1;
        }
    }
    assert!(set_aside >= 3 && refused >= 3, "{set_aside} {refused}");
    assert_eq!(ledger.post(&mut client, 10, &[]), 202, "other requests are not concerned");
    assert_eq!(ledger.post(&mut client, 10, &[("standpipe-ack", "durable")]), 200);
    let accounts = pipe.drain();
    assert_eq!(accounts.dead_lettered, f64::from(set_aside), "{accounts:?}");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}
