//! The forward thread: takes batches from the ingest workers and words from the spool, gives each stream a
//! worker, and ends them.
//!
//! It has a runtime of its own and everything of this stage runs on it. It looks into no batch but for
//! the name of its stream.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::flow::Flow;
use super::metrics::{self, StreamMetrics};
use super::overflow::Stops;
use super::partition::Keys;
use super::passage::Passing;
use super::plan::Plan;
use super::report::Report;
use super::room::Room;
use super::sink::{Services, Sink};
use super::spooling::Spooling;
use super::status::{Joined, StreamState, StreamStatus};
use super::worker::{Shared, Worker};
use super::{Config, Statuses};
use crate::gate::Gates;
use crate::pipeline::{Intake, Lane, Post};
use crate::record::StreamName;
use crate::spool::{StreamSpool, Word, Words};

/// What the workers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Deliver.
    Run,
    /// Deliver, and put nothing off for long: the process stops.
    Drain {
        /// From then on the time is the spool's.
        spool_at: Instant,
    },
    /// Say what is left.
    End,
}

/// How the thread is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Not at all.
    Run,
    /// When everything is delivered or spooled, or at this time.
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

/// The part of a stop's time that is kept for the spool at most; and it is no more than a half.
const SPOOL_TIME_MAX: Duration = Duration::from_secs(3);

/// When the spool's part of a stop begins that begins `now` and ends at `deadline`.
fn spool_at(now: Instant, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + left.saturating_sub(SPOOL_TIME_MAX.min(left / 2))
}

/// Gives the spool of a stream.
pub(super) type OpenSpool = Box<dyn Fn(&Arc<Lane>) -> Option<StreamSpool> + Send>;

/// What the thread has of the spool.
pub(super) struct SpoolEnds {
    pub(super) open: OpenSpool,
    pub(super) words: Words,
    /// The streams that there are at the start: each may have a backlog.
    pub(super) streams: Vec<Arc<Lane>>,
}

/// Everything that the thread owns.
pub(super) struct Thread {
    pub(super) config: Config,
    pub(super) services: Services,
    pub(super) intake: Intake,
    pub(super) spool: Option<SpoolEnds>,
    pub(super) gates: Gates,
    pub(super) post: Post,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) statuses: watch::Sender<Statuses>,
}

struct Entrance {
    words: mpsc::UnboundedSender<Word>,
    is_busy: Rc<Cell<bool>>,
    has_spool: bool,
}

impl Thread {
    /// Works until it is told to stop.
    pub(super) fn run(self, runtime: &tokio::runtime::Runtime) {
        LocalSet::new().block_on(runtime, self.work())
    }

