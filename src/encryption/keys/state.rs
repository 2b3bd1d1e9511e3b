//! All keys and what is due for them: pure, but for the dice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::Agenda;
use super::current::{Policy, StreamKey, Usable};
use super::outcome::{Class, Trouble};
use super::providers::{Listed, STREAM};
use super::status::{KeyReason, KeyState, Status, StreamKeyStatus, WaitingKey};
use super::unwraps::{Due, Id, Settled, Unwraps, Waiter};
use super::wrap::described;
use super::{Config, SOFT_AGE_JITTER, UNWRAPPED_KEEP, UNWRAPPED_MAX};
use crate::aws::Backoff;
use crate::record::StreamName;
use crate::spool::{DataKey, NoKey, UnwrapError, Unwrapped, WrappedKey};

/// The keys of all streams, those of old segments, and the agenda. See the module.
#[derive(Debug)]
pub(super) struct State {
    policy: Policy,
    backoff: Backoff,
    hold: Backoff,
    listed: Listed,
    /// The streams that a key was asked for. Their number is bounded where streams come into being.
    streams: HashMap<StreamName, StreamKey>,
    unwraps: Unwraps,
    agenda: Agenda<Errand>,
    random: fastrand::Rng,
}

/// What can be due.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Errand {
    /// The key of a stream is to be asked for.
    Renew(StreamName),
    /// Something is to be done for the key of an old segment.
    Unwrap(Id),
}

/// What is to be done now.
pub(super) enum Next {
    /// A call for a stream's key.
    Generate(StreamName),
    /// A call for the key of an old segment.
    Unwrap(Id, WrappedKey),
    /// These are to be called, without a lock.
    Wake(Vec<Waiter>),
    /// Nothing before this time.
    Nothing(Option<Instant>),
}

/// What is worth a line in the log about a stream's key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is as it was, or as it should be.
    None,
    /// No new key is to be had.
    Failing {
        /// Why.
        trouble: Trouble,
        /// What there is instead.
        usable: Usable,
    },
    /// There is a key again, after calls had failed for so long.
    Well {
        /// How long.
        after: Duration,
    },
}

impl State {
    pub(super) fn new(config: &Config, listed: Listed) -> Self {
        Self {
            policy: Policy {
                soft_age: config.soft_age,
                hard_age: config.hard_age,
                bytes_max: config.key_bytes_max,
            },
            backoff: Backoff::new(config.backoff_min, config.backoff_max),
            hold: Backoff::new(config.hold_min, config.hold_max),
            listed,
            streams: HashMap::new(),
            unwraps: Unwraps::new(UNWRAPPED_MAX, UNWRAPPED_KEEP, config.hold_max),
            agenda: Agenda::default(),
            random: fastrand::Rng::new(),
        }
    }

    /// The key for a new segment, and whether there is something new to do.
    pub(super) fn current(
        &mut self,
        stream: &StreamName,
        now: Instant,
    ) -> (Result<Arc<DataKey>, NoKey>, bool) {
        if let Some(known) = self.streams.get(stream) {
            return (known.current(&self.policy, now), false);
        }
        self.want(stream, now);
        (Err(NoKey::NotYet), true)
    }

    /// A key is wanted for a stream from now on.
    pub(super) fn want(&mut self, stream: &StreamName, now: Instant) {
        self.streams.entry(stream.clone()).or_insert_with(|| StreamKey::new(now));
        self.plan(stream);
    }

    /// Counts sealed bytes. Says whether there is something new to do.
    pub(super) fn used(&mut self, stream: &StreamName, bytes: u64) -> bool {
        let Some(key) = self.streams.get_mut(stream) else { return false };
        let before = key.due(&self.policy);
        key.used(bytes);
        let is_new = key.due(&self.policy) != before;
        if is_new {
            self.plan(stream);
        }
        is_new
    }

    /// The key of an old segment, and whether there is something new to do.
    pub(super) fn unwrap(
        &mut self,
        stream: &StreamName,
        wrapped: &WrappedKey,
        waiter: Waiter,
        now: Instant,
    ) -> (Unwrapped, bool) {
        if !self.listed.has(wrapped) {
            let key_id = wrapped.key_id.clone();
            return (Unwrapped::Refused(UnwrapError::Foreign { key_id }), false);
        }
        if wrapped.context.get(STREAM).is_none_or(|named| named != stream.as_str()) {
            let message = "the encryption context does not name this stream".to_owned();
            return (Unwrapped::Refused(UnwrapError::Invalid { message }), false);
        }
        let held = self.streams.get(stream).and_then(StreamKey::held);
        if let Some(held) = held.filter(|held| held.wrapped() == wrapped) {
            return (Unwrapped::Ready(Arc::clone(held)), false);
        }
        let id = id_of(wrapped);
        let (unwrapped, due) = self.unwraps.ask(&id, wrapped, waiter, now);
        if due.is_some() {
            self.agenda.set(&Errand::Unwrap(id), due);
        }
        (unwrapped, due.is_some())
    }

