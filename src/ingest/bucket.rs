//! A bucket that fills at a rate: what may be taken out of it in a time, whoever takes it.
//!
//! It is one number, the moment at which it will be full again, moved on by compare and exchange: threads
//! that take at the same time never get more together than there is, and none waits. Over any time `t` no
//! more is taken out of it than `rate * t` and what it holds. One parcel that is larger than the bucket is
//! not refused for ever: it goes when the bucket is full, and what it takes too much has to come in before
//! anything else goes. It is given `now`, knows no clock, and knows nothing of what is counted.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// See the module. Moments are nanoseconds since one that its owner chose.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: NonZeroU64,
    /// How long an empty one takes to be full, in nanoseconds.
    burst: u64,
    full_at: AtomicU64,
}

/// What was taken out of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many parcels: at least one.
    pub(super) parcels: usize,
    /// What they are together.
    pub(super) count: u64,
    /// When it would have come in again, if nobody else had taken of it.
    until: u64,
}

/// There is not enough in the bucket, but after this time, if nobody else takes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dry(pub(super) Duration);

impl Bucket {
    /// A full one.
    pub(super) fn new(per_second: NonZeroU64, burst: Duration) -> Self {
        Self { per_second, burst: nanos(burst), full_at: AtomicU64::new(0) }
    }

    /// How much comes in a second.
    pub(super) const fn per_second(&self) -> u64 {
        self.per_second.get()
    }

