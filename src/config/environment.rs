//! Reads the variables: what they say, and which of them nobody knows. Believes nothing and asks no
//! process: it is given names and values.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::StreamName;

use super::draft::StreamDraft;
use super::fault::{Fault, Place};
use super::keys::{
    CONFIG_VARIABLE, DEFAULTS, KEYS, Key, PREFIX, STREAM_KEYS, STREAMS, STREAMS_VARIABLE,
    as_variable, variable,
};
use super::kind::Raw;
use super::nearest::nearest;
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
    let of_streams = of_streams(&streams);
    for (name, value) in ours() {
        if name != CONFIG_VARIABLE && name != STREAMS_VARIABLE {
            read_variable(name, value, &of_streams, &mut said);
        }
    }
    said
}

/// Which keys of which streams each variable may stand for: names that differ can look alike in capitals.
type OfStreams<'s> = BTreeMap<String, Vec<(&'s StreamName, &'static Key<StreamDraft>)>>;

fn of_streams(streams: &BTreeSet<StreamName>) -> OfStreams<'_> {
    let mut of_streams = OfStreams::new();
    for stream in streams {
        for key in STREAM_KEYS {
            let name = stream_variable(stream.as_str(), key.name);
            of_streams.entry(name).or_default().push((stream, key));
        }
    }
    of_streams
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
                    said.is_partial = true;
                    let message = format!("{} can not name a stream: {error}", quoted(name));
                    said.faults.push(Fault::new(place(), message));
                }
            }
        }
    }
}

fn read_variable(name: &str, value: &str, of_streams: &OfStreams<'_>, said: &mut Said) {
    let place = Place::Variable(name.to_owned());
    let raw = Raw::Variable(value.to_owned());
    if let Some(key) = KEYS.iter().find(|key| variable(key.table, key.name) == name) {
        return said.global.push(Statement { key, raw, place });
    }
    if let Some(key) = STREAM_KEYS.iter().find(|key| variable(DEFAULTS, key.name) == name) {
        return said.defaults.push(Statement { key, raw, place });
    }
    match of_streams.get(name).map(Vec::as_slice) {
        Some([(stream, key)]) => said.streams.push(SaidStream {
            name: Some((*stream).clone()),
            place: place.clone(),
            settings: vec![Statement { key, raw, place }],
        }),
        Some(meant) => {
            let meant: Vec<String> = meant
                .iter()
                .map(|(stream, key)| format!("{} of the stream \"{stream}\"", key.name))
                .collect();
            let message = format!("this can be {}; set them in the file", meant.join(" or "));
            said.faults.push(Fault::new(place, message));
        }
        None if is_service_link(name, value) => {}
        None => said.faults.push(Fault::new(place, unknown(name, of_streams))),
    }
}

/// The variable for a key of a stream.
pub(super) fn stream_variable(stream: &str, key: &str) -> String {
    format!("{STREAMS_VARIABLE}_{}_{}", as_variable(stream), as_variable(key))
}

fn unknown(name: &str, of_streams: &OfStreams<'_>) -> String {
    let is_of_a_stream = |key: &Key<StreamDraft>| {
        name.strip_prefix(STREAMS_VARIABLE)
            .and_then(|rest| rest.strip_suffix(&as_variable(key.name)))
            .is_some_and(|stream| stream.len() > 2)
    };
    if STREAM_KEYS.iter().any(is_of_a_stream) {
        return format!(
            "there is no stream of this name; name it in [[{STREAMS}]] or {STREAMS_VARIABLE}"
        );
    }
    let global = KEYS.iter().map(|key| variable(key.table, key.name));
    let defaults = STREAM_KEYS.iter().map(|key| variable(DEFAULTS, key.name));
    let fixed = [CONFIG_VARIABLE, STREAMS_VARIABLE].map(str::to_owned);
    let known: Vec<String> =
        global.chain(defaults).chain(fixed).chain(of_streams.keys().cloned()).collect();
    // All begin alike, so that only the rest tells how near they are.
    let rests = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
    let found = name.strip_prefix(PREFIX).unwrap_or(name);
    match nearest(found, rests) {
        Some(known) => format!("there is no such setting; did you mean \"{PREFIX}{known}\"?"),
        None => "there is no such setting; `standpipe config reference` prints all".to_owned(),
    }
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
