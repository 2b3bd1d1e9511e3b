//! What the spool asks for keys: a data key for a new segment, and that of an old one back.
//!
//! It owns the words. It makes no key, keeps none, and asks no service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::record::StreamName;

/// Who wraps data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// AWS KMS.
    Kms,
    /// A local key file.
    File,
}

/// What a header says of its key: what is needed to get the data key back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Who wrapped it.
    pub provider: Provider,
    /// The key that it is wrapped under: an ARN, or the id of a key file.
    pub key_id: String,
    /// What has to be named again to unwrap it.
    pub context: BTreeMap<String, String>,
    /// The wrapped data key.
    pub wrapped: Vec<u8>,
}

/// A data key in the clear, with how to get it back.
pub struct DataKey {
    wrapped: WrappedKey,
    #[cfg_attr(not(test), expect(dead_code, reason = "until segments are sealed"))]
    plaintext: Zeroizing<[u8; 32]>,
}

impl DataKey {
    /// A data key that was just made or unwrapped.
    #[must_use]
    pub fn new(wrapped: WrappedKey, plaintext: [u8; 32]) -> Self {
        Self { wrapped, plaintext: Zeroizing::new(plaintext) }
    }

    /// How to get it back.
    #[must_use]
    pub fn wrapped(&self) -> &WrappedKey {
        &self.wrapped
    }

    /// Whether both are the same key in the clear.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.plaintext == other.plaintext
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.wrapped.key_id)
    }
}

/// Why there is no key for a new segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoKey {
    /// It is asked for, and comes soon.
    NotYet,
    /// There is one, and it is too old.
    TooOld {
        /// How old it is.
        age: Duration,
    },
    /// There is none to be had.
    Unavailable {
        /// Why.
        message: String,
    },
}

/// What came of asking for the key of an old segment.
#[derive(Debug)]
pub enum Unwrapped {
    /// Here it is.
    Ready(Arc<DataKey>),
    /// It is asked for.
    Pending,
    /// It can not be had now, or ever.
    Refused(UnwrapError),
}

/// Why the key of an old segment can not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnwrapError {
    /// The configuration does not list its key: never asked.
    Foreign {
        /// The key that the header names.
        key_id: String,
    },
    /// An operator has to put something right.
    Disabled {
        /// What.
        message: String,
    },
    /// The service is away.
    Unavailable {
        /// How.
        message: String,
    },
    /// The wrapped key can never be opened.
    Invalid {
        /// Why.
        message: String,
    },
}

/// Where the spool has its keys from.
pub trait KeyRing: Send + Sync + 'static {
    /// The key for a new segment of `stream`. Never waits; asks for one in the background when there is none.
    ///
    /// # Errors
    /// When there is none that may be used.
    fn current(&self, stream: &StreamName) -> Result<Arc<DataKey>, NoKey>;

    /// Counts bytes sealed under a key, for its renewal by bytes.
    fn used(&self, stream: &StreamName, bytes: u64);

    /// Asks for the key of an old segment. Never waits: `Pending` until it is there; `ready` is called (any
    /// thread) when it is worth asking again.
    fn unwrap(
        &self,
        stream: &StreamName,
        wrapped: &WrappedKey,
        ready: Box<dyn FnOnce() + Send>,
    ) -> Unwrapped;
}
