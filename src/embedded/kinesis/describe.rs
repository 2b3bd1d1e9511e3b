//! What is shown of a data stream: its description, its summary, its shards.

use serde::Deserialize;
use serde_json::{Value, json};

use super::naming::{Named, arn_of};
use super::shards::{parse_shard_id, range, shard_id};
use super::streams::{DataStream, Definition};
use crate::embedded::actions::Outcome;
pub(super) use crate::embedded::describe::seconds;
use crate::embedded::limits::Constraints;
use crate::embedded::put_input::from_json;
use crate::embedded::state::{State, unix_ms};
use crate::embedded::wire::ServiceError;

#[derive(Deserialize)]
struct Input {
    #[serde(flatten)]
    named: Named,
    #[serde(rename = "ExclusiveStartShardId")]
    after: Option<String>,
    #[serde(rename = "Limit", alias = "MaxResults")]
    limit: Option<u32>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
}

/// `DescribeStream`.
pub(super) fn stream(state: &mut State, body: &[u8]) -> Outcome {
    let input = read(body)?;
    let region = state.config.region.clone();
    let name = input.named.resolve(&region)?;
    let stream = state.data_stream(&name)?;
    let limit = input.limit.unwrap_or(SHARDS_DEFAULT);
    let (shards, next) = shards(stream, first_after(input.after.as_deref())?, limit);
    let mut shown = common(&mut stream.definition, &region);
    if let Some(members) = shown.as_object_mut() {
        members.insert("Shards".into(), json!(shards));
        members.insert("HasMoreShards".into(), json!(next.is_some()));
    }
    Ok(json!({ "StreamDescription": shown }))
}

/// `DescribeStreamSummary`.
pub(super) fn summary(state: &mut State, body: &[u8]) -> Outcome {
    let input = read(body)?;
    let region = state.config.region.clone();
    let name = input.named.resolve(&region)?;
    let definition = &mut state.data_stream(&name)?.definition;
    let mut shown = common(definition, &region);
    if let Some(members) = shown.as_object_mut() {
        members.insert("OpenShardCount".into(), json!(definition.shards));
        members.insert("ConsumerCount".into(), json!(0));
        members.insert("MaxRecordSizeInKiB".into(), json!(definition.record_kib_max));
    }
    Ok(json!({ "StreamDescriptionSummary": shown }))
}

/// `ListShards`.
pub(super) fn list_shards(state: &mut State, body: &[u8]) -> Outcome {
    let mut input = read(body)?;
    // The token is the ARN of the stream and the shard after which the next page begins.
    if let Some(token) = input.next_token.take() {
        let (arn, after) = token.rsplit_once('#').ok_or_else(|| {
            ServiceError::invalid_argument("NextToken is none that the emulator gave.")
        })?;
        input.named = Named { name: None, arn: Some(arn.to_owned()) };
        input.after = Some(after.to_owned());
    }
    let region = state.config.region.clone();
    let name = input.named.resolve(&region)?;
    let limit = input.limit.unwrap_or(LIST_SHARDS_DEFAULT);
    let stream = state.data_stream(&name)?;
    let (shards, next) = shards(stream, first_after(input.after.as_deref())?, limit);
    let mut answer = json!({ "Shards": shards });
    if let (Some(last), Some(members)) = (next, answer.as_object_mut()) {
        members.insert("NextToken".into(), json!(format!("{}#{last}", arn_of(&name, &region))));
    }
    Ok(answer)
}

/// The mode of a stream, as it is shown.
pub(super) fn stream_mode(definition: &Definition) -> Value {
    json!({ "StreamMode": if definition.on_demand { "ON_DEMAND" } else { "PROVISIONED" } })
}

fn read(body: &[u8]) -> Result<Input, ServiceError> {
    let input: Input = from_json(body)?;
    let mut constraints = Constraints::default();
    input.named.check(&mut constraints);
    if let Some(limit) = input.limit {
        constraints.range(u64::from(limit), "limit", 1, LIMIT_MAX);
    }
    constraints.check()?;
    Ok(input)
}

/// What description and summary have in common.
fn common(definition: &mut Definition, region: &str) -> Value {
    let now_ms = unix_ms();
    let status = definition.status(now_ms);
    let key = definition.sse.in_force(now_ms).cloned();
    let mut shown = json!({
        "StreamName": definition.name,
        "StreamARN": arn_of(&definition.name, region),
        "StreamStatus": status,
        "StreamModeDetails": stream_mode(definition),
        "RetentionPeriodHours": RETENTION_HOURS,
        "StreamCreationTimestamp": seconds(definition.created_ms),
        "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
        "EncryptionType": if key.is_some() { "KMS" } else { "NONE" },
    });
    if let (Some(key), Some(members)) = (key, shown.as_object_mut()) {
        members.insert("KeyId".into(), json!(key.key_arn));
    }
    shown
}

/// The shards from one on, and the last that is shown when there are more.
fn shards(stream: &DataStream, first: u32, limit: u32) -> (Vec<Value>, Option<String>) {
    let count = stream.definition.shards;
    let end = first.saturating_add(limit).min(count);
    let shown = (first..end).map(|shard| {
        let (from, to) = range(shard, count);
        json!({
            "ShardId": shard_id(shard),
            "HashKeyRange": { "StartingHashKey": from.to_string(), "EndingHashKey": to.to_string() },
            "SequenceNumberRange": { "StartingSequenceNumber": stream.sequence_text_at(0) },
        })
    });
    let next = (end < count).then(|| shard_id(end.saturating_sub(1)));
    (shown.collect(), next)
}

fn first_after(after: Option<&str>) -> Result<u32, ServiceError> {
    let Some(after) = after else { return Ok(0) };
    let shard = parse_shard_id(after);
    let shard = shard.ok_or_else(|| ServiceError::invalid_argument("There is no such shard."))?;
    Ok(shard.saturating_add(1))
}

/// What the service keeps records for unless it is told otherwise. The emulator goes by bytes.
const RETENTION_HOURS: u32 = 24;

/// Source: the service model.
const SHARDS_DEFAULT: u32 = 100;
const LIST_SHARDS_DEFAULT: u32 = 1_000;
const LIMIT_MAX: u64 = 10_000;
