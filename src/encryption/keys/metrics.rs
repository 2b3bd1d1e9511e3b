//! What this room counts: names, descriptions and the one place that counts calls of KMS.
//!
//! Labels come from configured stream names and fixed sets. It measures; it decides nothing.

use std::time::Duration;

use ::metrics::{counter, gauge, histogram};

use super::status::Status;
use crate::telemetry::MetricSpec;

const REQUESTS: &str = "standpipe_encryption_kms_requests_total";
const REQUEST_SECONDS: &str = "standpipe_encryption_kms_request_seconds";
const KEYS_AVAILABLE: &str = "standpipe_encryption_keys_available";
const KEY_AGE: &str = "standpipe_encryption_key_age_seconds";
const KEY_BYTES: &str = "standpipe_encryption_key_sealed_bytes";
const KEYS_RENEWED: &str = "standpipe_encryption_keys_renewed_total";
const UNWRAPPED_KEYS: &str = "standpipe_encryption_unwrapped_keys";
const WAITING_KEYS: &str = "standpipe_encryption_waiting_keys";

/// All metrics of this room.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec::counter(
        REQUESTS,
        &["operation", "result"],
        "Calls of KMS by operation (GenerateDataKey, Decrypt) and result: ok, or the code of the error.",
    ),
    MetricSpec::histogram(
        REQUEST_SECONDS,
        &["operation"],
        "From a call of KMS to its answer or its failure, in seconds.",
    ),
    MetricSpec::gauge(
        KEYS_AVAILABLE,
        &["stream"],
        "1 while the stream has a data key for its next segment that is not too old, otherwise 0.",
    ),
    MetricSpec::gauge(
        KEY_AGE,
        &["stream"],
        "Age of the stream's current data key, in seconds; 0 when it has none.",
    ),
    MetricSpec::gauge(
        KEY_BYTES,
        &["stream"],
        "Bytes that were sealed since the stream's current data key came.",
    ),
    MetricSpec::counter(
        KEYS_RENEWED,
        &["stream"],
        "Data keys that the stream was given, the first one counted too.",
    ),
    MetricSpec::gauge(UNWRAPPED_KEYS, &[], "Data keys of old segments that are kept in the clear."),
    MetricSpec::gauge(
        WAITING_KEYS,
        &[],
        "Data keys of old segments that can not be had now; their segments wait.",
    ),
];

/// What is asked of KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    GenerateDataKey,
    Decrypt,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::GenerateDataKey => "GenerateDataKey",
            Self::Decrypt => "Decrypt",
        }
    }
}

/// Counts a call of KMS. They are few, so that no handle is kept.
pub(super) fn count_request(operation: Operation, result: &'static str, took: Duration) {
    counter!(REQUESTS, "operation" => operation.as_str(), "result" => result).increment(1);
    histogram!(REQUEST_SECONDS, "operation" => operation.as_str()).record(took.as_secs_f64());
}

/// Counts a data key that a stream was given.
pub(super) fn count_renewed(stream: &str) {
    counter!(KEYS_RENEWED, "stream" => stream.to_owned()).increment(1);
}

/// Shows what is now.
pub(super) fn show(status: &Status) {
    for stream in &status.streams {
        let name = || stream.stream.to_string();
        let available = if stream.state.is_usable() { 1.0 } else { 0.0 };
        gauge!(KEYS_AVAILABLE, "stream" => name()).set(available);
        gauge!(KEY_AGE, "stream" => name()).set(stream.age.unwrap_or_default().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!(KEY_BYTES, "stream" => name()).set(stream.sealed_bytes as f64);
    }
    gauge!(UNWRAPPED_KEYS).set(float(status.unwrapped));
    gauge!(WAITING_KEYS).set(float(status.waiting.len()));
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
