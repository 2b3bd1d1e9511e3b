//! The current data key of one stream: when it is to be renewed, and when it must not be used. Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcome::Trouble;
use crate::spool::{DataKey, NoKey};

/// When a key is old.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) soft_age: Duration,
    pub(super) hard_age: Duration,
    pub(super) bytes_max: u64,
}

/// The key of one stream, and what is known of the next one.
#[derive(Debug)]
pub(super) struct StreamKey {
    held: Option<Held>,
    /// Since when a key is wanted, while there is none.
    wanted_at: Instant,
    /// Whether a call for a key is under way.
    is_asked: bool,
    failing: Option<Failing>,
}

/// A key that was given.
#[derive(Debug)]
struct Held {
    key: Arc<DataKey>,
    since: Instant,
    /// The soft age of this very key.
    soft_age: Duration,
    /// What was sealed since, under it or under the one before it, whose segment was still open.
    bytes: u64,
}

/// No call has succeeded lately.
#[derive(Debug)]
struct Failing {
    trouble: Trouble,
    since: Instant,
    failures: u32,
    /// Nothing is asked before this.
    not_before: Instant,
    /// What there was when it was last said.
    said: (Usable, &'static str),
}

/// Whether there is a key that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usable {
    /// There has been none yet.
    None,
    /// There is one.
    Yes,
    /// There is one, and it is too old.
    TooOld,
}

impl StreamKey {
    /// A stream whose key is wanted from now on.
    pub(super) const fn new(now: Instant) -> Self {
        Self { held: None, wanted_at: now, is_asked: false, failing: None }
    }

    /// The key for a new segment.
    pub(super) fn current(&self, policy: &Policy, now: Instant) -> Result<Arc<DataKey>, NoKey> {
        match (&self.held, self.usable(policy, now)) {
            (Some(held), Usable::Yes) => Ok(Arc::clone(&held.key)),
            (Some(held), _) => Err(NoKey::TooOld { age: age(held, now) }),
            (None, _) => Err(match &self.failing {
                Some(failing) => NoKey::Unavailable { message: failing.trouble.message.clone() },
                None => NoKey::NotYet,
            }),
        }
    }

    /// The held key, whatever its age.
    pub(super) fn held(&self) -> Option<&Arc<DataKey>> {
        self.held.as_ref().map(|held| &held.key)
    }

    /// Counts sealed bytes.
    pub(super) fn used(&mut self, bytes: u64) {
        if let Some(held) = &mut self.held {
            held.bytes = held.bytes.saturating_add(bytes);
        }
    }

    /// When a key is to be asked for; `None` while one is.
    pub(super) fn due(&self, policy: &Policy) -> Option<Instant> {
        if self.is_asked {
            return None;
        }
        let wanted_at = self.held.as_ref().map_or(self.wanted_at, |held| match held.bytes {
            // What sealed nothing has nothing to lose but its time: half of it is kept in reserve.
            0 => held.since + held.soft_age.max(policy.hard_age / 2),
            bytes if bytes >= policy.bytes_max => held.since,
            _ => held.since + held.soft_age,
        });
        Some(self.failing.as_ref().map_or(wanted_at, |failing| wanted_at.max(failing.not_before)))
    }

    /// A call for a key begins.
    pub(super) fn asked(&mut self) {
        self.is_asked = true;
    }

    /// A key came. Says what the trouble was until now, and since when.
    pub(super) fn got(
        &mut self,
        key: Arc<DataKey>,
        soft_age: Duration,
        now: Instant,
    ) -> Option<(Trouble, Instant)> {
        self.is_asked = false;
        self.held = Some(Held { key, since: now, soft_age, bytes: 0 });
        self.failing.take().map(|failing| (failing.trouble, failing.since))
    }

    /// No key came, and nothing is asked for `wait`. Says whether that is news.
    pub(super) fn failed(
        &mut self,
        trouble: Trouble,
        wait: Duration,
        policy: &Policy,
        now: Instant,
    ) -> bool {
        self.is_asked = false;
        let said = (self.usable(policy, now), trouble.code);
        let before = self.failing.take();
        let is_news = before.as_ref().is_none_or(|before| before.said != said);
        self.failing = Some(Failing {
            trouble,
            since: before.as_ref().map_or(now, |before| before.since),
            failures: self.failures_of(before.as_ref()),
            not_before: now + wait,
            said,
        });
        is_news
    }

    fn failures_of(&self, before: Option<&Failing>) -> u32 {
        before.map_or(1, |before| before.failures.saturating_add(1))
    }

    /// Whether there is a key that may be used.
    pub(super) fn usable(&self, policy: &Policy, now: Instant) -> Usable {
        match &self.held {
            None => Usable::None,
            Some(held) if age(held, now) >= policy.hard_age => Usable::TooOld,
            Some(_) => Usable::Yes,
        }
    }

    /// How many calls have failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failing.as_ref().map_or(0, |failing| failing.failures)
    }

    /// The age of the held key, and the bytes that were sealed since.
    pub(super) fn age_and_bytes(&self, now: Instant) -> Option<(Duration, u64)> {
        self.held.as_ref().map(|held| (age(held, now), held.bytes))
    }

    /// Why the last call failed, and since when they do.
    pub(super) fn trouble(&self) -> Option<(&Trouble, Instant)> {
        self.failing.as_ref().map(|failing| (&failing.trouble, failing.since))
    }
}

