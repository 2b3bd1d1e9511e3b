//! The payload: the plaintext of one frame.
//!
//! ```text
//!  opened, unix ms u64 | the records' lengths: u32 each | the records, one behind the other
//! ```
//!
//! In a frame of records with partition keys:
//!
//! ```text
//!  opened, unix ms u64 | keys u16 | the keys' lengths: u16 each | the keys, one behind the other: UTF-8
//!  | which key each record has: u16 each, 0 none, 1 the first | the records' lengths: u32 each | the records
//! ```
//!
//! All integers are little-endian. How many records there are is said by the frame's head. A key has 1 to
//! 1,024 bytes, and there are 1 to 500. Pure; what it reads has been opened, and is checked all the same.

use std::ops::Range;

use super::cursor::Cursor;
use super::frame::FrameKind;
use crate::pipeline::PartitionKeys;
use crate::record::{BATCH_RECORDS_MAX, PARTITION_KEY_BYTES_MAX};

/// Which kind of frame records with these keys are.
pub(super) const fn kind_for(keys: &PartitionKeys) -> FrameKind {
    if keys.is_empty() { FrameKind::Records } else { FrameKind::KeyedRecords }
}

/// What keys take of the payload of so many records, in bytes.
pub(super) fn keys_bytes(keys: &PartitionKeys, records: usize) -> usize {
    if keys.is_empty() {
        return 0;
    }
    2 + 2 * records + keys.texts().map(|text| 2 + text.len()).sum::<usize>()
}

/// Appends a payload of the kind that [`kind_for`] says. `opened_unix_ms` is when the batch was opened: the age
/// of its oldest record.
pub(super) fn append<'a>(
    out: &mut Vec<u8>,
    opened_unix_ms: u64,
    keys: &PartitionKeys,
    records: impl ExactSizeIterator<Item = &'a [u8]>,
) {
    out.extend_from_slice(&opened_unix_ms.to_le_bytes());
    if !keys.is_empty() {
        append_keys(out, keys, records.len());
    }
    let mut length_at = out.len();
    out.resize(length_at + records.len() * 4, 0);
    for record in records {
        let bytes = u32::try_from(record.len()).expect("a record is far shorter than 4 GiB");
        let length = out.get_mut(length_at..length_at + 4).expect("each record has a length");
        length.copy_from_slice(&bytes.to_le_bytes());
        length_at += 4;
        out.extend_from_slice(record);
    }
}

fn append_keys(out: &mut Vec<u8>, keys: &PartitionKeys, records: usize) {
    let short = |wide: usize| u16::try_from(wide).expect("keys are few and short");
    out.extend_from_slice(&short(keys.texts().len()).to_le_bytes());
    for text in keys.texts() {
        out.extend_from_slice(&short(text.len()).to_le_bytes());
    }
    for text in keys.texts() {
        out.extend_from_slice(text.as_bytes());
    }
    for record in 0..records {
        out.extend_from_slice(&keys.which(record).to_le_bytes());
    }
}

/// A payload that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    opened_unix_ms: u64,
    keys: Keys<'a>,
    lengths: &'a [u8],
    records: &'a [u8],
}

/// The partition keys of a payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Keys<'a> {
    lengths: &'a [u8],
    text: &'a str,
    which: &'a [u8],
}

/// Reads the payload of a frame of this kind with `records` records.
///
/// # Errors
/// [`BadPayload`] when the lengths are not those of what is there, or a key is none.
pub(super) fn parse(
    bytes: &[u8],
    kind: FrameKind,
    records: u32,
) -> Result<Payload<'_>, BadPayload> {
    let mut cursor = Cursor::new(bytes);
    let opened_unix_ms = cursor.u64().ok_or(BadPayload)?;
    let keys = match kind {
        FrameKind::KeyedRecords => Keys::parse(&mut cursor, records).ok_or(BadPayload)?,
        FrameKind::Records | FrameKind::End => Keys::default(),
    };
    let lengths_bytes = (records as usize).checked_mul(4).ok_or(BadPayload)?;
    let lengths = cursor.bytes(lengths_bytes).ok_or(BadPayload)?;
    let payload = Payload { opened_unix_ms, keys, lengths, records: cursor.rest() };
    let sum = payload.lengths().try_fold(0_usize, usize::checked_add);
    if sum == Some(payload.records.len()) { Ok(payload) } else { Err(BadPayload) }
}

