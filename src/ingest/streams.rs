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
use super::{AnyStream, StreamConfig, StreamSettings};
use crate::pipeline::{Budget, Lane};
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
    /// What the floors leave is shared. Floors that are larger than the memory leave nothing to share;
    /// the configuration refuses them.
    #[must_use]
    pub fn new(memory_bytes_max: usize, configs: &[StreamConfig], any: Option<AnyStream>) -> Self {
        let floors: usize =
            configs.iter().map(|config| config.settings.memory_floor_bytes).sum::<usize>()
                + any.as_ref().map_or(0, |any| {
                    any.streams_max.saturating_mul(any.settings.memory_floor_bytes)
                });
        let budget = Budget::new(memory_bytes_max.saturating_sub(floors));
        let known = configs
            .iter()
            .map(|config| {
                let stream = Stream::new(&budget, config.name.clone(), config.settings.clone());
                (config.name.clone(), stream)
            })
            .collect();
        #[expect(clippy::disallowed_types, reason = "asked once per worker and stream")]
        Self { budget, any, configured: configs.len(), known: RwLock::new(known) }
    }

    /// The budget that all streams share.
    #[must_use]
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
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
