//! The ingest limits of a stream: how many records and bytes it takes in a second, over all workers, so that
//! one application can not starve another.
//!
//! What a request brings is charged before it is taken, and given back when it is not taken after all. Where
//! no limit is set nothing is charged, and nothing is measured for it. It knows nothing of memory and disk.

use std::iter::{once, repeat_n};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::IngestLimits;
use super::bucket::{Bucket, Dry, Taken, nanos};
use super::metrics::LimitMetrics;
use super::refusal::Refusal;
use crate::record::StreamName;

/// See the module.
#[derive(Debug)]
pub(super) struct Limit {
    /// What the buckets count their time from.
    begun: Instant,
    burst: Duration,
    records: Option<Bucket>,
    bytes: Option<Bucket>,
    metrics: LimitMetrics,
}

/// Which limit is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    Records,
    Bytes,
}

/// A request is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) rate: Rate,
    pub(super) per_second: u64,
    /// When to come back.
    pub(super) retry_after_seconds: u64,
}

/// How the limits of a stream stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// What may come at once, as a time at the rate.
    pub burst: Duration,
    /// How it stands with the limit on records, if there is one.
    pub records: Option<RateStatus>,
    /// The same for bytes.
    pub bytes: Option<RateStatus>,
}

/// How one limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateStatus {
    /// The limit.
    pub per_second: u64,
    /// What may come at this moment; less than nothing while a request that was larger than the burst is
    /// paid off.
    pub left: i64,
}

/// What was charged for a request. What is not kept of it until it is dropped is given back.
#[derive(Debug)]
pub(super) struct Charge<'a> {
    limit: &'a Limit,
    records: Option<Taken>,
    bytes: Option<Taken>,
    kept_records: u64,
    kept_bytes: u64,
}

impl Limit {
    /// Those of a stream, if it has any.
    pub(super) fn new(limits: &IngestLimits, stream: &StreamName) -> Option<Box<Self>> {
        let bucket = |per_second: Option<u64>| {
            NonZeroU64::new(per_second?).map(|rate| Bucket::new(rate, limits.burst))
        };
        let (records, bytes) = (bucket(limits.records_per_second), bucket(limits.bytes_per_second));
        (records.is_some() || bytes.is_some()).then(|| {
            let metrics = LimitMetrics::new(stream);
            Box::new(Self { begun: Instant::now(), burst: limits.burst, records, bytes, metrics })
        })
    }

    /// Refuses a request that is not read yet when nothing of it could be taken.
    pub(super) fn look(&self) -> Result<(), Refusal> {
        let now = self.now();
        let limits = [(Rate::Records, &self.records), (Rate::Bytes, &self.bytes)];
        for (rate, bucket) in limits {
            if let Some(Err(dry)) = bucket.as_ref().map(|bucket| bucket.look(1, now)) {
                return Err(self.refusal((rate, dry), 0));
            }
        }
        Ok(())
    }

    /// Charges a request that is taken as a whole or not at all.
    pub(super) fn charge_whole(&self, records: usize, bytes: usize) -> Result<Charge<'_>, Refusal> {
        self.charge(&once(records as u64), once(bytes as u64))
            .map_err(|over| self.refusal(over, records))
    }

    /// Charges a call for as many of its records, from the first on, as may be taken, and says how many those
    /// are: at least one.
    pub(super) fn charge_first(
        &self,
        sizes: impl ExactSizeIterator<Item = usize> + Clone,
    ) -> Result<(Charge<'_>, usize), Refusal> {
        let all = sizes.len();
        let charge = self
            .charge(&repeat_n(1, all), sizes.map(|size| size as u64))
            .map_err(|over| self.refusal(over, all))?;
        let of = |taken: Option<Taken>| taken.map_or(all, |taken| taken.parcels);
        let (by_records, by_bytes) = (of(charge.records), of(charge.bytes));
        let fitting = by_records.min(by_bytes);
        if fitting < all {
            let rate = if by_records <= by_bytes { Rate::Records } else { Rate::Bytes };
            self.metrics.refused(rate, all - fitting);
        }
        Ok((charge, fitting))
    }

    /// How they stand.
    pub(super) fn status(&self) -> LimitStatus {
        let now = self.now();
        let status = |bucket: &Bucket| RateStatus {
            per_second: bucket.per_second(),
            left: bucket.left(now),
        };
        LimitStatus {
            burst: self.burst,
            records: self.records.as_ref().map(status),
            bytes: self.bytes.as_ref().map(status),
        }
    }

    fn charge(
        &self,
        records: &(impl Iterator<Item = u64> + Clone),
        bytes: impl Iterator<Item = u64> + Clone,
    ) -> Result<Charge<'_>, (Rate, Dry)> {
        let now = self.now();
        let mut charge =
            Charge { limit: self, records: None, bytes: None, kept_records: 0, kept_bytes: 0 };
        let mut fitting = usize::MAX;
        if let Some(bucket) = &self.records {
            let taken = bucket.take(records, now).map_err(|dry| {
                // Who comes back should not find the other one in the way.
                let first = bytes.clone().next().unwrap_or(0);
                let other = self.bytes.as_ref().and_then(|bytes| bytes.look(first, now).err());
                let longer = other.filter(|other| other.0 > dry.0);
                longer.map_or((Rate::Records, dry), |other| (Rate::Bytes, other))
            })?;
            (charge.records, fitting) = (Some(taken), taken.parcels);
        }
        if let Some(bucket) = &self.bytes {
            // Where this one refuses, what was taken of the other is given back.
            let taken = bucket.take(&bytes.take(fitting), now).map_err(|dry| (Rate::Bytes, dry))?;
            charge.bytes = Some(taken);
        }
        Ok(charge)
    }

    /// Refuses a request with so many records, as far as they are known.
    fn refusal(&self, (rate, Dry(wait)): (Rate, Dry), records: usize) -> Refusal {
        self.metrics.refused(rate, records);
        let bucket = match rate {
            Rate::Records => self.records.as_ref(),
            Rate::Bytes => self.bytes.as_ref(),
        };
        let per_second = bucket.map_or(0, Bucket::per_second);
        let retry_after_seconds = come_back_after(wait, |most| fastrand::u64(0..=most));
        Refusal::OverLimit(Over { rate, per_second, retry_after_seconds })
    }

    fn now(&self) -> u64 {
        nanos(self.begun.elapsed())
    }
}

