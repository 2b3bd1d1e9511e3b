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
use super::seal::{MAC_BYTES, SegmentKeys};
use crate::record::BATCH_RECORDS_MAX;

const MAGIC: [u8; 8] = *b"STPIPE\0N";
const MARKER: u8 = 0x4E;
const WHOLE: u8 = 1;
const BITMAP: u8 = 2;

/// The longest bitmap, in bytes.
pub(super) const BITMAP_BYTES_MAX: usize = BATCH_RECORDS_MAX.div_ceil(8);

/// The longest entry, in bytes.
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
