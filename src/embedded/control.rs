//! The control endpoint: what a person or a test asks of the emulator besides the service's protocol.
//!
//! | request | meaning |
//! |---|---|
//! | `GET /emulator/faults` | the faults of all streams, as they stand |
//! | `PUT /emulator/faults` | replaces them; fields that are left out are off; see `faults.rs` |
//! | `DELETE /emulator/faults` | nothing goes wrong any more |
//! | `GET`, `PUT`, `DELETE /emulator/streams/{s}/faults` | the same for one stream, in place of those |
//! | `GET`, `PUT`, `DELETE /emulator/streams/{s}/quota` | its quota; without one it takes what comes |
//! | `GET`, `PUT`, `DELETE /emulator/streams/{s}/encryption` | its encryption: how long changes take, what is changed from outside, what answers say, how many calls were made; see `sse_control.rs` |
//! | `GET`, `PUT`, `DELETE /emulator/kms/faults` | the faults of KMS |
//! | `GET /emulator/kms` | its keys, and how often each action was asked for |
//! | `GET`, `PUT`, `DELETE /emulator/account` | what callers may not do, and how often they may ask; see `account.rs` |
//! | `GET /emulator/calls` | how often each action of each service was asked for |
//! | `GET /emulator/streams` | every delivery stream with its counters and calls |
//! | `GET /emulator/streams/{s}` | one of them |
//! | `GET /emulator/streams/{s}/records?from=0&limit=1000` | accepted records, if the journal is on |
//! | `… /emulator/kinesis/…` | the like for data streams; see `control_kinesis.rs` |
//! | `POST /emulator/flush` | closes all objects now |
//!
//! It is never hit by faults, denials and rates, and its requests are not counted.

use base64_simd::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::account::Account;
use super::actions::keep;
use super::control_kinesis;
use super::faults::{BadFault, Faults};
use super::injector::Injector;
use super::journal::{Entry, Journal};
use super::kinesis::{sequence_text, shard_id};
use super::quota::{Buckets, Quota};
use super::service::Service;
use super::sse_control::Of;
use super::state::{Kms, Shared, State, unix_ms};
use super::streams::Stream;
use super::wire::Answer;

/// What the paths of the control endpoint begin with.
pub(super) const PREFIX: &str = "/emulator";

/// A request that cannot be done, and why.
pub(super) struct Refused(StatusCode, String);

/// Answers a request to the control endpoint. Faults never hit it.
pub(super) async fn respond(shared: &Shared, head: &Parts, body: &[u8]) -> Answer {
    let path: Vec<_> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let query = head.uri.query().unwrap_or_default();
    let done = if path == ["emulator", "flush"] {
        flush(shared, &head.method).await
    } else {
        let mut state = shared.state.borrow_mut();
        let path = path.get(1..).unwrap_or_default();
        route(&mut state, &head.method, path, query, body)
    };
    match done {
        Ok(json) => answer(StatusCode::OK, &json),
        Err(Refused(status, reason)) => answer(status, &json!({ "error": reason })),
    }
}

fn route(
    state: &mut State,
    method: &Method,
    path: &[&str],
    query: &str,
    body: &[u8],
) -> Result<Value, Refused> {
    match (method, path) {
        (&Method::GET, ["faults"]) => Ok(json!(state.injector.faults())),
        (&Method::PUT, ["faults"]) => {
            let faults = Faults::from_json(body).map_err(bad_request)?;
            tracing::info!(?faults, "faults set");
            state.injector = Injector::new(faults);
            Ok(json!(state.injector.faults()))
        }
        (&Method::DELETE, ["faults"]) => {
            state.injector = Injector::new(Faults::default());
            Ok(json!({}))
        }
        (&Method::GET, ["kms"]) => Ok(kms_shown(state)),
        (_, ["kms", "faults"]) => kms_faults(&mut state.kms, method, body),
        (_, ["account"]) => account(state, method, body),
        (&Method::GET, ["calls"]) => Ok(calls(state)),
        (_, ["kinesis", rest @ ..]) => control_kinesis::route(state, method, rest, query, body),
        (&Method::GET, ["streams"]) => {
            let streams: Vec<_> = state.streams.values_mut().map(stream_shown).collect();
            Ok(json!({ "streams": streams }))
        }
        (_, ["streams", name, "encryption"]) => encryption(state, name, method, body),
        (_, ["streams", name, rest @ ..]) => {
            let uptime = state.uptime();
            let stream = state.streams.get_mut(*name).ok_or_else(|| no_stream(name))?;
            match (method, rest) {
                (&Method::GET, []) => Ok(stream_shown(stream)),
                (&Method::GET, ["records"]) => records(&stream.journal, query),
                (_, ["faults"]) => stream_faults(&mut stream.injector, method, || {
                    let faults = Faults::from_json(body).and_then(Faults::checked_for_one_stream);
                    faults.map(Injector::new)
                }),
                (_, ["quota"]) => {
                    let fresh = |quota| Buckets::new(quota, uptime);
                    stream_quota(stream, method, body, fresh)
                }
                _ => Err(nothing_here()),
            }
        }
        _ => Err(nothing_here()),
    }
}

