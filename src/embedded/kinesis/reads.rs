//! `GetShardIterator` and `GetRecords`: what is kept of a data stream is read back, shard by shard.
//!
//! A sequence number is a position in the stream and the life of the emulator that gave it. An iterator is
//! one too, and whose; one of another life, or an old one, has expired.

use base64_simd::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::seconds;
use super::naming::{Named, not_found};
use super::puts::encryption_type;
use super::shards::parse_shard_id;
use super::streams::DataStream;
use crate::embedded::ACCOUNT_ID;
use crate::embedded::actions::Outcome;
use crate::embedded::journal::{Entry, Origin};
use crate::embedded::limits::Constraints;
use crate::embedded::put_input::from_json;
use crate::embedded::state::{State, unix_ms};
use crate::embedded::wire::ServiceError;

#[derive(Deserialize)]
struct IteratorInput {
    #[serde(flatten)]
    named: Named,
    #[serde(rename = "ShardId")]
    shard_id: Option<String>,
    #[serde(rename = "ShardIteratorType")]
    kind: Option<String>,
    #[serde(rename = "StartingSequenceNumber")]
    sequence: Option<String>,
    /// Seconds with a fraction.
    #[serde(rename = "Timestamp")]
    timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordsInput {
    shard_iterator: Option<String>,
    limit: Option<u64>,
}

/// Where reading goes on.
#[derive(Debug, PartialEq, Eq)]
struct ShardIterator {
    stream: String,
    shard: u32,
    position: u64,
    life_ms: u64,
    made_ms: u64,
}

/// `GetShardIterator`.
pub(super) fn shard_iterator(state: &mut State, body: &[u8]) -> Outcome {
    let input: IteratorInput = from_json(body)?;
    let mut constraints = Constraints::default();
    input.named.check(&mut constraints);
    for (at, member) in [("shardId", &input.shard_id), ("shardIteratorType", &input.kind)] {
        if member.is_none() {
            constraints.missing(at);
        }
    }
    let kind = input.kind.as_deref().unwrap_or_default();
    if !kind.is_empty() && !KINDS.contains(&kind) {
        constraints.not_in_set(kind, "shardIteratorType", &KINDS.join(", "));
    }
    constraints.check()?;
    let name = input.named.resolve(&state.config.region)?;
    let stream = state.data_stream(&name)?;
    if !stream.definition.is_there(unix_ms()) {
        return Err(not_found(&name));
    }
    let id = input.shard_id.unwrap_or_default();
    let shard = parse_shard_id(&id).filter(|shard| *shard < stream.definition.shards);
    let shard = shard.ok_or_else(|| {
        let message =
            format!("Shard {id} in stream {name} under account {ACCOUNT_ID} does not exist");
        ServiceError::of_code("ResourceNotFoundException", None, message)
    })?;
    let position = match kind {
        "TRIM_HORIZON" => 0,
        "LATEST" => stream.journal.next_position(),
        "AT_TIMESTAMP" => {
            let since = input
                .timestamp
                .ok_or_else(|| ServiceError::invalid_argument("AT_TIMESTAMP needs a Timestamp."))?;
            stream.position_since(since)
        }
        _ => {
            let at = stream.position_of(input.sequence.as_deref())?;
            if kind == "AFTER_SEQUENCE_NUMBER" { at.saturating_add(1) } else { at }
        }
    };
    let iterator = ShardIterator::new(&name, shard, position, stream.life_ms);
    Ok(json!({ "ShardIterator": iterator.to_text() }))
}

/// `GetRecords`.
pub(super) fn records(state: &mut State, body: &[u8]) -> Outcome {
    let input: RecordsInput = from_json(body)?;
    let limit = input.limit.unwrap_or(RECORDS_MAX);
    let mut constraints = Constraints::default();
    constraints.range(limit, "limit", 1, RECORDS_MAX);
    if input.shard_iterator.is_none() {
        constraints.missing("shardIterator");
    }
    constraints.check()?;
    let iterator = ShardIterator::parse(input.shard_iterator.as_deref().unwrap_or_default());
    let iterator =
        iterator.ok_or_else(|| ServiceError::invalid_argument("Invalid ShardIterator."))?;
    let now_ms = unix_ms();
    let stream = state.data_stream(&iterator.stream)?;
    let is_old = iterator.made_ms.saturating_add(ITERATOR_LIVES_MS) < now_ms;
    if is_old || iterator.life_ms != stream.life_ms {
        let message = "Iterator expired. Iterators are good for five minutes, and for one life of the \
                       stream.";
        return Err(ServiceError::of_code("ExpiredIteratorException", None, message));
    }
    if let Some(key) = stream.definition.sse.in_force(now_ms).cloned()
        && let Some(trouble) = state.key_judge(now_ms).trouble(&key, &KEY_PERMISSIONS)
    {
        return Err(trouble.of_kinesis(&key));
    }
    let stream = state.data_stream(&iterator.stream)?;
    Ok(page(stream, iterator, limit, now_ms))
}

/// The stream that an iterator in a request is of, for the faults and the counts.
pub(in crate::embedded) fn stream_of_iterator(body: &[u8]) -> Option<String> {
    let iterator = from_json::<RecordsInput>(body).ok()?.shard_iterator?;
    Some(ShardIterator::parse(&iterator)?.stream)
}

/// One page of records, bounded by number and by bytes.
fn page(stream: &DataStream, iterator: ShardIterator, limit: u64, now_ms: u64) -> Value {
    let mut position = stream.journal.next_position();
    let (mut page, mut bytes, mut behind_ms) = (Vec::new(), 0, 0);
    for (at, entry) in stream.journal.from(iterator.position) {
        let Some(origin) = entry.origin.as_deref().filter(|o| o.shard == iterator.shard) else {
            continue;
        };
        let is_full = u64::try_from(page.len()).unwrap_or(u64::MAX) >= limit;
        if is_full || bytes >= PAGE_BYTES_MAX {
            position = at;
            behind_ms = now_ms.saturating_sub(origin.arrived_ms);
            break;
        }
        bytes = bytes.saturating_add(entry.data.len());
        page.push(shown(entry, origin));
    }
    let ShardIterator { stream: name, shard, .. } = iterator;
    let next = ShardIterator::new(&name, shard, position, stream.life_ms);
    json!({
        "Records": page,
        "NextShardIterator": next.to_text(),
        "MillisBehindLatest": behind_ms,
    })
}

fn shown(entry: &Entry, origin: &Origin) -> Value {
    json!({
        "SequenceNumber": sequence_text(origin.sequence),
        "ApproximateArrivalTimestamp": seconds(origin.arrived_ms),
        "Data": base64_simd::STANDARD.encode_to_string(&entry.data),
        "PartitionKey": origin.partition_key,
        "EncryptionType": encryption_type(entry.encrypted),
    })
}

impl DataStream {
    /// The sequence number of the next record.
    pub(super) fn next_sequence(&self) -> u128 {
        self.sequence_at(self.journal.next_position())
    }

