//! The body of a `PutRecords` request: JSON with base64, written in one go into one buffer.
//!
//! Each record is read once and written once, as for Firehose. It sends nothing and checks no limits.

use base64_simd::STANDARD;

use super::kpl;
use super::partition::Keys;
use super::request::{Blob, Blobs};

const NAME_HEAD: &str = r#"{"StreamName":"#;
const ARN_HEAD: &str = r#"{"StreamARN":"#;
const RECORDS: &str = r#","Records":["#;
const RECORD_HEAD: &str = r#"{"Data":""#;
const KEY_HEAD: &str = r#"","PartitionKey":"#;
const RECORD_TAIL: &str = "},";
const TAIL: &str = "]}";

/// What a key takes as a rule, with its quotes. The buffer grows for longer ones.
const KEY_BYTES_EXPECTED: usize = 64;

/// Whether a data stream is named by its ARN.
pub(super) fn is_arn(id: &str) -> bool {
    id.starts_with("arn:")
}

/// A body that is being written.
struct Body {
    body: Vec<u8>,
    first: usize,
}

impl Body {
    fn new(id: &str, records_expected: usize, bytes_expected: usize) -> Self {
        let mut body = Vec::with_capacity(capacity(id, records_expected, bytes_expected));
        body.extend_from_slice(if is_arn(id) { ARN_HEAD } else { NAME_HEAD }.as_bytes());
        write_text(&mut body, id);
        body.extend_from_slice(RECORDS.as_bytes());
        Self { first: body.len(), body }
    }

    fn push(&mut self, record: &[u8], key: &str) {
        self.body.extend_from_slice(RECORD_HEAD.as_bytes());
        STANDARD.encode_append(record, &mut self.body);
        self.body.extend_from_slice(KEY_HEAD.as_bytes());
        write_text(&mut self.body, key);
        self.body.extend_from_slice(RECORD_TAIL.as_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        if self.body.len() > self.first {
            // The last record has no comma behind it.
            self.body.pop();
        }
        self.body.extend_from_slice(TAIL.as_bytes());
        self.body
    }
}

/// The body for `records` of together `bytes` raw bytes, each with the key that came with it.
pub(super) fn encode<'a>(
    id: &str,
    records: impl Iterator<Item = (&'a [u8], Option<&'a str>)>,
    keys: &mut Keys,
    records_expected: usize,
    bytes_expected: usize,
) -> Vec<u8> {
    let mut body = Body::new(id, records_expected, bytes_expected);
    for (record, of_request) in records {
        body.push(record, keys.key(record, of_request));
    }
    body.finish()
}

/// The body for records that are joined in the KPL's format. Those of one blob need not stand together.
pub(super) fn encode_joined<'a>(
    id: &str,
    records: impl Iterator<Item = &'a [u8]>,
    blobs: &Blobs,
) -> Vec<u8> {
    let key = |blob: &Blob| blob.key.clone().unwrap_or_default();
    let mut written: Vec<Vec<u8>> =
        blobs.blobs.iter().map(|blob| Vec::with_capacity(blob.bytes)).collect();
    for (record, of) in records.zip(&blobs.of) {
        let of = usize::from(*of);
        let (Some(blob), Some(written)) = (blobs.blobs.get(of), written.get_mut(of)) else {
            debug_assert!(false, "every record has its blob");
            continue;
        };
        if blob.records == 1 {
            written.extend_from_slice(record);
            continue;
        }
        if written.is_empty() {
            kpl::begin(written, &key(blob));
        }
        kpl::add(written, record);
    }
    let mut body = Body::new(id, blobs.blobs.len(), blobs.bytes());
    for (blob, mut written) in blobs.blobs.iter().zip(written) {
        if blob.records > 1 {
            kpl::end(&mut written);
        }
        body.push(&written, &key(blob));
    }
    body.finish()
}

/// Writes a text with its quotes, and with what JSON escapes.
fn write_text(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("a text is JSON, and a buffer takes everything");
}

/// What the body takes as a rule: base64 makes 4 bytes of 3, and pads each record by 2 at most.
const fn capacity(id: &str, records: usize, bytes: usize) -> usize {
    let record = RECORD_HEAD.len() + KEY_HEAD.len() + KEY_BYTES_EXPECTED + RECORD_TAIL.len() + 4;
    let frame = ARN_HEAD.len() + id.len() + 2 + RECORDS.len() + TAIL.len();
    frame + bytes.div_ceil(3) * 4 + records * record
}

#[cfg(test)]
mod tests {
    use super::super::partition::PartitionKey;
    use super::*;

    fn encoded(id: &str, records: &[(&[u8], Option<&str>)], from: PartitionKey) -> String {
        let bytes = records.iter().map(|(record, _)| record.len()).sum();
        let mut keys = Keys::new(from);
        let body = encode(id, records.iter().copied(), &mut keys, records.len(), bytes);
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn a_body_is_what_the_service_reads() {
        assert_eq!(
            encoded("s", &[(b"hello\n", Some("a")), (b"\xff", Some("\"\n"))], PartitionKey::Header),
            r#"{"StreamName":"s","Records":[{"Data":"aGVsbG8K","PartitionKey":"a"},{"Data":"/w==","PartitionKey":"\"\n"}]}"#
        );
        let arn = "arn:aws:kinesis:eu-west-3:1:stream/s";
        assert_eq!(
            encoded(arn, &[], PartitionKey::Random),
            format!(r#"{{"StreamARN":"{arn}","Records":[]}}"#)
        );
    }

    #[test]
    fn records_with_random_keys_fit_the_buffer_that_was_asked_for() {
        for bytes in 0..50 {
            let record = vec![b'x'; bytes];
            let records = vec![(record.as_slice(), None); 7];
            let body = encoded("s", &records, PartitionKey::Random);
            assert!(body.len() <= capacity("s", 7, 7 * bytes), "the buffer never grows");
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(json["Records"].as_array().unwrap().len(), 7);
        }
    }
}
