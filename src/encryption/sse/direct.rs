//! The control without a running process: one look at, or one change of, a stream's encryption.
//!
//! For `encryption status|enable|disable` and `check --live`. It waits for nothing but the answer.

use std::sync::Arc;

use super::Config;
use super::declared::{Destination, Target};
use super::handle::ChangeRefused;
use super::status::State;
use crate::aws::BadUpstream;
use crate::record::StreamName;

/// The way to the service for one question at a time.
#[derive(Debug)]
pub struct Direct {}

/// What the service says of a stream now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// What the delivery stream reads from, as the service writes it: `DirectPut`, `KinesisStreamAsSource`, …
    /// Nothing when only the data stream was asked.
    pub source: Option<Arc<str>>,
    /// The data stream that records go into, by its ARN or its name, if that is so.
    pub data_stream: Option<Arc<str>>,
    /// The most bytes of a record with its key there.
    pub record_bytes_max: Option<usize>,
    /// The status of the stream that records go into: `ACTIVE`, if it takes them.
    pub status: Arc<str>,
    /// Its encryption.
    pub state: State,
    /// The key that the service names.
    pub key: Option<Arc<str>>,
    /// Why the last change failed: the service's type and its details.
    pub failure: Option<(Arc<str>, Arc<str>)>,
}

impl Direct {
    /// A way on which nothing has gone yet.
    ///
    /// # Errors
    /// When the proxy, the CA file or an endpoint of the configuration can not be used.
    pub fn new(_config: &Config) -> Result<Self, BadUpstream> {
        Ok(Self {})
    }

    /// Asks about a stream.
    ///
    /// # Errors
    /// [`ChangeRefused`], with the service's code and words.
    pub async fn describe(
        &self,
        _stream: &StreamName,
        _destination: &Destination,
    ) -> Result<Described, ChangeRefused> {
        Err(ChangeRefused::Stopping)
    }

    /// Makes the call that brings a stream to `target`, and gives its name; nothing when it is there already.
    ///
    /// # Errors
    /// [`ChangeRefused`], and nothing has changed, but for [`ChangeRefused::Unanswered`].
    pub async fn change(
        &self,
        _stream: &StreamName,
        _destination: &Destination,
        _target: &Target,
    ) -> Result<Option<&'static str>, ChangeRefused> {
        Err(ChangeRefused::Stopping)
    }
}
