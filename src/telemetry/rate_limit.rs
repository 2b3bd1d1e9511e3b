//! At most one log line an interval, with the number of those that were left out. It is given `now`.

use std::time::{Duration, Instant};

/// Lets one event through per interval, and counts the others.
#[derive(Debug, Clone)]
pub struct RateLimit {
    interval: Duration,
    admitted_at: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// A limit of one event per `interval`. The first event is always let through.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self { interval, admitted_at: None, suppressed: 0 }
    }

    /// Whether an event at `now` is let through: then `Some`, with how many were not since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        let too_soon = self
            .admitted_at
            .is_some_and(|last| now.saturating_duration_since(last) < self.interval);
        if too_soon {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.admitted_at = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_an_interval_is_let_through_and_the_others_are_counted() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut limit = RateLimit::new(Duration::from_secs(1));
        assert_eq!(limit.admit(at(0)), Some(0));
        assert_eq!(limit.admit(at(1)), None);
        assert_eq!(limit.admit(at(999)), None);
        assert_eq!(limit.admit(at(1_000)), Some(2));
        assert_eq!(limit.admit(at(9_000)), Some(0));
    }

    #[test]
    fn a_clock_that_steps_back_lets_nothing_more_through() {
        let start = Instant::now();
        let mut limit = RateLimit::new(Duration::from_secs(1));
        assert_eq!(limit.admit(start + Duration::from_secs(5)), Some(0));
        assert_eq!(limit.admit(start), None);
    }
}
