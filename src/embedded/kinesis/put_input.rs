//! The bodies of `PutRecord` and `PutRecords`: read, decoded, held to the limits of the model. Pure.

use serde::Deserialize;

use super::naming::Named;
use crate::embedded::limits::Constraints;
use crate::embedded::put_input::{PutForm, Records, Text, from_json};
use crate::embedded::wire::ServiceError;
use crate::record::BATCH_RECORDS_MAX;

/// A put that keeps to the limits of every stream.
#[derive(Debug)]
pub(in crate::embedded) struct Put {
    pub(super) named: Named,
    pub(in crate::embedded) records: Records,
    /// Of each record, in the same order.
    pub(super) keys: Vec<PutKey>,
    pub(super) form: PutForm,
}

impl Put {
    /// The name of the stream that is meant, whether there is one or not.
    pub(in crate::embedded) fn stream(&self, region: &str) -> Result<String, ServiceError> {
        self.named.clone().resolve(region)
    }
}

/// What picks the shard of a record.
#[derive(Debug)]
pub(super) struct PutKey {
    pub(super) partition_key: Box<str>,
    pub(super) explicit_hash_key: Option<u128>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordInput<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordInput<'a> {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsInput<'a> {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(borrow)]
    records: Option<Vec<RecordInput<'a>>>,
}

/// A put while it is read.
#[derive(Default)]
struct Reader {
    records: Records,
    keys: Vec<PutKey>,
    constraints: Constraints,
}

/// Reads the body of a `PutRecord`.
pub(in crate::embedded) fn parse_put_record(body: &[u8]) -> Result<Put, ServiceError> {
    let PutRecordInput { stream_name, stream_arn, data, partition_key, explicit_hash_key } =
        from_json(body)?;
    let mut reader = Reader::default();
    reader.take(&RecordInput { data, partition_key, explicit_hash_key }, "")?;
    reader.finish(Named { name: stream_name, arn: stream_arn }, PutForm::Record)
}

/// Reads the body of a `PutRecords`.
pub(in crate::embedded) fn parse_put_records(body: &[u8]) -> Result<Put, ServiceError> {
    let PutRecordsInput { stream_name, stream_arn, records } = from_json(body)?;
    let mut reader = Reader::default();
    match &records {
        Some(records) => {
            let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
            if !(1..=BATCH_RECORDS_MAX).contains(&records.len()) {
                let most = u64::try_from(BATCH_RECORDS_MAX).unwrap_or(u64::MAX);
                reader.constraints.range(count, "records", 1, most);
            }
            reader.records.reserve_for(body.len());
            for (index, record) in records.iter().enumerate() {
                // The service counts members from 1.
                let at = format!("records.{}.member.", index.saturating_add(1));
                reader.take(record, &at)?;
            }
        }
        None => reader.constraints.missing("records"),
    }
    reader.finish(Named { name: stream_name, arn: stream_arn }, PutForm::Batch)
}

impl Reader {
    fn take(&mut self, record: &RecordInput<'_>, at: &str) -> Result<(), ServiceError> {
        let before = self.records.bytes();
        match &record.data {
            Some(Text(base64)) => {
                if self.records.push_base64(base64).is_err() {
                    let message = format!("{at}data is not valid base64");
                    return Err(ServiceError::serialization(message));
                }
                let bytes = self.records.bytes().saturating_sub(before);
                if bytes > DATA_BYTES_MAX {
                    let constraint =
                        format!("Member must have length less than or equal to {DATA_BYTES_MAX}");
                    let value = format!("java.nio.HeapByteBuffer[pos=0 lim={bytes} cap={bytes}]");
                    self.constraints.broken(&value, &format!("{at}data"), &constraint);
                }
            }
            None => self.constraints.missing(&format!("{at}data")),
        }
        let key = record.partition_key.as_ref().map(|Text(key)| key.as_ref());
        let place = format!("{at}partitionKey");
        self.constraints.text(key, &place, KEY_CHARS_MAX, ".*", |_| true);
        let explicit = record.explicit_hash_key.as_ref().map(|Text(key)| key.as_ref());
        let explicit_hash_key = match explicit.map(parse_hash_key) {
            None => None,
            Some(Some(hash_key)) => Some(hash_key),
            Some(None) => {
                let message = "ExplicitHashKey has to be a number from 0 to 2^128 - 1.";
                return Err(ServiceError::invalid_argument(message));
            }
        };
        let partition_key = key.unwrap_or_default().into();
        self.keys.push(PutKey { partition_key, explicit_hash_key });
        Ok(())
    }

