//! Takes records of the Kinesis Producer Library's format apart, as Firehose does with what it reads from a data
//! stream. Pure.
//!
//! It reads any message of the format, whoever wrote it: several keys, members that nobody needs here, members
//! that nobody foresaw. What is not of the format, or is damaged, is one record as it is.

use crate::md5;

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

const DIGEST_BYTES: usize = 16;

/// The records that a record of a data stream is for those who take it apart: itself, or those in it.
pub(crate) fn apart(data: &[u8]) -> Vec<&[u8]> {
    inside(data).unwrap_or_else(|| vec![data])
}

fn inside(data: &[u8]) -> Option<Vec<&[u8]>> {
    let rest = data.strip_prefix(&MAGIC)?;
    let (message, digest) = rest.split_at_checked(rest.len().checked_sub(DIGEST_BYTES)?)?;
    if md5::hash_key(message).to_be_bytes() != *digest {
        return None;
    }
    let (mut keys, mut hash_keys) = (0, 0);
    let mut records = Vec::new();
    let mut members = Members(message);
    while !members.0.is_empty() {
        match members.next()? {
            (1, Value::Bytes(_)) => keys += 1,
            (2, Value::Bytes(_)) => hash_keys += 1,
            (3, Value::Bytes(record)) => records.push(record),
            (1..=3, Value::Number(_)) => return None,
            _ => {}
        }
    }
    records.into_iter().map(|record| data_of(record, keys, hash_keys)).collect()
}

/// The data of one record, whose keys have to be there.
fn data_of(record: &[u8], keys: u64, hash_keys: u64) -> Option<&[u8]> {
    let (mut key, mut data) = (None, None);
    let mut members = Members(record);
    while !members.0.is_empty() {
        match members.next()? {
            (1, Value::Number(index)) => key = Some(index),
            (2, Value::Number(index)) if index >= hash_keys => return None,
            (3, Value::Bytes(bytes)) => data = Some(bytes),
            _ => {}
        }
    }
    data.filter(|_| key.is_some_and(|key| key < keys))
}

/// The members of a message of protobuf.
struct Members<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Members<'a> {
    /// The number of the next member, and what it is.
    fn next(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    /// Seven bits in each byte, the lowest first; the last has no eighth.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &[u8]) -> Vec<u8> {
        [&MAGIC[..], message, &md5::hash_key(message).to_be_bytes()].concat()
    }

    #[test]
    fn records_of_several_keys_with_tags_come_out_in_their_order() {
        // Two keys, a hash key; a record with a hash key and a tag, one without data of any length.
        let message = b"\x0a\x01a\x0a\x01b\x12\x01\x39\
            \x1a\x0e\x08\x01\x10\x00\x1a\x03one\x22\x03\x0a\x01t\
            \x1a\x04\x08\x00\x1a\x00";
        let whole = record(message);
        assert_eq!(apart(&whole), [&b"one"[..], b""]);
        assert_eq!(apart(&record(b"")), [&b""[..]; 0], "one of nothing");
    }

    #[test]
    fn what_is_not_of_the_format_or_damaged_is_one_record() {
        let good = record(b"\x0a\x01a\x1a\x07\x08\x00\x1a\x03one");
        assert_eq!(apart(&good), [b"one"]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(apart(&bad), [&bad[..]], "{bit}");
        }
        for length in 0..good.len() {
            assert_eq!(apart(&good[..length]), [&good[..length]]);
        }
        for message in [
            &b"\x1a\x05\x1a\x03one"[..],
            b"\x1a\x07\x08\x00\x1a\x03one",
            b"\x0a\x01a\x1a\x02\x08\x00",
            b"\x0a\x01a\x1a\x09\x08\x00\x10\x00\x1a\x03one",
            b"\x0a\x05a",
            b"\x0b",
            b"\x18\x01",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
        ] {
            let bad = record(message);
            assert_eq!(apart(&bad), [&bad[..]], "{message:?}");
        }
    }
}
