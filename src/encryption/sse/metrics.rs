//! What this part counts: names, descriptions and the one place that counts calls of the management API.
//!
//! Labels come from configured stream names and fixed sets. It measures; it decides nothing.

use std::time::{Duration, Instant};

use ::metrics::{counter, gauge, histogram};

use super::status::{State, StreamStatus};
use crate::gate::Passage;
use crate::telemetry::MetricSpec;

const STATE: &str = "standpipe_encryption_state";
const GATE: &str = "standpipe_encryption_gate";
const GATE_CHANGES: &str = "standpipe_encryption_gate_changes_total";
const CONFIRMED_AGE: &str = "standpipe_encryption_confirmed_age_seconds";
const CALLS: &str = "standpipe_encryption_calls_total";
const CALL_SECONDS: &str = "standpipe_encryption_call_seconds";
const CALLS_LEFT: &str = "standpipe_encryption_calls_left";
const DESCRIBED_AGE: &str = "standpipe_encryption_described_age_seconds";

/// All metrics of this part.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec::gauge(
        STATE,
        &["stream", "state"],
        "1 for the state that the stream's encryption is in, 0 for the others: unknown, disabled, enabling, \
         enabled, enabling_failed, disabling, disabling_failed, contradicted.",
    ),
    MetricSpec::gauge(
        GATE,
        &["stream", "gate"],
        "1 for what the stream's gate is, 0 for the others: open, half (one record goes, whose answer \
         decides), closed (records wait). Where encryption is not required it is always open.",
    ),
    MetricSpec::counter(
        GATE_CHANGES,
        &["stream", "gate"],
        "How often the stream's gate became open, half or closed.",
    ),
    MetricSpec::gauge(
        CONFIRMED_AGE,
        &["stream"],
        "Seconds since an answer of the service last said that the stream is encrypted. Absent until one did.",
    ),
    MetricSpec::gauge(
        DESCRIBED_AGE,
        &["stream"],
        "Seconds since the service was last asked about the stream, with success. Absent until it was.",
    ),
    MetricSpec::counter(
        CALLS,
        &["operation", "result"],
        "Calls of the management API by operation (DescribeDeliveryStream, DescribeStreamSummary, \
         Start/StopDeliveryStreamEncryption, Start/StopStreamEncryption) and result: ok, or the code of the \
         error, where it is a known one.",
    ),
    MetricSpec::histogram(
        CALL_SECONDS,
        &["operation"],
        "From a call of the management API to its answer or its failure, in seconds.",
    ),
    MetricSpec::gauge(
        CALLS_LEFT,
        &["stream"],
        "Calls that change the stream's encryption that are left of those that the service allows in 24 hours, \
         as far as this process counts them.",
    ),
];

/// What is asked of the management API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    DescribeDeliveryStream,
    DescribeStreamSummary,
    StartDeliveryStreamEncryption,
    StopDeliveryStreamEncryption,
    StartStreamEncryption,
    StopStreamEncryption,
}

impl Operation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::DescribeDeliveryStream => "DescribeDeliveryStream",
            Self::DescribeStreamSummary => "DescribeStreamSummary",
            Self::StartDeliveryStreamEncryption => "StartDeliveryStreamEncryption",
            Self::StopDeliveryStreamEncryption => "StopDeliveryStreamEncryption",
            Self::StartStreamEncryption => "StartStreamEncryption",
            Self::StopStreamEncryption => "StopStreamEncryption",
        }
    }
}

/// The result of a call that succeeded.
pub(super) const OK: &str = "ok";

/// The result of one whose code is in no table: anybody can stand at the other end.
const OTHER: &str = "other";

/// The codes that have a label of their own.
const CODES: &[&str] = &[
    OK,
    "AccessDeniedException",
    "Broken",
    "Connect",
    "ExpiredTokenException",
    "InternalFailure",
    "InvalidArgumentException",
    "InvalidKMSResourceException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
    "KMSThrottlingException",
    "LimitExceededException",
    "NoCredentials",
    "NoRegion",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "ServiceUnavailableException",
    "ThrottlingException",
    "Timeout",
    "UnrecognizedClientException",
    "ValidationException",
];

/// Counts a call. They are few, so that no handle is kept.
pub(super) fn count_call(operation: Operation, code: &str, took: Duration) {
    let result = CODES.iter().find(|known| **known == code).copied().unwrap_or(OTHER);
    counter!(CALLS, "operation" => operation.as_str(), "result" => result).increment(1);
    histogram!(CALL_SECONDS, "operation" => operation.as_str()).record(took.as_secs_f64());
}

/// Counts a gate that became so.
pub(super) fn count_gate(stream: &str, passage: &Passage) {
    counter!(GATE_CHANGES, "stream" => stream.to_owned(), "gate" => word(passage)).increment(1);
}

/// What a passage is called.
pub(super) const fn word(passage: &Passage) -> &'static str {
    match passage {
        Passage::Open => "open",
        Passage::Half => "half",
        Passage::Closed(_) => "closed",
    }
}

/// Shows what is now.
pub(super) fn show(streams: &[StreamStatus], now: Instant) {
    let one_if = |is_so: bool| if is_so { 1.0 } else { 0.0 };
    for status in streams {
        let name = || status.stream.to_string();
        for state in State::ALL {
            gauge!(STATE, "stream" => name(), "state" => state.as_str())
                .set(one_if(state == status.state));
        }
        for gate in ["open", "half", "closed"] {
            gauge!(GATE, "stream" => name(), "gate" => gate)
                .set(one_if(word(&status.passage) == gate));
        }
        let age = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        if let Some(at) = status.confirmed_at {
            gauge!(CONFIRMED_AGE, "stream" => name()).set(age(at));
        }
        if let Some(at) = status.described_at {
            gauge!(DESCRIBED_AGE, "stream" => name()).set(age(at));
        }
        gauge!(CALLS_LEFT, "stream" => name()).set(f64::from(status.calls_left));
    }
}
