//! The streams that records can be sent to: those that are configured, and those that come by name.
//!
//! Every worker keeps what it has looked up, so that this is asked once per worker and stream.

#[expect(
    clippy::disallowed_types,
    reason = "asked once per worker and stream, never per record"
)]
use std::sync::RwLock;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::metrics::StreamMetrics;
use super::{AnyStream, Config, StreamSettings};
use crate::pipeline::{Budget, Lane, Share};
use crate::record::StreamName;

/// One stream, shared by all workers.
#[derive(Debug)]
pub struct Stream {
    /// What the two ends of its pipe share.
    pub lane: Arc<Lane>,
    /// What is configured for it.
    pub settings: StreamSettings,
    pub(super) metrics: StreamMetrics,
}

/// All streams. See the module.
#[derive(Debug)]
pub struct Streams {
    budget: Arc<Budget>,
    transit: Arc<Share>,
    any: Option<AnyStream>,
    configured: usize,
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
    /// refuses them.
    #[must_use]
    pub fn new(memory_bytes_max: usize, config: &Config) -> Self {
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
        let known = configs
            .iter()
            .map(|config| {
                let stream = Stream::new(&budget, config.name.clone(), config.settings.clone());
                (config.name.clone(), stream)
            })
            .collect();
        #[expect(clippy::disallowed_types, reason = "asked once per worker and stream")]
        Self {
            budget,
            transit,
            any: any.clone(),
            configured: configs.len(),
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
        if let Some(stream) = known.get(name) {
            return Some(Arc::clone(stream));
        }
        let any = self.any.as_ref()?;
        let is_full = known.len() >= self.configured + any.streams_max;
        drop(known);
        if is_full {
            return None;
        }
        let name: StreamName = name.parse().ok()?;
        let mut known = self.known.write().expect("no holder of this lock panics");
        if !known.contains_key(&name) && known.len() >= self.configured + any.streams_max {
            return None;
        }
        let stream = known
            .entry(name.clone())
            .or_insert_with(|| Stream::new(&self.budget, name, any.settings.clone()));
        Some(Arc::clone(stream))
    }
}

impl Stream {
    fn new(budget: &Arc<Budget>, name: StreamName, settings: StreamSettings) -> Arc<Self> {
        let metrics = StreamMetrics::new(&name);
        let lane = Lane::new(name, budget.share(settings.memory_floor_bytes));
        Arc::new(Self { lane, settings, metrics })
    }
}
