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
use crate::lifecycle::{self, Lifecycle, Phase};
use crate::spool::{Left, Spool, StreamStatus, Volume};

/// How often the end looks whether the application is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How often it looks whether the ingest workers have handed all over.
const FLUSH_INTERVAL: Duration = Duration::from_millis(2);

/// The part of the grace time that is kept for the spool, to write what it has been given.
pub(super) const SPOOL_TIME: Duration = Duration::from_secs(2);

/// The part of the grace time that is kept for answering those who wait to the end.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// What became of the records when the process stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// How many accepted records were in memory and not delivered. Each stream's are in the log.
    pub records_lost: u64,
    /// What the spool has on a volume that goes with the process. Each stream's is in the log.
    pub left_behind: Option<Left>,
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
        let Self {
            config,
            lifecycle,
            streams,
            ingest,
            forward,
            spool,
            volume,
            keys,
            control,
            admin,
            emulator,
            ..
        } = self;
        tracing::info!(reason, grace_ms = millis(config.grace), "stopping");
        let deadline = Instant::now() + config.grace;
        lifecycle.stop_by(deadline);
        // By then all that can be saved is saved. The rest of the time is for those who still wait.
        let farewell = FAREWELL_TIME.min(config.grace / 10);
        let saved_by = deadline.checked_sub(farewell).unwrap_or(deadline);
        let stopper = forward.stopper();
        let winding_down = async {
            let last_accept = deadline.checked_sub(config.deliver).unwrap_or(deadline);
            application_gone(&ingest, config.quiet, last_accept).await;
            lifecycle.advance(Phase::Flushing);
            flushed(&ingest, saved_by).await;
        };
        let is_hurried = tokio::select! {
            () = winding_down => false,
            name = signals.next() => hurry(name, &lifecycle, &stopper),
        };
        if let Some(spool) = &spool {
            spool.begin_stop();
        }
        let deliver_until = deliver_until(spool.is_some(), volume, &config, saved_by);
        let mut delivering = std::pin::pin!(forward.stop(deliver_until));
        let is_hurried = tokio::select! {
            () = &mut delivering => is_hurried,
            name = signals.next(), if !is_hurried => {
                let is_hurried = hurry(name, &lifecycle, &stopper);
                delivering.await;
                is_hurried
            }
        };
        // The admin thread looks at the spool and at ingest: it goes first, so that they can be ended.
        admin.stop();
        // Those who wait for the disk are answered by this: the listeners are closed afterwards.
        let left = match spool.and_then(Arc::into_inner) {
            Some(spool) => keep(spool, volume, saved_by, is_hurried, &mut signals).await,
            None => None,
        };
        lifecycle.advance(Phase::Stopped);
        if let Ok(ingest) = Arc::try_unwrap(ingest) {
            ingest.join();
        }
        let records_lost = name_losses(&streams);
        control.stop();
        if let Some(keys) = keys {
            keys.stop();
        }
        if let Some(Err(error)) = emulator.map(Emulator::stop) {
            tracing::error!(%error, "the emulator did not stop as it should");
        }
        tracing::info!(records_lost, "stopped");
        Stopped { records_lost, left_behind: left.filter(|_| volume == Volume::Ephemeral) }
    }
}

/// Until when the forwarder delivers. Where the disk stays, it need not deliver what the disk has: it takes
/// no longer than delivering what was in memory may take. Otherwise it has all the time there is.
fn deliver_until(
    has_spool: bool,
    volume: Volume,
    config: &lifecycle::Config,
    deadline: Instant,
) -> Instant {
    if !has_spool {
        return deadline;
    }
    let last = deadline.checked_sub(SPOOL_TIME.min(config.grace / 10)).unwrap_or(deadline);
    match volume {
        Volume::Persistent => last.min(Instant::now() + config.deliver),
        Volume::Ephemeral => last,
    }
}

/// Ends the spool: what it was given is written, and what it has is named. Says what is left in it, if
/// anything is.
async fn keep(
    spool: Spool,
    volume: Volume,
    deadline: Instant,
    is_hurried: bool,
    signals: &mut Signals,
) -> Option<Left> {
    let spools = spool.spools();
    let deadline = if is_hurried { deadline.min(Instant::now() + SPOOL_TIME) } else { deadline };
    // It waits for disks.
    let stopping = tokio::task::spawn_blocking(move || spool.stop(deadline));
    let left = tokio::select! {
        left = stopping => left.unwrap_or_else(|_| left_of(&spools.status())),
        name = signals.next(), if !is_hurried => {
            tracing::warn!(reason = name, "stopping at once");
            left_of(&spools.status())
        }
    };
    if !left.is_whole {
        tracing::warn!(
            "the spool did not end in time: some of what is delivered may be sent again"
        );
    }
    if left.records == 0 && left.segments_uncounted == 0 {
        return None;
    }
    // Asked now: what was still to be written down, or noted as delivered, is counted.
    for stream in
        spools.status().iter().filter(|stream| stream.records + stream.segments_uncounted > 0)
    {
        name_left(stream, volume);
    }
    tracing::info!(
        records = left.records,
        bytes = left.bytes,
        segments_uncounted = left.segments_uncounted,
        "left in the spool"
    );
    Some(left)
}

/// What was there before the spool was to end, and did not in time.
fn left_of(streams: &[StreamStatus]) -> Left {
    Left {
        records: streams.iter().map(|stream| stream.records).sum(),
        bytes: streams.iter().map(|stream| stream.bytes).sum(),
        segments_uncounted: streams.iter().map(|stream| stream.segments_uncounted).sum(),
        is_whole: false,
    }
}

fn name_left(stream: &StreamStatus, volume: Volume) {
    let StreamStatus { stream, records, bytes, segments_uncounted, .. } = stream;
    match volume {
        Volume::Persistent => tracing::info!(
            %stream, records, bytes, segments_uncounted,
            "records stay in the spool: the next start delivers them"
        ),
        Volume::Ephemeral => tracing::error!(
            %stream, records, bytes, segments_uncounted,
            "records are lost with the volume of the spool, which is ephemeral: they were not delivered \
             when the process stopped"
        ),
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
