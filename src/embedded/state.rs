//! What the emulator knows, on the one thread that it lives on: the streams, the faults, the counts.
//!
//! It keeps `streams.json` in step with what it says. A change that cannot be kept is not made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Config;
use super::account::Account;
use super::deliver::Writer;
use super::emulator::StartError;
use super::files::{DataDir, KEYS, STREAMS};
use super::injector::{Injector, Verdict};
use super::journal::{Journal, RecordId};
use super::key_use::Judge;
use super::kinesis::{self, Kinesis};
use super::kms_keys::Keys;
use super::quota::Buckets;
use super::service::Service;
use super::sse_control::Commanded;
use super::streams::{Counters, Definition, Destination, Stream};
use crate::record::StreamName;

/// What every connection of the emulator has in hand.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: RefCell<State>,
    /// `None` when accepted records are discarded.
    pub(super) writer: Option<Writer>,
    /// A copy, so that nobody borrows the state to read it.
    pub(super) body_bytes_max: usize,
}

/// The streams, the faults and the counts.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) streams: BTreeMap<StreamName, Stream>,
    /// The faults of all streams without faults of their own.
    pub(super) injector: Injector,
    pub(super) kinesis: Kinesis,
    pub(super) kms: Kms,
    /// What callers may do, and how often.
    pub(super) account: Account,
    /// How often each action of each service was asked for in this life, whatever became of it.
    pub(super) calls: BTreeMap<Service, BTreeMap<&'static str, u64>>,
    pub(super) dir: DataDir,
    started: Instant,
    next_record_id: RecordId,
}

/// What KMS knows.
#[derive(Debug)]
pub(super) struct Kms {
    pub(super) keys: Keys,
    pub(super) injector: Injector,
}

#[derive(Serialize, Deserialize)]
struct StreamsFile<D> {
    version: u32,
    streams: Vec<D>,
}

impl State {
    /// Reads the streams of an earlier life and adds those that the configuration names.
    pub(super) fn open(config: Config, dir: DataDir) -> Result<Self, StartError> {
        let known = read_definitions(&dir)?;
        let kms = Kms {
            keys: Keys::open(&dir, unix_ms())?,
            injector: Injector::of(Service::Kms, config.kms_faults.clone()),
        };
        let kinesis = Kinesis::open(&config, &dir)?;
        let mut state = Self {
            streams: BTreeMap::new(),
            injector: Injector::new(config.faults.clone()),
            config,
            kinesis,
            kms,
            account: Account::default(),
            calls: BTreeMap::new(),
            dir,
            started: Instant::now(),
            next_record_id: RecordId { life: fastrand::u64(..), seq: 0 },
        };
        for (name, definition) in known {
            state.add(name, definition);
        }
        let now_ms = unix_ms();
        kinesis::startup::add_configured(&mut state, now_ms)?;
        for name in state.config.streams.clone() {
            if !state.streams.contains_key(&name) {
                let definition = Definition::new(&name, Destination::default(), now_ms);
                state.add(name, definition);
            }
        }
        let path = state.dir.path(STREAMS);
        state.save().map_err(|source| StartError::DataDir { path, source })?;
        Ok(state)
    }

    /// Adds a stream, and keeps it, or leaves everything as it was.
    pub(super) fn create(&mut self, name: &StreamName, definition: Definition) -> io::Result<()> {
        self.add(name.clone(), definition);
        self.save().inspect_err(|_| drop(self.streams.remove(name)))
    }

    /// Forgets a stream; what it delivered stays.
    pub(super) fn delete(&mut self, name: &StreamName) -> io::Result<()> {
        let Some(removed) = self.streams.remove(name) else { return Ok(()) };
        self.save().inspect_err(|_| drop(self.streams.insert(name.clone(), removed)))
    }

