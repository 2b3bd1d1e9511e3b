//! The life of data streams: create, delete, list, and how large a record may be.

use std::ops::Bound;

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{seconds, stream_mode};
use super::naming::{Named, arn_of};
use super::streams::{Definition, RECORD_KIB_DEFAULT};
use crate::embedded::ACCOUNT_ID;
use crate::embedded::actions::{Outcome, keep};
use crate::embedded::limits::Constraints;
use crate::embedded::put_input::from_json;
use crate::embedded::state::{State, duration_ms, unix_ms};
use crate::embedded::wire::ServiceError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    stream_name: Option<String>,
    shard_count: Option<u32>,
    stream_mode_details: Option<ModeInput>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    record_kib_max: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModeInput {
    stream_mode: Option<String>,
}

#[derive(Deserialize)]
struct RecordSizeInput {
    #[serde(flatten)]
    named: Named,
    #[serde(rename = "MaxRecordSizeInKiB")]
    record_kib_max: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    limit: Option<usize>,
    exclusive_start_stream_name: Option<String>,
    next_token: Option<String>,
}

/// `CreateStream`.
pub(super) fn create(state: &mut State, body: &[u8]) -> Outcome {
    let input: CreateInput = from_json(body)?;
    let mut constraints = Constraints::default();
    constraints.data_stream_name(input.stream_name.as_deref(), "streamName");
    if input.shard_count == Some(0) {
        constraints.range(0, "shardCount", 1, u64::from(SHARDS_MAX));
    }
    let mode = input.stream_mode_details.and_then(|details| details.stream_mode);
    let on_demand = match mode.as_deref() {
        None | Some("PROVISIONED") => false,
        Some("ON_DEMAND") => true,
        Some(other) => {
            let at = "streamModeDetails.streamMode";
            constraints.not_in_set(other, at, "PROVISIONED, ON_DEMAND");
            false
        }
    };
    let record_kib_max = input.record_kib_max.unwrap_or(RECORD_KIB_DEFAULT);
    check_record_size(record_kib_max, &mut constraints);
    constraints.check()?;
    let name = input.stream_name.ok_or_else(ServiceError::internal)?;
    let shards = match (on_demand, input.shard_count) {
        (true, None) => ON_DEMAND_SHARDS,
        (false, Some(shards)) => shards,
        (true, Some(_)) => {
            let message = "ShardCount must not be given with the stream mode ON_DEMAND.";
            return Err(ServiceError::validation(message));
        }
        (false, None) => {
            let message = "ShardCount has to be given with the stream mode PROVISIONED.";
            return Err(ServiceError::validation(message));
        }
    };
    if state.kinesis.streams.contains_key(&name) {
        let message = format!("Stream {name} under account {ACCOUNT_ID} already exists.");
        return Err(ServiceError::in_use(message));
    }
    let in_use: u32 = state.kinesis.streams.values().map(|stream| stream.definition.shards).sum();
    if shards > SHARDS_MAX.saturating_sub(in_use) {
        let message = format!(
            "This request would exceed the shard limit for the account {ACCOUNT_ID} in {}. \
             Current shard count for the account: {in_use}. Limit: {SHARDS_MAX}.",
            state.config.region
        );
        return Err(ServiceError::limit_exceeded(message));
    }
    let now_ms = unix_ms();
    let mut definition = Definition::new(&name, shards, on_demand, now_ms);
    definition.active_from_ms = now_ms.saturating_add(duration_ms(state.config.create_delay));
    definition.record_kib_max = record_kib_max;
    keep(state.create_data_stream(definition))?;
    tracing::info!(stream = name, shards, "created a data stream");
    Ok(json!({}))
}

/// `DeleteStream`: at once, where the service takes its time.
pub(super) fn delete(state: &mut State, body: &[u8]) -> Outcome {
    let named: Named = from_json(body)?;
    let mut constraints = Constraints::default();
    named.check(&mut constraints);
    constraints.check()?;
    let name = named.resolve(&state.config.region)?;
    state.data_stream(&name)?;
    keep(state.delete_data_stream(&name))?;
    tracing::info!(stream = name, "deleted a data stream");
    Ok(json!({}))
}

