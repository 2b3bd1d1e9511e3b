//! The data keys of old segments: which are there, which are asked for, and which can not be had. Pure.
//!
//! What is kept in the clear is bounded in number and in the time since its last use. That a key can not be
//! had is remembered too, so that nobody asks the service faster than the waits allow.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outcome::{Class, Trouble};
use crate::spool::{DataKey, UnwrapError, Unwrapped, WrappedKey};

/// Somebody who is called when it is worth asking again.
pub(super) type Waiter = Box<dyn FnOnce() + Send>;

/// A wrapped key, as all of its bytes.
pub(super) type Id = Arc<[u8]>;

/// The most that wait for one key. It is of one stream, and one at a time reads a stream's segments; more than
/// this are the same one, over and over, and the oldest are forgotten.
const WAITERS_MAX: usize = 16;

/// All keys that were asked for lately.
#[derive(Debug)]
pub(super) struct Unwraps {
    keys: HashMap<Id, Entry>,
    /// Those that are kept in the clear, by their last use.
    ready: BTreeSet<(Instant, Id)>,
    ready_max: usize,
    keep: Duration,
    /// How long it is remembered that a key can not be had, beyond the wait.
    remember: Duration,
}

struct Entry {
    wrapped: WrappedKey,
    state: State,
    waiters: Vec<Waiter>,
    failures: u32,
    /// Why the last call failed, and since when they do.
    trouble: Option<(Trouble, Instant)>,
}

#[derive(Debug)]
enum State {
    /// To be asked for.
    Wanted,
    /// A call is under way.
    Asked,
    /// It is there.
    Ready { key: Arc<DataKey>, used_at: Instant },
    /// It can not be had, and is not asked for before this time.
    Failed { until: Instant },
}

/// A key that can not be had now.
#[derive(Debug)]
pub(super) struct Waiting<'k> {
    pub(super) wrapped: &'k WrappedKey,
    pub(super) trouble: &'k Trouble,
    pub(super) since: Instant,
}

impl Unwraps {
    pub(super) fn new(ready_max: usize, keep: Duration, remember: Duration) -> Self {
        Self { keys: HashMap::new(), ready: BTreeSet::new(), ready_max, keep, remember }
    }

    /// Somebody asks for a key. With a time there is something to do for it then: see [`Unwraps::begin`].
    pub(super) fn ask(
        &mut self,
        id: &Id,
        wrapped: &WrappedKey,
        waiter: Waiter,
        now: Instant,
    ) -> (Unwrapped, Option<Instant>) {
        let Some(entry) = self.keys.get_mut(id) else {
            let entry = Entry {
                wrapped: wrapped.clone(),
                state: State::Wanted,
                waiters: vec![waiter],
                failures: 0,
                trouble: None,
            };
            self.keys.insert(Arc::clone(id), entry);
            return (Unwrapped::Pending, Some(now));
        };
        if let State::Ready { key, used_at } = &mut entry.state {
            self.ready.remove(&(*used_at, Arc::clone(id)));
            *used_at = now;
            self.ready.insert((now, Arc::clone(id)));
            return (Unwrapped::Ready(Arc::clone(key)), None);
        }
        if entry.waiters.len() >= WAITERS_MAX {
            drop(entry.waiters.remove(0));
        }
        entry.waiters.push(waiter);
        match (&entry.state, &entry.trouble) {
            (State::Failed { until }, Some((trouble, _))) if *until > now => {
                (Unwrapped::Refused(refusal(trouble)), Some(*until))
            }
            (State::Failed { .. }, _) => {
                entry.state = State::Wanted;
                (Unwrapped::Pending, Some(now))
            }
            _ => (Unwrapped::Pending, None),
        }
    }

    /// What is to be done for this key now that its time has come.
    pub(super) fn begin(&mut self, id: &Id, now: Instant) -> Due {
        let Some(entry) = self.keys.get_mut(id) else { return Due::Nothing };
        let forget_at = match &entry.state {
            State::Wanted => {
                entry.state = State::Asked;
                return Due::Ask(entry.wrapped.clone());
            }
            State::Asked => return Due::Nothing,
            State::Failed { until } if *until > now => return Due::Later(*until),
            State::Failed { until } if !entry.waiters.is_empty() => {
                let waiters = std::mem::take(&mut entry.waiters);
                return Due::Wake(waiters, *until + self.remember);
            }
            State::Failed { until } => *until + self.remember,
            State::Ready { used_at, .. } => *used_at + self.keep,
        };
        if forget_at > now {
            return Due::Later(forget_at);
        }
        if let Some(Entry { state: State::Ready { used_at, .. }, .. }) = self.keys.remove(id) {
            self.ready.remove(&(used_at, Arc::clone(id)));
        }
        Due::Nothing
    }

