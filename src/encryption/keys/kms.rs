//! The client of KMS: the only file that knows its SDK.
//!
//! It asks for a data key, and for one back; it says in plain words what came. It decides nothing. What it is
//! given in the clear is overwritten here when it is dropped. What the SDK held on the way (the body of the
//! answer and its base64) is not: it has no way to be told to.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use zeroize::Zeroizing;

use super::Config;
use super::wrap::{KeyBytes, key_bytes};
use crate::aws::{BadUpstream, CallError, ShortAnswers, Way, failure};

/// The most bytes of an answer. A wrapped key has at most 6,144, before base64.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of a wrapped key. Source: the service model.
const WRAPPED_BYTES_MAX: usize = 6_144;

/// The way to KMS. See the module.
#[derive(Debug)]
pub(super) struct Kms {
    way: Way<Client>,
}

/// A data key that KMS has made.
pub(super) struct Generated {
    /// The ARN of the key that it is wrapped under.
    pub(super) key_id: String,
    pub(super) wrapped: Vec<u8>,
    pub(super) plaintext: KeyBytes,
}

impl Kms {
    /// A client that has asked for nothing yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or the endpoint of the configuration can not be used.
    pub(super) fn new(config: &Config) -> Result<Self, BadUpstream> {
        let (connect, attempt) = (config.connect_timeout, config.attempt_timeout);
        Ok(Self { way: Way::new(&config.upstream, connect, attempt, client)? })
    }

    /// A new data key, with one `GenerateDataKey`.
    pub(super) async fn generate(
        &self,
        key_id: &str,
        context: &BTreeMap<String, String>,
    ) -> Result<Generated, CallError> {
        let generate = async |client: &Client| {
            let call = client
                .generate_data_key()
                .key_id(key_id)
                .key_spec(DataKeySpec::Aes256)
                .set_encryption_context(Some(context.clone().into_iter().collect()))
                .customize()
                .interceptor(ShortAnswers { bytes_max: ANSWER_BYTES_MAX });
            let output = call.send().await.map_err(|error| failure(&error))?;
            let plaintext = in_the_clear(output.plaintext)?;
            let wrapped = output.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
            let key_id = output.key_id.unwrap_or_default();
            if wrapped.is_empty() || wrapped.len() > WRAPPED_BYTES_MAX || key_id.is_empty() {
                return Err(unfit("it lacks the wrapped key, or the key's ARN"));
            }
            Ok(Generated { key_id, wrapped, plaintext })
        };
        self.way.call(generate).await
    }

    /// The data key that was wrapped, with one `Decrypt`.
    pub(super) async fn decrypt(
        &self,
        key_id: &str,
        context: &BTreeMap<String, String>,
        wrapped: &[u8],
    ) -> Result<KeyBytes, CallError> {
        let decrypt = async |client: &Client| {
            let call = client
                .decrypt()
                .key_id(key_id)
                .ciphertext_blob(Blob::new(wrapped))
                .set_encryption_context(Some(context.clone().into_iter().collect()))
                .customize()
                .interceptor(ShortAnswers { bytes_max: ANSWER_BYTES_MAX });
            let output = call.send().await.map_err(|error| failure(&error))?;
            in_the_clear(output.plaintext)
        };
        self.way.call(decrypt).await
    }
}

fn client(shared: &SdkConfig, endpoint: Option<String>) -> Client {
    let mut builder = aws_sdk_kms::config::Builder::from(shared);
    builder.set_endpoint_url(endpoint);
    Client::from_conf(builder.build())
}

fn in_the_clear(blob: Option<Blob>) -> Result<KeyBytes, CallError> {
    let bytes = Zeroizing::new(blob.map(Blob::into_inner).unwrap_or_default());
    key_bytes(&bytes).ok_or_else(|| unfit("it has no key of 32 bytes"))
}

fn unfit(what: &str) -> CallError {
    CallError::Broken { status: None, message: format!("the answer can not be used: {what}") }
}
