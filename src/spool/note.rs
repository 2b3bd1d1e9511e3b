//! The delivered note of a segment: which of its records the service has. A file that is only appended to.
//!
//! ```text
//!  magic "STPIPE\0N" (8) | segment id u64 | entries
//!  entry: marker 0x4E u8 | kind u8 | first frame u32 | 1: frames u32, 2: bytes u16, bitmap | mac (16)
//! ```
//!
//! All integers are little-endian. Bit `n % 8` of byte `n / 8` of a bitmap is record `n` of its frame. The
//! mac is over the segment's id and the entry before the mac, under a key of the segment: an entry that does
//! not verify says nothing, its records count as not delivered, and reading goes on at the next byte. So
//! damage to a note brings duplicates, never loss, and an append behind a torn entry is read all the same.
//! What the file begins with is for people: nothing is believed for it.
//!
//! Pure: it reads no file.

use super::cursor::Cursor;
#[cfg(test)]
use super::seal::MAC_BYTES;
use super::seal::SegmentKeys;
use crate::record::BATCH_RECORDS_MAX;

const MAGIC: [u8; 8] = *b"STPIPE\0N";
const MARKER: u8 = 0x4E;
const WHOLE: u8 = 1;
const BITMAP: u8 = 2;

/// The longest bitmap, in bytes.
pub(super) const BITMAP_BYTES_MAX: usize = BATCH_RECORDS_MAX.div_ceil(8);

/// The longest entry, in bytes.
#[cfg(test)]
pub(super) const ENTRY_BYTES_MAX: usize = 1 + 1 + 4 + 2 + BITMAP_BYTES_MAX + MAC_BYTES;

/// One thing that a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// All records of these frames are delivered.
    Whole {
        /// The first of the frames.
        first: u32,
        /// How many they are.
        frames: u32,
    },
    /// Some records of one frame are delivered.
    Bitmap {
        /// The frame.
        frame: u32,
        /// Which: 1 to [`BITMAP_BYTES_MAX`] bytes.
        bits: Vec<u8>,
    },
}

/// What a note file begins with.
pub(super) fn file_header(segment: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = segment.to_le_bytes();
    let [m, n, o, p, q, r, s, t] = MAGIC;
    [m, n, o, p, q, r, s, t, a, b, c, d, e, f, g, h]
}

/// Appends an entry to `out`.
pub(super) fn encode(keys: &SegmentKeys, segment: u64, entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    match entry {
        Entry::Whole { first, frames } => {
            out.extend_from_slice(&[MARKER, WHOLE]);
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&frames.to_le_bytes());
        }
        Entry::Bitmap { frame, bits } => {
            let bytes = u16::try_from(bits.len()).expect("a bitmap has a bit for each record");
            out.extend_from_slice(&[MARKER, BITMAP]);
            out.extend_from_slice(&frame.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
            out.extend_from_slice(bits);
        }
    }
    let entry = out.get(start..).expect("it was just appended");
    let mac = keys.note_mac(&[&segment.to_le_bytes(), entry]);
    out.extend_from_slice(&mac);
}

/// What was found in a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scanned {
    /// The entries that verify.
    pub(super) entries: u64,
    /// The bytes that belong to none of them, or to a beginning that is not as it was written.
    pub(super) unverified_bytes: u64,
}

/// Reads a whole note file, and gives every entry that verifies to `on`.
pub(super) fn scan(
    keys: &SegmentKeys,
    segment: u64,
    bytes: &[u8],
    mut on: impl FnMut(Entry),
) -> Scanned {
    let mut scanned = Scanned::default();
    let mut rest = bytes.strip_prefix(&file_header(segment)).unwrap_or(bytes);
    while let Some((_, next)) = rest.split_first() {
        if let Some((entry, after)) = parse(keys, segment, rest) {
            scanned.entries += 1;
            on(entry);
            rest = after;
        } else {
            scanned.unverified_bytes += 1;
            rest = next;
        }
    }
    scanned
}