    /// A key came.
    pub(super) fn got(&mut self, id: &Id, key: Arc<DataKey>, now: Instant) -> Settled {
        let Some(entry) = self.keys.get_mut(id) else { return Settled::default() };
        entry.state = State::Ready { key, used_at: now };
        entry.failures = 0;
        let is_news = entry.trouble.take().is_some();
        let waiters = std::mem::take(&mut entry.waiters);
        self.ready.insert((now, Arc::clone(id)));
        while self.ready.len() > self.ready_max {
            if let Some((_, oldest)) = self.ready.pop_first() {
                self.keys.remove(&oldest);
            }
        }
        Settled { waiters, is_news, next: Some(now + self.keep) }
    }

    /// No key came, and nothing is asked for `wait`.
    pub(super) fn failed(
        &mut self,
        id: &Id,
        trouble: Trouble,
        wait: Duration,
        now: Instant,
    ) -> Settled {
        let Some(entry) = self.keys.get_mut(id) else { return Settled::default() };
        entry.failures = entry.failures.saturating_add(1);
        entry.state = State::Failed { until: now + wait };
        let before = entry.trouble.take();
        let is_news = before.as_ref().is_none_or(|(before, _)| before.code != trouble.code);
        let since = before.map_or(now, |(_, since)| since);
        entry.trouble = Some((trouble, since));
        let waiters = std::mem::take(&mut entry.waiters);
        Settled { waiters, is_news, next: Some(now + wait + self.remember) }
    }

    /// How many calls for this key have failed in a row.
    pub(super) fn failures(&self, id: &Id) -> u32 {
        self.keys.get(id).map_or(0, |entry| entry.failures)
    }

    /// How many keys are kept in the clear, and how many are asked for.
    pub(super) fn counts(&self) -> (usize, usize) {
        let pending = |entry: &&Entry| matches!(entry.state, State::Wanted | State::Asked);
        (self.ready.len(), self.keys.values().filter(pending).count())
    }

    /// The keys that can not be had.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Waiting<'_>> {
        self.keys.values().filter_map(|entry| {
            let (trouble, since) = entry.trouble.as_ref()?;
            Some(Waiting { wrapped: &entry.wrapped, trouble, since: *since })
        })
    }
}

/// What is to be done for a key.
pub(super) enum Due {
    Nothing,
    /// Ask the service for it.
    Ask(WrappedKey),
    /// Call those who wait: it is worth asking again. At that time there is something to do again.
    Wake(Vec<Waiter>, Instant),
    /// Nothing before that time.
    Later(Instant),
}

/// What follows from the end of a call.
#[derive(Default)]
pub(super) struct Settled {
    /// Who waited: to be called without a lock.
    pub(super) waiters: Vec<Waiter>,
    /// Whether it is worth a line in the log.
    pub(super) is_news: bool,
    /// When there is something to do for the key.
    pub(super) next: Option<Instant>,
}

