//! Data keys wrapped under a key of our own: the one file of this room that knows `ring`.
//!
//! ```text
//!  version u8 = 1 | nonce 12 | sealed data key 32 | tag 16
//! ```
//! AES-256-GCM. The nonce is random: a key file wraps far fewer keys than the 2^32 that allows. What the data
//! key is for (the key's id and the encryption context) is authenticated with it.

use std::collections::BTreeMap;
use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// A key in the clear.
pub(super) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// The bytes of a key.
pub(super) const KEY_BYTES: usize = 32;

/// The version of the format.
const VERSION: u8 = 1;

/// The bytes of a wrapped key.
const WRAPPED_BYTES: usize = 1 + NONCE_LEN + KEY_BYTES + 16;

/// A key that wraps data keys. `ring` does not overwrite its schedule when it is dropped.
pub(super) struct Wrapper {
    key: LessSafeKey,
    id: String,
}

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRandom;

/// The wrapped key is damaged, or of another key or context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUnwrapped;

impl Wrapper {
    /// The wrapping key with these bytes.
    pub(super) fn new(bytes: &KeyBytes) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM, bytes.as_slice())
            .expect("AES-256 takes every key of 32 bytes");
        // What identifies the key must not help to find it: a tag under it does not.
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes.as_slice()), ID_LABEL);
        let id = tag.as_ref().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}"));
        Self { key: LessSafeKey::new(unbound), id: format!("file:{}", id.collect::<String>()) }
    }

    /// What names the key: `file:` and 32 hex digits.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// `key` wrapped for `context`.
    pub(super) fn wrap(
        &self,
        key: &KeyBytes,
        context: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, NoRandom> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = Zeroizing::new(key.to_vec());
        let aad = Aad::from(described(&self.id, context));
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("32 bytes are within the bounds of AES-GCM");
        Ok([&[VERSION], &nonce[..], &sealed, tag.as_ref()].concat())
    }

    /// The key that was wrapped for `context`.
    pub(super) fn unwrap(
        &self,
        wrapped: &[u8],
        context: &BTreeMap<String, String>,
    ) -> Result<KeyBytes, NotUnwrapped> {
        if wrapped.len() != WRAPPED_BYTES {
            return Err(NotUnwrapped);
        }
        let (version, rest) = wrapped.split_first().ok_or(NotUnwrapped)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(NotUnwrapped)?;
        if *version != VERSION {
            return Err(NotUnwrapped);
        }
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let aad = Aad::from(described(&self.id, context));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, aad, &mut buffer).map_err(|_| NotUnwrapped)?;
        key_bytes(opened).ok_or(NotUnwrapped)
    }
}

impl fmt::Debug for Wrapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapper({})", self.id)
    }
}

/// The key with these bytes, if they are as many as a key has.
pub(super) fn key_bytes(bytes: &[u8]) -> Option<KeyBytes> {
    let mut key = KeyBytes::default();
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(bytes);
    Some(key)
}

/// A new key.
pub(super) fn random_key() -> Result<KeyBytes, NoRandom> {
    random().map(Zeroizing::new)
}

fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// What a wrapped key is for, as bytes that no other key and context have.
pub(super) fn described(key_id: &str, context: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = AAD_LABEL.to_vec();
    let pairs = context.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    for text in std::iter::once(key_id).chain(pairs) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

const AAD_LABEL: &[u8] = b"standpipe/v1/wrapped-key";
const ID_LABEL: &[u8] = b"standpipe/v1/key-file-id";

/// How much of the tag is the key's id.
const ID_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapper(byte: u8) -> Wrapper {
        Wrapper::new(&Zeroizing::new([byte; KEY_BYTES]))
    }

    fn context(stream: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("standpipe:stream".to_owned(), stream.to_owned())])
    }

    #[test]
    fn a_key_comes_back_only_under_its_own_key_and_context() {
        let key = random_key().unwrap();
        let wrapped = wrapper(1).wrap(&key, &context("a")).unwrap();
        assert_eq!(wrapper(1).unwrap(&wrapped, &context("a")), Ok(key));
        assert_eq!(wrapper(2).unwrap(&wrapped, &context("a")), Err(NotUnwrapped));
        assert_eq!(wrapper(1).unwrap(&wrapped, &context("b")), Err(NotUnwrapped));
        assert_eq!(wrapper(1).unwrap(&wrapped, &BTreeMap::new()), Err(NotUnwrapped));
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let key = random_key().unwrap();
        let wrapped = wrapper(1).wrap(&key, &context("a")).unwrap();
        assert_eq!(wrapped.len(), WRAPPED_BYTES);
        for bit in 0..wrapped.len() * 8 {
            let mut flipped = wrapped.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(wrapper(1).unwrap(&flipped, &context("a")), Err(NotUnwrapped), "{bit}");
        }
        for length in 0..wrapped.len() {
            assert!(wrapper(1).unwrap(&wrapped[..length], &context("a")).is_err());
        }
        assert!(wrapper(1).unwrap(&[&wrapped[..], &[0]].concat(), &context("a")).is_err());
    }

    #[test]
    fn the_same_key_is_wrapped_differently_each_time() {
        let key = random_key().unwrap();
        let wrap = || wrapper(1).wrap(&key, &context("a")).unwrap();
        assert_ne!(wrap(), wrap());
    }

    #[test]
    fn a_wrapping_key_shows_its_id_alone() {
        let shown = format!("{:?}", wrapper(7));
        assert_eq!(shown, format!("Wrapper({})", wrapper(7).id()));
        assert_eq!(shown.len(), "Wrapper(file:)".len() + 2 * ID_BYTES);
        assert!(!shown.contains("0707"));
        assert_ne!(wrapper(7).id(), wrapper(8).id());
    }

    #[test]
    fn no_two_contexts_are_described_alike() {
        let of = |key: &str, value: &str| {
            described("k", &BTreeMap::from([(key.to_owned(), value.to_owned())]))
        };
        assert_ne!(of("a", "bc"), of("ab", "c"));
        assert_ne!(described("ka", &BTreeMap::new()), of("a", ""));
    }
}
