//! What the forwarder counts: names, descriptions, and handles that are resolved once for each stream.
//!
//! Labels come from configured stream names and fixed sets. It measures; it decides nothing.

use std::cell::RefCell;

use ::metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::code::Code;
use crate::record::StreamName;

/// Records that the service has.
pub const RECORDS_DELIVERED: &str = "standpipe_forward_records_delivered_total";
/// Their raw bytes.
pub const BYTES_DELIVERED: &str = "standpipe_forward_bytes_delivered_total";
/// Their bytes as the service bills them.
pub const BYTES_BILLED: &str = "standpipe_forward_bytes_billed_total";
/// Requests by result.
pub const REQUESTS: &str = "standpipe_forward_requests_total";
/// Records that failed, by code.
pub const RECORDS_FAILED: &str = "standpipe_forward_records_failed_total";
/// Records that wait to be sent again.
pub const RECORDS_RETRIED: &str = "standpipe_forward_records_retried_total";
/// Records that may have been put twice.
pub const RECORDS_AMBIGUOUS: &str = "standpipe_forward_records_ambiguous_total";
/// Records that were given up at a stop.
pub const RECORDS_LOST: &str = "standpipe_forward_records_lost_total";
/// Records that were set aside.
pub const RECORDS_SET_ASIDE: &str = "standpipe_forward_records_set_aside";
/// Requests under way.
pub const REQUESTS_IN_FLIGHT: &str = "standpipe_forward_requests_in_flight";
/// How many may be.
pub const REQUESTS_IN_FLIGHT_LIMIT: &str = "standpipe_forward_requests_in_flight_limit";
/// How long a request takes.
pub const REQUEST_SECONDS: &str = "standpipe_forward_request_seconds";
/// From accept to delivery.
pub const DELIVERY_SECONDS: &str = "standpipe_forward_delivery_seconds";
/// Which state a stream is in.
pub const STREAM_STATE: &str = "standpipe_forward_stream_state";
/// Answers by their `Encrypted` flag.
pub const RESPONSES: &str = "standpipe_forward_responses_total";
/// How often the forward thread was woken.
pub const WAKEUPS: &str = "standpipe_forward_wakeups_total";

/// Says what every metric of this stage means.
pub fn describe() {
    describe_counter!(RECORDS_DELIVERED, "Records that the service has given an id.");
    describe_counter!(BYTES_DELIVERED, Unit::Bytes, "Raw bytes of delivered records.");
    describe_counter!(
        BYTES_BILLED,
        Unit::Bytes,
        "Bytes of delivered records as they are billed: each record rounded up to 5 KiB."
    );
    describe_counter!(
        REQUESTS,
        "Requests to the service by result: ok, partial (some records failed), throttled, unavailable, \
         ambiguous (time-outs and server errors), unreachable, refused, hold."
    );
    describe_counter!(RECORDS_FAILED, "Records that failed in a request, by the error's code.");
    describe_counter!(RECORDS_RETRIED, "Records that failed and wait to be sent again.");
    describe_counter!(
        RECORDS_AMBIGUOUS,
        "Records that are sent again although the service may have them: possible duplicates."
    );
    describe_counter!(
        RECORDS_LOST,
        "Records that were in memory and not known to be delivered when the process stopped."
    );
    describe_gauge!(
        RECORDS_SET_ASIDE,
        "Records that the service refuses alone while it takes others. They are kept in memory."
    );
    describe_gauge!(REQUESTS_IN_FLIGHT, "Requests to the service that are under way.");
    describe_gauge!(REQUESTS_IN_FLIGHT_LIMIT, "How many requests may be under way. It adapts.");
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "From the sending of a request to its answer or its failure."
    );
    describe_histogram!(
        DELIVERY_SECONDS,
        Unit::Seconds,
        "From the accept of a batch's oldest record to the delivery of records of that batch: one \
         observation for each part of a batch that one request delivered, not for each record."
    );
    describe_gauge!(
        STREAM_STATE,
        "1 for the state that a stream is in: flowing, backing_off, circuit_open, held."
    );
    describe_counter!(
        RESPONSES,
        "Answers of the service by their Encrypted flag: true, false, absent."
    );
    describe_counter!(WAKEUPS, "How often batches have woken the forward thread.");
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestResult {
    Ok,
    Partial,
    Throttled,
    Unavailable,
    Ambiguous,
    Unreachable,
    Refused,
    Hold,
}

impl RequestResult {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Ambiguous => "ambiguous",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Hold => "hold",
        }
    }
}

