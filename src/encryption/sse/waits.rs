//! How long is waited between two looks at a stream, and between two calls. Plain data.

use std::time::Duration;

use super::Config;
use super::owner::Pace;
use crate::aws::Backoff;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    /// How long one confirmation holds.
    pub(super) proof_holds: Duration,
    /// Between two looks when all is well.
    pub(super) watch: Duration,
    /// The shortest wait.
    pub(super) poll_min: Duration,
    /// While records wait, or a change is under way.
    pub(super) poll: Backoff,
    /// When the service can not be asked, and nothing waits for it.
    pub(super) calm: Backoff,
}

/// The wait between two calls that nobody asked for is so many of the shortest waits between two looks.
const PACE_PER_POLL: u32 = 30;

impl Waits {
    pub(super) const fn new(config: &Config) -> Self {
        Self {
            proof_holds: config.proof_holds,
            watch: config.watch_interval,
            poll_min: config.poll_min,
            poll: Backoff::new(config.poll_min, config.poll_max),
            calm: Backoff::new(config.poll_min, config.watch_interval),
        }
    }

    /// How often calls are made that nobody asked for.
    pub(super) const fn pace(config: &Config) -> Pace {
        Pace { min: config.poll_min.saturating_mul(PACE_PER_POLL), calls_max: config.calls_max }
    }

    /// After an answer that has denied the encryption: soon when it is the first one, and ever later when answers go
    /// on saying now this and now that.
    pub(super) fn after_denial(&self, in_a_row: u32, random: &mut fastrand::Rng) -> Duration {
        match in_a_row {
            0 | 1 => self.poll_min.mul_f64(random.f64()),
            more => self.poll.long_wait(more, random),
        }
    }
}
