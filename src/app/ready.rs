//! Whether records can be taken at the levels that are configured. Pure: it is given what it looks at.

use std::time::{Duration, Instant};

use crate::ingest::Stream;
use crate::pipeline::NotDurable;

/// How long the first data key of a stream may take before its absence is trouble.
const STARTING_TIME_MAX: Duration = Duration::from_secs(10);

/// What is in the way of the durable level.
pub(super) const WHAT: &str = "spool";

/// One stream, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Seen<'a> {
    name: &'a str,
    obstacle: Option<NotDurable>,
    known_since: Instant,
}

/// Why records can not be taken of a stream that is to have them durable, if there is one.
///
/// The first key of a stream takes a moment. At the start of the process that moment belongs to the start;
/// a stream that comes into being later keeps nobody else out meanwhile.
pub(super) fn obstacle<'a>(
    streams: impl Iterator<Item = &'a Stream>,
    started_at: Instant,
    now: Instant,
) -> Option<String> {
    let seen = streams.map(|stream| Seen {
        name: stream.lane.name().as_str(),
        obstacle: stream.obstacle(),
        known_since: stream.known_since,
    });
    why(seen, started_at, now)
}

fn why<'a>(
    streams: impl Iterator<Item = Seen<'a>>,
    started_at: Instant,
    now: Instant,
) -> Option<String> {
    let is_young = |since: Instant| now.saturating_duration_since(since) < STARTING_TIME_MAX;
    let mut is_starting = false;
    let mut first: Option<(&str, NotDurable)> = None;
    let mut others = 0_usize;
    for Seen { name, obstacle, known_since } in streams {
        match obstacle {
            None => {}
            Some(NotDurable::Starting | NotDurable::NoKey) if is_young(known_since) => {
                is_starting |= is_young(started_at);
            }
            Some(_) if first.is_some() => others += 1,
            Some(why) => first = Some((name, why)),
        }
    }
    match first {
        Some((name, why)) if others == 0 => Some(format!("{name}: {why}")),
        Some((name, why)) => Some(format!("{name}: {why}; and {others} more streams")),
        None => is_starting.then(|| "starting: the first data keys are fetched".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn told(streams: &[(&str, Option<NotDurable>, u64)], seconds: u64) -> Option<String> {
        let start = Instant::now();
        let seen = streams.iter().map(|(name, obstacle, since)| Seen {
            name,
            obstacle: *obstacle,
            known_since: after(start, *since),
        });
        why(seen, start, after(start, seconds))
    }

    #[test]
    fn a_stream_that_can_not_have_its_level_is_named_with_the_reason() {
        let full = Some(NotDurable::DiskFull);
        assert_eq!(told(&[("a", None, 0), ("b", None, 0)], 1), None);
        let one = told(&[("a", None, 0), ("b", full, 0)], 1).unwrap();
        assert_eq!(one, "b: the disk of the spool is full");
        let more = told(&[("a", full, 0), ("b", full, 0), ("c", full, 0)], 1).unwrap();
        assert_eq!(more, "a: the disk of the spool is full; and 2 more streams");
    }

    #[test]
    fn a_key_that_is_fetched_is_a_start_at_first_and_trouble_later() {
        for obstacle in [NotDurable::Starting, NotDurable::NoKey] {
            let streams = [("a", Some(obstacle), 0)];
            assert!(told(&streams, 9).unwrap().starts_with("starting: "));
            assert!(told(&streams, 11).unwrap().starts_with("a: "));
        }
    }

    #[test]
    fn a_stream_that_comes_into_being_later_makes_nobody_else_wait_for_its_first_key() {
        let streams = [("a", None, 0), ("new", Some(NotDurable::NoKey), 100)];
        assert_eq!(told(&streams, 105), None);
        assert!(told(&streams, 111).unwrap().starts_with("new: "));
    }
}
