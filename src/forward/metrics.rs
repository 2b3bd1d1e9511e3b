//! What the forwarder counts: names, descriptions, and handles that are resolved once for each stream.
//!
//! Labels come from configured stream names and fixed sets. It measures; it decides nothing.

use std::cell::RefCell;

use std::time::Instant;

use ::metrics::{Counter, Histogram, counter, gauge, histogram};

use super::code::Code;
use super::request::Sent;
use super::status::{StreamState, StreamStatus};
use crate::gate::Flag;
use crate::record::StreamName;
use crate::telemetry::MetricSpec;

const RECORDS_DELIVERED: &str = "standpipe_forward_records_delivered_total";
const BYTES_DELIVERED: &str = "standpipe_forward_bytes_delivered_total";
const BYTES_BILLED: &str = "standpipe_forward_bytes_billed_total";
const BLOBS_DELIVERED: &str = "standpipe_forward_blobs_delivered_total";
const BYTES_SAVED: &str = "standpipe_forward_bytes_saved_total";
const REQUESTS: &str = "standpipe_forward_requests_total";
const RECORDS_FAILED: &str = "standpipe_forward_records_failed_total";
const RECORDS_RETRIED: &str = "standpipe_forward_records_retried_total";
const RECORDS_AMBIGUOUS: &str = "standpipe_forward_records_ambiguous_total";
const ANSWERS_UNFIT: &str = "standpipe_forward_answers_unfit_total";
const RESPONSES: &str = "standpipe_forward_responses_total";
const RECORDS_BY_EVIDENCE: &str = "standpipe_forward_records_by_evidence_total";
const KEYS_MISSING: &str = "standpipe_forward_partition_keys_missing_total";
pub(super) const WAKEUPS: &str = "standpipe_forward_wakeups_total";
const REQUEST_SECONDS: &str = "standpipe_forward_request_seconds";
const DELIVERY_SECONDS: &str = "standpipe_forward_delivery_seconds";
const RECORDS_SET_ASIDE: &str = "standpipe_forward_records_set_aside";
const RECORDS_DEAD_LETTERED: &str = "standpipe_forward_records_dead_lettered_total";
const RECORDS_SPILLED: &str = "standpipe_forward_records_spilled_total";
const RECORDS_NOT_SPILLED: &str = "standpipe_forward_records_not_spilled_total";
const RECORDS_LET_GO: &str = "standpipe_forward_records_let_go_total";
const RECORDS_SPILLING: &str = "standpipe_forward_records_spilling";
const REQUESTS_IN_FLIGHT: &str = "standpipe_forward_requests_in_flight";
const REQUESTS_IN_FLIGHT_LIMIT: &str = "standpipe_forward_requests_in_flight_limit";
const OLDEST_AGE: &str = "standpipe_forward_oldest_undelivered_age_seconds";
const STREAM_STATE: &str = "standpipe_forward_stream_state";

