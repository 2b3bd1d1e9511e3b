//! One stream's worker: takes its batches, keeps requests under way, and settles every record.
//!
//! The loop and its effects are here; which records go is `plan`'s to say, whether anything may go is
//! `flow`'s, what a failure means is `outcome`'s. It drops no record that is not settled but at the end, or
//! when the disk has it.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::answer::PutAnswer;
use super::blobs::Joining;
use super::flow::{Begin, Flow, HURRIED_WAIT_MAX, Permit};
use super::metrics::StreamMetrics;
use super::outcome::Reason;
use super::overflow::{Stops, earlier};
use super::partition::Keys;
use super::passage::Passing;
use super::plan::Plan;
use super::report::Report;
use super::request::{Bounds, Request};
use super::room::{Place, Room};
use super::sink::{Services, Sink};
use super::spooling::Spooling;
use super::status::{Joined, StreamStatus};
use super::thread::{Idle, Mode};
use super::{Config, StreamConfig};
use crate::aws::CallError;
use crate::gate::Gate;
use crate::pipeline::{Lane, Post};
use crate::record::StreamName;
use crate::spool::Word;

/// How often a stream that waits for the room of others looks again while its own requests are under way.
const ROOM_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What all workers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) services: Rc<Services>,
    pub(super) room: Room,
    pub(super) post: Post,
    pub(super) modes: watch::Receiver<Mode>,
    pub(super) idle: Rc<Idle>,
}

/// One stream's worker. See the module; `settle` has what an answer brings, `hear` what the spool says.
pub(super) struct Worker {
    pub(super) stream: StreamName,
    pub(super) lane: std::sync::Arc<Lane>,
    pub(super) shared: Shared,
    pub(super) config: Rc<Config>,
    pub(super) stream_config: StreamConfig,
    pub(super) bounds: Bounds,
    pub(super) flow: Flow,
    pub(super) plan: Plan,
    /// The stream's spool, if it has one.
    pub(super) spooling: Option<Spooling>,
    pub(super) stops: Stops,
    pub(super) metrics: StreamMetrics,
    pub(super) report: Report,
    /// Where its records go, and whether they may.
    pub(super) gate: Gate,
    pub(super) passing: Passing,
    pub(super) sink: Sink,
    pub(super) keys: Keys,
    pub(super) reason: Option<Reason>,
    pub(super) last_success_at: Option<Instant>,
    /// What came of the joining of records.
    pub(super) joined: Joined,
    pub(super) random: fastrand::Rng,
    pub(super) words: mpsc::UnboundedReceiver<Word>,
    pub(super) flights: JoinSet<Flight>,
    pub(super) status: watch::Sender<StreamStatus>,
    /// Whether the thread counts this worker as having something to deliver.
    pub(super) is_busy: Rc<Cell<bool>>,
}

/// A request that came back.
pub(super) struct Flight {
    pub(super) request: Request,
    pub(super) begin: Begin,
    pub(super) result: Result<PutAnswer, CallError>,
}

/// What to wait for before the next look.
enum Next {
    /// A change: a batch, an answer, the mode, or this time.
    Change(Option<Instant>),
    /// Room for so many bytes.
    Room { bytes: usize },
}

impl Worker {
    /// Works until the mode says that it is over.
    pub(super) async fn run(mut self) {
        self.note_shift(true);
        loop {
            let mode = *self.shared.modes.borrow_and_update();
            if matches!(mode, Mode::Drain { .. }) {
                self.hurry();
            }
            while let Ok(word) = self.words.try_recv() {
                self.hear(word);
            }
            while let Some(flight) = self.flights.try_join_next() {
                self.land(flight.expect("a request's task does not panic, nor is it cancelled"));
            }
            if mode == Mode::End {
                return self.end();
            }
            let next = self.send_all(None);
            let look_at = self.tend();
            self.publish();
            self.wait(next, look_at).await;
        }
    }