impl<'a> Keys<'a> {
    fn parse(cursor: &mut Cursor<'a>, records: u32) -> Option<Self> {
        let count = usize::from(cursor.u16()?);
        let lengths = cursor.bytes(2 * count)?;
        let is_sane = |length: usize| (1..=PARTITION_KEY_BYTES_MAX).contains(&length);
        if !(1..=BATCH_RECORDS_MAX).contains(&count) || !shorts(lengths).all(is_sane) {
            return None;
        }
        let text = str::from_utf8(cursor.bytes(shorts(lengths).sum())?).ok()?;
        let which = cursor.bytes((records as usize).checked_mul(2)?)?;
        let keys = Self { lengths, text, which };
        let is_whole = keys.places().all(|place| text.get(place).is_some());
        (is_whole && shorts(which).all(|key| key <= count)).then_some(keys)
    }

    /// Where each key lies in the text.
    fn places(self) -> impl Iterator<Item = Range<usize>> + 'a {
        places(shorts(self.lengths))
    }
}

impl<'a> Payload<'a> {
    /// When the batch was opened.
    pub(super) const fn opened_unix_ms(&self) -> u64 {
        self.opened_unix_ms
    }

    /// All records, one behind the other: what [`Payload::places`] points into.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.records
    }

    /// Where each record lies in [`Payload::bytes`].
    pub(super) fn places(&self) -> impl ExactSizeIterator<Item = Range<usize>> + 'a {
        places(self.lengths())
    }

    /// The records.
    pub(super) fn records(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + 'a {
        let records = self.records;
        self.places().map(|place| records.get(place).expect("the lengths were checked"))
    }

    /// The partition keys of the records, by their numbers.
    pub(super) fn keys(&self) -> PartitionKeys {
        let Keys { text, which, .. } = self.keys;
        let texts: Vec<Option<&str>> = self.keys.places().map(|place| text.get(place)).collect();
        PartitionKeys::collect(shorts(which).map(|key| texts.get(key.checked_sub(1)?).copied()?))
    }

    fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + 'a {
        let (lengths, _) = self.lengths.as_chunks::<4>();
        lengths.iter().map(|length| u32::from_le_bytes(*length) as usize)
    }
}

fn shorts(bytes: &[u8]) -> impl ExactSizeIterator<Item = usize> {
    let (shorts, _) = bytes.as_chunks::<2>();
    shorts.iter().map(|short| usize::from(u16::from_le_bytes(*short)))
}

/// Where things of these lengths lie that stand one behind the other.
fn places(
    lengths: impl ExactSizeIterator<Item = usize>,
) -> impl ExactSizeIterator<Item = Range<usize>> {
    let mut start = 0;
    lengths.map(move |bytes| {
        let place = start..start + bytes;
        start = place.end;
        place
    })
}

