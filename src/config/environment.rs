//! Reads the variables: what they say, and which of them nobody knows. Believes nothing and asks no
//! process: it is given names and values.

use std::collections::BTreeSet;

use crate::record::StreamName;

use super::draft::StreamDraft;
use super::fault::{Fault, Place, did_you_mean};
use super::keys::{
    CONFIG_VARIABLE, DEFAULTS, KEYS, Key, PREFIX, STREAM_KEYS, STREAMS, STREAMS_VARIABLE,
    as_variable, variable,
};
use super::kind::Raw;
use super::said::{Said, SaidStream, Statement};
use super::value::quoted;

/// What `variables` say beside a file that names `file_streams`. An empty one says nothing.
pub(super) fn read(variables: &[(String, String)], file_streams: &[StreamName]) -> Said {
    let mut said = Said::default();
    let ours =
        || variables.iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
    for (_, list) in ours().filter(|(name, _)| name == STREAMS_VARIABLE) {
        list_streams(list, &mut said);
    }
    let listed: BTreeSet<StreamName> =
        said.streams.iter().filter_map(|stream| stream.name.clone()).collect();
    let streams: BTreeSet<StreamName> = file_streams.iter().cloned().chain(listed).collect();
    for (name, value) in ours() {
        if name != CONFIG_VARIABLE && name != STREAMS_VARIABLE {
            read_variable(name, value, &streams, &mut said);
        }
    }
    said
}

/// `a,b` names streams, `*` stands for any other.
fn list_streams(list: &str, said: &mut Said) {
    let place = || Place::Variable(STREAMS_VARIABLE.to_owned());
    let mut seen = BTreeSet::new();
    for name in list.split(',').map(str::trim) {
        if !seen.insert(name) {
            said.faults.push(Fault::new(place(), format!("{} is listed twice", quoted(name))));
        } else if name == "*" {
            said.any_stream = Some(place());
        } else {
            match name.parse() {
                Ok(name) => {
                    said.streams.push(SaidStream {
                        name: Some(name),
                        place: place(),
                        settings: Vec::new(),
                    });
                }
                Err(error) => {
                    let message = format!("{} can not name a stream: {error}", quoted(name));
                    said.faults.push(Fault::new(place(), message));
                }
            }
        }
    }
}

fn read_variable(name: &str, value: &str, streams: &BTreeSet<StreamName>, said: &mut Said) {
    let place = Place::Variable(name.to_owned());
    let raw = Raw::Variable(value.to_owned());
    if let Some(key) = KEYS.iter().find(|key| variable(key.table, key.name) == name) {
        return said.global.push(Statement { key, raw, place });
    }
    if let Some(key) = STREAM_KEYS.iter().find(|key| variable(DEFAULTS, key.name) == name) {
        return said.defaults.push(Statement { key, raw, place });
    }
    let mut meant = meant_by(name, streams);
    match (meant.pop(), meant.pop()) {
        (Some((stream, key)), None) => said.streams.push(SaidStream {
            name: Some(stream.clone()),
            place: place.clone(),
            settings: vec![Statement { key, raw, place }],
        }),
        (Some((one, its)), Some((other, others))) => {
            let message = format!(
                "this is both {} of the stream \"{other}\" and {} of the stream \"{one}\"; \
                 set them in the file",
                others.name, its.name
            );
            said.faults.push(Fault::new(place, message));
        }
        (None, _) if is_service_link(name, value) => {}
        (None, _) => said.faults.push(Fault::new(place, unknown(name, streams))),
    }
}

/// The variable for a key of a stream.
pub(super) fn stream_variable(stream: &str, key: &str) -> String {
    format!("{STREAMS_VARIABLE}_{}_{}", as_variable(stream), as_variable(key))
}

/// Which keys of which streams a variable may stand for: names that differ can look alike in capitals.
fn meant_by<'s>(
    name: &str,
    streams: &'s BTreeSet<StreamName>,
) -> Vec<(&'s StreamName, &'static Key<StreamDraft>)> {
    streams
        .iter()
        .flat_map(|stream| STREAM_KEYS.iter().map(move |key| (stream, key)))
        .filter(|(stream, key)| stream_variable(stream.as_str(), key.name) == name)
        .collect()
}

fn unknown(name: &str, streams: &BTreeSet<StreamName>) -> String {
    let global = KEYS.iter().map(|key| variable(key.table, key.name));
    let defaults = STREAM_KEYS.iter().map(|key| variable(DEFAULTS, key.name));
    let of_streams = streams.iter().flat_map(|stream| {
        STREAM_KEYS.iter().map(|key| stream_variable(stream.as_str(), key.name))
    });
    let fixed = [CONFIG_VARIABLE, STREAMS_VARIABLE].map(str::to_owned);
    let known: Vec<String> = global.chain(defaults).chain(of_streams).chain(fixed).collect();
    // All names begin alike, so that only the rest says how near they are.
    let rest = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let rests: Vec<String> = known.iter().map(|name| rest(name)).collect();
    let hint = did_you_mean(&rest(name), rests.iter().map(String::as_str))
        .replace("mean \"", &format!("mean \"{PREFIX}"));
    let ends_like_a_stream_key = |key: &&Key<StreamDraft>| {
        name.strip_prefix(STREAMS_VARIABLE)
            .is_some_and(|rest| rest.ends_with(&format!("_{}", as_variable(key.name))))
    };
    if hint.is_empty() && STREAM_KEYS.iter().any(|key| ends_like_a_stream_key(&key)) {
        return format!(
            "there is no stream of this name; name it in [[{STREAMS}]] or {STREAMS_VARIABLE}"
        );
    }
    format!("there is no such setting{hint}")
}

/// Whether Kubernetes set this variable: it announces every Service of the namespace to every pod, and
/// a Service may well be called `standpipe` or `standpipe-admin`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_transport = |text: &str| matches!(text, "TCP" | "UDP" | "SCTP");
    let mut words = name.split('_').rev();
    let (last, before, third) = (words.next(), words.next(), words.next());
    let is_port_of_one = name.contains("_PORT_")
        && match (last, before) {
            (Some("PROTO" | "PORT" | "ADDR"), Some(transport)) => is_transport(transport),
            (Some(transport), Some(_)) => is_transport(transport) && third == Some("PORT"),
            _ => false,
        };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (last == Some("PORT") && value.contains("://"))
        || is_port_of_one
}
