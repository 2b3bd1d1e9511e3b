//! The piece: what a record is made of when it is put into an arena, and the body that pieces can share.
//!
//! Plain data. It copies nothing and reserves nothing.

use std::ops::Range;
use std::sync::Arc;

use super::budget::Reservation;

/// A whole body in one buffer that the records cut from it share.
#[derive(Debug)]
pub struct SharedBody {
    bytes: Vec<u8>,
    _room: Reservation,
}

impl SharedBody {
    /// A body whose capacity is paid for by `room`.
    #[must_use]
    pub fn new(bytes: Vec<u8>, room: Reservation) -> Arc<Self> {
        Arc::new(Self { bytes, _room: room })
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What a record is made of when it is put into an arena.
#[derive(Debug, Clone)]
pub enum Piece<'a> {
    /// These bytes, copied, and behind them the delimiter if there is one.
    Copy(&'a [u8], Option<u8>),
    /// These bytes of a shared body, as they stand.
    Slice(&'a Arc<SharedBody>, Range<usize>),
}

impl Piece<'_> {
    /// How many bytes the record will have.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Copy(bytes, delimiter) => bytes.len() + usize::from(delimiter.is_some()),
            Self::Slice(_, range) => range.len(),
        }
    }

    /// Whether the record will have no bytes. The service takes such records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
