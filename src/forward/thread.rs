//! The forward thread: takes batches from the ingest workers, gives each stream a worker, and ends them.
//!
//! It has a runtime of its own and everything of this stage runs on it. It looks into no batch but for
//! the name of its stream.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::firehose::Firehose;
use super::flow::Flow;
use super::metrics::{self, StreamMetrics};
use super::plan::Plan;
use super::report::Report;
use super::request::Bounds;
use super::room::Room;
use super::status::{StreamState, StreamStatus};
use super::worker::{Shared, Worker};
use super::{Config, Statuses};
use crate::pipeline::{Batch, Intake, Lane, Post};
use crate::record::StreamName;

/// What the workers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Deliver.
    Run,
    /// Deliver, and put nothing off for long: the process stops.
    Drain,
    /// Say what is left.
    End,
}

/// How the thread is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Not at all.
    Run,
    /// When everything is delivered, or at this time.
    Drain(Instant),
    /// At once.
    Now,
}

/// Counts the workers that have something to deliver.
#[derive(Debug, Default)]
pub(super) struct Idle {
    busy: Cell<usize>,
    none_busy: Notify,
}

impl Idle {
    /// The worker with this flag has something to deliver.
    fn started(&self, is_busy: &Cell<bool>) {
        if !is_busy.replace(true) {
            self.busy.set(self.busy.get() + 1);
        }
    }

    /// The worker with this flag has nothing to deliver.
    pub(super) fn finished(&self, is_busy: &Cell<bool>) {
        if is_busy.replace(false) {
            self.busy.set(self.busy.get() - 1);
            if self.busy.get() == 0 {
                self.none_busy.notify_one();
            }
        }
    }
}

/// Everything that the thread owns.
pub(super) struct Thread {
    pub(super) config: Config,
    pub(super) firehose: Firehose,
    pub(super) intake: Intake,
    pub(super) post: Post,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) statuses: watch::Sender<Statuses>,
}

struct Entrance {
    batches: mpsc::UnboundedSender<Box<Batch>>,
    is_busy: Rc<Cell<bool>>,
}

impl Thread {
    /// Works until it is told to stop.
    pub(super) fn run(self, runtime: &tokio::runtime::Runtime) {
        LocalSet::new().block_on(runtime, self.work())
    }

    async fn work(mut self) {
        let (modes, mode) = watch::channel(Mode::Run);
        let shared = Shared {
            firehose: Rc::new(self.firehose),
            room: Room::new(self.config.bytes_in_flight_max),
            post: self.post,
            modes: mode,
            idle: Rc::default(),
        };
        let wakeups = ::metrics::counter!(metrics::WAKEUPS);
        let mut streams = Streams {
            config: self.config,
            shared,
            statuses: self.statuses,
            entrances: HashMap::new(),
            workers: JoinSet::new(),
        };
        loop {
            while let Some(batch) = self.intake.try_take() {
                streams.route(batch);
            }
            wakeups.absolute(self.intake.bell().rings());
            let order = *self.orders.borrow_and_update();
            let deadline = match order {
                Order::Run => None,
                Order::Drain(_) if streams.shared.idle.busy.get() == 0 => break,
                Order::Drain(deadline) if deadline <= Instant::now() => break,
                Order::Drain(deadline) => {
                    modes.send_replace(Mode::Drain);
                    Some(deadline)
                }
                Order::Now => break,
            };
            let idle = Rc::clone(&streams.shared.idle);
            tokio::select! {
                () = self.intake.heard() => {}
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                () = idle.none_busy.notified(), if deadline.is_some() => {}
                () = at(deadline) => {}
                Some(worker) = streams.workers.join_next() => {
                    worker.expect("a worker does not panic, nor is it cancelled");
                }
            }
        }
        modes.send_replace(Mode::End);
        streams.end().await
    }
}

struct Streams {
    config: Config,
    shared: Shared,
    statuses: watch::Sender<Statuses>,
    entrances: HashMap<StreamName, Entrance>,
    workers: JoinSet<()>,
}

impl Streams {
    fn route(&mut self, batch: Box<Batch>) {
        if !self.entrances.contains_key(batch.lane().name()) {
            self.open(batch.lane());
        }
        if let Some(entrance) = self.entrances.get(batch.lane().name()) {
            self.shared.idle.started(&entrance.is_busy);
            let sent = entrance.batches.send(batch);
            sent.expect("a worker lives until it is told to end, which comes after the last batch");
        }
    }

    fn open(&mut self, lane: &Arc<Lane>) {
        let stream = lane.name().clone();
        let (entrance, batches) = mpsc::unbounded_channel();
        let is_busy = Rc::new(Cell::new(false));
        let flow = Flow::new(&self.config);
        let status = watch::Sender::new(first_status(&stream, flow.limit()));
        let metrics = StreamMetrics::new(&stream);
        self.statuses.send_modify(|statuses| statuses.push(status.subscribe()));
        let worker = Worker {
            stream: stream.clone(),
            lane: Arc::clone(lane),
            shared: self.shared.clone(),
            bounds: Bounds {
                records_max: self.config.request_records_max,
                bytes_max: self.config.request_bytes_max,
            },
            flow,
            plan: Plan::default(),
            metrics,
            report: Report::new(stream.clone()),
            reason: None,
            last_success_at: None,
            random: fastrand::Rng::new(),
            batches,
            flights: JoinSet::new(),
            status,
            is_busy: Rc::clone(&is_busy),
        };
        self.workers.spawn_local(worker.run());
        self.entrances.insert(stream, Entrance { batches: entrance, is_busy });
    }

    async fn end(mut self) {
        while let Some(worker) = self.workers.join_next().await {
            worker.expect("a worker does not panic, nor is it cancelled");
        }
    }
}

fn first_status(stream: &StreamName, limit: usize) -> StreamStatus {
    StreamStatus {
        stream: stream.clone(),
        state: StreamState::Flowing,
        since: Instant::now(),
        reason: None,
        batches: 0,
        records_waiting: 0,
        records_in_flight: 0,
        records_set_aside: 0,
        requests_in_flight: 0,
        requests_in_flight_limit: limit,
        oldest_accepted_at: None,
        last_success_at: None,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
