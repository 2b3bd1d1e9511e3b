//! The emulator's ciphertext blobs: the one file of it that knows `ring`.
//!
//! ```text
//!  version u8 = 1 | key id 16 | nonce 12 | sealed plaintext | tag 16
//! ```
//! AES-256-GCM. A blob names its key, and is bound to it and to its encryption context.

use std::collections::BTreeMap;
use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What a key seals with. The emulator keeps it in a file: it is no place for real secrets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material([u8; 32]);

/// The system gives no random numbers.
#[derive(Debug)]
pub(super) struct NoRandom;

/// A blob taken apart.
pub(super) struct Blob<'b> {
    /// The key that it names.
    pub(super) key: u128,
    nonce: [u8; NONCE_LEN],
    sealed: &'b [u8],
}

impl Material {
    /// New material.
    pub(super) fn random() -> Result<Self, NoRandom> {
        random().map(Self)
    }

    /// The material with these bytes, if they are as many as it has.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A blob of `plaintext` under the key `key`, which has this material.
    pub(super) fn seal(
        &self,
        key: u128,
        context: &BTreeMap<String, String>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, NoRandom> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = plaintext.to_vec();
        self.key()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(key, context)),
                &mut sealed,
            )
            .expect("a request is far below the bounds of AES-GCM");
        Ok([&[VERSION], &key.to_be_bytes()[..], &nonce, &sealed].concat())
    }

    /// What is in `blob`, unless it is damaged or of another context.
    pub(super) fn open(
        &self,
        blob: &Blob<'_>,
        context: &BTreeMap<String, String>,
    ) -> Option<Vec<u8>> {
        let nonce = Nonce::assume_unique_for_key(blob.nonce);
        let aad = Aad::from(bound_to(blob.key, context));
        let mut buffer = blob.sealed.to_vec();
        let opened = self.key().open_in_place(nonce, aad, &mut buffer).ok()?;
        Some(opened.to_vec())
    }

    fn key(&self) -> LessSafeKey {
        let unbound = UnboundKey::new(&AES_256_GCM, &self.0);
        LessSafeKey::new(unbound.expect("AES-256 takes every key of 32 bytes"))
    }
}

impl<'b> Blob<'b> {
    /// Takes a blob apart; `None` when it is none of ours.
    pub(super) fn parse(bytes: &'b [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (key, rest) = rest.split_first_chunk::<16>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let blob = Self { key: u128::from_be_bytes(*key), nonce: *nonce, sealed };
        (*version == VERSION).then_some(blob)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(..)")
    }
}

/// Random bytes.
pub(super) fn random_bytes(count: usize) -> Result<Vec<u8>, NoRandom> {
    let mut bytes = vec![0; count];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// The key and the context as bytes that no other key and context have.
fn bound_to(key: u128, context: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = key.to_be_bytes().to_vec();
    for text in context.iter().flat_map(|(key, value)| [key, value]) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn context(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_blob_opens_only_with_its_material_and_its_exact_context() {
        let material = Material::random().unwrap();
        let blob = material.seal(7, &context("a", "bc"), b"secret").unwrap();
        let open = |material: &Material, blob: &[u8], context: &BTreeMap<String, String>| {
            Blob::parse(blob).and_then(|blob| material.open(&blob, context))
        };
        assert_eq!(open(&material, &blob, &context("a", "bc")).unwrap(), b"secret");
        for other in [context("ab", "c"), context("a", "BC"), context("a", ""), BTreeMap::new()] {
            assert_eq!(open(&material, &blob, &other), None);
        }
        assert_eq!(open(&Material::random().unwrap(), &blob, &context("a", "bc")), None);
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 1;
            assert_eq!(open(&material, &damaged, &context("a", "bc")), None, "{at}");
            assert_eq!(open(&material, &blob[..at], &context("a", "bc")), None, "{at}");
        }
        assert_eq!(format!("{material:?}"), "Material(..)");
    }
}
