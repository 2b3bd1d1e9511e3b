//! The arena: the record bytes of one batch, one behind the other, where each begins, and its partition key.
//!
//! Small records are copied into chunks, so that none of them pins the read buffer that it came in. A
//! large body keeps its own exact buffer and is shared by the records that were cut from it. Every
//! byte of capacity is reserved before it is allocated. It decides nothing: the batcher does.

mod growth;
mod shrink;

use std::ops::Range;
use std::sync::Arc;

pub(super) use growth::capacity_for;
use growth::make_room;

use super::budget::{NoRoom, Reservation, Share};
use super::partition::{PartitionKeys, Sizes};
use super::piece::{Piece, SharedBody};
use super::pool::{CHUNK_BYTES_MAX, ChunkPool};
use super::receipt::Ticket;
use crate::record::BATCH_RECORDS_MAX;

/// The smallest chunk, in bytes. A trickle of records costs little more.
const CHUNK_BYTES_MIN: usize = 1024;

/// A record of at least as many bytes gets a buffer of its own, so that a chunk's unused tail stays small.
const OWN_BUFFER_BYTES_MIN: usize = CHUNK_BYTES_MAX / 16;

/// What a batch costs beside what its arena holds, in bytes: itself, and its place with whoever has it.
pub(super) const BATCH_BYTES: usize = 1024;

/// For how many records there are places at first, for how many of them somebody may wait, and in how many
/// chunks they may lie. All of it grows with what there is, and is paid for as it grows.
const PLACES_MIN: usize = 16;
const TICKETS_MIN: usize = 4;
const CHUNKS_MIN: usize = 4;

/// What an arena without records takes. It is reserved at once, so that a batch of one record asks for memory
/// no more often than it has to.
const EMPTY_BYTES: usize =
    BATCH_BYTES + PLACES_MIN * size_of::<Place>() + CHUNKS_MIN * size_of::<Chunk>();

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    bytes: u32,
    chunk: u16,
    /// What the record is called in the spool: its place in its frame. It stays when others go.
    number: u16,
}

/// The number of a record that the batch's frame does not have.
const NO_NUMBER: u16 = u16::MAX;

const _: () =
    assert!(BATCH_RECORDS_MAX < NO_NUMBER as usize, "every record of a batch has a number");

#[derive(Debug)]
enum Chunk {
    Copied(Vec<u8>),
    Shared(Arc<SharedBody>),
}

impl Chunk {
    /// A chunk of our own can be used again; a body is shared with others.
    fn go_to(self, pool: &ChunkPool) {
        if let Self::Copied(bytes) = self {
            pool.give(bytes);
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(body) => body.bytes(),
        }
    }
}

/// Record bytes and their places. See the module.
#[derive(Debug)]
pub(super) struct Arena {
    room: Reservation,
    pool: ChunkPool,
    chunks: Vec<Chunk>,
    places: Vec<Place>,
    /// Which records somebody waits for, in the order of the records.
    tickets: Vec<(u32, Ticket)>,
    partition_keys: PartitionKeys,
    bytes: usize,
    /// The capacity of the chunks that are its own.
    chunk_bytes: usize,
    first_chunk_bytes: usize,
}

/// A state of an arena to which it can go back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    chunks: usize,
    places: usize,
    tickets: usize,
    chunk_bytes: usize,
    last_chunk_bytes: usize,
    partition_keys: Sizes,
    bytes: usize,
}

impl Arena {
    /// An empty arena that expects about `expected_bytes`.
    pub(super) fn new(
        share: &Arc<Share>,
        pool: &ChunkPool,
        expected_bytes: usize,
    ) -> Result<Self, NoRoom> {
        Ok(Self {
            room: share.reserve(EMPTY_BYTES)?,
            pool: pool.clone(),
            chunks: Vec::with_capacity(CHUNKS_MIN),
            places: Vec::with_capacity(PLACES_MIN),
            tickets: Vec::new(),
            partition_keys: PartitionKeys::default(),
            bytes: 0,
            chunk_bytes: 0,
            first_chunk_bytes: expected_bytes
                .next_power_of_two()
                .clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
        })
    }