/// All metrics of this stage.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec::counter(
        RECORDS_DELIVERED,
        &["stream"],
        "Records that the service has given an id.",
    ),
    MetricSpec::counter(BYTES_DELIVERED, &["stream"], "Raw bytes of the records delivered."),
    MetricSpec::counter(
        BYTES_BILLED,
        &["stream"],
        "Bytes of the records delivered as they are billed: each record, or each blob of joined \
         records, rounded up to 5 KiB.",
    ),
    MetricSpec::counter(
        BLOBS_DELIVERED,
        &["stream"],
        "Records of the service that were delivered: the blobs of joined records, and the records \
         that went by themselves.",
    ),
    MetricSpec::counter(
        BYTES_SAVED,
        &["stream"],
        "Bytes that are not billed since records were joined: what the same records would have been \
         billed one by one, less what is billed.",
    ),
    MetricSpec::counter(
        REQUESTS,
        &["stream", "result"],
        "Requests to the service by result: ok, partial (some records failed), throttled, \
         unavailable, ambiguous (time-outs and server errors), unreachable, refused, \
         hold.",
    ),
    MetricSpec::counter(
        RECORDS_FAILED,
        &["stream", "code"],
        "Records that failed in a request, by the code of the error. A record that fails \
         twice counts twice.",
    ),
    MetricSpec::counter(
        RECORDS_RETRIED,
        &["stream"],
        "Records that failed and wait to be sent again.",
    ),
    MetricSpec::counter(
        RECORDS_AMBIGUOUS,
        &["stream"],
        "Records that are sent again although the service may have them: possible \
         duplicates.",
    ),
    MetricSpec::counter(
        ANSWERS_UNFIT,
        &["stream"],
        "Answers with another number of entries than their request had records. All of it \
         is sent again.",
    ),
    MetricSpec::counter(
        RESPONSES,
        &["stream", "encrypted"],
        "Answers of the service by their Encrypted flag, or the EncryptionType of Kinesis: true, \
         false, absent.",
    ),
    MetricSpec::counter(
        RECORDS_BY_EVIDENCE,
        &["stream", "evidence"],
        "Records delivered by what the answer said of the stream's encryption: confirmed, \
         unencrypted, unverified (it said nothing).",
    ),
    MetricSpec::counter(
        KEYS_MISSING,
        &["stream"],
        "Records sent to a Kinesis data stream under a random partition key, since they have none \
         where the configuration says. One that is sent twice counts twice.",
    ),
    MetricSpec::counter(
        RECORDS_DEAD_LETTERED,
        &["stream"],
        "Records that the service refuses alone while it takes others, or that are larger than it \
         takes, and that went into the dead-letter store.",
    ),
    MetricSpec::counter(
        RECORDS_SPILLED,
        &["stream"],
        "Records that were in memory alone and that the spool has now: memory ran short, the \
         stream could not be sent to, somebody waited, or the process stopped.",
    ),
    MetricSpec::counter(
        RECORDS_NOT_SPILLED,
        &["stream"],
        "Records that were to be spooled and could not be: they stayed in memory. One that is \
         tried again counts again.",
    ),
    MetricSpec::counter(
        RECORDS_LET_GO,
        &["stream"],
        "Records that have left memory undelivered, since the spool has them. They are read back \
         later.",
    ),
    MetricSpec::counter(
        WAKEUPS,
        &[],
        "How often batches, or words of the spool, have woken the forward thread.",
    ),
    MetricSpec::histogram(
        REQUEST_SECONDS,
        &["stream"],
        "From the sending of a request to its answer or its failure, in seconds.",
    ),
    MetricSpec::histogram(
        DELIVERY_SECONDS,
        &["stream"],
        "From the accept of a batch's oldest record to the delivery of records of that \
         batch, in seconds: one observation for each part of a batch that one request \
         delivered, not for each record.",
    ),
    MetricSpec::gauge(
        RECORDS_SET_ASIDE,
        &["stream"],
        "Records that the service refuses alone while it takes others, and that are in memory: \
         without a spool for good, else until the dead-letter store has them.",
    ),
    MetricSpec::gauge(
        RECORDS_SPILLING,
        &["stream"],
        "Records in memory of which a copy is on its way to the spool.",
    ),
    MetricSpec::gauge(
        REQUESTS_IN_FLIGHT,
        &["stream"],
        "Requests to the service that are under way.",
    ),
    MetricSpec::gauge(
        REQUESTS_IN_FLIGHT_LIMIT,
        &["stream"],
        "How many requests may be under way. It adapts.",
    ),
    MetricSpec::gauge(
        OLDEST_AGE,
        &["stream"],
        "Age of the oldest record in a closed batch that still has to be delivered, in \
         seconds; 0 when there is none.",
    ),
    MetricSpec::gauge(
        STREAM_STATE,
        &["stream", "state"],
        "1 for the state that the delivery of a stream is in, 0 for the others: flowing, \
         backing_off, circuit_open, held, gated.",
    ),
];

