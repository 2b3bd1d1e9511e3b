//! `PutRecord` and `PutRecords`: each record is admitted by its shard or not; what is admitted is written
//! to the files of the delivery streams behind the data stream, then kept, then answered.

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use super::naming::{arn_of, not_found};
use super::put_input::{Put, PutKey};
use super::reads::sequence_text;
use super::shards::{hash_key, shard_id, shard_of};
use super::streams::DataStream;
use crate::embedded::ACCOUNT_ID;
use crate::embedded::deliver::DeliverError;
use crate::embedded::injector::FailedRecords;
use crate::embedded::journal::{Entry, Origin, RecordId};
use crate::embedded::kpl;
use crate::embedded::put_input::{PutForm, Records};
use crate::embedded::state::{Shared, State, unix_ms};
use crate::embedded::streams::Source;
use crate::embedded::wire::{Answer, INTERNAL_FAILURE, ServiceError, success};
use crate::record::{StreamName, billed_bytes};

/// What becomes of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes into this shard.
    Accepted(u32),
    /// This shard has no room for it now.
    Throttled(u32),
    /// A fault hit it.
    Failed,
}

/// A put, once the fate of each record is known.
struct Admitted {
    stream: String,
    /// The delivery streams behind the data stream.
    behind: Vec<StreamName>,
    /// The truth.
    encrypted: bool,
    fates: Rc<[Fate]>,
    records: Records,
    keys: Vec<PutKey>,
    first_id: RecordId,
    answer_lost: bool,
}

/// What the answer is made of, besides the sequence numbers.
struct Told<'f> {
    stream: &'f str,
    fates: Rc<[Fate]>,
    encryption_type: Option<&'static str>,
    failed: Option<&'f FailedRecords>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordOutput {
    shard_id: String,
    sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsOutput {
    failed_record_count: usize,
    records: Vec<OutputEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OutputEntry {
    #[serde(rename_all = "PascalCase")]
    Accepted { sequence_number: String, shard_id: String },
    #[serde(rename_all = "PascalCase")]
    Failed { error_code: String, error_message: String },
}

/// Serves a put. The records that `failed` names fail; the others go by the quotas of their shards.
///
/// `answer_lost` says only that nobody will see the answer: it is noted, nothing else.
pub(in crate::embedded) async fn serve(
    shared: &Rc<Shared>,
    name: &str,
    put: Put,
    failed: Option<&FailedRecords>,
    answer_lost: bool,
) -> Result<Answer, ServiceError> {
    let form = put.form;
    let (admitted, flag) = admit(&mut shared.state.borrow_mut(), name, put, failed, answer_lost)?;
    let encryption_type = flag.map(encryption_type);
    let told = Told { stream: name, fates: Rc::clone(&admitted.fates), encryption_type, failed };
    let sequences = write(shared, admitted).await?;
    match form {
        PutForm::Record => told.record(&sequences),
        PutForm::Batch => told.batch(sequences),
    }
}

/// How answers name whether data is encrypted.
pub(super) fn encryption_type(encrypted: bool) -> &'static str {
    if encrypted { "KMS" } else { "NONE" }
}

/// Decides the fate of each record, in one go and without waiting. The flag is what the answer says of
/// encryption.
fn admit(
    state: &mut State,
    name: &str,
    put: Put,
    failed: Option<&FailedRecords>,
    answer_lost: bool,
) -> Result<(Admitted, Option<bool>), ServiceError> {
    check(state, name, &put)?;
    let uptime = state.uptime();
    let first_id = state.take_record_ids(put.records.len());
    let behind = delivery_streams_behind(state, name);
    let stream = state.data_stream(name)?;
    let shards = stream.definition.shards;
    let mut fates = Vec::with_capacity(put.keys.len());
    for (index, (key, bytes)) in put.keys.iter().zip(put.records.sizes()).enumerate() {
        let shard = shard_of(hash_key(&key.partition_key, key.explicit_hash_key), shards);
        let bytes = bytes.saturating_add(key.partition_key.len());
        fates.push(if failed.is_some_and(|failed| failed.indexes.contains(&index)) {
            Fate::Failed
        } else if stream.shard_takes(shard, bytes, uptime) {
            Fate::Accepted(shard)
        } else {
            Fate::Throttled(shard)
        });
    }
    let tally = |is: fn(&Fate) -> bool| {
        u64::try_from(fates.iter().filter(|fate| is(fate)).count()).unwrap_or(u64::MAX)
    };
    stream.counters.put_requests += 1;
    stream.counters.records_throttled += tally(|fate| matches!(fate, Fate::Throttled(_)));
    stream.counters.records_failed += tally(|fate| matches!(fate, Fate::Failed));
    let encrypted = stream.definition.sse.encrypts(unix_ms());
    let flag = stream.commanded.flag(encrypted);
    let admitted = Admitted {
        stream: name.to_owned(),
        behind,
        encrypted,
        fates: fates.into(),
        records: put.records,
        keys: put.keys,
        first_id,
        answer_lost,
    };
    Ok((admitted, flag))
}