/// A failure as the spool understands it.
fn refusal(trouble: &Trouble) -> UnwrapError {
    let message = trouble.message.clone();
    match trouble.class {
        Class::Passing => UnwrapError::Unavailable { message },
        Class::Operator => UnwrapError::Disabled { message },
        Class::Never => UnwrapError::Invalid { message },
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("key_id", &self.wrapped.key_id)
            .field("state", &self.state)
            .field("waiters", &self.waiters.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::outcome::trouble;
    use super::*;
    use crate::spool::Provider;

    const SECOND: Duration = Duration::from_secs(1);
    const KEEP: Duration = Duration::from_secs(300);
    const REMEMBER: Duration = Duration::from_secs(120);

    fn wrapped(number: u8) -> WrappedKey {
        WrappedKey {
            provider: Provider::Kms,
            key_id: "arn".to_owned(),
            context: BTreeMap::new(),
            wrapped: vec![number],
        }
    }

    fn key(number: u8) -> Arc<DataKey> {
        Arc::new(DataKey::new(wrapped(number), [number; 32]))
    }

    fn id(number: u8) -> Id {
        Arc::from([number])
    }

    fn away() -> Trouble {
        trouble(Class::Passing, "Connect", "nobody is there")
    }

    /// The keys of a test, and how often somebody was called.
    struct Rig {
        unwraps: Unwraps,
        calls: Arc<AtomicUsize>,
        now: Instant,
    }

    impl Rig {
        fn new(ready_max: usize) -> Self {
            let unwraps = Unwraps::new(ready_max, KEEP, REMEMBER);
            Self { unwraps, calls: Arc::default(), now: Instant::now() }
        }

        fn ask(&mut self, number: u8) -> (Unwrapped, Option<Instant>) {
            let calls = Arc::clone(&self.calls);
            let waiter = Box::new(move || {
                calls.fetch_add(1, Ordering::Relaxed);
            });
            self.unwraps.ask(&id(number), &wrapped(number), waiter, self.now)
        }

        /// Asks and expects a call of the service to begin.
        fn begin(&mut self, number: u8) {
            let (asked, due) = self.ask(number);
            assert!(matches!(asked, Unwrapped::Pending), "{asked:?}");
            assert_eq!(due, Some(self.now));
            let due = self.unwraps.begin(&id(number), self.now);
            assert!(matches!(due, Due::Ask(found) if found == wrapped(number)));
        }

        fn got(&mut self, number: u8) -> Settled {
            self.unwraps.got(&id(number), key(number), self.now)
        }

        fn called(&self, settled: Settled) -> usize {
            settled.waiters.into_iter().for_each(|waiter| waiter());
            self.calls.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn segments_that_share_a_key_cost_one_call() {
        let mut rig = Rig::new(8);
        rig.begin(1);
        assert!(matches!(rig.ask(1), (Unwrapped::Pending, None)), "it is under way");
        assert!(matches!(rig.unwraps.begin(&id(1), rig.now), Due::Nothing));
        let settled = rig.got(1);
        assert_eq!(rig.called(settled), 2, "both are called");
        let (Unwrapped::Ready(found), _) = rig.ask(1) else { panic!("it is there") };
        assert!(found.is_same(&key(1)));
        assert_eq!(rig.calls.load(Ordering::Relaxed), 2, "who got it is not called");
        assert_eq!(rig.unwraps.counts(), (1, 0));
    }

    #[test]
    fn a_key_is_forgotten_some_time_after_its_last_use() {
        let mut rig = Rig::new(8);
        rig.begin(1);
        assert_eq!(rig.got(1).next, Some(rig.now + KEEP));
        let first = rig.now;
        rig.now += KEEP / 2;
        assert!(matches!(rig.ask(1).0, Unwrapped::Ready(_)));
        let due = rig.unwraps.begin(&id(1), first + KEEP);
        assert!(matches!(due, Due::Later(at) if at == rig.now + KEEP));
        assert!(matches!(rig.unwraps.begin(&id(1), rig.now + KEEP), Due::Nothing));
        assert_eq!(rig.unwraps.counts(), (0, 0));
        rig.now += KEEP;
        rig.begin(1);
    }

    #[test]
    fn no_more_keys_are_kept_in_the_clear_than_may_be() {
        let mut rig = Rig::new(2);
        for number in 1..=3 {
            rig.now += SECOND;
            rig.begin(number);
            rig.got(number);
        }
        assert_eq!(rig.unwraps.counts(), (2, 0));
        assert!(matches!(rig.ask(3).0, Unwrapped::Ready(_)));
        assert!(matches!(rig.ask(1).0, Unwrapped::Pending), "the oldest had to go");
    }

    #[test]
    fn what_failed_is_refused_until_the_wait_is_over_and_then_its_waiters_are_called() {
        let mut rig = Rig::new(8);
        rig.begin(1);
        let settled = rig.unwraps.failed(&id(1), away(), SECOND * 5, rig.now);
        assert!(settled.is_news);
        assert_eq!(rig.called(settled), 1, "it is worth asking why");
        rig.now += SECOND * 4;
        let (refused, due) = rig.ask(1);
        let message = "Connect: nobody is there".to_owned();
        let Unwrapped::Refused(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error, UnwrapError::Unavailable { message });
        assert_eq!(due, Some(rig.now + SECOND));
        assert!(matches!(rig.unwraps.begin(&id(1), rig.now), Due::Later(_)));
        rig.now += SECOND;
        let Due::Wake(waiters, _) = rig.unwraps.begin(&id(1), rig.now) else { panic!("one waits") };
        assert_eq!(waiters.len(), 1);
        rig.begin(1);
        assert_eq!(rig.unwraps.failures(&id(1)), 1);
        let settled = rig.unwraps.failed(&id(1), away(), SECOND * 5, rig.now);
        assert!(!settled.is_news, "the same again is none");
        assert_eq!(rig.unwraps.waiting().count(), 1);
        rig.now += SECOND * 5;
        rig.begin(1);
        assert!(rig.got(1).is_news, "that it is well again is");
        assert_eq!((rig.unwraps.failures(&id(1)), rig.unwraps.waiting().count()), (0, 0));
    }

    #[test]
    fn what_failed_and_nobody_asks_for_is_forgotten_in_the_end() {
        let mut rig = Rig::new(8);
        rig.begin(1);
        let next = rig.unwraps.failed(&id(1), away(), SECOND, rig.now).next.unwrap();
        assert_eq!(next, rig.now + SECOND + REMEMBER);
        assert!(matches!(rig.unwraps.begin(&id(1), next), Due::Nothing));
        assert!(rig.unwraps.keys.is_empty());
    }

    #[test]
    fn who_asks_over_and_over_takes_no_more_memory() {
        let mut rig = Rig::new(8);
        for _ in 0..1_000 {
            rig.ask(1);
        }
        assert_eq!(rig.got(1).waiters.len(), WAITERS_MAX);
    }

    #[test]
    fn a_refusal_says_whose_turn_it_is() {
        let refused = |class| refusal(&trouble(class, "X", ""));
        assert!(matches!(refused(Class::Passing), UnwrapError::Unavailable { .. }));
        assert!(matches!(refused(Class::Operator), UnwrapError::Disabled { .. }));
        assert!(matches!(refused(Class::Never), UnwrapError::Invalid { .. }));
    }
}
