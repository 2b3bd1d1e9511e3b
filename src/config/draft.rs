//! A configuration while it is being put together, and how it becomes the one of the stages. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::aws::{Credentials, Upstream, key_region};
use crate::encryption::{keys, sse};
use crate::ingest::{
    AnyStream, Delimiter, Framing, IngestLimits, Oversize, RepeatsConfig, StreamConfig,
    StreamSettings,
};
use crate::pipeline::Limits;
use crate::record::{Ack, BATCH_BYTES_MAX, BATCH_RECORDS_MAX, StreamName};
use crate::spool::{Provider, Volume};
use crate::{admin, app, forward, ingest, lifecycle, spool, telemetry};

use super::declared::{DeclaredDraft, HEADER};
use super::fault::Place;

/// The default bound on memory: 64 MiB.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many streams there may be with `STANDPIPE_STREAMS=*` when nothing else is said.
pub(super) const ANY_STREAMS_MAX: usize = 100;

/// What the keys set.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// What has a place in a stage's own configuration. Its streams and repeats are filled at the end.
    pub(super) config: app::Config,
    /// Whether the data listener may be off loopback.
    pub(super) ingest_allow_unprotected: bool,
    pub(super) repeats_enabled: bool,
    pub(super) repeats: RepeatsConfig,
    /// How many streams there may be that are not named. 0 is none.
    pub(super) any_streams_max: usize,
    /// Where the spool is, if there is one. `spool` has it only at the end.
    pub(super) spool_dir: Option<PathBuf>,
    pub(super) spool: spool::Config,
    /// The URL of Kinesis. `forward` and `sse` have it only at the end.
    pub(super) kinesis_endpoint: Option<String>,
    /// How data keys are had. Its upstream has only the endpoint; the rest is that of `forward`.
    pub(super) keys: keys::Config,
    pub(super) defaults: StreamDraft,
    pub(super) streams: BTreeMap<StreamName, NamedStream>,
    /// Where each key was set. One that is not here has its default.
    pub(super) origins: BTreeMap<Slot, Place>,
}

/// What the keys of a stream set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamDraft {
    pub(super) settings: StreamSettings,
    /// The floor, when it is set. `settings` has it only at the end.
    pub(super) memory_floor_bytes: Option<usize>,
    /// Its destination and its encryption.
    pub(super) declared: DeclaredDraft,
}

/// A stream that is known by name.
#[derive(Debug, Clone)]
pub(super) struct NamedStream {
    /// Where it was named first.
    pub(super) place: Place,
    pub(super) stream: StreamDraft,
}

/// A key in the table or the stream that it is set for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) scope: Scope,
    pub(super) key: &'static str,
}

/// One request takes its body as it is sent, what that becomes, and for zstd as much again as a window:
/// a body that nobody has bounded otherwise may be this part of the memory above the floors.
const BODIES_PER_MEMORY: usize = 3;

/// No body is bounded to less than this, in bytes.
const BODY_BYTES_MIN: usize = 1024;

/// Each of the spool's two buffers may be this part of the memory when nobody has bounded it otherwise.
const SPOOL_BUFFERS_PER_MEMORY: usize = 8;

/// None of them is smaller than this, in bytes: the largest frame of a segment fits.
const SPOOL_BUFFER_BYTES_MIN: usize = 6 * 1024 * 1024;

/// Where the control keeps what has to survive a restart: beside what the spool looks at in its directory.
pub(super) fn control_dir(spool_dir: &Path) -> PathBuf {
    spool_dir.join("control")
}

/// No segment is bounded to less than this, in bytes: the largest frame fits.
pub(super) const SEGMENT_BYTES_MIN: usize = 8 * 1024 * 1024;

/// What a key is set for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// A table of the file.
    Table(&'static str),
    /// A stream.
    Stream(StreamName),
    /// A stream whose name is missing or wrong.
    Unnamed,
}

impl Slot {
    pub(super) const fn table(table: &'static str, key: &'static str) -> Self {
        Self { scope: Scope::Table(table), key }
    }

    pub(super) fn stream(name: &StreamName, key: &'static str) -> Self {
        Self { scope: Scope::Stream(name.clone()), key }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.scope {
            Scope::Table(table) => write!(f, "{table}.{}", self.key),
            Scope::Stream(name) => write!(f, "{} of the stream \"{name}\"", self.key),
            Scope::Unnamed => write!(f, "{} of a stream", self.key),
        }
    }
}

