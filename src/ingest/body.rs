//! Reading a body: bounded in bytes and time, and paid for out of the memory budget.
//!
//! A body that lies in the read buffer as a whole is not copied. A larger one is collected into an
//! exact buffer, since a piece of the read buffer would pin all of it. It knows nothing of records.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use super::refusal::Refusal;
use crate::pipeline::{Reservation, Share};

/// What is read on beyond a refusal, so that the answer is not lost to a connection reset.
const DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long is read on beyond a refusal.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// How much a buffer grows by when nobody said how long the body is.
const GROWTH_BYTES: usize = 64 * 1024;

/// A body that has arrived.
#[derive(Debug)]
pub(super) enum Body {
    /// It lies in the read buffer, which it pins: to be copied from and dropped at once.
    Small(Bytes),
    /// It has a buffer of its own with a byte to spare, which is paid for.
    Large(Vec<u8>, Reservation),
}

impl Body {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Large(bytes, _) => bytes,
        }
    }
}

/// Reads a body of at most `bytes_max` within `limit`.
pub(super) async fn read(
    incoming: &mut Incoming,
    bytes_max: usize,
    limit: Duration,
    share: &Arc<Share>,
) -> Result<Body, Refusal> {
    let mut whole = pin!(read_on(incoming, bytes_max, share));
    // Most bodies are there with their head: no timer is set for those.
    let at_once = std::future::poll_fn(|cx| match whole.as_mut().poll(cx) {
        Poll::Ready(body) => Poll::Ready(Some(body)),
        Poll::Pending => Poll::Ready(None),
    });
    match at_once.await {
        Some(body) => body,
        None => tokio::time::timeout(limit, whole).await.unwrap_or(Err(Refusal::SlowBody(limit))),
    }
}

/// Reads what is left of a body that nobody wants, as far as that is bounded.
pub(super) async fn drain(incoming: &mut Incoming) {
    if incoming.is_end_stream() {
        return;
    }
    let all = async {
        let mut bytes = 0;
        while bytes <= DRAIN_BYTES_MAX {
            match incoming.frame().await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => break,
            }
        }
    };
    // A client that goes on past this bound loses its connection, and with it perhaps the answer.
    drop(tokio::time::timeout(DRAIN_TIME_MAX, all).await);
}

async fn read_on(
    incoming: &mut Incoming,
    bytes_max: usize,
    share: &Arc<Share>,
) -> Result<Body, Refusal> {
    let announced = incoming.size_hint().exact().map(usize::try_from);
    let announced = match announced {
        Some(Ok(bytes)) if bytes <= bytes_max => Some(bytes),
        None => None,
        Some(_) => return Err(Refusal::BodyTooLarge { bytes_max }),
    };
    let Some(first) = next_data(incoming).await? else { return Ok(Body::Small(Bytes::new())) };
    if incoming.is_end_stream() && first.len() <= bytes_max {
        return Ok(Body::Small(first));
    }
    let mut room = share.empty_reservation();
    let mut whole = Vec::new();
    if let Some(bytes) = announced {
        grow(&mut whole, &mut room, bytes + 1)?;
    }
    let mut next = Some(first);
    while let Some(data) = next {
        if whole.len() + data.len() > bytes_max {
            return Err(Refusal::BodyTooLarge { bytes_max });
        }
        let spare = whole.capacity() - whole.len();
        if spare < data.len() + 1 {
            let more = data.len() + 1 + GROWTH_BYTES.max(whole.len());
            grow(&mut whole, &mut room, more)?;
        }
        whole.extend_from_slice(&data);
        // The piece is let go before the next is waited for: it pins the read buffer.
        drop(data);
        next = next_data(incoming).await?;
    }
    if announced.is_none() {
        whole.shrink_to(whole.len() + 1);
        room.shrink_to(whole.capacity());
    }
    Ok(Body::Large(whole, room))
}

/// Makes place for `more` bytes behind what is there, and pays for it.
fn grow(whole: &mut Vec<u8>, room: &mut Reservation, more: usize) -> Result<(), Refusal> {
    let wanted = whole.len() + more;
    room.grow(wanted.saturating_sub(room.bytes())).map_err(|_| Refusal::NoRoom)?;
    whole.reserve_exact(more);
    Ok(())
}

async fn next_data(incoming: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = incoming.frame().await {
        let frame =
            frame.map_err(|error| Refusal::Malformed(format!("the body breaks off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
