//! How long to wait before something is sent again: full jitter under a doubling, capped ceiling.
//!
//! Pure: it is given `now` and the dice. It knows nothing of why something failed.

use std::time::{Duration, Instant};

/// The bounds of every wait.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits whose ceiling begins at `min`, doubles, and stays at `max`.
    pub(super) const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The longest wait after the failure number `attempt`, which counts from 1.
    pub(super) fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }

    /// A wait after the failure number `attempt`: anything up to the ceiling.
    pub(super) fn wait(&self, attempt: u32, random: &mut fastrand::Rng) -> Duration {
        self.ceiling(attempt).mul_f64(random.f64())
    }

    /// A wait of at least half the ceiling, where asking too early is worse than asking late.
    pub(super) fn long_wait(&self, attempt: u32, random: &mut fastrand::Rng) -> Duration {
        self.ceiling(attempt).mul_f64(random.f64().midpoint(1.0))
    }
}

/// The pause of a whole stream: after requests of which the greater part failed.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    /// Failures of requests that began before this are of the same round trip as the last one.
    raised_at: Option<Instant>,
    until: Option<Instant>,
}

impl Pause {
    /// A request that began at `began_at` failed.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        began_at: Instant,
        backoff: &Backoff,
        random: &mut fastrand::Rng,
    ) {
        if self.raised_at.is_some_and(|raised_at| began_at < raised_at) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.raised_at = Some(now);
        self.until = Some(now + backoff.wait(self.failures, random));
    }

    /// A request succeeded that began at `began_at`. One from before the last failure says nothing new.
    pub(super) fn succeeded(&mut self, began_at: Instant) {
        if self.raised_at.is_none_or(|raised_at| began_at >= raised_at) {
            *self = Self::default();
        }
    }

    /// The end of the pause, if it is not over at `now`.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Ends the pause at `at` at the latest.
    pub(super) fn shorten(&mut self, at: Instant) {
        self.until = self.until.map(|until| until.min(at));
    }

    /// Whether the last thing that is known is a failure.
    pub(super) const fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_ceiling_and_no_ceiling_than_the_cap(
            min in 1_u32..5_000, more in 0_u32..100_000, attempt in 0_u32..1_000, seed in any::<u64>(),
        ) {
            let backoff = Backoff::new(MS * min, MS * (min + more));
            let mut random = fastrand::Rng::with_seed(seed);
            let ceiling = backoff.ceiling(attempt);
            prop_assert!(ceiling >= MS * min && ceiling <= MS * (min + more));
            prop_assert!(backoff.ceiling(attempt + 1) >= ceiling);
            prop_assert!(backoff.wait(attempt, &mut random) <= ceiling);
            let long = backoff.long_wait(attempt, &mut random);
            prop_assert!(long >= ceiling / 2 - MS.min(ceiling / 2) && long <= ceiling);
        }
    }

    #[test]
    fn the_ceiling_doubles() {
        let backoff = Backoff::new(MS * 100, MS * 1_000);
        let ceilings: Vec<Duration> = (1..=5).map(|attempt| backoff.ceiling(attempt)).collect();
        assert_eq!(ceilings, [MS * 100, MS * 200, MS * 400, MS * 800, MS * 1_000]);
    }

    #[test]
    fn failures_of_one_round_trip_lengthen_the_pause_once() {
        let backoff = Backoff::new(MS * 100, MS * 10_000);
        let mut random = fastrand::Rng::with_seed(1);
        let mut pause = Pause::default();
        let start = Instant::now();
        for _ in 0..8 {
            pause.failed(start + MS * 10, start, &backoff, &mut random);
        }
        assert_eq!(pause.failures, 1);
        pause.failed(start + MS * 500, start + MS * 300, &backoff, &mut random);
        assert_eq!(pause.failures, 2);
        pause.succeeded(start);
        assert!(pause.is_failing(), "an older success says nothing");
        pause.succeeded(start + MS * 600);
        assert!(!pause.is_failing() && pause.until(start).is_none());
    }
}
