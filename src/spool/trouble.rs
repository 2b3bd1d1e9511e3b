//! Why a stream's spool can not be written to, and when that is tried again. Pure: it is given `now`.

use std::time::{Duration, Instant};

use crate::pipeline::NotDurable;

/// How long after a trouble that costs little to look at.
const SHORT_WAIT_MIN: Duration = Duration::from_millis(20);
const SHORT_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long after an error of the disk.
const LONG_WAIT_MIN: Duration = Duration::from_secs(1);
const LONG_WAIT_MAX: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    state: Option<State>,
    /// What seemed to be over, while nothing was written since: the wait goes on where it was.
    doubtful: Option<State>,
}

#[derive(Debug)]
struct State {
    why: NotDurable,
    retry_at: Instant,
    wait: Duration,
}

impl Trouble {
    /// What is wrong, until it is tried again.
    pub(super) fn waits(&self, now: Instant) -> Option<NotDurable> {
        self.state.as_ref().filter(|state| state.retry_at > now).map(|state| state.why)
    }

    /// What is wrong, whether it is tried again now or not.
    pub(super) fn why(&self) -> Option<NotDurable> {
        self.state.as_ref().map(|state| state.why)
    }

    /// When to try again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.state.as_ref().map(|state| state.retry_at)
    }

    /// It did not work. Says whether that, or the reason, is new.
    pub(super) fn met(&mut self, now: Instant, why: NotDurable) -> bool {
        let (min, max) = match why {
            NotDurable::DiskFailed => (LONG_WAIT_MIN, LONG_WAIT_MAX),
            _ => (SHORT_WAIT_MIN, SHORT_WAIT_MAX),
        };
        let last = self.state.as_ref().or(self.doubtful.as_ref());
        let same = last.filter(|state| state.why == why);
        let is_new = same.is_none();
        let wait = same.map_or(min, |state| state.wait.saturating_mul(2).min(max));
        self.state = Some(State { why, retry_at: now + wait, wait });
        is_new
    }

    /// It seems to work.
    pub(super) fn over(&mut self) {
        self.doubtful = self.state.take().or(self.doubtful.take());
    }

    /// Something was written. Says what had been wrong until then.
    pub(super) fn proved_over(&mut self) -> Option<NotDurable> {
        let state = self.state.is_none().then(|| self.doubtful.take())?;
        state.map(|state| state.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_disk_is_tried_again_ever_more_seldom() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        assert!(trouble.met(start, NotDurable::DiskFailed));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let at = start + Duration::from_secs(seconds);
            assert_eq!(trouble.retry_at(), Some(at));
            assert_eq!(trouble.waits(start), Some(NotDurable::DiskFailed));
            assert_eq!(trouble.waits(at), None);
            assert!(!trouble.met(start, NotDurable::DiskFailed));
        }
        assert!(trouble.met(start, NotDurable::DiskFull), "another reason is news");
        assert!(trouble.waits(start + SHORT_WAIT_MIN).is_none());
    }

    #[test]
    fn what_only_seems_to_be_over_is_waited_for_ever_longer_and_is_no_news() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        assert!(trouble.met(start, NotDurable::DiskFull));
        for millis in [40, 80, 160] {
            trouble.over();
            assert_eq!(trouble.waits(start), None);
            assert!(!trouble.met(start, NotDurable::DiskFull));
            assert_eq!(trouble.retry_at(), Some(start + Duration::from_millis(millis)));
            assert_eq!(trouble.proved_over(), None, "it is not over");
        }
        trouble.over();
        trouble.over();
        assert_eq!(trouble.proved_over(), Some(NotDurable::DiskFull));
        assert_eq!(trouble.proved_over(), None);
        assert!(trouble.met(start, NotDurable::DiskFull));
        assert_eq!(trouble.retry_at(), Some(start + SHORT_WAIT_MIN));
    }
}
