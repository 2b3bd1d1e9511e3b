//! The frame: a head that can be read without the key, a sealed payload, a tag.
//!
//! ```text
//!   0  magic "SPFR"        u32   who is searching for the next frame searches for this
//!   4  kind                u8    1 records, 2 the end of the segment, 3 records with partition keys
//!   5  reserved            3     zeros
//!   8  index               u32   of this frame in its segment; consumed by sealing, whatever becomes of it
//!  12  records             u32   in the payload: 1 to 500; none in an end frame
//!  16  sealed bytes        u32   of the payload, without the tag
//!  20  watermark           u32   index of the first frame that was not known durable when this was written
//!  24  records before      u64   in all earlier frames of the segment
//!  32  random              8     the other half of the nonce
//!  40  sealed payload, then its tag (16)
//! ```
//!
//! All integers are little-endian. The nonce is the index (big-endian) and the random bytes; what is
//! authenticated beside the payload is the digest of the segment's header and the whole head. So no frame
//! can be moved, swapped, repeated or taken from another segment without its being seen, and what a head
//! says is believed only once its frame was opened.
//!
//! Pure: it reads no file and draws no random bytes.

use super::cursor::Cursor;
use super::seal::{NotOpened, SegmentKeys, TAG_BYTES};
use crate::record::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, PARTITION_KEY_BYTES_MAX, RECORD_BYTES_MAX,
};

/// How long a head is.
pub(super) const HEAD_BYTES: usize = 40;

/// What searching for a frame looks for.
pub(super) const MAGIC: [u8; 4] = *b"SPFR";

/// The longest payload: a full batch that its last record takes over the limit, with the records' lengths and
/// a key for each, and what else a payload says. A head that claims more is damaged.
pub(super) const PAYLOAD_BYTES_MAX: usize =
    BATCH_BYTES_MAX + RECORD_BYTES_MAX + 4 * BATCH_RECORDS_MAX + KEYS_BYTES_MAX + 64 * 1024;

/// What the partition keys of a full batch take: the number, the length and the text of one for each record.
const KEYS_BYTES_MAX: usize = BATCH_RECORDS_MAX * (2 + 2 + PARTITION_KEY_BYTES_MAX);

const _: () = assert!(PAYLOAD_BYTES_MAX < 8 * 1024 * 1024, "a frame can be held in memory");

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// The records of one batch.
    Records,
    /// The records of one batch, some of which have a partition key.
    KeyedRecords,
    /// Nothing: it says that the segment ends here, and its counts are those of the whole segment.
    End,
}

/// What stands in front of a sealed payload. See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: FrameKind,
    pub(super) index: u32,
    pub(super) records: u32,
    /// Sealing fills this in.
    pub(super) sealed_bytes: u32,
    pub(super) watermark: u32,
    pub(super) records_before: u64,
    pub(super) random: [u8; 8],
}

impl Head {
    /// How long the whole frame is.
    pub(super) fn frame_bytes(&self) -> usize {
        HEAD_BYTES + self.sealed_bytes as usize + TAG_BYTES
    }

    /// The records of this frame and of all earlier ones.
    pub(super) fn records_after(&self) -> u64 {
        self.records_before.saturating_add(u64::from(self.records))
    }

    /// Below which index all frames are durable, if this head is to be believed.
    pub(super) const fn durable_frames(&self) -> u32 {
        match self.kind {
            FrameKind::Records | FrameKind::KeyedRecords => self.watermark,
            FrameKind::End => self.index,
        }
    }

    /// Whether it is one of records.
    pub(super) fn has_records(&self) -> bool {
        self.kind != FrameKind::End
    }

    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let kind: u32 = match self.kind {
            FrameKind::Records => 1,
            FrameKind::End => 2,
            FrameKind::KeyedRecords => 3,
        };
        let mut bytes = [0; HEAD_BYTES];
        let fields = [
            &MAGIC[..],
            &kind.to_le_bytes(), // The kind and the reserved zeros behind it.
            &self.index.to_le_bytes(),
            &self.records.to_le_bytes(),
            &self.sealed_bytes.to_le_bytes(),
            &self.watermark.to_le_bytes(),
            &self.records_before.to_le_bytes(),
            &self.random,
        ];
        for (byte, field) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *field;
        }
        bytes
    }

    fn nonce(&self) -> [u8; 12] {
        let [a, b, c, d] = self.index.to_be_bytes();
        let [e, f, g, h, i, j, k, l] = self.random;
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// What is authenticated beside the payload.
    fn aad(&self, digest: &[u8; 32]) -> [u8; 32 + HEAD_BYTES] {
        let mut aad = [0; 32 + HEAD_BYTES];
        for (byte, field) in aad.iter_mut().zip(digest.iter().chain(&self.to_bytes())) {
            *byte = *field;
        }
        aad
    }
}

