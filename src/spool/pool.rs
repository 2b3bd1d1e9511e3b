//! The pool: a few threads that run the spool's actors, each actor on one thread at a time.
//!
//! Whoever has something for an actor wakes it; an actor that is awake stands in one queue with the others
//! and has its turn. An actor never waits for another one, and its turn does a bounded amount of work, so
//! that streams stand side by side. The pool knows nothing of what actors do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io;
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "held by the thread whose turn it is; nobody waits for it"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::handle::Wake;

/// What is run by the pool.
pub(super) trait Actor: Send {
    /// Does a bounded amount of work, and says when to be called again.
    fn turn(&mut self, now: Instant) -> Turn;
}

/// When an actor is to have its next turn, if nobody wakes it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// When somebody wakes it.
    Idle,
    /// After the others.
    Again,
    /// At this time.
    At(Instant),
}

impl Turn {
    /// This turn or `other`, whichever comes first.
    pub(super) fn or_sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Again, _) | (_, Self::Again) => Self::Again,
            (Self::At(a), Self::At(b)) => Self::At(a.min(b)),
            (Self::Idle, turn) | (turn, Self::Idle) => turn,
        }
    }
}

/// An actor's place in the pool.
struct Task {
    state: AtomicU8,
    /// When its earliest timer rings, in milliseconds of the pool's life; or [`NO_TIMER`].
    timer_ms: AtomicU64,
    #[expect(
        clippy::disallowed_types,
        reason = "held by the thread whose turn it is; nobody waits for it"
    )]
    actor: Mutex<Option<Box<dyn Actor>>>,
}

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const RUNNING_AND_WOKEN: u8 = 3;

const NO_TIMER: u64 = u64::MAX;

/// How long a thread sleeps when it has no timer.
const FAR: Duration = Duration::from_secs(3_600);

/// What stands in the queue.
enum Token {
    Run(Arc<Task>),
    Quit,
}

/// The running threads. See the module.
pub(super) struct Pool {
    queue: Sender<Token>,
    threads: Vec<JoinHandle<()>>,
}

/// Where actors are given places. Cloning gives another handle to the same pool.
#[derive(Clone)]
pub(super) struct Places {
    queue: Sender<Token>,
}

/// A place whose actor is still to come.
pub(super) struct Place {
    task: Arc<Task>,
    queue: Sender<Token>,
}

