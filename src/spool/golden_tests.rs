//! The format as it is on disks: files of version 1 that every later version must read, byte for byte.
//!
//! They were written once and are never written again; a change of the format is a new version, with files
//! of its own beside these.

use std::path::PathBuf;
use std::sync::Arc;

use super::frame;
use super::header::{self, Encoded};
use super::look::opens;
use super::note::{self, Entry};
use super::scan::{Event, Extent, Scanner};
use super::seal::SegmentKeys;
use super::testing::{self, Segment, data_key};
use crate::pipeline::PartitionKeys;

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

/// The records of a whole segment, each with its partition key if it has one, and what ends it.
fn read(bytes: &[u8], keys: Arc<SegmentKeys>) -> (Vec<(String, Option<String>)>, Event<'static>) {
    let parsed = header::decode(bytes).unwrap();
    let extent = Extent::found(bytes.len() as u64);
    let mut scanner = Scanner::new(keys, parsed.digest, parsed.bytes as u64, extent);
    let mut records = Vec::new();
    loop {
        match scanner.next(|_| true) {
            Event::Frame { payload, .. } => {
                assert_eq!(payload.opened_unix_ms(), 1_700_000_000_123);
                let keys = payload.keys();
                records.extend(payload.records().enumerate().map(|(number, record)| {
                    let record = String::from_utf8(record.to_vec()).unwrap();
                    (record, keys.get(number).map(str::to_owned))
                }));
            }
            Event::NeedBytes => scanner
                .fill(|offset, into| {
                    let from = usize::try_from(offset).unwrap();
                    into.copy_from_slice(&bytes[from..from + into.len()]);
                    Ok(into.len())
                })
                .unwrap(),
            Event::End { records: count, is_closed } => {
                return (records, Event::End { records: count, is_closed });
            }
            other => panic!("{other:?}"),
        }
    }
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

    let (records, end) = read(&bytes, keys);
    assert_eq!(end, Event::End { records: 6, is_closed: true });
    let expected = [(0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)];
    let expected =
        expected.map(|(record, frame)| (format!("record {record} of frame {frame}"), None));
    assert_eq!(records, expected);
}

/// A segment of keyed records, of plain ones, and an end.
fn keyed_segment() -> Segment {
    let mut segment = Segment::of(ID, &[], false);
    let keys = PartitionKeys::collect(KEYS.into_iter());
    segment.append_keyed(RECORDS.map(|record| record.as_bytes().to_vec()).to_vec(), &keys, 0);
    segment.append(vec![b"plain".to_vec()], 1);
    segment.end();
    segment
}

const RECORDS: [&str; 4] = ["one", "", "three", "four"];
const KEYS: [Option<&str>; 4] = [Some("k\u{e4}ufer 7"), Some("k\u{e4}ufer 7"), None, Some("b")];

/// The same by the description of the format, without the code of the product but for its header.
fn keyed_by_hand() -> Vec<u8> {
    use ring::{aead, digest, hkdf};
    let plain = std::fs::read(golden("spool-v1.seg")).unwrap();
    let header_bytes = u32::from_le_bytes(plain[12..16].try_into().unwrap()) as usize;
    let header = &plain[..header_bytes];
    let (before_commitment, salt) = (&header[..header_bytes - 32], &header[header_bytes - 64..]);
    let mut key = [0; 32];
    let label: &[u8] = b"standpipe/v1/frame";
    hkdf::Salt::new(hkdf::HKDF_SHA256, &salt[..32])
        .extract(b"a data key that is not random...")
        .expand(&[label, before_commitment], hkdf::HKDF_SHA256)
        .unwrap()
        .fill(&mut key)
        .unwrap();
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).unwrap());
    let digest = digest::digest(&digest::SHA256, header);

    let keyed: [&[u8]; 11] = [
        &1_700_000_000_123_u64.to_le_bytes(),
        b"\x02\0",
        b"\x09\0\x01\0",
        b"k\xc3\xa4ufer 7",
        b"b",
        b"\x01\0\x01\0\0\0\x02\0",
        b"\x03\0\0\0\0\0\0\0\x05\0\0\0\x04\0\0\0",
        b"one",
        b"",
        b"three",
        b"four",
    ];
    let plain: [&[u8]; 3] = [&1_700_000_000_123_u64.to_le_bytes(), b"\x05\0\0\0", b"plain"];
    let mut segment = header.to_vec();
    for (index, kind, records, watermark, before, payload) in [
        (0_u8, 3, 4, 0, 0, keyed.concat()),
        (1, 1, 1, 1, 4, plain.concat()),
        (2, 2, 0, 2, 5, Vec::new()),
    ] {
        let random = [index; 8];
        let mut head =
            vec![b'S', b'P', b'F', b'R', kind, 0, 0, 0, index, 0, 0, 0, records, 0, 0, 0];
        head.extend_from_slice(&[
            u8::try_from(payload.len()).unwrap(),
            0,
            0,
            0,
            watermark,
            0,
            0,
            0,
        ]);
        head.extend_from_slice(&[before, 0, 0, 0, 0, 0, 0, 0]);
        head.extend_from_slice(&random);
        let nonce = [&[0, 0, 0, index][..], &random].concat().try_into().unwrap();
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let beside = aead::Aad::from([digest.as_ref(), &head].concat());
        let mut sealed = payload;
        key.seal_in_place_append_tag(nonce, beside, &mut sealed).unwrap();
        segment.extend_from_slice(&head);
        segment.extend_from_slice(&sealed);
    }
    segment
}

#[test]
fn a_segment_of_keyed_records_is_what_its_description_says_and_what_it_was() {
    let bytes = std::fs::read(golden("spool-v1-keys.seg")).unwrap();
    assert!(bytes == keyed_by_hand());
    assert!(bytes == keyed_segment().bytes);
    let parsed = header::decode(&bytes).unwrap();
    let keys = Arc::new(parsed.keys(&data_key()).unwrap());
    let (came, end) = read(&bytes, keys);
    assert_eq!(end, Event::End { records: 5, is_closed: true });
    let expected = RECORDS.into_iter().zip(KEYS).chain([("plain", None)]);
    let expected: Vec<_> =
        expected.map(|(record, key)| (record.to_owned(), key.map(str::to_owned))).collect();
    assert_eq!(came, expected);
}

#[test]
fn no_bit_of_a_keyed_frame_can_be_turned() {
    let segment = keyed_segment();
    let ((from, head), (to, _)) = (segment.frames[0], segment.frames[1]);
    for bit in 0..(to - from) * 8 {
        let mut frame = segment.bytes[from..to].to_vec();
        frame[bit / 8] ^= 1 << (bit % 8);
        let sealed = &mut frame.clone()[frame::HEAD_BYTES..];
        let Encoded { keys, digest, .. } = &segment.encoded;
        let opens = frame::parse_head(&frame).is_ok_and(|head| {
            head.frame_bytes() == frame.len() && opens(keys, digest, &head, sealed)
        });
        assert!(!opens, "bit {bit} of {head:?}");
    }
}

#[test]
#[ignore = "writes the golden files; only ever for a new version of the format"]
fn write_the_golden_files() {
    let segment = segment();
    std::fs::write(golden("spool-v1.seg"), &segment.bytes).unwrap();
    std::fs::write(golden("spool-v1.note"), note(&segment.encoded.keys)).unwrap();
    std::fs::write(golden("spool-v1-keys.seg"), keyed_by_hand()).unwrap();
}
