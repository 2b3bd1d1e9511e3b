//! What has to leave memory for the disk, and what may stay.
//!
//! Pure. Memory that runs short is made free by what came last, since the oldest is sent first. A stream
//! that can not be sent to keeps nothing in memory alone, and of what the disk has only what it is asked
//! with; and so does a process at its end. It moves nothing.

use std::time::{Duration, Instant};

/// The memory of a stream, in bytes. What was read back out of the spool has memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// What the stream has reserved.
    pub(super) used: usize,
    /// What it could reserve beyond that at this moment.
    pub(super) room: usize,
}

impl Memory {
    /// How many bytes have to leave memory: what takes more than half of what the stream can have.
    pub(super) const fn excess(self) -> usize {
        self.used.saturating_sub(self.used.saturating_add(self.room) / 2)
    }
}

/// How the stream and the process stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// The stream is sent to.
    Flowing,
    /// The process stops: the stream is sent to, and nothing more is read back.
    Draining,
    /// The stream can not be sent to, and is not likely to be in a moment.
    Blocked,
    /// The process ends, and the time has come that is kept for the disk. `keeps`: what the disk has is
    /// sent on nevertheless, as long as there is time.
    Ending {
        /// Whether what the disk has stays in memory.
        keeps: bool,
    },
}

/// What of the configuration says when something goes to the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stops {
    /// How long the stream can not be sent to before memory keeps nothing alone.
    pub(super) blocked_after: Duration,
    /// Whether a stop delivers the backlog too.
    pub(super) delivers_backlog: bool,
}

/// How the stream and the process stand at `now`, and when that changes by itself.
///
/// `blocked_since`: since when the stream can not be sent to. `stop`: when the spool's part of a stop begins.
pub(super) fn outlook(
    now: Instant,
    blocked_since: Option<Instant>,
    stop: Option<Instant>,
    stops: Stops,
) -> (Outlook, Option<Instant>) {
    match stop {
        Some(spool_at) if spool_at <= now => {
            return (Outlook::Ending { keeps: stops.delivers_backlog }, None);
        }
        // There is nothing to hope for: the disk has everything until the next start.
        Some(_) if !stops.delivers_backlog && blocked_since.is_some() => {
            return (Outlook::Ending { keeps: false }, None);
        }
        Some(spool_at) if !stops.delivers_backlog => return (Outlook::Draining, Some(spool_at)),
        Some(_) | None => {}
    }
    match blocked_since.map(|since| since + stops.blocked_after) {
        Some(at) if at <= now => (Outlook::Blocked, stop),
        Some(at) => (Outlook::Flowing, earlier(Some(at), stop)),
        None => (Outlook::Flowing, stop),
    }
}

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// What is to be copied to disk.
    pub(super) copy: Amount,
    /// What the disk has, and is to be let go.
    pub(super) let_go: Amount,
}

/// How much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    /// Nothing.
    None,
    /// The newest, up to so many bytes, nothing that is under way.
    Newest {
        /// At least so many bytes, as far as there are.
        bytes: usize,
    },
    /// Everything; what is copied may be under way.
    All,
}

/// What has to leave memory, when copies of `copying` bytes are on their way to the disk already.
pub(super) fn demand(outlook: Outlook, memory: Memory, copying: usize) -> Demand {
    match outlook {
        Outlook::Blocked | Outlook::Ending { keeps: false } => {
            Demand { copy: Amount::All, let_go: Amount::All }
        }
        Outlook::Ending { keeps: true } => Demand { copy: Amount::All, let_go: Amount::None },
        Outlook::Flowing | Outlook::Draining => match memory.excess() {
            0 => Demand { copy: Amount::None, let_go: Amount::None },
            excess => Demand {
                copy: match excess.saturating_sub(copying) {
                    0 => Amount::None,
                    bytes => Amount::Newest { bytes },
                },
                let_go: Amount::Newest { bytes: excess },
            },
        },
    }
}

