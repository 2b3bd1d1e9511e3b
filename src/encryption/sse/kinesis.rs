//! The management API of Kinesis, as far as it is needed: the only file here that knows its SDK.
//!
//! It says in plain words what came back, and decides nothing.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{EncryptionType, StreamDescriptionSummary};

use super::Config;
use super::declared::{Declared, Destination, KINESIS_OWN, Key};
use super::firehose::Firehose;
use super::observed::{Observed, RECORD_BYTES_DEFAULT, Sse};
use crate::aws::{BadUpstream, CallError, ShortAnswers, Way, failure};

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The way to the service. See the module.
#[derive(Debug)]
pub(super) struct Kinesis {
    way: Way<Client>,
}

/// What the summary says of a data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataStream {
    /// `ACTIVE`, if it can be changed.
    pub(super) status: Arc<str>,
    /// The most bytes of a record with its key.
    pub(super) record_bytes_max: usize,
    pub(super) observed: Observed,
}

impl Kinesis {
    /// A client that has asked for nothing yet, and goes out where that of Firehose does.
    ///
    /// # Errors
    /// When the endpoint of the configuration can not be used, or a stream goes by a data stream and there are no
    /// certificates to trust the service by. Where none is known to, it is soon enough to say so when one does.
    pub(super) fn new(config: &Config, firehose: &Firehose) -> Result<Self, BadUpstream> {
        let way = firehose.way().beside(config.kinesis_endpoint.clone(), client)?;
        let is_declared =
            |declared: &Declared| matches!(declared.destination, Destination::Kinesis(_));
        if config.streams.values().chain([&config.others]).any(is_declared) {
            way.check()?;
        }
        Ok(Self { way })
    }

    /// `DescribeStreamSummary`.
    pub(super) async fn describe(&self, id: &str) -> Result<DataStream, CallError> {
        let (name, arn) = named(id);
        let describe = async |client: &Client| {
            let call = client
                .describe_stream_summary()
                .set_stream_name(name.clone())
                .set_stream_arn(arn.clone())
                .customize()
                .interceptor(ShortAnswers { bytes_max: ANSWER_BYTES_MAX });
            let output = call.send().await.map_err(|error| failure(&error))?;
            output.stream_description_summary.as_ref().map(read).ok_or_else(|| CallError::Broken {
                status: None,
                message: "the answer has no summary".to_owned(),
            })
        };
        self.way.call(describe).await
    }

    /// `StartStreamEncryption`.
    pub(super) async fn start(&self, id: &str, key: &Key) -> Result<(), CallError> {
        let (name, arn) = named(id);
        let start = async |client: &Client| {
            let call = client
                .start_stream_encryption()
                .set_stream_name(name.clone())
                .set_stream_arn(arn.clone())
                .encryption_type(EncryptionType::Kms)
                .key_id(key_id(key));
            call.send().await.map(drop).map_err(|error| failure(&error))
        };
        self.way.call(start).await
    }

    /// `StopStreamEncryption`, which wants to be told the key that it stops with.
    pub(super) async fn stop(&self, id: &str, key: &Key) -> Result<(), CallError> {
        let (name, arn) = named(id);
        let stop = async |client: &Client| {
            let call = client
                .stop_stream_encryption()
                .set_stream_name(name.clone())
                .set_stream_arn(arn.clone())
                .encryption_type(EncryptionType::Kms)
                .key_id(key_id(key));
            call.send().await.map(drop).map_err(|error| failure(&error))
        };
        self.way.call(stop).await
    }
}

fn client(shared: &SdkConfig, endpoint: Option<String>) -> Client {
    let mut builder = aws_sdk_kinesis::config::Builder::from(shared);
    builder.set_endpoint_url(endpoint);
    Client::from_conf(builder.build())
}

/// The members that name a data stream: its name, or its ARN.
fn named(id: &str) -> (Option<String>, Option<String>) {
    let id = id.to_owned();
    if id.starts_with("arn:") { (None, Some(id)) } else { (Some(id), None) }
}

