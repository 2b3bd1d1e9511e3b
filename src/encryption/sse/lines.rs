//! The lines in the log of the control: each opening and closing, each change, each call.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use super::calls::CallKind;
use super::declared::{Policy, Target};
use super::machine::Machine;
use super::metrics;
use super::observed::{Description, Place};
use super::status::State;
use super::trouble::Trouble;
use super::words;
use crate::gate::{Flag, Passage, Route, Seen};
use crate::record::StreamName;
use crate::telemetry::RateLimit;

/// At most one line about questions that fail within this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What was said last of each stream, and the limits of what is said often.
pub(super) struct Lines {
    last: BTreeMap<StreamName, Said>,
    not_described: RateLimit,
    not_kept: RateLimit,
}

struct Said {
    state: State,
    route: Route,
    gate: &'static str,
    /// Records that had left unencrypted when the gate was last looked at.
    unencrypted: u64,
    changes: RateLimit,
}

/// At most one line about the state of a stream that is not required to be encrypted, within this time: a
/// stream in the middle of a change answers now so and now so.
const STATE_LOG_INTERVAL: Duration = Duration::from_secs(10);

impl Default for Lines {
    fn default() -> Self {
        Self {
            last: BTreeMap::new(),
            not_described: RateLimit::new(LOG_INTERVAL),
            not_kept: RateLimit::new(LOG_INTERVAL),
        }
    }
}

impl Lines {
    /// How a stream stands now: says what has changed since the last time.
    pub(super) fn stands(
        &mut self,
        name: &StreamName,
        machine: &Machine,
        seen: &Seen,
        now: Instant,
    ) {
        let guidance = machine.guidance();
        let (state, gate) = (words::state(machine), metrics::word(&guidance.passage));
        let unencrypted = seen.records(Flag::Plain);
        let said = self.last.entry(name.clone()).or_insert_with(|| Said {
            state: State::Unknown,
            route: Route::Unknown,
            gate: "",
            unencrypted: 0,
            changes: RateLimit::new(STATE_LOG_INTERVAL),
        });
        let policy = machine.declared.policy;
        if said.gate != gate {
            metrics::count_gate(name.as_str(), &guidance.passage);
            let left = unencrypted - said.unencrypted;
            match &guidance.passage {
                Passage::Closed(why) => tracing::warn!(
                    stream = %name, reason = %why, epoch = guidance.epoch, records_left_unencrypted = left,
                    "the gate is closed: the records of the stream wait"
                ),
                Passage::Half => tracing::info!(
                    stream = %name, epoch = guidance.epoch, records_left_unencrypted = left,
                    "the gate is half open: one record goes, whose answer decides"
                ),
                Passage::Open if policy == Policy::Require => tracing::info!(
                    stream = %name, epoch = guidance.epoch, records_left_unencrypted = left,
                    "the gate is open: the stream is encrypted, and answers confirm it"
                ),
                Passage::Open => {}
            }
            said.gate = gate;
            said.unencrypted = unencrypted;
        }
        if said.route != guidance.route {
            route(name, &guidance.route, machine.is_assumed());
            said.route = guidance.route.clone();
        }
        if said.state != state
            && policy != Policy::Ignore
            && let Some(suppressed) = said.changes.admit(now)
        {
            let detail = words::detail(machine);
            if matches!(state, State::Enabled | State::Unknown) {
                tracing::info!(stream = %name, state = state.as_str(), %detail, suppressed, "the encryption of the stream");
            } else {
                tracing::warn!(stream = %name, state = state.as_str(), %detail, suppressed, "the encryption of the stream");
            }
            said.state = state;
        }
    }

    /// A call is about to be made.
    pub(super) fn calling(
        &self,
        name: &StreamName,
        kind: CallKind,
        target: &Target,
        place: &Place,
    ) {
        let call = kind.name(place);
        tracing::info!(stream = %name, call, becomes = %target, "the stream's encryption is being changed");
    }

    /// It came back.
    pub(super) fn called(
        &self,
        name: &StreamName,
        kind: CallKind,
        target: &Target,
        place: &Place,
        result: &Result<(), Trouble>,
    ) {
        let call = kind.name(place);
        match result {
            Ok(()) => {
                tracing::info!(stream = %name, call, becomes = %target, "the service took the change")
            }
            Err(trouble) => tracing::warn!(
                stream = %name, call, becomes = %target, reason = %trouble.sentence(),
                "the service did not take the change"
            ),
        }
    }

    /// A question came back.
    pub(super) fn described(
        &mut self,
        name: &StreamName,
        result: &Result<Description, Trouble>,
        now: Instant,
    ) {
        if let Err(trouble) = result
            && let Some(suppressed) = self.not_described.admit(now)
        {
            let reason = trouble.sentence();
            tracing::warn!(stream = %name, %reason, suppressed, "the service can not be asked about a stream");
        }
    }

    /// The disk does not take what has to survive a restart.
    pub(super) fn not_kept(&mut self, error: &io::Error, now: Instant) {
        if let Some(suppressed) = self.not_kept.admit(now) {
            tracing::warn!(
                %error, suppressed,
                "the calls of the last 24 hours can not be kept: a restart forgets them"
            );
        }
    }
}

fn route(name: &StreamName, route: &Route, is_assumed: bool) {
    match route {
        Route::Unknown => {}
        Route::Firehose if is_assumed => tracing::warn!(
            stream = %name,
            "the service can not be asked what the stream reads from; records are put into the delivery stream"
        ),
        Route::Firehose => {
            tracing::info!(stream = %name, "records go into the delivery stream (Direct PUT)");
        }
        Route::Kinesis(data_stream) => tracing::info!(
            stream = %name, data_stream = %data_stream.id,
            record_bytes_max = data_stream.record_bytes_max,
            "records go into the Kinesis data stream that the delivery stream reads from"
        ),
        Route::Nowhere(why) => {
            tracing::error!(stream = %name, reason = %why, "the records of the stream wait");
        }
    }
}
