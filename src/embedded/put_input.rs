//! The bodies of `PutRecord` and `PutRecordBatch`: read, decoded, held to the limits of the model.
//!
//! Pure. The records of a request stand one behind the other in one buffer, as they are delivered.

use std::borrow::Cow;

use base64_simd::STANDARD;
use serde::Deserialize;

use super::limits::Constraints;
use super::wire::ServiceError;
use crate::record::BATCH_BYTES_MAX;

/// A put that keeps to the limits.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) stream: String,
    pub(super) records: Records,
    pub(super) form: PutForm,
}

/// Which of the two actions it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutForm {
    Record,
    Batch,
}

/// The data of records, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of all records together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for what a body of this size can hold: base64 takes four characters for three bytes.
    pub(super) fn reserve_for(&mut self, body_bytes: usize) {
        self.bytes.reserve(body_bytes / 4 * 3);
    }

    /// The data of each record.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let bounds = starts.zip(self.ends.iter().copied());
        bounds.map(|(start, end)| {
            self.bytes.get(start..end).expect("the ends rise and the last is that of the bytes")
        })
    }

    /// The size of each record.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.iter().map(<[u8]>::len)
    }

    /// All data, one behind the other.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends a record that is written in base64.
    pub(super) fn push_base64(&mut self, base64: &str) -> Result<(), base64_simd::Error> {
        STANDARD.decode_append(base64, &mut self.bytes)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }
}

/// A text of JSON. It borrows from the body but for one that has escapes (PHP writes `\/`).
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordInput<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordInput<'a> {
    #[serde(borrow)]
    delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    record: Option<RecordInput<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatchInput<'a> {
    #[serde(borrow)]
    delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    records: Option<Vec<RecordInput<'a>>>,
}

/// Reads the body of a `PutRecord`.
pub(super) fn parse_put_record(body: &[u8]) -> Result<Put, ServiceError> {
    let input: PutRecordInput<'_> = from_json(body)?;
    let mut constraints = Constraints::default();
    let mut records = Records::default();
    match &input.record {
        Some(record) => decode(record, &"record.data", &mut records, &mut constraints)?,
        None => constraints.missing("record"),
    }
    finish(input.delivery_stream_name, records, PutForm::Record, constraints)
}

/// Reads the body of a `PutRecordBatch`.
pub(super) fn parse_put_record_batch(body: &[u8]) -> Result<Put, ServiceError> {
    let input: PutRecordBatchInput<'_> = from_json(body)?;
    let mut constraints = Constraints::default();
    let mut records = Records::default();
    match &input.records {
        Some(inputs) => {
            constraints.record_count(inputs.len());
            records.reserve_for(body.len());
            for (index, record) in inputs.iter().enumerate() {
                // The service counts members from 1.
                let at = || format!("records.{}.member.data", index.saturating_add(1));
                decode(record, &at, &mut records, &mut constraints)?;
            }
        }
        None => constraints.missing("records"),
    }
    finish(input.delivery_stream_name, records, PutForm::Batch, constraints)
}

fn finish(
    stream: Option<Text<'_>>,
    records: Records,
    form: PutForm,
    mut constraints: Constraints,
) -> Result<Put, ServiceError> {
    constraints.stream_name(stream.as_ref().map(|name| name.0.as_ref()));
    constraints.check()?;
    if form == PutForm::Batch && records.bytes.len() > BATCH_BYTES_MAX {
        return Err(ServiceError::invalid_argument("Records size exceeds 4 MB limit"));
    }
    let stream = stream.map(|name| name.0.into_owned()).unwrap_or_default();
    Ok(Put { stream, records, form })
}

fn decode(
    record: &RecordInput<'_>,
    at: &dyn Place,
    records: &mut Records,
    constraints: &mut Constraints,
) -> Result<(), ServiceError> {
    let Some(Text(base64)) = &record.data else {
        constraints.missing(&at.told());
        return Ok(());
    };
    let before = records.bytes.len();
    if records.push_base64(base64).is_err() {
        let message = format!("{} is not valid base64", at.told());
        return Err(ServiceError::serialization(message));
    }
    let bytes = records.bytes.len().saturating_sub(before);
    if bytes > crate::record::RECORD_BYTES_MAX {
        constraints.record_bytes(bytes, &at.told());
    }
    Ok(())
}

