//! Cryptography of the spool: what is derived from a data key, sealing and opening, and randomness.
//!
//! The only file of the spool that names the cryptographic library. It knows no layout: headers, frames and
//! notes say what is sealed and what is authenticated beside it.
//!
//! The bytes of a data key and of what is derived from it are zeroed when they are dropped. What is not: the
//! key schedule of AES and the states of HMAC, which the library keeps for as long as a segment's keys live
//! and does not zero. That the process can not be dumped is what guards those.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{hkdf, hmac};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::keyring::DataKey;

/// What sealing adds to a payload, in bytes.
pub(super) const TAG_BYTES: usize = 16;

/// What authenticates one entry of a note, in bytes.
pub(super) const MAC_BYTES: usize = 16;

const FRAME_LABEL: &[u8] = b"standpipe/v1/frame";
const NOTE_LABEL: &[u8] = b"standpipe/v1/note";
const COMMITMENT_LABEL: &[u8] = b"standpipe/v1/commitment";

/// The bytes of a data key. They are not shown, not copied, and zeroed at last.
pub(super) struct KeyBytes(Zeroizing<[u8; 32]>);

impl KeyBytes {
    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    #[cfg(test)]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

/// The keys of one segment. No two segments share them, since each has a salt of its own.
pub(super) struct SegmentKeys {
    frame: LessSafeKey,
    note: hmac::Key,
    commitment: [u8; 32],
}

impl fmt::Debug for SegmentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SegmentKeys(..)")
    }
}

impl SegmentKeys {
    /// The keys of the segment whose header is `header_prefix` up to its commitment.
    pub(super) fn derive(key: &DataKey, salt: &[u8; 32], header_prefix: &[u8]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&key.plaintext().0[..]);
        let expand = |label: &[u8]| {
            let mut bytes = Zeroizing::new([0; 32]);
            prk.expand(&[label, header_prefix], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(&mut bytes[..]))
                .expect("one block of output is always allowed");
            bytes
        };
        let frame = UnboundKey::new(&AES_256_GCM, &expand(FRAME_LABEL)[..])
            .expect("the key of this cipher has 32 bytes");
        Self {
            frame: LessSafeKey::new(frame),
            note: hmac::Key::new(hmac::HMAC_SHA256, &expand(NOTE_LABEL)[..]),
            commitment: *expand(COMMITMENT_LABEL),
        }
    }

    /// What the header ends with: another key, or another header, has another one.
    pub(super) const fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Whether these are the keys that a header committed to.
    pub(super) fn is_committed_to(&self, commitment: &[u8; 32]) -> bool {
        bool::from(self.commitment.ct_eq(commitment))
    }

    /// Seals `buffer` from `from` on in place, and appends the tag. A nonce must never be used twice.
    pub(super) fn seal(&self, nonce: [u8; 12], aad: &[u8], buffer: &mut Vec<u8>, from: usize) {
        let plaintext = buffer.get_mut(from..).expect("what is sealed lies in the buffer");
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .frame
            .seal_in_place_separate_tag(nonce, Aad::from(aad), plaintext)
            .expect("a payload is far below the 64 GiB of this cipher");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Opens `sealed`, a sealed payload with its tag, in place. Where it does not open, what `sealed` holds
    /// afterwards is not specified.
    pub(super) fn open<'b>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &'b mut [u8],
    ) -> Result<&'b mut [u8], NotOpened> {
        let (ciphertext, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(NotOpened)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.frame
            .open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(*tag), ciphertext, 0..)
            .map_err(|_| NotOpened)
    }

    /// What authenticates a note's entry, given in `parts`.
    pub(super) fn note_mac(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let mut context = hmac::Context::with_key(&self.note);
        for part in parts {
            context.update(part);
        }
        *context.sign().as_ref().first_chunk().expect("this HMAC has 32 bytes")
    }

    /// Whether `mac` authenticates `parts`, in constant time.
    pub(super) fn verify_note(&self, parts: &[&[u8]], mac: &[u8; MAC_BYTES]) -> bool {
        bool::from(self.note_mac(parts).ct_eq(mac))
    }
}

/// What was to be opened is not what was sealed under this key, nonce and beside these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotOpened;

/// Random bytes from the operating system.
///
/// # Errors
/// [`NoRandom`] when the operating system has none to give.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// The operating system has no randomness to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRandom;

impl fmt::Display for NoRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system gave no random bytes")
    }
}

impl std::error::Error for NoRandom {}

/// The SHA-256 of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    *digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::testing::{KEY, data_key};
    use super::*;

    fn keys() -> SegmentKeys {
        SegmentKeys::derive(&data_key(), &[7; 32], b"header")
    }

    #[test]
    fn what_is_sealed_opens_only_as_it_was_sealed() {
        let keys = keys();
        let mut sealed = b"beforepayload".to_vec();
        keys.seal([1; 12], b"beside", &mut sealed, 6);
        assert_eq!(sealed.len(), 13 + TAG_BYTES);
        assert!(sealed.starts_with(b"before") && !sealed.ends_with(b"payload"));
        let sealed = sealed.split_off(6);
        let open = |keys: &SegmentKeys, nonce, beside: &[u8], sealed: &[u8]| {
            keys.open(nonce, beside, &mut sealed.to_vec()).map(|opened| opened.to_vec())
        };
        assert_eq!(open(&keys, [1; 12], b"beside", &sealed), Ok(b"payload".to_vec()));
        assert_eq!(open(&keys, [2; 12], b"beside", &sealed), Err(NotOpened));
        assert_eq!(open(&keys, [1; 12], b"besides", &sealed), Err(NotOpened));
        for other in [
            SegmentKeys::derive(&data_key(), &[8; 32], b"header"),
            SegmentKeys::derive(&data_key(), &[7; 32], b"Header"),
        ] {
            assert_eq!(open(&other, [1; 12], b"beside", &sealed), Err(NotOpened));
            assert!(!other.is_committed_to(keys.commitment()));
        }
        for cut in 0..sealed.len() {
            assert_eq!(open(&keys, [1; 12], b"beside", &sealed[..cut]), Err(NotOpened));
        }
    }

    #[test]
    fn a_mac_is_of_its_parts_and_of_its_segment() {
        let keys = keys();
        let mac = keys.note_mac(&[b"one", b"two"]);
        assert!(keys.verify_note(&[b"onetwo"], &mac));
        assert!(!keys.verify_note(&[b"onetwo!"], &mac));
        let other = SegmentKeys::derive(&data_key(), &[8; 32], b"header");
        assert!(!other.verify_note(&[b"onetwo"], &mac));
    }

    #[test]
    fn keys_show_none_of_their_bytes() {
        assert_eq!(format!("{:?}", KeyBytes::new(&KEY)), "KeyBytes(..)");
        assert_eq!(format!("{:?}", keys()), "SegmentKeys(..)");
    }

    #[test]
    fn random_bytes_do_not_come_twice() {
        let drawn: HashSet<[u8; 8]> = (0..1_000).map(|_| random().unwrap()).collect();
        assert_eq!(drawn.len(), 1_000);
    }
}
