//! The control without a running process: one look at, or one change of, a stream's encryption.
//!
//! For `encryption status|enable|disable` and `check --live`. It waits for nothing but the answer.

use std::sync::Arc;

use super::Config;
use super::declared::{Destination, Key, Target};
use super::handle::ChangeRefused;
use super::observed::{Need, Observed, Place, Sse};
use super::service::{Service, kind_of};
use super::status::State;
use super::trouble::Trouble;
use crate::aws::BadUpstream;
use crate::record::StreamName;

/// The way to the service for one question at a time.
#[derive(Debug)]
pub struct Direct {
    service: Service,
}

/// What the service says of a stream now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// What the delivery stream reads from, as the service writes it: `DirectPut`, `KinesisStreamAsSource`, …
    /// Nothing when only the data stream was asked.
    pub source: Option<Arc<str>>,
    /// Whether records can be delivered to it from here.
    pub takes_records: bool,
    /// The data stream that records go into, by its ARN or its name, if that is so.
    pub data_stream: Option<Arc<str>>,
    /// The most bytes of a record with its key there.
    pub record_bytes_max: Option<usize>,
    /// The status of the stream that records go into: `ACTIVE`, if it takes them.
    pub status: Arc<str>,
    /// Its encryption.
    pub state: State,
    /// The key that the service names.
    pub key: Option<Key>,
    /// Why the last change failed: the service's type and its details.
    pub failure: Option<(Arc<str>, Arc<str>)>,
}

impl Described {
    /// Whether it is what `target` says, as far as the names of keys can be compared.
    #[must_use]
    pub fn is(&self, target: &Target) -> bool {
        match (target, self.state) {
            (Target::Plain, State::Disabled) => true,
            (Target::Encrypted(key), State::Enabled | State::DisablingFailed) => {
                self.observed().has_key(key) != Some(false)
            }
            _ => false,
        }
    }

    /// Whether it is encrypted under a key that may be the one of `target`, or not: the name that the service has
    /// for it can not be compared.
    #[must_use]
    pub fn may_be(&self, target: &Target) -> bool {
        let Target::Encrypted(key @ Key::Customer(_)) = target else { return false };
        self.is_encrypted() && self.observed().has_key(key).is_none()
    }

    /// Whether it is a data stream that is being changed, which does not say to what.
    #[must_use]
    pub fn is_passing_unseen(&self) -> bool {
        self.data_stream.is_some() && &*self.status == "UPDATING"
    }

    fn observed(&self) -> Observed {
        Observed { sse: Sse::Enabled, key: self.key.clone(), failure: None, is_changeable: true }
    }

    /// Whether what is put into it now is encrypted. Where the last change failed and it is not said whether an
    /// older key goes on, it does not count as such.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self.state, State::Enabled | State::DisablingFailed)
    }
}

impl Direct {
    /// A way on which nothing has gone yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or an endpoint of the configuration can not be used.
    pub fn new(config: &Config) -> Result<Self, BadUpstream> {
        Ok(Self { service: Service::new(config)? })
    }

    /// Asks about a stream.
    ///
    /// # Errors
    /// [`ChangeRefused`], with the service's code and words.
    pub async fn describe(
        &self,
        stream: &StreamName,
        destination: &Destination,
    ) -> Result<Described, ChangeRefused> {
        let described = self.service.describe(stream, destination).await.map_err(refused)?;
        let (data_stream, record_bytes_max) = match described.place.clone() {
            Place::Kinesis { id, record_bytes_max } => (Some(id), Some(record_bytes_max)),
            Place::Firehose | Place::Nowhere => (None, None),
        };
        Ok(Described {
            source: described.source,
            takes_records: described.place != Place::Nowhere,
            data_stream,
            record_bytes_max,
            status: described.status,
            state: described.observed.sse.state(),
            key: described.observed.key,
            failure: described.observed.failure.map(|failure| (failure.kind, failure.details)),
        })
    }

    /// Makes the call that brings a stream to `target`, and gives its name; nothing when it is there already.
    ///
    /// # Errors
    /// [`ChangeRefused`], and nothing has changed, but for [`ChangeRefused::Unanswered`].
    pub async fn change(
        &self,
        stream: &StreamName,
        destination: &Destination,
        target: &Target,
    ) -> Result<Option<&'static str>, ChangeRefused> {
        let described = self.service.describe(stream, destination).await.map_err(refused)?;
        let (place, observed) = (&described.place, &described.observed);
        match (place, target) {
            (Place::Nowhere, _) => {
                let why = "the stream's source is one whose encryption is not minded here";
                return Err(ChangeRefused::Impossible(why.to_owned()));
            }
            (Place::Firehose, Target::Encrypted(key)) if !key.is_for_firehose() => {
                let why = format!("a delivery stream needs the ARN of a key, and {key} is none");
                return Err(ChangeRefused::Impossible(why));
            }
            _ => {}
        }
        match observed.need_when_asked(target) {
            Need::Nothing => Ok(None),
            Need::Patience => Err(ChangeRefused::Busy(format!(
                "the stream is {} and its encryption {}; ask again when that is over",
                described.status,
                observed.sse.state().as_str()
            ))),
            Need::Start | Need::Stop => {
                let change = self.service.change(stream, place, target, Some(observed));
                change.await.map_err(refused)?;
                Ok(Some(kind_of(target).name(place)))
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn refused(trouble: Trouble) -> ChangeRefused {
    ChangeRefused::of(&trouble)
}
