//! The circuit of one stream: open when the service is away, and probed by one request at a time.
//!
//! Pure: it is given `now` and each wait. It knows nothing of records, and a held stream is not its matter.

use std::time::Instant;

/// Whether requests may pass. See the module.
#[derive(Debug)]
pub(super) struct Circuit {
    failures_max: u32,
    /// Failures in a row.
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { opened_at: Instant, probe_at: Instant },
    HalfOpen { opened_at: Instant },
}

/// What the circuit lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// Everything.
    All,
    /// One request, whose answer decides. [`Circuit::probe_began`] is to be called for it.
    Probe,
    /// Nothing before this time.
    NothingUntil(Instant),
    /// Nothing before the answer to the probe.
    NothingYet,
}

impl Circuit {
    /// A closed circuit that opens after `failures_max` failures in a row.
    pub(super) fn new(failures_max: u32) -> Self {
        Self { failures_max: failures_max.max(1), failures: 0, state: State::Closed }
    }

    /// What may pass at `now`.
    pub(super) fn passage(&self, now: Instant) -> Passage {
        match self.state {
            State::Closed => Passage::All,
            State::Open { probe_at, .. } if probe_at <= now => Passage::Probe,
            State::Open { probe_at, .. } => Passage::NothingUntil(probe_at),
            State::HalfOpen { .. } => Passage::NothingYet,
        }
    }

    /// The one request is on its way.
    pub(super) const fn probe_began(&mut self) {
        if let State::Open { opened_at, .. } = self.state {
            self.state = State::HalfOpen { opened_at };
        }
    }

    /// How many failures in a row there were.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// A request met an outage. `probe_at`: when to ask again if the circuit is open now.
    ///
    /// Says whether this opened a closed circuit. Requests that are not the probe and come back while
    /// it is open change nothing.
    pub(super) fn failed(&mut self, now: Instant, is_probe: bool, probe_at: Instant) -> bool {
        match self.state {
            State::Closed => {
                self.failures = self.failures.saturating_add(1);
                let opens = self.failures >= self.failures_max;
                if opens {
                    self.state = State::Open { opened_at: now, probe_at };
                }
                opens
            }
            State::HalfOpen { opened_at } if is_probe => {
                self.failures = self.failures.saturating_add(1);
                self.state = State::Open { opened_at, probe_at };
                false
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// The service answered, whatever it said. Says whether this closed the circuit.
    ///
    /// An answer to a request that began before the circuit opened does not close it.
    pub(super) fn answered(&mut self, began_at: Instant) -> bool {
        let closes = match self.state {
            State::Closed => false,
            State::Open { opened_at, .. } | State::HalfOpen { opened_at } => {
                if began_at < opened_at {
                    return false;
                }
                true
            }
        };
        self.failures = 0;
        self.state = State::Closed;
        closes
    }

    /// Whether and since when it is open.
    pub(super) const fn opened_at(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { opened_at, .. } | State::HalfOpen { opened_at } => Some(opened_at),
        }
    }

    /// Probes at `at` at the latest.
    pub(super) fn shorten(&mut self, at: Instant) {
        if let State::Open { probe_at, .. } = &mut self.state {
            *probe_at = (*probe_at).min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_when_its_probe_is_answered() {
        let start = Instant::now();
        let mut circuit = Circuit::new(3);
        assert!(!circuit.failed(start, false, start + MS * 10));
        assert!(!circuit.answered(start), "an answer starts the count again");
        assert!(!circuit.failed(start, false, start + MS * 10));
        assert!(!circuit.failed(start, false, start + MS * 10));
        assert!(circuit.failed(start, false, start + MS * 10));
        assert_eq!(circuit.passage(start), Passage::NothingUntil(start + MS * 10));
        assert_eq!(circuit.passage(start + MS * 10), Passage::Probe);
        circuit.probe_began();
        assert_eq!(circuit.passage(start + MS * 10), Passage::NothingYet);
        assert!(!circuit.failed(start + MS * 12, true, start + MS * 30));
        assert_eq!(circuit.passage(start + MS * 12), Passage::NothingUntil(start + MS * 30));
        assert_eq!((circuit.opened_at(), circuit.failures()), (Some(start), 4));
        circuit.probe_began();
        assert!(circuit.answered(start + MS * 30));
        assert_eq!(circuit.passage(start), Passage::All);
    }

    #[test]
    fn what_began_before_it_opened_neither_closes_it_nor_puts_the_probe_off() {
        let start = Instant::now();
        let mut circuit = Circuit::new(1);
        assert!(circuit.failed(start + MS, false, start + MS * 10));
        assert!(!circuit.failed(start + MS * 2, false, start + MS * 99));
        assert!(!circuit.answered(start));
        assert_eq!(circuit.passage(start + MS * 2), Passage::NothingUntil(start + MS * 10));
        circuit.shorten(start + MS * 4);
        assert_eq!(circuit.passage(start + MS * 4), Passage::Probe);
        circuit.probe_began();
        assert!(!circuit.failed(start + MS * 5, false, start + MS * 99));
        assert_eq!(circuit.passage(start + MS * 5), Passage::NothingYet);
    }
}
