//! What a stream may take in a second: three token buckets, pure, given `now`.
//!
//! A bucket holds one second of its rate, as the service's quotas are per second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a stream may take in a second, `PutRecord` and `PutRecordBatch` together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Records in a second.
    pub records_per_s: u32,
    /// Requests in a second.
    pub requests_per_s: u32,
    /// Raw bytes in a second.
    pub bytes_per_s: u32,
}

impl Quota {
    /// The quota in us-east-1, us-west-2 and eu-west-1. Source: the service's quota page.
    pub const LARGE_REGION: Self =
        Self { records_per_s: 500_000, requests_per_s: 2_000, bytes_per_s: 5 * 1024 * 1024 };

    /// The quota in all other Regions. Source: the service's quota page.
    pub const OTHER_REGION: Self =
        Self { records_per_s: 100_000, requests_per_s: 1_000, bytes_per_s: 1024 * 1024 };

    /// What one shard of a data stream takes. Its requests are not counted. Source: the service's quota
    /// page.
    pub const SHARD: Self =
        Self { records_per_s: 1_000, requests_per_s: u32::MAX, bytes_per_s: 1024 * 1024 };
}

/// The three buckets of one stream.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    quota: Quota,
    records: Bucket,
    requests: Bucket,
    bytes: Bucket,
}

impl Buckets {
    /// Full buckets. `now` counts from any fixed instant.
    pub(super) fn new(quota: Quota, now: Duration) -> Self {
        Self {
            quota,
            records: Bucket::new(quota.records_per_s, now),
            requests: Bucket::new(quota.requests_per_s, now),
            bytes: Bucket::new(quota.bytes_per_s, now),
        }
    }

    /// The quota that these buckets hold to.
    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes one request. A request that is refused takes nothing.
    pub(super) fn take_request(&mut self, now: Duration) -> bool {
        self.requests.take_one(now)
    }

    /// How many of these records fit, from the first on. The others take nothing.
    pub(super) fn take_records(
        &mut self,
        sizes: impl IntoIterator<Item = usize>,
        now: Duration,
    ) -> usize {
        self.records.refill(now);
        self.bytes.refill(now);
        sizes
            .into_iter()
            .take_while(|size| {
                // A body is bounded far below what an f64 counts exactly.
                let cost = u32::try_from(*size).map_or(f64::MAX, f64::from);
                let fits = self.records.fits(1.0) && self.bytes.fits(cost);
                fits && self.records.take(1.0) && self.bytes.take(cost)
            })
            .count()
    }
}

/// One bucket: so much in a second, and at most one second's worth at once.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    per_s: f64,
    level: f64,
    refilled_at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_s: u32, now: Duration) -> Self {
        let per_s = f64::from(per_s);
        Self { per_s, level: per_s, refilled_at: now }
    }

    /// Takes one, if there is one at this moment.
    pub(super) fn take_one(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.take(1.0)
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.refilled_at).as_secs_f64();
        self.level = (self.level + passed * self.per_s).min(self.per_s);
        self.refilled_at = self.refilled_at.max(now);
    }

    /// A cost above a whole second's rate fits a full bucket, or it would never fit; the bucket is
    /// in debt then.
    fn fits(&self, cost: f64) -> bool {
        self.per_s > 0.0 && self.level >= cost.min(self.per_s)
    }

    fn take(&mut self, cost: f64) -> bool {
        let fits = self.fits(cost);
        if fits {
            self.level -= cost;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn buckets(records: u32, requests: u32, bytes: u32) -> Buckets {
        let quota = Quota { records_per_s: records, requests_per_s: requests, bytes_per_s: bytes };
        Buckets::new(quota, SECOND)
    }

    #[test]
    fn the_tail_that_does_not_fit_is_refused() {
        let mut by_count = buckets(3, 10, 1_000);
        assert_eq!(by_count.take_records([1; 5], SECOND), 3);
        assert_eq!(by_count.take_records([1; 5], SECOND), 0);
        let mut by_bytes = buckets(100, 10, 1_000);
        assert_eq!(by_bytes.take_records([400; 5], SECOND), 2);
        // The tail begins at the first record that does not fit, though a small one would have.
        assert_eq!(by_bytes.take_records([300, 1], SECOND), 0);
    }

    #[test]
    fn a_second_fills_a_bucket_and_no_time_overfills_it() {
        let mut buckets = buckets(10, 2, 1_000);
        assert!(buckets.take_request(SECOND) && buckets.take_request(SECOND));
        assert!(!buckets.take_request(SECOND));
        assert!(buckets.take_request(SECOND + SECOND / 2));
        assert!(!buckets.take_request(SECOND + SECOND / 2));
        let much_later = SECOND * 100;
        assert!(buckets.take_request(much_later) && buckets.take_request(much_later));
        assert!(!buckets.take_request(much_later));
    }

    #[test]
    fn a_record_larger_than_the_rate_passes_once_the_bucket_is_full() {
        let mut buckets = buckets(10, 2, 100);
        assert_eq!(buckets.take_records([250], SECOND), 1);
        // 150 bytes of debt: a second and a half until it is paid, another second until it is full.
        assert_eq!(buckets.take_records([250], SECOND * 3), 0);
        assert_eq!(buckets.take_records([250], SECOND * 4), 1);
    }

    #[test]
    fn a_quota_of_nothing_takes_nothing() {
        let mut buckets = buckets(0, 0, 0);
        assert!(!buckets.take_request(SECOND));
        assert_eq!(buckets.take_records([0], SECOND), 0);
    }

    #[test]
    fn a_clock_that_steps_back_takes_nothing_away() {
        let mut buckets = buckets(1, 1, 1);
        assert!(buckets.take_request(SECOND * 2));
        assert!(!buckets.take_request(SECOND));
        assert!(!buckets.take_request(SECOND * 2));
    }
}
