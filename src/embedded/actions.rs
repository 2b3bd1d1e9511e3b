//! The control plane of the service: create, describe, list, delete, start and stop encryption.

use std::ops::Bound;

use serde::Deserialize;
use serde_json::{Value, json};

use super::ACCOUNT_ID;
use super::account::CREATE_GRANT;
use super::describe::describe;
use super::key_use::Trouble;
use super::limits::Constraints;
use super::put_input::from_json;
use super::source;
use super::sse::{FailureType, Key, KeyType, Refusal};
use super::state::{State, duration_ms, unix_ms};
use super::streams::{BUFFER_MIB_DEFAULT, BUFFER_S_DEFAULT, Definition, Destination};
use super::wire::ServiceError;
use crate::record::StreamName;

/// What an action answers.
pub(super) type Outcome = Result<Value, ServiceError>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    delivery_stream_name: Option<String>,
    delivery_stream_type: Option<String>,
    s3_destination_configuration: Option<S3Input>,
    extended_s3_destination_configuration: Option<S3Input>,
    delivery_stream_encryption_configuration_input: Option<KeyInput>,
    kinesis_stream_source_configuration: Option<source::KinesisInput>,
    #[serde(rename = "MSKSourceConfiguration")]
    msk_source_configuration: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct S3Input {
    #[serde(rename = "RoleARN")]
    role_arn: Option<String>,
    #[serde(rename = "BucketARN")]
    bucket_arn: Option<String>,
    prefix: Option<String>,
    error_output_prefix: Option<String>,
    buffering_hints: Option<HintsInput>,
    compression_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HintsInput {
    #[serde(rename = "SizeInMBs")]
    size_in_mbs: Option<u32>,
    interval_in_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyInput {
    key_type: Option<String>,
    #[serde(rename = "KeyARN")]
    key_arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NameInput {
    delivery_stream_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartEncryptionInput {
    delivery_stream_name: Option<String>,
    delivery_stream_encryption_configuration_input: Option<KeyInput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    limit: Option<usize>,
    delivery_stream_type: Option<String>,
    exclusive_start_delivery_stream_name: Option<String>,
}

/// The stream that a request names, for the faults; what cannot be read names none.
pub(super) fn named_stream(body: &[u8]) -> Option<String> {
    from_json::<NameInput>(body).ok()?.delivery_stream_name
}

/// `CreateDeliveryStream`. Only streams with an S3 destination are there.
pub(super) fn create(state: &mut State, body: &[u8]) -> Outcome {
    let input: CreateInput = from_json(body)?;
    let mut constraints = Constraints::default();
    let name = stream_name(input.delivery_stream_name, &mut constraints);
    if let Some(kind) = input.delivery_stream_type.as_deref().filter(|k| !STREAM_TYPES.contains(k))
    {
        constraints.not_in_set(kind, "deliveryStreamType", &STREAM_TYPES.join(", "));
    }
    let key = input.delivery_stream_encryption_configuration_input;
    let key = key.map(|key| key_of(key, &mut constraints));
    let s3 = [
        ("s3DestinationConfiguration", input.s3_destination_configuration),
        ("extendedS3DestinationConfiguration", input.extended_s3_destination_configuration),
    ];
    let mut destinations: Vec<_> = s3
        .into_iter()
        .filter_map(|(at, s3)| Some(destination(s3?, at, &mut constraints)))
        .collect();
    let kinesis = input.kinesis_stream_source_configuration;
    if let Some(kinesis) = &kinesis {
        kinesis.check(&mut constraints);
    }
    let name = checked_name(name, constraints)?;
    let key = key.transpose()?;
    let kind = input.delivery_stream_type.as_deref().unwrap_or("DirectPut");
    let source = source::of(kind, kinesis, input.msk_source_configuration, state)?;
    if key.is_some() {
        source.check_direct_put()?;
    }
    let (Some(destination), true) = (destinations.pop(), destinations.is_empty()) else {
        let message = "Exactly one destination configuration is supported for a Firehose";
        return Err(ServiceError::invalid_argument(message));
    };
    let destination = destination?;
    if state.streams.contains_key(&name) {
        let message = format!("Firehose {name} under accountId {ACCOUNT_ID} already exists");
        return Err(ServiceError::in_use(message));
    }
    if state.streams.len() >= STREAMS_MAX {
        let message = format!("There are {STREAMS_MAX} delivery streams already.");
        return Err(ServiceError::limit_exceeded(message));
    }
    let now_ms = unix_ms();
    let mut definition = Definition::new(&name, destination, now_ms);
    definition.active_from_ms = now_ms.saturating_add(duration_ms(state.config.create_delay));
    definition.source = source;
    if let Some(key) = key {
        let failure = failure_of(state, &name, &key, now_ms);
        definition.sse.enable(key, failure, &state.config.sse, now_ms);
    }
    let arn = definition.arn(&state.config.region);
    keep(state.create(&name, definition))?;
    tracing::info!(stream = %name, "created a delivery stream");
    Ok(json!({ "DeliveryStreamARN": arn }))
}

/// `DescribeDeliveryStream`.
pub(super) fn describe_stream(state: &mut State, body: &[u8]) -> Outcome {
    let name = name_input(body)?;
    let now_ms = unix_ms();
    let stream = state.streams.get_mut(&name);
    let stream = stream.ok_or_else(|| ServiceError::not_found(name.as_str()))?;
    let sse = stream.definition.sse.shown(now_ms);
    Ok(describe(&stream.definition, sse.as_ref(), &state.config.region, now_ms))
}

/// `ListDeliveryStreams`: by name, after the given one.
pub(super) fn list(state: &State, body: &[u8]) -> Outcome {
    // A client may leave out a body that would be empty.
    let body = if body.is_empty() { b"{}" } else { body };
    let input: ListInput = from_json(body)?;
    let mut constraints = Constraints::default();
    if let Some(after) = input.exclusive_start_delivery_stream_name.as_deref() {
        constraints.stream_name(Some(after));
    }
    let limit = input.limit.unwrap_or(LIST_LIMIT_DEFAULT);
    if limit == 0 {
        let constraint = "Member must have value greater than or equal to 1";
        constraints.broken("0", "limit", constraint);
    }
    if limit > LIST_LIMIT_MAX {
        let constraint = format!("Member must have value less than or equal to {LIST_LIMIT_MAX}");
        constraints.broken(&limit.to_string(), "limit", &constraint);
    }
    constraints.check()?;
    let kind = input.delivery_stream_type.as_deref();
    let after = match input.exclusive_start_delivery_stream_name.as_deref() {
        Some(name) => Bound::Excluded(name),
        None => Bound::Unbounded,
    };
    let streams = state.streams.range::<str, _>((after, Bound::Unbounded));
    let mut names = streams
        .filter(|(_, stream)| {
            kind.is_none_or(|kind| kind == stream.definition.source.stream_type())
        })
        .map(|(name, _)| name);
    let page: Vec<_> = names.by_ref().take(limit).map(StreamName::as_str).collect();
    let more = names.next().is_some();
    Ok(json!({ "DeliveryStreamNames": page, "HasMoreDeliveryStreams": more }))
}

/// `DeleteDeliveryStream`: at once, where the service takes its time.
pub(super) fn delete(state: &mut State, body: &[u8]) -> Outcome {
    let name = name_input(body)?;
    let stream = state.streams.get(&name);
    let stream = stream.ok_or_else(|| ServiceError::not_found(name.as_str()))?;
    if !stream.definition.is_active(unix_ms()) {
        return Err(not_active(&name));
    }
    keep(state.delete(&name))?;
    tracing::info!(stream = %name, "deleted a delivery stream");
    Ok(json!({}))
}

/// `StartDeliveryStreamEncryption`. Without a key it is the service's own.
pub(super) fn start_encryption(state: &mut State, body: &[u8]) -> Outcome {
    let input: StartEncryptionInput = from_json(body)?;
    let mut constraints = Constraints::default();
    let name = stream_name(input.delivery_stream_name, &mut constraints);
    let key = match input.delivery_stream_encryption_configuration_input {
        Some(key) => key_of(key, &mut constraints),
        None => Ok(Key { key_type: KeyType::AwsOwned, key_arn: None }),
    };
    let name = checked_name(name, constraints)?;
    change_encryption(state, &name, Some(key?))
}

/// `StopDeliveryStreamEncryption`.
pub(super) fn stop_encryption(state: &mut State, body: &[u8]) -> Outcome {
    let name = name_input(body)?;
    change_encryption(state, &name, None)
}

fn change_encryption(state: &mut State, name: &StreamName, to: Option<Key>) -> Outcome {
    let now_ms = unix_ms();
    let stream = state.streams.get(name);
    let stream = stream.ok_or_else(|| ServiceError::not_found(name.as_str()))?;
    let timing = stream.commanded.timing(&state.config.sse);
    let mut definition = stream.definition.clone();
    definition.source.check_direct_put()?;
    if !definition.is_active(now_ms) {
        return Err(not_active(name));
    }
    let changed = match to {
        Some(key) => {
            let failure = failure_of(state, name, &key, now_ms);
            definition.sse.start(key, failure, &timing, now_ms)
        }
        None => {
            let failure = state.injector_of(Some(name.as_str())).sse_failure();
            definition.sse.stop(failure, &timing, now_ms)
        }
    };
    // A refused call counts too, so that what is kept has changed either way.
    keep(state.replace(name.as_str(), definition))?;
    match changed {
        Ok(()) => Ok(json!({})),
        Err(Refusal::InTransition) => Err(ServiceError::in_use(format!(
            "Firehose {name} under accountId {ACCOUNT_ID} is changing its encryption. Wait until \
             that has ended."
        ))),
        Err(Refusal::TooManyCalls) => Err(ServiceError::limit_exceeded(format!(
            "Firehose {name} under accountId {ACCOUNT_ID} has reached the limit of {} encryption \
             calls in 24 hours.",
            timing.calls_per_day_max
        ))),
    }
}

/// The failure that encryption under this key will end in: one that was asked for, or what stands
/// against the key.
fn failure_of(state: &mut State, name: &StreamName, key: &Key, now_ms: u64) -> Option<FailureType> {
    let asked_for = state.injector_of(Some(name.as_str())).sse_failure();
    asked_for.or_else(|| {
        let trouble = state.key_judge(now_ms).trouble(key, &[CREATE_GRANT]);
        trouble.map(Trouble::failure)
    })
}

fn name_input(body: &[u8]) -> Result<StreamName, ServiceError> {
    let input: NameInput = from_json(body)?;
    let mut constraints = Constraints::default();
    let name = stream_name(input.delivery_stream_name, &mut constraints);
    checked_name(name, constraints)
}

fn stream_name(name: Option<String>, constraints: &mut Constraints) -> Option<StreamName> {
    constraints.stream_name(name.as_deref());
    name?.parse().ok()
}

fn checked_name(
    name: Option<StreamName>,
    constraints: Constraints,
) -> Result<StreamName, ServiceError> {
    constraints.check()?;
    // The checks and the type agree on what a name is.
    name.ok_or_else(ServiceError::internal)
}

/// Both results are looked at: first what the members break, then what breaks between them.
fn key_of(input: KeyInput, constraints: &mut Constraints) -> Result<Key, ServiceError> {
    let at = "deliveryStreamEncryptionConfigurationInput.keyType";
    if let Some(arn) = &input.key_arn {
        constraints.key_arn(arn, "deliveryStreamEncryptionConfigurationInput.keyARN");
    }
    match (input.key_type.as_deref(), input.key_arn) {
        (Some("AWS_OWNED_CMK"), None) => Ok(Key { key_type: KeyType::AwsOwned, key_arn: None }),
        (Some("AWS_OWNED_CMK"), Some(_)) => Err(ServiceError::invalid_argument(
            "KeyARN must not be given when KeyType is AWS_OWNED_CMK.",
        )),
        (Some("CUSTOMER_MANAGED_CMK"), Some(arn)) => {
            Ok(Key { key_type: KeyType::CustomerManaged, key_arn: Some(arn) })
        }
        (Some("CUSTOMER_MANAGED_CMK"), None) => Err(ServiceError::invalid_argument(
            "KeyARN must be given when KeyType is CUSTOMER_MANAGED_CMK.",
        )),
        (Some(other), _) => {
            constraints.not_in_set(other, at, "AWS_OWNED_CMK, CUSTOMER_MANAGED_CMK");
            Err(ServiceError::internal())
        }
        (None, _) => {
            constraints.missing(at);
            Err(ServiceError::internal())
        }
    }
}

fn destination(
    input: S3Input,
    at: &str,
    constraints: &mut Constraints,
) -> Result<Destination, ServiceError> {
    for (member, value) in [("roleARN", &input.role_arn), ("bucketARN", &input.bucket_arn)] {
        if value.is_none() {
            constraints.missing(&format!("{at}.{member}"));
        }
    }
    // Files that are not what Describe says they are would be worse than a refusal.
    if input.compression_format.is_some_and(|format| format != "UNCOMPRESSED") {
        let message = "The emulator delivers uncompressed objects only.";
        return Err(ServiceError::invalid_argument(message));
    }
    let hints = input.buffering_hints;
    Ok(Destination {
        role_arn: input.role_arn.unwrap_or_default(),
        bucket_arn: input.bucket_arn.unwrap_or_default(),
        prefix: input.prefix,
        error_output_prefix: input.error_output_prefix,
        buffer_mib: hints.as_ref().and_then(|h| h.size_in_mbs).unwrap_or(BUFFER_MIB_DEFAULT),
        buffer_s: hints.as_ref().and_then(|h| h.interval_in_seconds).unwrap_or(BUFFER_S_DEFAULT),
    })
}

fn not_active(name: &StreamName) -> ServiceError {
    ServiceError::in_use(format!("Firehose {name} under accountId {ACCOUNT_ID} is not ACTIVE."))
}

/// What could not be kept on disk has not happened.
pub(super) fn keep(kept: std::io::Result<()>) -> Result<(), ServiceError> {
    kept.map_err(|error| {
        tracing::error!(%error, "the list of streams or keys cannot be written");
        ServiceError::internal()
    })
}

const STREAM_TYPES: [&str; 4] =
    ["DirectPut", "KinesisStreamAsSource", "MSKAsSource", "DatabaseAsSource"];

/// The most streams, as in the largest Regions. Source: the service's quota page.
const STREAMS_MAX: usize = 5_000;

/// Source: the service model.
const LIST_LIMIT_DEFAULT: usize = 10;
const LIST_LIMIT_MAX: usize = 10_000;