/// The handles of one stream.
pub(super) struct StreamMetrics {
    stream: String,
    pub(super) records_delivered: Counter,
    pub(super) bytes_delivered: Counter,
    pub(super) bytes_billed: Counter,
    pub(super) records_retried: Counter,
    pub(super) records_ambiguous: Counter,
    pub(super) records_lost: Counter,
    pub(super) records_set_aside: Gauge,
    pub(super) requests_in_flight: Gauge,
    pub(super) requests_in_flight_limit: Gauge,
    pub(super) request_seconds: Histogram,
    pub(super) delivery_seconds: Histogram,
    states: [(&'static str, Gauge); 4],
    encrypted: [Counter; 3],
    ok: Counter,
    /// Resolved when they first happen: a stream that is well needs none of them.
    results: RefCell<Vec<(RequestResult, Counter)>>,
    failed: RefCell<Vec<(Code, Counter)>>,
}

impl StreamMetrics {
    /// The handles of `stream`.
    pub(super) fn new(stream: &StreamName) -> Self {
        let stream = stream.as_str().to_owned();
        let count = |name: &'static str| counter!(name, "stream" => stream.clone());
        let measure = |name: &'static str| gauge!(name, "stream" => stream.clone());
        let state = |state: &'static str| {
            (state, gauge!(STREAM_STATE, "stream" => stream.clone(), "state" => state))
        };
        let encrypted = |flag: &'static str| counter!(RESPONSES, "stream" => stream.clone(), "encrypted" => flag);
        Self {
            records_delivered: count(RECORDS_DELIVERED),
            bytes_delivered: count(BYTES_DELIVERED),
            bytes_billed: count(BYTES_BILLED),
            records_retried: count(RECORDS_RETRIED),
            records_ambiguous: count(RECORDS_AMBIGUOUS),
            records_lost: count(RECORDS_LOST),
            records_set_aside: measure(RECORDS_SET_ASIDE),
            requests_in_flight: measure(REQUESTS_IN_FLIGHT),
            requests_in_flight_limit: measure(REQUESTS_IN_FLIGHT_LIMIT),
            request_seconds: histogram!(REQUEST_SECONDS, "stream" => stream.clone()),
            delivery_seconds: histogram!(DELIVERY_SECONDS, "stream" => stream.clone()),
            states: ["flowing", "backing_off", "circuit_open", "held"].map(state),
            encrypted: ["true", "false", "absent"].map(encrypted),
            ok: counter!(REQUESTS, "stream" => stream.clone(), "result" => RequestResult::Ok.as_str()),
            results: RefCell::default(),
            failed: RefCell::default(),
            stream,
        }
    }

    /// Shows the stream in this state, and in no other.
    pub(super) fn set_state(&self, state: &str) {
        for (name, gauge) in &self.states {
            gauge.set(if *name == state { 1.0 } else { 0.0 });
        }
    }

    /// Counts an answer by its flag.
    pub(super) fn count_encrypted(&self, flag: Option<bool>) {
        let [yes, no, absent] = &self.encrypted;
        match flag {
            Some(true) => yes.increment(1),
            Some(false) => no.increment(1),
            None => absent.increment(1),
        }
    }

    /// Counts a request.
    pub(super) fn count_request(&self, result: RequestResult) {
        if result == RequestResult::Ok {
            self.ok.increment(1);
            return;
        }
        let resolve =
            || counter!(REQUESTS, "stream" => self.stream.clone(), "result" => result.as_str());
        with_handle(&self.results, result, resolve, |counter| counter.increment(1));
    }

    /// Counts records that failed with this code.
    pub(super) fn count_failed(&self, code: Code, records: usize) {
        let resolve =
            || counter!(RECORDS_FAILED, "stream" => self.stream.clone(), "code" => code.as_str());
        with_handle(&self.failed, code, resolve, |counter| counter.increment(records as u64));
    }
}

/// Uses the handle for `key`, which is resolved when it is used first.
fn with_handle<K: Copy + PartialEq>(
    handles: &RefCell<Vec<(K, Counter)>>,
    key: K,
    resolve: impl FnOnce() -> Counter,
    act: impl FnOnce(&Counter),
) {
    let mut handles = handles.borrow_mut();
    if let Some((_, counter)) = handles.iter().find(|(known, _)| *known == key) {
        act(counter);
    } else {
        let counter = resolve();
        act(&counter);
        handles.push((key, counter));
    }
}