/// The lengths in a payload are not those of what is there, or a key is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPayload;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    const NONE: PartitionKeys = PartitionKeys::NONE;

    proptest! {
        #[test]
        fn a_payload_reads_back_as_it_was_written(
            opened in any::<u64>(),
            records in vec((vec(any::<u8>(), 0..50), option::of("[aü]{1,5}")), 1..40),
            is_keyed in any::<bool>(),
        ) {
            let (records, keys): (Vec<_>, Vec<_>) = records.into_iter().unzip();
            let keys = keys.iter().map(|key| key.as_deref().filter(|_| is_keyed));
            let keys = PartitionKeys::collect(keys);
            let kind = kind_for(&keys);
            let mut out = Vec::new();
            append(&mut out, opened, &keys, records.iter().map(Vec::as_slice));
            let count = u32::try_from(records.len()).unwrap();
            let all: usize = records.iter().map(Vec::len).sum();
            prop_assert_eq!(out.len(), 8 + 4 * records.len() + all + keys_bytes(&keys, records.len()));
            let payload = parse(&out, kind, count).unwrap();
            prop_assert_eq!(payload.opened_unix_ms(), opened);
            prop_assert!(payload.records().eq(records.iter().map(Vec::as_slice)));
            prop_assert_eq!(payload.bytes(), records.concat());
            let read = payload.keys();
            prop_assert_eq!(read.is_empty(), keys.is_empty());
            prop_assert!((0..records.len()).all(|index| read.get(index) == keys.get(index)));
            prop_assert_eq!(parse(&out[..out.len() - 1], kind, count), Err(BadPayload));
            out.push(b'x');
            prop_assert_eq!(parse(&out, kind, count), Err(BadPayload));
        }

        #[test]
        fn no_bytes_at_all_make_reading_a_payload_panic(
            mut bytes in vec(any::<u8>(), 0..64),
            records in any::<u32>(),
            small in 0_u16..4,
        ) {
            if let Ok(payload) = parse(&bytes, FrameKind::Records, records) {
                prop_assert_eq!(payload.records().len(), records as usize);
            }
            if let Some(count) = bytes.get_mut(8..12) {
                let [low, high] = small.to_le_bytes();
                count.copy_from_slice(&[low, high, low, high]);
            }
            let records = records % 4;
            if let Ok(payload) = parse(&bytes, FrameKind::KeyedRecords, records) {
                prop_assert_eq!(payload.records().len(), records as usize);
                let keys = payload.keys();
                prop_assert!(keys.get(records as usize).is_none());
            }
        }
    }

    /// A payload of records without bytes: these keys' lengths, their text, and which record has which.
    fn keyed(
        lengths: &[u16],
        text: &[u8],
        which: &[u16],
    ) -> Result<Vec<Option<String>>, BadPayload> {
        let mut out = 7_u64.to_le_bytes().to_vec();
        let count = u16::try_from(lengths.len()).unwrap();
        for short in std::iter::once(&count).chain(lengths) {
            out.extend_from_slice(&short.to_le_bytes());
        }
        out.extend_from_slice(text);
        which.iter().for_each(|which| out.extend_from_slice(&which.to_le_bytes()));
        out.resize(out.len() + 4 * which.len(), 0);
        let records = u32::try_from(which.len()).unwrap();
        let keys = parse(&out, FrameKind::KeyedRecords, records)?.keys();
        Ok((0..which.len()).map(|index| keys.get(index).map(str::to_owned)).collect())
    }

    #[test]
    fn keys_that_are_none_are_damage() {
        let two = keyed(&[1, 2], "aü".as_bytes(), &[2, 0, 1, 2]).unwrap();
        assert_eq!(
            two.iter().map(Option::as_deref).collect::<Vec<_>>(),
            [Some("ü"), None, Some("a"), Some("ü")]
        );
        let longest = [b'x'; 1_024];
        assert!(keyed(&[1_024], &longest, &[1]).is_ok());
        for (lengths, text, which, why) in [
            (&[][..], &b""[..], &[0][..], "there is a key in a frame of this kind"),
            (&[0], b"", &[0], "a key has a character"),
            (&[1_025], &[b'x'; 1_025], &[1], "and not too many"),
            (&[1, 2], "üa".as_bytes(), &[1], "each is whole"),
            (&[1], b"\xff", &[1], "and text"),
            (&[1], b"a", &[2], "there is no second one"),
            (&[1; 501], &[b'x'; 501], &[1], "more keys than a batch has records"),
        ] {
            assert_eq!(keyed(lengths, text, which), Err(BadPayload), "{why}");
        }
    }

    #[test]
    fn a_payload_of_one_kind_is_none_of_the_other() {
        let records: [&[u8]; 2] = [b"one", b"two"];
        let keys = PartitionKeys::collect([Some("k"), None].into_iter());
        for (written, other) in [(&NONE, FrameKind::KeyedRecords), (&keys, FrameKind::Records)] {
            let mut out = Vec::new();
            append(&mut out, 7, written, records.into_iter());
            assert_eq!(parse(&out, other, 2), Err(BadPayload));
            assert!(parse(&out, kind_for(written), 2).is_ok());
        }
    }
}
