//! The client of the service: the only file that knows the AWS SDK.
//!
//! It gives a body to the service and says in plain words what came back. The SDK signs, sends and reads;
//! its retries are off, and its serializer is not used, since `body` is what costs least. The endpoint is
//! the configured one or the Region's own, never `AWS_ENDPOINT_URL*` or a profile's `endpoint_url`: those
//! are meant for the application and point here. It decides nothing.

use std::cell::RefCell;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::config::{Credentials as KeyPair, StalledStreamProtectionConfig};
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_sdk_firehose::{Client, Config as ClientConfig};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body_util::Limited;
use tokio::sync::OnceCell;

use super::Config;
use super::answer::{Described, Entry, PutAnswer, PutError, Unready};
use super::code::Code;
use crate::aws::{self, BadUpstream, Credentials, Upstream};
use crate::record::StreamName;

/// The Region that a signature names when it means nothing.
const EMBEDDED_REGION: &str = "us-east-1";

/// The name that the service sees in the user agent.
const APP_NAME: &str = concat!("standpipe-", env!("CARGO_PKG_VERSION"));

/// The most bytes of an answer. One for 500 records takes a seventh of it.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The way to the service. See the module.
#[derive(Debug)]
pub(super) struct Firehose {
    upstream: Upstream,
    http: SharedHttpClient,
    timeouts: TimeoutConfig,
    attempt_timeout: Duration,
    /// Made when it is first needed: the Region and the credentials may take a while. Made anew after
    /// trouble with credentials, since the SDK reads the profile's files only once.
    client: RefCell<Arc<OnceCell<Client>>>,
}

impl Firehose {
    /// A client that has asked for nothing yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or the endpoint of the configuration can not be used.
    pub(super) fn new(config: &Config) -> Result<Self, BadUpstream> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .operation_attempt_timeout(config.attempt_timeout)
            .operation_timeout(config.attempt_timeout)
            .build();
        Ok(Self {
            http: aws::http_client(&config.upstream)?,
            upstream: config.upstream.clone(),
            timeouts,
            attempt_timeout: config.attempt_timeout,
            client: RefCell::default(),
        })
    }

    /// Sends one `PutRecordBatch` with this body.
    pub(super) async fn put(
        &self,
        stream: &StreamName,
        body: Vec<u8>,
    ) -> Result<PutAnswer, PutError> {
        // Also bounds what the SDK's own time-outs do not: finding the Region.
        let put = tokio::time::timeout(self.attempt_timeout, self.put_unbounded(stream, body));
        let result = put.await.unwrap_or(Err(PutError::Timeout));
        if result.as_ref().is_err_and(is_of_credentials) {
            self.client.replace(Arc::default());
        }
        result
    }

    /// Asks what the service says of a stream, with one `DescribeDeliveryStream`.
    pub(super) async fn describe(&self, stream: &StreamName) -> Result<Described, PutError> {
        let asked = tokio::time::timeout(self.attempt_timeout, self.describe_unbounded(stream));
        asked.await.unwrap_or(Err(PutError::Timeout))
    }

    async fn describe_unbounded(&self, stream: &StreamName) -> Result<Described, PutError> {
        let client = Arc::clone(&self.client.borrow());
        let client = client.get_or_try_init(|| self.connect()).await?;
        let sent =
            client.describe_delivery_stream().delivery_stream_name(stream.as_str()).send().await;
        let output = sent.map_err(|error| failure(&error))?;
        let description = output.delivery_stream_description.ok_or_else(|| PutError::Broken {
            status: None,
            message: "the answer has no description".to_owned(),
        })?;
        Ok(Described {
            status: description.delivery_stream_status.as_str().to_owned(),
            source: description.delivery_stream_type.as_str().to_owned(),
        })
    }

    async fn put_unbounded(
        &self,
        stream: &StreamName,
        body: Vec<u8>,
    ) -> Result<PutAnswer, PutError> {
        let client = Arc::clone(&self.client.borrow());
        let client = client.get_or_try_init(|| self.connect()).await?;
        let body = Bytes::from(body);
        let sent = client
            .put_record_batch()
            .delivery_stream_name(stream.as_str())
            .set_records(Some(Vec::new()))
            .customize()
            .mutate_request(move |request| set_body(request, body.clone()))
            .interceptor(ShortAnswers)
            .send()
            .await;
        sent.map(answer).map_err(|error| failure(&error))
    }

    async fn connect(&self) -> Result<Client, PutError> {
        let client_config = match self.upstream.credentials {
            Credentials::Embedded => self.embedded_config(),
            Credentials::Chain => {
                let shared = self.load_shared().await;
                if shared.region().is_none() {
                    return Err(PutError::Unready(Unready::NoRegion));
                }
                self.client_config(aws_sdk_firehose::config::Builder::from(&shared))
            }
        };
        Ok(Client::from_conf(client_config))
    }

    /// Region and credentials from the complete chain. Nothing is asked for credentials here yet.
    async fn load_shared(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(behavior()).http_client(self.http.clone());
        if let Some(region) = &self.upstream.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.upstream.profile {
            loader = loader.profile_name(profile);
        }
        if self.upstream.fips {
            loader = loader.use_fips(true);
        }
        loader.load().await
    }

    fn embedded_config(&self) -> ClientConfig {
        let region = self.upstream.region.clone().unwrap_or_else(|| EMBEDDED_REGION.to_owned());
        let keys = KeyPair::new("standpipe", "embedded", None, None, "embedded");
        self.client_config(
            ClientConfig::builder().region(Region::new(region)).credentials_provider(keys),
        )
    }

    fn client_config(&self, builder: aws_sdk_firehose::config::Builder) -> ClientConfig {
        let mut builder = builder
            .behavior_version(behavior())
            .http_client(self.http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(self.timeouts.clone())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        // Always set, to nothing if need be: what came out of the environment must not stay.
        builder.set_endpoint_url(self.upstream.endpoint.clone());
        builder.set_app_name(AppName::new(APP_NAME).ok());
        builder.build()
    }
}

