//! The house rules that a compiler does not know: who may import whom, and what lives in one file only.
//!
//! The tables here are the design. They change only together with it.

#![expect(clippy::unwrap_used, reason = "a test that panics says why")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which rooms of the crate each room may import. `app`, `cli` and `main` see everything.
const IMPORTS: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("token", &[]),
    ("lifecycle", &[]),
    ("md5", &[]),
    ("telemetry", &[]),
    ("pipeline", &["record", "telemetry"]),
    ("ingest", &["lifecycle", "pipeline", "record", "telemetry", "token"]),
    ("spool", &["pipeline", "record", "telemetry"]),
    ("aws", &[]),
    ("gate", &["record"]),
    ("encryption", &["aws", "gate", "record", "spool", "telemetry"]),
    ("forward", &["aws", "gate", "md5", "pipeline", "record", "spool", "telemetry"]),
    ("admin", &["lifecycle", "telemetry", "token"]),
    ("embedded", &["md5", "record"]),
    // The configuration fills the stages' own structs, so that it sees them; none of them sees it.
    (
        "config",
        &[
            "admin",
            "app",
            "aws",
            "encryption",
            "forward",
            "ingest",
            "lifecycle",
            "pipeline",
            "record",
            "spool",
            "telemetry",
        ],
    ),
];

/// Rooms that see everything.
const FREE: &[&str] = &["app", "cli", "lib", "main"];

/// What only these files may name, tests apart.
const CONFINED: &[(&str, &[&str])] = &[
    (
        "ring::",
        &[
            "embedded/kms_seal.rs",
            "encryption/keys/wrap.rs",
            "ingest/repeats.rs",
            "spool/seal.rs",
            "token.rs",
        ],
    ),
    ("aws_sdk_firehose::", &["encryption/sse/firehose.rs", "forward/firehose.rs"]),
    ("aws_sdk_kinesis::", &["encryption/sse/kinesis.rs", "forward/kinesis.rs"]),
    ("aws_sdk_kms::", &["encryption/keys/kms.rs"]),
    (
        "std::fs",
        &[
            "aws/transport.rs",
            "config/sources.rs",
            "embedded/files.rs",
            "encryption/keys/file.rs",
            "encryption/sse/file.rs",
            "ingest/listen.rs",
            "spool/fs.rs",
            "telemetry/process.rs",
            "token.rs",
        ],
    ),
    ("tokio::fs", &[]),
    ("std::env::var", &["config/sources.rs", "telemetry/logs.rs"]),
    ("process::abort", &["app/mod.rs"]),
];

/// The most production lines of a file.
const FILE_LINES_MAX: usize = 400;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All source files, by their path below `src`, without their inline tests and without comments.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read_to_string(path).unwrap());
            }
        }
    }
    assert!(files.len() > 50, "the sources were found");
    files
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("tests.rs") || name.ends_with("testing.rs") || name.contains("tests/")
}

/// The part of a file that is built into the product.
fn production(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]\nmod")).scan(
        false,
        |was_cfg_test, line| {
            let is_inline_tests = *was_cfg_test && line.starts_with("mod ") && line.ends_with('{');
            *was_cfg_test = line.trim() == "#[cfg(test)]";
            (!is_inline_tests).then_some(line)
        },
    )
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    production(text).filter(|line| !line.trim_start().starts_with("//"))
}

/// Whether `line` names `what`, as a word of its own.
fn names(line: &str, what: &str) -> bool {
    line.match_indices(what)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// The rooms that a line imports or names by their full path.
fn rooms_named(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut rooms = Vec::new();
    for part in line.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(group) => rooms.extend(group.split(',').map(word).filter(|name| !name.is_empty())),
            None => rooms.push(word(part)),
        }
    }
    rooms
}

fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

#[test]
fn every_room_imports_only_what_the_design_allows() {
    let table: BTreeMap<&str, BTreeSet<&str>> =
        IMPORTS.iter().map(|(room, allowed)| (*room, allowed.iter().copied().collect())).collect();
    let mut faults = Vec::new();
    for (file, text) in files() {
        let room = room(&file);
        if FREE.contains(&room) || is_test_file(&file) {
            continue;
        }
        let allowed = table.get(room).unwrap_or_else(|| panic!("{room} is not in the table"));
        for line in code(&text) {
            for other in rooms_named(line) {
                if other != room && !allowed.contains(other.as_str()) {
                    faults.push(format!("{file}: {room} may not import {other}: {}", line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_is_confined_to_a_file_stays_there() {
    let mut faults = Vec::new();
    for (file, text) in files() {
        if is_test_file(&file) || file.starts_with("cli/") && !file.contains("probe") {
            continue;
        }
        for (what, homes) in CONFINED {
            let is_named = code(&text).any(|line| names(line, what));
            if is_named && !homes.contains(&file.as_str()) {
                faults.push(format!("{file} names {what}, which belongs to {homes:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_say_what_they_own_and_are_short() {
    let mut faults = Vec::new();
    for (file, text) in files() {
        if !text.starts_with("//! ") {
            faults.push(format!("{file} does not open with what it owns"));
        }
        let lines = production(&text).count();
        if lines > FILE_LINES_MAX && !is_test_file(&file) {
            faults.push(format!("{file} has {lines} lines"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn there_is_one_tls_library_and_no_second_crypto_library() {
    let lock =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let is_locked = |name: &str| lock.contains(&format!("name = \"{name}\"\n"));
    assert!(is_locked("rustls") && is_locked("ring"));
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "s2n-tls"] {
        assert!(!is_locked(other), "{other} is in the tree");
    }
    assert_eq!(lock.matches("name = \"rustls\"\n").count(), 1, "one rustls");
}

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_readme_s_configuration_reference_is_the_table_of_keys() {
    let reference = standpipe::config::reference();
    assert!(readme().contains(reference.trim()), "paste this into README.md:\n{reference}");
}

#[test]
fn the_readme_s_metrics_table_is_what_the_stages_list() {
    let table = standpipe::telemetry::metrics_table(standpipe::app::METRICS);
    assert!(readme().contains(table.trim()), "paste this into README.md:\n{table}");
}

#[test]
fn every_metric_that_the_readme_speaks_of_is_one() {
    let metrics: BTreeSet<&str> = standpipe::app::METRICS
        .iter()
        .flat_map(|table| table.iter())
        .map(|spec| spec.name)
        .collect();
    let text = readme();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let unknown: Vec<&str> = words
        .filter(|word| ["_total", "_seconds", "_bytes"].iter().any(|unit| word.ends_with(unit)))
        .filter(|word| word.starts_with("standpipe_") && !metrics.contains(word))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