fn age(held: &Held, now: Instant) -> Duration {
    now.saturating_duration_since(held.since)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::outcome::{Class, trouble};
    use super::*;
    use crate::spool::{Provider, WrappedKey};

    const POLICY: Policy = Policy {
        soft_age: Duration::from_secs(100),
        hard_age: Duration::from_secs(1_000),
        bytes_max: 10,
    };
    const SECOND: Duration = Duration::from_secs(1);

    fn key(number: u8) -> Arc<DataKey> {
        let wrapped = WrappedKey {
            provider: Provider::Kms,
            key_id: "arn".to_owned(),
            context: BTreeMap::new(),
            wrapped: vec![number],
        };
        Arc::new(DataKey::new(wrapped, [number; 32]))
    }

    fn number(key: &DataKey) -> u8 {
        key.wrapped().wrapped[0]
    }

    fn away() -> Trouble {
        trouble(Class::Passing, "Connect", "nobody is there")
    }

    /// A stream that has had key 1 since `start`.
    fn with_key(start: Instant) -> StreamKey {
        let mut stream = StreamKey::new(start);
        stream.asked();
        assert_eq!(stream.got(key(1), POLICY.soft_age, start), None);
        stream
    }

    #[test]
    fn a_key_is_asked_for_at_once_and_once() {
        let start = Instant::now();
        let mut stream = StreamKey::new(start);
        assert_eq!(stream.current(&POLICY, start).unwrap_err(), NoKey::NotYet);
        assert_eq!(stream.due(&POLICY), Some(start));
        stream.asked();
        assert_eq!(stream.due(&POLICY), None);
        stream.got(key(1), POLICY.soft_age, start + SECOND);
        assert_eq!(number(&stream.current(&POLICY, start + SECOND).unwrap()), 1);
    }

    #[test]
    fn a_key_that_was_used_is_renewed_at_its_soft_age_and_an_idle_one_later() {
        let start = Instant::now();
        let mut stream = with_key(start);
        assert_eq!(stream.due(&POLICY), Some(start + SECOND * 500));
        stream.used(1);
        assert_eq!(stream.due(&POLICY), Some(start + SECOND * 100));
        stream.asked();
        let late = start + SECOND * 150;
        assert_eq!(
            number(&stream.current(&POLICY, late).unwrap()),
            1,
            "until the new one is there"
        );
        stream.got(key(2), POLICY.soft_age, late);
        assert_eq!(number(&stream.current(&POLICY, late).unwrap()), 2);
        assert_eq!(stream.age_and_bytes(late + SECOND), Some((SECOND, 0)));
    }

    #[test]
    fn a_key_is_renewed_by_bytes() {
        let start = Instant::now();
        let mut stream = with_key(start);
        stream.used(9);
        assert_eq!(stream.due(&POLICY), Some(start + SECOND * 100));
        stream.used(1);
        assert_eq!(stream.due(&POLICY), Some(start), "at once");
        assert!(stream.current(&POLICY, start + SECOND).is_ok(), "and is good until then");
        stream.used(u64::MAX);
        stream.asked();
        stream.got(key(2), POLICY.soft_age, start + SECOND);
        assert_eq!(stream.due(&POLICY), Some(start + SECOND * 501));
    }

    #[test]
    fn past_the_hard_age_no_key_is_given_out_until_a_new_one_comes() {
        let start = Instant::now();
        let mut stream = with_key(start);
        stream.used(1);
        let before = start + SECOND * 999;
        assert!(stream.failed(away(), SECOND, &POLICY, before));
        assert!(stream.current(&POLICY, before).is_ok());
        let end = start + SECOND * 1_000;
        let too_old = NoKey::TooOld { age: SECOND * 1_000 };
        assert_eq!(stream.current(&POLICY, end).unwrap_err(), too_old);
        assert!(stream.failed(away(), SECOND, &POLICY, end), "that is news");
        assert!(!stream.failed(away(), SECOND, &POLICY, end + SECOND), "and then it is none");
        stream.got(key(2), POLICY.soft_age, end + SECOND);
        assert_eq!(number(&stream.current(&POLICY, end + SECOND).unwrap()), 2);
    }

    #[test]
    fn after_a_failure_nothing_is_asked_before_the_wait_is_over() {
        let start = Instant::now();
        let mut stream = StreamKey::new(start);
        stream.asked();
        assert!(stream.failed(away(), SECOND * 7, &POLICY, start + SECOND));
        assert_eq!(stream.due(&POLICY), Some(start + SECOND * 8));
        assert_eq!(
            stream.current(&POLICY, start + SECOND).unwrap_err(),
            NoKey::Unavailable { message: "Connect: nobody is there".to_owned() }
        );
        stream.used(u64::MAX);
        assert_eq!(stream.due(&POLICY), Some(start + SECOND * 8), "not by use either");
        stream.asked();
        assert!(!stream.failed(away(), SECOND, &POLICY, start + SECOND * 9), "the same is no news");
        assert_eq!(stream.failures(), 2);
        let denied = trouble(Class::Operator, "AccessDeniedException", "");
        assert!(stream.failed(denied.clone(), SECOND, &POLICY, start + SECOND * 10));
        let (before, since) = stream.got(key(1), SECOND, start + SECOND * 20).unwrap();
        assert_eq!((before, since), (denied, start + SECOND));
        assert_eq!((stream.failures(), stream.trouble()), (0, None));
    }

    #[test]
    fn a_renewal_that_fails_leaves_the_old_key_and_is_put_off() {
        let start = Instant::now();
        let mut stream = with_key(start);
        stream.used(1);
        stream.asked();
        let now = start + SECOND * 100;
        assert!(stream.failed(away(), SECOND * 3, &POLICY, now));
        assert_eq!(stream.usable(&POLICY, now), Usable::Yes);
        assert_eq!(stream.due(&POLICY), Some(now + SECOND * 3));
        assert_eq!(number(&stream.current(&POLICY, now).unwrap()), 1);
    }
}