    /// An arena of records that lie in `bytes`, each with its start, its length and its number, paid for by
    /// `room`, which becomes as large as it has to be. A record outside of `bytes` is left out.
    pub(super) fn of_frame(
        room: Reservation,
        pool: &ChunkPool,
        bytes: Vec<u8>,
        records: impl Iterator<Item = (Range<usize>, u16)>,
    ) -> Self {
        let mut places = Vec::new();
        let mut sum = 0;
        for (range, number) in records.filter(|(range, _)| bytes.get(range.clone()).is_some()) {
            if let (Ok(start), Ok(length)) = (range.start.try_into(), range.len().try_into()) {
                sum += range.len();
                places.push(Place { start, bytes: length, chunk: 0, number });
            }
        }
        let chunk_bytes = bytes.capacity();
        let mut arena = Self {
            room,
            pool: pool.clone(),
            chunks: vec![Chunk::Copied(bytes)],
            places,
            tickets: Vec::new(),
            partition_keys: PartitionKeys::default(),
            bytes: sum,
            chunk_bytes,
            first_chunk_bytes: CHUNK_BYTES_MIN,
        };
        arena.pay_anyway();
        arena
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The bytes of all records together.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is reserved for this arena, in bytes, without the shared bodies.
    pub(super) const fn reserved_bytes(&self) -> usize {
        self.room.bytes()
    }

    /// The records in their order.
    pub(super) fn records(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.places.iter().map(|place| self.record(*place))
    }

    /// What the record at `index` is called in the spool, if its frame has it.
    pub(super) fn number(&self, index: usize) -> Option<u16> {
        self.places.get(index).map(|place| place.number).filter(|number| *number != NO_NUMBER)
    }

    /// Numbers the records that `is_in` says yes to from 0 on, in their order; the others have no number.
    pub(super) fn number_records(&mut self, is_in: impl Fn(usize) -> bool) {
        let mut next = 0;
        for (index, place) in self.places.iter_mut().enumerate() {
            place.number = NO_NUMBER;
            if is_in(index) {
                place.number = next;
                next += 1;
            }
        }
    }

    /// The partition keys of the records, by their index.
    pub(super) const fn partition_keys(&self) -> &PartitionKeys {
        &self.partition_keys
    }

    /// Gives the records their keys out of those of their frame, by their numbers in it.
    pub(super) fn take_frame_keys(&mut self, of_frame: &PartitionKeys) {
        if of_frame.is_empty() {
            return;
        }
        let keys = self.places.iter().map(|place| of_frame.get(usize::from(place.number)));
        self.partition_keys = PartitionKeys::collect(keys);
        self.pay_anyway();
    }

    /// Who waits for which record, in the order of the records.
    pub(super) fn tickets(&self) -> &[(u32, Ticket)] {
        &self.tickets
    }

    /// Adds a record at the end.
    ///
    /// Fails when there is no room for it; the records are as before then.
    pub(super) fn push(
        &mut self,
        piece: &Piece<'_>,
        key: Option<&str>,
        ticket: Option<Ticket>,
    ) -> Result<(), NoRoom> {
        let index = self.places.len();
        make_room(&mut self.places, &mut self.room, PLACES_MIN)?;
        if ticket.is_some() {
            make_room(&mut self.tickets, &mut self.room, TICKETS_MIN)?;
        }
        if let Some(key) = key {
            self.make_room_for_key(index, key)?;
        }
        let place = match piece {
            Piece::Copy(bytes, delimiter) => self.copy(bytes, *delimiter)?,
            Piece::Slice(body, range) => self.adopt(body, range)?,
        };
        if let Some(ticket) = ticket {
            self.tickets.push((u32::from(place.number), ticket));
        }
        if let Some(key) = key {
            self.partition_keys.set(index, key);
        }
        self.places.push(place);
        self.bytes += piece.len();
        debug_assert!(self.is_paid(), "{self:?}");
        Ok(())
    }

    fn make_room_for_key(&mut self, index: usize, key: &str) -> Result<(), NoRoom> {
        self.room.grow(self.partition_keys.missing_bytes(index, key))?;
        self.partition_keys.reserve(index, key);
        Ok(())
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            chunks: self.chunks.len(),
            places: self.places.len(),
            tickets: self.tickets.len(),
            chunk_bytes: self.chunk_bytes,
            last_chunk_bytes: self.chunks.last().map_or(0, |chunk| chunk.bytes().len()),
            partition_keys: self.partition_keys.mark(),
            bytes: self.bytes,
        }
    }

