//! What is known of data streams: as what each was created, what it has seen, and how that is kept.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::naming::not_found;
use crate::embedded::Config;
use crate::embedded::emulator::StartError;
use crate::embedded::files::{DATA_STREAMS, DataDir};
use crate::embedded::injector::Injector;
use crate::embedded::journal::Journal;
use crate::embedded::quota::{Buckets, Quota};
use crate::embedded::service::Service;
use crate::embedded::sse::{Budget, Sse};
use crate::embedded::sse_control::Commanded;
use crate::embedded::state::{State, unix_ms};
use crate::embedded::wire::ServiceError;

/// All data streams, by name.
#[derive(Debug)]
pub(in crate::embedded) struct Kinesis {
    pub(in crate::embedded) streams: BTreeMap<String, DataStream>,
    /// The faults of all data streams without faults of their own.
    pub(in crate::embedded) injector: Injector,
}

/// A data stream and everything about it.
#[derive(Debug)]
pub(in crate::embedded) struct DataStream {
    pub(in crate::embedded) definition: Definition,
    /// What each shard takes in a second; `None` takes as much as comes.
    pub(in crate::embedded) buckets: Option<Vec<Buckets>>,
    /// The stream's own faults, in place of those of all data streams.
    pub(in crate::embedded) injector: Option<Injector>,
    pub(in crate::embedded) counters: Counters,
    /// The records of all shards in the order of their sequence numbers.
    pub(in crate::embedded) journal: Journal,
    /// What is commanded of its encryption.
    pub(in crate::embedded) commanded: Commanded,
    /// How often each action was asked of it in this life, whatever became of it.
    pub(in crate::embedded) calls: BTreeMap<&'static str, u64>,
    /// Tells the sequence numbers and iterators of this life from those of another; it rises.
    pub(super) life_ms: u64,
}

/// What outlives the process. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::embedded) struct Definition {
    pub(in crate::embedded) name: String,
    pub(super) created_ms: u64,
    /// It is `CREATING` until then.
    pub(super) active_from_ms: u64,
    pub(in crate::embedded) shards: u32,
    pub(super) on_demand: bool,
    pub(in crate::embedded) record_kib_max: u32,
    pub(in crate::embedded) sse: Sse,
}

/// What happened to a data stream in this life.
#[derive(Debug, Clone, Default, Serialize)]
pub(in crate::embedded) struct Counters {
    /// Requests whose records were dealt with one by one.
    pub(super) put_requests: u64,
    /// Requests that were refused as a whole, cut, or left hanging.
    pub(in crate::embedded) put_requests_refused: u64,
    pub(super) records_accepted: u64,
    /// Without partition keys.
    pub(super) bytes_accepted: u64,
    /// Accepted records that were encrypted, whatever their answer was made to say.
    pub(super) records_encrypted: u64,
    /// Records over the quota of their shard.
    pub(super) records_throttled: u64,
    /// Records that a fault hit.
    pub(super) records_failed: u64,
    /// Accepted records whose answer was lost on purpose.
    pub(super) records_answer_lost: u64,
}

#[derive(Serialize, Deserialize)]
struct StreamsFile {
    version: u32,
    streams: Vec<Definition>,
}

impl Kinesis {
    /// Reads the data streams of an earlier life.
    pub(in crate::embedded) fn open(config: &Config, dir: &DataDir) -> Result<Self, StartError> {
        let path = dir.path(DATA_STREAMS);
        let bad = |reason: String| StartError::StreamsFile { path: path.clone(), reason };
        let text = dir.read(DATA_STREAMS);
        let text = text.map_err(|source| StartError::DataDir { path: path.clone(), source })?;
        let mut definitions = Vec::new();
        if let Some(text) = text {
            let file: StreamsFile =
                serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
            if file.version != VERSION {
                return Err(bad(format!("version {} is not known", file.version)));
            }
            definitions = file.streams;
        }
        let faults = config.kinesis_faults.clone();
        let mut kinesis =
            Self { streams: BTreeMap::new(), injector: Injector::of(Service::Kinesis, faults) };
        for definition in definitions {
            kinesis.add(definition, config, Duration::ZERO);
        }
        Ok(kinesis)
    }