    /// Takes the next thing to do. What is taken is under way, and has to be settled.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        while let Some(errand) = self.agenda.take_due(now) {
            match errand {
                Errand::Renew(stream) => {
                    if let Some(key) = self.streams.get_mut(&stream) {
                        key.asked();
                        return Next::Generate(stream);
                    }
                }
                Errand::Unwrap(id) => match self.unwraps.begin(&id, now) {
                    Due::Nothing => {}
                    Due::Ask(wrapped) => return Next::Unwrap(id, wrapped),
                    Due::Wake(waiters, at) => {
                        self.agenda.set(&Errand::Unwrap(id), Some(at));
                        return Next::Wake(waiters);
                    }
                    Due::Later(at) => self.agenda.set(&Errand::Unwrap(id), Some(at)),
                },
            }
        }
        Next::Nothing(self.agenda.next())
    }

    /// A call for a stream's key has ended.
    pub(super) fn generated(
        &mut self,
        stream: &StreamName,
        result: Result<Arc<DataKey>, Trouble>,
        now: Instant,
    ) -> News {
        let Some(key) = self.streams.get_mut(stream) else { return News::None };
        let news = match result {
            Ok(data_key) => {
                let jitter = 1.0 - SOFT_AGE_JITTER * self.random.f64();
                let soft_age = self.policy.soft_age.mul_f64(jitter);
                key.got(data_key, soft_age, now).map_or(News::None, |(_, since)| News::Well {
                    after: now.saturating_duration_since(since),
                })
            }
            Err(trouble) => {
                let attempt = key.failures().saturating_add(1);
                let wait = match trouble.class {
                    Class::Passing => self.backoff.wait(attempt, &mut self.random),
                    Class::Operator | Class::Never => {
                        self.hold.long_wait(attempt, &mut self.random)
                    }
                };
                let usable = key.usable(&self.policy, now);
                match key.failed(trouble.clone(), wait, &self.policy, now) {
                    true => News::Failing { trouble, usable },
                    false => News::None,
                }
            }
        };
        self.plan(stream);
        news
    }

    /// A call for the key of an old segment has ended.
    pub(super) fn unwrapped(
        &mut self,
        id: &Id,
        result: Result<Arc<DataKey>, Trouble>,
        now: Instant,
    ) -> Settled {
        let settled = match result {
            Ok(key) => self.unwraps.got(id, key, now),
            Err(trouble) => {
                let attempt = self.unwraps.failures(id).saturating_add(1);
                let wait = match trouble.class {
                    Class::Passing => self.backoff.wait(attempt, &mut self.random),
                    Class::Operator | Class::Never => {
                        self.hold.long_wait(attempt, &mut self.random)
                    }
                };
                self.unwraps.failed(id, trouble, wait, now)
            }
        };
        if settled.next.is_some() {
            self.agenda.set(&Errand::Unwrap(Arc::clone(id)), settled.next);
        }
        settled
    }

    /// How it stands.
    pub(super) fn status(&self, provider: &'static str, key_id: &str, now: Instant) -> Status {
        let mut streams: Vec<StreamKeyStatus> =
            self.streams.iter().map(|(name, key)| self.stream_status(name, key, now)).collect();
        streams.sort_by(|a, b| a.stream.cmp(&b.stream));
        let mut waiting: Vec<WaitingKey> = self
            .unwraps
            .waiting()
            .map(|waiting| WaitingKey {
                stream: waiting.wrapped.context.get(STREAM).cloned().unwrap_or_default(),
                key_id: waiting.wrapped.key_id.clone(),
                message: waiting.trouble.message.clone(),
                since: waiting.since,
            })
            .collect();
        waiting.sort_by(|a, b| (&a.stream, a.since).cmp(&(&b.stream, b.since)));
        let (unwrapped, unwrapping) = self.unwraps.counts();
        Status { provider, key_id: key_id.to_owned(), streams, unwrapped, unwrapping, waiting }
    }

    fn stream_status(&self, name: &StreamName, key: &StreamKey, now: Instant) -> StreamKeyStatus {
        let state = match (key.usable(&self.policy, now), key.trouble()) {
            (Usable::None, None) => KeyState::Coming,
            (Usable::None, Some(_)) => KeyState::Missing,
            (Usable::Yes, None) => KeyState::Ready,
            (Usable::Yes, Some(_)) => KeyState::Aging,
            (Usable::TooOld, _) => KeyState::TooOld,
        };
        let age_and_bytes = key.age_and_bytes(now);
        StreamKeyStatus {
            stream: name.clone(),
            state,
            age: age_and_bytes.map(|(age, _)| age),
            sealed_bytes: age_and_bytes.map_or(0, |(_, bytes)| bytes),
            reason: key.trouble().map(|(trouble, since)| KeyReason {
                code: trouble.code,
                message: trouble.message.clone(),
                needs_operator: trouble.class != Class::Passing,
                since,
                failures: key.failures(),
            }),
        }
    }

    fn plan(&mut self, stream: &StreamName) {
        if let Some(key) = self.streams.get(stream) {
            self.agenda.set(&Errand::Renew(stream.clone()), key.due(&self.policy));
        }
    }
}

/// All bytes of a wrapped key: two that differ in anything differ in this.
fn id_of(wrapped: &WrappedKey) -> Id {
    let mut bytes = described(&wrapped.key_id, &wrapped.context);
    bytes.push(wrapped.provider as u8);
    bytes.extend_from_slice(&wrapped.wrapped);
    bytes.into()
}
