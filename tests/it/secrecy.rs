//! Nothing of a record and no key is to be found on the disk, in the log, or through the kernel.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use base64_simd::STANDARD;
use serde_json::{Value, json};

use crate::format;
use crate::kills::identity;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

/// What the records are marked with.
const MARK: &str = "Zw4q-marked-Jk9s-marked-Ux7b-marked";

/// The mark in all forms in which it might lie somewhere: as it is, in base64 however it is aligned, in hex.
fn forms() -> Vec<Vec<u8>> {
    let mut forms = vec![MARK.as_bytes().to_vec()];
    for before in 0..3 {
        let text = [vec![b'x'; before], MARK.as_bytes().to_vec()].concat();
        let encoded = STANDARD.encode_to_string(text);
        // What is before it, and what would be behind it, has a part in the characters at either end.
        forms.push(encoded.trim_end_matches('=')[4..encoded.len() - 6].into());
    }
    let hex: String = MARK.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_uppercase().into(), hex.into()]);
    forms
}

fn is_marked(bytes: &[u8]) -> bool {
    forms().iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

fn setup(upstream: &Upstream, directory: &Path) -> Setup {
    Setup::new(&upstream.endpoint())
        .spool_in(directory.to_str().unwrap())
        .set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "500")
        .set("STANDPIPE_SPOOL_RESERVE_BYTES", "1000000")
        .set("STANDPIPE_DEFAULTS_OVERSIZE", "dead-letter")
        .set("STANDPIPE_LOG_FILTER", "standpipe=trace,info")
        .config(
            "[forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 50\nhold_min_ms = 100\nhold_max_ms = 200\n\
             spool_blocked_after_ms = 100\n[stop]\ngrace_ms = 3000\ndeliver_ms = 300\nquiet_ms = 50\n",
        )
}

/// Posts marked records in both dialects at a level: 21, of which `poison` are at fault.
fn post(pipe: &Pipe, level: &str, poison: usize) {
    let mut client = pipe.client();
    let record = |number: usize| {
        let word = if number < poison { "poison" } else { "fine" };
        format!("{{\"{word}\":{number},\"secret\":\"{MARK}\"}}\n")
    };
    let body: String = (0..20).map(record).collect();
    let headers = [("content-type", "application/x-ndjson"), ("standpipe-ack", level)];
    let answer = client.request("POST", &Pipe::path("demo"), &headers, body.as_bytes());
    assert!(answer.status < 300, "{answer:?}");
    let body = json!({
        "DeliveryStreamName": "demo",
        "Record": {"Data": STANDARD.encode_to_string(record(99))},
    });
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "Firehose_20150804.PutRecord"),
        ("standpipe-ack", level),
    ];
    let answer = client.request("POST", "/", &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// No file of the spool, and no line of the log, has the mark. Gives the folders that had files.
#[track_caller]
fn keeps_silent(directory: &Path, log: &[Value]) -> BTreeSet<String> {
    let files = format::files(&directory.join("spool"));
    for (path, bytes) in &files {
        assert!(!is_marked(bytes), "{path:?} has records in the clear");
        let mode = directory.join("spool").join(path).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
    }
    let key = std::fs::read_to_string(directory.join("key")).unwrap();
    let key = key.lines().nth(1).unwrap();
    for line in log {
        let line = line.to_string();
        assert!(!is_marked(line.as_bytes()) && !line.contains(key), "{line}");
    }
    let top = |path: &Path| path.iter().next().unwrap().to_str().unwrap().to_owned();
    files.keys().map(|path| top(path)).collect()
}

/// A life with dead letters and a backlog at all levels.
fn fill(upstream: &Upstream, directory: &Path) -> Pipe {
    upstream.fault(&json!({"poison": "poison", "poison_code": "ValidationException"}));
    let pipe = setup(upstream, directory).start();
    post(&pipe, "memory", 2);
    post(&pipe, "durable", 3);
    let oversize = format!("{MARK}{}\n", "x".repeat(1_024_000));
    let headers = [("content-type", "application/x-ndjson"), ("standpipe-ack", "memory")];
    let answer = pipe.client().request("POST", &Pipe::path("demo"), &headers, oversize.as_bytes());
    assert!(answer.status < 300, "{answer:?}");
    wait_until("what is at fault is set aside", || {
        pipe.metric("standpipe_spool_records_dead_lettered_total", "") == 6.0
    });
    upstream.fault(&json!({"outage": "unavailable"}));
    for level in ["memory", "durable", "delivered"] {
        post(&pipe, level, 0);
    }
    wait_until("memory is spooled", || {
        pipe.metric("standpipe_spool_records", "") >= 63.0
            && pipe.metric("standpipe_pipeline_records_in_memory", "") == 0.0
    });
    pipe
}

#[test]
fn no_record_is_found_in_any_file_or_in_the_log_after_a_stop() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = fill(&upstream, directory.path());
    let (status, log) = pipe.stop();
    assert!(status.success(), "{log:?}");
    let seen = keeps_silent(directory.path(), &log);
    for folder in ["dead-letters", "lock", "streams"] {
        assert!(seen.contains(folder), "{seen:?}");
    }
    assert!(is_marked(&upstream.delivered("demo")), "the search finds what is there to be found");
}

