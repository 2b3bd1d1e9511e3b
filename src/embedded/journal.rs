//! What a stream remembers of the records that it accepted, for tests that account for each.
//!
//! It is bounded by bytes and forgets the oldest first; how many it has forgotten is told. With a
//! bound of zero it keeps nothing.

use std::collections::VecDeque;

use serde::{Serialize, Serializer};

/// The id of an accepted record: unique over the lives of an emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordId {
    /// Random, one for each life.
    pub(super) life: u64,
    /// Counted within a life.
    pub(super) seq: u64,
}

impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}{:016x}", self.life, self.seq))
    }
}

/// One accepted record.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: RecordId,
    pub(super) data: Box<[u8]>,
    pub(super) encrypted: bool,
    /// The record was written, and then the answer was lost on purpose.
    pub(super) answer_lost: bool,
    /// Where in a data stream it stands, if it came by one.
    pub(super) origin: Option<Box<Origin>>,
}

/// The place of a record in a data stream.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) shard: u32,
    pub(super) sequence: u128,
    pub(super) partition_key: Box<str>,
    pub(super) arrived_ms: u64,
}

/// The accepted records of one stream, the newest at the end.
#[derive(Debug)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    forgotten: u64,
}

impl Journal {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max, forgotten: 0 }
    }

    /// Whether it keeps anything, so that nobody copies a record for nothing.
    pub(super) fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes = self.bytes.saturating_add(cost(&entry));
        self.entries.push_back(entry);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(cost(&oldest));
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    /// How many records are no longer here: the position of the first that is.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The position of the next record.
    pub(super) fn next_position(&self) -> u64 {
        self.forgotten.saturating_add(u64::try_from(self.entries.len()).unwrap_or(u64::MAX))
    }

    /// The entries from a position on, counted from the first record ever accepted.
    pub(super) fn from(&self, position: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let skipped = position.saturating_sub(self.forgotten);
        let first = self.forgotten.saturating_add(skipped);
        self.entries
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
            .zip(first..)
            .map(|(entry, position)| (position, entry))
    }
}

fn cost(entry: &Entry) -> usize {
    let origin = entry.origin.as_ref();
    let origin = origin.map_or(0, |origin| size_of::<Origin>() + origin.partition_key.len());
    entry.data.len().saturating_add(size_of::<Entry>()).saturating_add(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Entry {
        let id = RecordId { life: 7, seq };
        let data = Box::from([b'x'; 100]);
        Entry { id, data, encrypted: false, answer_lost: false, origin: None }
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_positions_stay() {
        let mut journal = Journal::new(3 * cost(&entry(0)));
        (0..5).for_each(|seq| journal.push(entry(seq)));
        assert_eq!((journal.forgotten(), journal.next_position()), (2, 5));
        let positions = |from| journal.from(from).map(|(p, e)| (p, e.id.seq)).collect::<Vec<_>>();
        assert_eq!(positions(0), [(2, 2), (3, 3), (4, 4)]);
        assert_eq!(positions(4), [(4, 4)]);
        assert_eq!(positions(9), []);
    }

    #[test]
    fn a_record_id_is_text_of_a_fixed_length() {
        let text = serde_json::to_string(&RecordId { life: 1, seq: 255 }).unwrap();
        assert_eq!(text, "\"000000000000000100000000000000ff\"");
    }
}
