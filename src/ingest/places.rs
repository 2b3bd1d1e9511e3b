//! Places for requests that wait for the disk or the service: a stream in trouble takes no other one's.
//!
//! A request has a place from its head to its answer (`requests_max`). Reading and answering are soon over;
//! waiting is not, and what a broken stream makes wait would take all places. So a part is never waited in,
//! each stream has an even part that nobody else can take, and the rest is whose it is first. Pure counting.

use std::sync::Arc;

use crate::pipeline::{Budget, Reservation, Share};

/// The part of all places that is never waited in: where requests are read, and answered if that needs no
/// wait. A half of it is for repeats of a call that wait for the first.
const NEVER_WAITED_IN: usize = 4;

/// The part of all places that is divided evenly between the streams.
const DIVIDED: usize = 4;

/// All places that may be waited in. See the module. The budget counts requests here, not bytes.
#[derive(Debug)]
pub(super) struct Places {
    shared: Arc<Budget>,
    own: usize,
}

/// The places that one stream may have.
#[derive(Debug)]
pub(super) struct StreamPlaces(Arc<Share>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _one: Reservation,
}

/// How many repeats of calls may wait for the first, out of `requests_max` places.
pub(super) fn for_repeats(requests_max: usize) -> usize {
    (requests_max / NEVER_WAITED_IN / 2).max(1)
}

impl Places {
    /// The places out of `requests_max` that so many streams may wait in.
    pub(super) fn new(requests_max: usize, streams: usize) -> Self {
        let own = requests_max / DIVIDED / streams.max(1);
        let waited_in = requests_max - requests_max / NEVER_WAITED_IN;
        Self { shared: Budget::new(waited_in - own * streams), own }
    }

    /// Those of one of the streams.
    pub(super) fn of_stream(&self) -> StreamPlaces {
        StreamPlaces(self.shared.share(self.own))
    }
}

impl StreamPlaces {
    /// Takes a place, if the stream may have one more.
    pub(super) fn take(&self) -> Option<Place> {
        self.0.reserve(1).ok().map(|one| Place { _one: one })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &StreamPlaces) -> Vec<Place> {
        std::iter::from_fn(|| stream.take()).collect()
    }

    #[test]
    fn whoever_comes_first_each_stream_has_its_own_places_and_a_quarter_is_never_waited_in() {
        let places = Places::new(1_000, 5);
        let streams: Vec<StreamPlaces> = (0..5).map(|_| places.of_stream()).collect();
        let taken: Vec<Vec<Place>> = streams.iter().map(all).collect();
        let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [550, 50, 50, 50, 50]);
        drop(taken);
        assert_eq!(all(&streams[3]).len(), 550, "what was given back is there for others");
    }

    #[test]
    fn a_stream_that_is_alone_may_have_all_that_may_be_waited_in() {
        for (requests_max, expected) in [(1, 1), (2, 2), (3, 3), (4, 3), (1_024, 768)] {
            assert_eq!(all(&Places::new(requests_max, 1).of_stream()).len(), expected);
        }
    }

    #[test]
    fn more_streams_than_places_share_them_all() {
        let places = Places::new(8, 1_000);
        let (one, other) = (places.of_stream(), places.of_stream());
        let first = all(&one);
        assert_eq!((first.len(), all(&other).len()), (6, 0));
    }
}
