//! A disk that is really full, and the bounds of the spool: durable is refused and says why, memory flows,
//! nothing is lost, and when there is room again everything goes on by itself.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::format;
use crate::http::Answer;
use crate::kills::identity;
use crate::ledger::Ledger;
use crate::pipe::{PATIENCE, Pipe, Setup, is_true_within, wait_until};
use crate::place::Place;
use crate::upstream::Upstream;

const MIB: u64 = 1024 * 1024;

/// What is kept for a stop, in bytes.
const RESERVE: u64 = MIB;

/// A pipe that is not patient, and may use all of a small disk.
fn impatient(upstream: &Upstream) -> Setup {
    Setup::new(&upstream.endpoint())
        .set("STANDPIPE_DEFAULTS_ACK", "durable")
        .set("STANDPIPE_SPOOL_FREE_BYTES_MIN", "0")
        .set("STANDPIPE_SPOOL_RESERVE_BYTES", &RESERVE.to_string())
        .config(
            "[forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 100\nhold_min_ms = 100\nhold_max_ms = 200\n\
             spool_blocked_after_ms = 100\n[stop]\ngrace_ms = 5000\ndeliver_ms = 500\nquiet_ms = 50\n",
        )
}

fn is_away(upstream: &Upstream) {
    upstream.fault(&json!({"outage": "unavailable"}));
}

fn post(pipe: &Pipe, ledger: &mut Ledger, level: &str, records: usize) -> Answer {
    ledger.try_post(&mut pipe.client(), "demo", level, records)
}

/// Posts durable records until they are refused, and gives the refusal.
fn until_refused(pipe: &Pipe, ledger: &mut Ledger, stream: &str) -> Answer {
    let mut client = pipe.client();
    for _ in 0..5_000 {
        let answer = ledger.try_post(&mut client, stream, "durable", 200);
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("the disk takes everything");
}

#[track_caller]
fn says(answer: &Answer, why: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (503, "durable_unavailable"));
    assert!(answer.header("retry-after").is_some());
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(why), "{detail}");
}

fn readyz(pipe: &Pipe) -> (u16, String) {
    let answer = pipe.admin().get("/readyz");
    (answer.status, String::from_utf8(answer.body).unwrap())
}

/// Everything that was answered for is delivered, and the spool is empty but for what is open.
#[track_caller]
fn drains(pipe: &Pipe, upstream: &Upstream, ledger: &Ledger) -> usize {
    let is_empty = is_true_within(PATIENCE, || {
        let sum = |name: &str| pipe.metric(name, "");
        let left = ["spool_records", "spool_segments_uncounted", "pipeline_records_in_memory"];
        left.iter().all(|what| sum(&format!("standpipe_{what}")) == 0.0)
    });
    assert!(is_empty, "the spool stays full: {:#} {:#?}", pipe.status(), pipe.log_lines(""));
    identity(pipe);
    ledger.check(upstream.records("demo").values())
}

fn bytes_of(spool: &Path) -> u64 {
    format::segments(spool).values().map(|bytes| bytes.len() as u64).sum()
}

