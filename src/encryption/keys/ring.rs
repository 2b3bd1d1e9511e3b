//! The key ring as the spool sees it: it never waits, and hands what is to be done to the thread.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::state::State;
use crate::record::StreamName;
use crate::spool::{DataKey, KeyRing, NoKey, Unwrapped, WrappedKey};

/// What the ring and the thread share.
pub(super) struct Shared {
    #[expect(
        clippy::disallowed_types,
        reason = "taken once a segment and once a synced group, never over a call"
    )]
    state: std::sync::Mutex<State>,
    /// There may be something new to do.
    pub(super) wake: Notify,
    /// The thread is to end.
    pub(super) stop: Notify,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        #[expect(
            clippy::disallowed_types,
            reason = "taken once a segment and once a synced group, never over a call"
        )]
        let state = std::sync::Mutex::new(state);
        Self { state, wake: Notify::new(), stop: Notify::new() }
    }

    /// Does something with the state. It must neither wait nor call anybody.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // The state is not left half done by a panic, which ends the process anyway.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The key ring. See the module.
#[derive(Debug)]
pub(super) struct Ring(pub(super) Arc<Shared>);

impl Ring {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> (T, bool)) -> T {
        let (answer, is_new) = self.0.with(act);
        if is_new {
            self.0.wake.notify_one();
        }
        answer
    }
}

impl KeyRing for Ring {
    fn current(&self, stream: &StreamName) -> Result<Arc<DataKey>, NoKey> {
        self.with(|state| state.current(stream, Instant::now()))
    }

    fn used(&self, stream: &StreamName, bytes: u64) {
        self.with(|state| ((), state.used(stream, bytes)));
    }

    fn unwrap(
        &self,
        stream: &StreamName,
        wrapped: &WrappedKey,
        ready: Box<dyn FnOnce() + Send>,
    ) -> Unwrapped {
        self.with(|state| state.unwrap(stream, wrapped, ready, Instant::now()))
    }
}
