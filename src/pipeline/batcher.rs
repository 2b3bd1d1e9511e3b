//! The batcher: fills one open batch of one stream on one worker, and closes it.
//!
//! A batch closes when it is full by records or bytes, or when its linger time is over. A request's
//! records go in through an [`Entry`]: all of them or none, and only a committed entry can leave. One kind
//! of batcher fills batches that are accepted at once; the other one's are accepted when the spool has
//! them, and linger behind it. It is pure: it is given `now`, and what it closed is taken out of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arena::{Arena, Mark};
use super::batch::Batch;
use super::budget::NoRoom;
use super::lane::Lane;
use super::piece::Piece;
use super::pool::ChunkPool;
use super::receipt::{Receipt, Ticket};
use crate::record::PartitionKey;

/// When a batch closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most records in a batch: 1 to 500.
    pub batch_records_max: usize,
    /// The most raw bytes in a batch: up to 4 MiB. A single larger record goes alone.
    pub batch_bytes_max: usize,
    /// How long the first record of a batch waits for others at most.
    pub linger: Duration,
    /// How much the linger time is shortened at random, in percent, so that a fleet does not send in step.
    pub linger_jitter_percent: u8,
}

/// The open batch of one stream on one worker. See the module.
#[derive(Debug)]
pub struct Batcher {
    lane: Arc<Lane>,
    limits: Limits,
    pool: ChunkPool,
    /// Whether records are accepted only when the spool has them.
    is_durable: bool,
    /// How long a record lingers at most whose delivery somebody waits for, if that is bounded.
    awaited_linger: Option<Duration>,
    open: Option<Open>,
    /// Closed and not yet taken, oldest first.
    closed: VecDeque<Open>,
    /// How large the last batch became: the next one is likely to be alike.
    expected_bytes: usize,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Open {
    arena: Arena,
    opened_at: Instant,
    leaves_at: Instant,
    /// Whether somebody waits until its records are delivered.
    is_awaited: bool,
    /// Who waits until the spool has it.
    parts: Vec<Ticket>,
}

/// How the open batch was before an entry.
#[derive(Debug, Clone, Copy)]
struct Before {
    mark: Mark,
    is_awaited: bool,
    leaves_at: Instant,
}

impl Batcher {
    /// A batcher with no open batch.
    #[must_use]
    pub fn new(lane: Arc<Lane>, limits: Limits, pool: ChunkPool) -> Self {
        let random = fastrand::Rng::new();
        let closed = VecDeque::new();
        Self {
            lane,
            limits,
            pool,
            is_durable: false,
            awaited_linger: None,
            open: None,
            closed,
            expected_bytes: 0,
            random,
        }
    }

    /// The same, where a record whose delivery somebody waits for lingers no longer than this.
    #[must_use]
    pub const fn awaited_for(mut self, linger: Duration) -> Self {
        self.awaited_linger = Some(linger);
        self
    }

    /// A batcher for records that are accepted only when the spool has them.
    #[must_use]
    pub fn durable(lane: Arc<Lane>, limits: Limits, pool: ChunkPool) -> Self {
        let mut batcher = Self::new(lane, limits, pool);
        batcher.is_durable = true;
        batcher
    }

    /// The stream's lane.
    #[must_use]
    pub const fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Begins to take the records of one request.
    pub fn entry(&mut self, now: Instant) -> Entry<'_> {
        let before = self.open.as_ref().map(|open| Before {
            mark: open.arena.mark(),
            is_awaited: open.is_awaited,
            leaves_at: open.leaves_at,
        });
        let closed_before = self.closed.len();
        Entry {
            batcher: self,
            now,
            before,
            closed_before,
            key: None,
            records: 0,
            bytes: 0,
            is_committed: false,
        }
    }