impl Pool {
    /// Starts `threads` threads, called `spool-0` and so on.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let (queue, tokens) = crossbeam_channel::unbounded();
        let began_at = Instant::now();
        let mut pool = Self { queue: queue.clone(), threads: Vec::new() };
        for index in 0..threads.max(1) {
            let thread = Thread {
                queue: queue.clone(),
                tokens: tokens.clone(),
                began_at,
                timers: BinaryHeap::new(),
            };
            let spawned = std::thread::Builder::new()
                .name(format!("spool-{index}"))
                .spawn(move || thread.live());
            match spawned {
                Ok(thread) => pool.threads.push(thread),
                Err(error) => {
                    pool.stop();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    /// Where actors are given places.
    pub(super) fn places(&self) -> Places {
        Places { queue: self.queue.clone() }
    }

    /// The names of the threads that are gone.
    pub(super) fn stalled(&self) -> Vec<String> {
        let gone = self.threads.iter().filter(|thread| thread.is_finished());
        gone.map(|thread| thread.thread().name().unwrap_or("spool").to_owned()).collect()
    }

    /// Ends the threads after the turns that are under way, and waits for them.
    pub(super) fn stop(self) {
        for _ in &self.threads {
            // A thread that is gone needs no word.
            drop(self.queue.send(Token::Quit));
        }
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// A pool that has no threads: a test gives the turns, in the order and at the time that it likes.
#[cfg(test)]
pub(super) struct ByHand {
    thread: Thread,
    awake: Vec<Arc<Task>>,
}

#[cfg(test)]
impl Pool {
    pub(super) fn by_hand(now: Instant) -> (Self, ByHand) {
        let (queue, tokens) = crossbeam_channel::unbounded();
        let timers = BinaryHeap::new();
        let thread = Thread { queue: queue.clone(), tokens, began_at: now, timers };
        (Self { queue, threads: Vec::new() }, ByHand { thread, awake: Vec::new() })
    }
}

#[cfg(test)]
impl ByHand {
    /// How many actors are awake at `now`.
    pub(super) fn awake(&mut self, now: Instant) -> usize {
        self.thread.ring(now);
        while let Ok(token) = self.thread.tokens.try_recv() {
            if let Token::Run(task) = token {
                self.awake.push(task);
            }
        }
        self.awake.len()
    }

    /// Gives one of those that are awake its turn.
    pub(super) fn turn(&mut self, which: usize, now: Instant) {
        let task = self.awake.remove(which);
        self.thread.run(&task, now);
    }

    /// When the next timer rings.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let Reverse(timer) = self.thread.timers.peek()?;
        Some(self.thread.began_at + Duration::from_millis(timer.at_ms))
    }
}

impl Places {
    /// A place for one more actor, which can be woken before it is there.
    pub(super) fn place(&self) -> Place {
        #[expect(clippy::disallowed_types, reason = "held by the thread whose turn it is")]
        let actor = Mutex::new(None);
        let state = AtomicU8::new(IDLE);
        let task = Arc::new(Task { state, timer_ms: AtomicU64::new(NO_TIMER), actor });
        Place { task, queue: self.queue.clone() }
    }
}

impl Place {
    /// Wakes the actor of this place, from any thread.
    pub(super) fn wake(&self) -> Wake {
        let (task, queue) = (Arc::clone(&self.task), self.queue.clone());
        Arc::new(move || task.wake(&queue))
    }

    /// Puts the actor here and gives it its first turn.
    pub(super) fn settle(self, actor: Box<dyn Actor>) {
        if let Ok(mut place) = self.task.actor.lock() {
            *place = Some(actor);
        }
        self.task.wake(&self.queue);
    }
}

impl Task {
    fn wake(self: &Arc<Self>, queue: &Sender<Token>) {
        // Written in any case, so that the next turn takes over what was done before, wherever it runs.
        let woken = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            Some(match state {
                IDLE => QUEUED,
                RUNNING => RUNNING_AND_WOKEN,
                other => other,
            })
        });
        if woken == Ok(IDLE) {
            // A pool that is gone runs nothing any more.
            drop(queue.send(Token::Run(Arc::clone(self))));
        }
    }
}

struct Thread {
    queue: Sender<Token>,
    tokens: Receiver<Token>,
    began_at: Instant,
    timers: BinaryHeap<Reverse<Timer>>,
}

impl Thread {
    fn live(mut self) {
        loop {
            let now = Instant::now();
            self.ring(now);
            let wait = self.timers.peek().map_or(FAR, |Reverse(timer)| {
                Duration::from_millis(timer.at_ms.saturating_sub(self.ms(now)))
            });
            match self.tokens.recv_timeout(wait) {
                Ok(Token::Run(task)) => self.run(&task, Instant::now()),
                Ok(Token::Quit) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn run(&mut self, task: &Arc<Task>, now: Instant) {
        // It takes over what whoever woke the task had done before: its messages are seen by this turn.
        task.state.swap(RUNNING, Ordering::AcqRel);
        let turn = match task.actor.lock() {
            Ok(mut actor) => actor.as_mut().map_or(Turn::Idle, |actor| actor.turn(now)),
            // A turn that panics takes the process with it.
            Err(_) => return,
        };
        if let Turn::At(at) = turn {
            self.set_timer(task, at);
        }
        let is_queued = turn == Turn::Again
            || task
                .state
                .compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire)
                .is_err();
        if is_queued {
            task.state.swap(QUEUED, Ordering::AcqRel);
            drop(self.queue.send(Token::Run(Arc::clone(task))));
        }
    }

    /// Sets a timer, unless the task has one that rings before.
    fn set_timer(&mut self, task: &Arc<Task>, at: Instant) {
        // Rounded up, so that it does not ring just before its time.
        let at_ms = self.ms(at).saturating_add(1);
        if task.timer_ms.fetch_min(at_ms, Ordering::AcqRel) > at_ms {
            self.timers.push(Reverse(Timer { at_ms, task: Arc::clone(task) }));
        }
    }

    fn ring(&mut self, now: Instant) {
        let now_ms = self.ms(now);
        while self.timers.peek().is_some_and(|Reverse(timer)| timer.at_ms <= now_ms) {
            if let Some(Reverse(Timer { at_ms, task })) = self.timers.pop() {
                // Another timer of the task may have been set for an earlier time, and stands for it.
                let _was_latest = task
                    .timer_ms
                    .compare_exchange(at_ms, NO_TIMER, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok();
                task.wake(&self.queue);
            }
        }
    }

    fn ms(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.began_at).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX - 1)
    }
}

struct Timer {
    at_ms: u64,
    task: Arc<Task>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at_ms == other.at_ms
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_ms.cmp(&other.at_ms)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    struct Echo {
        words: Receiver<u32>,
        heard: Sender<(u32, String)>,
    }

    impl Actor for Echo {
        fn turn(&mut self, _now: Instant) -> Turn {
            let Ok(word) = self.words.try_recv() else { return Turn::Idle };
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            self.heard.send((word, name)).unwrap();
            Turn::Again
        }
    }

    #[test]
    fn an_actor_hears_every_word_in_its_order_whoever_wakes_it() {
        let pool = Pool::start(3).unwrap();
        let (heard, echoes) = crossbeam_channel::unbounded();
        let actors: Vec<(Sender<u32>, Wake)> = (0..5)
            .map(|_| {
                let (say, words) = crossbeam_channel::unbounded();
                let place = pool.places().place();
                let wake = place.wake();
                place.settle(Box::new(Echo { words, heard: heard.clone() }));
                (say, wake)
            })
            .collect();
        for word in 0..1_000 {
            for (say, wake) in &actors {
                say.send(word).unwrap();
                wake();
            }
        }
        let all: Vec<(u32, String)> =
            (0..5_000).map(|_| echoes.recv_timeout(SOON).unwrap()).collect();
        assert!(all.iter().all(|(_, thread)| thread.starts_with("spool-")));
        pool.stop();
    }

    struct Once {
        at: Option<Instant>,
        rung: Sender<Instant>,
    }

    impl Actor for Once {
        fn turn(&mut self, now: Instant) -> Turn {
            match self.at {
                Some(at) if at <= now => {
                    self.at = None;
                    self.rung.send(now).unwrap();
                    Turn::Idle
                }
                Some(at) => Turn::At(at),
                None => Turn::Idle,
            }
        }
    }

    #[test]
    fn a_timer_gives_a_turn_at_its_time_and_not_before() {
        let pool = Pool::start(1).unwrap();
        let (rung, rings) = crossbeam_channel::unbounded();
        let at = Instant::now() + Duration::from_millis(30);
        let place = pool.places().place();
        let wake = place.wake();
        place.settle(Box::new(Once { at: Some(at), rung }));
        // Wake-ups in between set no second timer.
        (0..100).for_each(|_| wake());
        assert!(rings.recv_timeout(SOON).unwrap() >= at);
        assert!(rings.try_recv().is_err());
        pool.stop();
    }
}