fn key_id(key: &Key) -> String {
    match key {
        Key::AwsOwned => KINESIS_OWN.to_owned(),
        Key::Customer(name) => name.to_string(),
    }
}

fn key_of(id: &str) -> Key {
    let key = Key::Customer(id.into());
    if key.is_own() { Key::AwsOwned } else { key }
}

/// Reads the summary. A stream that is `UPDATING` is being changed, be it its encryption or its shards: what
/// its encryption will be is known when that is over.
fn read(summary: &StreamDescriptionSummary) -> DataStream {
    let status = summary.stream_status().as_str();
    let is_on = summary.encryption_type() == Some(&EncryptionType::Kms);
    let sse = match (status, is_on) {
        ("UPDATING", true) => Sse::Enabling,
        (_, true) => Sse::Enabled,
        (_, false) => Sse::Disabled,
    };
    let kib = summary.max_record_size_in_kib().and_then(|kib| usize::try_from(kib).ok());
    DataStream {
        status: status.into(),
        // No stream takes less: an answer that says so is not to cost the records that are larger.
        record_bytes_max: kib.unwrap_or_default().saturating_mul(1024).max(RECORD_BYTES_DEFAULT),
        observed: Observed {
            sse,
            key: summary.key_id().filter(|_| is_on).map(key_of),
            failure: None,
            is_changeable: status == "ACTIVE",
        },
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::types::StreamStatus;

    use super::*;

    fn summary(status: StreamStatus, key: Option<&str>) -> StreamDescriptionSummary {
        let encryption = if key.is_some() { EncryptionType::Kms } else { EncryptionType::None };
        StreamDescriptionSummary::builder()
            .stream_name("d")
            .stream_arn("arn:aws:kinesis:us-east-1:1:stream/d")
            .stream_status(status)
            .retention_period_hours(24)
            .stream_creation_timestamp(aws_sdk_kinesis::primitives::DateTime::from_secs(0))
            .set_enhanced_monitoring(Some(Vec::new()))
            .open_shard_count(1)
            .encryption_type(encryption)
            .set_key_id(key.map(str::to_owned))
            .max_record_size_in_kib(2_048)
            .build()
            .unwrap()
    }

    #[test]
    fn a_stream_that_is_updated_is_neither_known_to_be_encrypted_nor_changed() {
        let active = read(&summary(StreamStatus::Active, Some(KINESIS_OWN)));
        assert_eq!((active.observed.sse, active.record_bytes_max), (Sse::Enabled, 2_048 * 1024));
        assert_eq!(active.observed.key, Some(Key::AwsOwned));
        let updating = read(&summary(StreamStatus::Updating, Some("k"))).observed;
        assert_eq!((updating.sse, updating.is_changeable), (Sse::Enabling, false));
        let plain = read(&summary(StreamStatus::Updating, None)).observed;
        assert_eq!((plain.sse, plain.is_changeable), (Sse::Disabled, false));
    }

    #[test]
    fn no_answer_makes_a_data_stream_take_less_than_every_one_does() {
        for kib in [Some(0), Some(-1), Some(1), None] {
            let summary = StreamDescriptionSummary::builder()
                .stream_name("d")
                .stream_arn("arn:aws:kinesis:us-east-1:1:stream/d")
                .stream_status(StreamStatus::Active)
                .retention_period_hours(24)
                .stream_creation_timestamp(aws_sdk_kinesis::primitives::DateTime::from_secs(0))
                .set_enhanced_monitoring(Some(Vec::new()))
                .open_shard_count(1)
                .set_max_record_size_in_kib(kib)
                .build()
                .unwrap();
            assert_eq!(read(&summary).record_bytes_max, RECORD_BYTES_DEFAULT, "{kib:?}");
        }
    }

    #[test]
    fn a_data_stream_is_named_by_what_it_is() {
        assert_eq!(named("d"), (Some("d".to_owned()), None));
        assert_eq!(named("arn:x").0, None);
        assert_eq!(key_id(&Key::AwsOwned), KINESIS_OWN);
        assert_eq!(key_of("arn:aws:kms:us-east-1:1:alias/aws/kinesis"), Key::AwsOwned);
    }
}