#[test]
fn somebody_else_fills_the_disk_and_memory_flows_until_there_is_room_again() {
    let (Some(place), keys) = (Place::in_memory(8 * MIB), tempfile::tempdir().unwrap()) else {
        return;
    };
    let upstream = Upstream::start();
    let pipe = impatient(&upstream).inside(&place, &keys).start();
    let mut ledger = Ledger::default();
    assert_eq!(post(&pipe, &mut ledger, "durable", 50).status, 200);
    let theirs = place.fill();
    says(&until_refused(&pipe, &mut ledger, "demo"), "the disk of the spool is full");
    let (status, why) = readyz(&pipe);
    assert_eq!(status, 503);
    assert!(why.contains("demo: the disk of the spool is full"), "{why}");
    assert_eq!(pipe.admin().get("/livez").status, 200);
    for _ in 0..20 {
        assert_eq!(post(&pipe, &mut ledger, "memory", 20).status, 202);
    }
    wait_until("memory is delivered", || {
        pipe.metric("standpipe_pipeline_records_in_memory", "") == 0.0
    });
    assert_eq!(pipe.metric("standpipe_spool_obstacle", "reason=\"disk_full\""), 1.0);

    std::fs::remove_file(theirs).unwrap();
    wait_until("it is ready again", || readyz(&pipe).0 == 200);
    assert_eq!(post(&pipe, &mut ledger, "durable", 50).status, 200);
    assert_eq!(drains(&pipe, &upstream, &ledger), 0);
    let errors = pipe.log_lines("").into_iter().filter(|line| line["level"] == "ERROR");
    assert_eq!(
        errors.collect::<Vec<Value>>(),
        Vec::<Value>::new(),
        "a full disk is an ordinary state"
    );
}

#[test]
fn a_disk_that_the_backlog_has_filled_is_free_again_when_the_service_is_back() {
    let (Some(place), keys) = (Place::in_memory(8 * MIB), tempfile::tempdir().unwrap()) else {
        return;
    };
    let upstream = Upstream::start();
    is_away(&upstream);
    let pipe = impatient(&upstream).inside(&place, &keys).start();
    let mut ledger = Ledger::default();
    says(&until_refused(&pipe, &mut ledger, "demo"), "the disk of the spool is full");
    let spool = place.seen(&place.path().join("spool"));
    assert!(bytes_of(&spool) > 5 * MIB, "the spool has filled it");
    // Not a byte is left for a note.
    let theirs = place.fill();
    assert_eq!(post(&pipe, &mut ledger, "memory", 20).status, 202);
    upstream.heal();
    assert_eq!(drains(&pipe, &upstream, &ledger), 0);
    wait_until("it is ready again", || readyz(&pipe).0 == 200);
    assert_eq!(post(&pipe, &mut ledger, "durable", 50).status, 200);
    drop(theirs);
}

/// Fills a disk with an outage, puts more into memory and stops. The next life delivers all of it.
fn stops_on_a_full_disk(is_killed_after: bool) {
    let (Some(place), keys) = (Place::in_memory(8 * MIB), tempfile::tempdir().unwrap()) else {
        return;
    };
    let upstream = Upstream::start();
    is_away(&upstream);
    let pipe = impatient(&upstream).inside(&place, &keys).start();
    let mut ledger = Ledger::default();
    until_refused(&pipe, &mut ledger, "demo");
    place.fill();
    for _ in 0..20 {
        assert_eq!(post(&pipe, &mut ledger, "memory", 50).status, 202);
    }
    let in_memory = pipe.metric("standpipe_pipeline_records_in_memory", "");
    assert!(in_memory >= 1_000.0, "{in_memory} records are in memory alone");
    wait_until("copies were refused", || {
        pipe.metric("standpipe_forward_records_not_spilled_total", "") > 0.0
    });
    let (status, log) = pipe.stop();
    assert!(status.success(), "{log:?}");

    upstream.heal();
    let next = impatient(&upstream).inside(&place, &keys).start();
    if is_killed_after {
        next.signal("KILL");
        let _killed = next.ended();
        let last = impatient(&upstream).inside(&place, &keys).start();
        drains(&last, &upstream, &ledger);
    } else {
        assert!(next.log_lines("did not end cleanly").is_empty());
        assert_eq!(drains(&next, &upstream, &ledger), 0);
    }
}

#[test]
fn a_stop_on_a_full_disk_keeps_what_is_in_memory_in_the_reserve() {
    stops_on_a_full_disk(false);
}

#[test]
fn a_disk_that_is_left_full_is_drained_by_a_life_after_a_kill() {
    stops_on_a_full_disk(true);
}