/// Refuses what the stream cannot take as a whole.
fn check(state: &mut State, name: &str, put: &Put) -> Result<(), ServiceError> {
    let now_ms = unix_ms();
    let stream = state.data_stream(name)?;
    if !stream.definition.is_there(now_ms) {
        return Err(not_found(name));
    }
    let kib_max = stream.definition.record_kib_max;
    let bytes_max = usize::try_from(kib_max).unwrap_or(usize::MAX).saturating_mul(1_024);
    let sizes = put.records.sizes().zip(&put.keys);
    let largest = sizes.map(|(bytes, key)| bytes.saturating_add(key.partition_key.len())).max();
    if let Some(bytes) = largest.filter(|bytes| *bytes > bytes_max) {
        return Err(ServiceError::invalid_argument(format!(
            "A record of {bytes} bytes with its partition key is larger than the {kib_max} KiB \
             (MaxRecordSizeInKiB) of stream {name} under account {ACCOUNT_ID}."
        )));
    }
    let Some(key) = stream.definition.sse.in_force(now_ms).cloned() else { return Ok(()) };
    match state.key_judge(now_ms).trouble(&key, &KEY_PERMISSIONS) {
        Some(trouble) => Err(trouble.of_kinesis(&key)),
        None => Ok(()),
    }
}

fn delivery_streams_behind(state: &State, name: &str) -> Vec<StreamName> {
    let arn = arn_of(name, &state.config.region);
    let is_behind =
        |source: &Source| matches!(source, Source::DataStream { arn: of, .. } if *of == arn);
    let streams = state.streams.iter();
    let behind = streams.filter(|(_, stream)| is_behind(&stream.definition.source));
    behind.map(|(name, _)| name.clone()).collect()
}

/// Writes what was admitted and counts it. The sequence number of each accepted record is returned.
///
/// A client that goes away in the middle drops the waiting, not the writing.
async fn write(shared: &Rc<Shared>, admitted: Admitted) -> Result<Vec<String>, ServiceError> {
    let writer = shared.writer.as_ref().filter(|_| !admitted.behind.is_empty());
    let data: Vec<u8> = match writer {
        Some(_) => {
            let delivered = admitted.accepted().flat_map(|(.., data)| kpl::apart(data));
            delivered.flatten().copied().collect()
        }
        None => Vec::new(),
    };
    let writing: Vec<_> = match writer.filter(|_| !data.is_empty()) {
        Some(writer) => {
            let behind = admitted.behind.iter().cloned();
            behind.map(|stream| writer.append(stream, data.clone())).collect()
        }
        None => Vec::new(),
    };
    if writing.is_empty() {
        return Ok(commit(&mut shared.state.borrow_mut(), &admitted));
    }
    let shared = Rc::clone(shared);
    let committed = tokio::task::spawn_local(async move {
        for written in writing {
            written.await.inspect_err(|error| {
                let stream = &admitted.stream;
                tracing::error!(stream, %error, "records refused, they cannot be written");
            })?;
        }
        Ok(commit(&mut shared.state.borrow_mut(), &admitted))
    });
    match committed.await {
        Ok(Ok(sequences)) => Ok(sequences),
        Ok(Err(DeliverError::Full | DeliverError::Io(_) | DeliverError::Gone)) | Err(_) => {
            Err(ServiceError::of_code("InternalFailureException", None, INTERNAL_FAILURE))
        }
    }
}

/// Keeps the accepted records, in the data stream and in the delivery streams behind it.
fn commit(state: &mut State, admitted: &Admitted) -> Vec<String> {
    let now_ms = unix_ms();
    let mut sequences = Vec::new();
    let mut entries = Vec::new();
    // A stream that was deleted meanwhile has nothing left to keep them in; its answer is good for nothing.
    if let Some(stream) = state.kinesis.streams.get_mut(&admitted.stream) {
        for (id, shard, key, data) in admitted.accepted() {
            let sequence = stream.next_sequence();
            sequences.push(sequence_text(sequence));
            let partition_key = key.partition_key.clone();
            let origin = Origin { shard, sequence, partition_key, arrived_ms: now_ms };
            stream.count(data.len(), admitted);
            stream.journal.push(admitted.entry(id, data, origin.clone()));
            entries.push((id, origin));
        }
    }
    for name in &admitted.behind {
        let Some(stream) = state.streams.get_mut(name) else { continue };
        for ((id, origin), (.., data)) in entries.iter().zip(admitted.accepted()) {
            let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            // What is billed is what it reads, whatever that is taken apart into.
            stream.counters.bytes_billed += wide(billed_bytes(data.len()));
            for data in kpl::apart(data) {
                stream.counters.records_accepted += 1;
                stream.counters.bytes_accepted += wide(data.len());
                stream.counters.records_encrypted += u64::from(admitted.encrypted);
                stream.counters.records_answer_lost += u64::from(admitted.answer_lost);
                if stream.journal.is_on() {
                    stream.journal.push(admitted.entry(*id, data, origin.clone()));
                }
            }
        }
    }
    sequences
}

