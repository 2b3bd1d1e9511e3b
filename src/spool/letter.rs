//! A dead letter as it lies in a frame: why and when it was set aside, and the record.
//!
//! ```text
//!  reason: u16 length, text | code: u16 length, text | message: u16 length, text
//!  set aside, unix ms u64 | accepted, unix ms u64 | the record
//! ```
//!
//! All integers are little-endian. Its partition key, if it has one, is the frame's to keep, as any record's
//! is. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use super::cursor::Cursor;
use super::words::{Letter, unix_ms};

/// The most bytes that are kept of a text.
const TEXT_BYTES_MAX: usize = 1024;

/// Which dead letter of a stream: where it lies. Written as `0000019a1b2c3d4e-7-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    /// The segment.
    pub segment: u64,
    /// The frame in it.
    pub frame: u32,
    /// The record in that.
    pub number: u16,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}-{}", self.segment, self.frame, self.number)
    }
}

/// A text is not the id of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLetterId;

impl fmt::Display for BadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an id looks like 0000019a1b2c3d4e-7-0; `dead-letter list --verbose` shows them",
        )
    }
}

impl std::error::Error for BadLetterId {}

impl FromStr for LetterId {
    type Err = BadLetterId;

    fn from_str(text: &str) -> Result<Self, BadLetterId> {
        let parse = || {
            let mut parts = text.split('-');
            let segment = parts.next().filter(|digits| digits.len() == 16)?;
            let segment = u64::from_str_radix(segment, 16).ok()?;
            let (frame, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { segment, frame, number })
        };
        // Only one spelling is ours.
        parse().filter(|id: &Self| id.to_string() == text).ok_or(BadLetterId)
    }
}

/// A dead letter that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LetterView<'a> {
    pub(super) reason: &'a str,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) set_aside_unix_ms: u64,
    pub(super) accepted_unix_ms: u64,
    pub(super) record: &'a [u8],
}

/// Writes a letter down.
pub(super) fn encode(letter: &Letter) -> Vec<u8> {
    let mut out = Vec::with_capacity(letter.record.len() + 256);
    for text in [letter.reason, &letter.code, &letter.message] {
        let text = shortened(text);
        out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&unix_ms(Instant::now()).to_le_bytes());
    out.extend_from_slice(&unix_ms(letter.opened_at).to_le_bytes());
    out.extend_from_slice(&letter.record);
    out
}

/// Reads a letter. `None` when it is none.
pub(super) fn decode(bytes: &[u8]) -> Option<LetterView<'_>> {
    let mut cursor = Cursor::new(bytes);
    let mut text = || {
        let length = cursor.u16()?;
        str::from_utf8(cursor.bytes(usize::from(length))?).ok()
    };
    let (reason, code, message) = (text()?, text()?, text()?);
    let set_aside_unix_ms = cursor.u64()?;
    let accepted_unix_ms = cursor.u64()?;
    let record = cursor.rest();
    Some(LetterView { reason, code, message, set_aside_unix_ms, accepted_unix_ms, record })
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(message: &str) -> Letter {
        Letter {
            id: 7,
            record: b"poison\n".to_vec(),
            partition_key: None,
            opened_at: Instant::now(),
            reason: "refused_alone",
            code: "ValidationException".into(),
            message: message.into(),
            origin: None,
        }
    }

    #[test]
    fn a_letter_reads_back_as_it_was_written() {
        let bytes = encode(&letter("it is too strange"));
        let read = decode(&bytes).unwrap();
        assert_eq!(read.record, b"poison\n");
        assert_eq!((read.reason, read.code), ("refused_alone", "ValidationException"));
        assert_eq!(read.message, "it is too strange");
        assert!(read.set_aside_unix_ms >= read.accepted_unix_ms);
        for end in 0..bytes.len() - 7 {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = LetterId { segment: 0x19a, frame: 7, number: 0 };
        assert_eq!(id.to_string(), "000000000000019a-7-0");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in [
            "",
            "19a-7-0",
            "000000000000019a-7",
            "000000000000019A-7-0",
            "000000000000019a-07-0",
            "000000000000019a-7-0-0",
            "000000000000019a-7-+0",
        ] {
            assert_eq!(wrong.parse::<LetterId>(), Err(BadLetterId), "{wrong}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let bytes = encode(&letter(&"ü".repeat(1_000)));
        assert_eq!(decode(&bytes).unwrap().message, "ü".repeat(512));
    }
}
