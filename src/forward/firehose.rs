//! The client of Firehose: the only file of this stage that knows its SDK.
//!
//! It gives a body to the service and says in plain words what came back. The SDK's serializer is not
//! used, since `body` is what costs least. It decides nothing.

use aws_config::SdkConfig;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;

use super::Config;
use super::answer::{Entry, PutAnswer};
use crate::aws::{BadUpstream, CallError, ShortAnswers, Way, failure};
use crate::record::StreamName;

/// The most bytes of an answer. One for 500 records takes a seventh of it.
pub(super) const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The way to the service. See the module.
#[derive(Debug)]
pub(super) struct Firehose {
    way: Way<Client>,
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

    /// Sends one `PutRecordBatch` with this body.
    pub(super) async fn put(
        &self,
        stream: &StreamName,
        body: Vec<u8>,
    ) -> Result<PutAnswer, CallError> {
        let body = Bytes::from(body);
        self.way
            .call(async |client| {
                let put = client
                    .put_record_batch()
                    .delivery_stream_name(stream.as_str())
                    .set_records(Some(Vec::new()))
                    .customize()
                    .mutate_request(move |request| set_body(request, body.clone()))
                    .interceptor(ShortAnswers { bytes_max: ANSWER_BYTES_MAX });
                put.send().await.map(answer).map_err(|error| failure(&error))
            })
            .await
    }
}

fn client(shared: &SdkConfig, endpoint: Option<String>) -> Client {
    let mut builder = aws_sdk_firehose::config::Builder::from(shared);
    builder.set_endpoint_url(endpoint);
    Client::from_conf(builder.build())
}

/// Puts our body where the SDK's stands, before the request is signed.
pub(super) fn set_body(request: &mut HttpRequest, body: Bytes) {
    request.headers_mut().insert(CONTENT_LENGTH.as_str(), body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
}

/// What is said: nothing at all, in so many quotes, is nothing.
pub(super) fn said(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn answer(output: PutRecordBatchOutput) -> PutAnswer {
    let encrypted = output.encrypted;
    let entries = output
        .request_responses
        .into_iter()
        .map(|entry| match (said(entry.error_code), said(entry.record_id)) {
            (None, Some(id)) => Entry::Put(id),
            (code, _) => Entry::Failed { code, message: entry.error_message },
        })
        .collect();
    PutAnswer { encrypted, entries }
}

#[cfg(test)]
#[path = "firehose_tests.rs"]
mod tests;
