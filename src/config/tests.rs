//! Tests of the whole stage: what is loaded, what is refused and with which words.

mod data_keys;
mod encryption;
mod faults;
mod keys;
mod panics;
mod spool;

use super::{Loaded, Preset, Sources, load};
use crate::aws::Credentials;
use crate::ingest::IngestLimits;
use crate::record::Ack;

/// The name of the file in the messages.
const FILE: &str = "c.toml";

/// The level that a pipe without a spool says itself.
const MEMORY: (&str, &str) = ("STANDPIPE_DEFAULTS_ACK", "memory");

/// Most tests are about something else than the level and the spool that it needs: they say no level, and
/// here it is said for them.
fn sources(text: &str, variables: &[(&str, &str)]) -> Sources {
    let is_said = text.contains("ack = ")
        || variables.iter().any(|(name, value)| {
            *name == MEMORY.0 || name.ends_with("_MIN_ACK") && *value == "delivered"
        });
    let memory = (!is_said).then_some(MEMORY);
    let variables: Vec<(&str, &str)> = variables.iter().copied().chain(memory).collect();
    only_sources(text, &variables)
}

/// Nothing but these.
fn only_sources(text: &str, variables: &[(&str, &str)]) -> Sources {
    Sources {
        file_name: Some(FILE.to_owned()),
        file_text: Some(text.to_owned()),
        variables: variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        ..Sources::default()
    }
}

fn loaded(text: &str, variables: &[(&str, &str)]) -> Loaded {
    match load(&sources(text, variables), Preset::Service) {
        Ok(loaded) => loaded,
        Err(faults) => panic!("{faults}\nin\n{text}\nwith {variables:?}"),
    }
}

fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    match load(&sources(text, variables), Preset::Service) {
        Ok(_) => panic!("no fault in\n{text}\nwith {variables:?}"),
        Err(faults) => faults.to_string(),
    }
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.config.ingest.streams.iter().map(|stream| stream.name.as_str()).collect()
}

#[test]
fn one_name_is_enough() {
    let loaded = loaded("[[streams]]\nname = \"demo\"\n", &[]);
    assert_eq!(names(&loaded), ["demo"]);
    let settings = &loaded.config.ingest.streams[0].settings;
    assert_eq!((settings.ack, settings.min_ack), (Ack::Memory, Ack::Memory));
    assert_eq!(settings.limits.batch_records_max, 500);
    assert_eq!(settings.limits.batch_bytes_max, 4 * 1024 * 1024);
    assert_eq!(settings.memory_floor_bytes, 16 * 1024 * 1024);
    assert_eq!(loaded.config.forward.upstream.credentials, Credentials::Chain);
    assert_eq!(loaded.config.ingest.repeats, None);
    assert_eq!(loaded.config.ingest.any_stream, None);
}

#[test]
fn the_environment_alone_is_enough() {
    let sources = Sources {
        variables: [("STANDPIPE_STREAMS", "a, b"), MEMORY]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..Sources::default()
    };
    assert_eq!(names(&load(&sources, Preset::Service).unwrap()), ["a", "b"]);
}

#[test]
fn a_star_allows_any_stream_beside_those_that_are_named() {
    let text = "[[streams]]\nname = \"demo\"\nlinger_ms = 5\n";
    let any = loaded(text, &[("STANDPIPE_STREAMS", "*,other")]);
    assert_eq!(names(&any), ["demo", "other"]);
    assert_eq!(any.config.ingest.any_stream.as_ref().unwrap().streams_max, 100);
    let variables = [("STANDPIPE_STREAMS", "*"), ("STANDPIPE_ANY_STREAM_STREAMS_MAX", "7")];
    let any = loaded(text, &variables);
    assert_eq!(any.config.ingest.any_stream.as_ref().unwrap().streams_max, 7);
    assert_eq!(any.config.ingest.streams[0].settings.limits.linger.as_millis(), 5);
}

