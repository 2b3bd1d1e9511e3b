//! The Firehose wire protocol: `POST /` with `x-amz-target: Firehose_20150804.*`, AWS JSON 1.1.
//!
//! An application that uses an AWS SDK sets `AWS_ENDPOINT_URL_FIREHOSE` and comes here. The limits,
//! answers and error shapes are the service's own. Signatures are not verified: the listener is on
//! loopback, and the application's credentials are not ours to check.

use std::rc::Rc;

use base64_simd::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::constraint;
use super::firehose_json::{Put, WireRecord, WireRecords, parse};
use super::firehose_streams::{self, ENCRYPTION};
use super::level::Level;
use super::partition::key_of;
use super::refusal::Refusal;
use super::repeats::Turn;
use super::response::{AMZ_JSON, Answer, Reached, answer, push_json_string};
use super::waiting::Waiting;
use super::worker::{Worker, WorkerStream};
use super::{Delimiter, StreamSettings};
use crate::pipeline::{Entry, Piece, Receipt};
use crate::record::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, RECORD_BYTES_MAX, StreamName};

pub(super) const TARGET_HEADER: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-amzn-requestid");
const INVOCATION_HEADER: HeaderName = HeaderName::from_static("amz-sdk-invocation-id");
const TARGET_PREFIX: &[u8] = b"Firehose_20150804.";

/// The most characters of base64 that `Data` of a legal record can have.
const DATA_CHARS_MAX: usize = RECORD_BYTES_MAX.div_ceil(3) * 4;

/// The operations of the API that manage streams: known, and not for applications.
const MANAGEMENT: [&str; 6] = [
    "CreateDeliveryStream",
    "DeleteDeliveryStream",
    "ListTagsForDeliveryStream",
    "TagDeliveryStream",
    "UntagDeliveryStream",
    "UpdateDestination",
];

/// Answers one call of the API.
pub(super) async fn call(
    worker: &Rc<Worker>,
    request: &mut Request<Incoming>,
) -> Result<Answer, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::MethodNotAllowed("POST"));
    }
    let target = request.headers().get(&TARGET_HEADER).map(HeaderValue::as_bytes);
    let operation = target
        .and_then(|target| target.strip_prefix(TARGET_PREFIX))
        .ok_or(Refusal::UnknownOperation)?;
    match operation {
        b"PutRecord" => put(worker, request, Shape::Single).await,
        b"PutRecordBatch" => put(worker, request, Shape::Batch).await,
        b"DescribeDeliveryStream" => {
            firehose_streams::describe(worker, &read(worker, request).await?)
        }
        b"ListDeliveryStreams" => firehose_streams::list(worker, &read(worker, request).await?),
        other => {
            let is_it = |operation: &&&str| operation.as_bytes() == other;
            if let Some(operation) = ENCRYPTION.iter().find(is_it) {
                if !worker.shared.config.allow_encryption_calls {
                    return Err(Refusal::ForbiddenOperation(operation));
                }
                let body = read(worker, request).await?;
                return firehose_streams::encrypt(worker, operation, body).await;
            }
            let known = MANAGEMENT.iter().find(is_it);
            Err(known.map_or(Refusal::UnknownOperation, |name| Refusal::ForbiddenOperation(name)))
        }
    }
}

/// Gives an answer the request id that SDKs show.
pub(super) fn add_request_id(worker: &Worker, answer: &mut Answer) {
    if let Ok(id) = HeaderValue::from_str(&worker.shared.ids.request_id()) {
        answer.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
}

async fn read(worker: &Worker, request: &mut Request<Incoming>) -> Result<Body, Refusal> {
    let config = &worker.shared.config;
    let share = worker.shared.streams.transit();
    body::read(request.body_mut(), config.body_bytes_max, config.body_timeout, share).await
}

/// Which of the two calls that carry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Single,
    Batch,
}

impl Shape {
    /// The member that its records are in.
    const fn member(self) -> &'static str {
        match self {
            Self::Single => "record",
            Self::Batch => "records",
        }
    }
}

