//! The end: when it begins, how long it may take, and what it could not save.
//!
//! A first SIGTERM, SIGINT or `/quitquitquit` begins it; a second signal ends it at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::signals::Signals;
use super::{App, StartError};
use crate::lifecycle::Phase;

/// How often the end looks whether the application is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What became of the records when the process stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// How many accepted records were not delivered. Each stream's are in the log.
    pub records_lost: u64,
}

impl App {
    /// Waits until a stop is asked for, and stops.
    pub(super) fn run(self) -> Result<Stopped, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Signals)?;
        let mut signals = {
            let _guard = runtime.enter();
            Signals::listen().map_err(StartError::Signals)?
        };
        runtime.block_on(async {
            let reason = tokio::select! {
                name = signals.next() => name,
                () = self.quit.notified() => "/quitquitquit",
            };
            tracing::info!(reason, grace_ms = millis(self.config.grace), "stopping");
            self.lifecycle.advance(Phase::Draining);
            let deadline = Instant::now() + self.config.grace;
            tokio::select! {
                () = self.wind_down(deadline) => {}
                name = signals.next() => {
                    tracing::warn!(reason = name, "stopping at once");
                    self.lifecycle.advance(Phase::Flushing);
                    self.forward.stop_now();
                }
            }
        });
        // What was begun on the runtime's blocking threads ends with the forwarder.
        runtime.shutdown_background();
        Ok(self.end())
    }

    /// Accepts until the application is gone, then hands over and delivers what is there.
    async fn wind_down(&self, deadline: Instant) {
        let last_accept = deadline - self.config.deliver.min(self.config.grace);
        self.application_gone(last_accept).await;
        self.lifecycle.advance(Phase::Flushing);
        let (ingest, forward) = (Arc::clone(&self.ingest), Arc::clone(&self.forward));
        let delivered = tokio::task::spawn_blocking(move || {
            if !ingest.wait_flushed(deadline) {
                tracing::warn!("not all batches could be handed over in time");
            }
            forward.stop(deadline);
        });
        if delivered.await.is_err() {
            tracing::error!("the forwarder did not stop as it should");
        }
    }

    /// Waits until no connection was open for the quiet time, or until `deadline`.
    async fn application_gone(&self, deadline: Instant) {
        let mut quiet_since = None;
        loop {
            let now = Instant::now();
            let since = match self.ingest.connections() {
                0 => *quiet_since.get_or_insert(now),
                _ => {
                    quiet_since = None;
                    now
                }
            };
            let is_gone = quiet_since.is_some() && now - since >= self.config.quiet;
            if is_gone || now >= deadline {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL.min(deadline - now)).await;
        }
    }

    /// Ends the threads and counts what is left.
    fn end(self) -> Stopped {
        let Self { lifecycle, streams, ingest, forward, admin, emulator, .. } = self;
        // The forwarder has counted and named what it had; what never reached it is lost as well.
        let mut records_lost = forward.records_lost();
        lifecycle.advance(Phase::Stopped);
        if let Ok(ingest) = Arc::try_unwrap(ingest) {
            ingest.join();
        }
        for stream in streams.all() {
            let records = stream.lane.records_in_memory();
            if records > 0 {
                tracing::error!(
                    stream = %stream.lane.name(),
                    records,
                    "records were lost: they were in memory when the process was stopped"
                );
                records_lost += records;
            }
        }
        drop(admin);
        if let Some(Err(error)) = emulator.map(crate::embedded::Emulator::stop) {
            tracing::error!(%error, "the emulator did not stop as it should");
        }
        tracing::info!(records_lost, "stopped");
        Stopped { records_lost }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
