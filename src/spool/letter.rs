//! A dead letter as it lies in a frame: why and when it was set aside, and the record.
//!
//! ```text
//!  reason: u16 length, text | code: u16 length, text | message: u16 length, text
//!  set aside, unix ms u64 | accepted, unix ms u64 | the record
//! ```
//!
//! All integers are little-endian. Pure.

use std::time::Instant;

use super::cursor::Cursor;
use super::words::{Letter, unix_ms};

/// The most bytes that are kept of a text.
const TEXT_BYTES_MAX: usize = 1024;

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
    fn a_long_message_is_cut_between_characters() {
        let bytes = encode(&letter(&"ü".repeat(1_000)));
        assert_eq!(decode(&bytes).unwrap().message, "ü".repeat(512));
    }
}
