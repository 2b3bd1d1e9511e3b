//! The closed batch: what crosses threads, and what the forwarder settles.
//!
//! It owns the records that are not settled yet, and the memory they take. A record leaves it settled,
//! by [`Batch::retain`] or [`Batch::settle`], and may be counted as that before, by [`Batch::note_settled`];
//! one that is still there when the batch is dropped is lost, and the lane counts it as that, unless it
//! lies in the spool too ([`Batch::origin`]) or was never accepted. It sends nothing.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::arena::{Arena, BATCH_BYTES};
use super::budget::Reservation;
use super::lane::Lane;
use super::partition::PartitionKeys;
use super::pool::ChunkPool;
use super::receipt::Ticket;

/// Where the records of a batch lie in the spool of their stream: in which frame of which segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The id of the segment.
    pub segment: u64,
    /// The index of the frame in it.
    pub frame: u32,
}

/// Who answers for the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// They are not accepted yet: their senders wait until the spool has them.
    Unaccepted,
    /// They are accepted and in memory alone.
    InMemory,
    /// The spool has them: what happens to this copy loses none.
    Spooled(Origin),
}

/// Records of one stream, closed: nothing is added any more.
#[derive(Debug)]
pub struct Batch {
    lane: Arc<Lane>,
    arena: Arena,
    opened_at: Instant,
    leaves_at: Option<Instant>,
    standing: Standing,
    /// Who waits until the spool has the batch.
    parts: Vec<Ticket>,
    /// Records that are counted as settled and are still in their places.
    noted: usize,
    is_settled: bool,
    /// Whether it was read out of the spool.
    is_backlog: bool,
    /// Whether the lane counts it among those with something to deliver.
    is_outstanding: bool,
}

const _: () =
    assert!(size_of::<Batch>() <= BATCH_BYTES / 2, "a batch and what is kept of it are paid for");

impl Batch {
    /// A batch of accepted records.
    pub(super) fn new(lane: Arc<Lane>, arena: Arena, opened_at: Instant) -> Self {
        lane.add_batch();
        Self {
            lane,
            arena,
            opened_at,
            leaves_at: None,
            standing: Standing::InMemory,
            parts: Vec::new(),
            noted: 0,
            is_settled: false,
            is_backlog: false,
            is_outstanding: true,
        }
    }

    /// A batch whose records are accepted when the spool has them, and then leave at `leaves_at`.
    pub(super) fn unaccepted(
        lane: Arc<Lane>,
        arena: Arena,
        opened_at: Instant,
        leaves_at: Instant,
        parts: Vec<Ticket>,
    ) -> Self {
        let mut batch = Self::new(lane, arena, opened_at);
        batch.leaves_at = Some(leaves_at);
        batch.standing = Standing::Unaccepted;
        batch.parts = parts;
        // It lingers behind the disk: who waits for a delivery does not wait for that.
        batch.set_aside();
        batch
    }

    /// A batch that was read out of the spool: records in `bytes`, each with its number in the frame.
    ///
    /// It is paid for by `room`, which becomes as large as it has to be. Nobody waits for it.
    #[must_use]
    pub fn of_frame(
        lane: Arc<Lane>,
        room: Reservation,
        origin: Origin,
        opened_at: Instant,
        bytes: Vec<u8>,
        records: impl Iterator<Item = (Range<usize>, u16)>,
    ) -> Self {
        let arena = Arena::of_frame(room, &ChunkPool::new(), bytes, records);
        let mut batch = Self::new(lane, arena, opened_at);
        batch.standing = Standing::Spooled(origin);
        batch.is_backlog = true;
        // Who waits until nothing is outstanding does not wait for what is older than its wait.
        batch.set_aside();
        batch
    }

    /// The same, where the records of the frame have these partition keys, by their numbers.
    #[must_use]
    pub fn with_frame_keys(mut self, of_frame: &PartitionKeys) -> Self {
        self.arena.take_frame_keys(of_frame);
        self
    }

