//! The level of an answer: which one a request gets, and which way its records go for it.

use http::HeaderMap;

use super::StreamSettings;
use super::refusal::Refusal;
use super::response::ACK_HEADER;
use super::streams::Stream;
use crate::record::Ack;

/// The level that a request gets, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) ack: Ack,
    pub(super) way: Way,
}

/// Which way records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// They are accepted at once, and go to the forwarder.
    Memory,
    /// They go to the spool, which accepts them and passes them on to the forwarder.
    Spool,
}

impl Level {
    /// What a request to `stream` gets.
    ///
    /// # Errors
    /// When it names no level, or when the spool that it needs takes nothing now: durable is never weakened.
    pub(super) fn of(headers: &HeaderMap, stream: &Stream) -> Result<Self, Refusal> {
        let ack = wanted(headers, &stream.settings)?;
        let way = way(ack, stream.settings.min_ack);
        if way == Way::Spool {
            let spool = stream.spool.as_ref().ok_or(Refusal::NoSpool)?;
            if let Some(why) = spool.inlet.obstacle() {
                return Err(Refusal::NotDurable(why));
            }
        }
        Ok(Self { ack, way })
    }
}

/// Who waits for delivery, and may get no less than durable, waits for both.
const fn way(ack: Ack, min_ack: Ack) -> Way {
    match (ack, min_ack) {
        (Ack::Durable, _) | (Ack::Delivered, Ack::Durable) => Way::Spool,
        (Ack::Memory, _) | (Ack::Delivered, Ack::Memory | Ack::Delivered) => Way::Memory,
    }
}

/// The level that a request names, or the stream's own, and never below the stream's floor.
fn wanted(headers: &HeaderMap, settings: &StreamSettings) -> Result<Ack, Refusal> {
    let mut named = headers.get_all(ACK_HEADER).iter();
    let wanted = match (named.next(), named.next()) {
        (None, _) => Some(settings.ack),
        (Some(value), None) => value.to_str().ok().and_then(|text| text.trim().parse().ok()),
        // Two of them may say two things, and the weaker one is not to win by its place.
        (Some(_), Some(_)) => None,
    };
    let wanted = wanted.ok_or_else(|| {
        Refusal::Malformed(
            "the header \"standpipe-ack\" is one of memory, durable and delivered".to_owned(),
        )
    })?;
    Ok(wanted.max(settings.min_ack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_get_no_less_than_durable_goes_through_the_spool_at_every_level() {
        for (ack, min_ack, expected) in [
            (Ack::Memory, Ack::Memory, Way::Memory),
            (Ack::Durable, Ack::Memory, Way::Spool),
            (Ack::Durable, Ack::Durable, Way::Spool),
            (Ack::Delivered, Ack::Memory, Way::Memory),
            (Ack::Delivered, Ack::Durable, Way::Spool),
            // Who may get no less than delivered has no use for the disk in between.
            (Ack::Delivered, Ack::Delivered, Way::Memory),
        ] {
            assert_eq!(way(ack, min_ack), expected, "{ack} {min_ack}");
        }
    }
}