/// Appends a frame to `out`: `head`, what `payload` appends, sealed, and the tag. Gives the head as it was
/// written. `digest` is that of the segment's whole header.
///
/// # Errors
/// [`PayloadTooLong`] when the payload is longer than [`PAYLOAD_BYTES_MAX`]; `out` is as it was.
pub(super) fn seal(
    keys: &SegmentKeys,
    digest: &[u8; 32],
    mut head: Head,
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>),
) -> Result<Head, PayloadTooLong> {
    let start = out.len();
    let from = start + HEAD_BYTES;
    out.resize(from, 0);
    payload(out);
    let bytes = out.len().saturating_sub(from);
    head.sealed_bytes = match u32::try_from(bytes) {
        Ok(sealed) if bytes <= PAYLOAD_BYTES_MAX => sealed,
        _ => {
            out.truncate(start);
            return Err(PayloadTooLong { bytes });
        }
    };
    debug_assert_eq!(head.check(), Ok(()), "what is written can be read");
    out.get_mut(start..from).expect("the head has its place").copy_from_slice(&head.to_bytes());
    keys.seal(head.nonce(), &head.aad(digest), out, from);
    Ok(head)
}

/// A payload is longer than a frame may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PayloadTooLong {
    /// How long it is.
    pub(super) bytes: usize,
}

/// Reads the head that `bytes` begins with. What it says is not to be believed yet, but is within bounds.
pub(super) fn parse_head(bytes: &[u8]) -> Result<Head, BadHead> {
    let mut cursor = Cursor::new(bytes.get(..HEAD_BYTES).ok_or(BadHead::TooShort)?);
    let head = fields(&mut cursor)?;
    head.check()?;
    Ok(head)
}

fn fields(cursor: &mut Cursor<'_>) -> Result<Head, BadHead> {
    if cursor.array() != Some(MAGIC) {
        return Err(BadHead::Magic);
    }
    let kind = match cursor.u32().ok_or(BadHead::TooShort)? {
        1 => FrameKind::Records,
        2 => FrameKind::End,
        3 => FrameKind::KeyedRecords,
        _ => return Err(BadHead::Kind),
    };
    let mut word = || cursor.u32().ok_or(BadHead::TooShort);
    let (index, records, sealed_bytes, watermark) = (word()?, word()?, word()?, word()?);
    let records_before = cursor.u64().ok_or(BadHead::TooShort)?;
    let random = cursor.array().ok_or(BadHead::TooShort)?;
    Ok(Head { kind, index, records, sealed_bytes, watermark, records_before, random })
}

impl Head {
    fn check(&self) -> Result<(), BadHead> {
        let is_counted = match self.kind {
            FrameKind::Records | FrameKind::KeyedRecords => {
                (1..=BATCH_RECORDS_MAX).contains(&(self.records as usize))
            }
            FrameKind::End => self.records == 0 && self.sealed_bytes == 0,
        };
        let is_sane = is_counted
            && self.sealed_bytes as usize <= PAYLOAD_BYTES_MAX
            && self.watermark <= self.index;
        if is_sane { Ok(()) } else { Err(BadHead::Bounds) }
    }
}

/// Why bytes are not the head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHead {
    /// There are fewer bytes than a head has.
    TooShort,
    /// They do not begin like one.
    Magic,
    /// The kind is none that this version knows.
    Kind,
    /// A count or a length is out of its bounds.
    Bounds,
}

