//! The tools that look into a spool, as they are typed: what they print, and how they end.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;
use standpipe::encryption::keys::{self, Keys};
use standpipe::pipeline::{Budget, Lane, PartitionKeys, post};
use standpipe::spool::{Config, Letter, Provider, Spill, Spool, Word, Words};
use tempfile::TempDir;

use crate::pipe::{PATIENCE, wait_until};

/// A directory with a spool, a key file and a configuration.
struct Place {
    dir: TempDir,
}

impl Place {
    /// A spool of two records, `alpha` and `beta`, and a dead letter, `gamma`.
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let key_file = place.path("key");
        let keys = keys::Config {
            provider: Provider::File,
            file: Some(key_file),
            ..keys::Config::default()
        };
        let keys = Keys::start(&keys, &[]).unwrap();
        let config = Config {
            dir: place.path("spool"),
            reserve_bytes: 0,
            free_bytes_min: 0,
            allow_tmpfs: true,
            ..Config::default()
        };
        let (post, _mailboxes) = post(1);
        let (spool, words) = Spool::start(config, keys.ring(), post).unwrap();
        let lane = Lane::new("demo".parse().unwrap(), Budget::new(1 << 20).share(0));
        let stream = spool.spools().open(&lane).unwrap();
        wait_until("there is a key", || stream.inlet().obstacle().is_none());
        let bytes = b"alpha\nbeta\n".to_vec();
        let spill = Spill {
            id: 1,
            opened_at: Instant::now(),
            lengths: vec![6, 5],
            bytes,
            partition_keys: PartitionKeys::NONE,
        };
        stream.spill(spill).unwrap();
        assert!(matches!(said(&words), Word::Spooled { result: Ok(_), .. }));
        stream.set_aside(Letter {
            id: 2,
            record: b"gamma\n".to_vec(),
            partition_key: None,
            opened_at: Instant::now(),
            reason: "refused_alone",
            code: "ValidationException".into(),
            message: "it is too strange".into(),
            origin: None,
        });
        assert!(matches!(said(&words), Word::SetAside { result: Ok(()), .. }));
        spool.begin_stop();
        assert!(spool.stop(Instant::now() + PATIENCE).is_whole);
        keys.stop();
        place.configure("key");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self, key_file: &str) {
        let config = format!(
            "[upstream]\nregion = \"us-east-1\"\n[keys]\nprovider = \"file\"\nfile = \"{}\"\n",
            self.path(key_file).display()
        );
        std::fs::write(self.path("standpipe.toml"), config).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
        command.args(words).arg("--dir").arg(self.path("spool"));
        command.arg("--config").arg(self.path("standpipe.toml"));
        command.env_clear().env("STANDPIPE_STREAMS", "demo").current_dir(self.dir.path());
        command.output().unwrap()
    }

    fn segment(&self) -> PathBuf {
        let mut files = std::fs::read_dir(self.path("spool/streams/demo")).unwrap();
        files.next().unwrap().unwrap().path()
    }
}

fn said(words: &Words) -> Word {
    let mut word = None;
    wait_until("the spool says something", || {
        word = words.try_take();
        word.is_some()
    });
    word.unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_spool_is_verified_and_damage_has_an_exit_code_of_its_own() {
    let place = Place::new();
    let whole = place.run(&["spool", "verify", "--json"]);
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    let shown: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!((&shown["result"], &shown["records"]), (&"whole".into(), &3.into()));

    let mut bytes = std::fs::read(place.segment()).unwrap();
    let frame = bytes.windows(4).position(|window| window == b"SPFR").unwrap();
    bytes[frame + 70] ^= 1;
    std::fs::write(place.segment(), bytes).unwrap();
    let damaged = place.run(&["spool", "verify"]);
    assert_eq!(damaged.status.code(), Some(74), "{damaged:?}");
    let told = text(damaged.stderr);
    assert_eq!(told, "standpipe: 1 of 2 segments are damaged: 2 records are missing in them\n");
}

#[test]
fn another_key_is_no_damage_and_a_key_file_that_is_not_there_is_not_made() {
    let place = Place::new();
    place.configure("other");
    let missing = place.run(&["spool", "verify"]);
    assert_eq!(missing.status.code(), Some(78), "{missing:?}");
    assert!(!place.path("other").exists());
    let keys = keys::Config {
        provider: Provider::File,
        file: Some(place.path("other")),
        ..keys::Config::default()
    };
    Keys::start(&keys, &[]).unwrap().stop();
    let foreign = place.run(&["spool", "verify"]);
    assert_eq!(foreign.status.code(), Some(69), "{foreign:?}");
    assert!(text(foreign.stderr).contains("is not listed"));
}

#[test]
fn records_are_exported_aloud_and_never_over_another_file() {
    let place = Place::new();
    let output = place.run(&["spool", "export", "--raw", "--output", "out"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty());
    let told = text(output.stderr);
    assert!(told.starts_with("standpipe: records leave the sealed spool: out "), "{told}");
    assert!(told.ends_with("standpipe: 2 records exported\n"), "{told}");
    assert!(!told.contains('\r'), "no progress where there is no terminal");
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"alpha\nbeta\n");
    let mode = std::fs::metadata(place.path("out")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = place.run(&["spool", "export", "--output", "out"]);
    assert_eq!(again.status.code(), Some(64), "{again:?}");
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"alpha\nbeta\n");
    let lines = place.run(&["spool", "export", "--text"]);
    let first: Value = serde_json::from_str(text(lines.stdout).lines().next().unwrap()).unwrap();
    assert_eq!((&first["text"], &first["stream"]), (&"alpha\n".into(), &"demo".into()));
}

#[test]
fn dead_letters_are_listed_without_their_records_and_exported_with_them() {
    let place = Place::new();
    let list = place.run(&["dead-letter", "list", "--verbose"]);
    assert_eq!(list.status.code(), Some(0), "{list:?}");
    let shown = text(list.stdout);
    assert!(shown.contains("ValidationException: 1") && shown.contains("it is too strange"));
    assert!(!shown.contains("gamma"), "{shown}");
    let export = place.run(&["dead-letter", "export", "--raw"]);
    assert_eq!(export.stdout, b"gamma\n");
}

#[test]
fn where_there_is_no_spool_a_list_ends_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let output = list(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(69));
    assert!(output.stdout.is_empty());
    let told = text(output.stderr);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("standpipe: there is no spool at "), "{told}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is made");
}

#[test]
fn a_list_needs_no_configuration_and_says_whether_a_process_has_the_spool() {
    let place = Place::new();
    let spool = place.path("spool");
    let is_alive = || {
        let output = list(&spool, &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["segments"][0]["records_claimed"], 2);
        shown["is_alive"].clone()
    };
    assert_eq!(is_alive(), false);
    let lock = File::open(spool.join("lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(is_alive(), true);
    let shown = text(list(&spool, &[]).stdout);
    assert!(shown.ends_with("a standpipe runs with this spool: it goes on changing\n"), "{shown}");
}

fn list(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command.args(["spool", "list"]).args(words).arg("--dir").arg(dir).env_clear();
    command.output().unwrap()
}
