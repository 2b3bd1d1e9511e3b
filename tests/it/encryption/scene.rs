//! A service whose encryption is commanded, pipes on spools of their own, and what is seen from outside.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::posting::{Fates, Posting};
use crate::http::Answer;
use crate::pipe::{Accounts, Pipe, Setup, TokenFile, wait_until};
use crate::upstream::{Entry, Upstream};

const TOKEN: &str = "an-admin-token-of-some-length";

/// How long a change of encryption takes at the service, in ms.
pub const TRANSITION_MS: u64 = 300;

/// How long after that records are not yet encrypted, in ms: longer than from one question of the pipe to the
/// next, so that one that does not wait would be caught at it.
const SETTLE_MS: u64 = 1_000;

/// The most requests of a stream that are under way, and the most records of each.
pub const REQUESTS_IN_FLIGHT_MAX: u64 = 2;
pub const REQUEST_RECORDS_MAX: u64 = 10;

/// Which of the two kinds of streams it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The delivery stream is put into and encrypted.
    Direct,
    /// The data stream `data` is, which the delivery stream reads from.
    Kinesis,
}

/// See the module. The delivery stream is `demo`.
pub struct Scene {
    pub upstream: Upstream,
    kind: Kind,
    directory: TempDir,
    token: TokenFile,
    next: Arc<AtomicU64>,
}

/// What has left for the stream, as the service counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub records: u64,
    pub requests: u64,
    pub unencrypted: u64,
}

impl Scene {
    /// A stream that is not encrypted.
    pub fn new() -> Self {
        Self::of(Kind::Direct)
    }

    /// A stream that was encrypted long ago.
    pub fn encrypted() -> Self {
        Self::encrypted_of(Kind::Direct)
    }

    /// The same of either kind.
    pub fn encrypted_of(kind: Kind) -> Self {
        let scene = Self::of(kind);
        scene.command(&json!({ "set": "enabled" }));
        scene
    }

    /// A stream that is not encrypted, of either kind.
    pub fn of(kind: Kind) -> Self {
        let upstream = match kind {
            Kind::Direct => Upstream::start(),
            Kind::Kinesis => Upstream::with_data_streams(&[], &["data=demo"]),
        };
        Self::with(upstream, kind)
    }

    /// The same with this service.
    pub fn with(upstream: Upstream, kind: Kind) -> Self {
        let (directory, token) = (tempfile::tempdir().unwrap(), TokenFile::new(TOKEN));
        let scene = Self { upstream, kind, directory, token, next: Arc::default() };
        scene.slow_down();
        scene
    }

    /// Has the service take its time for changes of the encryption.
    pub fn slow_down(&self) {
        self.command(&json!({ "transition_ms": TRANSITION_MS, "settle_ms": SETTLE_MS }));
    }