    /// When the open batch has lingered long enough, if there is one.
    #[must_use]
    pub fn leaves_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.leaves_at)
    }

    /// Whether somebody waits for the delivery of a record in the open batch.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_awaited)
    }

    /// Closes the open batch if its time is over.
    pub fn close_if_due(&mut self, now: Instant) {
        if self.leaves_at().is_some_and(|at| at <= now) {
            self.close();
        }
    }

    /// Closes the open batch, if there is one.
    pub fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.expected_bytes = open.arena.bytes();
            self.closed.push_back(open);
        }
    }

    /// Takes the oldest closed batch out.
    pub fn take_closed(&mut self) -> Option<Batch> {
        let Open { arena, opened_at, leaves_at, is_awaited, parts } = self.closed.pop_front()?;
        let lane = Arc::clone(&self.lane);
        if !self.is_durable {
            return Some(Batch::new(lane, arena, opened_at));
        }
        let leaves_at = if is_awaited { opened_at } else { leaves_at };
        Some(Batch::unaccepted(lane, arena, opened_at, leaves_at, parts))
    }

    fn push(
        &mut self,
        piece: &Piece<'_>,
        key: Option<&str>,
        ticket: Option<Ticket>,
        now: Instant,
    ) -> Result<(), NoRoom> {
        let is_full = self.open.as_ref().is_some_and(|open| {
            open.arena.len() >= self.limits.batch_records_max
                || open.arena.bytes() + piece.len() > self.limits.batch_bytes_max
        });
        if is_full {
            self.close();
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let leaves_at = now + self.next_linger();
                let arena = Arena::new(self.lane.share(), &self.pool, self.expected_bytes)?;
                let parts = Vec::new();
                self.open.insert(Open {
                    arena,
                    opened_at: now,
                    leaves_at,
                    is_awaited: false,
                    parts,
                })
            }
        };
        open.arena.push(piece, key, ticket)?;
        if ticket.is_some() && !open.is_awaited {
            open.is_awaited = true;
            let at = self.awaited_linger.map(|linger| now + linger);
            open.leaves_at = at.map_or(open.leaves_at, |at| at.min(open.leaves_at));
        }
        Ok(())
    }

    fn next_linger(&mut self) -> Duration {
        let most = f64::from(self.limits.linger_jitter_percent.min(100)) / 100.0;
        self.limits.linger.mul_f64(1.0 - most * self.random.f64())
    }

    /// Undoes an entry that began at `before` when `closed_before` batches were closed.
    fn undo(&mut self, before: Option<Before>, closed_before: usize) {
        // The batch that was open then is the first that was closed since, or still the open one.
        if self.closed.len() > closed_before {
            let mut since = self.closed.drain(closed_before..);
            self.open = since.next();
        }
        match before {
            None => self.open = None,
            Some(Before { mark, is_awaited, leaves_at }) => {
                if let Some(open) = &mut self.open {
                    open.arena.roll_back(mark);
                    (open.is_awaited, open.leaves_at) = (is_awaited, leaves_at);
                }
            }
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        if self.is_durable {
            // Nobody was told that they are accepted.
            return;
        }
        for open in self.open.iter().chain(&self.closed) {
            self.lane.lose_records(open.arena.len(), open.arena.bytes());
        }
    }
}

/// The records of one request on their way in. Dropped without [`Entry::commit`], it was never there.
#[derive(Debug)]
pub struct Entry<'a> {
    batcher: &'a mut Batcher,
    now: Instant,
    before: Option<Before>,
    closed_before: usize,
    key: Option<PartitionKey>,
    records: usize,
    bytes: usize,
    is_committed: bool,
}

impl Entry<'_> {
    /// The records that are added from now on have this partition key.
    pub fn set_key(&mut self, key: Option<PartitionKey>) {
        self.key = key;
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`NoRoom`] when memory is full. What was added before is still there, so that the
    /// caller chooses between committing that and leaving nothing behind.
    pub fn push(&mut self, piece: &Piece<'_>, ticket: Option<Ticket>) -> Result<(), NoRoom> {
        let key = self.key.as_ref().map(PartitionKey::as_str);
        self.batcher.push(piece, key, ticket, self.now)?;
        self.records += 1;
        self.bytes += piece.len();
        Ok(())
    }

    /// How many records were added.
    #[must_use]
    pub const fn records(&self) -> usize {
        self.records
    }

    /// How many bytes were added, with delimiters.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Accepts the records. They are in memory from now on.
    pub fn commit(mut self) {
        self.batcher.lane.accept(self.records, self.bytes);
        self.batcher.lane.add_records(self.records);
        self.close_if_full();
    }

    /// Leaves the records to the spool, which accepts them: `receipt` waits for each batch they are in.
    ///
    /// Only for a batcher made with [`Batcher::durable`].
    pub fn commit_durable(mut self, receipt: &Receipt) {
        let since = self.batcher.closed.iter_mut().skip(self.closed_before);
        for open in since.chain(&mut self.batcher.open) {
            open.parts.push(receipt.part());
        }
        self.close_if_full();
    }

    fn close_if_full(&mut self) {
        self.is_committed = true;
        let limits = &self.batcher.limits;
        // A batch that can take nothing more need not wait for the record that finds it full.
        if self.batcher.open.as_ref().is_some_and(|open| {
            open.arena.len() >= limits.batch_records_max
                || open.arena.bytes() >= limits.batch_bytes_max
        }) {
            self.batcher.close();
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.is_committed {
            self.batcher.undo(self.before.take(), self.closed_before);
        }
    }
}
