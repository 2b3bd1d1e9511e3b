//! The control endpoint: what a person or a test asks of the emulator besides the service's protocol.
//!
//! | request | meaning |
//! |---|---|
//! | `GET /emulator/faults` | the faults of all streams, as they stand |
//! | `PUT /emulator/faults` | replaces them; fields that are left out are off; see `faults.rs` |
//! | `DELETE /emulator/faults` | nothing goes wrong any more |
//! | `GET`, `PUT`, `DELETE /emulator/streams/{s}/faults` | the same for one stream, in place of those |
//! | `GET`, `PUT`, `DELETE /emulator/streams/{s}/quota` | its quota; without one it takes what comes |
//! | `GET`, `PUT`, `DELETE /emulator/kms/faults` | the same for KMS |
//! | `GET /emulator/kms` | its keys, and how often each action was asked for |
//! | `GET /emulator/streams` | every stream with its counters |
//! | `GET /emulator/streams/{s}` | one of them |
//! | `GET /emulator/streams/{s}/records?from=0&limit=1000` | accepted records, if the journal is on |
//! | `POST /emulator/flush` | closes all objects now |

use base64_simd::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::faults::{BadFault, Faults};
use super::injector::Injector;
use super::quota::{Buckets, Quota};
use super::service::Service;
use super::state::{Kms, Shared, State, unix_ms};
use super::streams::Stream;
use super::wire::Answer;

/// What the paths of the control endpoint begin with.
pub(super) const PREFIX: &str = "/emulator";

/// A request that cannot be done, and why.
struct Refused(StatusCode, String);

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
        (&Method::GET, ["streams"]) => {
            let streams: Vec<_> = state.streams.values_mut().map(stream_shown).collect();
            Ok(json!({ "streams": streams }))
        }
        (_, ["streams", name, rest @ ..]) => {
            let uptime = state.uptime();
            let stream = state.streams.get_mut(*name).ok_or_else(|| {
                Refused(StatusCode::NOT_FOUND, format!("there is no stream {name:?}"))
            })?;
            match (method, rest) {
                (&Method::GET, []) => Ok(stream_shown(stream)),
                (&Method::GET, ["records"]) => records(stream, query),
                (_, ["faults"]) => stream_faults(stream, method, body),
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
    json!({ "keys": keys, "calls": state.kms.calls })
}

fn stream_faults(stream: &mut Stream, method: &Method, body: &[u8]) -> Result<Value, Refused> {
    match *method {
        Method::GET => {}
        Method::PUT => {
            let faults = Faults::from_json(body).and_then(Faults::checked_for_one_stream);
            let faults = faults.map_err(bad_request)?;
            tracing::info!(stream = stream.definition.name, ?faults, "faults set");
            stream.injector = Some(Injector::new(faults));
        }
        Method::DELETE => stream.injector = None,
        _ => return Err(nothing_here()),
    }
    Ok(json!(stream.injector.as_ref().map(Injector::faults)))
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
        "active": stream.definition.is_active(now_ms),
        "encryption": sse.map(|sse| sse.status),
        "encrypts": stream.definition.sse.encrypts(now_ms),
        "quota": stream.buckets.as_ref().map(Buckets::quota),
        "counters": stream.counters,
    })
}

/// A page of the journal, bounded by `limit` and by bytes; `next` is where the following one begins.
fn records(stream: &Stream, query: &str) -> Result<Value, Refused> {
    if !stream.journal.is_on() {
        let reason = "the journal is off: set journal_bytes_max at the start";
        return Err(Refused(StatusCode::CONFLICT, reason.to_owned()));
    }
    let from = number(query, "from")?.unwrap_or(0);
    let limit = number(query, "limit")?.unwrap_or(PAGE_RECORDS_DEFAULT);
    let mut next = from.max(stream.journal.forgotten());
    let first = next;
    let mut bytes = 0;
    let mut page = Vec::new();
    for (position, entry) in stream.journal.from(first) {
        if position.saturating_sub(first) >= limit || bytes >= PAGE_BYTES_MAX {
            break;
        }
        bytes = bytes.saturating_add(entry.data.len());
        next = position.saturating_add(1);
        page.push(json!({
            "position": position,
            "record_id": entry.id,
            "data": STANDARD.encode_to_string(&entry.data),
            "encrypted": entry.encrypted,
            "answer_lost": entry.answer_lost,
        }));
    }
    Ok(json!({ "forgotten": stream.journal.forgotten(), "next": next, "records": page }))
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

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn bad_request(bad: BadFault) -> Refused {
    Refused(StatusCode::BAD_REQUEST, bad.to_string())
}

fn nothing_here() -> Refused {
    let reason = "nothing here: there are /emulator/faults, /emulator/streams, \
        /emulator/kms, /emulator/kms/faults, \
        /emulator/streams/{s}/faults, /emulator/streams/{s}/quota, /emulator/streams/{s}/records \
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
