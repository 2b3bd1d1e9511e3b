//! The header of a segment: whose records it holds, and under which key.
//!
//! ```text
//!  magic "STPIPE\0S" (8) | version u16 | suite u16 | bytes of the whole header u32
//!  segment id u64 | created, unix ms u64 | kind u8 | provider u8
//!  stream: u8 length, text | key id: u16 length, text
//!  context: u8 count, each: u16 length, key, u16 length, value, in the order of the keys
//!  wrapped data key: u16 length, bytes | salt (32) | commitment (32)
//! ```
//!
//! All integers are little-endian. The commitment is derived from the data key, the salt and everything
//! before it: a header that was changed, and a key that is another one, do not fit it. The digest of the
//! whole header is authenticated with each frame. A header is not to be believed before its commitment was
//! checked, and names no key that is trusted for being named: the key ring decides.
//!
//! Pure: it reads no file.

use std::collections::BTreeMap;
use std::fmt;

use super::cursor::Cursor;
use super::keyring::{DataKey, Provider, WrappedKey};
use super::seal::{self, SegmentKeys};
use crate::record::StreamName;

/// The longest header, in bytes.
pub(super) const HEADER_BYTES_MAX: usize = 16 * 1024;

/// The longest wrapped data key, in bytes. Source: the limit of a ciphertext that KMS unwraps.
pub(super) const WRAPPED_BYTES_MAX: usize = 6_144;

const MAGIC: [u8; 8] = *b"STPIPE\0S";
const VERSION: u16 = 1;

/// AES-256-GCM under keys from HKDF-SHA256.
const SUITE: u16 = 1;

const SALT_BYTES: usize = 32;
const COMMITMENT_BYTES: usize = 32;

/// Where the length of the header stands, and where what it counts begins to differ.
const LENGTH_AT: usize = 12;
const FIXED_BYTES: usize = 16;

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records on their way.
    Records,
    /// Records that the service refuses, with what it said.
    DeadLetters,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u64,
    pub(super) created_unix_ms: u64,
    pub(super) kind: Kind,
    pub(super) stream: StreamName,
    pub(super) key: WrappedKey,
    /// Random, and of this segment only.
    pub(super) salt: [u8; SALT_BYTES],
}

/// A header that was written, and what its frames are sealed with.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: [u8; 32],
    pub(super) keys: SegmentKeys,
}

/// Writes a header. `key` is the data key that `header.key` wraps.
///
/// # Errors
/// [`HeaderTooLong`] when what it has to say of its key is longer than a header may be.
pub(super) fn encode(header: &Header, key: &DataKey) -> Result<Encoded, HeaderTooLong> {
    debug_assert_eq!(&header.key, key.wrapped(), "a header says how to get its own key back");
    let mut bytes = prefix(header).ok_or(HeaderTooLong)?;
    let whole = bytes.len() + COMMITMENT_BYTES;
    let length = bytes.get_mut(LENGTH_AT..FIXED_BYTES).expect("a header begins with its length");
    length.copy_from_slice(&u32::try_from(whole).map_err(|_| HeaderTooLong)?.to_le_bytes());
    if whole > HEADER_BYTES_MAX {
        return Err(HeaderTooLong);
    }
    let keys = SegmentKeys::derive(key, &header.salt, &bytes);
    bytes.extend_from_slice(keys.commitment());
    Ok(Encoded { digest: seal::digest(&bytes), bytes, keys })
}

/// Everything before the commitment, with zeros for the length.
fn prefix(header: &Header) -> Option<Vec<u8>> {
    let key = &header.key;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&SUITE.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&header.id.to_le_bytes());
    out.extend_from_slice(&header.created_unix_ms.to_le_bytes());
    out.push(match header.kind {
        Kind::Records => 1,
        Kind::DeadLetters => 2,
    });
    out.push(match key.provider {
        Provider::Kms => 1,
        Provider::File => 2,
    });
    out.push(u8::try_from(header.stream.as_str().len()).ok()?);
    out.extend_from_slice(header.stream.as_str().as_bytes());
    append(&mut out, key.key_id.as_bytes())?;
    out.push(u8::try_from(key.context.len()).ok()?);
    for (name, value) in &key.context {
        append(&mut out, name.as_bytes())?;
        append(&mut out, value.as_bytes())?;
    }
    if key.wrapped.len() > WRAPPED_BYTES_MAX {
        return None;
    }
    append(&mut out, &key.wrapped)?;
    out.extend_from_slice(&header.salt);
    Some(out)
}

