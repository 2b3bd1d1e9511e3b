//! The opt-in window for repeated calls: the same `amz-sdk-invocation-id` with the same body gets the
//! first answer.
//!
//! SDKs keep the id over the retries of one call, so that a retry whose first answer was lost does not
//! put its records twice. Repeats that come while the first is still served wait for it. Refusals are
//! not remembered. The window is bounded in time, entries and bytes; the oldest entry goes first.

#[expect(
    clippy::disallowed_types,
    reason = "opt-in; taken once per call, never held across a wait"
)]
use std::sync::{Mutex, MutexGuard};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio::sync::watch;

use super::RepeatsConfig;
use super::response::Answer;
use super::shared::Count;

/// What an entry takes beside its answer's body, in bytes: keys, headers and bookkeeping, rounded up.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// What makes two calls the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key([u8; SHA256_OUTPUT_LEN]);

/// The window. See the module.
#[derive(Debug)]
pub(super) struct Repeats {
    config: RepeatsConfig,
    #[expect(clippy::disallowed_types, reason = "opt-in; taken once per call")]
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    entries: HashMap<Key, Entry>,
    /// Answered entries, oldest first, with their life, since a key can come back.
    answered: VecDeque<(Instant, Key)>,
    bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// Somebody is served; the channel ends when that is over.
    Serving(watch::Receiver<()>),
    Answered(Arc<Remembered>),
}

/// An answer that can be given again.
#[derive(Debug)]
pub(super) struct Remembered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What a call is.
pub(super) enum Turn {
    /// The first of its kind: to be served.
    First(First),
    /// A repeat.
    Again(Arc<Remembered>),
    /// A repeat of one that is still served, and as many as may wait for that.
    Crowded,
}

/// The right to serve a call. Dropped without an answer, it passes to whoever waits.
pub(super) struct First {
    repeats: Arc<Repeats>,
    key: Key,
    _serving: watch::Sender<()>,
}

impl Repeats {
    pub(super) fn new(config: RepeatsConfig) -> Arc<Self> {
        #[expect(clippy::disallowed_types, reason = "opt-in; taken once per call")]
        Arc::new(Self { config, window: Mutex::default() })
    }

    /// Finds out whether a call is a repeat, and waits for the first one if that is being served and
    /// `waiting` has a place for that.
    pub(super) async fn turn(
        self: &Arc<Self>,
        waiting: &Count,
        invocation: &[u8],
        is_single: bool,
        body: &[u8],
    ) -> Turn {
        let key = Key::of(invocation, is_single, body);
        loop {
            let mut serving = match self.look(key, Instant::now()) {
                Look::Turn(turn) => return turn,
                Look::Wait(serving) => serving,
            };
            let Some(_place) = waiting.enter() else { return Turn::Crowded };
            // Nothing is ever sent: the wait ends when the sender is dropped.
            let _ended = serving.changed().await.is_err();
        }
    }

