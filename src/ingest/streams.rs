//! The streams that records can be sent to: those that are configured, and those that come by name. Beside
//! them those that take no records, and have a backlog on disk.
//!
//! Every worker keeps what it has looked up, so that this is asked once per worker and stream.

#[expect(
    clippy::disallowed_types,
    reason = "asked once per worker and stream, never per record"
)]
use std::sync::RwLock;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::limit::{Charge, Limit, LimitStatus};
use super::metrics::StreamMetrics;
use super::places::{Places, StreamPlaces};
use super::refusal::Refusal;
use super::{AnyStream, Config, Delimiter, Framing, IngestLimits, Oversize, StreamSettings};
use crate::pipeline::{Budget, Inlet, Lane, Limits, NotDurable, Share, Ticket};
use crate::record::{Ack, BATCH_BYTES_MAX, BATCH_RECORDS_MAX, PartitionKey, StreamName};

/// One stream, shared by all workers.
#[derive(Debug)]
pub struct Stream {
    /// What the two ends of its pipe share.
    pub lane: Arc<Lane>,
    /// What is configured for it.
    pub settings: StreamSettings,
    /// Whether it is configured, by its name or as any stream. Otherwise it is there for its backlog alone.
    pub takes_records: bool,
    /// When it came to be known.
    pub known_since: Instant,
    pub(super) spool: Option<SpoolEnds>,
    pub(super) metrics: StreamMetrics,
    /// For requests that wait.
    pub(super) places: StreamPlaces,
    /// How much is taken in a second, where that is limited.
    pub(super) limit: Option<Box<Limit>>,
}

/// The ways into the spool of one stream.
#[derive(Clone)]
pub struct SpoolEnds {
    /// For records that are accepted when the spool has them.
    pub inlet: Inlet,
    /// For records that are set aside.
    pub set_aside: SetAside,
}

/// A record that is larger than the service takes.
#[derive(Debug)]
pub struct Aside {
    /// The record with its delimiter: at most 4 MiB.
    pub record: Vec<u8>,
    /// Its partition key, if it came with one.
    pub partition_key: Option<PartitionKey>,
    /// When it came.
    pub at: Instant,
    /// Who waits until the spool has it.
    pub ticket: Ticket,
}

/// Hands a record over to be set aside. Gives it back when there is no room for it now.
pub type SetAside = Arc<dyn Fn(Aside) -> Result<(), Aside> + Send + Sync>;

/// Opens the spool of a stream, where there is one.
pub type Opener = Box<dyn Fn(&Arc<Lane>) -> Option<SpoolEnds> + Send + Sync>;

/// All streams. See the module.
pub struct Streams {
    opener: Opener,
    budget: Arc<Budget>,
    transit: Arc<Share>,
    places: Places,
    any: Option<AnyStream>,
    /// How many streams take records, and how many may.
    taking: AtomicUsize,
    taking_max: usize,
    #[expect(
        clippy::disallowed_types,
        reason = "asked once per worker and stream, never per record"
    )]
    known: RwLock<BTreeMap<StreamName, Arc<Stream>>>,
}

impl Streams {
    /// The configured streams, each with its floor of memory out of `memory_bytes_max`.
    ///
    /// What the floors leave is shared, but for one body in transit: a call of the Firehose protocol is
    /// read before it says which stream it is for, and a stream that has taken all that is shared must not
    /// keep the calls for others out. Where the shared part is no larger than one request may need, that
    /// comes first. Floors that are larger than the memory leave nothing to share; the configuration
    /// refuses them. `opener` is asked once for each stream.
    #[must_use]
    pub fn new(memory_bytes_max: usize, config: &Config, opener: Opener) -> Self {
        let Config { streams: configs, any_stream: any, .. } = config;
        let floors: usize =
            configs.iter().map(|config| config.settings.memory_floor_bytes).sum::<usize>()
                + any.as_ref().map_or(0, |any| {
                    any.streams_max.saturating_mul(any.settings.memory_floor_bytes)
                });
        let above_floors = memory_bytes_max.saturating_sub(floors);
        // A body as it is sent, what it becomes, and for zstd as much again for its window.
        let one_request = config.body_bytes_max + 2 * config.decoded_bytes_max;
        let one_transit = above_floors.saturating_sub(one_request).min(config.body_bytes_max);
        let budget = Budget::new(above_floors - one_transit);
        let transit = budget.share(one_transit);
        let taking_max = configs.len() + any.as_ref().map_or(0, |any| any.streams_max);
        let places = Places::new(config.requests_max, taking_max);
        let known = configs
            .iter()
            .map(|config| {
                let settings = config.settings.clone();
                let known = (config.name.clone(), settings, true);
                let stream = Stream::new(&budget, &places, &opener, known);
                (config.name.clone(), stream)
            })
            .collect();
        #[expect(clippy::disallowed_types, reason = "asked once per worker and stream")]
        Self {
            opener,
            budget,
            transit,
            places,
            any: any.clone(),
            taking: AtomicUsize::new(configs.len()),
            taking_max,
            known: RwLock::new(known),
        }
    }