/// Where a member stands. It is spelled out only when there is something to tell.
trait Place {
    fn told(&self) -> String;
}

impl Place for &str {
    fn told(&self) -> String {
        (*self).to_owned()
    }
}

impl<F: Fn() -> String> Place for F {
    fn told(&self) -> String {
        self()
    }
}

/// Reads JSON as the service does: what is not of its type is a `SerializationException`.
pub(super) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|error| ServiceError::serialization(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: Result<Put, ServiceError>) -> (String, String) {
        let error = result.unwrap_err();
        (error.code().to_owned(), error.message().to_owned())
    }

    fn batch(records: &[String]) -> Vec<u8> {
        let records: Vec<_> = records
            .iter()
            .map(|r| serde_json::json!({ "Data": STANDARD.encode_to_string(r) }))
            .collect();
        serde_json::json!({ "DeliveryStreamName": "demo", "Records": records }).to_string().into()
    }

    #[test]
    fn records_stand_one_behind_the_other() {
        let records = ["one".to_owned(), String::new(), "three".to_owned()];
        let put = parse_put_record_batch(&batch(&records)).unwrap();
        assert_eq!(put.records.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        assert_eq!(put.records.sizes().collect::<Vec<_>>(), [3, 0, 5]);
        assert_eq!(put.records.into_bytes(), b"onethree");
    }

    #[test]
    fn escapes_in_data_are_decoded() {
        let body = br#"{"DeliveryStreamName":"d\u0065mo","Record":{"Data":"\/\u002b+\/"}}"#;
        let put = parse_put_record(body).unwrap();
        assert_eq!(put.stream, "demo");
        assert_eq!(put.records.into_bytes(), [0xff, 0xef, 0xbf]);
    }

    #[test]
    fn what_cannot_be_read_is_a_serialization_exception() {
        for body in [
            &b""[..],
            b"{",
            b"[]",
            br#"{"DeliveryStreamName":5,"Record":{"Data":"YQ=="}}"#,
            br#"{"DeliveryStreamName":"demo","Record":{"Data":"YQ="}}"#,
            br#"{"DeliveryStreamName":"demo","Record":{"Data":"Y-_="}}"#,
            br#"{"DeliveryStreamName":"demo","Record":"YQ=="}"#,
        ] {
            let (code, _) = refusal(parse_put_record(body));
            assert_eq!(code, "SerializationException", "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn required_members_are_required() {
        let (code, message) = refusal(parse_put_record(b"{}"));
        assert_eq!(code, "ValidationException");
        assert_eq!(
            message,
            "2 validation errors detected: Value null at 'record' failed to satisfy constraint: \
             Member must not be null; Value null at 'deliveryStreamName' failed to satisfy \
             constraint: Member must not be null"
        );
        let body = br#"{"DeliveryStreamName":"demo","Records":[{"Data":"YQ=="},{"Data":null}]}"#;
        let (_, message) = refusal(parse_put_record_batch(body));
        assert!(message.contains("Value null at 'records.2.member.data'"), "{message}");
    }

    #[test]
    fn the_limits_of_a_batch_are_those_of_the_service() {
        parse_put_record_batch(&batch(&vec!["x".to_owned(); 500])).unwrap();
        let (code, _) = refusal(parse_put_record_batch(&batch(&vec!["x".to_owned(); 501])));
        assert_eq!(code, "ValidationException");
        let (code, _) = refusal(parse_put_record_batch(&batch(&[])));
        assert_eq!(code, "ValidationException");

        let largest = "x".repeat(1_024_000);
        let mut records = vec![largest.clone(); 4];
        records.push("x".repeat(BATCH_BYTES_MAX - 4 * 1_024_000));
        parse_put_record_batch(&batch(&records)).unwrap();
        records.push("x".to_owned());
        let (code, message) = refusal(parse_put_record_batch(&batch(&records)));
        assert_eq!(code, "InvalidArgumentException");
        assert_eq!(message, "Records size exceeds 4 MB limit");

        let too_large = largest + "x";
        let (code, message) = refusal(parse_put_record_batch(&batch(&["x".to_owned(), too_large])));
        assert_eq!(code, "ValidationException");
        assert!(message.contains("'records.2.member.data'"), "{message}");
    }
}
