//! The names of the spool's files and folders.
//!
//! A stream's folder is its name with every byte outside `[a-z0-9_-]` as `%xx`, so that neither `.` nor
//! `..` nor a file system that folds case does harm. A name that is not written just so is not one of ours.

use std::fmt::Write as _;

use crate::record::StreamName;

/// What the name of a segment ends with.
const SEGMENT: &str = "seg";

/// What the name of a delivered note ends with.
const NOTE: &str = "note";

/// The name of a stream's folder.
pub(super) fn encode(stream: &StreamName) -> String {
    let mut name = String::with_capacity(stream.as_str().len());
    for byte in stream.as_str().bytes() {
        if is_plain(byte) {
            name.push(char::from(byte));
        } else {
            write!(name, "%{byte:02x}").expect("a string takes all that is written");
        }
    }
    name
}

/// The stream whose folder has this name.
pub(super) fn decode(name: &str) -> Option<StreamName> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            decoded.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            decoded.push(*byte);
        }
    }
    let stream: StreamName = str::from_utf8(&decoded).ok()?.parse().ok()?;
    // Only one spelling is ours.
    (encode(&stream) == name).then_some(stream)
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')
}

/// The name of a segment's file.
pub(super) fn segment_file(id: u64) -> String {
    format!("{id:016x}.{SEGMENT}")
}

/// The name of a segment's delivered note.
pub(super) fn note_file(id: u64) -> String {
    format!("{id:016x}.{NOTE}")
}

/// What a file in a stream's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileName {
    /// A segment, by its id.
    Segment(u64),
    /// The delivered note of a segment.
    Note(u64),
}

/// What the file of this name is; `None` when it is none of ours.
pub(super) fn parse_file(name: &str) -> Option<FileName> {
    let (id, kind) = name.split_once('.')?;
    let id = u64::from_str_radix(id, 16).ok()?;
    let file = match kind {
        SEGMENT => FileName::Segment(id),
        NOTE => FileName::Note(id),
        _ => return None,
    };
    let ours = match file {
        FileName::Segment(id) => segment_file(id),
        FileName::Note(id) => note_file(id),
    };
    (ours == name).then_some(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(name: &str) -> StreamName {
        name.parse().unwrap()
    }

    #[test]
    fn dots_and_case_do_no_harm() {
        for (name, folder) in [
            ("demo", "demo"),
            (".", "%2e"),
            ("..", "%2e%2e"),
            ("Demo", "%44emo"),
            ("a.b_c-9", "a%2eb_c-9"),
        ] {
            assert_eq!(encode(&stream(name)), folder);
            assert_eq!(decode(folder), Some(stream(name)));
        }
    }

    #[test]
    fn a_folder_that_is_not_spelled_our_way_is_not_ours() {
        for name in
            ["", ".", "..", "Demo", "%2E", "%64emo", "%", "%2", "%zz", "a b", "%+2", "é", "%ff"]
        {
            assert_eq!(decode(name), None, "{name}");
        }
    }

    #[test]
    fn files_are_named_by_their_id() {
        assert_eq!(segment_file(0x19a), "000000000000019a.seg");
        for id in [0, 1, u64::MAX] {
            assert_eq!(parse_file(&segment_file(id)), Some(FileName::Segment(id)));
            assert_eq!(parse_file(&note_file(id)), Some(FileName::Note(id)));
        }
        for name in [
            "",
            "lock",
            "19a.seg",
            "000000000000019A.seg",
            "+00000000000019a.seg",
            "000000000000019a.seg.x",
            "000000000000019a.tmp",
        ] {
            assert_eq!(parse_file(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_stream_has_a_folder_of_its_own_even_where_case_is_folded(
            a in "[a-zA-Z0-9_.-]{1,64}",
            b in "[aA.%bB]{1,4}",
        ) {
            let folder = encode(&stream(&a));
            prop_assert_eq!(decode(&folder), Some(stream(&a)));
            prop_assert!(folder.len() <= 3 * 64);
            prop_assert_eq!(folder.to_lowercase(), folder);
            if let Some(decoded) = decode(&b) {
                prop_assert_eq!(encode(&decoded), b);
            }
        }
    }
}