/// The entry that `bytes` begins with, if it verifies, and what comes after it.
fn parse<'a>(keys: &SegmentKeys, segment: u64, bytes: &'a [u8]) -> Option<(Entry, &'a [u8])> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u8()? != MARKER {
        return None;
    }
    let kind = cursor.u8()?;
    let first = cursor.u32()?;
    let entry = match kind {
        WHOLE => Entry::Whole { first, frames: cursor.u32()? },
        BITMAP => {
            let count = usize::from(cursor.u16()?);
            if !(1..=BITMAP_BYTES_MAX).contains(&count) {
                return None;
            }
            Entry::Bitmap { frame: first, bits: cursor.bytes(count)?.to_vec() }
        }
        _ => return None,
    };
    let (said, _) = bytes.split_at_checked(bytes.len() - cursor.rest().len())?;
    let mac = cursor.array()?;
    keys.verify_note(&[&segment.to_le_bytes(), said], &mac).then(|| (entry, cursor.rest()))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::testing::Segment;
    use super::*;

    fn entries() -> Vec<Entry> {
        vec![
            Entry::Whole { first: 0, frames: 3 },
            Entry::Bitmap { frame: 3, bits: vec![0x4E, 1] },
            Entry::Whole { first: 4, frames: 1 },
        ]
    }

    fn note(keys: &SegmentKeys, segment: u64, entries: &[Entry]) -> Vec<u8> {
        let mut note = file_header(segment).to_vec();
        for entry in entries {
            let before = note.len();
            encode(keys, segment, entry, &mut note);
            assert!(note.len() - before <= ENTRY_BYTES_MAX);
        }
        note
    }

    fn read(keys: &SegmentKeys, segment: u64, bytes: &[u8]) -> (Vec<Entry>, u64) {
        let mut entries = Vec::new();
        let scanned = scan(keys, segment, bytes, |entry| entries.push(entry));
        assert_eq!(scanned.entries, entries.len() as u64);
        (entries, scanned.unverified_bytes)
    }

    fn keys(segment: u64) -> SegmentKeys {
        Segment::of(segment, &[], false).encoded.keys
    }

    #[test]
    fn every_bit_of_a_note_flipped_costs_one_entry_at_most_and_never_makes_one() {
        let keys = keys(1);
        let note = note(&keys, 1, &entries());
        assert_eq!(read(&keys, 1, &note), (entries(), 0));
        let first = file_header(1).len();
        for bit in 0..note.len() * 8 {
            let mut note = note.clone();
            note[bit / 8] ^= 1 << (bit % 8);
            let (found, unverified) = read(&keys, 1, &note);
            let mut expected = entries();
            match bit / 8 {
                at if at < first => assert_eq!(unverified, 16),
                at if at < first + 26 => drop(expected.remove(0)),
                at if at < first + 26 + 26 => drop(expected.remove(1)),
                _ => drop(expected.remove(2)),
            }
            assert_eq!(found, expected, "bit {bit}");
            assert!(unverified > 0);
        }
    }

    #[test]
    fn an_entry_that_was_torn_hides_none_that_comes_after_it() {
        let keys = keys(1);
        let whole = note(&keys, 1, &entries());
        let mut more = Vec::new();
        encode(&keys, 1, &Entry::Whole { first: 9, frames: 1 }, &mut more);
        for cut in 0..whole.len() {
            let (found, _) = read(&keys, 1, &[&whole[..cut], &more[..]].concat());
            assert_eq!(found.last(), Some(&Entry::Whole { first: 9, frames: 1 }));
            assert!(entries().starts_with(&found[..found.len() - 1]));
        }
    }

    #[test]
    fn a_note_of_another_segment_or_another_key_says_nothing() {
        let entries = [Entry::Whole { first: 0, frames: 1000 }];
        let (keys, others) = (keys(1), keys(2));
        for forged in [
            note(&others, 1, &entries),
            note(&others, 2, &entries),
            note(&keys, 2, &entries),
            [&file_header(1)[..], b"N\x01\0\0\0\0\xe8\x03\0\0 a forged mac..", b"N\x02"].concat(),
        ] {
            assert_eq!(read(&keys, 1, &forged).0, []);
        }
    }

    fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (any::<u32>(), any::<u32>()).prop_map(|(first, frames)| Entry::Whole { first, frames }),
            (any::<u32>(), vec(any::<u8>(), 1..=BITMAP_BYTES_MAX))
                .prop_map(|(frame, bits)| Entry::Bitmap { frame, bits }),
        ]
    }

    proptest! {
        #[test]
        fn a_note_reads_back_as_it_was_written_whatever_stands_between(
            entries in vec((entry(), vec(any::<u8>(), 0..9)), 0..12),
            segment in any::<u64>(),
        ) {
            let keys = keys(1);
            let mut note = file_header(segment).to_vec();
            let mut noise_bytes = 0;
            for (entry, noise) in &entries {
                encode(&keys, segment, entry, &mut note);
                note.extend(noise);
                noise_bytes += noise.len() as u64;
            }
            let entries: Vec<Entry> = entries.into_iter().map(|(entry, _)| entry).collect();
            prop_assert_eq!(read(&keys, segment, &note), (entries, noise_bytes));
        }
    }
}