fn account(state: &mut State, method: &Method, body: &[u8]) -> Result<Value, Refused> {
    match *method {
        Method::GET => {}
        Method::PUT => state.account = Account::from_json(body).map_err(Refused::bad)?,
        Method::DELETE => state.account = Account::default(),
        _ => return Err(nothing_here()),
    }
    Ok(json!(state.account.settings()))
}

fn calls(state: &State) -> Value {
    let calls = Service::ALL.map(|service| (service.name().to_owned(), calls_of(state, service)));
    Value::Object(calls.into_iter().collect())
}

fn calls_of(state: &State, service: Service) -> Value {
    state.calls.get(&service).map_or_else(|| json!({}), |calls| json!(calls))
}

fn encryption(
    state: &mut State,
    name: &str,
    method: &Method,
    body: &[u8],
) -> Result<Value, Refused> {
    let rule = state.config.sse;
    let stream = state.streams.get_mut(name).ok_or_else(|| no_stream(name))?;
    let mut commanded = stream.commanded;
    let mut definition = stream.definition.clone();
    if *method == Method::PUT && definition.source.check_direct_put().is_err() {
        let reason = format!("{name} has no encryption of its own: its source has");
        return Err(Refused(StatusCode::CONFLICT, reason));
    }
    let asked = commanded.asked(method, body, Of::DeliveryStream, &mut definition.sse);
    if !asked.map_err(Refused::bad)? {
        return Err(nothing_here());
    }
    let shown = commanded.shown(Of::DeliveryStream, &mut definition.sse, &rule);
    if *method != Method::GET {
        stream.commanded = commanded;
        keep(state.replace(name, definition)).map_err(|_| Refused::not_kept())?;
        tracing::info!(stream = name, %shown, "encryption commanded");
    }
    Ok(shown)
}

fn kms_faults(kms: &mut Kms, method: &Method, body: &[u8]) -> Result<Value, Refused> {
    let faults = match *method {
        Method::GET => return Ok(json!(kms.injector.faults())),
        Method::PUT => Faults::kms_from_json(body).map_err(bad_request)?,
        Method::DELETE => Faults::default(),
        _ => return Err(nothing_here()),
    };
    tracing::info!(?faults, "faults of KMS set");
    kms.injector = Injector::of(Service::Kms, faults);
    Ok(json!(kms.injector.faults()))
}

fn kms_shown(state: &State) -> Value {
    let region = &state.config.region;
    let keys = state.kms.keys.iter();
    let keys: Vec<_> =
        keys.map(|key| json!({ "arn": key.arn(region), "state": key.state })).collect();
    json!({ "keys": keys, "calls": calls_of(state, Service::Kms) })
}

/// The faults of one stream, of either service.
pub(super) fn stream_faults(
    own: &mut Option<Injector>,
    method: &Method,
    read: impl FnOnce() -> Result<Injector, BadFault>,
) -> Result<Value, Refused> {
    match *method {
        Method::GET => {}
        Method::PUT => *own = Some(read().map_err(bad_request)?),
        Method::DELETE => *own = None,
        _ => return Err(nothing_here()),
    }
    Ok(json!(own.as_ref().map(Injector::faults)))
}

