//! What the admin listener shows: the status of all stages in one document, and the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{encryption, ready, replay};
use crate::admin::Sources;
use crate::encryption::{keys, sse};
use crate::forward::{self, StreamStatus, Watcher};
use crate::ingest::{Ingest, LimitStatus, Streams};
use crate::lifecycle::Lifecycle;
use crate::pipeline::{self, NotDurable};
use crate::spool::{self, Spool};
use crate::telemetry::{LevelHandle, MetricsHandle};

/// A view of everything that is shown.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) started_at: Instant,
    pub(super) memory_bytes_max: usize,
    pub(super) lifecycle: Lifecycle,
    pub(super) streams: Arc<Streams>,
    pub(super) ingest: Arc<Ingest>,
    pub(super) forward: Watcher,
    pub(super) spool: Option<Arc<Spool>>,
    pub(super) keys: Option<keys::Watcher>,
    pub(super) control: sse::Watcher,
}

impl View {
    /// What the admin stage is given.
    pub(super) fn sources(
        self,
        metrics: &MetricsHandle,
        log_level: LevelHandle,
        quit: &Arc<Notify>,
    ) -> Sources {
        let (stalled, shown, refreshed, seen) =
            (self.clone(), self.clone(), self.clone(), self.clone());
        let (rendered, kept) = (metrics.clone(), metrics.clone());
        let noted = self.control.clone();
        let quit = Arc::clone(quit);
        let spools = self.spool.as_ref().map(|spool| spool.spools());
        Sources {
            lifecycle: self.lifecycle,
            look: Box::new(move || seen.look()),
            stalled: Box::new(move || stalled.stalled()),
            status: Box::new(move || shown.status()),
            metrics: Box::new(move || {
                refreshed.refresh();
                rendered.render()
            }),
            upkeep: Box::new(move || kept.upkeep()),
            notes: Box::new(move || encryption::notes(&noted)),
            encryption: encryption::for_admin(&self.control),
            replay: replay::over(self.streams, spools),
            quit: Box::new(move || quit.notify_one()),
            log_level,
        }
    }

    /// The threads that are gone. One that panics takes the process with it, so that this is the exception.
    fn stalled(&self) -> Vec<String> {
        let mut stalled = self.ingest.stalled();
        if !self.forward.is_alive() {
            stalled.push("forward".to_owned());
        }
        stalled.extend(self.spool.iter().flat_map(|spool| spool.stalled()));
        if self.keys.as_ref().is_some_and(|keys| !keys.is_alive()) {
            stalled.push("encryption".to_owned());
        }
        if !self.control.is_alive() {
            stalled.push("control".to_owned());
        }
        stalled
    }

    /// Looks whether the spool keeps records out.
    fn look(&self) {
        let streams = self.streams.all();
        let streams = streams.iter().map(AsRef::as_ref);
        match ready::obstacle(streams, self.started_at, Instant::now()) {
            Some(why) => self.lifecycle.obstruct(ready::WHAT, why),
            None => self.lifecycle.clear(ready::WHAT),
        }
    }

    fn refresh(&self) {
        let streams = self.streams.all();
        let lanes = streams.iter().map(|stream| stream.lane.as_ref());
        pipeline::metrics::show(lanes, self.memory_bytes_max);
        self.ingest.refresh_metrics();
        if let Some(spool) = &self.spool {
            spool.show_metrics();
        }
        forward::metrics::show(&self.forward.status(), Instant::now());
        if let Some(keys) = &self.keys {
            keys.show_metrics();
        }
        self.control.show_metrics();
    }

