//! Secured batches on their way to the forwarder: they go when there are enough for a request, or when one
//! of them has lingered, so that the forward thread is not woken for each disk sync.
//!
//! Pure: it is given `now`. What it holds is on disk and loses nothing if it is dropped.

use std::time::Instant;

use super::words::Word;
use crate::pipeline::Batch;
use crate::record::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Onward {
    batches: Vec<Word>,
    records: usize,
    /// What they take of the memory, in bytes.
    reserved_bytes: usize,
    leaves_at: Option<Instant>,
}

impl Onward {
    /// Takes a batch in.
    pub(super) fn push(&mut self, batch: Box<Batch>) {
        self.records += batch.len();
        self.reserved_bytes += batch.reserved_bytes();
        let leaves_at = batch.leaves_at().unwrap_or(batch.opened_at());
        self.leaves_at = Some(self.leaves_at.map_or(leaves_at, |at| at.min(leaves_at)));
        self.batches.push(Word::Batch(batch));
    }

    /// Takes out what is to go on now: everything, or nothing yet.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Word> {
        let is_due = self.records >= BATCH_RECORDS_MAX
            || self.reserved_bytes >= BATCH_BYTES_MAX
            || self.leaves_at.is_some_and(|at| at <= now);
        if is_due { self.take() } else { Vec::new() }
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Vec<Word> {
        std::mem::take(self).batches
    }

    /// How many records there are.
    pub(super) const fn records(&self) -> usize {
        self.records
    }

    /// When the first of them has lingered.
    pub(super) const fn leaves_at(&self) -> Option<Instant> {
        self.leaves_at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pipeline::testing::{lane, limits};
    use crate::pipeline::{Batcher, ChunkPool, Piece};

    #[test]
    fn batches_go_when_they_fill_a_request_or_when_the_first_has_lingered() {
        let lane = lane("demo", 1 << 24);
        let mut batcher = Batcher::durable(lane, limits(), ChunkPool::new());
        let start = Instant::now();
        let mut group = |at: Instant, records: usize| {
            let mut entry = batcher.entry(at);
            (0..records).for_each(|_| entry.push(&Piece::Copy(b"x", None), None).unwrap());
            let (_post, mut boxes) = crate::pipeline::post(1);
            let book = crate::pipeline::Book::new(boxes.remove(0));
            let share = std::sync::Arc::clone(crate::pipeline::testing::lane("r", 1 << 20).share());
            entry.commit_durable(&book.open(0, &share).unwrap());
            batcher.close();
            Box::new(batcher.take_closed().unwrap())
        };
        let mut onward = Onward::default();
        onward.push(group(start, 200));
        onward.push(group(start + Duration::from_millis(500), 299));
        assert!(onward.due(start).is_empty());
        assert_eq!(onward.leaves_at(), Some(start + Duration::from_secs(1)));
        onward.push(group(start, 1));
        assert_eq!(onward.due(start).len(), 3);
        assert_eq!(onward.leaves_at(), None);
        onward.push(group(start, 1));
        assert!(onward.due(start + Duration::from_millis(999)).is_empty());
        assert_eq!(onward.due(start + Duration::from_secs(1)).len(), 1);
    }
}
