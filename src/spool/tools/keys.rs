//! The keys of segments that are looked into: had from a ring, and waited for a bounded time.
//!
//! The time is that of all waiting in vain: a key that comes gives it back, so that a hundred segments whose
//! key service is away cost no more of it than one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::super::keyring::{DataKey, KeyRing, NoKey, UnwrapError, Unwrapped, WrappedKey};
use crate::record::StreamName;

/// See the module.
pub struct Keys<'r> {
    ring: &'r dyn KeyRing,
    patience: Duration,
    left: Duration,
}

impl std::fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Why a key was not had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotHad {
    /// Not now, or not by us.
    Waits(String),
    /// Never.
    Invalid(String),
}

impl<'r> Keys<'r> {
    /// The keys of `ring`, waited for in vain for `patience` in all.
    #[must_use]
    pub fn new(ring: &'r dyn KeyRing, patience: Duration) -> Self {
        Self { ring, patience, left: patience }
    }

    /// The key of a segment.
    pub(super) fn of(
        &mut self,
        stream: &StreamName,
        wrapped: &WrappedKey,
    ) -> Result<Arc<DataKey>, NotHad> {
        let begun_at = Instant::now();
        let deadline = begun_at + self.left;
        loop {
            let (ready, is_ready) = bounded(1);
            let tell = move || {
                // Whoever asked may have stopped waiting.
                let _is_heard = ready.try_send(()).is_ok();
            };
            let late = match self.ring.unwrap(stream, wrapped, Box::new(tell)) {
                Unwrapped::Ready(key) => {
                    self.left = self.patience;
                    return Ok(key);
                }
                Unwrapped::Pending => "the key did not come in time".to_owned(),
                Unwrapped::Refused(UnwrapError::Unavailable { message }) => {
                    format!("the key service is away: {message}")
                }
                Unwrapped::Refused(error) => return Err(refused(error)),
            };
            let wait = deadline.saturating_duration_since(Instant::now()).min(ASK_INTERVAL);
            if wait.is_zero() {
                self.left = Duration::ZERO;
                return Err(NotHad::Waits(late));
            }
            // A ring that has dropped the bell has answered, and is not asked again at once.
            if is_ready.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                let _when = crossbeam_channel::after(wait).recv();
            }
        }
    }
}

fn refused(error: UnwrapError) -> NotHad {
    match error {
        UnwrapError::Foreign { key_id } => NotHad::Waits(format!(
            "its key {key_id} is not listed: add it to keys.decrypt_only if it is yours"
        )),
        UnwrapError::Disabled { message } => {
            NotHad::Waits(format!("its key can not be used: {message}"))
        }
        UnwrapError::Unavailable { message } => {
            NotHad::Waits(format!("the key service is away: {message}"))
        }
        UnwrapError::Invalid { message } => {
            NotHad::Invalid(format!("its data key can not be unwrapped: {message}"))
        }
    }
}

/// How long it is waited, at most, before a ring is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(250);

/// A ring of one key, which was had already.
pub(super) struct Given(pub(super) Arc<DataKey>);

impl KeyRing for Given {
    fn current(&self, _: &StreamName) -> Result<Arc<DataKey>, NoKey> {
        Err(NoKey::Unavailable { message: "nothing is written here".to_owned() })
    }

    fn used(&self, _: &StreamName, _: u64) {}

    fn unwrap(&self, _: &StreamName, _: &WrappedKey, _: Box<dyn FnOnce() + Send>) -> Unwrapped {
        Unwrapped::Ready(Arc::clone(&self.0))
    }
}
