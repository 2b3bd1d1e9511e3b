//! What the tools print and how they end, over a spool that was really written.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::export::{Exported, Form, Wanted, export};
use super::letter_list::Letters;
use super::{replay, spool, verify};
use crate::pipeline::{self, testing};
use crate::record::StreamName;
use crate::spool::tools::Inspector;
use crate::spool::{
    Config, DataKey, KeyRing, Letter, NoKey, Provider, Spill, Spool, UnwrapError, Unwrapped, Word,
    Words, WrappedKey,
};

const PATIENCE: Duration = Duration::from_secs(20);
const KEY: &[u8; 32] = b"thirty-two bytes that are secret";

/// A ring with one key, or with none.
struct Ring {
    has_key: bool,
}

fn data_key() -> Arc<DataKey> {
    let wrapped = WrappedKey {
        provider: Provider::File,
        key_id: "file:0f1e2d3c".to_owned(),
        context: [].into(),
        wrapped: b"wrapped".to_vec(),
    };
    Arc::new(DataKey::new(wrapped, *KEY))
}

impl KeyRing for Ring {
    fn current(&self, _: &StreamName) -> Result<Arc<DataKey>, NoKey> {
        Ok(data_key())
    }

    fn used(&self, _: &StreamName, _: u64) {}

    fn unwrap(&self, _: &StreamName, key: &WrappedKey, _: Box<dyn FnOnce() + Send>) -> Unwrapped {
        if self.has_key {
            Unwrapped::Ready(data_key())
        } else {
            Unwrapped::Refused(UnwrapError::Foreign { key_id: key.key_id.clone() })
        }
    }
}

const RING: &Ring = &Ring { has_key: true };

/// A spool that is gone, with three records of which one is delivered, and with two dead letters.
struct Left {
    dir: tempfile::TempDir,
}

fn word(words: &Words) -> Word {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(word) = words.try_take() {
            return word;
        }
        assert!(Instant::now() < deadline, "nothing is said");
        let _when = crossbeam_channel::after(Duration::from_millis(2)).recv();
    }
}

impl Left {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            dir: dir.path().to_owned(),
            reserve_bytes: 0,
            free_bytes_min: 0,
            allow_tmpfs: true,
            ..Config::default()
        };
        let (post, _boxes) = pipeline::post(1);
        let (running, words) =
            Spool::start(config, Arc::new(Ring { has_key: true }), post).unwrap();
        let stream = running.spools().open(&testing::lane("demo", 1 << 20)).unwrap();
        let records = ["first-secret\n", "second-secret\n", "\u{fc}nd drei\n"];
        let lengths = records.map(|record| u32::try_from(record.len()).unwrap()).to_vec();
        let bytes = records.concat().into_bytes();
        let partition_keys = pipeline::PartitionKeys::collect([Some("käufer"), None].into_iter());
        stream
            .spill(Spill { id: 1, opened_at: Instant::now(), lengths, bytes, partition_keys })
            .unwrap();
        let Word::Spooled { result: Ok(origin), .. } = word(&words) else { panic!() };
        stream.note(origin, vec![1]);
        for (id, code) in [(2, "Validation\u{1b}[2J"), (3, "Validation\u{1b}[2J")] {
            stream.set_aside(Letter {
                id,
                record: b"poison-secret".to_vec(),
                partition_key: (id == 3).then(|| "käufer".into()),
                opened_at: Instant::now(),
                reason: "refused_alone",
                code: code.into(),
                message: "it is too strange".into(),
                origin: None,
            });
            assert!(matches!(word(&words), Word::SetAside { result: Ok(()), .. }));
        }
        running.begin_stop();
        assert!(running.stop(Instant::now() + PATIENCE).is_whole);
        Self { dir }
    }

    fn inspector(&self) -> Inspector {
        Inspector::new(self.dir.path().to_owned())
    }

    /// The one segment of records.
    fn segment(&self) -> PathBuf {
        let files = std::fs::read_dir(self.dir.path().join("streams/demo")).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|kind| kind == "seg")).unwrap()
    }

    fn damage(&self) {
        let path = self.segment();
        let mut bytes = std::fs::read(&path).unwrap();
        let frame = memchr::memmem::find(&bytes, b"SPFR").unwrap();
        bytes[frame + 60] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    fn verify(&self, ring: &Ring) -> (String, Value, Result<(), Failure>) {
        let inspector = self.inspector();
        let verified = verify::verify(&inspector, ring, Duration::ZERO, None).unwrap();
        let json = serde_json::from_str(&verified.as_json(&inspector)).unwrap();
        (verified.text(), json, verified.result())
    }

    fn export(&self, wanted: Wanted<'_>) -> (Vec<u8>, Exported) {
        let mut out = Vec::new();
        let exported = export(&self.inspector(), RING, Duration::ZERO, wanted, &mut out).unwrap();
        (out, exported)
    }
}

const RECORDS: Wanted<'_> =
    Wanted { only: None, is_all: false, is_letters: false, form: Form::Base64 };