    /// Sends what may be sent now, the first request into a place of so many bytes if there is one.
    fn send_all(&mut self, mut found: Option<(Place, usize)>) -> Next {
        loop {
            let now = Instant::now();
            self.heed(now);
            let mut bounds = self.bounds;
            // With nothing under way a stream takes less rather than wait, and else waits rather than take
            // what others need: its own requests may hang.
            let is_first = self.flights.is_empty();
            let part = self.shared.room.part();
            if let Some((_, bytes)) = found {
                bounds.bytes_max = bounds.bytes_max.min(bytes);
            } else if is_first {
                bounds.bytes_max = bounds.bytes_max.min(part);
            }
            let permit = self.permit(now);
            let request = match permit {
                Permit::Full => self.plan.next(now, bounds),
                Permit::Probe => self.plan.next_probe(&mut self.random),
                Permit::Nothing { until } => return Next::Change(until),
            };
            let Some(request) = request else {
                if permit == Permit::Full && self.plan.is_stuck() {
                    self.hold(now);
                    continue;
                }
                return Next::Change(self.plan.next_at(now));
            };
            let Some(request) = self.fitting(request) else { continue };
            let bytes = request.bytes;
            let found = found.take().map(|(place, _)| place);
            let may_take = is_first || bytes <= part;
            let place = found.or_else(|| self.shared.room.try_take(bytes).filter(|_| may_take));
            let Some(place) = place else {
                self.plan.put_back(request);
                return if is_first {
                    Next::Room { bytes }
                } else {
                    Next::Change(Some(now + ROOM_LOOK_INTERVAL))
                };
            };
            self.send(now, permit, request, place);
        }
    }

    fn send(&mut self, now: Instant, permit: Permit, request: Request, place: Place) {
        let body = self.sink.body(&self.stream, &self.plan, &request, &mut self.keys);
        let joining = self.plan.joining.as_mut();
        let missing = joining.map_or(0, Joining::take_missing) + self.keys.take_missing();
        self.metrics.keys_missing.increment(missing);
        self.passing.began(now);
        let begin = self.flow.began(now, permit, self.flights.len() + 1);
        let services = Rc::clone(&self.shared.services);
        let (sink, stream) = (self.sink.clone(), self.stream.clone());
        self.flights.spawn_local(async move {
            let result = services.put(&sink, &stream, body).await;
            drop(place);
            Flight { request, begin, result }
        });
    }

    async fn wait(&mut self, next: Next, look_at: Option<Instant>) {
        match next {
            Next::Change(until) => self.wait_for_change(earlier(until, look_at)).await,
            Next::Room { bytes } => self.wait_for_room(bytes, look_at).await,
        }
    }

    async fn wait_for_change(&mut self, until: Option<Instant>) {
        tokio::select! {
            word = self.words.recv() => {
                if let Some(word) = word {
                    self.hear(word);
                } else {
                    // The thread is over: so is this worker, as the mode is about to say.
                    self.shared.modes.changed().await.ok();
                }
            }
            Some(flight) = self.flights.join_next() => {
                self.land(flight.expect("a request's task does not panic, nor is it cancelled"));
            }
            Ok(()) = self.shared.modes.changed() => {}
            () = self.gate.changed() => {}
            () = sleep_until(until) => {}
        }
    }

    /// Waits its turn for a place, which batches that come do not cost it. Nothing is under way.
    async fn wait_for_room(&mut self, bytes: usize, mut look_at: Option<Instant>) {
        let room = self.shared.room.clone();
        let mut turn = pin!(room.take(bytes));
        loop {
            tokio::select! {
                place = &mut turn => {
                    // What it finds now goes into the place; the loop looks again in any case.
                    let _next = self.send_all(Some((place, bytes)));
                    return;
                }
                Some(word) = self.words.recv() => self.hear(word),
                () = sleep_until(look_at) => {}
                Ok(()) = self.shared.modes.changed() => return,
                () = self.gate.changed() => self.heed(Instant::now()),
            }
            look_at = self.tend();
            self.publish();
        }
    }

    fn hurry(&mut self) {
        let now = Instant::now();
        self.flow.hurry(now);
        self.passing.shorten(now + HURRIED_WAIT_MAX);
        self.plan.hurry(now + HURRIED_WAIT_MAX);
        if let Some(spooling) = &mut self.spooling {
            spooling.hurry(now);
        }
    }

    fn end(mut self) {
        if let Some(spooling) = &mut self.spooling {
            spooling.want(false);
        }
        self.plan.close();
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        // It is time already: others have their turn first.
        Some(until) if until <= Instant::now() => tokio::task::yield_now().await,
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