impl Default for Draft {
    fn default() -> Self {
        let limits = Limits {
            batch_records_max: BATCH_RECORDS_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            linger: Duration::from_secs(1),
            linger_jitter_percent: 20,
        };
        let settings = StreamSettings {
            ack: Ack::Durable,
            min_ack: Ack::Memory,
            framing: Framing::Auto,
            delimiter: Delimiter::Auto,
            oversize: Oversize::Refuse,
            partition_key_header: false,
            limits,
            memory_floor_bytes: 0,
            ingest_limits: IngestLimits::NONE,
        };
        Self {
            config: app::Config {
                memory_bytes_max: MEMORY_BYTES_MAX,
                ingest: ingest::Config::default(),
                spool: None,
                keys: None,
                sse: sse::Config::default(),
                forward: forward::Config::default(),
                admin: admin::Config::default(),
                telemetry: telemetry::Config::default(),
                lifecycle: lifecycle::Config::default(),
            },
            ingest_allow_unprotected: false,
            repeats_enabled: false,
            repeats: RepeatsConfig::default(),
            any_streams_max: 0,
            spool_dir: None,
            spool: spool::Config::default(),
            kinesis_endpoint: None,
            keys: keys::Config::default(),
            defaults: StreamDraft {
                settings,
                memory_floor_bytes: None,
                declared: DeclaredDraft::default(),
            },
            streams: BTreeMap::new(),
            origins: BTreeMap::new(),
        }
    }
}

impl Draft {
    /// What `--embedded` starts from. Its spool is where `Loaded::place_spool` puts it.
    pub(super) fn embedded() -> Self {
        let mut draft = Self { spool_dir: Some(PathBuf::from("spool")), ..Self::default() };
        draft.config.forward.upstream.credentials = Credentials::Embedded;
        draft.config.forward.upstream.region = Some("us-east-1".to_owned());
        draft
    }

    /// Whether it is for `--embedded`.
    pub(super) fn is_embedded(&self) -> bool {
        self.config.forward.upstream.credentials == Credentials::Embedded
    }

    /// Whether data keys are wanted: there is a spool, the emulator has some to give, or somebody named who is
    /// to wrap them.
    pub(super) fn needs_keys(&self) -> bool {
        let keys = &self.keys;
        self.is_embedded()
            || self.spool_dir.is_some()
            || keys.provider == Provider::File
            || keys.key.is_some()
            || keys.file.is_some()
            || !keys.decrypt_only.is_empty()
    }

    fn keys_config(&self) -> keys::Config {
        let shared = &self.config.forward.upstream;
        let endpoint = self.keys.upstream.endpoint.clone();
        // KMS is asked where its key is, which need not be where the streams are.
        let arn = self.keys.key.iter().chain(&self.keys.decrypt_only).next();
        let region = arn.and_then(|arn| key_region(arn)).map(str::to_owned);
        keys::Config {
            upstream: Upstream {
                region: region.or_else(|| shared.region.clone()),
                fips: shared.fips && endpoint.is_none(),
                endpoint,
                ..shared.clone()
            },
            ..self.keys.clone()
        }
    }

    /// A stream before its own keys are set.
    pub(super) fn add_stream(&mut self, name: StreamName, place: Place) {
        let stream = self.defaults.clone();
        self.streams.insert(name, NamedStream { place, stream });
    }

    /// How many streams there can be, which is what memory is divided by.
    pub(super) fn streams_count(&self) -> usize {
        self.streams.len().saturating_add(self.any_streams_max)
    }

    /// The sum of the floors that are set, in bytes, and how many streams have one.
    pub(super) fn set_floors(&self) -> (usize, usize) {
        let any = self.defaults.memory_floor_bytes.map(|floor| (floor, self.any_streams_max));
        let named = self.streams.values().filter_map(|named| named.stream.memory_floor_bytes);
        named.map(|floor| (floor, 1)).chain(any).fold((0, 0), |(bytes, count), (floor, streams)| {
            let floors: usize = floor.saturating_mul(streams);
            (bytes.saturating_add(floors), count.saturating_add(streams))
        })
    }

    /// The memory that the spool takes for itself, in bytes.
    pub(super) fn spool_memory_bytes(&self) -> usize {
        if self.spool_dir.is_some() { self.spool.memory_bytes_max() } else { 0 }
    }

    /// The memory for the records and bodies of streams, in bytes.
    pub(super) fn streams_memory_bytes(&self) -> usize {
        self.config.memory_bytes_max.saturating_sub(self.spool_memory_bytes())
    }

    /// The floor of a stream that has none set: its even part of a quarter of the memory, or less when
    /// the floors that are set leave less than that below half of the memory.
    pub(super) fn even_floor_bytes(&self) -> usize {
        let memory = self.streams_memory_bytes();
        let (set_bytes, set_count) = self.set_floors();
        let streams = self.streams_count().max(1);
        let unset = streams.saturating_sub(set_count).max(1);
        let left = (memory / 2).saturating_sub(set_bytes) / unset;
        (memory / 4 / streams).min(left)
    }

    /// The sum of all floors, in bytes.
    pub(super) fn floors_bytes(&self) -> usize {
        let (set_bytes, set_count) = self.set_floors();
        let unset = self.streams_count().saturating_sub(set_count);
        set_bytes.saturating_add(unset.saturating_mul(self.even_floor_bytes()))
    }

    /// Raises the levels that nobody set to the weakest level that is allowed.
    pub(super) fn raise_unset_acks(&mut self) {
        let raise =
            |settings: &mut StreamSettings| settings.ack = settings.ack.max(settings.min_ack);
        let is_default_set = self.origins.contains_key(&Slot::table("defaults", "ack"));
        if !is_default_set {
            raise(&mut self.defaults.settings);
        }
        for (name, NamedStream { stream, .. }) in &mut self.streams {
            if !is_default_set && !self.origins.contains_key(&Slot::stream(name, "ack")) {
                raise(&mut stream.settings);
            }
        }
    }