#[track_caller]
fn has_no_secret(text: &str) {
    for secret in ["first-secret", "second-secret", "poison-secret", "thirty-two bytes"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_list_shows_streams_and_segments_to_people_and_programs() {
    let left = Left::new();
    let text = spool::listed(&left.inspector(), None, false).unwrap();
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[0].starts_with("STREAM") && rows[0].contains("RECORDS"), "{text}");
    assert!(rows[1].contains("streams") && rows[1].contains("closed") && rows[1].contains(" 3 "));
    assert!(rows[1].ends_with("file:0f1e2d3c"));
    assert!(text.contains("demo (dead_letters): 1 segment, 2 records claimed, "), "{text}");
    assert!(text.ends_with("no standpipe runs with this spool\n"));
    let json = spool::listed(&left.inspector(), None, true).unwrap();
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown["is_alive"], json!(false));
    assert_eq!(shown["segments"][0]["records_claimed"], json!(3));
    assert_eq!(shown["segments"][0]["provider"], json!("file"));
    assert_eq!(shown["streams"][0]["key_ids"], json!(["file:0f1e2d3c"]));
    assert_eq!(shown["streams"][1]["place"], json!("dead_letters"));
    has_no_secret(&text);
    has_no_secret(&json);
    let none = spool::listed(&left.inspector(), Some(&"other".parse().unwrap()), false).unwrap();
    assert_eq!(none, "no standpipe runs with this spool\n");
    let nowhere = Inspector::new(left.dir.path().join("none"));
    assert_eq!(spool::listed(&nowhere, None, false).unwrap_err().exit, Exit::Unavailable);
}

