//! What all ingest workers share: the configuration, the streams, and the counts that are bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Config;
use super::places;
use super::repeats::Repeats;
use super::response::Ids;
use super::stream_control::StreamControl;
use super::streams::Streams;
use crate::token::Token;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) streams: Arc<Streams>,
    pub(super) control: StreamControl,
    pub(super) token: Option<Token>,
    pub(super) ids: Ids,
    pub(super) repeats: Option<Arc<Repeats>>,
    pub(super) connections: Count,
    pub(super) requests: Count,
    /// Requests that are served to their end even if their client goes: as many as there may be of those
    /// whose client is there.
    pub(super) unattended: Count,
    /// Repeats of a call that wait for the first.
    pub(super) repeating: Count,
    /// Connections beyond the bound that are being told so.
    pub(super) refusals: Count,
}

/// How many connections beyond the bound are told so at once. Further ones are closed without a word.
const REFUSALS_MAX: usize = 64;

/// A count with a bound.
#[derive(Debug)]
pub(super) struct Count {
    now: AtomicUsize,
    most: usize,
}

impl Count {
    pub(super) const fn new(most: usize) -> Self {
        Self { now: AtomicUsize::new(0), most }
    }

    pub(super) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// Counts one more until the answer is dropped, unless the bound is reached.
    pub(super) fn enter(&self) -> Option<Counted<'_>> {
        if self.now.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(Counted(self));
        }
        self.now.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// One that is counted.
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a Count);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(
        config: Config,
        streams: Arc<Streams>,
        control: StreamControl,
        token: Option<Token>,
    ) -> Arc<Self> {
        Arc::new(Self {
            connections: Count::new(config.connections_max),
            requests: Count::new(config.requests_max),
            unattended: Count::new(config.requests_max),
            repeating: Count::new(places::for_repeats(config.requests_max)),
            refusals: Count::new(REFUSALS_MAX),
            repeats: config.repeats.clone().map(Repeats::new),
            token,
            ids: Ids::new(),
            config,
            streams,
            control,
        })
    }
}
