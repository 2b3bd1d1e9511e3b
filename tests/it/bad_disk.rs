//! A disk that can not be written: at the start, or from some moment on. It is said in one line, memory
//! flows, and what was answered as durable is delivered.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;

use crate::http::Answer;
use crate::kills::identity;
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, is_true_within, wait_until};
use crate::place::Place;
use crate::upstream::Upstream;

const MIB: u64 = 1024 * 1024;

/// A pipe that ends its segments soon, and needs little of a disk.
fn setup(upstream: &Upstream) -> Setup {
    Setup::new(&upstream.endpoint())
        .set("STANDPIPE_DEFAULTS_ACK", "durable")
        .set("STANDPIPE_SPOOL_FREE_BYTES_MIN", "0")
        .set("STANDPIPE_SPOOL_RESERVE_BYTES", "1000000")
        .set("STANDPIPE_SPOOL_SEGMENT_AGE_MAX_MS", "1000")
        .config("[stop]\ngrace_ms = 2500\ndeliver_ms = 500\nquiet_ms = 50\n")
}

fn post(pipe: &Pipe, ledger: &mut Ledger, level: &str) -> Answer {
    ledger.try_post(&mut pipe.client(), "demo", level, 20)
}

/// Posts durable records until they are refused.
fn until_refused(pipe: &Pipe, ledger: &mut Ledger) -> Answer {
    let mut refused = None;
    wait_until("durable is refused", || {
        refused = Some(post(pipe, ledger, "durable")).filter(|answer| answer.status != 200);
        refused.is_some()
    });
    refused.unwrap()
}

/// Durable is refused, and said to be; memory flows, and what is in memory is delivered.
#[track_caller]
fn only_memory_flows(pipe: &Pipe, ledger: &mut Ledger, refusal: &Answer) {
    assert_eq!((refusal.status, refusal.code().as_str()), (503, "durable_unavailable"));
    let detail = refusal.json()["detail"].to_string();
    assert!(detail.contains("the disk of the spool failed"), "{detail}");
    let ready = pipe.admin().get("/readyz");
    assert_eq!(ready.status, 503);
    let why = String::from_utf8(ready.body).unwrap();
    assert!(why.contains("demo: the disk of the spool failed"), "{why}");
    wait_until("it is logged", || !pipe.log_lines("the disk of the spool failed").is_empty());
    let failed = pipe.log_lines("the disk of the spool failed");
    assert_eq!(failed.len(), 1, "it is said once: {failed:?}");
    assert_eq!(failed[0]["level"], "ERROR");
    for _ in 0..20 {
        assert_eq!(post(pipe, ledger, "memory").status, 202);
    }
    wait_until("memory is delivered", || {
        pipe.metric("standpipe_pipeline_records_in_memory", "") == 0.0
    });
    assert_eq!(pipe.admin().get("/livez").status, 200);
}

fn is_empty(pipe: &Pipe) -> bool {
    let sum = |name: &str| pipe.metric(&format!("standpipe_{name}"), "");
    sum("spool_records") + sum("spool_segments_uncounted") + sum("pipeline_records_in_memory")
        == 0.0
}

#[test]
fn a_disk_that_becomes_read_only_and_writable_again_costs_no_record() {
    let (Some(place), keys) = (Place::in_memory(64 * MIB), tempfile::tempdir().unwrap()) else {
        return;
    };
    let upstream = Upstream::start();
    let pipe = setup(&upstream).inside(&place, &keys).start();
    let mut ledger = Ledger::default();
    assert_eq!(post(&pipe, &mut ledger, "durable").status, 200);
    // A view of it that can not be written lies over it: the next file that is made is not made.
    let streams = place.path().join("spool/streams");
    let streams = streams.display();
    place.run(&format!("mount --bind {streams} {streams} && mount -o remount,bind,ro {streams}"));
    let refusal = until_refused(&pipe, &mut ledger);
    only_memory_flows(&pipe, &mut ledger, &refusal);
    place.run(&format!("umount {streams}"));
    wait_until("it is ready again", || pipe.admin().get("/readyz").status == 200);
    assert_eq!(post(&pipe, &mut ledger, "durable").status, 200);
    wait_until("all is delivered", || is_empty(&pipe));
    identity(&pipe);
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    let (status, log) = pipe.stop();
    assert!(status.success(), "{log:?}");
}