    /// Where the service is asked about the stream that is put into.
    fn control(&self) -> &'static str {
        match self.kind {
            Kind::Direct => "/emulator/streams/demo",
            Kind::Kinesis => "/emulator/kinesis/streams/data",
        }
    }

    /// Commands the encryption of the stream, past its owners.
    pub fn command(&self, command: &Value) {
        self.upstream.control("PUT", &format!("{}/encryption", self.control()), command);
    }

    /// How the encryption of the stream is in truth.
    pub fn truth(&self) -> Value {
        self.upstream.control("GET", &format!("{}/encryption", self.control()), &Value::Null)
    }

    /// Sets the faults of the service that is put into; `{}` ends them.
    pub fn fault(&self, faults: &Value) {
        let path = match self.kind {
            Kind::Direct => "/emulator/faults",
            Kind::Kinesis => "/emulator/kinesis/faults",
        };
        self.upstream.control("PUT", path, faults);
    }

    pub fn heal(&self) {
        self.fault(&json!({}));
    }

    /// How often encryption was started and stopped, by which service's calls.
    pub fn changes(&self) -> [u64; 4] {
        let calls = |service, action| self.upstream.calls(service, action);
        [
            calls("firehose", "StartDeliveryStreamEncryption"),
            calls("firehose", "StopDeliveryStreamEncryption"),
            calls("kinesis", "StartStreamEncryption"),
            calls("kinesis", "StopStreamEncryption"),
        ]
    }

    /// Takes permissions away; nothing gives them back.
    pub fn deny(&self, denied: &[&str]) {
        self.upstream.control("PUT", "/emulator/account", &json!({ "denied": denied }));
    }

    /// A pipe whose stream has to be encrypted, and which waits for nothing for long.
    pub fn setup(&self) -> Setup {
        self.setup_of("one")
    }

    /// The same for one of several pipes, by its name.
    pub fn setup_of(&self, name: &str) -> Setup {
        let directory = self.directory.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Setup::new(&self.upstream.endpoint())
            .spool_in(directory.to_str().unwrap())
            .set("STANDPIPE_UPSTREAM_KINESIS_ENDPOINT", &self.upstream.endpoint())
            .set("STANDPIPE_INGEST_UNIX_SOCKET", self.socket(name).to_str().unwrap())
            .set("STANDPIPE_ADMIN_TOKEN_FILE", self.token.path())
            .set("STANDPIPE_ADMIN_MANAGE_ENCRYPTION", "true")
            .set("STANDPIPE_DEFAULTS_ENCRYPTION", "require")
            .set("STANDPIPE_DEFAULTS_BATCH_RECORDS_MAX", &REQUEST_RECORDS_MAX.to_string())
            .set("STANDPIPE_FORWARD_REQUESTS_IN_FLIGHT_MAX", &REQUESTS_IN_FLIGHT_MAX.to_string())
            .set("STANDPIPE_CONTROL_SETTLE_MS", &(SETTLE_MS + 100).to_string())
            .config(
                "[control]\npoll_min_ms = 10\npoll_max_ms = 200\n\
                 [forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 200\nhold_min_ms = 50\n\
                 hold_max_ms = 200\nspool_blocked_after_ms = 100\n\
                 [stop]\ngrace_ms = 3000\ndeliver_ms = 1000\nquiet_ms = 100\n",
            )
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join(name).join("socket")
    }

    /// Applications at work on the pipe that [`Scene::setup`] makes.
    pub fn post(&self) -> Posting {
        self.post_to("one")
    }

    /// The same for one of several pipes.
    pub fn post_to(&self, name: &str) -> Posting {
        Posting::start(&self.socket(name), "demo", &self.next)
    }

    /// What has left.
    pub fn left(&self) -> Left {
        let counted = self.upstream.control("GET", self.control(), &Value::Null);
        let counters = &counted["counters"];
        let count = |name: &str| counters[name].as_u64().unwrap();
        let records = count("records_accepted");
        Left {
            records,
            requests: count("put_requests"),
            unencrypted: records - count("records_encrypted"),
        }
    }

    /// Waits until the gate is closed and nothing is under way, and checks that it stays so while applications go
    /// on posting. Gives what had left until then.
    #[track_caller]
    pub fn is_shut(&self, pipe: &Pipe, posting: &Posting) -> Left {
        let is_quiet = || {
            let in_flight = pipe.stream("demo")["requests_in_flight"].as_u64();
            // That it is closed at its beginning is counted a moment later.
            let is_counted = gate_changes(pipe, "gate=\"closed\"") > 0.0;
            gate(pipe) == "closed" && is_counted && in_flight == Some(0)
        };
        wait_until("the gate is closed and nothing is under way", || is_quiet() && is_quiet());
        let (before, changes) = (self.left(), gate_changes(pipe, ""));
        posting.goes_on(100);
        let after = self.left();
        assert_eq!(gate_changes(pipe, ""), changes, "the gate has stayed closed meanwhile");
        assert_eq!(after, before, "nothing leaves while the gate is closed");
        after
    }

    /// Waits until all is delivered, and checks that all that was answered for is there, and each record once.
    /// Gives the journal.
    #[track_caller]
    pub fn is_all_delivered(&self, pipe: &Pipe, fates: &Fates) -> Vec<Entry> {
        let entries = self.drained(pipe, fates);
        assert_eq!(fates.check(&entries), 0, "none came twice");
        entries
    }

    /// The same after a kill, where some may have come twice.
    #[track_caller]
    pub fn drained(&self, pipe: &Pipe, fates: &Fates) -> Vec<Entry> {
        let accounts = pipe.drain();
        is_none_set_aside(&accounts);
        let entries = self.upstream.entries("demo");
        fates.check(&entries);
        entries
    }

    /// Asks for a change of the stream's encryption by hand.
    pub fn put(&self, pipe: &Pipe, body: &Value) -> Answer {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("authorization", authorization.as_str())];
        let path = "/v1/streams/demo/encryption";
        pipe.admin().request("PUT", path, &headers, body.to_string().as_bytes())
    }
}

/// Checks that no record was refused or is in ruins.
#[track_caller]
pub fn is_none_set_aside(accounts: &Accounts) {
    let aside = accounts.dead_lettered + accounts.quarantined + accounts.lost;
    assert_eq!(aside, 0.0, "{accounts:?}");
}

/// What the pipe shows of the stream's encryption.
pub fn shown(pipe: &Pipe) -> Value {
    let answer = pipe.admin().get("/v1/streams/demo/encryption");
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Whether the gate is `open`, `half` or `closed`.
pub fn gate(pipe: &Pipe) -> String {
    shown(pipe)["gate"].as_str().unwrap().to_owned()
}

#[track_caller]
pub fn wait_for_gate(pipe: &Pipe, gate: &str) {
    wait_until(&format!("the gate is {gate}"), || self::gate(pipe) == gate);
}

/// How often the gate became so.
pub fn gate_changes(pipe: &Pipe, gate: &str) -> f64 {
    pipe.metric("standpipe_encryption_gate_changes_total", gate)
}

/// How many records were delivered with this evidence: `confirmed`, `unencrypted`, `unverified`.
pub fn evidence(pipe: &Pipe, of: &str) -> f64 {
    let label = format!("evidence=\"{of}\"");
    pipe.metric("standpipe_forward_records_by_evidence_total", &label)
}

/// The journal in runs of records that were encrypted or not, and how long each is.
pub fn runs(entries: &[Entry]) -> Vec<(bool, usize)> {
    let mut runs: Vec<(bool, usize)> = Vec::new();
    for entry in entries {
        match runs.last_mut() {
            Some((encrypted, count)) if *encrypted == entry.encrypted => *count += 1,
            _ => runs.push((entry.encrypted, 1)),
        }
    }
    runs
}

/// Checks that every record was encrypted.
#[track_caller]
pub fn is_all_encrypted(entries: &[Entry]) {
    assert_eq!(runs(entries), [(true, entries.len())]);
}

/// What probes are told.
pub fn notes(pipe: &Pipe) -> String {
    String::from_utf8(pipe.admin().get("/readyz?verbose").body).unwrap()
}

/// Runs the command, and says how it ended and what it printed.
pub fn command(setup: &Setup, words: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = setup.command_of(&directory, words).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}
