//! The client of Kinesis data streams: the only file of this stage that knows that SDK.
//!
//! It gives a body to the service and says in plain words what came back, like `firehose`. It decides
//! nothing.

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::types::EncryptionType;
use bytes::Bytes;

use super::Config;
use super::answer::{Entry, PutAnswer};
use super::firehose::{ANSWER_BYTES_MAX, Firehose, said, set_body};
use super::kinesis_body::is_arn;
use crate::aws::{BadUpstream, CallError, ShortAnswers, Way, failure};

/// The way to the service. See the module.
#[derive(Debug)]
pub(super) struct Kinesis {
    way: Way<Client>,
}

impl Kinesis {
    /// A client that has asked for nothing yet, and goes out where that of Firehose does.
    ///
    /// # Errors
    /// When the endpoint of the configuration can not be used.
    pub(super) fn new(config: &Config, firehose: &Firehose) -> Result<Self, BadUpstream> {
        Ok(Self { way: firehose.way().beside(config.kinesis_endpoint.clone(), client)? })
    }

    /// Sends one `PutRecords` with this body to the data stream of this name or ARN.
    pub(super) async fn put(&self, id: &str, body: Vec<u8>) -> Result<PutAnswer, CallError> {
        let body = Bytes::from(body);
        self.way
            .call(async |client| {
                // The SDK finds the endpoint by the ARN, where there is one.
                let put = client.put_records().set_records(Some(Vec::new()));
                let put = if is_arn(id) { put.stream_arn(id) } else { put.stream_name(id) };
                let put = put
                    .customize()
                    .mutate_request(move |request| set_body(request, body.clone()))
                    .interceptor(ShortAnswers { bytes_max: ANSWER_BYTES_MAX });
                put.send().await.map(answer).map_err(|error| failure(&error))
            })
            .await
    }
}

fn client(shared: &SdkConfig, endpoint: Option<String>) -> Client {
    let mut builder = aws_sdk_kinesis::config::Builder::from(shared);
    builder.set_endpoint_url(endpoint);
    Client::from_conf(builder.build())
}

fn answer(output: PutRecordsOutput) -> PutAnswer {
    let encrypted = match output.encryption_type {
        Some(EncryptionType::Kms) => Some(true),
        Some(EncryptionType::None) => Some(false),
        // A word that nobody knows says nothing.
        _ => None,
    };
    let entries = output.records.into_iter().map(|entry| {
        let id = said(entry.shard_id).zip(said(entry.sequence_number));
        match (said(entry.error_code), id) {
            (None, Some((shard, number))) => Entry::Put(format!("{shard}:{number}")),
            (code, _) => Entry::Failed { code, message: entry.error_message },
        }
    });
    PutAnswer { encrypted, entries: entries.collect() }
}
