//! Who makes data keys and gives them back: KMS, a key file, or both while one takes over from the other.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::Config;
use super::file;
use super::handle::StartError;
use super::kms::Kms;
use super::metrics::{self, Operation};
use super::outcome::{Class, OK, Trouble, of_decrypt, of_generate, trouble};
use super::wrap::{KeyBytes, Wrapper, random_key};
use crate::aws::CallError;
use crate::record::StreamName;
use crate::spool::{DataKey, Provider, WrappedKey};

/// What the encryption context calls the application.
const APPLICATION: &str = "standpipe:application";

/// What the encryption context calls the stream.
pub(super) const STREAM: &str = "standpipe:stream";

/// All that can wrap and unwrap.
#[derive(Debug)]
pub(super) struct Providers {
    current: Provider,
    kms: Option<(Kms, Option<String>)>,
    file: Option<Wrapper>,
    application: String,
}

/// The keys that may be asked to unwrap.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    keys: HashSet<(Provider, String)>,
}

impl Listed {
    /// Whether the configuration lists the key that this one is wrapped under.
    pub(super) fn has(&self, wrapped: &WrappedKey) -> bool {
        self.keys
            .iter()
            .any(|(provider, key_id)| *provider == wrapped.provider && *key_id == wrapped.key_id)
    }
}

impl Providers {
    /// What the configuration names. The key file is read, or made; KMS is not asked.
    pub(super) fn open(config: &Config) -> Result<(Self, Listed), StartError> {
        let is_kms = config.provider == Provider::Kms;
        if is_kms && config.key.is_none() {
            return Err(StartError::NoKey);
        }
        if !is_kms && config.file.is_none() {
            return Err(StartError::NoFile);
        }
        let arns = config.key.iter().chain(&config.decrypt_only);
        let mut keys: HashSet<_> = arns.map(|arn| (Provider::Kms, arn.clone())).collect();
        let kms = match keys.is_empty() {
            true => None,
            false => Some((Kms::new(config).map_err(StartError::Upstream)?, config.key.clone())),
        };
        let file = match &config.file {
            None => None,
            Some(path) => {
                let (wrapper, is_made) = file::open_or_make(path).map_err(StartError::File)?;
                tracing::warn!(
                    path = %path.display(),
                    key_id = wrapper.id(),
                    is_made,
                    "a local key file is in use, which is not KMS: whoever has the file can open the \
                     spool, and whoever loses it has lost the spool"
                );
                keys.insert((Provider::File, wrapper.id().to_owned()));
                Some(wrapper)
            }
        };
        let application = config.application.clone();
        Ok((Self { current: config.provider, kms, file, application }, Listed { keys }))
    }

    /// The key that new data keys are wrapped under.
    pub(super) fn key_id(&self) -> Option<&str> {
        match self.current {
            Provider::Kms => self.kms.as_ref().and_then(|(_, key)| key.as_deref()),
            Provider::File => self.file.as_ref().map(Wrapper::id),
        }
    }

    /// A new data key for a stream.
    pub(super) async fn generate(&self, stream: &StreamName) -> Result<Arc<DataKey>, Trouble> {
        let context = BTreeMap::from([
            (APPLICATION.to_owned(), self.application.clone()),
            (STREAM.to_owned(), stream.to_string()),
        ]);
        match (self.current, &self.kms, &self.file) {
            (Provider::Kms, Some((kms, Some(key_id))), _) => {
                generate_by_kms(kms, key_id, context).await
            }
            (Provider::File, _, Some(file)) => generate_by_file(file, context),
            _ => Err(nobody()),
        }
    }

    /// The data key that was wrapped.
    pub(super) async fn unwrap(&self, wrapped: WrappedKey) -> Result<Arc<DataKey>, Trouble> {
        let key = match (wrapped.provider, &self.kms, &self.file) {
            (Provider::Kms, Some((kms, _)), _) => {
                let (key_id, context) = (&wrapped.key_id, &wrapped.context);
                let call = kms.decrypt(key_id, context, &wrapped.wrapped);
                timed(Operation::Decrypt, call, of_decrypt).await?
            }
            (Provider::File, _, Some(file)) => {
                file.unwrap(&wrapped.wrapped, &wrapped.context).map_err(|_| {
                    let what = "it is damaged, or was wrapped under another key or context";
                    trouble(Class::Never, "InvalidWrappedKey", what)
                })?
            }
            _ => return Err(nobody()),
        };
        Ok(data_key(wrapped, &key))
    }
}

async fn generate_by_kms(
    kms: &Kms,
    key_id: &str,
    context: BTreeMap<String, String>,
) -> Result<Arc<DataKey>, Trouble> {
    let call = kms.generate(key_id, &context);
    let made = timed(Operation::GenerateDataKey, call, of_generate).await?;
    // It stands in the headers of segments, where only what the configuration lists is believed.
    if made.key_id != key_id {
        let what = format!("KMS answered with the key {}, not with {key_id}", made.key_id);
        return Err(trouble(Class::Operator, "OtherKey", &what));
    }
    let wrapped =
        WrappedKey { provider: Provider::Kms, key_id: made.key_id, context, wrapped: made.wrapped };
    Ok(data_key(wrapped, &made.plaintext))
}

fn generate_by_file(
    file: &Wrapper,
    context: BTreeMap<String, String>,
) -> Result<Arc<DataKey>, Trouble> {
    let no_random = |_| trouble(Class::Passing, "NoRandom", "the system gives no random numbers");
    let key = random_key().map_err(no_random)?;
    let wrapped = file.wrap(&key, &context).map_err(no_random)?;
    let key_id = file.id().to_owned();
    Ok(data_key(WrappedKey { provider: Provider::File, key_id, context, wrapped }, &key))
}

fn data_key(wrapped: WrappedKey, plaintext: &KeyBytes) -> Arc<DataKey> {
    Arc::new(DataKey::new(wrapped, **plaintext))
}

/// Nobody could have asked: the configuration lists no such provider.
fn nobody() -> Trouble {
    trouble(Class::Operator, "NoProvider", "the configuration names nobody who could do this")
}

/// A call of KMS, counted.
async fn timed<T>(
    operation: Operation,
    call: impl Future<Output = Result<T, CallError>>,
    judge: fn(&CallError) -> Trouble,
) -> Result<T, Trouble> {
    let began_at = Instant::now();
    let result = call.await.map_err(|error| judge(&error));
    let code = result.as_ref().map_or_else(|trouble| trouble.code, |_| OK);
    metrics::count_request(operation, code, began_at.elapsed());
    result
}