    /// Memory for bodies whose stream is not known before they are read.
    pub(super) const fn transit(&self) -> &Arc<Share> {
        &self.transit
    }

    /// All streams that are known now, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Stream>> {
        let known = self.known.read().expect("no holder of this lock panics");
        known.values().map(Arc::clone).collect()
    }

    /// The stream of this name, which comes into being here where that is allowed.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Stream>> {
        let known = self.known.read().expect("no holder of this lock panics");
        match known.get(name) {
            Some(stream) if stream.takes_records => return Some(Arc::clone(stream)),
            Some(_) => return None,
            None => drop(known),
        }
        if self.any.is_none() || self.is_full() {
            return None;
        }
        self.add(name.parse().ok()?, false).filter(|stream| stream.takes_records)
    }

    /// Makes a stream known that has a backlog on disk. Where any stream may come into being, it does;
    /// otherwise it takes no records.
    pub fn adopt(&self, name: StreamName) {
        drop(self.add(name, true));
    }

    fn is_full(&self) -> bool {
        self.taking.load(Ordering::Relaxed) >= self.taking_max
    }

    /// The stream of this name, which is made if it may be.
    fn add(&self, name: StreamName, has_backlog: bool) -> Option<Arc<Stream>> {
        let mut known = self.known.write().expect("no holder of this lock panics");
        if let Some(stream) = known.get(&name) {
            return Some(Arc::clone(stream));
        }
        let any = self.any.as_ref().filter(|_| !self.is_full());
        let settings = match any {
            Some(any) => any.settings.clone(),
            None if has_backlog => StreamSettings::of_a_backlog(),
            None => return None,
        };
        // Counted under the lock, so that there are never more than may be.
        self.taking.fetch_add(usize::from(any.is_some()), Ordering::Relaxed);
        let named = (name.clone(), settings, any.is_some());
        let stream = Stream::new(&self.budget, &self.places, &self.opener, named);
        known.insert(name, Arc::clone(&stream));
        Some(stream)
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("taking", &self.taking).finish_non_exhaustive()
    }
}

impl fmt::Debug for SpoolEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolEnds").field("inlet", &self.inlet).finish_non_exhaustive()
    }
}

impl Stream {
    fn new(
        budget: &Arc<Budget>,
        places: &Places,
        opener: &Opener,
        (name, settings, takes_records): (StreamName, StreamSettings, bool),
    ) -> Arc<Self> {
        let metrics = StreamMetrics::new(&name);
        let limit = Limit::new(&settings.ingest_limits, &name);
        let lane = Lane::new(name, budget.share(settings.memory_floor_bytes));
        let spool = opener(&lane);
        Arc::new(Self {
            lane,
            settings,
            takes_records,
            known_since: Instant::now(),
            spool,
            metrics,
            places: places.of_stream(),
            limit,
        })
    }

    /// How its ingest limits stand, if it has any.
    #[must_use]
    pub fn ingest_limits(&self) -> Option<LimitStatus> {
        self.limit.as_ref().map(|limit| limit.status())
    }

    /// Charges a request that is taken as a whole or not at all. It is measured only where there is a limit.
    pub(super) fn charge_whole(
        &self,
        measure: impl FnOnce() -> (usize, usize),
    ) -> Result<Option<Charge<'_>>, Refusal> {
        let Some(limit) = &self.limit else { return Ok(None) };
        let (records, bytes) = measure();
        limit.charge_whole(records, bytes).map(Some)
    }

    /// Why the level that its requests get when they name none can not be given now.
    #[must_use]
    pub fn obstacle(&self) -> Option<NotDurable> {
        let Self { settings, spool, .. } = self;
        let needs_spool = settings.ack == Ack::Durable || settings.min_ack == Ack::Durable;
        if !needs_spool || !self.takes_records {
            return None;
        }
        spool.as_ref().map_or(Some(NotDurable::Starting), |spool| spool.inlet.obstacle())
    }
}

impl StreamSettings {
    /// Those of a stream that takes no records.
    const fn of_a_backlog() -> Self {
        Self {
            ack: Ack::Memory,
            min_ack: Ack::Memory,
            framing: Framing::Auto,
            delimiter: Delimiter::Auto,
            oversize: Oversize::Refuse,
            partition_key_header: false,
            limits: Limits {
                batch_records_max: BATCH_RECORDS_MAX,
                batch_bytes_max: BATCH_BYTES_MAX,
                linger: Duration::ZERO,
                linger_jitter_percent: 0,
            },
            memory_floor_bytes: 0,
            ingest_limits: IngestLimits::NONE,
        }
    }
}
