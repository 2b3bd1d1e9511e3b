//! The thread `control`: asks and changes what is due, tells the gates, and says what changed.
//!
//! A few calls at a time and a few a second: all sidecars of an account share five.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, LocalSet};

use super::super::running::Shared;
use super::book::{Book, Minded};
use super::calls::CallKind;
use super::declared::Target;
use super::file::Store;
use super::handle::now;
use super::kept::Kept;
use super::lines::Lines;
use super::machine::Action;
use super::observed::{Description, Observed, Place};
use super::owner::Now;
use super::service::Service;
use super::trouble::Trouble;
use crate::gate::Seen;
use crate::record::StreamName;

/// The most calls at once.
const CALLS_MAX: usize = 4;

/// How long it takes until another question may be asked, on average.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// So many questions may be asked at once after a quiet time.
const ASK_BURST: u32 = 4;

/// Everything that the thread owns.
pub(super) struct Thread {
    shared: Arc<Shared<Book>>,
    service: Rc<Service>,
    store: Store,
    kept: Vec<(StreamName, Kept)>,
    calls: JoinSet<Done>,
    asks: Asks,
    heard: Rc<Heard>,
    lines: Lines,
}

/// The streams of which the data plane has something to say.
#[derive(Default)]
struct Heard {
    streams: RefCell<BTreeSet<StreamName>>,
    any: Notify,
}

/// A call that has ended.
enum Done {
    Described(StreamName, Result<Description, Trouble>),
    Called(StreamName, CallKind, Target, Place, Result<(), Trouble>),
}

/// How many questions may be asked now.
struct Asks {
    tokens: u32,
    counted_at: Instant,
}