    fn status(&self) -> Value {
        let mut forwarded = self.forward.status();
        let mut spooled = self.spool.as_ref().map(|spool| spool.status()).unwrap_or_default();
        let mut minded = self.control.status();
        let streams = self.streams.all();
        let memory_bytes: usize =
            streams.iter().map(|stream| stream.lane.share().used_bytes()).sum();
        let streams: Vec<Value> = streams
            .iter()
            .map(|stream| {
                let name = stream.lane.name();
                let mut shown = json!({
                    "name": name.as_str(),
                    "configured": stream.takes_records,
                    "ack": stream.takes_records.then_some(stream.settings.ack.as_str()),
                    "state": "flowing",
                    "records_in_memory": stream.lane.records_in_memory(),
                    "memory_bytes": stream.lane.share().used_bytes(),
                    "ingest_limits": stream.ingest_limits().map(limits_of),
                });
                // A stream that nothing was ever sent to is not known to the forwarder.
                let known = forwarded.iter().position(|status| status.stream == *name);
                if let (Some(at), Some(members)) = (known, shown.as_object_mut())
                    && let Value::Object(more) = delivery(&forwarded.swap_remove(at))
                {
                    members.extend(more);
                }
                let kept = spooled.iter().position(|status| status.stream == *name);
                if let (Some(at), Some(members)) = (kept, shown.as_object_mut()) {
                    members.insert("spool".to_owned(), kept_of(&spooled.swap_remove(at)));
                }
                let known = minded.iter().position(|status| status.stream == *name);
                if let (Some(at), Some(members)) = (known, shown.as_object_mut()) {
                    members.extend(encryption::members(&minded.swap_remove(at)));
                }
                shown
            })
            .collect();
        let reasons: serde_json::Map<String, Value> = self
            .lifecycle
            .unready_reasons()
            .into_iter()
            .map(|(what, why)| (what, why.into()))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "phase": self.lifecycle.phase().as_str(),
            "ready": reasons.is_empty(),
            "unready_reasons": reasons,
            "uptime_seconds": self.started_at.elapsed().as_secs(),
            "connections": self.ingest.connections(),
            "requests": self.ingest.requests(),
            "memory_bytes": memory_bytes,
            "memory_max_bytes": self.memory_bytes_max,
            "streams": streams,
            "keys": self.keys.as_ref().map(|keys| super::keys_shown::shown(&keys.status())),
        })
    }
}

/// How the ingest limits of a stream stand. What is not limited is null.
fn limits_of(LimitStatus { burst, records, bytes }: LimitStatus) -> Value {
    json!({
        "burst_ms": u64::try_from(burst.as_millis()).unwrap_or(u64::MAX),
        "records_per_second": records.map(|rate| rate.per_second),
        "records_left": records.map(|rate| rate.left),
        "bytes_per_second": bytes.map(|rate| rate.per_second),
        "bytes_left": bytes.map(|rate| rate.left),
    })
}

/// What the spool has of a stream.
fn kept_of(status: &spool::StreamStatus) -> Value {
    let detail = status.obstacle_detail.as_deref();
    let detail = detail.or_else(|| status.obstacle.map(NotDurable::sentence));
    json!({
        "records": status.records,
        "records_waiting": status.records_waiting,
        "disk_bytes": status.bytes,
        "segments": status.segments,
        "segments_uncounted": status.segments_uncounted,
        "oldest_age_seconds": status.oldest_unix_ms.map(age_seconds),
        "obstacle": status.obstacle.map(NotDurable::as_str),
        "obstacle_detail": detail,
        "waits_for": status.waits_for,
        "records_recovered": status.records_recovered,
        "records_quarantined": status.records_quarantined,
        "segments_quarantined": status.segments_quarantined,
        "torn_bytes": status.torn_bytes,
        "dead_letters": status.dead_letters,
        "dead_letters_found": status.dead_letters_found,
        "dead_letters_replayed": status.dead_letters_replayed,
        "dead_letter_segments_uncounted": status.dead_letter_segments_uncounted,
        "dead_letter_bytes": status.dead_letter_bytes,
        "failures": status.failures,
    })
}

/// How long ago `unix_ms` was, by the clock on the wall.
fn age_seconds(unix_ms: u64) -> f64 {
    let then = UNIX_EPOCH + Duration::from_millis(unix_ms);
    SystemTime::now().duration_since(then).unwrap_or_default().as_secs_f64()
}

/// How the delivery of a stream goes.
fn delivery(status: &StreamStatus) -> Value {
    let now = Instant::now();
    let seconds = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
    json!({
        "state": status.state.as_str(),
        "state_seconds": seconds(status.since),
        "reason": status.reason.as_ref().map(|reason| format!("{}: {}", reason.code, reason.message)),
        "batches": status.batches,
        "records_waiting": status.records_waiting,
        "records_in_flight": status.records_in_flight,
        "records_set_aside": status.records_set_aside,
        "records_spilling": status.records_spilling,
        "requests_in_flight": status.requests_in_flight,
        "requests_in_flight_limit": status.requests_in_flight_limit,
        "oldest_age_seconds": status.oldest_accepted_at.map(seconds),
        "last_success_age_seconds": status.last_success_at.map(seconds),
        "aggregate": {
            "joins": status.joined.is_joining,
            "reason": status.joined.why,
            "requests": status.joined.requests,
            "records": status.joined.records,
            "blobs": status.joined.blobs,
            "bytes_billed": status.joined.bytes_billed,
            "bytes_saved": status.joined.bytes_saved,
        },
    })
}
