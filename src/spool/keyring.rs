//! What the spool asks of whoever keeps the data keys.
//!
//! The spool knows no service: it seals under the key that it is given and writes down how to get that key
//! back. It never waits for a key, and never chooses which one to trust: the ring does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroize as _;

use super::seal::KeyBytes;
use crate::record::StreamName;

/// Who wrapped a data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// AWS KMS.
    Kms,
    /// A key file on this machine.
    File,
}

/// What a segment's header says of its key: what is needed to get the data key back. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Who can unwrap it.
    pub provider: Provider,
    /// The key that it is wrapped under: an ARN at KMS, the id of a key file.
    pub key_id: String,
    /// What the wrapping is bound to: the encryption context of KMS.
    pub context: BTreeMap<String, String>,
    /// The data key, wrapped: at most 6,144 bytes.
    pub wrapped: Vec<u8>,
}

/// A data key in the clear, with how to get it back. It is shared as `Arc<DataKey>` and never copied.
pub struct DataKey {
    wrapped: WrappedKey,
    plaintext: KeyBytes,
}

impl DataKey {
    /// A key from its bytes. They are zeroed when the last one who shares the key drops it; the caller
    /// zeroes what it copied them from.
    #[must_use]
    pub fn new(wrapped: WrappedKey, mut plaintext: [u8; 32]) -> Self {
        let key = Self { wrapped, plaintext: KeyBytes::new(&plaintext) };
        plaintext.zeroize();
        key
    }

    /// How to get this key back.
    #[must_use]
    pub const fn wrapped(&self) -> &WrappedKey {
        &self.wrapped
    }

    pub(super) const fn plaintext(&self) -> &KeyBytes {
        &self.plaintext
    }

    /// Whether both are the same key in the clear.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.plaintext.is_same(&other.plaintext)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("key_id", &self.wrapped.key_id).finish_non_exhaustive()
    }
}

/// Why there is no key for a new segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoKey {
    /// It was asked for and comes soon: the first one of a life, or of a stream.
    NotYet,
    /// The last key is older than a key may become, and no new one could be had in all that time.
    TooOld {
        /// How old it is.
        age: Duration,
    },
    /// There is none, and asking for one fails.
    Unavailable {
        /// What the provider said.
        message: String,
    },
}

/// What became of asking for the key of an old segment.
#[derive(Debug)]
pub enum Unwrapped {
    /// Here it is.
    Ready(Arc<DataKey>),
    /// It is being asked for; `ready` is called when it is worth asking again.
    Pending,
    /// It can not be had now, or ever.
    Refused(UnwrapError),
}

/// Why a wrapped key was not unwrapped. Only [`UnwrapError::Invalid`] is for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnwrapError {
    /// The configuration does not list its key: nobody is ever asked to unwrap it. The segment waits.
    Foreign {
        /// The key that the header names.
        key_id: String,
    },
    /// The key is disabled, or we may not use it: an operator is needed. The segment waits.
    Disabled {
        /// What the provider said.
        message: String,
    },
    /// The provider is away. The segment waits.
    Unavailable {
        /// What the provider said.
        message: String,
    },
    /// What is wrapped can never be opened: it is corrupt, or bound to another context.
    Invalid {
        /// What the provider said.
        message: String,
    },
}

/// Who keeps the data keys. Its calls never wait.
pub trait KeyRing: Send + Sync + 'static {
    /// The key for a new segment of `stream`. When there is none, one is asked for in the background.
    ///
    /// # Errors
    /// [`NoKey`] says why there is none.
    fn current(&self, stream: &StreamName) -> Result<Arc<DataKey>, NoKey>;

    /// Counts `bytes` as sealed under the stream's key, so that it is renewed in time.
    fn used(&self, stream: &StreamName, bytes: u64);

    /// Asks for the key of an old segment. While it is [`Unwrapped::Pending`], `ready` is called once, on any
    /// thread, when it is worth asking again; with any other answer it is dropped.
    fn unwrap(
        &self,
        stream: &StreamName,
        wrapped: &WrappedKey,
        ready: Box<dyn FnOnce() + Send>,
    ) -> Unwrapped;
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn a_data_key_shows_its_id_and_none_of_its_bytes() {
        let shown = format!("{:?}", testing::data_key());
        assert_eq!(shown, format!("DataKey {{ key_id: {:?}, .. }}", testing::KEY_ID));
    }
}