    async fn work(mut self) {
        let (modes, mode) = watch::channel(Mode::Run);
        let shared = Shared {
            services: Rc::new(self.services),
            room: Room::new(self.config.bytes_in_flight_max),
            post: self.post,
            modes: mode,
            idle: Rc::default(),
        };
        let wakeups = ::metrics::counter!(metrics::WAKEUPS);
        let (open_spool, spool_words, lanes) = match self.spool {
            Some(SpoolEnds { open, words, streams }) => (Some(open), Some(words), streams),
            None => (None, None, Vec::new()),
        };
        let mut streams = Streams {
            config: Rc::new(self.config),
            shared,
            open_spool,
            gates: self.gates,
            statuses: self.statuses,
            entrances: HashMap::new(),
            workers: JoinSet::new(),
        };
        lanes.iter().for_each(|lane| streams.open(lane));
        let spool_words = spool_words.as_ref();
        loop {
            streams.take_all(&self.intake, spool_words);
            let rings = spool_words.map_or(0, |words| words.bell().rings());
            wakeups.absolute(self.intake.bell().rings() + rings);
            let order = *self.orders.borrow_and_update();
            let deadline = match order {
                Order::Run => None,
                Order::Drain(deadline) => {
                    let now = Instant::now();
                    if *modes.borrow() == Mode::Run {
                        streams.begin_to_drain();
                        modes.send_replace(Mode::Drain { spool_at: spool_at(now, deadline) });
                    }
                    if streams.shared.idle.busy.get() == 0 || deadline <= now {
                        break;
                    }
                    Some(deadline)
                }
                Order::Now => break,
            };
            let idle = Rc::clone(&streams.shared.idle);
            tokio::select! {
                () = self.intake.heard() => {}
                () = heard(spool_words) => {}
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
        streams.take_all(&self.intake, spool_words);
        modes.send_replace(Mode::End);
        streams.end().await
    }
}

struct Streams {
    config: Rc<Config>,
    shared: Shared,
    open_spool: Option<OpenSpool>,
    gates: Gates,
    statuses: watch::Sender<Statuses>,
    entrances: HashMap<StreamName, Entrance>,
    workers: JoinSet<()>,
}

impl Streams {
    /// Takes all that has come to the workers that it is for.
    fn take_all(&mut self, intake: &Intake, words: Option<&Words>) {
        while let Some(batch) = intake.try_take() {
            self.route(Word::Batch(batch));
        }
        while let Some(word) = words.and_then(Words::try_take) {
            self.route(word);
        }
    }

    fn route(&mut self, word: Word) {
        if let Word::Batch(batch) = &word
            && !self.entrances.contains_key(batch.lane().name())
        {
            self.open(&Arc::clone(batch.lane()));
        }
        let stream = match &word {
            Word::Batch(batch) => batch.lane().name(),
            Word::Spooled { stream, .. } | Word::SetAside { stream, .. } => stream,
        };
        if let Some(entrance) = self.entrances.get(stream) {
            self.shared.idle.started(&entrance.is_busy);
            let sent = entrance.words.send(word);
            sent.expect("a worker lives until it is told to end, which comes after the last word");
        }
    }

    /// Counts every worker with a spool as having something to do, until it says that it has not.
    fn begin_to_drain(&self) {
        for entrance in self.entrances.values().filter(|entrance| entrance.has_spool) {
            self.shared.idle.started(&entrance.is_busy);
        }
    }

    fn open(&mut self, lane: &Arc<Lane>) {
        let stream = lane.name().clone();
        let spool = self.open_spool.as_ref().and_then(|open| open(lane));
        let has_spool = spool.is_some();
        let letter_waits = (self.config.hold_min, self.config.hold_max);
        let (entrance, words) = mpsc::unbounded_channel();
        let is_busy = Rc::new(Cell::new(false));
        let mut flow = Flow::new(&self.config);
        let gate = self.gates.open(&stream);
        let (now, told) = (Instant::now(), gate.guidance().clone());
        flow.renew(now, told.epoch, false);
        let stream_config = self.config.stream(&stream).clone();
        let keys = Keys::new(stream_config.partition_key.clone());
        let sink = Sink::of(&told.route).unwrap_or(Sink::Firehose);
        let (wait_min, wait_max) = (self.config.backoff_min, self.config.backoff_max);
        let status = watch::Sender::new(first_status(&stream, flow.limit()));
        let metrics = StreamMetrics::new(&stream);
        self.statuses.send_modify(|statuses| statuses.push(status.subscribe()));
        let mut plan = if has_spool {
            Plan::with_disk(self.config.spool_awaited_after)
        } else {
            Plan::default()
        };
        plan.joining = sink.joining(&stream_config, told.joins);
        let worker = Worker {
            stream: stream.clone(),
            lane: Arc::clone(lane),
            shared: self.shared.clone(),
            bounds: sink.bounds(&self.config, &stream_config, &keys),
            config: Rc::clone(&self.config),
            stream_config,
            keys,
            sink,
            passing: Passing::new(now, told, wait_min, wait_max),
            flow,
            plan,
            spooling: spool.map(|spool| Spooling::new(&stream, spool, letter_waits)),
            stops: Stops {
                blocked_after: self.config.spool_blocked_after,
                delivers_backlog: self.config.stop_delivers_backlog,
            },
            metrics,
            gate,
            report: Report::new(stream.clone()),
            reason: None,
            last_success_at: None,
            joined: Joined::default(),
            random: fastrand::Rng::new(),
            words,
            flights: JoinSet::new(),
            status,
            is_busy: Rc::clone(&is_busy),
        };
        self.workers.spawn_local(worker.run());
        self.entrances.insert(stream, Entrance { words: entrance, is_busy, has_spool });
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
        records_spilling: 0,
        requests_in_flight: 0,
        requests_in_flight_limit: limit,
        oldest_accepted_at: None,
        last_success_at: None,
        joined: Joined::default(),
    }
}

async fn heard(words: Option<&Words>) {
    match words {
        Some(words) => words.heard().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