    fn sequence_at(&self, position: u64) -> u128 {
        u128::from(self.life_ms) << 64 | u128::from(position)
    }

    /// The sequence number of the first record at or after a position, as it is written.
    pub(super) fn sequence_text_at(&self, position: u64) -> String {
        sequence_text(self.sequence_at(position))
    }

    /// The position that a sequence number names. Those of earlier lives are all before the first.
    fn position_of(&self, sequence: Option<&str>) -> Result<u64, ServiceError> {
        let number = sequence.and_then(parse_sequence).ok_or_else(|| {
            ServiceError::invalid_argument(
                "StartingSequenceNumber is missing or none that was given.",
            )
        })?;
        let offset = number.saturating_sub(self.sequence_at(0));
        Ok(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// The position of the first record that arrived then or later.
    fn position_since(&self, unix_s: f64) -> u64 {
        let arrived_s = |origin: &Origin| seconds(origin.arrived_ms).as_f64().unwrap_or(0.0);
        let mut since = self.journal.from(0).filter(|(_, entry)| {
            entry.origin.as_deref().is_some_and(|origin| arrived_s(origin) >= unix_s)
        });
        since.next().map_or(self.journal.next_position(), |(position, _)| position)
    }
}

impl ShardIterator {
    fn new(stream: &str, shard: u32, position: u64, life_ms: u64) -> Self {
        Self { stream: stream.to_owned(), shard, position, life_ms, made_ms: unix_ms() }
    }

    fn to_text(&self) -> String {
        let Self { stream, shard, position, life_ms, made_ms } = self;
        URL_SAFE_NO_PAD.encode_to_string(format!("{shard}/{position}/{life_ms}/{made_ms}/{stream}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode_to_vec(text.as_bytes()).ok()?).ok()?;
        let mut parts = text.splitn(5, '/');
        let shard = parts.next()?.parse().ok()?;
        let mut number = || parts.next()?.parse().ok();
        let (position, life_ms, made_ms) = (number()?, number()?, number()?);
        Some(Self { stream: parts.next()?.to_owned(), shard, position, life_ms, made_ms })
    }
}

/// A sequence number as it is written: 56 digits, as at the service.
pub(in crate::embedded) fn sequence_text(sequence: u128) -> String {
    format!("{SEQUENCE_PREFIX}{sequence:054}")
}

fn parse_sequence(text: &str) -> Option<u128> {
    let number = text.strip_prefix(SEQUENCE_PREFIX)?.parse().ok()?;
    (sequence_text(number) == text).then_some(number)
}

const KINDS: [&str; 5] =
    ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"];

/// What the sequence numbers of the service begin with.
const SEQUENCE_PREFIX: &str = "49";

/// Source: the service's API reference.
const RECORDS_MAX: u64 = 10_000;
const PAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
const ITERATOR_LIVES_MS: u64 = 5 * 60 * 1_000;

/// What those who read a stream under a customer's key need. Source: the service's guide.
const KEY_PERMISSIONS: [&str; 1] = ["kms:Decrypt"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iterator_and_a_sequence_number_come_back_from_their_texts() {
        let iterator = ShardIterator::new("data", 3, 42, 7);
        assert_eq!(ShardIterator::parse(&iterator.to_text()), Some(iterator));
        assert_eq!(ShardIterator::parse("nonsense"), None);
        let text = sequence_text(u128::MAX);
        assert_eq!((text.len(), parse_sequence(&text)), (56, Some(u128::MAX)));
        assert_eq!(parse_sequence("4942"), None);
    }
}
