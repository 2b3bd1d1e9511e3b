//! An arena that has become smaller: what is left of it, in buffers that are as large as that.
//!
//! It gives memory back and takes none but for slices of a body that is shared.

use super::{Arena, Chunk, Place};

impl Arena {
    /// An arena of just the records that `keep` names, with exact buffers.
    ///
    /// Its room is taken from what this arena had, so that it can not fail: it is never larger.
    pub(in crate::pipeline) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let kept: Vec<bool> = (0..self.places.len()).map(&mut keep).collect();
        let is_kept = |index: usize| kept.get(index).copied().unwrap_or(false);
        let mut tickets = Vec::new();
        let mut next = self.tickets.iter().peekable();
        let mut places = Vec::with_capacity(kept.iter().filter(|is_kept| **is_kept).count());
        for (index, place) in self.places.iter().enumerate() {
            while let Some((_, ticket)) = next.next_if(|(at, _)| *at as usize == index) {
                if is_kept(index) {
                    tickets.push((u32::try_from(places.len()).unwrap_or(u32::MAX), *ticket));
                }
            }
            if is_kept(index) {
                places.push(*place);
            }
        }
        self.bytes = places.iter().map(|place| place.bytes as usize).sum();
        self.partition_keys.retain(kept.len(), is_kept);
        self.places = places;
        tickets.shrink_to_fit();
        self.tickets = tickets;
        self.compact();
        self.room.shrink_to(self.needed_bytes());
        debug_assert!(self.is_paid(), "{self:?}");
    }

    /// Moves the records into one exact buffer when more than half of what they hold is unused.
    fn compact(&mut self) {
        let shared: usize = self
            .chunks
            .iter()
            .map(|chunk| match chunk {
                Chunk::Shared(body) => body.capacity(),
                Chunk::Copied(_) => 0,
            })
            .sum();
        let held = self.chunk_bytes + shared;
        if self.bytes > held / 2 {
            return;
        }
        let needed = self.needed_bytes() - self.chunk_bytes + self.bytes;
        if self.room.grow(needed.saturating_sub(self.room.bytes())).is_err() {
            // Only slices of a shared body can need room of their own. They stay where they are.
            return;
        }
        let mut exact = Vec::with_capacity(self.bytes);
        let mut places = Vec::with_capacity(self.places.len());
        for place in &self.places {
            let start = u32::try_from(exact.len()).unwrap_or(u32::MAX);
            exact.extend_from_slice(self.record(*place));
            places.push(Place { chunk: 0, start, ..*place });
        }
        for chunk in self.chunks.drain(..) {
            chunk.go_to(&self.pool);
        }
        self.chunks.push(Chunk::Copied(exact));
        self.chunks.shrink_to_fit();
        self.places = places;
        self.chunk_bytes = self.bytes;
    }
}
