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
    data_streams: Vec<String>,
    directory: TempDir,
}

/// A record that the service has accepted.
#[derive(Debug, Clone)]
pub struct Entry {
    pub data: Vec<u8>,
    /// Whether it was encrypted, whatever its answer said.
    pub encrypted: bool,
    /// The partition key, if it came by a data stream.
    pub partition_key: Option<String>,
}

fn config(
    directory: &TempDir,
    (streams, data_streams): (&[String], &[String]),
    listen: &str,
) -> Config {
    Config {
        listen: listen.parse().unwrap(),
        data_dir: directory.path().to_owned(),
        streams: streams.iter().map(|name| name.parse().unwrap()).collect(),
        kinesis_streams: data_streams.iter().map(|name| name.parse().unwrap()).collect(),
        shard_quota: None,
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
        Self::with_data_streams(streams, &[])
    }

    /// One with data streams too, each as `NAME` or as `NAME=DELIVERY_STREAM` that reads from it.
    pub fn with_data_streams(streams: &[&str], data_streams: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (streams, data_streams): (Vec<String>, Vec<String>) =
            (owned(streams), owned(data_streams));
        let config = config(&directory, (&streams, &data_streams), "127.0.0.1:0");
        let emulator = Emulator::start(config).unwrap();
        let address = emulator.local_addr().to_string();
        Self { emulator: Some(emulator), address, streams, data_streams, directory }
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
        let config = config(&self.directory, (&self.streams, &self.data_streams), &self.address);
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
        self.act("TrentService", action, body)
    }

    /// Asks a service for something, as an SDK does.
    pub fn act(&self, service: &str, action: &str, body: &Value) -> Value {
        let target = format!("{service}.{action}");
        let headers =
            [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.1")];
        let mut client = Client::tcp(&self.address);
        let answer = client.request("POST", "/", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{action}: {}", String::from_utf8_lossy(&answer.body));
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// How often a service was asked for an action, in this life of the emulator.
    pub fn calls(&self, service: &str, action: &str) -> u64 {
        let calls = self.control("GET", "/emulator/calls", &Value::Null);
        calls[service][action].as_u64().unwrap_or(0)
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
        let id = |record: &Value| record["record_id"].as_str().unwrap().to_owned();
        self.journal(stream, from).iter().map(|record| (id(record), data(record))).collect()
    }

    /// The same with all that is known of each.
    pub fn entries(&self, stream: &str) -> Vec<Entry> {
        let entry = |record: &Value| Entry {
            data: data(record),
            encrypted: record["encrypted"].as_bool().unwrap(),
            partition_key: record["partition_key"].as_str().map(str::to_owned),
        };
        self.journal(stream, &mut 0).iter().map(entry).collect()
    }

    fn journal(&self, stream: &str, from: &mut u64) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let path = format!("/emulator/streams/{stream}/records?from={from}&limit=1000");
            let mut page = self.control("GET", &path, &Value::Null);
            let records = page["records"].as_array_mut().unwrap();
            if records.is_empty() {
                return all;
            }
            all.append(records);
            *from = page["next"].as_u64().unwrap();
        }
    }

    /// What stands in the delivered files of a stream.
    pub fn delivered(&self, stream: &str) -> Vec<u8> {
        self.control("POST", "/emulator/flush", &Value::Null);
        read_delivered(self.directory.path(), stream).unwrap()
    }
}

fn data(record: &Value) -> Vec<u8> {
    base64_simd::STANDARD.decode_to_vec(record["data"].as_str().unwrap()).unwrap()
}
