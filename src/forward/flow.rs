//! Whether a stream may be sent to now, and how much: backoff, concurrency, circuit and hold in one.
//!
//! Pure: it is given `now`, and what became of each request. It knows no records and sends nothing.

use std::time::{Duration, Instant};

use super::Config;
use super::backoff::Pause;
use super::circuit::{Circuit, Passage};
use super::concurrency::Concurrency;
use super::hold::Hold;
use super::outcome::Class;
use super::overflow::earlier;
use crate::aws::Backoff;

/// While the process stops, nothing is put off for longer than this.
pub(super) const HURRIED_WAIT_MAX: Duration = Duration::from_millis(500);

/// The state of one stream's sending. See the module.
#[derive(Debug)]
pub(super) struct Flow {
    backoff: Backoff,
    pause: Pause,
    concurrency: Concurrency,
    circuit: Circuit,
    hold: Hold,
    random: fastrand::Rng,
    is_hurried: bool,
    epoch: u64,
}

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// Requests of any size.
    Full,
    /// One request of one record, whose answer decides.
    Probe,
    /// Nothing before this time, or before an answer that is awaited.
    Nothing {
        /// When to ask again; nothing when only an answer can change it.
        until: Option<Instant>,
    },
}

impl Permit {
    /// What may be sent when both have to agree.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing { until: one }, Self::Nothing { until: other }) => {
                Self::Nothing { until: one.zip(other).map(|(one, other)| one.max(other)) }
            }
            (Self::Nothing { until }, _) | (_, Self::Nothing { until }) => Self::Nothing { until },
            (Self::Probe, _) | (_, Self::Probe) => Self::Probe,
            (Self::Full, Self::Full) => Self::Full,
        }
    }
}

/// When and how a request began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin {
    /// When it was sent.
    pub(super) at: Instant,
    /// Whether it is the one whose answer decides.
    pub(super) is_probe: bool,
    /// Whether as many requests were under way as might be.
    pub(super) is_at_limit: bool,
    /// The epoch of the stream's gate in which it was sent.
    pub(super) epoch: u64,
}

/// What became of a request as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// At least one record was put; the counts are of records.
    Answered {
        /// How many were put.
        put: usize,
        /// How many were not.
        failed: usize,
    },
    /// Nothing was put, as far as is known.
    Failed(Class),
}

/// A change that is worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The circuit opened.
    Opened,
    /// The circuit closed.
    Closed,
    /// The stream is held from now on.
    Held,
    /// The stream is held no more.
    Released,
}

/// Which of the states a stream is in. The strongest one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is in the way.
    Flowing,
    /// The last requests failed; the next one waits.
    BackingOff,
    /// The service is away.
    CircuitOpen,
    /// An operator is needed.
    Held,
}

