//! How many requests of one stream may be under way: additive increase, multiplicative decrease.
//!
//! Pure. The limit grows only while it is what holds requests back, and shrinks at most once for a round
//! trip, since all requests of one have met the same trouble. It counts no requests itself.

use std::time::Instant;

/// Where the limit begins.
const LIMIT_AT_START: f64 = 4.0;

/// What is left of the limit after a throttle or a time-out.
const DECREASE: f64 = 0.5;

/// The adaptive limit. See the module.
#[derive(Debug)]
pub(super) struct Concurrency {
    limit: f64,
    max: f64,
    decreased_at: Option<Instant>,
}

impl Concurrency {
    /// A limit that stays between 1 and `max`.
    pub(super) fn new(max: usize) -> Self {
        let max = f64::from(u32::try_from(max.max(1)).unwrap_or(u32::MAX));
        Self { limit: LIMIT_AT_START.min(max), max, decreased_at: None }
    }

    /// How many requests may be under way.
    pub(super) fn limit(&self) -> usize {
        // Counting up avoids a cast from a float; the limit is small.
        (1..).take_while(|count: &u32| f64::from(*count) <= self.limit).count().max(1)
    }

    /// A request succeeded. `was_in_use`: at its beginning, as many were under way as might be.
    pub(super) fn succeeded(&mut self, was_in_use: bool) {
        if was_in_use {
            self.limit = (self.limit + 1.0 / self.limit).min(self.max);
        }
    }

    /// A request that began at `began_at` was throttled or timed out.
    pub(super) fn troubled(&mut self, now: Instant, began_at: Instant) {
        if self.decreased_at.is_none_or(|at| began_at >= at) {
            self.limit = (self.limit * DECREASE).max(1.0);
            self.decreased_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_grows_by_about_one_for_a_round_trip_and_only_while_it_is_in_use() {
        let mut concurrency = Concurrency::new(8);
        assert_eq!(concurrency.limit(), 4);
        for _ in 0..100 {
            concurrency.succeeded(false);
        }
        assert_eq!(concurrency.limit(), 4);
        for _ in 0..5 {
            concurrency.succeeded(true);
        }
        assert_eq!(concurrency.limit(), 5);
    }

    #[test]
    fn the_requests_of_one_round_trip_shrink_it_once() {
        let mut concurrency = Concurrency::new(8);
        let start = Instant::now();
        for _ in 0..4 {
            concurrency.troubled(start + MS * 5, start);
        }
        assert_eq!(concurrency.limit(), 2);
        concurrency.troubled(start + MS * 9, start + MS * 6);
        assert_eq!(concurrency.limit(), 1);
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_bounds(
            max in 0_usize..64, steps in prop::collection::vec((any::<bool>(), any::<bool>()), 0..200),
        ) {
            let mut concurrency = Concurrency::new(max);
            let mut now = Instant::now();
            for (is_success, flag) in steps {
                now += MS;
                if is_success { concurrency.succeeded(flag) } else { concurrency.troubled(now, now) }
                prop_assert!((1..=max.max(1)).contains(&concurrency.limit()));
            }
        }
    }
}
