//! What the forwarder counts: names, descriptions, and handles that are resolved once for each stream.
//!
//! Labels come from configured stream names and fixed sets. It measures; it decides nothing.

use std::cell::RefCell;
use std::time::Instant;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::code::Code;
use super::status::StreamStatus;
use crate::record::StreamName;
use crate::telemetry::MetricSpec;

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

/// How old the oldest undelivered record is.
pub const OLDEST_AGE: &str = "standpipe_forward_oldest_age_seconds";

const STREAM: &[&str] = &["stream"];

/// All metrics of this stage.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec::counter(RECORDS_DELIVERED, STREAM, "Records that the service has given an id."),
    MetricSpec::counter(BYTES_DELIVERED, STREAM, "Raw bytes of delivered records."),
    MetricSpec::counter(
        BYTES_BILLED,
        STREAM,
        "Bytes of delivered records as they are billed: each record rounded up to 5 KiB.",
    ),
    MetricSpec::counter(
        REQUESTS,
        &["stream", "result"],
        "Requests to the service by result: ok, partial (some records failed), throttled, unavailable, \
         ambiguous (time-outs and server errors), unreachable, refused, hold.",
    ),
    MetricSpec::counter(
        RECORDS_FAILED,
        &["stream", "code"],
        "Records that failed in a request, by the code of the error.",
    ),
    MetricSpec::counter(RECORDS_RETRIED, STREAM, "Records that failed and wait to be sent again."),
    MetricSpec::counter(
        RECORDS_AMBIGUOUS,
        STREAM,
        "Records that are sent again although the service may have them: possible duplicates.",
    ),
    MetricSpec::counter(
        RECORDS_LOST,
        STREAM,
        "Records that were in memory and not known to be delivered when the process stopped.",
    ),
    MetricSpec::gauge(
        RECORDS_SET_ASIDE,
        STREAM,
        "Records that the service refuses alone while it takes others. They are kept in memory.",
    ),
    MetricSpec::gauge(REQUESTS_IN_FLIGHT, STREAM, "Requests to the service that are under way."),
    MetricSpec::gauge(
        REQUESTS_IN_FLIGHT_LIMIT,
        STREAM,
        "How many requests may be under way. It adapts.",
    ),
    MetricSpec::histogram(
        REQUEST_SECONDS,
        STREAM,
        "From the sending of a request to its answer or its failure.",
    ),
    MetricSpec::histogram(
        DELIVERY_SECONDS,
        STREAM,
        "From the accept of the oldest record of a batch to the delivery of records of that batch: one \
         observation for each part of a batch that one request delivered, not for each record.",
    ),
    MetricSpec::gauge(
        OLDEST_AGE,
        STREAM,
        "How old the oldest record of the closed batches is that is not delivered; 0 when there is none.",
    ),
    MetricSpec::gauge(
        STREAM_STATE,
        &["stream", "state"],
        "1 for the state that a stream is in: flowing, backing_off, circuit_open, held.",
    ),
    MetricSpec::counter(
        RESPONSES,
        &["stream", "encrypted"],
        "Answers of the service by their Encrypted flag: true, false, absent.",
    ),
    MetricSpec::counter(WAKEUPS, &[], "How often batches have woken the forward thread."),
];

/// Shows how old the oldest undelivered record of each stream is at `now`. For each scrape.
pub fn show(statuses: &[StreamStatus], now: Instant) {
    for status in statuses {
        let age = status.oldest_age(now).unwrap_or_default();
        gauge!(OLDEST_AGE, "stream" => status.stream.to_string()).set(age.as_secs_f64());
    }
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
