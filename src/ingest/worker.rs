//! An ingest worker: one thread's open batches, its receipts, and when a batch leaves.
//!
//! All of it belongs to one thread: no lock and no atomic but the counts. Requests of its connections
//! admit records here; a single task closes what has lingered and hands over what is closed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::metrics::Metrics;
use super::refusal::Refusal;
use super::shared::Shared;
use super::streams::Stream;
use crate::pipeline::{
    Batcher, Book, ChunkPool, Delivered, Entry, Mailbox, Outcome, Outlet, Receipt,
};
use crate::record::StreamName;

/// How long a batch that found the hand-off full waits before it is offered again.
const PUSH_ON_INTERVAL: Duration = Duration::from_millis(5);

/// How far in the future the task looks when nothing lingers.
const FAR: Duration = Duration::from_secs(3_600);

/// One thread's part of ingest. See the module.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Metrics,
    streams: RefCell<HashMap<StreamName, Rc<WorkerStream>>>,
    outlet: RefCell<Outlet>,
    book: Book,
    pool: ChunkPool,
    /// Decoded bytes of the record at hand.
    pub(super) scratch: RefCell<Vec<u8>>,
    nudge: Notify,
    is_closed: Cell<bool>,
}

/// A stream as one worker knows it.
#[derive(Debug)]
pub(super) struct WorkerStream {
    pub(super) shared: Arc<Stream>,
    batcher: RefCell<Batcher>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        outlet: Outlet,
        mailbox: Mailbox,
        pool: ChunkPool,
    ) -> Rc<Self> {
        Rc::new(Self {
            metrics: Metrics::new(),
            shared,
            streams: RefCell::default(),
            outlet: RefCell::new(outlet),
            book: Book::new(mailbox),
            pool,
            scratch: RefCell::default(),
            nudge: Notify::new(),
            is_closed: Cell::new(false),
        })
    }

    /// The stream of this name.
    pub(super) fn stream(&self, name: &str) -> Result<Rc<WorkerStream>, Refusal> {
        if let Some(stream) = self.streams.borrow().get(name) {
            return Ok(Rc::clone(stream));
        }
        let Some(shared) = self.shared.streams.find(name) else {
            return Err(Refusal::UnknownStream(name.chars().take(100).collect()));
        };
        let limits = shared.settings.limits.clone();
        let batcher = Batcher::new(Arc::clone(&shared.lane), limits, self.pool.clone());
        let name = shared.lane.name().clone();
        let stream = Rc::new(WorkerStream { shared, batcher: RefCell::new(batcher) });
        self.streams.borrow_mut().insert(name, Rc::clone(&stream));
        Ok(stream)
    }

    /// Opens a receipt for a request of `records` records that waits for their delivery.
    pub(super) fn receipt(
        &self,
        stream: &WorkerStream,
        records: usize,
    ) -> Result<Receipt, Refusal> {
        self.book.open(records, stream.shared.lane.share()).map_err(|_| Refusal::NoRoom)
    }

    /// Takes the records that `fill` puts in: all of them, or none when it refuses.
    pub(super) fn admit<T>(
        &self,
        stream: &WorkerStream,
        fill: impl FnOnce(&mut Entry<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if self.is_closed.get() {
            return Err(Refusal::Stopping);
        }
        if self.outlet.borrow().waiting_records() > 0 {
            return Err(Refusal::NoRoom);
        }
        let mut batcher = stream.batcher.borrow_mut();
        let was_awaited = batcher.is_awaited();
        let left_at = batcher.leaves_at();
        let mut entry = batcher.entry(Instant::now());
        let filled = fill(&mut entry)?;
        entry.commit();
        while let Some(batch) = batcher.take_closed() {
            self.outlet.borrow_mut().hand_over(batch);
        }
        if batcher.leaves_at() != left_at || batcher.is_awaited() != was_awaited {
            self.nudge.notify_one();
        }
        Ok(filled)
    }

    /// Waits until the service has all records of a receipt, as long as that is allowed.
    pub(super) async fn delivery(&self, receipt: Receipt) -> Option<Vec<Delivered>> {
        let begun = Instant::now();
        let outcome = tokio::time::timeout(self.shared.config.delivered_wait, receipt).await;
        let delivered = match outcome {
            Ok(Outcome::Delivered(delivered)) => Some(delivered),
            Ok(Outcome::Durable | Outcome::Refused(_)) | Err(_) => None,
        };
        self.metrics.waited(begun.elapsed().as_secs_f64(), delivered.is_some());
        delivered
    }

    /// Closes batches when their time has come, until the end.
    pub(super) async fn tend(&self) {
        loop {
            let next = self.look_around(Instant::now());
            tokio::select! {
                () = self.book.listen() => {}
                () = self.nudge.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Takes no more records and closes what is open.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        for stream in self.streams.borrow().values() {
            stream.batcher.borrow_mut().close();
        }
        self.nudge.notify_one();
    }

    /// Whether all that was accepted has been handed over.
    pub(super) fn has_handed_all_over(&self) -> bool {
        let streams = self.streams.borrow();
        let is_all_closed = streams.values().all(|stream| {
            let mut batcher = stream.batcher.borrow_mut();
            while let Some(batch) = batcher.take_closed() {
                self.outlet.borrow_mut().hand_over(batch);
            }
            batcher.leaves_at().is_none()
        });
        is_all_closed && self.outlet.borrow_mut().push_on()
    }

    /// Closes what is due, hands it over, and says when to look again.
    fn look_around(&self, now: Instant) -> Instant {
        let mut next = now + FAR;
        let mut outlet = self.outlet.borrow_mut();
        for stream in self.streams.borrow().values() {
            let mut batcher = stream.batcher.borrow_mut();
            batcher.close_if_due(now);
            if batcher.is_awaited() && is_nothing_outstanding(&stream.shared) {
                batcher.close();
            }
            while let Some(batch) = batcher.take_closed() {
                outlet.hand_over(batch);
            }
            next = batcher.leaves_at().map_or(next, |at| next.min(at));
        }
        if outlet.push_on() { next } else { next.min(now + PUSH_ON_INTERVAL) }
    }
}

/// Whether a batch that somebody waits for may leave now. If not, the forwarder rings when it may.
fn is_nothing_outstanding(stream: &Stream) -> bool {
    let lane = &stream.lane;
    if lane.batches_outstanding() == 0 {
        return true;
    }
    lane.await_settled();
    // The last batch may have been settled between the look and the word.
    lane.batches_outstanding() == 0
}
