//! How long to wait before something is asked again: full jitter under a doubling, capped ceiling.
//!
//! Pure: it is given the dice. It knows nothing of why something failed.

use std::time::Duration;

/// The bounds of every wait.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits whose ceiling begins at `min`, doubles, and stays at `max`.
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The longest wait after the failure number `attempt`, which counts from 1.
    pub(crate) fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }

    /// A wait after the failure number `attempt`: anything up to the ceiling.
    pub(crate) fn wait(&self, attempt: u32, random: &mut fastrand::Rng) -> Duration {
        self.ceiling(attempt).mul_f64(random.f64())
    }

    /// A wait of at least half the ceiling, where asking too early is worse than asking late.
    pub(crate) fn long_wait(&self, attempt: u32, random: &mut fastrand::Rng) -> Duration {
        self.ceiling(attempt).mul_f64(random.f64().midpoint(1.0))
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
}