/// Brings the gauges up to date for a scrape.
pub fn show(streams: &[StreamStatus], now: Instant) {
    for status in streams {
        let stream = status.stream.to_string();
        let set = |name: &'static str, value: f64| {
            gauge!(name, "stream" => stream.clone()).set(value);
        };
        set(RECORDS_SET_ASIDE, count(status.records_set_aside));
        set(RECORDS_SPILLING, count(status.records_spilling));
        set(REQUESTS_IN_FLIGHT, count(status.requests_in_flight));
        set(REQUESTS_IN_FLIGHT_LIMIT, count(status.requests_in_flight_limit));
        set(OLDEST_AGE, status.oldest_age(now).map_or(0.0, |age| age.as_secs_f64()));
        for state in StreamState::ALL {
            gauge!(STREAM_STATE, "stream" => stream.clone(), "state" => state.as_str())
                .set(if state == status.state { 1.0 } else { 0.0 });
        }
    }
}

/// A count for a gauge.
fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
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
    records_delivered: Counter,
    bytes_delivered: Counter,
    bytes_billed: Counter,
    blobs_delivered: Counter,
    bytes_saved: Counter,
    pub(super) records_retried: Counter,
    pub(super) records_ambiguous: Counter,
    pub(super) answers_unfit: Counter,
    pub(super) request_seconds: Histogram,
    pub(super) delivery_seconds: Histogram,
    /// How many records had no partition key where the configuration says.
    pub(super) keys_missing: Counter,
    encrypted: [Counter; 3],
    evidence: [Counter; 3],
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
        let encrypted = |flag: &'static str| counter!(RESPONSES, "stream" => stream.clone(), "encrypted" => flag);
        let evidence = |evidence: &'static str| counter!(RECORDS_BY_EVIDENCE, "stream" => stream.clone(), "evidence" => evidence);
        Self {
            records_delivered: count(RECORDS_DELIVERED),
            bytes_delivered: count(BYTES_DELIVERED),
            bytes_billed: count(BYTES_BILLED),
            blobs_delivered: count(BLOBS_DELIVERED),
            bytes_saved: count(BYTES_SAVED),
            records_retried: count(RECORDS_RETRIED),
            records_ambiguous: count(RECORDS_AMBIGUOUS),
            answers_unfit: count(ANSWERS_UNFIT),
            request_seconds: histogram!(REQUEST_SECONDS, "stream" => stream.clone()),
            delivery_seconds: histogram!(DELIVERY_SECONDS, "stream" => stream.clone()),
            keys_missing: count(KEYS_MISSING),
            encrypted: ["true", "false", "absent"].map(encrypted),
            evidence: ["confirmed", "unencrypted", "unverified"].map(evidence),
            ok: counter!(REQUESTS, "stream" => stream.clone(), "result" => RequestResult::Ok.as_str()),
            results: RefCell::default(),
            failed: RefCell::default(),
            stream,
        }
    }

    /// Counts an answer, and the records that it says are put, by its flag.
    pub(super) fn count_flag(&self, flag: Flag, put: usize) {
        let of = |[yes, no, absent]: &[Counter; 3], count| match flag {
            Flag::Encrypted => yes.increment(count),
            Flag::Plain => no.increment(count),
            Flag::Absent => absent.increment(count),
        };
        of(&self.encrypted, 1);
        of(&self.evidence, put as u64);
    }

    /// Counts what was delivered.
    pub(super) fn count_sent(&self, sent: Sent) {
        self.records_delivered.increment(sent.records);
        self.bytes_delivered.increment(sent.bytes);
        self.bytes_billed.increment(sent.billed);
        self.blobs_delivered.increment(sent.blobs);
        self.bytes_saved.increment(sent.saved);
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

/// The handles of one stream that has a spool.
pub(super) struct SpoolMetrics {
    pub(super) records_dead_lettered: Counter,
    pub(super) records_spilled: Counter,
    pub(super) records_not_spilled: Counter,
    pub(super) records_let_go: Counter,
}

impl SpoolMetrics {
    /// The handles of `stream`.
    pub(super) fn new(stream: &StreamName) -> Self {
        let count = |name: &'static str| counter!(name, "stream" => stream.to_string());
        Self {
            records_dead_lettered: count(RECORDS_DEAD_LETTERED),
            records_spilled: count(RECORDS_SPILLED),
            records_not_spilled: count(RECORDS_NOT_SPILLED),
            records_let_go: count(RECORDS_LET_GO),
        }
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