    /// Fits the bounds that nobody set to the memory and to the grace time, which may be smaller than
    /// they are by default.
    pub(super) fn fit_unset_bounds(&mut self) {
        self.fit_spool();
        let above_floors = self.streams_memory_bytes().saturating_sub(self.floors_bytes());
        let is_set = |table, key| self.origins.contains_key(&Slot::table(table, key));
        let is_body_set = is_set("ingest", "body_bytes_max");
        let is_decoded_set = is_set("ingest", "decoded_bytes_max");
        let is_deliver_set = is_set("stop", "deliver_ms");
        let ingest = &mut self.config.ingest;
        if !is_decoded_set {
            let part = (above_floors / BODIES_PER_MEMORY).max(BODY_BYTES_MIN);
            ingest.decoded_bytes_max = ingest.decoded_bytes_max.min(part);
            if is_body_set {
                ingest.decoded_bytes_max = ingest.decoded_bytes_max.max(ingest.body_bytes_max);
            }
        }
        if !is_body_set {
            ingest.body_bytes_max = ingest.body_bytes_max.min(ingest.decoded_bytes_max);
        }
        let stop = &mut self.config.lifecycle;
        if !is_deliver_set {
            stop.deliver = stop.deliver.min(stop.grace * 2 / 5);
        }
    }

    /// Fits the bounds of the spool that nobody set to the memory and to each other.
    fn fit_spool(&mut self) {
        let (memory, streams) = (self.config.memory_bytes_max, self.streams_count().max(1));
        let is_set = |key| self.origins.contains_key(&Slot::table("spool", key));
        let (is_stream_set, is_floor_set) =
            (is_set("stream_bytes_max"), is_set("stream_floor_bytes"));
        let (is_segment_set, is_reserve_set) =
            (is_set("segment_bytes_max"), is_set("reserve_bytes"));
        let (is_ahead_set, is_group_set) =
            (is_set("read_ahead_bytes_max"), is_set("group_bytes_max"));
        let spool = &mut self.spool;
        let part = (memory / SPOOL_BUFFERS_PER_MEMORY).max(SPOOL_BUFFER_BYTES_MIN);
        if !is_ahead_set {
            spool.read_ahead_bytes_max = spool.read_ahead_bytes_max.min(part);
        }
        if !is_group_set {
            spool.group_bytes_max = spool.group_bytes_max.min(part);
        }
        if !is_reserve_set {
            spool.reserve_bytes = memory.min(spool.bytes_max / 4);
        }
        if !is_stream_set {
            spool.stream_bytes_max = spool.stream_bytes_max.min(spool.bytes_max);
        }
        if !is_segment_set {
            let part = (spool.stream_bytes_max / 4).max(SEGMENT_BYTES_MIN);
            spool.segment_bytes_max = spool.segment_bytes_max.min(part);
        }
        if !is_floor_set {
            let most = (spool.bytes_max / 2 / streams).min(spool.stream_bytes_max);
            spool.stream_floor_bytes = spool.stream_floor_bytes.min(most);
        }
    }

    /// The configuration of the stages.
    pub(super) fn finish(&self) -> app::Config {
        let even_bytes = self.even_floor_bytes();
        let finished = |stream: &StreamDraft| StreamSettings {
            memory_floor_bytes: stream.memory_floor_bytes.unwrap_or(even_bytes),
            partition_key_header: stream.declared.partition_key == HEADER,
            ..stream.settings.clone()
        };
        let mut config = self.config.clone();
        config.spool =
            self.spool_dir.clone().map(|dir| spool::Config { dir, ..self.spool.clone() });
        let is_ephemeral = self.spool.volume == Volume::Ephemeral;
        config.forward.stop_delivers_backlog = self.spool_dir.is_some() && is_ephemeral;
        // In time for the answer to whoever waits for delivery to say that it is durable.
        config.forward.spool_awaited_after = config.ingest.delivered_wait * 4 / 5;
        config.sse = self.sse_config();
        config.forward.kinesis_endpoint.clone_from(&self.kinesis_endpoint);
        config.forward.others = self.defaults.forwarded();
        let named = self.streams.iter();
        config.forward.streams =
            named.map(|(name, named)| (name.clone(), named.stream.forwarded())).collect();
        config.keys = self.needs_keys().then(|| self.keys_config());
        config.ingest.region = config.forward.upstream.region.clone();
        config.ingest.repeats = self.repeats_enabled.then(|| self.repeats.clone());
        config.ingest.any_stream = (self.any_streams_max > 0).then(|| AnyStream {
            streams_max: self.any_streams_max,
            settings: finished(&self.defaults),
        });
        config.ingest.streams = self
            .streams
            .iter()
            .map(|(name, named)| StreamConfig {
                name: name.clone(),
                settings: finished(&named.stream),
            })
            .collect();
        config
    }
}
