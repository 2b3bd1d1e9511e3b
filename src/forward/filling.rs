//! A request that is being filled: which records go into it, and into which blob each.
//!
//! Pure. It takes records in the order in which they are offered, until one does not fit. It knows no queues.

use std::time::Instant;

use super::blobs::{Joining, Layout, Space};
use super::held::Held;
use super::plan::pick;
use super::request::{Blobs, Bounds, Pick};

/// See the module.
pub(super) struct Filling<'a> {
    bounds: Bounds,
    picks: Vec<Pick>,
    bytes: usize,
    /// Without one each record goes by itself, as it is.
    joined: Option<(&'a mut Joining, Layout)>,
}

impl<'a> Filling<'a> {
    /// A request of nothing, whose records are joined like this, if they are.
    pub(super) fn new(bounds: Bounds, joining: Option<&'a mut Joining>) -> Self {
        let joined = joining.map(|joining| (joining, Layout::default()));
        Self { bounds, picks: Vec::new(), bytes: 0, joined }
    }

    /// Adds what may be sent of a batch. Says whether all of that went in.
    pub(super) fn add(&mut self, id: u64, held: &Held, now: Instant) -> bool {
        for (index, record) in held.due(Some(now)) {
            if self.bytes > self.bounds.bytes_max {
                // A single larger record goes alone, without even one that is empty.
                return false;
            }
            let more = match &mut self.joined {
                None => self.alone(record),
                Some((joining, layout)) => {
                    let space = Space {
                        blobs_max: self.bounds.records_max,
                        bytes_left: self.bounds.bytes_max.saturating_sub(self.bytes),
                    };
                    layout.place(joining, record, held.batch.key(index), space)
                }
            };
            let Some(more) = more else { return false };
            self.bytes += more;
            self.picks.push(pick(id, index, record.len()));
        }
        true
    }

    /// How many bytes of the request a record takes that goes by itself, if there is room for it.
    fn alone(&self, record: &[u8]) -> Option<usize> {
        let bytes = record.len() + self.bounds.record_bytes_more;
        let is_full = self.picks.len() >= self.bounds.records_max
            || (!self.picks.is_empty() && self.bytes + bytes > self.bounds.bytes_max);
        (!is_full).then_some(bytes)
    }

    /// Whether nothing went in.
    pub(super) const fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// What went in, and its blobs, if there are any.
    pub(super) fn finish(self) -> (Vec<Pick>, Option<Blobs>) {
        let blobs = self.joined.map(|(joining, layout)| layout.finish(joining));
        (self.picks, blobs)
    }
}
