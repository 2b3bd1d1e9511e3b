//! The service behind the pipe: the emulator, reached over TCP, with its faults set over HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use standpipe::embedded::{Config, Emulator, read_delivered};
use tempfile::TempDir;

use crate::http::Client;

/// What the emulator remembers of records for the tests.
const JOURNAL_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A running emulator.
pub struct Upstream {
    emulator: Option<Emulator>,
    address: String,
    streams: Vec<String>,
    directory: TempDir,
}

fn config(directory: &TempDir, streams: &[String], listen: &str) -> Config {
    Config {
        listen: listen.parse().unwrap(),
        data_dir: directory.path().to_owned(),
        streams: streams.iter().map(|name| name.parse().unwrap()).collect(),
        quota: None,
        journal_bytes_max: JOURNAL_BYTES_MAX,
        ..Config::default()
    }
}

impl Upstream {
    /// One with the stream `demo`.
    pub fn start() -> Self {
        Self::with_streams(&["demo"])
    }

    pub fn with_streams(streams: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let streams: Vec<String> = streams.iter().map(|name| (*name).to_owned()).collect();
        let emulator = Emulator::start(config(&directory, &streams, "127.0.0.1:0")).unwrap();
        let address = emulator.local_addr().to_string();
        Self { emulator: Some(emulator), address, streams, directory }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The key of its KMS.
    pub fn key_arn(&self) -> &str {
        self.emulator.as_ref().unwrap().key_arn()
    }

    /// Ends it: connections are refused from now on.
    pub fn go_away(&mut self) {
        self.emulator.take().unwrap().stop().unwrap();
    }

    /// Starts it again where it was, with what it had.
    pub fn come_back(&mut self) {
        let config = config(&self.directory, &self.streams, &self.address);
        self.emulator = Some(Emulator::start(config).unwrap());
    }

    /// Sets the faults of all streams; `{}` ends them.
    pub fn fault(&self, faults: &Value) {
        self.control("PUT", "/emulator/faults", faults);
    }

    /// Sets the faults of one stream.
    pub fn fault_of(&self, stream: &str, faults: &Value) {
        self.control("PUT", &format!("/emulator/streams/{stream}/faults"), faults);
    }

    pub fn heal(&self) {
        self.fault(&json!({}));
    }

    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = Client::tcp(&self.address).request(method, path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Asks KMS for something, as an SDK does.
    pub fn kms(&self, action: &str, body: &Value) -> Value {
        let target = format!("TrentService.{action}");
        let headers =
            [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.1")];
        let mut client = Client::tcp(&self.address);
        let answer = client.request("POST", "/", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{action}: {}", String::from_utf8_lossy(&answer.body));
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// A new key of KMS.
    pub fn key(&self) -> String {
        let made = self.kms("CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// How often KMS was asked for an action, in this life of the emulator.
    pub fn kms_calls(&self, action: &str) -> u64 {
        let shown = self.control("GET", "/emulator/kms", &Value::Null);
        shown["calls"][action].as_u64().unwrap_or(0)
    }

    /// Sets the faults of KMS; `{}` ends them.
    pub fn kms_fault(&self, faults: &Value) {
        self.control("PUT", "/emulator/kms/faults", faults);
    }

    /// The counters of a stream.
    pub fn counters(&self, stream: &str) -> Value {
        self.control("GET", &format!("/emulator/streams/{stream}"), &Value::Null)
    }

    /// All records that the service has accepted, by their id.
    pub fn records(&self, stream: &str) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for (id, data) in self.records_from(stream, &mut 0) {
            assert!(all.insert(id, data).is_none(), "an id is given once");
        }
        all
    }

    /// The records that the service has accepted, each with its id, in their order from position `from` on,
    /// which is moved behind the last.
    pub fn records_from(&self, stream: &str, from: &mut u64) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let path = format!("/emulator/streams/{stream}/records?from={from}&limit=1000");
            let page = self.control("GET", &path, &Value::Null);
            let records = page["records"].as_array().unwrap();
            for record in records {
                let data = record["data"].as_str().unwrap();
                let data = base64_simd::STANDARD.decode_to_vec(data).unwrap();
                all.push((record["record_id"].as_str().unwrap().to_owned(), data));
            }
            if records.is_empty() {
                return all;
            }
            *from = page["next"].as_u64().unwrap();
        }
    }

    /// What stands in the delivered files of a stream.
    pub fn delivered(&self, stream: &str) -> Vec<u8> {
        self.control("POST", "/emulator/flush", &Value::Null);
        read_delivered(self.directory.path(), stream).unwrap()
    }
}
