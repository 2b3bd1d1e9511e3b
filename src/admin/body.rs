//! The body of an answer: handed out in pieces, so that what clients leave untaken can be bounded.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Bytes that are whole in memory, and the room that they take there until they are sent.
pub(super) struct Held {
    left: Bytes,
    room: Option<OwnedSemaphorePermit>,
}

impl Held {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self { left: bytes, room: None }
    }

    pub(super) const fn len(&self) -> usize {
        self.left.len()
    }

    /// Keeps `room` taken until the last piece is handed out.
    pub(super) fn keep(&mut self, room: OwnedSemaphorePermit) {
        self.room = Some(room);
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            self.room = None;
            return Poll::Ready(None);
        }
        let bytes = self.left.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        // On every platform that has a network, a usize fits.
        SizeHint::with_exact(u64::try_from(self.left.len()).unwrap_or(u64::MAX))
    }
}

/// What is handed out at once. The connection takes the next piece when this one has left its buffer.
const PIECE_BYTES: usize = 16 * 1024;