    /// Adds a stream without keeping it.
    pub(super) fn add(&mut self, definition: Definition, config: &Config, uptime: Duration) {
        let stream = DataStream {
            buckets: config.shard_quota.map(|quota| definition.fresh_buckets(quota, uptime)),
            injector: None,
            counters: Counters::default(),
            journal: Journal::new(config.journal_bytes_max.max(RETAINED_BYTES_MIN)),
            commanded: Commanded::default(),
            calls: BTreeMap::new(),
            life_ms: unix_ms(),
            definition,
        };
        self.streams.insert(stream.definition.name.clone(), stream);
    }

    fn to_json(&self) -> io::Result<String> {
        let streams = self.streams.values().map(|stream| stream.definition.clone()).collect();
        Ok(serde_json::to_string_pretty(&StreamsFile { version: VERSION, streams })?)
    }
}

impl Definition {
    pub(super) fn new(name: &str, shards: u32, on_demand: bool, now_ms: u64) -> Self {
        Self {
            name: name.to_owned(),
            created_ms: now_ms,
            active_from_ms: now_ms,
            shards,
            on_demand,
            record_kib_max: RECORD_KIB_DEFAULT,
            sse: Sse::counted(Budget::Apart),
        }
    }

    /// Full buckets, one for each shard.
    pub(in crate::embedded) fn fresh_buckets(
        &self,
        quota: Quota,
        uptime: Duration,
    ) -> Vec<Buckets> {
        (0..self.shards).map(|_| Buckets::new(quota, uptime)).collect()
    }

    /// Whether it takes and gives records: `ACTIVE` or `UPDATING`.
    pub(in crate::embedded) fn is_there(&self, now_ms: u64) -> bool {
        self.active_from_ms <= now_ms
    }

    /// `CREATING`, `UPDATING` or `ACTIVE`. A change of encryption is all that updates.
    pub(in crate::embedded) fn status(&mut self, now_ms: u64) -> &'static str {
        if !self.is_there(now_ms) {
            "CREATING"
        } else if self.sse.is_changing(now_ms) {
            "UPDATING"
        } else {
            "ACTIVE"
        }
    }
}

impl State {
    /// The data stream of this name.
    pub(super) fn data_stream(&mut self, name: &str) -> Result<&mut DataStream, ServiceError> {
        self.kinesis.streams.get_mut(name).ok_or_else(|| not_found(name))
    }

    /// The faults that count for this data stream.
    pub(in crate::embedded) fn kinesis_injector_of(
        &mut self,
        stream: Option<&str>,
    ) -> &mut Injector {
        let streams = &mut self.kinesis.streams;
        let own = stream.and_then(|name| streams.get_mut(name)?.injector.as_mut());
        own.unwrap_or(&mut self.kinesis.injector)
    }

    /// Adds a data stream, and keeps it, or leaves everything as it was.
    pub(super) fn create_data_stream(&mut self, definition: Definition) -> io::Result<()> {
        let name = definition.name.clone();
        let uptime = self.uptime();
        self.kinesis.add(definition, &self.config, uptime);
        self.save_data_streams().inspect_err(|_| drop(self.kinesis.streams.remove(&name)))
    }

    /// Forgets a data stream and its records; what was delivered stays.
    pub(super) fn delete_data_stream(&mut self, name: &str) -> io::Result<()> {
        let Some(removed) = self.kinesis.streams.remove(name) else { return Ok(()) };
        self.save_data_streams().inspect_err(|_| {
            self.kinesis.streams.insert(name.to_owned(), removed);
        })
    }

    /// Replaces what is kept of a data stream, or leaves it as it was.
    pub(in crate::embedded) fn replace_data_stream(
        &mut self,
        definition: Definition,
    ) -> io::Result<()> {
        let name = definition.name.clone();
        let Some(stream) = self.kinesis.streams.get_mut(&name) else { return Ok(()) };
        let before = std::mem::replace(&mut stream.definition, definition);
        self.save_data_streams().inspect_err(|_| {
            if let Some(stream) = self.kinesis.streams.get_mut(&name) {
                stream.definition = before;
            }
        })
    }

    fn save_data_streams(&self) -> io::Result<()> {
        self.dir.replace(DATA_STREAMS, &self.kinesis.to_json()?)
    }
}

/// The version of `data-streams.json`.
const VERSION: u32 = 1;

/// How many bytes of records a data stream keeps at least. The service keeps them for a day or longer.
const RETAINED_BYTES_MIN: usize = 16 * 1024 * 1024;

/// Source: the service model.
pub(super) const RECORD_KIB_DEFAULT: u32 = 1_024;