/// Opens a frame in place: `sealed` is what stands behind its head, tag and all. Gives the payload.
pub(super) fn open<'b>(
    keys: &SegmentKeys,
    digest: &[u8; 32],
    head: &Head,
    sealed: &'b mut [u8],
) -> Result<&'b [u8], NotOpened> {
    keys.open(head.nonce(), &head.aad(digest), sealed).map(|payload| &*payload)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::header::Encoded;
    use super::super::seal;
    use super::super::testing::Segment;
    use super::*;

    fn head(kind: FrameKind, index: u32, records: u32) -> Head {
        Head {
            kind,
            index,
            records,
            sealed_bytes: 0,
            watermark: 0,
            records_before: 9,
            random: *b"randomly",
        }
    }

    #[test]
    fn a_head_is_laid_out_as_the_format_says() {
        let head = Head { sealed_bytes: 0x0506, watermark: 3, ..head(FrameKind::Records, 4, 7) };
        let expected =
            b"SPFR\x01\0\0\0\x04\0\0\0\x07\0\0\0\x06\x05\0\0\x03\0\0\0\x09\0\0\0\0\0\0\0randomly";
        assert_eq!(&head.to_bytes(), expected);
        assert_eq!(&head.nonce(), b"\0\0\0\x04randomly");
    }

    #[test]
    fn neither_another_index_nor_another_draw_has_the_same_nonce() {
        let heads = (0..300).flat_map(|index| {
            let draws: [[u8; 8]; 3] = std::array::from_fn(|_| seal::random().unwrap());
            draws.map(|random| Head { random, ..head(FrameKind::Records, index, 1) })
        });
        let nonces: HashSet<[u8; 12]> = heads.map(|head| head.nonce()).collect();
        assert_eq!(nonces.len(), 900);
        let sealed = Segment::of(1, &[2, 2], true);
        let nonces: HashSet<[u8; 12]> =
            sealed.frames.iter().map(|(_, head)| head.nonce()).collect();
        assert_eq!(nonces.len(), 5);
    }

    #[test]
    fn a_payload_that_is_too_long_leaves_nothing_behind() {
        let Encoded { keys, digest, .. } = Segment::of(1, &[], false).encoded;
        let mut out = b"before".to_vec();
        let bytes = PAYLOAD_BYTES_MAX + 1;
        let records = head(FrameKind::Records, 0, 1);
        let sealed =
            seal(&keys, &digest, records, &mut out, |out| out.resize(out.len() + bytes, 0));
        assert_eq!((sealed, &out[..]), (Err(PayloadTooLong { bytes }), &b"before"[..]));
    }

    #[test]
    fn a_head_out_of_its_bounds_is_none() {
        let good = head(FrameKind::Records, 4, 500);
        let end = head(FrameKind::End, 4, 0);
        let most = u32::try_from(PAYLOAD_BYTES_MAX).unwrap();
        for head in [good, end, Head { watermark: 4, sealed_bytes: most, ..good }] {
            assert_eq!(parse_head(&head.to_bytes()), Ok(head));
        }
        for head in [
            Head { records: 501, ..good },
            Head { records: 0, ..good },
            Head { records: u32::MAX, ..good },
            Head { watermark: 5, ..good },
            Head { sealed_bytes: most + 1, ..good },
            Head { sealed_bytes: 1, ..end },
            Head { records: 1, ..end },
        ] {
            assert_eq!(parse_head(&head.to_bytes()), Err(BadHead::Bounds));
        }
        let mut bytes = good.to_bytes();
        assert_eq!(parse_head(&bytes[..39]), Err(BadHead::TooShort));
        bytes[7] = 1;
        assert_eq!(parse_head(&bytes), Err(BadHead::Kind), "what is reserved is zero");
        bytes[7] = 0;
        for (kind, expected) in [(0, None), (3, Some(FrameKind::KeyedRecords)), (4, None)] {
            bytes[4] = kind;
            assert_eq!(parse_head(&bytes).ok().map(|head| head.kind), expected);
        }
        bytes[0] = b's';
        assert_eq!(parse_head(&bytes), Err(BadHead::Magic));
    }

    proptest! {
        #[test]
        fn a_head_that_reads_is_written_the_same_so_that_all_of_it_is_authenticated(
            mut bytes in any::<[u8; HEAD_BYTES]>(),
            small in any::<[u8; 4]>(),
            kind in 1_u8..4,
        ) {
            bytes[..8].copy_from_slice(&[b'S', b'P', b'F', b'R', kind, 0, 0, 0]);
            for (at, value) in [12, 16, 20, 24].into_iter().zip(small) {
                bytes[at..at + 4].copy_from_slice(&u32::from(value).to_le_bytes());
            }
            if let Ok(head) = parse_head(&bytes) {
                prop_assert_eq!(head.to_bytes(), bytes);
            }
        }
    }
}