#[test]
fn the_environment_wins_over_the_file_and_a_stream_over_what_holds_for_all() {
    let text = "[defaults]\nlinger_ms = 1\n[[streams]]\nname = \"a\"\n[[streams]]\nname = \"b.c\"\nlinger_ms = 2\n";
    let linger = |variables: &[(&str, &str)]| -> Vec<u128> {
        let streams = loaded(text, variables).config.ingest.streams;
        streams.iter().map(|stream| stream.settings.limits.linger.as_millis()).collect()
    };
    assert_eq!(linger(&[]), [1, 2]);
    assert_eq!(linger(&[("STANDPIPE_DEFAULTS_LINGER_MS", "3")]), [3, 2]);
    assert_eq!(linger(&[("STANDPIPE_STREAMS_B_C_LINGER_MS", "4")]), [1, 4]);
    assert_eq!(linger(&[("STANDPIPE_STREAMS_B_C_LINGER_MS", "")]), [1, 2]);
}

#[test]
fn a_stream_can_have_another_ingest_limit_than_all_others_or_none() {
    let loaded = loaded(
        "[defaults]\ningest_records_per_second = 100\ningest_burst_ms = 5000\n[[streams]]\nname = \"a\"\n\
         [[streams]]\nname = \"b\"\ningest_records_per_second = 0\ningest_bytes_per_second = 7\n",
        &[],
    );
    let limits = |index: usize| loaded.config.ingest.streams[index].settings.ingest_limits.clone();
    let burst = std::time::Duration::from_secs(5);
    let expected = |records, bytes| IngestLimits {
        records_per_second: records,
        bytes_per_second: bytes,
        burst,
    };
    assert_eq!(limits(0), expected(Some(100), None));
    assert_eq!(limits(1), expected(Some(0), Some(7)), "0 is none");
}

#[test]
fn an_empty_string_says_nothing() {
    let text = "[upstream]\nregion = \"\"\nproxy = \"\"\n[ingest]\nlisten = \"\"\n";
    let variables = [("STANDPIPE_STREAMS", "a"), ("STANDPIPE_NOBODY_KNOWS", "")];
    assert_eq!(loaded(text, &variables).config, loaded("", &variables[..1]).config);
}

#[test]
fn the_level_follows_the_weakest_that_is_allowed_when_nobody_sets_it() {
    let text = "[defaults]\nmin_ack = \"delivered\"\n[[streams]]\nname = \"a\"\n";
    let loaded = loaded(text, &[("STANDPIPE_STREAMS", "*")]);
    assert_eq!(loaded.config.ingest.streams[0].settings.ack, Ack::Delivered);
    assert_eq!(loaded.config.ingest.any_stream.unwrap().settings.ack, Ack::Delivered);
}

#[test]
fn floors_that_nobody_sets_leave_half_of_the_memory_to_all() {
    let bytes_max = 64 * 1024 * 1024;
    let floors = |text: &str, streams: &str| -> Vec<usize> {
        let config = loaded(text, &[("STANDPIPE_STREAMS", streams)]).config;
        let any = config.ingest.any_stream.iter();
        let any = any.flat_map(|any| vec![any.settings.memory_floor_bytes; any.streams_max]);
        let named = config.ingest.streams.iter().map(|stream| stream.settings.memory_floor_bytes);
        named.chain(any).collect()
    };
    assert_eq!(floors("", "a,b"), [bytes_max / 8; 2]);
    assert_eq!(floors("", "*").iter().sum::<usize>(), bytes_max / 4 / 100 * 100);
    let large = "[ingest]\ndecoded_bytes_max = 8388608\n[[streams]]\nname = \"a\"\nmemory_floor_bytes = 30000000\n";
    assert_eq!(floors(large, "b,c"), [30_000_000, 1_777_216, 1_777_216]);
    assert!(floors(large, "b,c").iter().sum::<usize>() <= bytes_max / 2);
    assert_eq!(floors("[defaults]\nmemory_floor_bytes = 9\n", "a,b"), [9, 9]);
}