/// Whether other credentials could help.
fn is_of_credentials(error: &PutError) -> bool {
    match error {
        PutError::Unready(Unready::NoCredentials { .. }) => true,
        PutError::Service { code: Some(code), .. } => matches!(
            Code::of(code),
            Code::AccessDenied
                | Code::ExpiredToken
                | Code::UnrecognizedClient
                | Code::InvalidSignature
        ),
        _ => false,
    }
}

fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Puts our body where the SDK's stands, before the request is signed.
fn set_body(request: &mut HttpRequest, body: Bytes) {
    request.headers_mut().insert(CONTENT_LENGTH.as_str(), body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
}

/// Reads no more of an answer than one can have: the SDK would keep whatever comes in memory.
#[derive(Debug)]
struct ShortAnswers;

impl Intercept for ShortAnswers {
    fn name(&self) -> &'static str {
        "ShortAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().take_body();
        let limited = SdkBody::from_body_1_x(Limited::new(body, ANSWER_BYTES_MAX));
        *context.response_mut().body_mut() = limited;
        Ok(())
    }
}

fn answer(output: PutRecordBatchOutput) -> PutAnswer {
    let encrypted = output.encrypted;
    // Nothing at all, said in so many quotes, is nothing.
    let said = |text: Option<String>| text.filter(|text| !text.is_empty());
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

fn failure<E>(error: &SdkError<E, HttpResponse>) -> PutError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::TimeoutError(_) => PutError::Timeout,
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let metadata = service.err().meta();
            let message = metadata.message().unwrap_or_default().to_owned();
            PutError::Service { code: metadata.code().map(str::to_owned), status, message }
        }
        SdkError::ResponseError(response) => PutError::Broken {
            status: Some(response.raw().status().as_u16()),
            message: "the answer can not be read".to_owned(),
        },
        SdkError::DispatchFailure(_) => undispatched(error),
        _ => PutError::Unready(Unready::Unbuildable { message: words(error) }),
    }
}

/// It was not sent, or not answered: for want of credentials, of a connection, or midway.
fn undispatched<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> PutError {
    let message = words(error);
    if causes(error).any(|cause| cause.is::<CredentialsError>()) {
        return PutError::Unready(Unready::NoCredentials { message });
    }
    let connector = match error {
        SdkError::DispatchFailure(failure) => failure.as_connector_error(),
        _ => None,
    };
    let is_connect = causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect);
    match connector {
        _ if is_connect => PutError::Connect { message },
        Some(connector) if connector.is_timeout() => PutError::Timeout,
        Some(connector) if connector.is_io() || connector.as_other().is_some() => {
            PutError::Broken { status: None, message }
        }
        Some(connector) if connector.is_user() => {
            PutError::Unready(Unready::Unbuildable { message })
        }
        _ => PutError::Broken { status: None, message },
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The words of an error and of what caused it.
fn words(error: &(dyn Error + 'static)) -> String {
    // The outermost error says only that something failed.
    let words: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
    words.join(": ")
}

#[cfg(test)]
#[path = "firehose_tests.rs"]
mod tests;
