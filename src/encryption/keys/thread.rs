//! The thread `encryption`: does what is due, a bounded number of calls at a time, and says what changed.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};

use super::CALLS_MAX;
use super::current::Usable;
use super::metrics;
use super::outcome::{Class, Trouble};
use super::providers::Providers;
use super::ring::Shared;
use super::state::{News, Next};
use super::unwraps::{Id, Settled};
use crate::record::StreamName;
use crate::spool::DataKey;
use crate::telemetry::RateLimit;

/// At most one line of a kind within this time.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Everything that the thread owns.
pub(super) struct Thread {
    shared: Arc<Shared>,
    providers: Rc<Providers>,
    calls: JoinSet<Done>,
    lines: Lines,
}

/// A call that has ended.
struct Done {
    what: What,
    result: Result<Arc<DataKey>, Trouble>,
}

enum What {
    Generate(StreamName),
    Unwrap(Id, Box<Named>),
}

/// What a line in the log says of an old segment's key.
struct Named {
    key_id: String,
    stream: String,
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared>, providers: Providers) -> Self {
        let providers = Rc::new(providers);
        Self { shared, providers, calls: JoinSet::new(), lines: Lines::default() }
    }

    /// Works until it is told to stop. Calls that are under way then come to nothing.
    pub(super) fn run(self, runtime: &tokio::runtime::Runtime) {
        LocalSet::new().block_on(runtime, self.work());
    }

    async fn work(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let next_at = self.begin_calls();
            tokio::select! {
                () = shared.stop.notified() => return,
                () = shared.wake.notified() => {}
                () = at(next_at) => {}
                Some(done) = self.calls.join_next() => {
                    self.settle(done.expect("a call does not panic, nor is it cancelled"));
                }
            }
        }
    }

    /// Begins what is due, as far as calls may be begun. Says when something is due next.
    fn begin_calls(&mut self) -> Option<Instant> {
        while self.calls.len() < CALLS_MAX {
            match self.shared.with(|state| state.next(Instant::now())) {
                Next::Nothing(next_at) => return next_at,
                Next::Wake(waiters) => waiters.into_iter().for_each(|waiter| waiter()),
                Next::Generate(stream) => {
                    let providers = Rc::clone(&self.providers);
                    self.calls.spawn_local(async move {
                        let result = providers.generate(&stream).await;
                        Done { what: What::Generate(stream), result }
                    });
                }
                Next::Unwrap(id, wrapped) => {
                    let providers = Rc::clone(&self.providers);
                    let key_id = wrapped.key_id.clone();
                    let stream = wrapped.context.get(super::providers::STREAM).cloned();
                    let named = Box::new(Named { key_id, stream: stream.unwrap_or_default() });
                    self.calls.spawn_local(async move {
                        let result = providers.unwrap(wrapped).await;
                        Done { what: What::Unwrap(id, named), result }
                    });
                }
            }
        }
        // The end of a call is waited for anyway.
        None
    }

    fn settle(&mut self, Done { what, result }: Done) {
        let now = Instant::now();
        match what {
            What::Generate(stream) => {
                if result.is_ok() {
                    metrics::count_renewed(stream.as_str());
                }
                let news = self.shared.with(|state| state.generated(&stream, result, now));
                self.lines.of_stream(&stream, &news, now);
            }
            What::Unwrap(id, named) => {
                let trouble = result.as_ref().err().cloned();
                let Settled { waiters, is_news, .. } =
                    self.shared.with(|state| state.unwrapped(&id, result, now));
                waiters.into_iter().for_each(|waiter| waiter());
                if is_news {
                    self.lines.of_old_key(&named, trouble.as_ref(), now);
                }
            }
        }
    }
}

/// The lines of this room, each kind with a limit of its own.
struct Lines {
    failing: RateLimit,
    well: RateLimit,
    old_failing: RateLimit,
    old_well: RateLimit,
}

impl Default for Lines {
    fn default() -> Self {
        let limit = || RateLimit::new(LOG_INTERVAL);
        Self { failing: limit(), well: limit(), old_failing: limit(), old_well: limit() }
    }
}

impl Lines {
    fn of_stream(&mut self, stream: &StreamName, news: &News, now: Instant) {
        match news {
            News::None => {}
            News::Well { after } => {
                if let Some(unsaid) = self.well.admit(now) {
                    let after_seconds = after.as_secs();
                    tracing::info!(%stream, after_seconds, unsaid, "data keys are to be had again");
                }
            }
            News::Failing { trouble, usable } => {
                let Some(unsaid) = self.failing.admit(now) else { return };
                let reason = &trouble.message;
                let state = match usable {
                    Usable::None => {
                        "no data key is to be had: the stream's records can not be sealed"
                    }
                    Usable::Yes => "the data key can not be renewed: the one at hand stays in use",
                    Usable::TooOld => {
                        "the data key is too old and can not be renewed: the stream's \
                                       records can not be sealed"
                    }
                };
                if trouble.class == Class::Passing && *usable != Usable::TooOld {
                    tracing::warn!(%stream, reason, unsaid, "{state}");
                } else {
                    tracing::error!(%stream, reason, unsaid, "{state}");
                }
            }
        }
    }

    fn of_old_key(&mut self, named: &Named, trouble: Option<&Trouble>, now: Instant) {
        let Named { key_id, stream } = named;
        let Some(trouble) = trouble else {
            if let Some(unsaid) = self.old_well.admit(now) {
                tracing::info!(
                    stream,
                    key_id,
                    unsaid,
                    "the data key of an old segment is there again"
                );
            }
            return;
        };
        let Some(unsaid) = self.old_failing.admit(now) else { return };
        let reason = &trouble.message;
        match trouble.class {
            Class::Passing => tracing::warn!(
                stream,
                key_id,
                reason,
                unsaid,
                "the data key of an old segment can not be had now: the segment waits"
            ),
            Class::Operator => tracing::error!(
                stream,
                key_id,
                reason,
                unsaid,
                "the data key of an old segment is not given: the segment waits until that is put right"
            ),
            Class::Never => tracing::error!(
                stream,
                key_id,
                reason,
                unsaid,
                "the data key of an old segment can not be unwrapped"
            ),
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
