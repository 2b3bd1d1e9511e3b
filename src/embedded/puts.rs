//! `PutRecord` and `PutRecordBatch`: each record is admitted or not, what is admitted is written, and
//! then the answer tells the fate of each by its index.

use std::rc::Rc;

use serde::Serialize;

use super::deliver::DeliverError;
use super::injector::FailedRecords;
use super::journal::{Entry, RecordId};
use super::put_input::{Put, PutForm, Records};
use super::state::{Shared, State, unix_ms};
use super::streams::Stream;
use super::wire::{Answer, SLOW_DOWN, ServiceError, success};
use crate::record::{StreamName, billed_bytes};

/// What becomes of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted(RecordId),
    /// The stream's quota has no room for it now.
    Throttled,
    /// A fault hit it.
    Failed,
}

/// A put, once the fate of each record is known.
struct Admitted {
    stream: StreamName,
    /// The truth.
    encrypted: bool,
    /// What the answer says of it.
    flag: Option<bool>,
    fates: Vec<Fate>,
    data: Vec<u8>,
    counted: Counted,
    journal: Vec<Entry>,
}

/// What the accepted records add to the counters.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    records: u64,
    bytes: u64,
    billed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordOutput {
    record_id: RecordId,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatchOutput<'a> {
    failed_put_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<bool>,
    request_responses: Vec<ResponseEntry<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ResponseEntry<'a> {
    #[serde(rename_all = "PascalCase")]
    Accepted { record_id: RecordId },
    #[serde(rename_all = "PascalCase")]
    Failed { error_code: &'a str, error_message: &'a str },
}

/// Serves a put. The records that `failed` names fail; the others go by the stream's quota.
///
/// `answer_lost` says only that nobody will see the answer: it is noted, nothing else.
pub(super) async fn serve(
    shared: &Rc<Shared>,
    put: Put,
    failed: Option<&FailedRecords>,
    answer_lost: bool,
) -> Result<Answer, ServiceError> {
    let form = put.form;
    let mut admitted = admit(&mut shared.state.borrow_mut(), put, failed, answer_lost)?;
    let fates = std::mem::take(&mut admitted.fates);
    let flag = admitted.flag;
    write(shared, admitted, answer_lost).await?;
    match form {
        PutForm::Record => answer_record(&fates, flag, failed),
        PutForm::Batch => answer_batch(&fates, flag, failed),
    }
}

/// Decides the fate of each record, in one go and without waiting.
fn admit(
    state: &mut State,
    put: Put,
    failed: Option<&FailedRecords>,
    answer_lost: bool,
) -> Result<Admitted, ServiceError> {
    let now_ms = unix_ms();
    check(state, &put.stream, now_ms)?;
    let uptime = state.uptime();
    let records = put.records.len();
    let mut next_id = state.take_record_ids(records);
    let (name, stream) =
        entry_mut(state, &put.stream).ok_or_else(|| ServiceError::not_found(&put.stream))?;
    let mut fits = records;
    if let Some(buckets) = &mut stream.buckets {
        if !buckets.take_request(uptime) {
            return Err(ServiceError::slow_down());
        }
        fits = buckets.take_records(put.records.sizes(), uptime);
    }
    let fates: Vec<_> = (0..records)
        .map(|index| {
            let id = next_id;
            next_id.seq = next_id.seq.wrapping_add(1);
            if failed.is_some_and(|failed| failed.indexes.contains(&index)) {
                Fate::Failed
            } else if index >= fits {
                Fate::Throttled
            } else {
                Fate::Accepted(id)
            }
        })
        .collect();
    let encrypted = stream.definition.sse.encrypts(now_ms);
    let journal = if stream.journal.is_on() {
        journal_entries(&put.records, &fates, encrypted, answer_lost)
    } else {
        Vec::new()
    };
    let tally = |fate| u64::try_from(fates.iter().filter(|f| **f == fate).count()).unwrap_or(0);
    stream.counters.put_requests += 1;
    stream.counters.records_throttled += tally(Fate::Throttled);
    stream.counters.records_failed += tally(Fate::Failed);
    let counted = count(&put.records, &fates);
    let data = accepted_bytes(put.records, &fates);
    let flag = stream.commanded.flag(encrypted);
    Ok(Admitted { stream: name, encrypted, flag, fates, data, counted, journal })
}

/// Refuses a stream that takes no records, or whose key cannot be used.
fn check(state: &mut State, name: &str, now_ms: u64) -> Result<(), ServiceError> {
    let stream = state.streams.get_mut(name);
    // The service does not say with which code it refuses a stream that is not active yet.
    let stream = stream.filter(|stream| stream.definition.is_active(now_ms));
    let stream = stream.ok_or_else(|| ServiceError::not_found(name))?;
    stream.definition.source.check_direct_put()?;
    let Some(key) = stream.definition.sse.in_force(now_ms).cloned() else { return Ok(()) };
    match state.key_judge(now_ms).trouble(&key, &KEY_PERMISSIONS) {
        Some(trouble) => Err(trouble.of_firehose(&key)),
        None => Ok(()),
    }
}

fn entry_mut<'s>(state: &'s mut State, name: &str) -> Option<(StreamName, &'s mut Stream)> {
    let (name, _) = state.streams.get_key_value(name)?;
    let name = name.clone();
    let stream = state.streams.get_mut(&name)?;
    Some((name, stream))
}

