//! The management API of Firehose, as far as it is needed: the only file here that knows its SDK.
//!
//! It says in plain words what came back, and decides nothing. What Describe answers is read by ourselves: the
//! SDK refuses an answer that lacks any of the many members that it takes for required, and whether records
//! may leave must not hang on how a destination is described.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::types::{DeliveryStreamEncryptionConfigurationInput, KeyType};
use serde::Deserialize;
use serde_json::Value;

use super::Config;
use super::declared::Key;
use super::joins;
use super::observed::{Failure, Observed, Sse};
use crate::aws::{BadUpstream, CallError, KeptAnswer, ShortAnswers, Way, failure};
use crate::gate::Joins;
use crate::record::StreamName;

/// The most bytes of an answer: a description of many destinations has some ten thousand.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The way to the service. See the module.
#[derive(Debug)]
pub(super) struct Firehose {
    way: Way<Client>,
}

/// What Describe says of a delivery stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryStream {
    /// `ACTIVE`, if it can be changed.
    pub(super) status: Arc<str>,
    /// `DirectPut`, if records are put into it.
    pub(super) source: Arc<str>,
    /// The ARN of the data stream that it reads from.
    pub(super) data_stream: Option<Arc<str>>,
    pub(super) observed: Observed,
    /// Whether records that are put into it may be joined.
    pub(super) joins: Joins,
}

impl Firehose {
    /// A client that has asked for nothing yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or the endpoint of the configuration can not be used.
    pub(super) fn new(config: &Config) -> Result<Self, BadUpstream> {
        let (connect, attempt) = (config.connect_timeout, config.attempt_timeout);
        Ok(Self { way: Way::new(&config.upstream, connect, attempt, client)? })
    }

    /// The way itself, beside which another service is reached.
    pub(super) const fn way(&self) -> &Way<Client> {
        &self.way
    }

    /// `DescribeDeliveryStream`.
    pub(super) async fn describe(&self, stream: &StreamName) -> Result<DeliveryStream, CallError> {
        let describe = async |client: &Client| {
            let kept = KeptAnswer::default();
            let call = client
                .describe_delivery_stream()
                .delivery_stream_name(stream.as_str())
                .customize()
                .interceptor(ShortAnswers { bytes_max: ANSWER_BYTES_MAX })
                .interceptor(kept.clone());
            let result = call.send().await;
            match (kept.body(), result) {
                (Some(body), _) => read(body),
                (None, Err(error)) => Err(failure(&error)),
                (None, Ok(_)) => Err(unfit("it is empty")),
            }
        };
        self.way.call(describe).await
    }

    /// `StartDeliveryStreamEncryption`.
    pub(super) async fn start(&self, stream: &StreamName, key: &Key) -> Result<(), CallError> {
        let mut input = DeliveryStreamEncryptionConfigurationInput::builder();
        input = match key {
            Key::AwsOwned => input.key_type(KeyType::AwsOwnedCmk),
            Key::Customer(arn) => {
                input.key_type(KeyType::CustomerManagedCmk).key_arn(arn.to_string())
            }
        };
        let input = input.build().map_err(|error| unfit(&error.to_string()))?;
        let start = async |client: &Client| {
            let call = client
                .start_delivery_stream_encryption()
                .delivery_stream_name(stream.as_str())
                .delivery_stream_encryption_configuration_input(input.clone());
            call.send().await.map(drop).map_err(|error| failure(&error))
        };
        self.way.call(start).await
    }

    /// `StopDeliveryStreamEncryption`.
    pub(super) async fn stop(&self, stream: &StreamName) -> Result<(), CallError> {
        let stop = async |client: &Client| {
            let call =
                client.stop_delivery_stream_encryption().delivery_stream_name(stream.as_str());
            call.send().await.map(drop).map_err(|error| failure(&error))
        };
        self.way.call(stop).await
    }
}