fn stream_quota(
    stream: &mut Stream,
    method: &Method,
    body: &[u8],
    fresh: impl Fn(Quota) -> Buckets,
) -> Result<Value, Refused> {
    match *method {
        Method::GET => {}
        Method::PUT => {
            let quota: Quota = serde_json::from_slice(body)
                .map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))?;
            stream.buckets = Some(fresh(quota));
        }
        Method::DELETE => stream.buckets = None,
        _ => return Err(nothing_here()),
    }
    Ok(json!(stream.buckets.as_ref().map(Buckets::quota)))
}

fn stream_shown(stream: &mut Stream) -> Value {
    let now_ms = unix_ms();
    let sse = stream.definition.sse.shown(now_ms);
    json!({
        "name": stream.definition.name,
        "type": stream.definition.source.stream_type(),
        "active": stream.definition.is_active(now_ms),
        "encryption": sse.map(|sse| sse.status),
        "encrypts": stream.definition.sse.encrypts(now_ms),
        "quota": stream.buckets.as_ref().map(Buckets::quota),
        "counters": stream.counters,
        "calls": stream.calls,
    })
}

/// A page of the journal, bounded by `limit` and by bytes; `next` is where the following one begins.
pub(super) fn records(journal: &Journal, query: &str) -> Result<Value, Refused> {
    if !journal.is_on() {
        let reason = "the journal is off: set journal_bytes_max at the start";
        return Err(Refused(StatusCode::CONFLICT, reason.to_owned()));
    }
    let from = number(query, "from")?.unwrap_or(0);
    let limit = number(query, "limit")?.unwrap_or(PAGE_RECORDS_DEFAULT);
    let mut next = from.max(journal.forgotten());
    let first = next;
    let mut bytes = 0;
    let mut page = Vec::new();
    for (position, entry) in journal.from(first) {
        if position.saturating_sub(first) >= limit || bytes >= PAGE_BYTES_MAX {
            break;
        }
        bytes = bytes.saturating_add(entry.data.len());
        next = position.saturating_add(1);
        page.push(record(position, entry));
    }
    Ok(json!({ "forgotten": journal.forgotten(), "next": next, "records": page }))
}

fn record(position: u64, entry: &Entry) -> Value {
    let mut shown = json!({
        "position": position,
        "record_id": entry.id,
        "data": STANDARD.encode_to_string(&entry.data),
        "encrypted": entry.encrypted,
        "answer_lost": entry.answer_lost,
    });
    if let (Some(origin), Some(members)) = (&entry.origin, shown.as_object_mut()) {
        members.insert("shard_id".into(), json!(shard_id(origin.shard)));
        members.insert("sequence_number".into(), json!(sequence_text(origin.sequence)));
        members.insert("partition_key".into(), json!(origin.partition_key));
    }
    shown
}

fn number(query: &str, name: &str) -> Result<Option<u64>, Refused> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    let number = value.parse().map_err(|_| {
        Refused(StatusCode::BAD_REQUEST, format!("{name} is {value:?}, it has to be a number"))
    })?;
    Ok(Some(number))
}

async fn flush(shared: &Shared, method: &Method) -> Result<Value, Refused> {
    if *method != Method::POST {
        return Err(nothing_here());
    }
    let Some(writer) = &shared.writer else { return Ok(json!({ "left_open": [] })) };
    match writer.flush().await {
        Ok(left_open) => Ok(json!({ "left_open": left_open })),
        Err(error) => Err(Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

impl Refused {
    /// The request makes no sense.
    pub(super) fn bad(reason: String) -> Self {
        Self(StatusCode::BAD_REQUEST, reason)
    }

    /// It could not be kept on disk, so that it was not done.
    pub(super) fn not_kept() -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, String::from("it cannot be kept on disk"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn bad_request(bad: BadFault) -> Refused {
    Refused::bad(bad.to_string())
}

pub(super) fn no_stream(name: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("there is no stream {name:?}"))
}

pub(super) fn nothing_here() -> Refused {
    let reason = "nothing here: there are /emulator/faults, /emulator/streams, \
        /emulator/kms, /emulator/kms/faults, /emulator/account, /emulator/calls, \
        /emulator/streams/{s}/faults, /emulator/streams/{s}/quota, /emulator/streams/{s}/records, \
        /emulator/streams/{s}/encryption, the same under /emulator/kinesis, \
        and POST /emulator/flush";
    Refused(StatusCode::NOT_FOUND, reason.to_owned())
}

fn answer(status: StatusCode, json: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{json}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

const PAGE_RECORDS_DEFAULT: u64 = 1_000;
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
