//! The format as it is on disks: files of version 1 that every later version must read, byte for byte.
//!
//! They were written once and are never written again; a change of the format is a new version, with files
//! of its own beside these.

use std::path::PathBuf;
use std::sync::Arc;

use super::header;
use super::note::{self, Entry};
use super::scan::{Event, Extent, Scanner};
use super::seal::SegmentKeys;
use super::testing::{self, Segment, data_key};

const ID: u64 = 0x0000_018b_cfe5_6800;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn segment() -> Segment {
    Segment::of(ID, &[2, 1], true)
}

fn entries() -> [Entry; 2] {
    [Entry::Whole { first: 0, frames: 2 }, Entry::Bitmap { frame: 2, bits: vec![0b101] }]
}

fn note(keys: &SegmentKeys) -> Vec<u8> {
    let mut note = note::file_header(ID).to_vec();
    for entry in entries() {
        note::encode(keys, ID, &entry, &mut note);
    }
    note
}

#[test]
fn the_golden_segment_is_written_today_as_it_was() {
    let segment = segment();
    assert!(std::fs::read(golden("spool-v1.seg")).unwrap() == segment.bytes);
    assert!(std::fs::read(golden("spool-v1.note")).unwrap() == note(&segment.encoded.keys));
}

#[test]
fn the_golden_segment_and_its_note_are_read_today_as_they_were() {
    let bytes = std::fs::read(golden("spool-v1.seg")).unwrap();
    let parsed = header::decode(&bytes).unwrap();
    assert_eq!(parsed.header, testing::header(ID));
    let keys = Arc::new(parsed.keys(&data_key()).unwrap());

    let mut found = Vec::new();
    let said = std::fs::read(golden("spool-v1.note")).unwrap();
    let scanned = note::scan(&keys, ID, &said, |entry| found.push(entry));
    assert_eq!((&found[..], scanned.unverified_bytes), (&entries()[..], 0));

    let extent = Extent::found(bytes.len() as u64);
    let mut scanner = Scanner::new(keys, parsed.digest, parsed.bytes as u64, extent);
    let mut records = Vec::new();
    loop {
        match scanner.next(|_| true) {
            Event::Frame { payload, .. } => {
                assert_eq!(payload.opened_unix_ms(), 1_700_000_000_123);
                records.extend(
                    payload.records().map(|record| String::from_utf8(record.to_vec()).unwrap()),
                );
            }
            Event::NeedBytes => scanner
                .fill(|offset, into| {
                    let from = usize::try_from(offset).unwrap();
                    into.copy_from_slice(&bytes[from..from + into.len()]);
                    Ok(into.len())
                })
                .unwrap(),
            end => {
                assert_eq!(end, Event::End { records: 6, is_closed: true });
                break;
            }
        }
    }
    let expected = [(0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)];
    let expected = expected.map(|(record, frame)| format!("record {record} of frame {frame}"));
    assert_eq!(records, expected);
}

#[test]
#[ignore = "writes the golden files; only ever for a new version of the format"]
fn write_the_golden_files() {
    let segment = segment();
    std::fs::write(golden("spool-v1.seg"), &segment.bytes).unwrap();
    std::fs::write(golden("spool-v1.note"), note(&segment.encoded.keys)).unwrap();
}
