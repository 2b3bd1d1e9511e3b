//! When something that failed is tried again: ever more seldom. Pure: it is given `now`.

use std::time::{Duration, Instant};

/// How long it waits before it tries again what the disk, or a key, refused.
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Retry {
    wait: Option<Duration>,
    at: Option<Instant>,
}

impl Retry {
    /// It failed. Says when it is to be tried again.
    pub(super) fn failed(&mut self, now: Instant) -> Instant {
        let wait = self.wait.map_or(WAIT_MIN, |wait| (wait * 2).min(WAIT_MAX));
        self.wait = Some(wait);
        *self.at.insert(now + wait)
    }

    /// It worked.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// Whether it failed, and has not worked since.
    pub(super) const fn has_failed(&self) -> bool {
        self.at.is_some()
    }

    /// When it may be tried again, if that is later than `now`.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.at.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_ever_more_seldom_until_it_works() {
        let now = Instant::now();
        let mut retry = Retry::default();
        for millis in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let at = now + Duration::from_millis(millis);
            assert_eq!(retry.failed(now), at);
            assert_eq!((retry.waits_until(now), retry.waits_until(at)), (Some(at), None));
            assert!(retry.has_failed());
        }
        retry.worked();
        assert!(!retry.has_failed());
        assert_eq!(retry.failed(now), now + WAIT_MIN);
    }
}
