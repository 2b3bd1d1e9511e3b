//! The body of a `PutRecordBatch` request: JSON with base64, written in one go into one buffer.
//!
//! Each record is read once and written once; nothing is allocated per record. The SDK's own serializer
//! makes three copies and two allocations of each. It sends nothing and checks no limits.

use base64_simd::STANDARD;

use super::request::Blobs;
use crate::record::{STREAM_NAME_CHARS_MAX, StreamName};

const HEAD: &str = r#"{"DeliveryStreamName":""#;
const RECORDS: &str = r#"","Records":["#;
const RECORD_HEAD: &str = r#"{"Data":""#;
const RECORD_TAIL: &str = r#""},"#;
const TAIL: &str = "]}";

/// A body that is being written.
pub(super) struct Body {
    body: Vec<u8>,
    first: usize,
}

impl Body {
    /// The beginning of a body with about so many records of together so many raw bytes.
    pub(super) fn new(stream: &StreamName, records_expected: usize, bytes_expected: usize) -> Self {
        let mut body = Vec::with_capacity(capacity(records_expected, bytes_expected));
        body.extend_from_slice(HEAD.as_bytes());
        // A stream's name has no character that JSON would escape.
        body.extend_from_slice(stream.as_str().as_bytes());
        body.extend_from_slice(RECORDS.as_bytes());
        Self { first: body.len(), body }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: &[u8]) {
        self.body.extend_from_slice(RECORD_HEAD.as_bytes());
        STANDARD.encode_append(record, &mut self.body);
        self.body.extend_from_slice(RECORD_TAIL.as_bytes());
    }

    /// The whole.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.body.len() > self.first {
            // The last record has no comma behind it.
            self.body.pop();
        }
        self.body.extend_from_slice(TAIL.as_bytes());
        self.body
    }
}

/// The body for `records` of together `bytes` raw bytes.
pub(super) fn encode<'a>(
    stream: &StreamName,
    records: impl Iterator<Item = &'a [u8]>,
    records_expected: usize,
    bytes_expected: usize,
) -> Vec<u8> {
    let mut body = Body::new(stream, records_expected, bytes_expected);
    records.for_each(|record| body.push(record));
    body.finish()
}

/// The body for records that are joined, one behind the other.
pub(super) fn encode_joined<'a>(
    stream: &StreamName,
    records: impl Iterator<Item = &'a [u8]>,
    blobs: &Blobs,
) -> Vec<u8> {
    let mut body = Body::new(stream, blobs.blobs.len(), blobs.bytes());
    let largest = blobs.blobs.iter().map(|blob| blob.bytes).max();
    let mut written = Vec::with_capacity(largest.unwrap_or_default());
    let mut last = None;
    for (record, of) in records.zip(&blobs.of) {
        if last.is_some_and(|last| last != of) {
            body.push(&written);
            written.clear();
        }
        blobs.form.write(&mut written, record);
        last = Some(of);
    }
    if last.is_some() {
        body.push(&written);
    }
    body.finish()
}

/// At least what the body takes: base64 makes 4 bytes of 3, and pads each record by 2 at most.
const fn capacity(records: usize, bytes: usize) -> usize {
    let frame = HEAD.len() + STREAM_NAME_CHARS_MAX + RECORDS.len() + TAIL.len();
    frame + bytes.div_ceil(3) * 4 + records * (RECORD_HEAD.len() + RECORD_TAIL.len() + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(records: &[&[u8]]) -> String {
        let bytes = records.iter().map(|record| record.len()).sum();
        let stream = "demo".parse().unwrap();
        let body = encode(&stream, records.iter().copied(), records.len(), bytes);
        assert!(body.len() <= capacity(records.len(), bytes), "the buffer never grows");
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn a_body_is_what_the_service_reads() {
        assert_eq!(
            encoded(&[b"hello\n", b"", b"\xff"]),
            r#"{"DeliveryStreamName":"demo","Records":[{"Data":"aGVsbG8K"},{"Data":""},{"Data":"/w=="}]}"#
        );
        assert_eq!(encoded(&[]), r#"{"DeliveryStreamName":"demo","Records":[]}"#);
    }

    #[test]
    fn records_of_every_length_fit_the_buffer_that_was_asked_for() {
        for bytes in 0..50 {
            let record = vec![b'x'; bytes];
            let records: Vec<&[u8]> = (0..7).map(|_| record.as_slice()).collect();
            let json: serde_json::Value = serde_json::from_str(&encoded(&records)).unwrap();
            assert_eq!(json["Records"].as_array().unwrap().len(), 7);
        }
    }
}