fn append(out: &mut Vec<u8>, field: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(field.len()).ok()?.to_le_bytes());
    out.extend_from_slice(field);
    Some(())
}

/// What a header has to say of its key is longer than a header may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeaderTooLong;

impl fmt::Display for HeaderTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key's id, context and wrapping do not fit {HEADER_BYTES_MAX} bytes")
    }
}

impl std::error::Error for HeaderTooLong {}

/// A header as it was read: well formed, not yet to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) header: Header,
    /// How long it is: where the first frame begins.
    pub(super) bytes: usize,
    /// Of the whole header.
    pub(super) digest: [u8; 32],
    prefix: Vec<u8>,
    commitment: [u8; COMMITMENT_BYTES],
}

impl Parsed {
    /// The keys of the segment; with them, the header is believed.
    ///
    /// # Errors
    /// [`WrongKey`] when `key` is not the one that the header was written with, or it was changed since.
    pub(super) fn keys(&self, key: &DataKey) -> Result<SegmentKeys, WrongKey> {
        let keys = SegmentKeys::derive(key, &self.header.salt, &self.prefix);
        if keys.is_committed_to(&self.commitment) { Ok(keys) } else { Err(WrongKey) }
    }
}

/// The data key is not the one of this header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongKey;

/// Reads the header that `bytes`, the beginning of a segment, begins with.
///
/// # Errors
/// [`HeaderError`] says what it is instead.
pub(super) fn decode(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let mut cursor = Cursor::new(bytes);
    if !MAGIC.starts_with(bytes.get(..MAGIC.len()).unwrap_or(bytes)) {
        return Err(HeaderError::NotASegment);
    }
    cursor.array::<{ MAGIC.len() }>().ok_or(HeaderError::TooShort)?;
    let version = cursor.u16().ok_or(HeaderError::TooShort)?;
    if version != VERSION {
        return Err(HeaderError::Version(version));
    }
    let suite = cursor.u16().ok_or(HeaderError::TooShort)?;
    if suite != SUITE {
        return Err(HeaderError::Suite(suite));
    }
    let whole = cursor.u32().ok_or(HeaderError::TooShort)? as usize;
    if whole > HEADER_BYTES_MAX {
        return Err(HeaderError::Malformed("it is longer than a header may be"));
    }
    let prefix_bytes = whole
        .checked_sub(COMMITMENT_BYTES)
        .filter(|prefix| *prefix >= FIXED_BYTES)
        .ok_or(HeaderError::Malformed("it is shorter than a header can be"))?;
    let all = bytes.get(..whole).ok_or(HeaderError::TooShort)?;
    let (prefix, commitment) = all.split_at(prefix_bytes);
    let header = fields(&mut Cursor::new(prefix.get(FIXED_BYTES..).unwrap_or_default()))?;
    let commitment = *commitment.first_chunk().expect("what was split off has its length");
    let digest = seal::digest(all);
    Ok(Parsed { header, bytes: whole, digest, prefix: prefix.to_vec(), commitment })
}

