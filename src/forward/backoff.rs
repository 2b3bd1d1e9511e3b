//! How long a whole stream pauses after failures.
//!
//! Pure: it is given `now` and the dice. It knows nothing of why something failed.

use std::time::Instant;

use crate::aws::Backoff;

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
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

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