async fn put(
    worker: &Rc<Worker>,
    request: &mut Request<Incoming>,
    shape: Shape,
) -> Result<Answer, Refusal> {
    let body = read(worker, request).await?;
    let invocation = request.headers().get(&INVOCATION_HEADER);
    let (Some(repeats), Some(invocation)) = (&worker.shared.repeats, invocation) else {
        return put_once(worker, request.headers(), body, shape).await;
    };
    // A repeat waits with its client, and goes with it.
    let is_single = shape == Shape::Single;
    let waiting = &worker.shared.repeating;
    let first = match repeats.turn(waiting, invocation.as_bytes(), is_single, body.bytes()).await {
        Turn::First(first) => first,
        Turn::Again(remembered) => {
            worker.metrics.repeated();
            return Ok(remembered.answer());
        }
        Turn::Crowded => return Err(Refusal::TooManyRequests),
    };
    // A client that gives up must not undo what its repeat will ask for: this goes on without it.
    let (worker, headers) = (Rc::clone(worker), request.headers().clone());
    tokio::task::spawn_local(async move {
        let _counted = worker.shared.unattended.enter().ok_or(Refusal::TooManyRequests)?;
        let answer = put_once(&worker, &headers, body, shape).await?;
        Ok(first.remember(answer).await)
    })
    .await
    .unwrap_or(Err(Refusal::Stopping))
}

async fn put_once(
    worker: &Worker,
    headers: &HeaderMap,
    body: Body,
    shape: Shape,
) -> Result<Answer, Refusal> {
    let Taken { taken, refused, waiting } = take(worker, headers, &body, shape)?;
    drop(body);
    let reached = worker.reached(waiting).await?;
    worker.metrics.firehose_taken(refused);
    Ok(put_answer(worker, shape, taken, refused, &reached))
}

/// How many records of a call stand in a batch, how many were refused by index, and what the call waits for.
struct Taken {
    taken: usize,
    refused: usize,
    waiting: Waiting,
}

/// Takes the records of a call. Nothing of what was read from the body outlives this.
fn take(worker: &Worker, headers: &HeaderMap, body: &Body, shape: Shape) -> Result<Taken, Refusal> {
    let put: Put<'_> = parse(body.bytes())?;
    let stream = stream(worker, put.delivery_stream_name.as_deref())?;
    let level = Level::of(headers, &stream.shared)?;
    let key = key_of(headers, &stream.shared.settings)?;
    let records = match shape {
        Shape::Single => put.record.as_ref().map(std::slice::from_ref),
        Shape::Batch => put.records.as_ref().map(|WireRecords(records)| records.as_slice()),
    };
    let records = records.ok_or_else(|| constraint::missing(shape.member()))?;
    if records.is_empty() || records.len() > BATCH_RECORDS_MAX {
        return Err(constraint::bad_record_count(records.len()));
    }
    let settings = &stream.shared.settings;
    let limit = stream.shared.limit.as_ref();
    let charge = limit.map(|limit| limit.charge_first(sizes(records, settings))).transpose()?;
    let may = charge.as_ref().map_or(records.len(), |(_, may)| *may);
    let waiting = worker.waiting(&stream, level, || records.len())?;
    let (taken, bytes) = worker.admit(&stream, &waiting, |entry| {
        entry.set_key(key);
        let taken = fill(worker, entry, settings, (records, may), shape, waiting.of_each())?;
        if let Some(receipt) = waiting.of_each() {
            receipt.shorten(taken);
        }
        Ok((taken, entry.bytes()))
    })?;
    if let Some((charge, _)) = charge {
        charge.keep(taken, bytes);
    }
    Ok(Taken { taken, refused: records.len() - taken, waiting })
}

/// The stream that a call names.
pub(super) fn stream(worker: &Worker, name: Option<&str>) -> Result<Rc<WorkerStream>, Refusal> {
    let name = name.ok_or_else(|| constraint::missing("deliveryStreamName"))?;
    let name: StreamName = name.parse().map_err(|_| constraint::bad_name(name))?;
    worker.stream(name.as_str())
}

