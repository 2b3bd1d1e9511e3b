//! One stream's log lines: each change of state, and repeated failures now and then with their number.
//!
//! No line has anything of a record in it but its size. The service's words are the field `error`, since
//! `message` is the line's own. It decides nothing.

use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::flow::Change;
use super::outcome::Reason;
use super::passage::Shift;
use crate::gate::Joins;
use crate::pipeline::NotDurable;
use crate::record::StreamName;

/// Repeated failures of one stream are logged at most this often.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// That the spool takes no copies is logged at most this often for a stream.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    stream: StreamName,
    failures: Every,
    refusals: Every,
}

/// Lets something through at most once in an interval, and counts the rest.
#[derive(Debug)]
struct Every {
    interval: Duration,
    last_at: Option<Instant>,
    skipped: u64,
}

impl Every {
    const fn new(interval: Duration) -> Self {
        Self { interval, last_at: None, skipped: 0 }
    }

    /// How many were skipped since the last that was let through, if this one is let through.
    fn let_through(&mut self, now: Instant) -> Option<u64> {
        if self.last_at.is_some_and(|at| now < at + self.interval) {
            self.skipped += 1;
            return None;
        }
        self.last_at = Some(now);
        Some(std::mem::take(&mut self.skipped))
    }
}

impl Report {
    /// The log lines of `stream`.
    pub(super) const fn new(stream: StreamName) -> Self {
        Self {
            stream,
            failures: Every::new(FAILURE_LOG_INTERVAL),
            refusals: Every::new(REFUSAL_LOG_INTERVAL),
        }
    }

    /// Records failed and will be sent again.
    pub(super) fn failed(&mut self, now: Instant, records: usize, of: usize, reason: &Reason) {
        let (stream, code, message) = (&self.stream, &*reason.text, &*reason.message);
        match self.failures.let_through(now) {
            Some(earlier) => warn!(
                %stream, code, error = message, records, of, earlier_failures_not_logged = earlier,
                "records were not delivered and will be sent again"
            ),
            None => {
                debug!(%stream, code, error = message, records, of, "records were not delivered")
            }
        }
    }

    /// The stream's state changed.
    pub(super) fn changed(&self, change: Change, reason: Option<&Reason>) {
        let stream = &self.stream;
        let (code, message) = reason.map_or(("", ""), |reason| (&*reason.text, &*reason.message));
        match change {
            Change::Opened => warn!(
                %stream, code, error = message, "circuit opened: the service is away, records wait"
            ),
            Change::Closed => info!(%stream, "circuit closed: the service answers"),
            Change::Held => error!(
                %stream, code, error = message,
                "stream is held: an operator has to put this right, records wait"
            ),
            Change::Released => info!(%stream, "stream is released: the service takes its records"),
        }
    }

    /// The passage of the stream's records was shut, or opened. `is_first`: it begins like that.
    pub(super) fn shifted(&self, shift: &Shift, is_first: bool) {
        let stream = &self.stream;
        match shift {
            Shift::Shut { reason, epoch, unencrypted: Some(records_unencrypted) } => error!(
                %stream, code = &*reason.text, error = &*reason.message, epoch, records_unencrypted,
                "stream is shut: it has to be encrypted and is not, records wait"
            ),
            // Whatever is asked about at the start is shut until the first answer.
            Shift::Shut { reason, epoch, unencrypted: None } if is_first => info!(
                %stream, code = &*reason.text, error = &*reason.message, epoch,
                "stream is shut at first, records wait"
            ),
            Shift::Shut { reason, epoch, unencrypted: None } => warn!(
                %stream, code = &*reason.text, error = &*reason.message, epoch,
                "stream is shut, records wait"
            ),
            Shift::Opened { epoch } => {
                info!(%stream, epoch, "stream is open: its records may leave")
            }
        }
    }

    /// Whether records are joined is new.
    pub(super) fn joins(&self, joins: Joins) {
        let stream = &self.stream;
        if joins.is_safe {
            info!(%stream, why = joins.why, "records are joined");
        } else {
            info!(%stream, why = joins.why, "records are not joined");
        }
    }

    /// A record was set aside, since it is larger than what it was to go into takes.
    pub(super) fn too_large(&self, bytes: usize, reason: &Reason) {
        let (stream, code, message) = (&self.stream, &*reason.text, &*reason.message);
        error!(%stream, code, error = message, bytes, "record is set aside: it is too large");
    }

    /// A record was set aside.
    pub(super) fn set_aside(&self, bytes: usize, reason: &Reason) {
        let (stream, code, message) = (&self.stream, &*reason.text, &*reason.message);
        error!(
            %stream, code, error = message, bytes,
            "record is set aside: the service refuses it alone while it takes others"
        );
    }

    /// The spool did not keep a copy.
    pub(super) fn not_spooled(&mut self, now: Instant, records: usize, why: NotDurable) {
        let stream = &self.stream;
        if let Some(earlier) = self.refusals.let_through(now) {
            warn!(
                %stream, code = why.as_str(), error = why.sentence(), records,
                earlier_failures_not_logged = earlier,
                "records can not be spooled and stay in memory"
            );
        }
    }

    /// The spool keeps copies again.
    pub(super) fn spooled_again(&self) {
        info!(stream = %self.stream, "records are spooled again");
    }

    /// The dead-letter store did not take a record, and the stream is held for that.
    pub(super) fn letter_refused(&self, why: NotDurable) {
        error!(
            stream = %self.stream, code = why.as_str(), error = why.sentence(),
            "stream is held: records that the service refuses can not be set aside"
        );
    }

    /// The dead-letter store has taken all that it did not take before.
    pub(super) fn letters_taken(&self) {
        info!(stream = %self.stream, "stream is released: records can be set aside again");
    }

    /// An answer has another number of entries than its request had records.
    pub(super) fn wrong_length(&self, records: usize, entries: usize) {
        error!(
            stream = %self.stream, records, entries,
            "answer does not fit its request: all its records are sent again, some perhaps twice"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_failures_are_let_through_now_and_then_with_their_number() {
        let start = Instant::now();
        let mut every = Every::new(Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let through: Vec<Option<u64>> =
            [0, 1, 9, 10, 11, 30].map(|seconds| every.let_through(at(seconds))).into();
        assert_eq!(through, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