#[test]
fn no_record_is_found_in_any_file_or_in_the_log_after_a_kill_and_in_quarantine() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = fill(&upstream, directory.path());
    pipe.signal("KILL");
    let (_, log) = pipe.ended();
    let seen = keeps_silent(directory.path(), &log);
    for folder in ["dead-letters", "lock", "reserve", "running", "streams"] {
        assert!(seen.contains(folder), "{seen:?}");
    }
    // Damage in the last frame that is known to be durable, of which nothing is delivered.
    let streams = directory.path().join("spool/streams");
    for (path, mut bytes) in format::segments(&streams) {
        let header = format::header(&bytes).unwrap();
        let heads = format::heads(&bytes, &header).0;
        let durable = heads.last().unwrap().watermark as usize;
        let before: usize = heads[..durable - 1].iter().map(format::Head::frame_bytes).sum();
        bytes[header.bytes + before + 50] ^= 1;
        std::fs::write(streams.join(path), bytes).unwrap();
    }
    upstream.heal();
    let next = setup(&upstream, directory.path()).start();
    wait_until("the damaged segment is in quarantine", || {
        next.metric("standpipe_spool_segments_quarantined_total", "") >= 1.0
    });
    identity(&next);
    let (status, log) = next.stop();
    assert!(status.success(), "{log:?}");
    let errors = log.iter().filter(|line| line["level"] == "ERROR").count();
    assert!(errors >= 1, "damage is said aloud");
    assert!(keeps_silent(directory.path(), &log).contains("quarantine"));
}

/// The words in front of a command that take from it what root may do to other processes.
fn no_rights() -> Vec<String> {
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let words = ["setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"];
    words.into_iter().filter(|_| is_root).map(str::to_owned).collect()
}

/// Whether somebody of the same user, without the rights of root, can open the memory of the process.
fn can_be_looked_into(pipe: &Pipe) -> bool {
    let mut words = no_rights();
    let look = ["sh", "-c", "exec <\"$0\"", &format!("/proc/{}/mem", pipe.pid())];
    words.extend(look.map(str::to_owned));
    Command::new(&words[0]).args(&words[1..]).output().unwrap().status.success()
}

#[test]
fn a_process_that_has_keys_can_not_be_looked_into() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let without = Setup::new(&upstream.endpoint()).run_by(no_rights()).start();
    assert!(can_be_looked_into(&without), "the look works where nothing is kept");
    let with = setup(&upstream, directory.path()).run_by(no_rights()).start();
    assert!(!can_be_looked_into(&with));
}

#[test]
fn a_key_file_that_others_can_read_is_refused_and_one_that_is_missing_is_made_for_its_owner() {
    let (upstream, directory) = (Upstream::start(), tempfile::tempdir().unwrap());
    let key = directory.path().join("key");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    drop(setup(&upstream, directory.path()).start());
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&directory.path().join("spool")), 0o700);
    for rights in [0o644, 0o640, 0o602] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(rights)).unwrap();
        let run = tempfile::tempdir().unwrap();
        let end = setup(&upstream, directory.path()).command(&run).output().unwrap();
        let said = String::from_utf8(end.stderr).unwrap();
        assert_eq!(end.status.code(), Some(78), "{said}");
        for part in [key.to_str().unwrap(), &format!("{rights:04o}"), "chmod"] {
            assert!(said.contains(part), "{part} in: {said}");
        }
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    drop(setup(&upstream, directory.path()).start());
}
