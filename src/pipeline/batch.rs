//! The closed batch: what crosses threads, and what the forwarder settles.
//!
//! It owns the records that are not settled yet, and the memory they take. A record leaves it settled,
//! by [`Batch::retain`] or [`Batch::settle`], and may be counted as that before, by [`Batch::note_settled`];
//! one that is still there when the batch is dropped is lost, and the lane counts it as that. It sends
//! nothing.

use std::sync::Arc;
use std::time::Instant;

use super::arena::Arena;
use super::lane::Lane;
use super::receipt::Ticket;

/// Records of one stream, closed: nothing is added any more.
#[derive(Debug)]
pub struct Batch {
    lane: Arc<Lane>,
    arena: Arena,
    opened_at: Instant,
    /// Records that are counted as settled and are still in their places.
    noted: usize,
    is_settled: bool,
    /// Whether the lane counts it among those with something to deliver.
    is_outstanding: bool,
}

impl Batch {
    pub(super) fn new(lane: Arc<Lane>, arena: Arena, opened_at: Instant) -> Self {
        lane.add_batch();
        Self { lane, arena, opened_at, noted: 0, is_settled: false, is_outstanding: true }
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

    /// Who waits for which record: the record's index now, and the ticket.
    pub fn tickets(&self) -> impl Iterator<Item = (usize, Ticket)> {
        self.arena.tickets().iter().map(|(index, ticket)| (*index as usize, *ticket))
    }

    /// Counts so many records as settled, which stay in their places until [`Batch::retain`] lets them go.
    pub fn note_settled(&mut self, records: usize) {
        self.lane.settle_records(records);
        self.noted += records;
    }

    /// Keeps only the records that `keep` says yes to; the others are settled, noted or not.
    pub fn retain(&mut self, keep: impl FnMut(usize) -> bool) {
        let before = self.arena.len();
        self.arena.retain(keep);
        let settled = before - self.arena.len();
        let noted = self.noted.min(settled);
        self.noted -= noted;
        self.lane.settle_records(settled - noted);
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
        self.lane.settle_records(self.arena.len() - self.noted);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.is_settled {
            self.lane.lose_records(self.arena.len(), self.arena.bytes());
        }
        if self.is_outstanding {
            self.lane.drop_batch();
        }
    }
}