/// `ListStreams`: by name, after the given one.
pub(super) fn list(state: &mut State, body: &[u8]) -> Outcome {
    let input: ListInput = from_json(body)?;
    let limit = input.limit.unwrap_or(LIST_LIMIT_DEFAULT);
    let mut constraints = Constraints::default();
    constraints.range(u64::try_from(limit).unwrap_or(u64::MAX), "limit", 1, LIST_LIMIT_MAX);
    constraints.check()?;
    // The token is the name after which the next page begins.
    let after = input.next_token.or(input.exclusive_start_stream_name);
    let after = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let now_ms = unix_ms();
    let region = state.config.region.clone();
    let mut streams = state.kinesis.streams.range_mut::<str, _>((after, Bound::Unbounded));
    let page: Vec<(String, Value)> = streams
        .by_ref()
        .take(limit)
        .map(|(name, stream)| {
            let definition = &mut stream.definition;
            let shown = json!({
                "StreamName": name,
                "StreamARN": arn_of(name, &region),
                "StreamStatus": definition.status(now_ms),
                "StreamModeDetails": stream_mode(definition),
                "StreamCreationTimestamp": seconds(definition.created_ms),
            });
            (name.clone(), shown)
        })
        .collect();
    let more = streams.next().is_some();
    let (names, shown): (Vec<_>, Vec<_>) = page.into_iter().unzip();
    let mut answer = json!({ "HasMoreStreams": more, "StreamSummaries": shown });
    if let Some(members) = answer.as_object_mut() {
        if let Some(last) = names.last().filter(|_| more) {
            members.insert("NextToken".into(), json!(last));
        }
        members.insert("StreamNames".into(), json!(names));
    }
    Ok(answer)
}

/// `UpdateMaxRecordSize`: at once, where the service takes its time.
pub(super) fn update_max_record_size(state: &mut State, body: &[u8]) -> Outcome {
    let input: RecordSizeInput = from_json(body)?;
    let mut constraints = Constraints::default();
    input.named.check(&mut constraints);
    match input.record_kib_max {
        Some(kib) => check_record_size(kib, &mut constraints),
        None => constraints.missing("maxRecordSizeInKiB"),
    }
    constraints.check()?;
    let name = input.named.resolve(&state.config.region)?;
    let mut definition = state.data_stream(&name)?.definition.clone();
    check_active(&mut definition)?;
    definition.record_kib_max = input.record_kib_max.unwrap_or(RECORD_KIB_DEFAULT);
    keep(state.replace_data_stream(definition))?;
    Ok(json!({}))
}

/// Refuses what needs a stream that is `ACTIVE`.
pub(super) fn check_active(definition: &mut Definition) -> Result<(), ServiceError> {
    let status = definition.status(unix_ms());
    if status == "ACTIVE" {
        return Ok(());
    }
    Err(ServiceError::in_use(format!(
        "Stream {} under account {ACCOUNT_ID} not ACTIVE, instead in state {status}",
        definition.name
    )))
}

fn check_record_size(kib: u32, constraints: &mut Constraints) {
    let (min, max) = (u64::from(RECORD_KIB_DEFAULT), RECORD_KIB_MAX);
    constraints.range(u64::from(kib), "maxRecordSizeInKiB", min, max);
}

/// The shards of an on-demand stream at its creation. Source: the service's guide.
const ON_DEMAND_SHARDS: u32 = 4;

/// The shards of all streams together. The service has 20,000 in the largest Regions; the emulator keeps
/// a bucket for each.
const SHARDS_MAX: u32 = 20_000;

/// Source: the service model.
const RECORD_KIB_MAX: u64 = 10_240;
const LIST_LIMIT_DEFAULT: usize = 100;
const LIST_LIMIT_MAX: u64 = 10_000;
