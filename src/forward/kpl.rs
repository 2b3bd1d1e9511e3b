//! The aggregated record of the Kinesis Producer Library: many records of one key as one record of a data
//! stream, which Firehose takes apart by itself.
//!
//! ```text
//!  F3 89 9A C2 │ AggregatedRecord (protobuf)                                   │ MD5 of the protobuf
//!              │ 1: partition key, once   3: { 1: 0 (the key's place), 3: data }, … │ 16 bytes
//! ```
//!
//! Pure. Sizes are known before anything is written. Source: the library's description of the format.

use crate::md5;

/// What such a record begins with.
pub(super) const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

const DIGEST_BYTES: usize = 16;

/// Field 1 of `AggregatedRecord`, `partition_key_table`, and field 3, `records`: both of a length.
const KEY_TAG: u8 = 0x0a;
const RECORD_TAG: u8 = 0x1a;

/// Field 1 of `Record`, `partition_key_index`: always the first key.
const INDEX: [u8; 2] = [0x08, 0x00];

/// Field 3 of `Record`, `data`.
const DATA_TAG: u8 = 0x1a;

/// The bytes of a record of `bytes` bytes inside.
pub(super) const fn record_bytes(bytes: usize) -> usize {
    let inside = INDEX.len() + 1 + length_bytes(bytes) + bytes;
    1 + length_bytes(inside) + inside
}

/// The bytes of the whole with a key of `key_bytes` bytes, and with records that take `records_bytes` inside.
pub(super) const fn blob_bytes(key_bytes: usize, records_bytes: usize) -> usize {
    let key = 1 + length_bytes(key_bytes) + key_bytes;
    MAGIC.len() + key + records_bytes + DIGEST_BYTES
}

/// Whether a record is of this format itself, as far as its beginning tells. It has to go alone: what is in
/// two of them is not taken apart twice.
pub(super) fn is_aggregated(record: &[u8]) -> bool {
    record.starts_with(&MAGIC)
}

/// Begins a record whose parts all have this key.
pub(super) fn begin(out: &mut Vec<u8>, key: &str) {
    out.extend(MAGIC);
    out.push(KEY_TAG);
    write_length(out, key.len());
    out.extend_from_slice(key.as_bytes());
}

/// Adds a record to one that was begun.
pub(super) fn add(out: &mut Vec<u8>, record: &[u8]) {
    out.push(RECORD_TAG);
    write_length(out, INDEX.len() + 1 + length_bytes(record.len()) + record.len());
    out.extend(INDEX);
    out.push(DATA_TAG);
    write_length(out, record.len());
    out.extend_from_slice(record);
}

/// Ends a record that was begun, and is all of `out`.
pub(super) fn end(out: &mut Vec<u8>) {
    let digest = md5::hash_key(out.get(MAGIC.len()..).unwrap_or_default());
    out.extend(digest.to_be_bytes());
}

/// How many bytes a length takes: seven bits in each.
const fn length_bytes(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros();
    if bits == 0 { 1 } else { bits.div_ceil(7) as usize }
}

fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregated_record_is_written_as_the_format_says() {
        let mut out = Vec::new();
        begin(&mut out, "k");
        add(&mut out, b"one");
        add(&mut out, b"");
        end(&mut out);
        let proto = b"\x0a\x01k\x1a\x07\x08\x00\x1a\x03one\x1a\x04\x08\x00\x1a\x00";
        let digest = md5::hash_key(proto).to_be_bytes();
        assert_eq!(out, [&MAGIC[..], proto, &digest[..]].concat());
        assert!(is_aggregated(&out) && !is_aggregated(b"{}") && !is_aggregated(b""));
    }

    #[test]
    fn sizes_are_known_before_it_is_written() {
        for bytes in [0, 1, 120, 121, 122, 127, 128, 16_378, 16_384, 2_097_152] {
            let record = vec![b'x'; bytes];
            let mut out = Vec::new();
            begin(&mut out, "key");
            for _ in 0..3 {
                add(&mut out, &record);
            }
            end(&mut out);
            assert_eq!(out.len(), blob_bytes(3, 3 * record_bytes(bytes)), "{bytes}");
        }
    }
}
