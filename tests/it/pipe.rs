//! A running Standpipe: the binary, its addresses, its logs, and its end.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
#[expect(clippy::disallowed_types, reason = "lines of a log, in a test")]
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Client;
use crate::place::Place;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` is true.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(is_true_within(PATIENCE, condition), "waited in vain until {what}");
}

/// Whether `condition` becomes true within `patience`.
pub fn is_true_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        // A short wait between two looks, bounded by the deadline.
        let _timed_out = never.recv_timeout(Duration::from_millis(5)).is_err();
    }
    true
}

/// A file with a bearer token that only its owner can read.
pub struct TokenFile {
    path: String,
    _directory: TempDir,
}

impl TokenFile {
    pub fn new(token: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, format!("{token}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { path: path.to_str().unwrap().to_owned(), _directory: directory }
    }

    pub fn path(&self) -> &str {
        &self.path
    }
}

/// A Standpipe that is about to be started.
pub struct Setup {
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    before: String,
    /// The words of a command that runs it.
    runner: Vec<String>,
}

/// Where the records of a pipe are, in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accounts {
    pub recovered: f64,
    pub accepted: f64,
    /// Dead letters that were sent on their way again.
    pub replayed: f64,
    pub delivered: f64,
    pub in_memory: f64,
    pub spooled: f64,
    /// Segments whose records nobody has counted yet.
    pub segments_uncounted: f64,
    pub quarantined: f64,
    pub dead_lettered: f64,
    pub lost: f64,
}

impl Accounts {
    /// Whether every record is in exactly one place.
    pub fn is_even(&self) -> bool {
        let here = self.in_memory + self.spooled;
        let gone = self.delivered + self.quarantined + self.dead_lettered + self.lost;
        self.recovered + self.accepted + self.replayed == here + gone
    }
}

#[expect(clippy::disallowed_types, reason = "lines of a log, in a test")]
type Log = Arc<Mutex<Vec<Value>>>;

/// A running Standpipe. Killed when dropped.
pub struct Pipe {
    pub data: String,
    pub admin: String,
    _directory: TempDir,
    child: Child,
    log: Log,
    readers: Vec<JoinHandle<()>>,
}

impl Setup {
    /// A pipe to `endpoint` with the stream `demo`, one worker, no spool, and batches that linger for 20 ms.
    pub fn new(endpoint: &str) -> Self {
        let config = format!(
            "[ingest]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [upstream]\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\n\
             [log]\nformat = \"json\"\n"
        );
        let setup = Self {
            config,
            arguments: Vec::new(),
            environment: Vec::new(),
            before: String::new(),
            runner: Vec::new(),
        };
        setup
            .set("STANDPIPE_DEFAULTS_LINGER_MS", "20")
            .set("STANDPIPE_DEFAULTS_ACK", "memory")
            .set("STANDPIPE_STREAMS", "demo")
    }

    /// Gives it a spool and a key file in its own directory. Its level stays `memory` unless that is set.
    pub fn spool(self) -> Self {
        self.spool_in(".")
    }

    /// The same in a directory that another one can be given after it.
    pub fn spool_in(self, directory: &str) -> Self {
        self.set("STANDPIPE_SPOOL_DIR", &format!("{directory}/spool"))
            .set("STANDPIPE_KEYS_PROVIDER", "file")
            .set("STANDPIPE_KEYS_FILE", &format!("{directory}/key"))
            .set("STANDPIPE_SPOOL_ALLOW_TMPFS", "true")
    }

    /// Has its data keys wrapped by the KMS at `endpoint` under this key, and not by a file.
    pub fn kms(self, endpoint: &str, key: &str) -> Self {
        self.set("STANDPIPE_KEYS_PROVIDER", "kms")
            .set("STANDPIPE_KEYS_ENDPOINT", endpoint)
            .set("STANDPIPE_KEYS_KEY", key)
            .set("STANDPIPE_KEYS_FILE", "")
    }

    /// Adds TOML to the configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// Has it run by the command that these words begin.
    pub fn run_by(mut self, words: Vec<String>) -> Self {
        self.runner = words;
        self
    }

    /// Runs it inside a place, with its spool there and its key file outside.
    pub fn inside(self, place: &Place, keys: &TempDir) -> Self {
        self.run_by(place.words().to_vec())
            .spool_in(place.path().to_str().unwrap())
            .set("STANDPIPE_KEYS_FILE", keys.path().join("key").to_str().unwrap())
    }

    /// Runs these words of the shell before it, in the same process.
    pub fn after(mut self, words: &str) -> Self {
        self.before = format!("{words} &&");
        self
    }

    /// Sets a variable of the environment.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command, in a fresh directory that holds the configuration.
    pub fn command(&self, directory: &TempDir) -> Command {
        self.command_of(directory, &["serve"])
    }

    /// The same with other words than `serve`.
    pub fn command_of(&self, directory: &TempDir, words: &[&str]) -> Command {
        let file = directory.path().join("standpipe.toml");
        std::fs::write(&file, &self.config).unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{} exec \"$0\" \"$@\"", self.before));
        command.args(&self.runner).arg(env!("CARGO_BIN_EXE_standpipe"));
        command.args(words).arg("--config").arg(file).args(&self.arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("AWS_ACCESS_KEY_ID", "AKIDTEST").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Pipe {
        let pipe = self.launch();
        wait_until("it is ready", || pipe.admin().get("/readyz").status == 200);
        pipe
    }

    /// Starts it and waits until all its streams can answer as durable, whatever their own level is.
    pub fn start_durable(self) -> Pipe {
        let pipe = self.start();
        wait_until("the first keys are there", || {
            pipe.metric("standpipe_spool_obstacle", "") == 0.0
        });
        pipe
    }

    /// Starts it and waits until it listens.
    pub fn launch(self) -> Pipe {
        let mut pipe = self.begin();
        wait_until("it listens", || {
            if !pipe.listens()
                && let Ok(Some(status)) = pipe.child.try_wait()
            {
                panic!("it ended with {status}: {:?}", pipe.log.lock().unwrap());
            }
            !pipe.data.is_empty()
        });
        pipe
    }

    /// Starts it and waits for nothing: its addresses are not known yet.
    pub fn begin(&self) -> Pipe {
        let directory = tempfile::tempdir().unwrap();
        let mut child = self.command(&directory).spawn().unwrap();
        let log = Log::default();
        let readers = vec![
            collect(BufReader::new(child.stderr.take().unwrap()), &log),
            collect(BufReader::new(child.stdout.take().unwrap()), &log),
        ];
        let (data, admin) = (String::new(), String::new());
        Pipe { data, admin, _directory: directory, child, log, readers }
    }
}

/// Collects the lines of a stream; a line that is no JSON becomes a message.
fn collect(lines: impl BufRead + Send + 'static, log: &Log) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line)
                .unwrap_or_else(|_| serde_json::json!({ "message": line }));
            log.lock().unwrap().push(value);
        }
    })
}

impl Pipe {
    /// Whether it listens by now; then its addresses are known.
    pub fn listens(&mut self) -> bool {
        if let Some(line) = self.log_lines("listening").first() {
            self.data = line["data"].as_str().unwrap().to_owned();
            self.admin = line["admin"].as_str().unwrap().to_owned();
        }
        !self.data.is_empty()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// A new connection to the data listener.
    pub fn client(&self) -> Client {
        Client::tcp(&self.data)
    }

    /// A new connection to the admin listener.
    pub fn admin(&self) -> Client {
        Client::tcp(&self.admin)
    }

    /// The path of a stream's records.
    pub fn path(stream: &str) -> String {
        format!("/v1/streams/{stream}/records")
    }

    /// The sum of a metric over all its labels that contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        metric_in(&String::from_utf8(self.admin().get("/metrics").body).unwrap(), name, labels)
    }

    /// What `/v1/status` says.
    pub fn status(&self) -> Value {
        self.admin().get("/v1/status").json()
    }

    /// What the status says of a stream.
    pub fn stream(&self, name: &str) -> Value {
        let status = self.status();
        let streams = status["streams"].as_array().unwrap();
        streams.iter().find(|stream| stream["name"] == name).unwrap().clone()
    }

    /// Where all records are, over all streams. Exact when the pipe is quiet.
    pub fn accounts(&self) -> Accounts {
        let text = String::from_utf8(self.admin().get("/metrics").body).unwrap();
        let metric = |name| metric_in(&text, name, "");
        Accounts {
            recovered: metric("standpipe_spool_records_recovered_total"),
            accepted: metric("standpipe_ingest_records_accepted_total"),
            replayed: metric("standpipe_spool_dead_letters_replayed_total"),
            delivered: metric("standpipe_forward_records_delivered_total"),
            in_memory: metric("standpipe_pipeline_records_in_memory"),
            spooled: metric("standpipe_spool_records"),
            segments_uncounted: metric("standpipe_spool_segments_uncounted"),
            quarantined: metric("standpipe_spool_records_quarantined_total"),
            dead_lettered: metric("standpipe_spool_records_dead_lettered_total"),
            lost: metric("standpipe_pipeline_records_lost_total"),
        }
    }

    /// Waits until every record is accounted for, and none was lost.
    #[track_caller]
    pub fn balance(&self) -> Accounts {
        let mut accounts = self.accounts();
        let is_even = is_true_within(PATIENCE, || {
            accounts = self.accounts();
            accounts.is_even()
        });
        assert!(is_even, "recovered + accepted = all others: {accounts:?}");
        assert_eq!(accounts.lost, 0.0, "{accounts:?}");
        accounts
    }

    /// Waits until nothing is left to deliver, neither in memory nor in the spool, and every record is
    /// accounted for.
    #[track_caller]
    pub fn drain(&self) -> Accounts {
        let mut accounts = self.accounts();
        let is_drained = is_true_within(PATIENCE, || {
            // Twice, since a segment may come to be counted between two of the numbers.
            let before = std::mem::replace(&mut accounts, self.accounts());
            let left = |now: &Accounts| now.in_memory + now.spooled + now.segments_uncounted;
            left(&before) + left(&accounts) == 0.0
        });
        assert!(
            is_drained,
            "waited in vain until all is delivered: {accounts:?} {}",
            self.status()
        );
        self.balance()
    }

    /// The log lines whose message contains `text`.
    pub fn log_lines(&self, text: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        log.iter()
            .filter(|line| line["message"].as_str().is_some_and(|message| message.contains(text)))
            .cloned()
            .collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until nothing is in memory, and checks that every record is accounted for.
    #[track_caller]
    pub fn settle(&self) {
        let in_memory = || self.metric("standpipe_pipeline_records_in_memory", "");
        wait_until("all records are settled", || in_memory() == 0.0);
        let accepted = self.metric("standpipe_ingest_records_accepted_total", "");
        let delivered = self.metric("standpipe_forward_records_delivered_total", "");
        let lost = self.metric("standpipe_pipeline_records_lost_total", "");
        assert_eq!(accepted, delivered + lost, "accepted = delivered + lost, when all is quiet");
        assert_eq!(lost, 0.0);
    }

    pub fn signal(&self, signal: &str) {
        let kill =
            Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(kill.unwrap().success());
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> (ExitStatus, Vec<Value>) {
        wait_until("it ends", || self.child.try_wait().unwrap().is_some());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let log = self.log.lock().unwrap().clone();
        (self.child.wait().unwrap(), log)
    }

    /// Stops it as Kubernetes does.
    pub fn stop(self) -> (ExitStatus, Vec<Value>) {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The sum of a metric in the text format.
pub fn metric_in(text: &str, name: &str, labels: &str) -> f64 {
    text.lines()
        .filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| {
                (rest.starts_with('{') || rest.starts_with(' ')) && rest.contains(labels)
            })
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