impl Rate {
    /// The label in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Bytes => "bytes",
        }
    }
}

impl Charge<'_> {
    /// Keeps this of what was charged.
    pub(super) fn keep(mut self, records: usize, bytes: usize) {
        (self.kept_records, self.kept_bytes) = (records as u64, bytes as u64);
    }
}

/// Keeps all of what was charged, if anything was.
pub(super) fn keep(charge: Option<Charge<'_>>) {
    if let Some(mut charge) = charge {
        (charge.kept_records, charge.kept_bytes) = (u64::MAX, u64::MAX);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        let Self { limit, kept_records, kept_bytes, .. } = *self;
        for (bucket, taken, kept) in
            [(&limit.records, self.records, kept_records), (&limit.bytes, self.bytes, kept_bytes)]
        {
            if let (Some(bucket), Some(taken)) = (bucket, taken)
                && taken.count > kept
            {
                bucket.give_back(taken, kept, limit.now());
            }
        }
    }
}

/// In how many whole seconds who has to wait so long should come back. Those who are told at the same time
/// come back at different ones: `random` gives a number up to another.
fn come_back_after(wait: Duration, random: impl FnOnce(u64) -> u64) -> u64 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = seconds.max(1);
    seconds + random((seconds / 2).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(records: Option<u64>, bytes: Option<u64>) -> Box<Limit> {
        let limits = IngestLimits {
            records_per_second: records,
            bytes_per_second: bytes,
            // So slow that nothing comes in during a test.
            burst: Duration::from_secs(100_000),
        };
        Limit::new(&limits, &"demo".parse().unwrap()).unwrap()
    }

    fn left(limit: &Limit) -> [Option<i64>; 2] {
        let status = limit.status();
        [status.records, status.bytes].map(|rate| rate.map(|rate| rate.left))
    }

    #[test]
    fn no_limit_is_none() {
        let none = IngestLimits { records_per_second: Some(0), ..IngestLimits::NONE };
        for limits in [IngestLimits::NONE, none] {
            assert!(Limit::new(&limits, &"demo".parse().unwrap()).is_none());
        }
    }

    #[test]
    fn what_is_not_kept_is_given_back_of_both() {
        let limit = limit(Some(1), Some(10));
        drop(limit.charge_whole(7, 70).unwrap());
        assert_eq!(left(&limit), [Some(100_000), Some(1_000_000)]);
        limit.charge_whole(7, 70).unwrap().keep(5, 60);
        assert_eq!(left(&limit), [Some(99_995), Some(999_940)]);
    }

    #[test]
    fn a_request_that_one_limit_refuses_takes_nothing_of_the_other() {
        let limit = limit(Some(1), Some(1));
        limit.charge_whole(1, 99_000).unwrap().keep(1, 99_000);
        let Err(Refusal::OverLimit(over)) = limit.charge_whole(5, 1_001).map(drop) else {
            panic!()
        };
        assert_eq!((over.rate, over.per_second), (Rate::Bytes, 1));
        assert!((1..=2).contains(&over.retry_after_seconds), "{over:?}");
        assert_eq!(left(&limit), [Some(99_999), Some(1_000)]);
        limit.charge_whole(5, 1_000).unwrap().keep(5, 1_000);
        assert!(limit.look().is_err(), "not one more byte");
    }

    #[test]
    fn who_is_over_both_is_told_the_longer_wait() {
        let limit = limit(Some(1), Some(1));
        limit.charge_whole(100_000, 100_000).unwrap().keep(100_000, 100_000);
        let Err(Refusal::OverLimit(over)) = limit.charge_whole(10, 1_000).map(drop) else {
            panic!()
        };
        assert_eq!(over.rate, Rate::Bytes);
        assert!((999..=1_500).contains(&over.retry_after_seconds), "{over:?}");
    }

    #[test]
    fn a_call_gets_as_many_records_as_both_have() {
        let limit = limit(Some(1), Some(1));
        limit.charge_whole(99_990, 99_000).unwrap().keep(99_990, 99_000);
        let (charge, fitting) = limit.charge_first([400, 300, 300, 1].into_iter()).unwrap();
        assert_eq!(fitting, 3);
        drop(charge);
        let (charge, fitting) = limit.charge_first([1; 20].into_iter()).unwrap();
        assert_eq!(fitting, 10);
        charge.keep(10, 10);
        assert_eq!(left(&limit), [Some(0), Some(990)]);
        assert!(limit.charge_first([1].into_iter()).is_err());
    }

    #[test]
    fn who_is_told_at_the_same_time_comes_back_at_different_ones_and_never_too_early() {
        let between = |ms| {
            let wait = Duration::from_millis(ms);
            (come_back_after(wait, |_| 0), come_back_after(wait, |most| most))
        };
        assert_eq!(between(1), (1, 2));
        assert_eq!(between(1_000), (1, 2));
        assert_eq!(between(1_001), (2, 3));
        assert_eq!(between(60_000), (60, 90));
    }
}