#[test]
fn what_the_control_keeps_in_the_directory_is_in_nobody_s_way() {
    let left = Left::new();
    // But for ages, which the time between two looks changes.
    let list = || {
        let listed = spool::listed(&left.inspector(), None, true).unwrap();
        let lines = listed.lines().filter(|line| !line.contains("age_ms\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = list();
    let control = left.dir.path().join("control");
    std::fs::create_dir(&control).unwrap();
    std::fs::write(control.join("streams.json"), b"{}").unwrap();
    assert_eq!(list(), before);
    let (text, _, result) = left.verify(RING);
    assert_eq!(result, Ok(()), "{text}");
    let config = Config {
        dir: left.dir.path().to_owned(),
        allow_tmpfs: true,
        reserve_bytes: 0,
        ..Config::default()
    };
    let (post, _boxes) = pipeline::post(1);
    let (running, _words) = Spool::start(config, Arc::new(Ring { has_key: true }), post).unwrap();
    assert_eq!(running.leftovers().len(), 1, "the stream, and nothing else");
    running.begin_stop();
    let _left = running.stop(Instant::now() + PATIENCE);
    assert!(control.join("streams.json").exists());
}

#[test]
fn a_whole_spool_verifies() {
    let left = Left::new();
    let (text, json, result) = left.verify(RING);
    assert_eq!(result, Ok(()));
    assert!(
        text.ends_with("2 segments: 5 records in 3 frames open, 1 noted, 0 missing\n"),
        "{text}"
    );
    assert_eq!((&json["result"], &json["records"]), (&json!("whole"), &json!(5)));
    has_no_secret(&text);
}

#[test]
fn damage_is_told_and_ends_with_its_own_code() {
    let left = Left::new();
    left.damage();
    let (text, json, result) = left.verify(RING);
    let failure = result.unwrap_err();
    assert_eq!(failure.exit.code(), 74);
    assert_eq!(failure.message, "1 of 2 segments are damaged: 3 records are missing in them");
    assert!(text.contains("3 records in 1 frame, 2 of them not noted as delivered"), "{text}");
    let missing = &json["segments"][0]["missing"][0];
    assert_eq!((&missing["frames"], &missing["records"]), (&json!(1), &json!(3)));
    assert_eq!((&json["result"], &json["records_missing"]), (&json!("damaged"), &json!(3)));
    let (out, exported) = left.export(RECORDS);
    assert!(out.is_empty());
    assert_eq!(verify::result_of(&exported.reports).unwrap_err().exit, Exit::Io);
}

#[test]
fn without_keys_nothing_is_called_damaged() {
    let left = Left::new();
    let (text, json, result) = left.verify(&Ring { has_key: false });
    let failure = result.unwrap_err();
    assert_eq!(failure.exit.code(), 69);
    assert!(failure.message.contains("keys.decrypt_only"), "{}", failure.message);
    assert!(text.contains("waits"), "{text}");
    assert_eq!(json["result"], json!("waits"));
}

#[test]
fn exactly_what_is_not_delivered_is_exported() {
    let left = Left::new();
    let (raw, exported) = left.export(Wanted { form: Form::Raw, ..RECORDS });
    assert_eq!(raw, "first-secret\n\u{fc}nd drei\n".as_bytes());
    assert_eq!(verify::result_of(&exported.reports), Ok(()));
    let objects = |out: &[u8]| -> Vec<Value> {
        out.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    };
    let (out, _) = left.export(RECORDS);
    let records = objects(&out);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["data"], json!("Zmlyc3Qtc2VjcmV0Cg=="));
    assert_eq!(records[0]["partition_key"], json!("käufer"));
    assert!(records[1].get("partition_key").is_none(), "it came without one");
    assert_eq!((&records[1]["number"], &records[1]["frame"]), (&json!(2), &json!(0)));
    assert!(records[0]["accepted_unix_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let (out, _) = left.export(Wanted { form: Form::Text, is_all: true, ..RECORDS });
    let records = objects(&out);
    assert_eq!(records.len(), 3);
    assert_eq!(
        (&records[1]["text"], &records[1]["is_delivered"]),
        (&json!("second-secret\n"), &json!(true))
    );
    let other = "other".parse().unwrap();
    assert!(left.export(Wanted { only: Some(&other), ..RECORDS }).0.is_empty());
    let (out, _) = left.export(Wanted { is_letters: true, ..RECORDS });
    let letters = objects(&out);
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["message"], json!("it is too strange"));
    assert!(letters[0].get("partition_key").is_none());
    assert_eq!(letters[1]["partition_key"], json!("käufer"));
    assert_eq!(letters[0]["data"], json!("cG9pc29uLXNlY3JldA=="));
}

#[test]
fn dead_letters_are_listed_by_their_codes_and_never_shown() {
    let left = Left::new();
    let read = |ring, is_each| {
        Letters::read(&left.inspector(), ring, Duration::ZERO, None, is_each).unwrap()
    };
    let letters = read(RING, true);
    assert_eq!(letters.result(), Ok(()));
    let text = letters.text();
    assert!(text.contains("Validation\u{fffd}[2J: 2"), "{text}");
    assert!(text.contains("refused_alone") && text.contains("it is too strange"));
    has_no_secret(&text);
    let json: Value = serde_json::from_str(&letters.as_json(&left.inspector())).unwrap();
    assert_eq!(json["streams"][0]["letters"], json!(2));
    assert_eq!(json["letters"][1]["record_bytes"], json!(13));
    has_no_secret(&json["letters"].to_string());
    assert!(!read(RING, false).text().contains("it is too strange"));
    let without = read(&Ring { has_key: false }, false);
    assert_eq!(without.result().unwrap_err().exit, Exit::Unavailable);
    let json: Value = serde_json::from_str(&without.as_json(&left.inspector())).unwrap();
    assert_eq!(json["streams"][0]["letters_unopened_claimed"], json!(2));
}

#[test]
fn the_tools_leave_every_file_as_it_is() {
    let left = Left::new();
    let before = contents(left.dir.path());
    drop(left.verify(RING));
    drop(left.export(Wanted { is_all: true, ..RECORDS }));
    spool::listed(&left.inspector(), None, false).unwrap();
    assert_eq!(contents(left.dir.path()), before);
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders = vec![dir.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), std::fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// An admin listener that gives these answers, one after the other, and the requests that it had.
fn admin(answers: Vec<(u16, Value)>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let answered = answers.into_iter().map(|(status, body)| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut bytes = [0; 1024];
            while !request.ends_with(b"}") {
                let count = stream.read(&mut bytes).unwrap();
                request.extend_from_slice(&bytes[..count]);
            }
            write!(stream, "HTTP/1.1 {status} x\r\nconnection: close\r\n\r\n{body}").unwrap();
            String::from_utf8(request).unwrap()
        });
        answered.collect()
    });
    (address, server)
}

#[test]
fn a_replay_is_asked_for_until_it_is_through() {
    let part = |letters: u64, is_through: bool| {
        (
            200,
            json!({"letters": letters, "is_through": is_through, "segment_max": "00ff", "obstacles": []}),
        )
    };
    let (address, server) = admin(vec![part(500, false), part(7, true)]);
    let done = replay::replay(address, "t0ken", "demo", &["a-1-0".to_owned()]).unwrap();
    assert_eq!((done.letters, done.is_through), (507, true));
    let requests = server.join().unwrap();
    assert!(requests[0].starts_with("POST /v1/dead-letters/demo/replay HTTP/1.1\r\n"));
    assert!(requests[0].contains("\r\nAuthorization: Bearer t0ken\r\n"));
    assert!(requests[0].ends_with(r#"{"ids":["a-1-0"]}"#));
    assert!(requests[1].ends_with(r#"{"ids":["a-1-0"],"segment_max":"00ff"}"#));
}

#[test]
fn a_replay_that_is_refused_says_why_in_one_line() {
    for (status, exit) in [(401, Exit::Configuration), (404, Exit::Unavailable), (400, Exit::Usage)]
    {
        let (address, server) = admin(vec![(status, json!({"detail": "such\nis life"}))]);
        let failure = replay::replay(address, "t", "demo", &[]).unwrap_err();
        assert_eq!((failure.exit, failure.message.contains("such\u{fffd}is life")), (exit, true));
        server.join().unwrap();
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failure = replay::replay(nobody, "t", "demo", &[]).unwrap_err();
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.message.contains("it has to run"), "{}", failure.message);
}