    /// Replaces what is kept of a stream, or leaves it as it was.
    pub(super) fn replace(&mut self, name: &str, definition: Definition) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(name) else { return Ok(()) };
        let before = std::mem::replace(&mut stream.definition, definition);
        self.save().inspect_err(|_| {
            if let Some(stream) = self.streams.get_mut(name) {
                stream.definition = before;
            }
        })
    }

    /// Changes the keys of KMS, and keeps them, or leaves them as they were.
    pub(super) fn change_keys(&mut self, change: impl FnOnce(&mut Keys)) -> io::Result<()> {
        let mut changed = self.kms.keys.clone();
        change(&mut changed);
        self.dir.replace(KEYS, &changed.to_json())?;
        self.kms.keys = changed;
        Ok(())
    }

    /// What the faults of this stream, or those of all, do with a request.
    pub(super) fn judge<'r>(
        &mut self,
        action: &str,
        stream: Option<&str>,
        records: impl Iterator<Item = &'r [u8]>,
    ) -> Verdict {
        self.injector_of(stream).judge(action, records)
    }

    /// The faults that count for this stream.
    pub(super) fn injector_of(&mut self, stream: Option<&str>) -> &mut Injector {
        let own = stream.and_then(|name| self.streams.get_mut(name)?.injector.as_mut());
        own.unwrap_or(&mut self.injector)
    }

    /// Ids for this many records: the first of them.
    pub(super) fn take_record_ids(&mut self, count: usize) -> RecordId {
        let first = self.next_record_id;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.next_record_id.seq = first.seq.wrapping_add(count);
        first
    }

    /// The time since the start, for the quotas.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a call that was asked for.
    pub(super) fn count_call(&mut self, service: Service, action: &'static str) {
        *self.calls.entry(service).or_default().entry(action).or_default() += 1;
    }

    /// What keys are judged by at this moment.
    pub(super) fn key_judge(&self, now_ms: u64) -> Judge<'_> {
        let (keys, region) = (&self.kms.keys, self.config.region.as_str());
        Judge { keys, account: &self.account, region, now_ms }
    }

    /// Adds a stream, or replaces one, without keeping it.
    pub(super) fn add(&mut self, name: StreamName, definition: Definition) {
        let quota = self.config.stream_quotas.get(&name).copied().unwrap_or(self.config.quota);
        let stream = Stream {
            definition,
            buckets: quota.map(|quota| Buckets::new(quota, self.uptime())),
            injector: self.config.stream_faults.get(&name).cloned().map(Injector::new),
            counters: Counters::default(),
            journal: Journal::new(self.config.journal_bytes_max),
            commanded: Commanded::default(),
            calls: BTreeMap::new(),
        };
        self.streams.insert(name, stream);
    }

    fn save(&self) -> io::Result<()> {
        let streams = self.streams.values().map(|stream| &stream.definition).collect();
        let file = StreamsFile { version: STREAMS_VERSION, streams };
        self.dir.replace(STREAMS, &serde_json::to_string_pretty(&file)?)
    }
}

fn read_definitions(dir: &DataDir) -> Result<Vec<(StreamName, Definition)>, StartError> {
    let path = dir.path(STREAMS);
    let text = match dir.read(STREAMS) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(Vec::new()),
        Err(source) => return Err(StartError::DataDir { path, source }),
    };
    let bad = |reason: String| StartError::StreamsFile { path: path.clone(), reason };
    let file: StreamsFile<Definition> =
        serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    if file.version != STREAMS_VERSION {
        return Err(bad(format!("version {} is not known", file.version)));
    }
    let named = file.streams.into_iter().map(|definition| {
        let name = definition.name.parse::<StreamName>();
        name.map(|name| (name, definition)).map_err(|error| bad(error.to_string()))
    });
    named.collect()
}

/// The wall clock, in milliseconds. The encryption state outlives the process and goes by it.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    duration_ms(since)
}

/// A duration in whole milliseconds.
pub(super) fn duration_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The version of `streams.json`.
const STREAMS_VERSION: u32 = 1;
