//! The part of the control endpoint that is about data streams.
//!
//! | request | meaning |
//! |---|---|
//! | `GET`, `PUT`, `DELETE /emulator/kinesis/faults` | the faults of all data streams |
//! | `GET /emulator/kinesis`, `GET /emulator/kinesis/streams` | every data stream with its counters and calls |
//! | `GET /emulator/kinesis/streams/{s}` | one of them |
//! | `GET /emulator/kinesis/streams/{s}/records?from=0&limit=1000` | what is kept of its records |
//! | `GET`, `PUT`, `DELETE /emulator/kinesis/streams/{s}/faults` | its own faults |
//! | `GET`, `PUT`, `DELETE /emulator/kinesis/streams/{s}/quota` | what each of its shards takes: `records_per_s`, `bytes_per_s` |
//! | `GET`, `PUT`, `DELETE /emulator/kinesis/streams/{s}/encryption` | its encryption; see `sse_control.rs` |

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::actions::keep;
use super::control::{Refused, bad_request, no_stream, nothing_here, records, stream_faults};
use super::faults::Faults;
use super::injector::Injector;
use super::kinesis::arn_of;
use super::kinesis::streams::DataStream;
use super::quota::{Buckets, Quota};
use super::service::Service;
use super::sse_control::Of;
use super::state::{State, unix_ms};

/// What a shard takes in a second.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardQuota {
    records_per_s: u32,
    bytes_per_s: u32,
}

/// Answers a request below `/emulator/kinesis`.
pub(super) fn route(
    state: &mut State,
    method: &Method,
    path: &[&str],
    query: &str,
    body: &[u8],
) -> Result<Value, Refused> {
    match (method, path) {
        (_, ["faults"]) => faults(state, method, body),
        (&Method::GET, [] | ["streams"]) => {
            let region = &state.config.region;
            let streams = state.kinesis.streams.values_mut();
            let streams: Vec<_> = streams.map(|stream| shown(stream, region)).collect();
            Ok(json!({ "streams": streams }))
        }
        (_, ["streams", name, "encryption"]) => encryption(state, name, method, body),
        (_, ["streams", name, rest @ ..]) => {
            let uptime = state.uptime();
            let region = state.config.region.clone();
            let stream = state.kinesis.streams.get_mut(*name).ok_or_else(|| no_stream(name))?;
            match (method, rest) {
                (&Method::GET, []) => Ok(shown(stream, &region)),
                (&Method::GET, ["records"]) => records(&stream.journal, query),
                (_, ["faults"]) => stream_faults(&mut stream.injector, method, || {
                    let faults = Faults::kinesis_from_json(body)?.acts_on_one_stream()?;
                    Ok(Injector::of(Service::Kinesis, faults))
                }),
                (_, ["quota"]) => {
                    match *method {
                        Method::GET => {}
                        Method::PUT => {
                            let quota = read_quota(body)?;
                            stream.buckets = Some(stream.definition.fresh_buckets(quota, uptime));
                        }
                        Method::DELETE => stream.buckets = None,
                        _ => return Err(nothing_here()),
                    }
                    Ok(quota_shown(stream))
                }
                _ => Err(nothing_here()),
            }
        }
        _ => Err(nothing_here()),
    }
}

fn faults(state: &mut State, method: &Method, body: &[u8]) -> Result<Value, Refused> {
    let faults = match *method {
        Method::GET => return Ok(json!(state.kinesis.injector.faults())),
        Method::PUT => Faults::kinesis_from_json(body).map_err(bad_request)?,
        Method::DELETE => Faults::default(),
        _ => return Err(nothing_here()),
    };
    tracing::info!(?faults, "faults of data streams set");
    state.kinesis.injector = Injector::of(Service::Kinesis, faults);
    Ok(json!(state.kinesis.injector.faults()))
}

fn encryption(
    state: &mut State,
    name: &str,
    method: &Method,
    body: &[u8],
) -> Result<Value, Refused> {
    let rule = state.config.sse;
    let stream = state.kinesis.streams.get_mut(name).ok_or_else(|| no_stream(name))?;
    let mut commanded = stream.commanded;
    let mut definition = stream.definition.clone();
    let asked = commanded.asked(method, body, Of::DataStream, &mut definition.sse);
    if !asked.map_err(Refused::bad)? {
        return Err(nothing_here());
    }
    let shown = commanded.shown(Of::DataStream, &mut definition.sse, &rule);
    if *method != Method::GET {
        stream.commanded = commanded;
        keep(state.replace_data_stream(definition)).map_err(|_| Refused::not_kept())?;
        tracing::info!(stream = name, %shown, "encryption commanded");
    }
    Ok(shown)
}

fn shown(stream: &mut DataStream, region: &str) -> Value {
    let now_ms = unix_ms();
    json!({
        "name": stream.definition.name,
        "arn": arn_of(&stream.definition.name, region),
        "status": stream.definition.status(now_ms),
        "encrypts": stream.definition.sse.encrypts(now_ms),
        "shards": stream.definition.shards,
        "max_record_kib": stream.definition.record_kib_max,
        "quota": quota_shown(stream),
        "counters": stream.counters,
        "calls": stream.calls,
    })
}

fn read_quota(body: &[u8]) -> Result<Quota, Refused> {
    let quota: ShardQuota =
        serde_json::from_slice(body).map_err(|error| Refused::bad(error.to_string()))?;
    let ShardQuota { records_per_s, bytes_per_s } = quota;
    Ok(Quota { records_per_s, bytes_per_s, ..Quota::SHARD })
}

fn quota_shown(stream: &DataStream) -> Value {
    let of_one = stream.buckets.as_ref().and_then(|buckets| buckets.first()).map(Buckets::quota);
    json!(of_one.map(|quota| ShardQuota {
        records_per_s: quota.records_per_s,
        bytes_per_s: quota.bytes_per_s,
    }))
}