impl Flow {
    /// A stream to which everything may be sent.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            backoff: Backoff::new(config.backoff_min, config.backoff_max),
            pause: Pause::default(),
            concurrency: Concurrency::new(config.requests_in_flight_max),
            circuit: Circuit::new(config.circuit_failures),
            hold: Hold::new(config.hold_min, config.hold_max),
            random: fastrand::Rng::new(),
            is_hurried: false,
            epoch: 0,
        }
    }

    /// What may be sent at `now`, when `in_flight` requests are under way.
    pub(super) fn permit(&self, now: Instant, in_flight: usize) -> Permit {
        if self.hold.since().is_some() {
            return match self.hold.probe_at() {
                Some(at) if at <= now => Permit::Probe,
                until => Permit::Nothing { until },
            };
        }
        match self.circuit.passage(now) {
            Passage::Probe => return Permit::Probe,
            Passage::NothingUntil(at) => return Permit::Nothing { until: Some(at) },
            Passage::NothingYet => return Permit::Nothing { until: None },
            Passage::All => {}
        }
        if let Some(until) = self.pause.until(now) {
            return Permit::Nothing { until: Some(until) };
        }
        if in_flight >= self.concurrency.limit() {
            return Permit::Nothing { until: None };
        }
        Permit::Full
    }

    /// A request is on its way; `in_flight` counts it.
    pub(super) fn began(&mut self, now: Instant, permit: Permit, in_flight: usize) -> Begin {
        let is_probe = permit == Permit::Probe;
        if is_probe {
            if self.hold.since().is_some() {
                self.hold.probe_began();
            } else {
                self.circuit.probe_began();
            }
        }
        let is_at_limit = in_flight >= self.concurrency.limit();
        Begin { at: now, is_probe, is_at_limit, epoch: self.epoch }
    }

    /// A request came back, or its answer did not.
    pub(super) fn ended(&mut self, now: Instant, begin: Begin, fate: Fate) -> Vec<Change> {
        let mut changes = Vec::new();
        match fate {
            Fate::Answered { put, failed } => self.answered(now, begin, put, failed, &mut changes),
            Fate::Failed(class) => self.failed(now, begin, class, &mut changes),
        }
        if self.is_hurried {
            self.shorten(now);
        }
        changes
    }

    /// What looked like a record's fault is the stream's: it is held.
    pub(super) fn hold(&mut self, now: Instant) -> Option<Change> {
        if self.hold.since().is_some() {
            // `ended` has put the next probe off already.
            return None;
        }
        let is_new = self.hold.refused(now, false, &mut self.random);
        if self.is_hurried {
            self.shorten(now);
        }
        is_new.then_some(Change::Held)
    }

    /// Where the records go, or whether they may, is new: what kept the stream from being sent to may be gone.
    ///
    /// It is asked again at once; what older requests say of it holds it no more.
    pub(super) fn renew(&mut self, now: Instant, epoch: u64, is_new_route: bool) {
        self.epoch = epoch;
        self.hold.renew(now);
        if is_new_route {
            self.pause.shorten(now);
            self.circuit.shorten(now);
        }
    }

    /// A wait for records that failed for the `attempt`th time while others went through.
    pub(super) fn record_wait(&mut self, attempt: u32) -> Duration {
        let wait = self.backoff.wait(attempt, &mut self.random);
        if self.is_hurried { wait.min(HURRIED_WAIT_MAX) } else { wait }
    }

    /// The process stops: nothing is put off for long any more.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.is_hurried = true;
        self.shorten(now);
    }

    /// How many requests may be under way.
    pub(super) fn limit(&self) -> usize {
        self.concurrency.limit()
    }

    /// Since when nothing but a probe is sent, if that is so.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        earlier(self.hold.since(), self.circuit.opened_at())
    }

    /// The state that the stream is in.
    pub(super) fn standing(&self) -> Standing {
        if self.hold.since().is_some() {
            Standing::Held
        } else if self.circuit.opened_at().is_some() {
            Standing::CircuitOpen
        } else if self.pause.is_failing() {
            Standing::BackingOff
        } else {
            Standing::Flowing
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        begin: Begin,
        put: usize,
        failed: usize,
        changes: &mut Vec<Change>,
    ) {
        if self.circuit.answered(begin.at) {
            changes.push(Change::Closed);
        }
        if put > 0 {
            if self.hold.succeeded(begin.at) {
                changes.push(Change::Released);
            }
        } else if begin.is_probe && begin.epoch == self.epoch {
            self.hold.inconclusive(now, &mut self.random);
        }
        if failed > 0 {
            self.concurrency.troubled(now, begin.at);
        } else {
            self.concurrency.succeeded(begin.is_at_limit);
        }
        if failed >= put {
            self.pause.failed(now, begin.at, &self.backoff, &mut self.random);
        } else {
            self.pause.succeeded(begin.at);
        }
    }

    fn failed(&mut self, now: Instant, begin: Begin, class: Class, changes: &mut Vec<Change>) {
        if class.is_outage() {
            let wait = self.backoff.long_wait(self.circuit.failures() + 1, &mut self.random);
            if self.circuit.failed(now, begin.is_probe, now + wait) {
                changes.push(Change::Opened);
            }
        } else if self.circuit.answered(begin.at) {
            changes.push(Change::Closed);
        }
        match class {
            Class::Throttled | Class::Unavailable | Class::Ambiguous | Class::Unreachable => {
                if class != Class::Unreachable {
                    self.concurrency.troubled(now, begin.at);
                }
                self.pause.failed(now, begin.at, &self.backoff, &mut self.random);
                if begin.is_probe && begin.epoch == self.epoch {
                    self.hold.inconclusive(now, &mut self.random);
                }
            }
            // It was asked under what is no more.
            Class::Refused | Class::Hold if begin.epoch != self.epoch => {}
            Class::Refused => {
                if begin.is_probe {
                    // Another record may tell more.
                    let _was_new = self.hold.since().is_some()
                        && self.hold.refused(now, true, &mut self.random);
                }
            }
            Class::Hold => {
                if self.hold.refused(now, begin.is_probe, &mut self.random) {
                    changes.push(Change::Held);
                }
            }
        }
    }

    fn shorten(&mut self, now: Instant) {
        let at = now + HURRIED_WAIT_MAX;
        self.pause.shorten(at);
        self.circuit.shorten(at);
        self.hold.shorten(at);
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
