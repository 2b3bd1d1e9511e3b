//! The payload: the plaintext of one frame.
//!
//! ```text
//!  opened, unix ms u64 | the records' lengths: u32 each | the records, one behind the other
//! ```
//!
//! How many records there are is said by the frame's head. Pure; what it reads has been opened, and is
//! checked all the same.

use std::ops::Range;

use super::cursor::Cursor;

/// Appends a payload. `opened_unix_ms` is when the batch was opened: the age of its oldest record.
pub(super) fn append<'a>(
    out: &mut Vec<u8>,
    opened_unix_ms: u64,
    records: impl ExactSizeIterator<Item = &'a [u8]>,
) {
    out.extend_from_slice(&opened_unix_ms.to_le_bytes());
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

/// A payload that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    opened_unix_ms: u64,
    lengths: &'a [u8],
    records: &'a [u8],
}

/// Reads a payload of `records` records.
///
/// # Errors
/// [`BadPayload`] when the lengths are not those of what is there.
pub(super) fn parse(bytes: &[u8], records: u32) -> Result<Payload<'_>, BadPayload> {
    let mut cursor = Cursor::new(bytes);
    let opened_unix_ms = cursor.u64().ok_or(BadPayload)?;
    let lengths_bytes = (records as usize).checked_mul(4).ok_or(BadPayload)?;
    let lengths = cursor.bytes(lengths_bytes).ok_or(BadPayload)?;
    let payload = Payload { opened_unix_ms, lengths, records: cursor.rest() };
    let sum = payload.lengths().try_fold(0_usize, usize::checked_add);
    if sum == Some(payload.records.len()) { Ok(payload) } else { Err(BadPayload) }
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
        let mut start = 0;
        self.lengths().map(move |bytes| {
            let place = start..start + bytes;
            start = place.end;
            place
        })
    }

    /// The records.
    pub(super) fn records(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + 'a {
        let records = self.records;
        self.places().map(|place| records.get(place).expect("the lengths were checked"))
    }

    fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + 'a {
        let (lengths, _) = self.lengths.as_chunks::<4>();
        lengths.iter().map(|length| u32::from_le_bytes(*length) as usize)
    }
}

/// The lengths in a payload are not those of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPayload;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_payload_reads_back_as_it_was_written(
            opened in any::<u64>(),
            records in vec(vec(any::<u8>(), 0..50), 1..40),
        ) {
            let mut out = Vec::new();
            append(&mut out, opened, records.iter().map(Vec::as_slice));
            let count = u32::try_from(records.len()).unwrap();
            let payload = parse(&out, count).unwrap();
            prop_assert_eq!(payload.opened_unix_ms(), opened);
            prop_assert!(payload.records().eq(records.iter().map(Vec::as_slice)));
            prop_assert_eq!(payload.bytes(), records.concat());
            prop_assert_eq!(parse(&out[..out.len() - 1], count), Err(BadPayload));
            out.push(b'x');
            prop_assert_eq!(parse(&out, count), Err(BadPayload));
        }

        #[test]
        fn no_bytes_at_all_make_reading_a_payload_panic(
            bytes in vec(any::<u8>(), 0..64),
            records in any::<u32>(),
        ) {
            if let Ok(payload) = parse(&bytes, records) {
                prop_assert_eq!(payload.records().len(), records as usize);
            }
        }
    }
}
