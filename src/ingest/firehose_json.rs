//! What the calls of the Firehose API say: JSON in, members out.
//!
//! It copies no `Data` and keeps no more records than a call may have, so that what it takes beside the
//! body is small, whatever the body says. It checks nothing but the JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::refusal::Refusal;
use crate::record::BATCH_RECORDS_MAX;

/// Reads a call; a member that it lacks is `None`.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    // Validating all of the text at once is cheaper than string by string.
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::NotSerialized(format!("the body is not UTF-8: {error}")))?;
    serde_json::from_str(text).map_err(|error| {
        Refusal::NotSerialized(format!("the body is not the call's JSON: {error}"))
    })
}

/// A text, which borrows from the body unless it has escapes, as `\/` in what PHP sends.
///
/// A type of its own, since an `Option<Cow<str>>` always copies.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// `PutRecord` and `PutRecordBatch`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put<'a> {
    #[serde(borrow)]
    pub(super) delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) record: Option<WireRecord<'a>>,
    #[serde(borrow)]
    pub(super) records: Option<WireRecords<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireRecord<'a> {
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
}

/// The records of a batch, in their order: all of them, or one more than a batch may have.
#[derive(Debug)]
pub(super) struct WireRecords<'a>(pub(super) Vec<WireRecord<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for WireRecords<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RecordsVisitor)
    }
}

struct RecordsVisitor;

impl<'de> Visitor<'de> for RecordsVisitor {
    type Value = WireRecords<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while records.len() <= BATCH_RECORDS_MAX {
            let Some(record) = array.next_element()? else { return Ok(WireRecords(records)) };
            records.push(record);
        }
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(WireRecords(records))
    }
}

/// `DescribeDeliveryStream`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe<'a> {
    #[serde(borrow)]
    pub(super) delivery_stream_name: Option<Text<'a>>,
}

/// `StartDeliveryStreamEncryption`, and `StopDeliveryStreamEncryption`, which has the name alone.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartEncryption<'a> {
    #[serde(borrow)]
    pub(super) delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) delivery_stream_encryption_configuration_input: Option<EncryptionInput<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EncryptionInput<'a> {
    #[serde(borrow)]
    pub(super) key_type: Option<Text<'a>>,
    #[serde(borrow, rename = "KeyARN")]
    pub(super) key_arn: Option<Text<'a>>,
}

/// `ListDeliveryStreams`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List<'a> {
    pub(super) limit: Option<i64>,
    #[serde(borrow)]
    pub(super) exclusive_start_delivery_stream_name: Option<Text<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(body: &str) -> Put<'_> {
        parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn data_is_not_copied_unless_it_has_escapes() {
        let put = put(r#"{"Records":[{"Data":"YWJj"},{"Data":"YW\/j"}]}"#);
        let data: Vec<Text<'_>> =
            put.records.unwrap().0.into_iter().map(|record| record.data.unwrap()).collect();
        assert!(matches!(data[0].0, Cow::Borrowed("YWJj")));
        assert!(matches!(&data[1].0, Cow::Owned(text) if text == "YW/j"));
    }

    #[test]
    fn no_more_records_are_kept_than_show_that_there_are_too_many() {
        for (sent, kept) in [(0, 0), (500, 500), (501, 501), (10_000, 501)] {
            let records = vec!["{}"; sent].join(",");
            let body = format!(r#"{{"Records":[{records}],"DeliveryStreamName":"demo"}}"#);
            let put = put(&body);
            assert_eq!(put.records.unwrap().0.len(), kept);
            assert_eq!(&*put.delivery_stream_name.unwrap(), "demo", "what comes behind is read");
        }
    }

    #[test]
    fn what_is_null_is_missing() {
        let put = put(r#"{"Record":{"Data":null},"Records":null}"#);
        assert!(put.records.is_none() && put.record.unwrap().data.is_none());
    }

    #[test]
    fn a_body_that_is_not_the_calls_json_is_refused() {
        for body in [
            &b"\xff"[..],
            b"",
            b"{",
            b"[]",
            b"{} {}",
            b"{}//",
            b"{\"Records\":{}}",
            b"{\"Records\":[1]}",
            b"{\"Record\":{\"Data\":1}}",
            b"{\"Record\":{\"Data\":\"\\ud800\"}}",
            b"{\"Record\":{\"Data\":\"a\",\"Data\":\"b\"}}",
        ] {
            let refused = parse::<Put<'_>>(body).unwrap_err();
            assert!(matches!(refused, Refusal::NotSerialized(_)), "{refused:?}");
        }
    }
}