/// How large the records are by their base64, which is not read for that. A newline that may have to be added
/// is counted. What is no base64 is nothing here: its call is refused.
fn sizes<'a>(
    records: &'a [WireRecord<'_>],
    settings: &StreamSettings,
) -> impl ExactSizeIterator<Item = usize> + Clone + 'a {
    let newline = usize::from(settings.delimiter == Delimiter::Newline);
    records.iter().map(move |record| {
        let data = record.data.as_deref().unwrap_or_default();
        STANDARD.decoded_length(data.as_bytes()).unwrap_or(0) + newline
    })
}

/// Puts the records in, as many as there may be, and says how many there was room for: at least one.
fn fill(
    worker: &Worker,
    entry: &mut Entry<'_>,
    settings: &StreamSettings,
    (records, may): (&[WireRecord<'_>], usize),
    shape: Shape,
    receipt: Option<&Receipt>,
) -> Result<usize, Refusal> {
    let mut scratch = worker.scratch.borrow_mut();
    let mut total = 0;
    let mut taken = None;
    for (index, record) in records.iter().enumerate() {
        let member = || match shape {
            Shape::Single => "record.data".to_owned(),
            Shape::Batch => format!("records.{}.member.data", index + 1),
        };
        let data = record.data.as_deref().ok_or_else(|| constraint::missing(&member()))?;
        // Longer than this it is too large in any case, and the scratch stays as small as a record.
        if data.len() > DATA_CHARS_MAX {
            return Err(constraint::wire_record_too_large(&member()));
        }
        scratch.clear();
        STANDARD.decode_append(data, &mut *scratch).map_err(|_| {
            Refusal::NotSerialized(format!("{} is not base64 with its padding", member()))
        })?;
        total += scratch.len();
        let needs_newline =
            settings.delimiter == Delimiter::Newline && scratch.last() != Some(&b'\n');
        let piece = Piece::Copy(&scratch, needs_newline.then_some(b'\n'));
        if piece.len() > RECORD_BYTES_MAX {
            return Err(constraint::wire_record_too_large(&member()));
        }
        if total > BATCH_BYTES_MAX {
            return Err(Refusal::BatchTooLarge);
        }
        // What comes behind a record that was not taken is still checked, but no more of it is taken.
        if taken.is_none() {
            let ticket = receipt.map(|receipt| receipt.ticket(index));
            if index >= may || entry.push(&piece, ticket).is_err() {
                taken = Some(index);
            }
        }
    }
    match taken.unwrap_or(records.len()) {
        0 => Err(Refusal::NoRoom),
        taken => Ok(taken),
    }
}

/// The service's answer: an id for each record that was taken, an error for each that was not.
fn put_answer(
    worker: &Worker,
    shape: Shape,
    taken: usize,
    refused: usize,
    reached: &Reached,
) -> Answer {
    let own = worker.shared.ids.take(taken);
    let push_id = |body: &mut String, index: usize| match reached.delivered(index) {
        Some(record) => push_json_string(body, &record.record_id),
        None => {
            body.push('"');
            worker.shared.ids.push(body, own + index as u64);
            body.push('"');
        }
    };
    let encrypted = match reached.encrypted() {
        None => "",
        Some(true) => r#","Encrypted":true"#,
        Some(false) => r#","Encrypted":false"#,
    };
    let mut body = String::with_capacity(64 + 56 * taken + 96 * refused);
    match shape {
        Shape::Single => {
            body.push_str(r#"{"RecordId":"#);
            push_id(&mut body, 0);
        }
        Shape::Batch => {
            body.push_str(r#"{"FailedPutCount":"#);
            body.push_str(&refused.to_string());
            body.push_str(r#","RequestResponses":["#);
            for index in 0..taken {
                body.push_str(if index == 0 { r#"{"RecordId":"# } else { r#",{"RecordId":"# });
                push_id(&mut body, index);
                body.push('}');
            }
            for _ in 0..refused {
                body.push_str(
                    r#",{"ErrorCode":"ServiceUnavailableException","ErrorMessage":"Slow down."}"#,
                );
            }
            body.push(']');
        }
    }
    body.push_str(encrypted);
    body.push('}');
    answer(StatusCode::OK, AMZ_JSON, body, Some(reached.ack()))
}