impl Asks {
    /// Brings the tokens up to date, and says when the next one comes if there is none.
    fn refill(&mut self, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.counted_at);
        let more =
            u32::try_from(passed.as_millis() / ASK_INTERVAL.as_millis()).unwrap_or(ASK_BURST);
        if more > 0 {
            self.tokens = self.tokens.saturating_add(more).min(ASK_BURST);
            self.counted_at += ASK_INTERVAL * more;
        }
        if self.tokens == ASK_BURST {
            self.counted_at = now;
        }
        (self.tokens == 0).then(|| self.counted_at + ASK_INTERVAL)
    }
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared<Book>>, service: Service, store: Store) -> Self {
        Self {
            shared,
            service: Rc::new(service),
            store,
            kept: Vec::new(),
            calls: JoinSet::new(),
            asks: Asks { tokens: ASK_BURST, counted_at: Instant::now() },
            heard: Rc::default(),
            lines: Lines::default(),
        }
    }

    /// Works until it is told to stop. Calls that are under way then come to nothing.
    pub(super) fn run(self, runtime: &tokio::runtime::Runtime) {
        LocalSet::new().block_on(runtime, self.work());
    }

    async fn work(mut self) {
        self.kept = self.shared.with(|book| book.kept());
        let (shared, heard) = (Arc::clone(&self.shared), Rc::clone(&self.heard));
        loop {
            for (name, seen) in shared.with(Book::take_fresh) {
                tokio::task::spawn_local(listen(name, seen, Rc::clone(&heard)));
            }
            self.hear();
            let due_at = self.act();
            tokio::select! {
                () = shared.stop.notified() => return shared.with(Book::end),
                () = shared.wake.notified() => {}
                () = heard.any.notified() => {}
                () = at(due_at) => {}
                Some(done) = self.calls.join_next() => {
                    self.settle(done.expect("a call does not panic, nor is it cancelled"));
                }
            }
        }
    }

    /// Takes in what the data plane has seen.
    fn hear(&mut self) {
        let heard = std::mem::take(&mut *self.heard.streams.borrow_mut());
        let (shared, lines) = (Arc::clone(&self.shared), &mut self.lines);
        for name in heard {
            shared.with(|book| {
                let Some(minded) = book.streams.get_mut(&name) else { return };
                let at = Instant::now();
                let seen = minded.keeper.seen().clone();
                minded.machine.seen(&seen, at);
                minded.due_at = None;
                show(&name, minded, lines);
            });
        }
    }

    /// Does what is due. Says when something is due next.
    fn act(&mut self) -> Option<Instant> {
        let now = now();
        let no_ask_until = self.asks.refill(now.at);
        let mut due: Vec<(Option<Instant>, StreamName)> = self.shared.with(|book| {
            let due = book.streams.iter().filter(|(_, m)| m.due_at.is_none_or(|at| at <= now.at));
            due.map(|(name, minded)| (minded.machine.describe_at(), name.clone())).collect()
        });
        // Questions are few: who has waited for one the longest asks first, or others would never.
        due.sort_unstable();
        for (_, name) in due {
            self.act_on(&name, now, no_ask_until);
        }
        self.shared.with(|book| book.streams.values().filter_map(|m| m.due_at).min())
    }

    fn act_on(&mut self, name: &StreamName, now: Now, no_ask_until: Option<Instant>) {
        let shared = Arc::clone(&self.shared);
        loop {
            let may_ask = self.calls.len() < CALLS_MAX && self.asks.tokens > 0;
            let lines = &mut self.lines;
            let acted = shared.with(|book| {
                let minded = book.streams.get_mut(name)?;
                let action = minded.machine.next(now, may_ask);
                show(name, minded, lines);
                let observed = minded.machine.description.as_ref();
                let observed = observed.map(|(description, _)| description.observed.clone());
                let destination = minded.machine.declared.destination.clone();
                match action {
                    Action::Nothing(until) => {
                        // What is due and may not be asked yet is looked at again when it may.
                        let later = no_ask_until.unwrap_or(now.at + ASK_INTERVAL);
                        let until = until.unwrap_or(now.at + IDLE_LOOK_INTERVAL);
                        minded.due_at = Some(if until <= now.at { later } else { until });
                        None
                    }
                    Action::Tell(outcome) => {
                        minded.tell(name, outcome, now);
                        Some((Action::Nothing(None), observed, destination))
                    }
                    action => Some((action, observed, destination)),
                }
            });
            let Some((action, observed, destination)) = acted else { return };
            match action {
                Action::Describe => {
                    self.asks.tokens = self.asks.tokens.saturating_sub(1);
                    let (service, name) = (Rc::clone(&self.service), name.clone());
                    self.calls.spawn_local(async move {
                        let result = service.describe(&name, &destination).await;
                        Done::Described(name, result)
                    });
                }
                Action::Call(kind, target, place) => self.call(name, kind, target, place, observed),
                Action::Nothing(_) | Action::Tell(_) => {}
            }
        }
    }

    fn call(
        &mut self,
        name: &StreamName,
        kind: CallKind,
        target: Target,
        place: Place,
        observed: Option<Observed>,
    ) {
        self.lines.calling(name, kind, &target, &place);
        // Counted on disk before it is made: a process that is killed in the middle has made it.
        self.keep();
        let (service, name) = (Rc::clone(&self.service), name.clone());
        self.calls.spawn_local(async move {
            let result = service.change(&name, &place, &target, observed.as_ref()).await;
            Done::Called(name, kind, target, place, result)
        });
    }

    fn settle(&mut self, done: Done) {
        let now = now();
        let (shared, lines) = (Arc::clone(&self.shared), &mut self.lines);
        let (Done::Described(name, ..) | Done::Called(name, ..)) = &done;
        let name = name.clone();
        shared.with(|book| {
            let Some(minded) = book.streams.get_mut(&name) else { return };
            let outcome = match done {
                Done::Described(_, result) => {
                    lines.described(&name, &result, now.at);
                    minded.machine.described(result, now.at)
                }
                Done::Called(_, kind, target, place, result) => {
                    lines.called(&name, kind, &target, &place, &result);
                    minded.machine.called(result, now)
                }
            };
            minded.due_at = None;
            show(&name, minded, lines);
            if let Some(outcome) = outcome {
                minded.tell(&name, outcome, now);
            }
        });
        self.keep();
    }

    /// Keeps what has to survive a restart, if it is not kept already.
    fn keep(&mut self) {
        let kept = self.shared.with(|book| book.kept());
        if kept == self.kept {
            return;
        }
        match self.store.write(kept.iter().map(|(name, kept)| (name, kept.clone()))) {
            Ok(()) => self.kept = kept,
            Err(error) => self.lines.not_kept(&error, Instant::now()),
        }
    }
}

/// Tells the gate how it stands, and the log what has changed.
fn show(name: &StreamName, minded: &mut Minded, lines: &mut Lines) {
    lines.stands(name, &minded.machine, &minded.keeper.seen(), Instant::now());
    minded.keeper.tell(minded.machine.guidance().clone());
}

/// Says whenever the data plane has something to say of a stream.
async fn listen(name: StreamName, mut seen: watch::Receiver<Seen>, heard: Rc<Heard>) {
    while seen.changed().await.is_ok() {
        heard.streams.borrow_mut().insert(name.clone());
        heard.any.notify_one();
    }
}

async fn at(due_at: Option<Instant>) {
    match due_at {
        Some(due_at) => tokio::time::sleep_until(due_at.into()).await,
        None => std::future::pending().await,
    }
}

/// A stream with which there is nothing to do is looked at so often all the same.
const IDLE_LOOK_INTERVAL: Duration = Duration::from_secs(60 * 60);