fn fields(cursor: &mut Cursor<'_>) -> Result<Header, HeaderError> {
    const CUT: HeaderError = HeaderError::Malformed("it ends within a field");
    let id = cursor.u64().ok_or(CUT)?;
    let created_unix_ms = cursor.u64().ok_or(CUT)?;
    let kind = match cursor.u8().ok_or(CUT)? {
        1 => Kind::Records,
        2 => Kind::DeadLetters,
        _ => return Err(HeaderError::Malformed("its kind is unknown")),
    };
    let provider = match cursor.u8().ok_or(CUT)? {
        1 => Provider::Kms,
        2 => Provider::File,
        _ => return Err(HeaderError::Malformed("its key provider is unknown")),
    };
    let stream_bytes = cursor.u8().ok_or(CUT)?;
    let stream = text(cursor.bytes(stream_bytes.into()).ok_or(CUT)?)?;
    let stream =
        stream.parse().map_err(|_| HeaderError::Malformed("its stream has no legal name"))?;
    let key_id = text(field(cursor).ok_or(CUT)?)?;
    let mut context = BTreeMap::new();
    for _ in 0..cursor.u8().ok_or(CUT)? {
        let name = text(field(cursor).ok_or(CUT)?)?;
        let value = text(field(cursor).ok_or(CUT)?)?;
        // One context has one spelling.
        if context.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(HeaderError::Malformed("its context is not in order"));
        }
        context.insert(name, value);
    }
    let wrapped = field(cursor).ok_or(CUT)?.to_vec();
    if wrapped.len() > WRAPPED_BYTES_MAX {
        return Err(HeaderError::Malformed("its wrapped key is too long"));
    }
    let salt = cursor.array().ok_or(CUT)?;
    if !cursor.rest().is_empty() {
        return Err(HeaderError::Malformed("there is something behind its fields"));
    }
    let key = WrappedKey { provider, key_id, context, wrapped };
    Ok(Header { id, created_unix_ms, kind, stream, key, salt })
}

fn field<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let bytes = cursor.u16()?;
    cursor.bytes(bytes.into())
}

fn text(bytes: &[u8]) -> Result<String, HeaderError> {
    let text = str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| HeaderError::Malformed("a text of it is not UTF-8"))
}

/// Why bytes are not the header of a segment that this version reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// It goes on past what was given. A file that is no longer than that was cut: nothing was durable in it.
    TooShort,
    /// It does not begin like a segment.
    NotASegment,
    /// A version that is not known here.
    Version(u16),
    /// A suite of algorithms that is not known here.
    Suite(u16),
    /// It contradicts itself.
    Malformed(&'static str),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("the header is not there whole"),
            Self::NotASegment => f.write_str("this is not a segment"),
            Self::Version(version) => write!(f, "version {version} of the format is not known"),
            Self::Suite(suite) => write!(f, "suite {suite} of algorithms is not known"),
            Self::Malformed(what) => write!(f, "the header is malformed: {what}"),
        }
    }
}