/// Whether batches of the backlog are wanted. `has_probe`: memory has a record to ask a blocked stream with.
pub(super) const fn wants_backlog(outlook: Outlook, has_probe: bool) -> bool {
    match outlook {
        Outlook::Flowing => true,
        Outlook::Draining => false,
        Outlook::Blocked => !has_probe,
        Outlook::Ending { keeps } => keeps,
    }
}

/// The earlier of two times, where either may never come.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn memory(used: usize, room: usize) -> Memory {
        Memory { used, room }
    }

    const NOTHING: Demand = Demand { copy: Amount::None, let_go: Amount::None };

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stream_is_blocked_when_it_could_not_be_sent_to_for_a_while() {
        let start = Instant::now();
        let stops = Stops { blocked_after: SECOND, delivers_backlog: false };
        let at = |now, blocked_since| outlook(now, blocked_since, None, stops);
        assert_eq!(at(start, None), (Outlook::Flowing, None));
        assert_eq!(at(start, Some(start)), (Outlook::Flowing, Some(start + SECOND)));
        assert_eq!(at(start + SECOND, Some(start)), (Outlook::Blocked, None));
    }

    #[test]
    fn a_stop_delivers_until_the_spools_time_unless_there_is_nothing_to_hope_for() {
        let start = Instant::now();
        let spool_at = start + SECOND * 7;
        let at = |now, blocked_since, delivers_backlog| {
            let stops = Stops { blocked_after: SECOND, delivers_backlog };
            outlook(now, blocked_since, Some(spool_at), stops)
        };
        assert_eq!(at(start, None, false), (Outlook::Draining, Some(spool_at)));
        assert_eq!(at(start, Some(start), false).0, Outlook::Ending { keeps: false });
        assert_eq!(at(spool_at, None, false).0, Outlook::Ending { keeps: false });
        // Where the disk goes too, the whole time is for delivering.
        assert_eq!(at(start, None, true), (Outlook::Flowing, Some(spool_at)));
        assert_eq!(at(start + SECOND, Some(start), true), (Outlook::Blocked, Some(spool_at)));
        assert_eq!(at(spool_at, Some(start), true).0, Outlook::Ending { keeps: true });
    }

    #[test]
    fn memory_is_short_when_fresh_records_take_more_than_half_of_what_the_stream_can_have() {
        assert_eq!(demand(Outlook::Flowing, memory(400, 400), 0), NOTHING);
        let demanded = demand(Outlook::Flowing, memory(500, 300), 0);
        assert_eq!(demanded.copy, Amount::Newest { bytes: 100 });
        assert_eq!(demanded.let_go, Amount::Newest { bytes: 100 });
    }

    #[test]
    fn what_is_on_its_way_to_the_disk_is_not_asked_for_again() {
        let demanded = demand(Outlook::Flowing, memory(500, 300), 60);
        assert_eq!(demanded.copy, Amount::Newest { bytes: 40 });
        assert_eq!(demand(Outlook::Flowing, memory(500, 300), 100).copy, Amount::None);
    }

    #[test]
    fn a_stream_that_others_have_left_nothing_but_its_floor_is_short_of_that() {
        // Whoever has used its floor up and can have no more is short; who has most of it left is not.
        assert!(memory(100, 0).excess() > 0);
        assert_eq!(memory(10, 90).excess(), 0);
    }

    #[test]
    fn a_stream_that_can_not_be_sent_to_keeps_nothing_but_something_to_ask_with() {
        let demanded = demand(Outlook::Blocked, memory(1, 1_000), 0);
        assert_eq!(demanded, Demand { copy: Amount::All, let_go: Amount::All });
        assert!(!wants_backlog(Outlook::Blocked, true));
        assert!(wants_backlog(Outlook::Blocked, false));
    }

    #[test]
    fn at_the_end_everything_is_copied_and_where_the_disk_goes_too_it_is_sent_on() {
        let kept = demand(Outlook::Ending { keeps: true }, memory(1, 1_000), 0);
        assert_eq!(kept, Demand { copy: Amount::All, let_go: Amount::None });
        assert!(wants_backlog(Outlook::Ending { keeps: true }, true));
        assert!(!wants_backlog(Outlook::Ending { keeps: false }, true));
    }
}