fn accepted<'r>(
    records: &'r Records,
    fates: &'r [Fate],
) -> impl Iterator<Item = (RecordId, &'r [u8])> {
    records.iter().zip(fates).filter_map(|(data, fate)| match fate {
        Fate::Accepted(id) => Some((*id, data)),
        Fate::Throttled | Fate::Failed => None,
    })
}

fn journal_entries(
    records: &Records,
    fates: &[Fate],
    encrypted: bool,
    answer_lost: bool,
) -> Vec<Entry> {
    let entry = |(id, data): (_, &[u8])| {
        let origin = None;
        Entry { id, data: data.into(), encrypted, answer_lost, origin }
    };
    accepted(records, fates).map(entry).collect()
}

fn count(records: &Records, fates: &[Fate]) -> Counted {
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    accepted(records, fates).fold(Counted::default(), |sum, (_, data)| Counted {
        records: sum.records + 1,
        bytes: sum.bytes + wide(data.len()),
        billed: sum.billed + wide(billed_bytes(data.len())),
    })
}

fn accepted_bytes(records: Records, fates: &[Fate]) -> Vec<u8> {
    if fates.iter().all(|fate| matches!(fate, Fate::Accepted(_))) {
        return records.into_bytes();
    }
    accepted(&records, fates).flat_map(|(_, data)| data).copied().collect()
}

/// Writes what was admitted and counts it.
///
/// A client that goes away in the middle drops the waiting, not the writing: the count is taken by
/// a task of its own, so that the journal has every record that a file has.
async fn write(
    shared: &Rc<Shared>,
    mut admitted: Admitted,
    answer_lost: bool,
) -> Result<(), ServiceError> {
    let data = std::mem::take(&mut admitted.data);
    let Some(writer) = shared.writer.as_ref().filter(|_| !data.is_empty()) else {
        commit(&mut shared.state.borrow_mut(), admitted, answer_lost);
        return Ok(());
    };
    let written = writer.append(admitted.stream.clone(), data);
    let shared = Rc::clone(shared);
    let committed = tokio::task::spawn_local(async move {
        written.await.inspect_err(|error| {
            tracing::error!(stream = %admitted.stream, %error, "records refused, they cannot be written");
        })?;
        commit(&mut shared.state.borrow_mut(), admitted, answer_lost);
        Ok(())
    });
    match committed.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(DeliverError::Full)) => Err(ServiceError::slow_down()),
        Ok(Err(DeliverError::Io(_) | DeliverError::Gone)) | Err(_) => Err(ServiceError::internal()),
    }
}

fn commit(state: &mut State, admitted: Admitted, answer_lost: bool) {
    // A stream that was deleted meanwhile has nothing left to count in.
    let Some(stream) = state.streams.get_mut(&admitted.stream) else { return };
    let counted = admitted.counted;
    stream.counters.records_accepted += counted.records;
    stream.counters.bytes_accepted += counted.bytes;
    stream.counters.bytes_billed += counted.billed;
    if admitted.encrypted {
        stream.counters.records_encrypted += counted.records;
    }
    if answer_lost {
        stream.counters.records_answer_lost += counted.records;
    }
    admitted.journal.into_iter().for_each(|entry| stream.journal.push(entry));
}

fn answer_record(
    fates: &[Fate],
    encrypted: Option<bool>,
    failed: Option<&FailedRecords>,
) -> Result<Answer, ServiceError> {
    match (fates.first(), failed) {
        (Some(Fate::Accepted(record_id)), _) => {
            to_answer(&PutRecordOutput { record_id: *record_id, encrypted })
        }
        (Some(Fate::Failed), Some(failed)) => {
            Err(ServiceError::of_code(failed.code.clone(), None, failed.message.clone()))
        }
        _ => Err(ServiceError::slow_down()),
    }
}

fn answer_batch(
    fates: &[Fate],
    encrypted: Option<bool>,
    failed: Option<&FailedRecords>,
) -> Result<Answer, ServiceError> {
    let entry = |fate: &Fate| match (fate, failed) {
        (Fate::Accepted(record_id), _) => ResponseEntry::Accepted { record_id: *record_id },
        (Fate::Failed, Some(failed)) => {
            ResponseEntry::Failed { error_code: &failed.code, error_message: &failed.message }
        }
        (Fate::Failed | Fate::Throttled, _) => ResponseEntry::Failed {
            error_code: "ServiceUnavailableException",
            error_message: SLOW_DOWN,
        },
    };
    let failed_put_count = fates.iter().filter(|f| !matches!(f, Fate::Accepted(_))).count();
    let request_responses = fates.iter().map(entry).collect();
    to_answer(&PutRecordBatchOutput { failed_put_count, encrypted, request_responses })
}

fn to_answer(output: &impl Serialize) -> Result<Answer, ServiceError> {
    serde_json::to_vec(output).map(success).map_err(|_| ServiceError::internal())
}

/// What those who put to a stream under a customer's key need. Source: the service's notice of 2026.
const KEY_PERMISSIONS: [&str; 2] = ["kms:GenerateDataKey", "kms:Decrypt"];