    fn finish(mut self, named: Named, form: PutForm) -> Result<Put, ServiceError> {
        named.check(&mut self.constraints);
        self.constraints.check()?;
        let keys: usize = self.keys.iter().map(|key| key.partition_key.len()).sum();
        if self.records.bytes().saturating_add(keys) > REQUEST_BYTES_MAX {
            let message = "Records size exceeds 10 MB limit";
            return Err(ServiceError::invalid_argument(message));
        }
        Ok(Put { named, records: self.records, keys: self.keys, form })
    }
}

/// A hash key in decimal, without zeros before it.
fn parse_hash_key(text: &str) -> Option<u128> {
    let number = text.parse::<u128>().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Source: the service model.
const KEY_CHARS_MAX: usize = 256;
const DATA_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Data and partition keys together. Source: the service's API reference.
const REQUEST_BYTES_MAX: usize = 10 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use base64_simd::STANDARD;
    use serde_json::{Value, json};

    use super::*;

    fn parse(records: &[Value]) -> Result<Put, (String, String)> {
        let body = json!({ "StreamName": "data", "Records": records }).to_string();
        parse_put_records(body.as_bytes())
            .map_err(|error| (error.code().to_owned(), error.message().to_owned()))
    }

    fn record(bytes: usize, key: &str) -> Value {
        json!({ "Data": STANDARD.encode_to_string("x".repeat(bytes)), "PartitionKey": key })
    }

    #[test]
    fn a_record_is_its_data_and_what_picks_its_shard() {
        let body = br#"{"StreamARN":"arn","Data":"YQ\u003d=","PartitionKey":"\u00fc",
            "ExplicitHashKey":"7"}"#;
        let put = parse_put_record(body).unwrap();
        assert_eq!(put.records.iter().collect::<Vec<_>>(), [b"a"]);
        assert_eq!(&*put.keys[0].partition_key, "\u{fc}");
        assert_eq!(put.keys[0].explicit_hash_key, Some(7));
    }

    #[test]
    fn a_partition_key_is_required_and_bounded() {
        let longest = "k".repeat(256);
        parse(&[record(1, &longest)]).unwrap();
        for bad in [record(1, ""), record(1, &(longest + "k")), json!({ "Data": "YQ==" })] {
            let (code, message) = parse(&[record(1, "k"), bad]).unwrap_err();
            assert_eq!(code, "ValidationException");
            assert!(message.contains("'records.2.member.partitionKey'"), "{message}");
        }
    }

    #[test]
    fn a_request_holds_five_hundred_records_and_ten_mebibytes_with_their_keys() {
        parse(&vec![record(1, "k"); 500]).unwrap();
        assert_eq!(parse(&vec![record(1, "k"); 501]).unwrap_err().0, "ValidationException");
        assert_eq!(parse(&[]).unwrap_err().0, "ValidationException");
        let mut records = vec![record(1024 * 1024 - 1, "k"); 10];
        parse(&records).unwrap();
        records.push(record(0, "k"));
        let refused = parse(&records).unwrap_err();
        assert_eq!(refused.0, "InvalidArgumentException");
        assert_eq!(refused.1, "Records size exceeds 10 MB limit");
    }

    #[test]
    fn an_explicit_hash_key_is_a_number_of_128_bits() {
        for (hash_key, is_one) in [("0", true), ("340282366920938463463374607431768211455", true)]
            .into_iter()
            .chain([("340282366920938463463374607431768211456", false), ("01", false)])
        {
            let record = json!({ "Data": "", "PartitionKey": "k", "ExplicitHashKey": hash_key });
            assert_eq!(parse(&[record]).is_ok(), is_one, "{hash_key}");
        }
    }
}