    /// The stream that the records are for.
    #[must_use]
    pub const fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// When the oldest record was accepted.
    #[must_use]
    pub const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Until when it waits for others to be sent with, if it has not waited already.
    #[must_use]
    pub const fn leaves_at(&self) -> Option<Instant> {
        self.leaves_at
    }

    /// Where the records lie in the spool, if they do.
    #[must_use]
    pub const fn origin(&self) -> Option<Origin> {
        match self.standing {
            Standing::Spooled(origin) => Some(origin),
            Standing::Unaccepted | Standing::InMemory => None,
        }
    }

    /// Whether it was read out of the spool, and is not fresh from the application.
    #[must_use]
    pub const fn is_backlog(&self) -> bool {
        self.is_backlog
    }

    /// How many records are not settled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether all records are settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the records that are not settled, before base64.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// The memory that the batch holds reserved, in bytes, without bodies that other batches share.
    #[must_use]
    pub const fn reserved_bytes(&self) -> usize {
        self.arena.reserved_bytes()
    }

    /// The records that are not settled, in their order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.arena.records()
    }

    /// The partition key of the record at `index`, if it came with one. It is no part of the record's bytes.
    #[must_use]
    pub fn key(&self, index: usize) -> Option<&str> {
        self.arena.partition_keys().get(index)
    }

    /// The partition keys of the records that are not settled.
    #[must_use]
    pub const fn partition_keys(&self) -> &PartitionKeys {
        self.arena.partition_keys()
    }

    /// Who waits for which record: the record's index now, and the ticket.
    pub fn tickets(&self) -> impl Iterator<Item = (usize, Ticket)> {
        self.arena.tickets().iter().map(|(index, ticket)| (*index as usize, *ticket))
    }

    /// Who waits until the spool has the batch, taken out.
    #[must_use]
    pub fn take_parts(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.parts)
    }

    /// What the record at `index` is called in the spool: its number in the frame, if the frame has it.
    #[must_use]
    pub fn number(&self, index: usize) -> Option<u16> {
        self.arena.number(index)
    }

    /// Numbers the records that are about to be spooled: those that `is_in` says yes to, from 0 on.
    ///
    /// The numbers stay with their records when others go. A fresh batch is numbered throughout.
    pub fn number_records(&mut self, is_in: impl Fn(usize) -> bool) {
        self.arena.number_records(is_in);
    }

    /// The spool has the records that are not settled. Those that were not accepted are from now on.
    pub fn secure(&mut self, origin: Origin) {
        match self.standing {
            Standing::Unaccepted => self.lane.accept(self.arena.len(), self.arena.bytes()),
            Standing::InMemory => self.lane.settle_records(self.arena.len() - self.noted),
            Standing::Spooled(_) => {}
        }
        self.standing = Standing::Spooled(origin);
    }

    /// Counts so many records as settled, which stay in their places until [`Batch::retain`] lets them go.
    pub fn note_settled(&mut self, records: usize) {
        self.count_settled(records);
        self.noted += records;
    }

    /// Keeps only the records that `keep` says yes to; the others are settled, noted or not.
    pub fn retain(&mut self, keep: impl FnMut(usize) -> bool) {
        let before = self.arena.len();
        self.arena.retain(keep);
        let settled = before - self.arena.len();
        let noted = self.noted.min(settled);
        self.noted -= noted;
        self.count_settled(settled - noted);
    }

    /// Says that what is left is set aside: it stays, and nobody waits for its delivery.
    pub fn set_aside(&mut self) {
        if std::mem::take(&mut self.is_outstanding) {
            self.lane.drop_batch();
        }
    }

    /// Says that all of its records are settled.
    pub fn settle(mut self) {
        self.is_settled = true;
        self.count_settled(self.arena.len() - self.noted);
    }

    /// Counts records that were in memory alone as being there no more.
    fn count_settled(&self, records: usize) {
        if self.standing == Standing::InMemory {
            self.lane.settle_records(records);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.is_settled && self.standing == Standing::InMemory {
            self.lane.lose_records(self.arena.len(), self.arena.bytes());
        }
        if self.is_outstanding {
            self.lane.drop_batch();
        }
    }
}
