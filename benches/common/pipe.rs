//! Standpipe itself: the binary as it is shipped, with a configuration file, sending to the sink.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::common::child::{Lines, Running, next_line};
use crate::common::fault::{During as _, Fault};
use crate::common::http;
use crate::common::records::STREAM;
use crate::common::scrape::Scrape;

/// The budget that it is given: its own default, said here because a target names it.
pub(crate) const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long it may take to be ready, and how often it is asked.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const READY_INTERVAL: Duration = Duration::from_millis(1);

/// How long it may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// A running Standpipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    running: Running,
    stderr: Lines,
    /// Holds the configuration.
    _folder: TempDir,
    /// Where it takes records.
    pub(crate) data: SocketAddr,
    /// Where it says how it is.
    pub(crate) admin: SocketAddr,
    /// From the start of the process until `/readyz` said so.
    pub(crate) ready_after: Duration,
}

impl Pipe {
    /// Starts it with this configuration and waits until it is ready.
    pub(crate) async fn start(configuration: &str) -> Result<Self, Fault> {
        let folder = TempDir::new().during("a folder for the configuration")?;
        let config = folder.path().join("standpipe.toml");
        std::fs::write(&config, configuration).during("the configuration")?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
        command.arg("serve").arg("--config").arg(&config).current_dir(folder.path());
        command.env_clear();
        command.env("AWS_ACCESS_KEY_ID", "bench").env("AWS_SECRET_ACCESS_KEY", "bench");
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let begin = Instant::now();
        let mut running = Running::spawn(&mut command)?;
        let mut stderr = running.stderr()?;
        let (data, admin) = loop {
            let line = match next_line(&mut stderr).await {
                Ok(line) => line,
                Err(fault) => return Err(Fault::new(format!("standpipe: {fault}"))),
            };
            if let Some(addresses) = addresses(&line) {
                break addresses;
            }
            remark(&line);
        };
        loop {
            let (status, reasons) = http::get(admin, "/readyz").await?;
            if status == 200 {
                break;
            }
            if begin.elapsed() > READY_TIMEOUT {
                return Err(Fault::new(format!("standpipe listens and is not ready: {reasons}")));
            }
            sleep(READY_INTERVAL).await;
        }
        let ready_after = begin.elapsed();
        Ok(Self { running, stderr, _folder: folder, data, admin, ready_after })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it says of itself in numbers.
    pub(crate) async fn scrape(&self) -> Result<Scrape, Fault> {
        Ok(Scrape::new(http::get(self.admin, "/metrics").await?.1))
    }

    /// Stops it as an operator does, and says how long that took.
    pub(crate) async fn stop(mut self) -> Result<Duration, Fault> {
        let begin = Instant::now();
        timeout(STOP_TIMEOUT, self.running.stop()).await.during("stopping standpipe")??;
        self.pass_on_remarks();
        Ok(begin.elapsed())
    }

    /// Passes on what it has logged since: whoever reads figures wants to know of troubles.
    pub(crate) fn pass_on_remarks(&mut self) {
        while let Ok(line) = self.stderr.try_recv() {
            remark(&line);
        }
    }
}

/// A configuration without a spool: what is accepted is in memory.
pub(crate) fn in_memory(sink: SocketAddr) -> String {
    let common = common(sink);
    format!("{common}[[streams]]\nname = \"{STREAM}\"\nack = \"memory\"\n")
}

/// What every configuration says.
pub(crate) fn common(sink: SocketAddr) -> String {
    format!(
        "[memory]\nbytes_max = {MEMORY_BYTES_MAX}\n\
         [ingest]\nlisten = \"127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n\
         [upstream]\nendpoint = \"http://{sink}\"\nregion = \"us-east-1\"\n"
    )
}

/// The data and admin addresses, if this line of the log says them.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| field(&line, name)?.parse().ok();
    (field(&line, "message")? == "listening").then_some(())?;
    Some((address("data")?, address("admin")?))
}

/// A field of a line of the log, wherever the format has it.
fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str()
}

/// What it warns of rightly: a key file, and a sink that was told to refuse.
const EXPECTED: [&str; 3] = [
    "a local key file is in use",
    "records were not delivered and will be sent again",
    "circuit opened: the service is away, records wait",
];

/// Shows a line that is not information only.
fn remark(line: &str) {
    if EXPECTED.iter().any(|expected| line.contains(expected)) {
        return;
    }
    let parsed: Option<Value> = serde_json::from_str(line).ok();
    let level = parsed.as_ref().and_then(|line| line.get("level")?.as_str());
    if !matches!(level, Some("INFO" | "info" | "DEBUG" | "debug" | "TRACE" | "trace")) {
        eprintln!("standpipe: {line}");
    }
}
