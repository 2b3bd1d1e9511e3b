//! The hold of one stream: something that an operator has to put right keeps it from being sent to.
//!
//! Pure: it is given `now` and the dice. A held stream is asked again with one small request, ever more
//! seldom; a success releases it. It drops nothing and knows no records.

use std::time::{Duration, Instant};

/// Whether a stream is held. See the module.
#[derive(Debug)]
pub(super) struct Hold {
    min: Duration,
    max: Duration,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    ceiling: Duration,
    /// When to ask again; nothing while that request is on its way.
    probe_at: Option<Instant>,
}

impl Hold {
    /// A stream that is not held, and would be asked again every `min` at first and every `max` at last.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), held: None }
    }

    /// The stream was refused. Says whether it was not held before.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        is_probe: bool,
        random: &mut fastrand::Rng,
    ) -> bool {
        match &mut self.held {
            None => {
                let probe_at = Some(now + jittered(self.min, random));
                self.held = Some(Held { since: now, ceiling: self.min, probe_at });
                true
            }
            Some(held) => {
                if is_probe {
                    held.ceiling = held.ceiling.saturating_mul(2).min(self.max);
                    held.probe_at = Some(now + jittered(held.ceiling, random));
                }
                false
            }
        }
    }

    /// The probe came to nothing that says anything of the stream: it is asked again.
    pub(super) fn inconclusive(&mut self, now: Instant, random: &mut fastrand::Rng) {
        if let Some(held) = &mut self.held
            && held.probe_at.is_none()
        {
            held.probe_at = Some(now + jittered(held.ceiling, random));
        }
    }

    /// A request that began at `began_at` succeeded. Says whether this released the stream.
    ///
    /// One from before the hold says nothing of what came since.
    pub(super) fn succeeded(&mut self, began_at: Instant) -> bool {
        self.held.take_if(|held| began_at >= held.since).is_some()
    }

    /// Since when it is held, if it is.
    pub(super) fn since(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.since)
    }

    /// When it is to be asked again; nothing while it is being asked, or is not held.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.held.as_ref().and_then(|held| held.probe_at)
    }

    /// What the stream was held for may have changed: it is asked again at once, and soon after that.
    pub(super) fn renew(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.ceiling = self.min;
            held.probe_at = Some(now);
        }
    }

    /// The small request is on its way.
    pub(super) const fn probe_began(&mut self) {
        if let Some(held) = &mut self.held {
            held.probe_at = None;
        }
    }

    /// Asks at `at` at the latest.
    pub(super) fn shorten(&mut self, at: Instant) {
        if let Some(Held { probe_at: Some(probe_at), .. }) = &mut self.held {
            *probe_at = (*probe_at).min(at);
        }
    }
}

/// At least half of `wait`, so that a fleet does not ask in step.
fn jittered(wait: Duration, random: &mut fastrand::Rng) -> Duration {
    wait.mul_f64(random.f64().midpoint(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_asked_ever_more_seldom_and_a_success_releases_it() {
        let mut random = fastrand::Rng::with_seed(7);
        let start = Instant::now();
        let mut hold = Hold::new(SECOND * 5, SECOND * 15);
        assert!(hold.refused(start, false, &mut random));
        for ceiling in [5, 10, 15, 15] {
            let wait = hold.probe_at().unwrap() - start;
            assert!(wait >= SECOND * ceiling / 2 && wait <= SECOND * ceiling, "{wait:?}");
            hold.probe_began();
            assert_eq!(hold.probe_at(), None);
            assert!(!hold.refused(start, true, &mut random));
        }
        assert!(!hold.succeeded(start - SECOND), "a request from before the hold proves nothing");
        assert_eq!(hold.since(), Some(start));
        assert!(hold.succeeded(start + SECOND));
        assert_eq!(hold.since(), None);
    }

    #[test]
    fn a_probe_that_says_nothing_is_repeated() {
        let mut random = fastrand::Rng::with_seed(7);
        let start = Instant::now();
        let mut hold = Hold::new(SECOND, SECOND);
        hold.refused(start, false, &mut random);
        hold.probe_began();
        hold.inconclusive(start, &mut random);
        assert!(hold.probe_at().is_some());
        hold.shorten(start);
        assert_eq!(hold.probe_at(), Some(start));
        hold.probe_began();
        hold.renew(start + SECOND);
        assert_eq!(hold.probe_at(), Some(start + SECOND), "even while it is being asked");
    }
}