    fn look(self: &Arc<Self>, key: Key, now: Instant) -> Look {
        let mut window = self.lock();
        window.forget_until(now.checked_sub(self.config.window), &self.config);
        match window.entries.get(&key) {
            Some(Entry::Answered(remembered)) => Look::Turn(Turn::Again(Arc::clone(remembered))),
            Some(Entry::Serving(serving)) => Look::Wait(serving.clone()),
            None => {
                let (sender, serving) = watch::channel(());
                window.entries.insert(key, Entry::Serving(serving));
                Look::Turn(Turn::First(First { repeats: Arc::clone(self), key, _serving: sender }))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().expect("no holder of this lock panics")
    }
}

enum Look {
    Turn(Turn),
    Wait(watch::Receiver<()>),
}

impl Window {
    /// Forgets what is older than `until`, and the oldest while there is too much.
    fn forget_until(&mut self, until: Option<Instant>, config: &RepeatsConfig) {
        while let Some((at, key)) = self.answered.front() {
            let is_old = until.is_some_and(|until| *at <= until);
            let is_too_much =
                self.answered.len() > config.entries_max || self.bytes > config.bytes_max;
            if !is_old && !is_too_much {
                return;
            }
            if let Some(Entry::Answered(remembered)) = self.entries.remove(key) {
                self.bytes -= remembered.bytes();
            }
            self.answered.pop_front();
        }
    }
}

impl First {
    /// Remembers the answer for those who repeat the call, and gives it back.
    pub(super) async fn remember(self, answer: Answer) -> Answer {
        let (parts, body) = answer.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        let remembered =
            Arc::new(Remembered { status: parts.status, headers: parts.headers, body });
        let mut window = self.repeats.lock();
        window.bytes += remembered.bytes();
        window.entries.insert(self.key, Entry::Answered(Arc::clone(&remembered)));
        window.answered.push_back((Instant::now(), self.key));
        window.forget_until(None, &self.repeats.config);
        drop(window);
        remembered.answer()
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let mut window = self.repeats.lock();
        if let Some(Entry::Serving(_)) = window.entries.get(&self.key) {
            window.entries.remove(&self.key);
        }
    }
}

impl Remembered {
    pub(super) fn answer(&self) -> Answer {
        let mut answer = Response::new(Full::new(self.body.clone()));
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers.clone();
        answer
    }

    fn bytes(&self) -> usize {
        self.body.len() + ENTRY_OVERHEAD_BYTES
    }
}

impl Key {
    fn of(invocation: &[u8], is_single: bool, body: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        // The id has a fixed place: its length goes before it, so that it can not flow into the body.
        context.update(&(invocation.len() as u64).to_be_bytes());
        context.update(invocation);
        context.update(&[u8::from(is_single)]);
        context.update(body);
        let mut key = [0; SHA256_OUTPUT_LEN];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ingest::response::answer;

    static PLACES: Count = Count::new(8);

    fn repeats(entries_max: usize, bytes_max: usize) -> Arc<Repeats> {
        Repeats::new(RepeatsConfig { window: Duration::from_secs(60), entries_max, bytes_max })
    }

    async fn serve(repeats: &Arc<Repeats>, id: &str, text: &str) {
        match repeats.turn(&PLACES, id.as_bytes(), true, b"body").await {
            Turn::First(first) => {
                let made = answer(StatusCode::OK, "text/plain", text.to_owned(), None);
                drop(first.remember(made).await);
            }
            Turn::Again(_) | Turn::Crowded => panic!("{id} was served before"),
        }
    }

    async fn remembered(repeats: &Arc<Repeats>, id: &str) -> Option<Bytes> {
        match repeats.turn(&PLACES, id.as_bytes(), true, b"body").await {
            Turn::First(_) | Turn::Crowded => None,
            Turn::Again(remembered) => Some(remembered.body.clone()),
        }
    }

    #[tokio::test]
    async fn a_repeat_gets_the_first_answer_and_another_body_does_not() {
        let repeats = repeats(10, 100_000);
        serve(&repeats, "id", "first").await;
        assert_eq!(remembered(&repeats, "id").await.unwrap(), "first");
        assert!(matches!(repeats.turn(&PLACES, b"id", true, b"other").await, Turn::First(_)));
        assert!(matches!(repeats.turn(&PLACES, b"id", false, b"body").await, Turn::First(_)));
    }

    #[tokio::test]
    async fn concurrent_repeats_wait_for_the_first() {
        let repeats = repeats(10, 100_000);
        let Turn::First(first) = repeats.turn(&PLACES, b"id", true, b"body").await else {
            panic!()
        };
        let (waited, ()) = tokio::join!(remembered(&repeats, "id"), async {
            tokio::task::yield_now().await;
            drop(first.remember(answer(StatusCode::OK, "text/plain", "x".into(), None)).await);
        });
        assert_eq!(waited.unwrap(), "x");
    }

    #[tokio::test]
    async fn no_more_repeats_wait_than_may() {
        let repeats = repeats(10, 100_000);
        let none = Count::new(0);
        let Turn::First(first) = repeats.turn(&none, b"id", true, b"body").await else { panic!() };
        assert!(matches!(repeats.turn(&none, b"id", true, b"body").await, Turn::Crowded));
        assert!(matches!(repeats.turn(&none, b"other", true, b"body").await, Turn::First(_)));
        drop(first);
    }

    #[tokio::test]
    async fn a_refusal_is_not_remembered_and_the_next_in_line_is_served() {
        let repeats = repeats(10, 100_000);
        let Turn::First(first) = repeats.turn(&PLACES, b"id", true, b"body").await else {
            panic!()
        };
        let (waited, ()) = tokio::join!(remembered(&repeats, "id"), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert_eq!(waited, None);
        assert!(repeats.lock().entries.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_answers_go_first_at_each_of_the_bounds() {
        let by_entries = repeats(2, 100_000);
        for id in ["a", "b", "c"] {
            serve(&by_entries, id, "x").await;
        }
        assert_eq!(remembered(&by_entries, "a").await, None);
        assert!(remembered(&by_entries, "b").await.is_some());

        let by_bytes = repeats(100, 2 * (ENTRY_OVERHEAD_BYTES + 1));
        for id in ["a", "b", "c"] {
            serve(&by_bytes, id, "x").await;
        }
        assert_eq!(remembered(&by_bytes, "a").await, None);
        assert!(remembered(&by_bytes, "c").await.is_some());
        assert!(by_bytes.lock().bytes <= 2 * (ENTRY_OVERHEAD_BYTES + 1));
    }

    #[tokio::test]
    async fn an_answer_is_forgotten_when_its_window_is_over() {
        let repeats = repeats(10, 100_000);
        serve(&repeats, "id", "x").await;
        let later = Instant::now() + Duration::from_secs(61);
        let key = Key::of(b"id", true, b"body");
        assert!(matches!(repeats.look(key, later), Look::Turn(Turn::First(_))));
        assert_eq!(repeats.lock().bytes, 0);
    }
}
