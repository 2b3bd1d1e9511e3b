//! The key ring as the spool sees it: it never waits, and hands what is to be done to the thread.

use std::sync::Arc;
use std::time::Instant;

use super::super::running;
use super::state::State;
use crate::record::StreamName;
use crate::spool::{DataKey, KeyRing, NoKey, Unwrapped, WrappedKey};

/// What the ring and the thread share. The lock is taken once a segment and once a synced group.
pub(super) type Shared = running::Shared<State>;

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