impl Admitted {
    /// The accepted records, each with its id, its shard and its key.
    fn accepted(&self) -> impl Iterator<Item = (RecordId, u32, &PutKey, &[u8])> {
        let ids =
            (0_u64..).map(|n| RecordId { seq: self.first_id.seq.wrapping_add(n), ..self.first_id });
        let records = self.records.iter().zip(&self.keys).zip(self.fates.iter()).zip(ids);
        records.filter_map(|(((data, key), fate), id)| match fate {
            Fate::Accepted(shard) => Some((id, *shard, key, data)),
            Fate::Throttled(_) | Fate::Failed => None,
        })
    }

    fn entry(&self, id: RecordId, data: &[u8], origin: Origin) -> Entry {
        let (encrypted, answer_lost) = (self.encrypted, self.answer_lost);
        Entry { id, data: data.into(), encrypted, answer_lost, origin: Some(Box::new(origin)) }
    }
}

impl DataStream {
    /// Takes a record out of the quota of its shard, if there is room for it.
    fn shard_takes(&mut self, shard: u32, bytes: usize, uptime: Duration) -> bool {
        let shard = usize::try_from(shard).unwrap_or(usize::MAX);
        let buckets = self.buckets.as_mut().and_then(|buckets| buckets.get_mut(shard));
        buckets.is_none_or(|buckets| buckets.take_records([bytes], uptime) == 1)
    }

    fn count(&mut self, bytes: usize, admitted: &Admitted) {
        self.counters.records_accepted += 1;
        self.counters.bytes_accepted += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.counters.records_encrypted += u64::from(admitted.encrypted);
        self.counters.records_answer_lost += u64::from(admitted.answer_lost);
    }
}

impl Told<'_> {
    fn record(&self, sequences: &[String]) -> Result<Answer, ServiceError> {
        match (self.fates.first(), sequences.first(), self.failed) {
            (Some(Fate::Accepted(shard)), Some(sequence), _) => to_answer(&PutRecordOutput {
                shard_id: shard_id(*shard),
                sequence_number: sequence.clone(),
                encryption_type: self.encryption_type,
            }),
            (Some(Fate::Failed), _, Some(failed)) => {
                Err(ServiceError::of_code(failed.code.clone(), None, failed.message.clone()))
            }
            (Some(Fate::Throttled(shard)), ..) => {
                Err(ServiceError::of_code(THROTTLED, None, self.rate_exceeded(*shard)))
            }
            _ => Err(not_found(self.stream)),
        }
    }

    fn batch(&self, sequences: Vec<String>) -> Result<Answer, ServiceError> {
        let mut sequences = sequences.into_iter();
        let entry = |fate: &Fate| match (fate, self.failed) {
            (Fate::Accepted(shard), _) => {
                let sequence_number = sequences.next()?;
                Some(OutputEntry::Accepted { sequence_number, shard_id: shard_id(*shard) })
            }
            (Fate::Throttled(shard), _) => Some(OutputEntry::Failed {
                error_code: THROTTLED.to_owned(),
                error_message: self.rate_exceeded(*shard),
            }),
            (Fate::Failed, failed) => Some(OutputEntry::Failed {
                error_code: failed?.code.clone(),
                error_message: failed?.message.clone(),
            }),
        };
        let records: Option<Vec<_>> = self.fates.iter().map(entry).collect();
        // The stream was deleted between the writing and the answer.
        let records = records.ok_or_else(|| not_found(self.stream))?;
        let failed = records.iter().filter(|entry| matches!(entry, OutputEntry::Failed { .. }));
        let failed_record_count = failed.count();
        let encryption_type = self.encryption_type;
        to_answer(&PutRecordsOutput { failed_record_count, records, encryption_type })
    }

    fn rate_exceeded(&self, shard: u32) -> String {
        let (shard, stream) = (shard_id(shard), self.stream);
        format!("Rate exceeded for shard {shard} in stream {stream} under account {ACCOUNT_ID}.")
    }
}

fn to_answer(output: &impl Serialize) -> Result<Answer, ServiceError> {
    serde_json::to_vec(output).map(success).map_err(|_| ServiceError::internal())
}

/// The code of a record over the quota of its shard.
const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// What those who put to a stream under a customer's key need. Source: the service's guide.
const KEY_PERMISSIONS: [&str; 1] = ["kms:GenerateDataKey"];
