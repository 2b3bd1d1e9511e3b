//! How the data keys are shown in the status.

use std::time::Instant;

use serde_json::{Value, json};

use crate::encryption::keys::{KeyReason, Status};

/// The keys as they stand, those of streams and those of old segments.
pub(super) fn shown(status: &Status) -> Value {
    let now = Instant::now();
    let seconds = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
    let reason = |reason: &KeyReason| {
        json!({
            "code": reason.code,
            "message": reason.message,
            "needs_operator": reason.needs_operator,
            "failures": reason.failures,
            "seconds": seconds(reason.since),
        })
    };
    let streams: Vec<Value> = status
        .streams
        .iter()
        .map(|stream| {
            json!({
                "name": stream.stream.as_str(),
                "state": stream.state.as_str(),
                "age_seconds": stream.age.map(|age| age.as_secs_f64()),
                "sealed_bytes": stream.sealed_bytes,
                "reason": stream.reason.as_ref().map(reason),
            })
        })
        .collect();
    let waiting: Vec<Value> = status
        .waiting
        .iter()
        .map(|key| {
            json!({
                "stream": key.stream,
                "key_id": key.key_id,
                "reason": key.message,
                "seconds": seconds(key.since),
            })
        })
        .collect();
    json!({
        "provider": status.provider,
        "key_id": status.key_id,
        "streams": streams,
        "old_keys": {
            "unwrapped": status.unwrapped,
            "asked_for": status.unwrapping,
            "waiting": waiting,
        },
    })
}
