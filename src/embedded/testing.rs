//! An emulator for tests, spoken to over the wire without an SDK.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tests::http;
use super::{Config, Emulator, SseTiming};

/// An emulator with the data stream `data`, the delivery stream `demo` behind it, and the Direct PUT stream
/// `direct`.
pub(super) struct Rig {
    pub(super) emulator: Emulator,
    pub(super) dir: TempDir,
}

/// An answer, or the code and the message of a refusal.
pub(super) type Told = Result<Value, (String, String)>;

/// Changes of encryption take no time and settle at once.
pub(super) const AT_ONCE: SseTiming =
    SseTiming { transition: Duration::ZERO, settle: Duration::ZERO, calls_per_day_max: 25 };

pub(super) fn config(dir: &Path) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: dir.to_owned(),
        streams: vec!["direct".parse().unwrap()],
        kinesis_streams: vec!["data=demo".parse().unwrap()],
        journal_bytes_max: 1_000_000,
        sse: AT_ONCE,
        ..Config::default()
    }
}

pub(super) fn start_with(change: impl FnOnce(&mut Config)) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    change(&mut config);
    Rig { emulator: Emulator::start(config).unwrap(), dir }
}

pub(super) fn start() -> Rig {
    start_with(|_| {})
}

impl Rig {
    pub(super) fn ask(&self, target: &str, body: &Value) -> Told {
        let headers = [("X-Amz-Target", target)];
        let body = body.to_string();
        let (status, mut answer) =
            http(self.emulator.local_addr(), "POST", "/", &headers, body.as_bytes());
        if status == 200 {
            return Ok(answer);
        }
        let mut text = |member: &str| answer[member].take().as_str().unwrap_or("").to_owned();
        Err((text("__type"), text("message")))
    }

    pub(super) fn try_kinesis(&self, action: &str, body: &Value) -> Told {
        self.ask(&format!("Kinesis_20131202.{action}"), body)
    }

    pub(super) fn kinesis(&self, action: &str, body: &Value) -> Value {
        self.try_kinesis(action, body).unwrap_or_else(|error| panic!("{action}: {error:?}"))
    }

    pub(super) fn firehose(&self, action: &str, body: &Value) -> Told {
        self.ask(&format!("Firehose_20150804.{action}"), body)
    }

    pub(super) fn kms(&self, action: &str, body: &Value) -> Value {
        self.ask(&format!("TrentService.{action}"), body).unwrap()
    }

    pub(super) fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/emulator/{path}");
        let body = body.to_string();
        let (status, answer) =
            http(self.emulator.local_addr(), method, &path, &[], body.as_bytes());
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(super) fn get(&self, path: &str) -> Value {
        self.control("GET", path, &json!({}))
    }

    pub(super) fn journal(&self, of: &str) -> Vec<Value> {
        self.get(&format!("{of}/records"))["records"].as_array().unwrap().clone()
    }
}

/// The code of a refusal.
pub(super) fn code(told: Told) -> String {
    told.unwrap_err().0
}