    /// Takes as many parcels as fit, from the first on: at least one.
    pub(super) fn take<P>(&self, parcels: &P, now: u64) -> Result<Taken, Dry>
    where
        P: Iterator<Item = u64> + Clone,
    {
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let (fitting, count) = self.fitting(parcels.clone(), full_at, now);
            if fitting == 0 {
                return Err(self.dry(parcels.clone().next().unwrap_or(0), full_at, now));
            }
            let until = full_at.max(now).saturating_add(self.time(count));
            match self.full_at.compare_exchange_weak(
                full_at,
                until,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(Taken { parcels: fitting, count, until }),
                Err(moved) => full_at = moved,
            }
        }
    }

    /// Gives back what was taken beyond what was used of it. What has come in again by now is there already.
    pub(super) fn give_back(&self, taken: Taken, used: u64, now: u64) {
        let surplus = self.time(taken.count).saturating_sub(self.time(used));
        if surplus > 0 && now < taken.until {
            // It was added before, and all that is added stays until it is given back.
            self.full_at.fetch_sub(surplus, Ordering::Relaxed);
        }
    }

    /// Whether as much could be taken now; if not, when.
    pub(super) fn look(&self, count: u64, now: u64) -> Result<(), Dry> {
        let full_at = self.full_at.load(Ordering::Relaxed);
        let (fits, _) = self.fitting(std::iter::once(count), full_at, now);
        if fits == 0 { Err(self.dry(count, full_at, now)) } else { Ok(()) }
    }

    /// What is in it; less than nothing while a parcel that was too large is paid off.
    pub(super) fn left(&self, now: u64) -> i64 {
        let full_at = self.full_at.load(Ordering::Relaxed);
        let full_now = now.saturating_add(self.burst);
        let (left, owed) =
            (full_now.saturating_sub(full_at.max(now)), full_at.saturating_sub(full_now));
        let count = |time| i64::try_from(self.count(time)).unwrap_or(i64::MAX);
        if owed > 0 { -count(owed).max(1) } else { count(left) }
    }

    /// How many parcels fit, and what they are together.
    fn fitting(&self, parcels: impl Iterator<Item = u64>, full_at: u64, now: u64) -> (usize, u64) {
        let is_full = full_at <= now;
        let room = self.count(now.saturating_add(self.burst).saturating_sub(full_at.max(now)));
        let (mut fitting, mut sum) = (0, 0_u64);
        for parcel in parcels {
            let with_it = sum.saturating_add(parcel);
            if with_it > room && !(is_full && fitting == 0) {
                break;
            }
            (fitting, sum) = (fitting + 1, with_it);
        }
        (fitting, sum)
    }

    fn dry(&self, count: u64, full_at: u64, now: u64) -> Dry {
        let wanted = self.time(count).min(self.burst);
        let then = full_at.max(now).saturating_add(wanted);
        let wait = then.saturating_sub(now.saturating_add(self.burst));
        Dry(Duration::from_nanos(wait.max(1)))
    }

    /// How long as much takes to come in, rounded up.
    fn time(&self, count: u64) -> u64 {
        let time = (u128::from(count) * u128::from(NANOS_PER_SECOND))
            .div_ceil(u128::from(self.per_second.get()));
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// How much comes in within a time, rounded down.
    fn count(&self, time: u64) -> u64 {
        let count =
            u128::from(time) * u128::from(self.per_second.get()) / u128::from(NANOS_PER_SECOND);
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// A time as the moments of a [`Bucket`].
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::iter::{once, repeat_n};
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = NANOS_PER_SECOND;

    fn bucket(per_second: u64, burst: Duration) -> Bucket {
        Bucket::new(NonZeroU64::new(per_second).unwrap(), burst)
    }

    fn of_a_second(per_second: u64) -> Bucket {
        bucket(per_second, Duration::from_secs(1))
    }

    /// How many parcels were taken.
    fn take(
        bucket: &Bucket,
        parcels: &(impl Iterator<Item = u64> + Clone),
        now: u64,
    ) -> Result<usize, Dry> {
        bucket.take(parcels, now).map(|taken| taken.parcels)
    }

    #[test]
    fn the_last_of_it_can_be_had_and_one_more_only_when_it_has_come_in() {
        let bucket = of_a_second(100);
        assert_eq!(take(&bucket, &once(100), 7), Ok(1));
        assert_eq!((bucket.left(7), bucket.look(1, 7).is_err()), (0, true));
        assert_eq!(take(&bucket, &once(1), 7), Err(Dry(Duration::from_millis(10))));
        assert_eq!(
            take(&bucket, &once(1), 7 + SECOND / 100 - 1),
            Err(Dry(Duration::from_nanos(1)))
        );
        assert_eq!(take(&bucket, &once(1), 7 + SECOND / 100), Ok(1));
        assert_eq!(bucket.left(SECOND * 60), 100, "it is never more than full");
    }

    #[test]
    fn parcels_are_taken_from_the_first_on_as_far_as_they_fit() {
        let bucket = of_a_second(10);
        assert_eq!(
            take(&bucket, &[4, 5, 2, 1].into_iter(), 0),
            Ok(2),
            "and none behind one that does not"
        );
        assert_eq!(take(&bucket, &repeat_n(1, 5), 0), Ok(1));
        assert_eq!(take(&bucket, &repeat_n(1, 5), 0), Err(Dry(Duration::from_millis(100))));
        assert_eq!(take(&bucket, &[0, 1].into_iter(), 0), Ok(1), "nothing always fits");
    }

    #[test]
    fn a_parcel_that_is_too_large_goes_when_it_is_full_and_is_paid_off_before_the_next() {
        let bucket = of_a_second(10);
        bucket.take(&once(1), 0).unwrap();
        assert_eq!(take(&bucket, &once(35), 0), Err(Dry(Duration::from_millis(100))));
        assert_eq!(take(&bucket, &once(35), SECOND / 10 - 1), Err(Dry(Duration::from_nanos(1))));
        assert_eq!(take(&bucket, &[35, 1].into_iter(), SECOND / 10), Ok(1));
        assert_eq!(bucket.left(SECOND / 10), -25);
        assert_eq!(take(&bucket, &once(1), SECOND / 10), Err(Dry(Duration::from_millis(2_600))));
        assert_eq!(take(&bucket, &once(1), SECOND / 10 * 27), Ok(1));
    }

    #[test]
    fn a_burst_shorter_than_one_still_lets_one_go_at_a_time() {
        let bucket = bucket(10, Duration::from_millis(1));
        assert_eq!(take(&bucket, &once(1), 0), Ok(1));
        assert_eq!(take(&bucket, &once(1), SECOND / 10 - 1), Err(Dry(Duration::from_nanos(1))));
        assert_eq!(take(&bucket, &once(1), SECOND / 10), Ok(1));
    }

    #[test]
    fn what_is_not_used_is_given_back_to_the_last_but_for_what_has_come_in_again() {
        let bucket = of_a_second(4);
        for _ in 0..1_000 {
            let taken = bucket.take(&once(4), 5).unwrap();
            bucket.give_back(taken, 0, 5);
        }
        assert_eq!(bucket.left(5), 4);
        let taken = bucket.take(&once(4), 5).unwrap();
        bucket.give_back(taken, 1, 5);
        assert_eq!(bucket.left(5), 3);
        let early = bucket.take(&once(3), 5).unwrap();
        bucket.take(&once(4), 3 * SECOND).unwrap();
        bucket.give_back(early, 0, 3 * SECOND);
        assert_eq!(bucket.left(3 * SECOND), 0);
    }

    #[test]
    fn nothing_overflows_at_the_bounds() {
        let small = bucket(1, Duration::from_secs(3_600));
        assert_eq!(take(&small, &once(u64::MAX), 1), Ok(1));
        assert!(small.left(1) < 0 && small.take(&once(1), u64::MAX / 2).is_err());
        let large = bucket(u64::MAX, Duration::from_secs(3_600));
        assert_eq!(take(&large, &once(u64::MAX), 1), Ok(1));
        assert!(large.left(1) > 0);
    }

    /// What went through, and when.
    fn most_over_any_window(gone: &[(u64, u64)], rate: u64) -> f64 {
        // The largest of (sum over a window) - (rate * its length), in one pass.
        let (mut most, mut over, mut before) = (0.0_f64, 0.0_f64, 0);
        for (at, count) in gone {
            let came_in = (at - before) as f64 * rate as f64 / SECOND as f64;
            over = (over - came_in).max(0.0) + *count as f64;
            (most, before) = (most.max(over), *at);
        }
        most
    }

    proptest! {
        /// Over any window no more goes than the rate gives and the bucket holds, or one larger parcel.
        #[test]
        fn no_window_has_more_than_its_rate_and_the_burst(
            rate in 1..5_000_u64,
            burst_ms in 1..3_000_u64,
            steps in prop::collection::vec(
                (0..400_000_000_u64, prop::collection::vec(0..2_000_u64, 1..6), 0..4_usize), 1..200
            )
        ) {
            let bucket = bucket(rate, Duration::from_millis(burst_ms));
            let (mut now, mut gone, mut largest) = (0, Vec::new(), 0);
            for (pause, parcels, unused) in steps {
                now += pause;
                let Ok(taken) = bucket.take(&parcels.iter().copied(), now) else {
                    // What it says of the wait is true.
                    let Err(Dry(wait)) = bucket.look(parcels[0], now) else { panic!("it was dry") };
                    let wait = nanos(wait);
                    prop_assert!(bucket.look(parcels[0], now + wait).is_ok());
                    prop_assert!(wait == 1 || bucket.look(parcels[0], now + wait - 1).is_err());
                    continue;
                };
                prop_assert!(taken.parcels >= 1 && taken.parcels <= parcels.len());
                let used = taken.parcels.saturating_sub(unused);
                let sum = |parcels: &[u64]| parcels.iter().sum::<u64>();
                prop_assert_eq!(taken.count, sum(&parcels[..taken.parcels]));
                bucket.give_back(taken, sum(&parcels[..used]), now);
                largest = largest.max(if used > 0 { parcels[0] } else { 0 });
                gone.push((now, sum(&parcels[..used])));
            }
            let holds = (rate * burst_ms) as f64 / 1_000.0;
            let most = most_over_any_window(&gone, rate);
            prop_assert!(most <= holds.max(largest as f64) + 0.001, "{most} over {holds}, {largest}");
        }

        /// Who takes as much as there is gets all of the rate, to within a rounding of each take.
        #[test]
        fn all_of_the_rate_can_be_had(rate in 1..100_000_u64, steps in prop::collection::vec(1..50_000_000_u64, 1..200)) {
            let bucket = of_a_second(rate);
            let (mut now, mut gone) = (0, 0);
            for pause in steps.iter().chain(&[SECOND]) {
                now += pause.min(&SECOND);
                gone += take(&bucket, &repeat_n(1, 200_000), now).unwrap_or(0) as u64;
            }
            let came_in = rate as f64 * (1.0 + (now - steps[0]) as f64 / SECOND as f64);
            prop_assert!(gone as f64 >= came_in - 2.0, "{gone} of {came_in}");
        }
    }

    #[test]
    fn threads_that_take_at_once_never_get_more_together() {
        const RATE: u64 = 200_000;
        let (bucket, begun) = (bucket(RATE, Duration::from_millis(50)), Instant::now());
        let gone: Vec<Vec<(u64, u64)>> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|seed| {
                    let bucket = &bucket;
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(seed);
                        let mut gone = Vec::new();
                        while begun.elapsed() < Duration::from_millis(300) {
                            let parcels: Vec<u64> = (0..3).map(|_| random.u64(1..40)).collect();
                            let before = nanos(begun.elapsed());
                            let Ok(taken) = bucket.take(&parcels.iter().copied(), before) else {
                                continue;
                            };
                            if random.u8(..) < 64 {
                                bucket.give_back(taken, 0, nanos(begun.elapsed()));
                            } else {
                                gone.push((before, taken.count));
                            }
                        }
                        gone
                    })
                })
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).collect()
        });
        let mut gone = gone.concat();
        gone.sort_unstable();
        let sum: u64 = gone.iter().map(|(_, count)| count).sum();
        let most = most_over_any_window(&gone, RATE);
        let holds = RATE as f64 / 20.0;
        // Two that give back and are kept from it for a while may count what has come in meanwhile twice.
        assert!(most <= holds + 240.0, "{most} over {holds}");
        assert!(sum as f64 > holds * 2.0, "{sum} went");
    }
}
