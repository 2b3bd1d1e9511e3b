//! The way to one service: its client, made when it is first needed, and the bounds of every call.
//!
//! The SDK signs, sends and reads; its retries are off. The endpoint is the configured one or the Region's
//! own, never `AWS_ENDPOINT_URL*` or a profile's `endpoint_url`: those are meant for the application and
//! point here. What is asked of the service is the stage's.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as KeyPair;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use tokio::sync::OnceCell;

use super::failure::{CallError, Unready};
use super::{BadUpstream, Credentials, Upstream, beside, http_client};

/// The Region that a signature names when it means nothing.
const EMBEDDED_REGION: &str = "us-east-1";

/// The name that the service sees in the user agent.
const APP_NAME: &str = concat!("standpipe-", env!("CARGO_PKG_VERSION"));

/// Makes the client of a service. The endpoint is to be set always, to nothing if need be: what came out
/// of the environment must not stay.
pub(crate) type Make<C> = fn(&SdkConfig, endpoint: Option<String>) -> C;

/// The way to a service whose client is a `C`. See the module.
#[derive(Debug)]
pub(crate) struct Way<C> {
    upstream: Upstream,
    /// None when there is nothing to trust it by, which is looked for again when it is needed.
    http: Option<SharedHttpClient>,
    timeouts: TimeoutConfig,
    attempt_timeout: Duration,
    make: Make<C>,
    /// Made when it is first needed: the Region and the credentials may take a while. Made anew after
    /// trouble with credentials, since the SDK reads the profile's files only once.
    client: RefCell<Arc<OnceCell<C>>>,
}

impl<C> Way<C> {
    /// A way on which nothing has gone yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or the endpoint of the configuration can not be used.
    pub(crate) fn new(
        upstream: &Upstream,
        connect_timeout: Duration,
        attempt_timeout: Duration,
        make: Make<C>,
    ) -> Result<Self, BadUpstream> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(connect_timeout)
            .operation_attempt_timeout(attempt_timeout)
            .operation_timeout(attempt_timeout)
            .build();
        Ok(Self {
            http: Some(http_client(upstream)?),
            upstream: upstream.clone(),
            timeouts,
            attempt_timeout,
            make,
            client: RefCell::default(),
        })
    }

    /// A way to another service, as the same and with the same bounds.
    ///
    /// The connections are made in the same way, which costs nothing twice. Nothing may ever go on it, so that a
    /// system without certificates is no fault yet: see [`Way::check`].
    ///
    /// # Errors
    /// When the endpoint can not be used.
    pub(crate) fn beside<D>(
        &self,
        endpoint: Option<String>,
        make: Make<D>,
    ) -> Result<Way<D>, BadUpstream> {
        let upstream = Upstream { endpoint, ..self.upstream.clone() };
        let http = match beside(self.http.as_ref(), &self.upstream, &upstream) {
            Ok(http) => Some(http),
            Err(BadUpstream::NoCertificates) => None,
            Err(error) => return Err(error),
        };
        Ok(Way {
            http,
            upstream,
            timeouts: self.timeouts.clone(),
            attempt_timeout: self.attempt_timeout,
            make,
            client: RefCell::default(),
        })
    }

    /// Checks that something can go on it, for those who know that something will.
    ///
    /// # Errors
    /// When there are no certificates, and the endpoint needs them.
    pub(crate) fn check(&self) -> Result<(), BadUpstream> {
        self.http.as_ref().map(|_| ()).ok_or(BadUpstream::NoCertificates)
    }

    /// One call of the service.
    pub(crate) async fn call<T>(
        &self,
        act: impl AsyncFnOnce(&C) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let called = async {
            let client = Arc::clone(&self.client.borrow());
            act(client.get_or_try_init(|| self.connect()).await?).await
        };
        // Also bounds what the SDK's own time-outs do not: finding the Region.
        let called = tokio::time::timeout(self.attempt_timeout, called).await;
        let result = called.unwrap_or(Err(CallError::Timeout));
        if result.as_ref().is_err_and(CallError::is_of_credentials) {
            self.client.replace(Arc::default());
        }
        result
    }

    async fn connect(&self) -> Result<C, CallError> {
        let http = match &self.http {
            Some(http) => http.clone(),
            None => http_client(&self.upstream).map_err(|error| {
                CallError::Unready(Unready::Unbuildable { message: error.to_string() })
            })?,
        };
        let found = match self.upstream.credentials {
            Credentials::Embedded => self.embedded(),
            Credentials::Chain => {
                let found = self.load(&http).await;
                if found.region().is_none() {
                    return Err(CallError::Unready(Unready::NoRegion));
                }
                found
            }
        };
        let mut shared = found
            .into_builder()
            .behavior_version(behavior())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(self.timeouts.clone())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        shared.set_app_name(AppName::new(APP_NAME).ok());
        Ok((self.make)(&shared.build(), self.upstream.endpoint.clone()))
    }

    /// Region and credentials from the complete chain. Nothing is asked for credentials here yet.
    async fn load(&self, http: &SharedHttpClient) -> SdkConfig {
        let mut loader = aws_config::defaults(behavior()).http_client(http.clone());
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

    fn embedded(&self) -> SdkConfig {
        let region = self.upstream.region.clone().unwrap_or_else(|| EMBEDDED_REGION.to_owned());
        let keys = KeyPair::new("standpipe", "embedded", None, None, "embedded");
        SdkConfig::builder()
            .region(Region::new(region))
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .sleep_impl(TokioSleep::new())
            .build()
    }
}

fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}