#[test]
fn the_free_space_that_others_are_to_have_is_left_to_them() {
    let (Some(place), keys) = (Place::in_memory(8 * MIB), tempfile::tempdir().unwrap()) else {
        return;
    };
    let upstream = Upstream::start();
    is_away(&upstream);
    let kept = 3 * MIB;
    let pipe = impatient(&upstream)
        .inside(&place, &keys)
        .set("STANDPIPE_SPOOL_FREE_BYTES_MIN", &kept.to_string())
        .start();
    let mut ledger = Ledger::default();
    says(&until_refused(&pipe, &mut ledger, "demo"), "the disk of the spool is full");
    let used = bytes_of(&place.seen(&place.path().join("spool"))) + RESERVE;
    let group = MIB / 16;
    assert!(used + kept <= 8 * MIB + group, "{used} bytes are used, {kept} are to be free");
    upstream.heal();
    drains(&pipe, &upstream, &ledger);
    wait_until("it is ready again", || readyz(&pipe).0 == 200);
}

/// A pipe on an ordinary disk with small bounds, and the service away.
fn bounded(upstream: &Upstream, directory: &TempDir, streams: &str) -> Setup {
    is_away(upstream);
    impatient(upstream)
        .spool_in(directory.path().to_str().unwrap())
        .set("STANDPIPE_STREAMS", streams)
        .set("STANDPIPE_SPOOL_STREAM_FLOOR_BYTES", "0")
}

#[test]
fn a_stream_takes_what_it_may_have_and_not_a_frame_more() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let most = 8 * MIB;
    let pipe = bounded(&upstream, &directory, "demo")
        .set("STANDPIPE_SPOOL_STREAM_BYTES_MAX", &most.to_string())
        .start();
    let mut ledger = Ledger::default();
    says(&until_refused(&pipe, &mut ledger, "demo"), "spool.stream_bytes_max");
    let used = bytes_of(&directory.path().join("spool"));
    assert!(used <= most && used > most - MIB / 16, "{used} of {most} bytes are used");
    // One that fits is taken, one that does not is not: the edge is by bytes and not by a state.
    says(&post(&pipe, &mut ledger, "durable", 50), "spool.stream_bytes_max");
    assert!(readyz(&pipe).1.contains("spool.stream_bytes_max"));
    assert_eq!(post(&pipe, &mut ledger, "memory", 50).status, 202);
    upstream.heal();
    assert_eq!(drains(&pipe, &upstream, &ledger), 0);
    wait_until("it is ready again", || readyz(&pipe).0 == 200);
    assert_eq!(post(&pipe, &mut ledger, "durable", 50).status, 200);
}

#[test]
fn all_streams_together_take_what_the_spool_may_have() {
    let upstream = Upstream::with_streams(&["demo", "other"]);
    let directory = tempfile::tempdir().unwrap();
    let most = 16 * MIB;
    let pipe = bounded(&upstream, &directory, "demo,other")
        .set("STANDPIPE_SPOOL_BYTES_MAX", &most.to_string())
        .set("STANDPIPE_SPOOL_STREAM_BYTES_MAX", &(12 * MIB).to_string())
        .set("STANDPIPE_SPOOL_SEGMENT_BYTES_MAX", &(8 * MIB).to_string())
        .start();
    let (mut demo, mut other) = (Ledger::default(), Ledger::default());
    says(&until_refused(&pipe, &mut demo, "demo"), "spool.stream_bytes_max");
    says(&until_refused(&pipe, &mut other, "other"), "spool.bytes_max");
    let used = bytes_of(&directory.path().join("spool")) + RESERVE;
    assert!(used <= most && used > most - MIB / 4, "{used} of {most} bytes are used");
    upstream.heal();
    drains(&pipe, &upstream, &demo);
    assert_eq!(other.check(upstream.records("other").values()), 0);
    wait_until("it is ready again", || readyz(&pipe).0 == 200);
    assert_eq!(other.try_post(&mut pipe.client(), "other", "durable", 50).status, 200);
}