impl std::error::Error for HeaderError {}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::super::testing::{self, KEY, KEY_ID, data_key};
    use super::*;

    fn encoded() -> Encoded {
        encode(&testing::header(7), &data_key()).unwrap()
    }

    #[test]
    fn a_header_reads_back_and_gives_the_keys_that_it_was_written_with() {
        let encoded = encoded();
        let longer = [&encoded.bytes[..], b"frames"].concat();
        let parsed = decode(&longer).unwrap();
        assert_eq!((&parsed.header, parsed.bytes), (&testing::header(7), encoded.bytes.len()));
        assert_eq!(parsed.digest, encoded.digest);
        let keys = parsed.keys(&data_key()).unwrap();
        assert_eq!(keys.commitment(), encoded.keys.commitment());
        assert_eq!(keys.note_mac(&[b"x"]), encoded.keys.note_mac(&[b"x"]));
        let mut other = KEY;
        other[31] ^= 1;
        let other = DataKey::new(data_key().wrapped().clone(), other);
        assert_eq!(parsed.keys(&other).unwrap_err(), WrongKey);
    }

    #[test]
    fn a_header_that_was_cut_is_too_short_wherever() {
        let bytes = encoded().bytes;
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Err(HeaderError::TooShort), "{cut}");
        }
    }

    #[test]
    fn every_bit_of_a_header_flipped_is_seen() {
        let bytes = encoded().bytes;
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(parsed) = decode(&bytes) {
                assert_eq!(parsed.keys(&data_key()).unwrap_err(), WrongKey, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_header_that_names_another_key_or_stream_does_not_fit_its_commitment() {
        let bytes = encoded().bytes;
        for (said, put) in [(KEY_ID, KEY_ID.replace("key/0", "key/1")), ("demo", "demi".to_owned())]
        {
            let at = memchr::memmem::find(&bytes, said.as_bytes()).unwrap();
            let mut foreign = bytes.clone();
            foreign[at..at + said.len()].copy_from_slice(put.as_bytes());
            let parsed = decode(&foreign).unwrap();
            assert_ne!(parsed.header, testing::header(7));
            assert_eq!(parsed.keys(&data_key()).unwrap_err(), WrongKey);
        }
    }

    #[test]
    fn what_is_not_a_segment_of_this_version_is_named() {
        let bytes = encoded().bytes;
        let with = |at: usize, put: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + put.len()].copy_from_slice(put);
            decode(&bytes).unwrap_err()
        };
        assert_eq!(with(0, b"x"), HeaderError::NotASegment);
        assert_eq!(decode(&[0; 4096]), Err(HeaderError::NotASegment));
        assert_eq!(with(8, &[2, 0]), HeaderError::Version(2));
        assert_eq!(with(10, &[2, 0]), HeaderError::Suite(2));
        let whole = u32::try_from(bytes.len()).unwrap();
        for length in [0, 47, 48, whole - 1, 16_385, u32::MAX] {
            let error = with(LENGTH_AT, &length.to_le_bytes());
            assert!(matches!(error, HeaderError::Malformed(_)), "{length}: {error}");
        }
    }

    #[test]
    fn a_key_that_does_not_fit_a_header_is_refused() {
        let wrapped = data_key().wrapped().clone();
        let long = |bytes: usize| "x".repeat(bytes);
        let fits = WrappedKey { wrapped: vec![0; WRAPPED_BYTES_MAX], ..wrapped.clone() };
        let too_long = [
            WrappedKey { wrapped: vec![0; WRAPPED_BYTES_MAX + 1], ..wrapped.clone() },
            WrappedKey { key_id: long(16 * 1024), ..wrapped.clone() },
            WrappedKey { key_id: long(70_000), ..wrapped.clone() },
            WrappedKey {
                context: (0..256).map(|n| (n.to_string(), String::new())).collect(),
                ..wrapped
            },
        ];
        let encode = |key: WrappedKey| {
            let header = Header { key: key.clone(), ..testing::header(1) };
            encode(&header, &DataKey::new(key, KEY)).map(drop)
        };
        assert_eq!(encode(fits), Ok(()));
        for key in too_long {
            assert_eq!(encode(key), Err(HeaderTooLong));
        }
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let key = (
            any::<bool>(),
            ".{0,80}",
            btree_map(".{0,20}", ".{0,20}", 0..5),
            vec(any::<u8>(), 0..300),
        );
        let key = key.prop_map(|(is_kms, key_id, context, wrapped)| WrappedKey {
            provider: if is_kms { Provider::Kms } else { Provider::File },
            key_id,
            context,
            wrapped,
        });
        let rest =
            (any::<u64>(), any::<u64>(), any::<bool>(), "[a-zA-Z0-9_.-]{1,64}", any::<[u8; 32]>());
        (key, rest).prop_map(|(key, (id, created_unix_ms, is_records, stream, salt))| Header {
            id,
            created_unix_ms,
            kind: if is_records { Kind::Records } else { Kind::DeadLetters },
            stream: stream.parse().unwrap(),
            key,
            salt,
        })
    }

    proptest! {
        #[test]
        fn any_header_reads_back_as_it_was_written(header in any_header()) {
            let key = DataKey::new(header.key.clone(), KEY);
            let encoded = encode(&header, &key).unwrap();
            let parsed = decode(&encoded.bytes).unwrap();
            prop_assert_eq!(&parsed.header, &header);
            prop_assert!(parsed.keys(&key).is_ok());
        }

        #[test]
        fn no_bytes_at_all_make_reading_a_header_panic(noise in vec(any::<u8>(), 0..200), length in 0_u32..300) {
            let mut bytes = encoded().bytes[..FIXED_BYTES].to_vec();
            bytes[LENGTH_AT..FIXED_BYTES].copy_from_slice(&length.to_le_bytes());
            bytes.extend(noise);
            if let Ok(parsed) = decode(&bytes) {
                prop_assert!(parsed.keys(&data_key()).is_err());
            }
        }
    }
}
