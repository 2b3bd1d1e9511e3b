//! The end: when it begins, how long it may take, and what it could not save.
//!
//! A first SIGTERM, SIGINT or `/quitquitquit` begins it; a second signal ends it at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::App;
use super::signals::Signals;
use crate::embedded::Emulator;
use crate::forward::Stopper;
use crate::ingest::{Ingest, Streams};
use crate::lifecycle::{Lifecycle, Phase};

/// How often the end looks whether the application is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How often it looks whether the ingest workers have handed all over.
const FLUSH_INTERVAL: Duration = Duration::from_millis(2);

/// What became of the records when the process stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// How many accepted records were not delivered. Each stream's are in the log.
    pub records_lost: u64,
}

impl App {
    /// Waits until a stop is asked for, and stops.
    pub(super) async fn run(self, mut signals: Signals) -> Stopped {
        let reason = tokio::select! {
            name = signals.next() => name,
            () = self.quit.notified() => "/quitquitquit",
        };
        self.stop(reason, signals).await
    }

    async fn stop(self, reason: &'static str, mut signals: Signals) -> Stopped {
        let Self { config, lifecycle, quit: _, streams, ingest, forward, keys, admin, emulator } =
            self;
        tracing::info!(reason, grace_ms = millis(config.grace), "stopping");
        let deadline = Instant::now() + config.grace;
        lifecycle.advance(Phase::Draining);
        let stopper = forward.stopper();
        let winding_down = async {
            let last_accept = deadline.checked_sub(config.deliver).unwrap_or(deadline);
            application_gone(&ingest, config.quiet, last_accept).await;
            lifecycle.advance(Phase::Flushing);
            flushed(&ingest, deadline).await;
        };
        let is_hurried = tokio::select! {
            () = winding_down => false,
            name = signals.next() => hurry(name, &lifecycle, &stopper),
        };
        let mut delivering = std::pin::pin!(forward.stop(deadline));
        tokio::select! {
            () = &mut delivering => {}
            name = signals.next(), if !is_hurried => {
                hurry(name, &lifecycle, &stopper);
                delivering.await;
            }
        }
        lifecycle.advance(Phase::Stopped);
        // The admin thread looks at ingest: it goes first, so that ingest can be joined.
        admin.stop();
        if let Ok(ingest) = Arc::try_unwrap(ingest) {
            ingest.join();
        }
        let records_lost = name_losses(&streams);
        if let Some(keys) = keys {
            keys.stop();
        }
        if let Some(Err(error)) = emulator.map(Emulator::stop) {
            tracing::error!(%error, "the emulator did not stop as it should");
        }
        tracing::info!(records_lost, "stopped");
        Stopped { records_lost }
    }
}

/// A second signal: nothing is waited for any more.
fn hurry(name: &'static str, lifecycle: &Lifecycle, stopper: &Stopper) -> bool {
    tracing::warn!(reason = name, "stopping at once");
    lifecycle.advance(Phase::Flushing);
    stopper.stop_now();
    true
}

/// Waits until no connection was open for the quiet time, or until `deadline`.
async fn application_gone(ingest: &Ingest, quiet: Duration, deadline: Instant) {
    let mut quiet_since = None;
    loop {
        let now = Instant::now();
        let is_gone = if ingest.connections() == 0 {
            now - *quiet_since.get_or_insert(now) >= quiet
        } else {
            quiet_since = None;
            false
        };
        if is_gone || now >= deadline {
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL.min(deadline - now)).await;
    }
}

/// Waits until the ingest workers have handed over all that they accepted, or until `deadline`.
async fn flushed(ingest: &Ingest, deadline: Instant) {
    while !ingest.has_flushed() {
        if Instant::now() >= deadline {
            tracing::warn!("not all batches could be handed over in time");
            return;
        }
        tokio::time::sleep(FLUSH_INTERVAL).await;
    }
}

/// Names what was accepted and not delivered, stream by stream, and counts it.
fn name_losses(streams: &Streams) -> u64 {
    let mut all = 0;
    for stream in streams.all() {
        let (records, bytes) = stream.lane.lost();
        if records > 0 {
            tracing::error!(
                stream = %stream.lane.name(),
                records,
                bytes,
                "records were lost: they were in memory and not delivered when the process stopped"
            );
            all += records;
        }
    }
    all
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
