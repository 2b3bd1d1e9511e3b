//! An ingest worker: one thread's open batches, its receipts, and when a batch leaves.
//!
//! All of it belongs to one thread: no lock and no atomic but the counts. Requests of its connections
//! admit records here; a single task closes what has lingered and hands over what is closed. What the spool
//! is to accept is handed over when the spool has nothing else to write for the stream.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::level::Way;
use super::metrics::Metrics;
use super::refusal::Refusal;
use super::shared::Shared;
use super::streams::Stream;
use super::waiting::Waiting;
use crate::pipeline::{Batcher, Book, ChunkPool, Entry, Inlet, Mailbox, Outlet, Receipt};
use crate::record::StreamName;

/// How long a batch that found the hand-off full waits before it is offered again.
const PUSH_ON_INTERVAL: Duration = Duration::from_millis(5);

/// A record whose delivery somebody waits for lingers for this part of that wait at most: what it waits
/// behind may not come to an end, and the rest of the wait is for delivering it, or else spooling it.
const AWAITED_LINGER_PART: u32 = 4;

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
    /// Streams with a group that is to be handed over when the spool is idle.
    groups: RefCell<Vec<Rc<WorkerStream>>>,
    /// Whether a batch may leave earlier than was known.
    is_due: Cell<bool>,
    /// Whether a batch is open that somebody waits for: it leaves when nothing is outstanding.
    is_awaited: Cell<bool>,
    is_closed: Cell<bool>,
}

/// A stream as one worker knows it.
#[derive(Debug)]
pub(super) struct WorkerStream {
    pub(super) shared: Arc<Stream>,
    batcher: RefCell<Batcher>,
    group: Option<Group>,
}

/// What goes to the spool together.
#[derive(Debug)]
struct Group {
    batcher: RefCell<Batcher>,
    inlet: Inlet,
    /// Whether the worker has it among those that are to be handed over.
    is_listed: Cell<bool>,
}

impl Group {
    /// Hands over what is closed.
    fn submit_closed(&self, batcher: &mut Batcher) {
        while let Some(batch) = batcher.take_closed() {
            self.inlet.submit(batch);
        }
    }

    /// Hands over all there is.
    fn submit(&self) {
        let mut batcher = self.batcher.borrow_mut();
        batcher.close();
        self.submit_closed(&mut batcher);
    }
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
            groups: RefCell::default(),
            is_due: Cell::new(true),
            is_awaited: Cell::new(false),
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
        let batcher = Batcher::new(Arc::clone(&shared.lane), limits.clone(), self.pool.clone());
        let batcher = batcher.awaited_for(self.shared.config.delivered_wait / AWAITED_LINGER_PART);
        let group = shared.spool.as_ref().map(|spool| {
            let batcher = Batcher::durable(Arc::clone(&shared.lane), limits, self.pool.clone());
            let inlet = spool.inlet.clone();
            Group { batcher: RefCell::new(batcher), inlet, is_listed: Cell::new(false) }
        });
        let name = shared.lane.name().clone();
        let stream = Rc::new(WorkerStream { shared, batcher: RefCell::new(batcher), group });
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
        stream: &Rc<WorkerStream>,
        waiting: &Waiting,
        fill: impl FnOnce(&mut Entry<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if self.is_closed.get() {
            return Err(Refusal::Stopping);
        }
        match (waiting.way(), waiting.receipt()) {
            (Way::Spool, Some(receipt)) => self.admit_to_spool(stream, receipt, fill),
            (Way::Memory, _) | (Way::Spool, None) => self.admit_to_memory(stream, fill),
        }
    }

    fn admit_to_memory<T>(
        &self,
        stream: &WorkerStream,
        fill: impl FnOnce(&mut Entry<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
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
            self.is_due.set(true);
            self.nudge.notify_one();
        }
        Ok(filled)
    }

    /// What the spool is to accept joins the open group. That one is not handed over here, but when those
    /// requests have been served that are ready now: they share it.
    fn admit_to_spool<T>(
        &self,
        stream: &Rc<WorkerStream>,
        receipt: &Receipt,
        fill: impl FnOnce(&mut Entry<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let group = stream.group.as_ref().ok_or(Refusal::NoSpool)?;
        // It may have come while the body was read.
        if let Some(why) = group.inlet.obstacle() {
            return Err(Refusal::NotDurable(why));
        }
        let mut batcher = group.batcher.borrow_mut();
        let mut entry = batcher.entry(Instant::now());
        let filled = fill(&mut entry)?;
        entry.commit_durable(receipt);
        group.submit_closed(&mut batcher);
        if batcher.leaves_at().is_some() && !group.is_listed.replace(true) {
            self.groups.borrow_mut().push(Rc::clone(stream));
            self.nudge.notify_one();
        }
        Ok(filled)
    }

    /// Hands over groups and closes batches when their time has come, until the end.
    pub(super) async fn tend(&self) {
        let mut next = Instant::now();
        loop {
            self.submit_groups();
            let now = Instant::now();
            if self.is_due.take() || next <= now {
                next = self.look_around(now);
            }
            tokio::select! {
                () = self.book.listen() => self.is_due.set(self.is_due.get() || self.is_awaited.get()),
                () = self.nudge.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Hands over the groups of those streams that the spool has nothing to write for. It rings when it is
    /// done with the others, whose groups stay open until then.
    fn submit_groups(&self) {
        self.groups.borrow_mut().retain(|stream| {
            let Some(group) = stream.group.as_ref().filter(|group| group.inlet.is_idle()) else {
                return true;
            };
            group.submit();
            group.is_listed.set(false);
            false
        });
    }

    /// Takes no more records and closes what is open.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        for stream in self.streams.borrow().values() {
            stream.batcher.borrow_mut().close();
            if let Some(group) = &stream.group {
                group.submit();
            }
        }
        self.is_due.set(true);
        self.nudge.notify_one();
    }

    /// Answers those who still wait: nobody will say more.
    pub(super) fn end_waits(&self) {
        self.book.close();
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
        let mut is_awaited = false;
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
            is_awaited |= batcher.is_awaited();
        }
        self.is_awaited.set(is_awaited);
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
