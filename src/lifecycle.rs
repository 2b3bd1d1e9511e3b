//! Readiness and drain: in which phase of its life the process is, and why it is not ready.
//!
//! One cell that anybody may read and wait on. It does nothing by itself: `app` moves it on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How a stop goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a stop may take in all: accepting until the application is gone, then delivering.
    pub grace: Duration,
    /// How long no connection must have been open before a stop believes that the application is gone.
    pub quiet: Duration,
    /// The part of the grace time that is kept for delivering what is in memory.
    pub deliver: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(25),
            quiet: Duration::from_secs(1),
            deliver: Duration::from_secs(10),
        }
    }
}

/// Where in its life the process is. It only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not everything listens yet.
    Starting,
    /// Records are taken.
    Serving,
    /// A stop was asked for; records are still taken.
    Draining,
    /// No more records are taken; what is there is delivered.
    Flushing,
    /// The end.
    Stopped,
}

impl Phase {
    /// The phase as it is shown to people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Flushing => "flushing",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Clone)]
struct State {
    phase: Phase,
    /// When a stop that has begun is to be over.
    deadline: Option<Instant>,
    /// Why records can not be taken, by what is concerned.
    obstacles: BTreeMap<&'static str, String>,
}

/// The process's life. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    state: watch::Sender<State>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A life that begins.
    #[must_use]
    pub fn new() -> Self {
        let state = State { phase: Phase::Starting, deadline: None, obstacles: BTreeMap::new() };
        Self { state: watch::Sender::new(state) }
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// When a stop that has begun is to be over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.state.borrow().deadline
    }

    /// A stop begins, which is to be over at `deadline`.
    pub fn stop_by(&self, deadline: Instant) {
        self.state.send_modify(|state| state.deadline = Some(deadline));
        self.advance(Phase::Draining);
    }

    /// Moves on to `phase`. A phase that is over does not come back. Says whether this moved it.
    pub fn advance(&self, phase: Phase) -> bool {
        self.state.send_if_modified(|state| {
            let moves = phase > state.phase;
            if moves {
                state.phase = phase;
            }
            moves
        })
    }

    /// Waits until the life has reached `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut states = self.state.subscribe();
        // The sender lives as long as `self`, so that the wait can only end with the phase.
        let _reached = states.wait_for(|state| state.phase >= phase).await.is_ok();
    }

    /// Says that records can not be taken because of `why`, until [`Lifecycle::clear`].
    pub fn obstruct(&self, what: &'static str, why: impl Into<String>) {
        let why = why.into();
        // Whoever waits for a phase is woken only when something is new.
        self.state.send_if_modified(|state| {
            let is_new = state.obstacles.get(what) != Some(&why);
            if is_new {
                state.obstacles.insert(what, why);
            }
            is_new
        });
    }

    /// Says that `what` is in the way no longer.
    pub fn clear(&self, what: &'static str) {
        self.state.send_if_modified(|state| state.obstacles.remove(what).is_some());
    }

    /// Why the process is not ready to take records; empty when it is ready.
    #[must_use]
    pub fn unready_reasons(&self) -> Vec<(String, String)> {
        let state = self.state.borrow();
        let phase = (state.phase != Phase::Serving)
            .then(|| ("phase".to_owned(), state.phase.as_str().to_owned()));
        let obstacles = state.obstacles.iter().map(|(what, why)| ((*what).to_owned(), why.clone()));
        phase.into_iter().chain(obstacles).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_it_serves_and_nothing_is_in_the_way() {
        let life = Lifecycle::new();
        assert_eq!(life.unready_reasons(), [("phase".to_owned(), "starting".to_owned())]);
        life.advance(Phase::Serving);
        assert!(life.unready_reasons().is_empty());
        life.obstruct("spool", "the disk is full");
        assert_eq!(life.unready_reasons(), [("spool".to_owned(), "the disk is full".to_owned())]);
        life.clear("spool");
        assert!(life.unready_reasons().is_empty());
    }

    #[tokio::test]
    async fn a_phase_that_is_over_does_not_come_back() {
        let life = Lifecycle::new();
        assert!(life.advance(Phase::Draining));
        assert!(!life.advance(Phase::Serving));
        assert!(!life.advance(Phase::Draining));
        life.reached(Phase::Serving).await;
        assert_eq!(life.phase(), Phase::Draining);
    }
}