#[test]
fn embedded_needs_nothing_and_brings_its_own_upstream() {
    let embedded = |text| load(&sources(text, &[]), Preset::Embedded);
    let demo = embedded("").unwrap();
    assert_eq!(names(&demo), ["demo"]);
    assert_eq!(demo.config.forward.upstream.credentials, Credentials::Embedded);
    assert_eq!(demo.config.forward.upstream.region.as_deref(), Some("us-east-1"));
    assert_eq!(demo.config.forward.upstream.endpoint, None);
    assert!(demo.show().contains("name = \"demo\" # --embedded\n"));
    assert_eq!(names(&embedded("[[streams]]\nname = \"mine\"\n").unwrap()), ["mine"]);
    let faults = embedded("[upstream]\nendpoint = \"http://a:1\"\nregion = \"eu-west-1\"\n");
    assert_eq!(
        faults.unwrap_err().to_string(),
        "c.toml:2:12: --embedded brings its own upstream; drop upstream.endpoint or --embedded"
    );
}

#[test]
fn what_kubernetes_says_of_a_service_is_not_for_us() {
    let variables = [
        ("STANDPIPE_STREAMS", "a"),
        ("STANDPIPE_SERVICE_HOST", "10.0.0.1"),
        ("STANDPIPE_SERVICE_PORT", "4573"),
        ("STANDPIPE_SERVICE_PORT_HTTP", "4573"),
        ("STANDPIPE_PORT", "tcp://10.0.0.1:4573"),
        ("STANDPIPE_PORT_4573_TCP", "tcp://10.0.0.1:4573"),
        ("STANDPIPE_PORT_4573_TCP_PROTO", "tcp"),
        ("STANDPIPE_PORT_4573_TCP_PORT", "4573"),
        ("STANDPIPE_PORT_4573_TCP_ADDR", "10.0.0.1"),
        ("STANDPIPE_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ("STANDPIPE_ADMIN_PORT", "tcp://10.0.0.1:4574"),
    ];
    assert_eq!(names(&loaded("", &variables)), ["a"]);
    let refused = refused("", &[("STANDPIPE_STREAMS", "a"), ("STANDPIPE_PORT", "4573")]);
    assert!(refused.starts_with("STANDPIPE_PORT: there is no such setting"), "{refused}");
}

#[test]
fn a_thousand_streams_are_loaded_in_no_time() {
    let streams: String = (0..1_000)
        .map(|n| format!("[[streams]]\nname = \"stream-{n}\"\nlinger_ms = {n}\n"))
        .collect();
    let variables: Vec<(String, String)> = (0..1_000)
        .map(|n| (format!("STANDPIPE_STREAMS_STREAM_{n}_ACK"), "delivered".to_owned()))
        .collect();
    let sources = Sources { variables, ..sources(&streams, &[]) };
    let began = std::time::Instant::now();
    let loaded = load(&sources, Preset::Service).unwrap();
    assert_eq!(loaded.config.ingest.streams.len(), 1_000);
    assert!(loaded.config.ingest.streams.iter().all(|s| s.settings.ack == Ack::Delivered));
    // Generous, for a slow machine and a debug build; anything quadratic takes longer.
    assert!(began.elapsed().as_secs() < 2, "took {:?}", began.elapsed());
}

#[test]
fn a_tool_needs_no_stream_and_no_level_and_hears_of_every_other_fault() {
    let tool =
        |text: &str, variables: &[(&str, &str)]| load(&only_sources(text, variables), Preset::Tool);
    assert_eq!(names(&tool("", &[]).unwrap()), Vec::<&str>::new());
    assert_eq!(names(&tool("", &[("STANDPIPE_STREAMS", "a")]).unwrap()), ["a"]);
    assert!(tool("[upstream]\nregion = \"EU\"", &[]).is_err());
}