#[test]
fn a_disk_that_breaks_below_an_open_segment_loses_nothing_that_was_answered_for() {
    let (Some(place), keys) = (Place::on_disk(32 * MIB), tempfile::tempdir().unwrap()) else {
        return;
    };
    let upstream = Upstream::start();
    let pipe = setup(&upstream).inside(&place, &keys).start();
    let mut ledger = Ledger::default();
    for _ in 0..10 {
        assert_eq!(post(&pipe, &mut ledger, "durable").status, 200);
    }
    let mounted = place.path();
    // What the kernel does at an error of the disk: all writing ends, whatever is open.
    place.run(&format!("mount -o remount,abort {}", mounted.display()));
    let refusal = until_refused(&pipe, &mut ledger);
    only_memory_flows(&pipe, &mut ledger, &refusal);
    // It is not asked more often than every second, and then ever more seldom.
    let failures = pipe.metric("standpipe_spool_disk_failures_total", "");
    is_true_within(Duration::from_secs(2), || false);
    let more = pipe.metric("standpipe_spool_disk_failures_total", "") - failures;
    assert!(more < 10.0, "{more} more failures in two seconds");
    let (status, log) = pipe.stop();
    assert!(status.success(), "nothing is lost: {log:?}");

    place.run(&format!(
        "umount {0} && {{ e2fsck -fy {0}/../image >/dev/null 2>&1; mount -o loop {0}/../image {0}; }}",
        mounted.display()
    ));
    let next = setup(&upstream).inside(&place, &keys).start();
    wait_until("all is delivered", || is_empty(&next));
    identity(&next);
    // What could not be noted was delivered again.
    let duplicates = ledger.check(upstream.records("demo").values());
    assert!(duplicates <= ledger.len());
    assert_eq!(post(&next, &mut ledger, "durable").status, 200);
}

/// Runs it to its end, which is to come soon: its code, and what it says for people.
fn fails(setup: &Setup) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = setup.command(&directory).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "{said}");
    (status.code().unwrap(), lines[0].to_owned())
}

fn in_directory(directory: &Path) -> Setup {
    Setup::new("http://127.0.0.1:9").spool_in(directory.to_str().unwrap())
}

#[test]
fn a_directory_that_can_not_be_written_ends_the_start_with_one_line() {
    let keys = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let (code, said) = fails(
        &in_directory(keys.path())
            .set("STANDPIPE_SPOOL_DIR", file.path().join("spool").to_str().unwrap()),
    );
    assert_eq!(code, 74, "{said}");
    assert!(said.contains(file.path().to_str().unwrap()), "{said}");
    assert!(said.contains("Not a directory"), "{said}");

    let Some(place) = Place::in_memory(MIB) else { return };
    place.run(&format!("mount -o remount,ro {}", place.path().display()));
    let (code, said) = fails(&Setup::new("http://127.0.0.1:9").inside(&place, &keys));
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("Read-only file system") && said.contains("spool"), "{said}");
}

#[test]
fn a_directory_that_another_process_has_ends_the_start_and_does_the_other_no_harm() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let setup = || setup(&upstream).spool_in(directory.path().to_str().unwrap());
    let first = setup().start();
    let mut ledger = Ledger::default();
    assert_eq!(post(&first, &mut ledger, "durable").status, 200);
    let (code, said) = fails(&setup());
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("is in use by another process"), "{said}");
    assert!(said.contains(directory.path().to_str().unwrap()), "{said}");
    assert_eq!(post(&first, &mut ledger, "durable").status, 200);
    wait_until("all is delivered", || is_empty(&first));
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn a_directory_in_memory_is_refused_unless_the_configuration_allows_it() {
    let Ok(memory) = TempDir::new_in("/dev/shm") else {
        eprintln!("SKIPPED: there is no /dev/shm here");
        return;
    };
    let refused = in_directory(memory.path()).set("STANDPIPE_SPOOL_ALLOW_TMPFS", "false");
    let (code, said) = fails(&refused);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("allow_tmpfs = true"), "{said}");
    assert!(said.contains(memory.path().to_str().unwrap()), "{said}");
    let upstream = Upstream::start();
    let allowed = Setup::new(&upstream.endpoint()).spool_in(memory.path().to_str().unwrap());
    assert_eq!(post(&allowed.start(), &mut Ledger::default(), "durable").status, 200);
}