    /// Takes back all that came after `mark`, and gives back the memory that it took.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        for chunk in self.chunks.drain(mark.chunks..) {
            chunk.go_to(&self.pool);
        }
        if let Some(Chunk::Copied(bytes)) = self.chunks.last_mut() {
            bytes.truncate(mark.last_chunk_bytes);
        }
        self.places.truncate(mark.places);
        self.tickets.truncate(mark.tickets);
        self.chunks.shrink_to(capacity_for(mark.chunks.max(1), CHUNKS_MIN));
        self.places.shrink_to(capacity_for(mark.places.max(1), PLACES_MIN));
        self.tickets.shrink_to(capacity_for(mark.tickets, TICKETS_MIN));
        self.partition_keys.roll_back(mark.partition_keys);
        self.bytes = mark.bytes;
        self.chunk_bytes = mark.chunk_bytes;
        self.room.shrink_to(self.needed_bytes());
        debug_assert!(self.is_paid(), "{self:?}");
    }

    /// What it takes, in bytes: all of this is reserved.
    const fn needed_bytes(&self) -> usize {
        BATCH_BYTES
            + self.chunk_bytes
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.places.capacity() * size_of::<Place>()
            + self.tickets.capacity() * size_of::<(u32, Ticket)>()
            + self.partition_keys.capacity_bytes()
    }

    /// Whether what it takes is what is reserved for it, to the byte.
    fn is_paid(&self) -> bool {
        let own = |chunk: &Chunk| match chunk {
            Chunk::Copied(bytes) => bytes.capacity(),
            Chunk::Shared(_) => 0,
        };
        self.chunk_bytes == self.chunks.iter().map(own).sum::<usize>()
            && self.needed_bytes() == self.room.bytes()
    }

    /// Pays for what is there already, beyond the bound if need be.
    fn pay_anyway(&mut self) {
        self.room.grow_anyway(self.needed_bytes().saturating_sub(self.room.bytes()));
    }

    fn record(&self, place: Place) -> &[u8] {
        let start = place.start as usize;
        self.chunks
            .get(place.chunk as usize)
            .and_then(|chunk| chunk.bytes().get(start..start + place.bytes as usize))
            .expect(
                "a place lies inside its chunk: chunks only grow, and go only with their places",
            )
    }

    fn copy(&mut self, record: &[u8], delimiter: Option<u8>) -> Result<Place, NoRoom> {
        let bytes = record.len() + usize::from(delimiter.is_some());
        let chunk = match self.chunks.last_mut() {
            Some(Chunk::Copied(chunk)) if chunk.capacity() - chunk.len() >= bytes => chunk,
            _ => self.add_chunk(bytes)?,
        };
        let start = chunk.len();
        chunk.extend_from_slice(record);
        chunk.extend(delimiter);
        self.last_place(start, bytes)
    }

    fn add_chunk(&mut self, bytes: usize) -> Result<&mut Vec<u8>, NoRoom> {
        let capacity = if bytes >= OWN_BUFFER_BYTES_MIN {
            bytes
        } else if self.chunks.is_empty() {
            self.first_chunk_bytes.max(bytes.next_power_of_two())
        } else {
            // As much as there is already: a batch that is half full takes half of a full one at most.
            let wanted = self.chunk_bytes.max(bytes).next_power_of_two();
            wanted.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
        };
        make_room(&mut self.chunks, &mut self.room, CHUNKS_MIN)?;
        self.room.grow(capacity)?;
        self.chunk_bytes += capacity;
        let chunk = self.pool.take(capacity);
        match self.chunks.push_mut(Chunk::Copied(chunk)) {
            Chunk::Copied(chunk) => Ok(chunk),
            Chunk::Shared(_) => Err(NoRoom),
        }
    }

    fn adopt(&mut self, body: &Arc<SharedBody>, range: &Range<usize>) -> Result<Place, NoRoom> {
        let known =
            matches!(self.chunks.last(), Some(Chunk::Shared(last)) if Arc::ptr_eq(last, body));
        if !known {
            make_room(&mut self.chunks, &mut self.room, CHUNKS_MIN)?;
            self.chunks.push(Chunk::Shared(Arc::clone(body)));
        }
        self.last_place(range.start, range.len())
    }

    fn last_place(&self, start: usize, bytes: usize) -> Result<Place, NoRoom> {
        let narrow = |wide: usize| u32::try_from(wide).map_err(|_| NoRoom);
        let short = |wide: usize| u16::try_from(wide).map_err(|_| NoRoom);
        Ok(Place {
            start: narrow(start)?,
            bytes: narrow(bytes)?,
            chunk: short(self.chunks.len().saturating_sub(1))?,
            number: short(self.places.len())?,
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for chunk in self.chunks.drain(..) {
            chunk.go_to(&self.pool);
        }
    }
}
