//! A key ring of the model: keys that change, a service that goes away, and answers that come later.

#[expect(clippy::disallowed_types, reason = "a key ring of tests, on no record's way")]
use std::sync::Mutex;
use std::sync::{Arc, MutexGuard};

use super::super::keyring::{
    DataKey, KeyRing, NoKey, Provider, UnwrapError, Unwrapped, WrappedKey,
};
use crate::record::StreamName;

/// See the module.
pub(super) struct ModelRing {
    #[expect(clippy::disallowed_types, reason = "a key ring of tests, on no record's way")]
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which key is the current one.
    number: u8,
    refusal: Option<NoKey>,
    unwraps: Unwraps,
    /// Who waits for a key.
    ready: Vec<Box<dyn FnOnce() + Send>>,
    asked: u64,
    used_bytes: u64,
}

/// How old keys are given.
#[derive(Debug, Clone, Default)]
pub(super) enum Unwraps {
    #[default]
    Ready,
    /// The first time they are on their way, until [`ModelRing::arrive`].
    Later,
    Refused(UnwrapError),
}

impl ModelRing {
    #[expect(clippy::disallowed_types, reason = "a key ring of tests, on no record's way")]
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default() })
    }

    /// The next segment has another key.
    pub(super) fn rotate(&self) {
        let mut state = self.state();
        state.number = state.number.wrapping_add(1);
    }

    /// New segments get no key, for this reason; or they do again.
    pub(super) fn refuse(&self, refusal: Option<NoKey>) {
        self.state().refusal = refusal;
    }

    /// What becomes of asking for the keys of old segments.
    pub(super) fn set_unwraps(&self, unwraps: Unwraps) {
        self.state().unwraps = unwraps;
    }

    /// All keys that were on their way are there.
    pub(super) fn arrive(&self) {
        let ready = {
            let mut state = self.state();
            state.unwraps = Unwraps::Ready;
            std::mem::take(&mut state.ready)
        };
        ready.into_iter().for_each(|ready| ready());
    }

    /// How often the key of an old segment was asked for.
    pub(super) fn asked(&self) -> u64 {
        self.state().asked
    }

    /// How many bytes were said to be sealed.
    pub(super) fn used_bytes(&self) -> u64 {
        self.state().used_bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics within a call")
    }
}

/// The key of this number, for this stream.
pub(super) fn key(stream: &StreamName, number: u8) -> Arc<DataKey> {
    let wrapped = WrappedKey {
        provider: Provider::Kms,
        key_id: format!("arn:aws:kms:eu-central-1:111122223333:key/{number}"),
        context: [("stream".to_owned(), stream.to_string())].into(),
        wrapped: vec![number; 40],
    };
    let mut bytes = [number; 32];
    for (byte, letter) in bytes.iter_mut().skip(1).zip(stream.as_str().bytes()) {
        *byte ^= letter;
    }
    Arc::new(DataKey::new(wrapped, bytes))
}

impl KeyRing for ModelRing {
    fn current(&self, stream: &StreamName) -> Result<Arc<DataKey>, NoKey> {
        let state = self.state();
        state.refusal.clone().map_or_else(|| Ok(key(stream, state.number)), Err)
    }

    fn used(&self, _: &StreamName, bytes: u64) {
        self.state().used_bytes += bytes;
    }

    fn unwrap(
        &self,
        stream: &StreamName,
        wrapped: &WrappedKey,
        ready: Box<dyn FnOnce() + Send>,
    ) -> Unwrapped {
        let mut state = self.state();
        state.asked += 1;
        match &state.unwraps {
            Unwraps::Ready => {
                let number = wrapped.wrapped.first().copied().unwrap_or(0);
                if key(stream, number).wrapped() != wrapped {
                    let message = "the context is another one".to_owned();
                    return Unwrapped::Refused(UnwrapError::Invalid { message });
                }
                Unwrapped::Ready(key(stream, number))
            }
            Unwraps::Later => {
                state.ready.push(ready);
                Unwrapped::Pending
            }
            Unwraps::Refused(error) => Unwrapped::Refused(error.clone()),
        }
    }
}
