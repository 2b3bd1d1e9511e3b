//! The calls of the Firehose protocol that are about streams and carry no record: how a stream stands, which there
//! are, and a change of its encryption.
//!
//! What is described is what this process knows; the service itself, which allows five such calls a second to all,
//! is not asked for it.

use std::rc::Rc;

use http::StatusCode;
use serde_json::{Value, json};

use super::body::Body;
use super::constraint;
use super::firehose_api::stream;
use super::firehose_json::{Describe, List, StartEncryption, parse};
use super::refusal::Refusal;
use super::response::{ACCOUNT, AMZ_JSON, Answer, answer};
use super::stream_control::{EncryptionCall, EncryptionFacts, StreamFacts};
use super::worker::Worker;

/// The start and the stop of a stream's encryption.
pub(super) const ENCRYPTION: [&str; 2] =
    ["StartDeliveryStreamEncryption", "StopDeliveryStreamEncryption"];

/// What is known of a stream.
pub(super) fn describe(worker: &Worker, body: &Body) -> Result<Answer, Refusal> {
    let describe: Describe<'_> = parse(body.bytes())?;
    let stream = stream(worker, describe.delivery_stream_name.as_deref())?;
    let name = stream.shared.lane.name();
    let region = worker.shared.config.region.as_deref().unwrap_or("us-east-1");
    let StreamFacts { data_stream, encryption } = worker.shared.control.look(name);
    let mut description = json!({
        "DeliveryStreamName": name.as_str(),
        "DeliveryStreamARN": format!("arn:aws:firehose:{region}:{ACCOUNT}:deliverystream/{name}"),
        "DeliveryStreamStatus": "ACTIVE",
        "DeliveryStreamType": if data_stream.is_some() { "KinesisStreamAsSource" } else { "DirectPut" },
        "VersionId": "1",
        "Destinations": [],
        "HasMoreDestinations": false,
    });
    if let Some(members) = description.as_object_mut() {
        if let Some(id) = data_stream {
            let arn = if id.starts_with("arn:") {
                id.to_string()
            } else {
                format!("arn:aws:kinesis:{region}:{ACCOUNT}:stream/{id}")
            };
            let source = json!({ "KinesisStreamSourceDescription": { "KinesisStreamARN": arn } });
            members.insert("Source".to_owned(), source);
        }
        if let Some(encryption) = encryption {
            let shown = encryption_of(&encryption);
            members.insert("DeliveryStreamEncryptionConfiguration".to_owned(), shown);
        }
    }
    worker.metrics.firehose_taken(0);
    let described = json!({ "DeliveryStreamDescription": description });
    Ok(answer(StatusCode::OK, AMZ_JSON, described.to_string(), None))
}

fn encryption_of(facts: &EncryptionFacts) -> Value {
    let mut shown = json!({ "Status": facts.status });
    if let Some(members) = shown.as_object_mut() {
        match &facts.key_arn {
            Some(arn) => {
                members.insert("KeyType".to_owned(), "CUSTOMER_MANAGED_CMK".into());
                members.insert("KeyARN".to_owned(), arn.as_ref().into());
            }
            None if facts.status != "DISABLED" => {
                members.insert("KeyType".to_owned(), "AWS_OWNED_CMK".into());
            }
            None => {}
        }
        if let Some((kind, details)) = &facts.failure {
            let failure = json!({ "Type": kind.as_ref(), "Details": details.as_ref() });
            members.insert("FailureDescription".to_owned(), failure);
        }
    }
    shown
}

/// Changes the encryption of a stream, as an application asks for it.
pub(super) async fn encrypt(
    worker: &Rc<Worker>,
    operation: &str,
    body: Body,
) -> Result<Answer, Refusal> {
    let call = call_of(worker, operation, &body)?;
    drop(body);
    let stream = call.stream.clone();
    tracing::warn!(%stream, operation, "an application asks for a change of a stream's encryption");
    match worker.shared.control.call(call).await {
        Ok(()) => {
            worker.metrics.firehose_taken(0);
            Ok(answer(StatusCode::OK, AMZ_JSON, "{}".to_owned(), None))
        }
        Err(failed) => {
            tracing::warn!(%stream, operation, reason = %failed, "the encryption was not changed");
            Err(Refusal::NotChanged(failed))
        }
    }
}

fn call_of(worker: &Worker, operation: &str, body: &Body) -> Result<EncryptionCall, Refusal> {
    let call: StartEncryption<'_> = parse(body.bytes())?;
    let stream = stream(worker, call.delivery_stream_name.as_deref())?;
    let stream = stream.shared.lane.name().clone();
    let [start, _] = ENCRYPTION;
    if operation != start {
        return Ok(EncryptionCall { stream, start: None });
    }
    // Source: without a configuration it is the service's own key.
    let Some(input) = call.delivery_stream_encryption_configuration_input else {
        return Ok(EncryptionCall { stream, start: Some(None) });
    };
    let key = match (input.key_type.as_deref(), input.key_arn.as_deref()) {
        (Some("AWS_OWNED_CMK"), None) => None,
        (Some("CUSTOMER_MANAGED_CMK"), Some(arn)) => Some(arn.to_owned()),
        (Some("CUSTOMER_MANAGED_CMK"), None) => {
            return Err(Refusal::InvalidArgument("KeyARN is needed with CUSTOMER_MANAGED_CMK"));
        }
        (Some("AWS_OWNED_CMK"), Some(_)) => {
            return Err(Refusal::InvalidArgument("KeyARN can not be given with AWS_OWNED_CMK"));
        }
        (Some(other), _) => return Err(constraint::bad_key_type(other)),
        (None, _) => {
            return Err(constraint::missing("deliveryStreamEncryptionConfigurationInput.keyType"));
        }
    };
    Ok(EncryptionCall { stream, start: Some(key) })
}

/// The default of `Limit`, and its bounds. Source: the service model.
const LIST_LIMIT_DEFAULT: i64 = 10;
const LIST_LIMIT_MAX: i64 = 10_000;

/// The streams that records can be sent to, a page of them.
pub(super) fn list(worker: &Worker, body: &Body) -> Result<Answer, Refusal> {
    let list: List<'_> = parse(body.bytes())?;
    let limit = list.limit.unwrap_or(LIST_LIMIT_DEFAULT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        return Err(Refusal::Invalid(format!(
            "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: \
             Member must have value between 1 and {LIST_LIMIT_MAX}"
        )));
    }
    let after = list.exclusive_start_delivery_stream_name.as_deref().unwrap_or_default();
    let all = worker.shared.streams.all();
    let mut names = all
        .iter()
        .filter(|stream| stream.takes_records)
        .map(|stream| stream.lane.name().as_str())
        .filter(|name| *name > after);
    let page: Vec<&str> =
        names.by_ref().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    let listed = json!({
        "DeliveryStreamNames": page,
        "HasMoreDeliveryStreams": names.next().is_some(),
    });
    worker.metrics.firehose_taken(0);
    Ok(answer(StatusCode::OK, AMZ_JSON, listed.to_string(), None))
}
