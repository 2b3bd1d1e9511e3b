//! The tools that look into a spool, as they are typed: what they print, and how they end.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn standpipe(words: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command.args(words).arg("--dir").arg(dir).env_clear();
    command.output().unwrap()
}

/// The folders that a start makes.
fn spool() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["streams/demo", "quarantine", "dead-letters"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    std::fs::write(dir.path().join("lock"), b"").unwrap();
    dir
}

#[test]
fn where_there_is_no_spool_a_list_ends_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let output = standpipe(&["spool", "list"], dir.path());
    assert_eq!(output.status.code(), Some(69));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("standpipe: there is no spool at "), "{told}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is made");
}

#[test]
fn a_list_needs_no_configuration_and_says_whether_a_process_has_the_spool() {
    let dir = spool();
    let path = dir.path().join("streams/demo/0000019a1b2c3d4e.seg");
    std::fs::write(path, b"this is no segment at all").unwrap();
    let list = || {
        let output = standpipe(&["spool", "list", "--json"], dir.path());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let left = list();
    assert_eq!(left["is_alive"], Value::Bool(false));
    assert_eq!(left["segments"][0]["state"], "unfit");
    let lock = File::open(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(list()["is_alive"], Value::Bool(true));
    let output = standpipe(&["spool", "list"], dir.path());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("a standpipe runs with this spool: it goes on changing\n"), "{text}");
}