fn client(shared: &SdkConfig, endpoint: Option<String>) -> Client {
    let mut builder = aws_sdk_firehose::config::Builder::from(shared);
    builder.set_endpoint_url(endpoint);
    Client::from_conf(builder.build())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    delivery_stream_description: Described,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    delivery_stream_status: Option<String>,
    delivery_stream_type: Option<String>,
    source: Option<Source>,
    delivery_stream_encryption_configuration: Option<Encryption>,
    #[serde(default)]
    destinations: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Source {
    kinesis_stream_source_description: Option<DataStream>,
}

#[derive(Deserialize)]
struct DataStream {
    #[serde(rename = "KinesisStreamARN")]
    arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encryption {
    status: Option<String>,
    key_type: Option<String>,
    #[serde(rename = "KeyARN")]
    key_arn: Option<String>,
    failure_description: Option<FailureDescription>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FailureDescription {
    #[serde(rename = "Type")]
    kind: Option<String>,
    details: Option<String>,
}

/// Reads the answer of Describe.
fn read(body: &[u8]) -> Result<DeliveryStream, CallError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| unfit(&error.to_string()))?;
    let described = answer.delivery_stream_description;
    let status = described.delivery_stream_status.unwrap_or_default();
    let source = described.delivery_stream_type.ok_or_else(|| unfit("it names no source"))?;
    let data_stream = described
        .source
        .and_then(|source| source.kinesis_stream_source_description)
        .and_then(|stream| stream.arn);
    let encryption = described.delivery_stream_encryption_configuration;
    // A stream that was created encrypted may be shown with its key and without a status: then nobody knows.
    let sse = match &encryption {
        Some(Encryption { status: None, key_type: Some(_), .. }) => Sse::Other,
        Some(encryption) => Sse::of(encryption.status.as_deref()),
        None => Sse::Disabled,
    };
    // Some still name the last key of a stream that is not encrypted any more.
    let in_force = encryption.as_ref().filter(|_| sse != Sse::Disabled);
    let key = in_force.and_then(|encryption| match &encryption.key_arn {
        Some(arn) => Some(Key::Customer(arn.as_str().into())),
        None => (encryption.key_type.as_deref() == Some("AWS_OWNED_CMK")).then_some(Key::AwsOwned),
    });
    let failure = encryption.and_then(|encryption| encryption.failure_description);
    let failure = failure.map(|failure| Failure {
        kind: failure.kind.unwrap_or_default().into(),
        details: failure.details.unwrap_or_default().into(),
    });
    let is_changeable = status == "ACTIVE" && !sse.is_passing();
    Ok(DeliveryStream {
        status: status.into(),
        source: source.into(),
        data_stream: data_stream.map(Into::into),
        observed: Observed { sse, key, failure, is_changeable },
        joins: joins::of(&described.destinations),
    })
}

fn unfit(what: &str) -> CallError {
    CallError::Broken { status: None, message: format!("the answer can not be used: {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(more: &str) -> DeliveryStream {
        let text = format!(
            r#"{{"DeliveryStreamDescription":{{"DeliveryStreamName":"s","DeliveryStreamStatus":"ACTIVE",
            "DeliveryStreamType":"DirectPut"{more}}}}}"#
        );
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_description_is_read_without_what_does_not_matter() {
        let plain = described("");
        assert_eq!(plain.observed.sse, Sse::Disabled);
        assert!(plain.observed.is_changeable);
        let enabled = described(
            r#","Destinations":[{"DestinationId":"1","S3DestinationDescription":{}}],
            "DeliveryStreamEncryptionConfiguration":{"Status":"ENABLED","KeyType":"AWS_OWNED_CMK"}"#,
        );
        assert_eq!(
            (enabled.observed.sse, enabled.observed.key),
            (Sse::Enabled, Some(Key::AwsOwned))
        );
        let failed = described(
            r#","DeliveryStreamEncryptionConfiguration":{"Status":"ENABLING_FAILED",
            "KeyType":"CUSTOMER_MANAGED_CMK","KeyARN":"arn:k",
            "FailureDescription":{"Type":"KMS_ACCESS_DENIED","Details":"no"}}"#,
        );
        assert_eq!(failed.observed.key, Some(Key::Customer("arn:k".into())));
        assert_eq!(&*failed.observed.failure.unwrap().kind, "KMS_ACCESS_DENIED");
        let busy = described(r#","DeliveryStreamEncryptionConfiguration":{"Status":"DISABLING"}"#)
            .observed;
        assert_eq!((busy.sse, busy.is_changeable), (Sse::Disabling, false));
    }

    #[test]
    fn a_key_without_a_status_is_no_encryption_that_anybody_knows_of() {
        let stream =
            described(r#","DeliveryStreamEncryptionConfiguration":{"KeyType":"AWS_OWNED_CMK"}"#);
        assert_eq!(stream.observed.sse, Sse::Other);
    }

    #[test]
    fn a_stream_that_is_not_encrypted_has_no_key() {
        let stream = described(
            r#","DeliveryStreamEncryptionConfiguration":{"Status":"DISABLED","KeyType":"AWS_OWNED_CMK"}"#,
        );
        assert_eq!((stream.observed.sse, stream.observed.key), (Sse::Disabled, None));
    }

    #[test]
    fn the_data_stream_behind_a_delivery_stream_is_found() {
        let text = r#"{"DeliveryStreamDescription":{"DeliveryStreamStatus":"ACTIVE",
            "DeliveryStreamType":"KinesisStreamAsSource","Source":{"KinesisStreamSourceDescription":
            {"KinesisStreamARN":"arn:aws:kinesis:us-east-1:1:stream/d","RoleARN":"r"}}}}"#;
        let stream = read(text.as_bytes()).unwrap();
        assert_eq!(stream.data_stream.as_deref(), Some("arn:aws:kinesis:us-east-1:1:stream/d"));
        assert!(read(b"{}").is_err() && read(b"<html>").is_err());
    }
}
