//! Every kind of fault, with its exact words and its place.

use super::{FILE, loaded, refused, sources};
use std::time::Duration;

use crate::config::{Preset, load};

const A: (&str, &str) = ("STANDPIPE_STREAMS", "a");

/// Checks that the text has exactly these faults, beside a stream that is there.
fn check(text: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|fault| format!("{FILE}:{fault}")).collect();
    assert_eq!(refused(text, &[A]).lines().collect::<Vec<_>>(), expected, "\n{text}");
}

/// Checks that these variables have exactly these faults.
fn check_variables(variables: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(refused("", variables).lines().collect::<Vec<_>>(), expected, "{variables:?}");
}

#[test]
fn keys_that_nobody_knows() {
    for (text, fault) in [
        ("[ingests]", "1:2: there is no key \"ingests\" at the top; did you mean \"ingest\"?"),
        (
            "[ingest]\nlisten_adress = 1",
            "2:1: there is no key \"listen_adress\" in [ingest]; `standpipe config reference` prints all keys",
        ),
        (
            "[ingest]\nworker = 1",
            "2:1: there is no key \"worker\" in [ingest]; did you mean \"workers\"?",
        ),
        (
            "[ingest.repeat]",
            "1:9: there is no key \"repeat\" in [ingest]; did you mean \"repeats\"?",
        ),
        (
            "[defaults]\nlingr_ms = 1",
            "2:1: there is no key \"lingr_ms\" in [defaults]; did you mean \"linger_ms\"?",
        ),
        (
            "[ingest]\nlinger_ms = 1",
            "2:1: there is no key \"linger_ms\" in [ingest]; it belongs in [defaults] or [[streams]]",
        ),
        (
            "lsiten = 1",
            "1:1: there is no key \"lsiten\" at the top; did you mean \"listen\" in [ingest] or [admin]?",
        ),
        (
            "[[streams]]\nname = \"b\"\nacks = 1",
            "3:1: there is no key \"acks\" in [[streams]]; did you mean \"ack\"?",
        ),
        (
            "\"\\u0000\" = 1",
            "1:1: there is no key \"\\u0000\" at the top; `standpipe config reference` prints all keys",
        ),
    ] {
        check(text, &[fault]);
    }
}

#[test]
fn values_of_another_type_or_out_of_bounds() {
    for (text, fault) in [
        (
            "[ingest]\nworkers = 0",
            "2:11: ingest.workers must be a whole number from 1 to 64, not 0",
        ),
        (
            "[ingest]\nworkers = -1",
            "2:11: ingest.workers must be a whole number from 1 to 64, not -1",
        ),
        (
            "[ingest]\nworkers = 1.5",
            "2:11: ingest.workers must be a whole number from 1 to 64, not a number with a fraction",
        ),
        (
            "[ingest]\nworkers = []",
            "2:11: ingest.workers must be a whole number from 1 to 64, not an array",
        ),
        (
            "[ingest]\nworkers = true",
            "2:11: ingest.workers must be a whole number from 1 to 64, not true",
        ),
        (
            "[ingest]\nworkers = 1979-05-27",
            "2:11: ingest.workers must be a whole number from 1 to 64, not a date",
        ),
        (
            "[ingest]\nworkers.a = 1",
            "2:1: ingest.workers must be a whole number from 1 to 64, not a table",
        ),
        (
            "[ingest]\nworkers = \"2\"",
            "2:11: ingest.workers must be a whole number from 1 to 64, not \"2\"; write 2",
        ),
        (
            "[ingest]\nhead_timeout_ms = \"1s\"",
            "2:19: ingest.head_timeout_ms must be a whole number of milliseconds from 1 to 600000, not \"1s\"; write 1000",
        ),
        (
            "[memory]\nbytes_max = \"64 MiB\"",
            "2:13: memory.bytes_max must be a whole number of bytes from 1048576 to 1099511627776, not \"64 MiB\"; write 67108864",
        ),
    ] {
        check(text, &[fault]);
    }
    let huge = format!("[ingest]\nworkers = {}", "9".repeat(60));
    assert!(refused(&huge, &[A]).starts_with("c.toml:2:11: "));
}

#[test]
fn words_and_texts_that_are_not_right() {
    for (text, fault) in [
        ("[upstream]\nfips = 1", "2:8: upstream.fips must be true or false, not 1"),
        (
            "[upstream]\nfips = \"true\"",
            "2:8: upstream.fips must be true or false, not \"true\"; write true",
        ),
        (
            "[upstream]\nregion = \"EU\"",
            "2:10: upstream.region must be the name of a Region, such as \"eu-west-1\", not \"EU\"",
        ),
        (
            "[upstream]\nregion = 1",
            "2:10: upstream.region must be the name of a Region, such as \"eu-west-1\", not 1",
        ),
        (
            "[log]\nformat = \"jsn\"",
            "2:10: log.format must be \"auto\", \"text\" or \"json\", not \"jsn\"; did you mean \"json\"?",
        ),
        (
            "[log]\nfilter = \"standpipe=lots\"",
            "2:10: log.filter must be log directives, such as \"info\" or \"info,standpipe::forward=debug\", not \"standpipe=lots\"",
        ),
        (
            "[ingest]\nlisten = \"localhost:4573\"",
            "2:10: ingest.listen must be an IP address and a port, such as \"127.0.0.1:4573\", not \"localhost:4573\"",
        ),
        (
            "[defaults]\nlinger_jitter_percent = 101",
            "2:25: defaults.linger_jitter_percent must be a whole number of percent from 0 to 100, not 101",
        ),
        (
            "[[streams]]\nname = \"b\"\nbatch_records_max = 501",
            "3:21: batch_records_max of the stream \"b\" must be a whole number from 1 to 500, not 501",
        ),
        ("ingest = 1", "1:1: ingest is a table; write [ingest]"),
        ("defaults = 1", "1:1: defaults is a table; write [defaults]"),
    ] {
        check(text, &[fault]);
    }
    let long = format!("[log]\nfilter = \"={}\"", "x".repeat(1_000));
    assert!(refused(&long, &[A]).len() < 300);
}

#[test]
fn urls_that_lead_nowhere_and_those_that_tell_a_secret() {
    for wrong in [
        "firehose",
        "ftp://a",
        "http://",
        "http://a:b",
        "http://a:99999",
        "http://a:0",
        "https://a?b=c",
        "http://u@a",
        "a:1",
    ] {
        let told = refused(&format!("[upstream]\nendpoint = \"{wrong}\""), &[A]);
        assert!(
            told.starts_with("c.toml:2:12: upstream.endpoint must be a URL with http or https"),
            "{told}"
        );
    }
    for right in ["http://a", "https://a.b:443/", "http://[::1]:80", "http://10.0.0.1:5000/x"] {
        loaded(&format!("[upstream]\nendpoint = \"{right}\""), &[A]);
    }
    check(
        "[upstream]\nproxy = \"socks5://user:secret@proxy\"",
        &[
            "2:9: upstream.proxy must be a URL with http or https, such as \"http://proxy.internal:3128\", not \"socks5://***@proxy\"",
        ],
    );
    assert!(!refused("[upstream]\nproxy = \"user:secret@proxy\"", &[A]).contains("secret"));
    assert!(!refused("[upstream]\nendpoint = \"http://user:secret@a\"", &[A]).contains("secret"));
}

#[test]
fn what_is_not_toml() {
    for (text, fault) in [
        ("[ingest]\nworkers = 1\nworkers = 2", "3:1: \"workers\" is set twice; keep one of them"),
        ("[ingest]\n[ingest]", "2:2: \"ingest\" is set twice; keep one of them"),
        ("[ingest]\nworkers = ", "2:11: there is no value behind the ="),
        (
            "[ingest]\nlisten = 127.0.0.1:4573",
            "2:15: \"127.0.0.1:4573\" is no value of TOML; a string stands in quotes",
        ),
        ("[ingest", "1:8: this is not TOML: unclosed table, expected `]`"),
    ] {
        check(text, &[fault]);
    }
}

#[test]
fn what_follows_a_line_that_is_not_toml_is_still_looked_at() {
    let told = refused("[ingest]\nworkers = \"\nlisten = 1\n[stop]\ngrace = 1\n", &[A]);
    assert!(told.starts_with("c.toml:2:12: this is not TOML: "), "{told}");
    assert!(
        told.ends_with(
            "c.toml:5:1: there is no key \"grace\" in [stop]; did you mean \"grace_ms\"?"
        ),
        "{told}"
    );
}

#[test]
fn the_column_counts_characters() {
    check(
        "# \u{e4}\u{f6}\u{fc}\n\"\u{e4}\" = 1\ningest = { \"\u{e4}\u{f6}\" = 1, workers = 0 }",
        &[
            "2:1: there is no key \"\u{e4}\" at the top; `standpipe config reference` prints all keys",
            "3:12: there is no key \"\u{e4}\u{f6}\" in [ingest]; `standpipe config reference` prints all keys",
            "3:32: ingest.workers must be a whole number from 1 to 64, not 0",
        ],
    );
}

#[test]
fn streams_that_are_no_streams() {
    for (text, fault) in [
        (
            "[[streams]]\nname = \"a b\"",
            "2:8: \"a b\" can not name a stream: a stream name is made of letters, digits, '_', '.' and '-', not of ' '",
        ),
        (
            "[[streams]]\nname = \"\"",
            "2:8: \"\" can not name a stream: a stream name needs at least one character",
        ),
        ("[[streams]]\nname = 1", "2:8: the name of a stream must be a string, not 1"),
        (
            "\n[[streams]]\nack = \"memory\"",
            "2:1: a stream needs a name; write name = \"...\" below [[streams]]",
        ),
        (
            "[[streams]]\nname = \"b\"\n[[streams]]\nname = \"b\"",
            "4:8: the stream \"b\" is already in line 2; write its settings once",
        ),
        (
            "streams = [\"b\"]",
            "1:12: a stream is a table of its own; write [[streams]] and below it name = \"...\", once for each",
        ),
        (
            "streams = \"b\"",
            "1:11: a stream is a table of its own; write [[streams]] and below it name = \"...\", once for each",
        ),
        (
            "[streams]\nname = \"b\"",
            "1:1: a stream is a table of its own; write [[streams]] and below it name = \"...\", once for each",
        ),
    ] {
        check(text, &[fault]);
    }
    check(
        "[[streams]]\nlinger_ms = -1",
        &[
            "1:1: a stream needs a name; write name = \"...\" below [[streams]]",
            "2:13: linger_ms of a stream must be a whole number of milliseconds from 0 to 900000, not -1",
        ],
    );
}

#[test]
fn no_stream_at_all() {
    let told = "configuration: no stream is named; write [[streams]] and below it name = \"...\" in the file, or set STANDPIPE_STREAMS to names or to *";
    assert_eq!(refused("", &[]), told);
    // A stream whose name is wrong was meant to be one.
    assert_eq!(refused("[[streams]]\nname = \"/\"", &[]).lines().count(), 1);
    assert_eq!(refused("", &[("STANDPIPE_STREAMS", "/")]).lines().count(), 1);
    assert_eq!(refused("streams = 1", &[]).lines().count(), 1);
}

#[test]
fn a_level_below_the_weakest_that_is_allowed() {
    check(
        "[defaults]\nack = \"memory\"\nmin_ack = \"delivered\"",
        &[
            "2:7: defaults.ack = \"memory\" is weaker than min_ack = \"delivered\"; write ack = \"delivered\"",
        ],
    );
    check(
        "[defaults]\nack = \"memory\"\n[[streams]]\nname = \"b\"\nmin_ack = \"delivered\"",
        &[
            "5:11: ack of the stream \"b\" = \"memory\" is weaker than min_ack = \"delivered\"; write ack = \"delivered\"",
        ],
    );
}

#[test]
fn memory_that_does_not_suffice() {
    for (text, fault) in [
        (
            "[memory]\nbytes_max = 16777216\n[ingest]\nbody_bytes_max = 8388608\ndecoded_bytes_max = 16777216",
            "2:13: memory.bytes_max = 16777216 leaves 12582912 bytes above the floors of the streams, and one request may take 41943040 (ingest.body_bytes_max and twice decoded_bytes_max); raise memory.bytes_max or lower those",
        ),
        (
            "[ingest]\ndecoded_bytes_max = 1000000000",
            "2:21: memory.bytes_max = 67108864 leaves 50331648 bytes above the floors of the streams, and one request may take 2008388608 (ingest.body_bytes_max and twice decoded_bytes_max); raise memory.bytes_max or lower those",
        ),
        (
            "[ingest]\nbody_bytes_max = 8388608\ndecoded_bytes_max = 2048",
            "2:18: ingest.body_bytes_max = 8388608 is more than ingest.decoded_bytes_max = 2048, which bounds every body; make it at most that",
        ),
        (
            "[[streams]]\nname = \"b\"\nmemory_floor_bytes = 67108865",
            "3:22: the floors of 2 streams are 67108865 bytes together, more than memory.bytes_max = 67108864; lower memory_floor_bytes or raise memory.bytes_max",
        ),
        (
            "[defaults]\nmemory_floor_bytes = 50000000\n[ingest]\ndecoded_bytes_max = 16777216",
            "4:21: memory.bytes_max = 67108864 leaves 17108864 bytes above the floors of the streams, and one request may take 41943040 (ingest.body_bytes_max and twice decoded_bytes_max); raise memory.bytes_max or lower those",
        ),
    ] {
        check(text, &[fault]);
    }
}

#[test]
fn bounds_that_nobody_set_fit_the_memory_and_the_grace_time() {
    let text = "[memory]\nbytes_max = 16777216\n[stop]\ngrace_ms = 5000";
    let config = loaded(text, &[A]).config;
    assert_eq!(config.ingest.decoded_bytes_max, 4_194_304);
    assert_eq!(config.ingest.body_bytes_max, 4_194_304);
    assert_eq!(config.lifecycle.deliver, Duration::from_secs(2));
    // Memory that holds no body at all is a fault, not a pipe that refuses everything.
    let told =
        refused("[memory]\nbytes_max = 1048576\n[defaults]\nmemory_floor_bytes = 1048000", &[A]);
    assert!(told.contains("leaves 576 bytes above the floors"), "{told}");
}

#[test]
fn times_that_do_not_go_together() {
    for (text, fault) in [
        (
            "[stop]\ndeliver_ms = 30000",
            "2:14: stop.deliver_ms = 30000 is more than stop.grace_ms = 25000; make it at most that",
        ),
        (
            "[stop]\nquiet_ms = 30000",
            "2:12: stop.quiet_ms = 30000 is more than stop.grace_ms = 25000; make it at most that",
        ),
        (
            "[forward]\nbackoff_max_ms = 5",
            "2:18: forward.backoff_min_ms = 100 is more than forward.backoff_max_ms = 5; make it at most that",
        ),
        (
            "[forward]\nhold_max_ms = 5",
            "2:15: forward.hold_min_ms = 5000 is more than forward.hold_max_ms = 5; make it at most that",
        ),
        (
            "[forward]\nconnect_timeout_ms = 60000",
            "2:22: forward.connect_timeout_ms = 60000 is more than forward.attempt_timeout_ms = 30000; make it at most that",
        ),
        (
            "[ingest]\nretry_after_ms = 1500",
            "2:18: ingest.retry_after_ms = 1500 is no whole number of seconds, which Retry-After needs; write 2000",
        ),
    ] {
        check(text, &[fault]);
    }
}

#[test]
fn listeners_that_are_open_to_all_or_clash() {
    for (text, fault) in [
        (
            "[ingest]\nlisten = \"0.0.0.0:4573\"",
            "2:10: ingest.listen = \"0.0.0.0:4573\" is not on loopback, and whoever reaches it can send records; listen on 127.0.0.1, name a token_file, or write allow_unprotected = true below [ingest]",
        ),
        (
            "[admin]\nlisten = \"[::]:4574\"",
            "2:10: admin.listen = \"[::]:4574\" is not on loopback and has no token_file; name one, use health_listen for probes and scrapes, or write allow_unprotected = true below [admin]",
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:4573\"",
            "2:10: admin.listen = \"127.0.0.1:4573\" is taken by ingest.listen = \"127.0.0.1:4573\"; give it a port of its own",
        ),
        (
            "[admin]\nhealth_listen = \"0.0.0.0:4574\"",
            "2:17: admin.health_listen = \"0.0.0.0:4574\" is taken by admin.listen = \"127.0.0.1:4574\"; give it a port of its own",
        ),
    ] {
        check(text, &[fault]);
    }
    for right in [
        "[ingest]\nlisten = \"0.0.0.0:4573\"\nallow_unprotected = true",
        "[ingest]\nlisten = \"[::1]:4573\"",
        "[ingest]\nlisten = \"127.0.0.2:4574\"",
        "[ingest]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"",
        "[admin]\nlisten = \"0.0.0.0:4574\"\ntoken_file = \"/token\"",
        "[admin]\nlisten = \"0.0.0.0:4574\"\nallow_unprotected = true",
        "[admin]\nhealth_listen = \"0.0.0.0:4575\"",
    ] {
        loaded(right, &[A]);
    }
}

#[test]
fn an_upstream_that_is_ourselves() {
    for own in [
        "http://127.0.0.1:4573",
        "http://localhost:4573/",
        "http://LOCALHOST.:4573",
        "http://a.localhost:4573",
        "http://0.0.0.0:4573",
        "http://[::ffff:127.0.0.1]:4573",
    ] {
        check(
            &format!("[upstream]\nendpoint = \"{own}\""),
            &[&format!(
                "2:12: upstream.endpoint = \"{own}\" is our own ingest.listen = \"127.0.0.1:4573\"; name the service, or leave it out for the Region's own endpoint"
            )],
        );
    }
    let at = |listen: &str, endpoint: &str| {
        format!(
            "[ingest]\nallow_unprotected = true\nlisten = \"{listen}\"\n[upstream]\nendpoint = \"{endpoint}\""
        )
    };
    for (listen, own) in [
        ("0.0.0.0:80", "http://127.0.0.1"),
        ("[::]:443", "https://localhost"),
        ("10.0.0.1:9", "http://10.0.0.1:9"),
    ] {
        assert!(refused(&at(listen, own), &[A]).contains("is our own ingest.listen"));
    }
    for (listen, other) in [
        ("127.0.0.1:4573", "http://localhost:4575"),
        ("127.0.0.1:4573", "http://127.0.0.2:4573"),
        ("10.0.0.1:9", "http://localhost:9"),
        ("0.0.0.0:80", "https://localhost"),
    ] {
        loaded(&at(listen, other), &[A]);
    }
    check(
        "[upstream]\nendpoint = \"http://a\"\nfips = true",
        &["3:8: upstream.fips = true has no meaning beside upstream.endpoint; drop one of them"],
    );
}

#[test]
fn files_that_can_not_be_read() {
    let mut sources = sources("[admin]\ntoken_file = \"/t\"\n[upstream]\nca_file = \"/c\"", &[A]);
    sources.is_readable =
        |path| if path.ends_with("t") { Err("it is gone".to_owned()) } else { Ok(()) };
    let faults = load(&sources, Preset::Service).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "c.toml:2:14: admin.token_file = \"/t\" can not be read: it is gone"
    );
}

#[test]
fn variables_that_are_wrong() {
    for (variables, fault) in [
        (
            [A, ("STANDPIPE_INGEST_LISTN", "x")],
            "STANDPIPE_INGEST_LISTN: there is no such setting; did you mean \"STANDPIPE_INGEST_LISTEN\"?",
        ),
        (
            [A, ("STANDPIPE_BOGUS", "x")],
            "STANDPIPE_BOGUS: there is no such setting; `standpipe config reference` prints all",
        ),
        (
            [A, ("STANDPIPE_STREAMS_B_ACK", "memory")],
            "STANDPIPE_STREAMS_B_ACK: there is no stream of this name; name it in [[streams]] or STANDPIPE_STREAMS",
        ),
        (
            [A, ("STANDPIPE_STREAMS_A_LINGR_MS", "1")],
            "STANDPIPE_STREAMS_A_LINGR_MS: there is no such setting; did you mean \"STANDPIPE_STREAMS_A_LINGER_MS\"?",
        ),
        (
            [A, ("STANDPIPE_INGEST_WORKERS", "many")],
            "STANDPIPE_INGEST_WORKERS: ingest.workers must be a whole number from 1 to 64, not \"many\"",
        ),
        (
            [A, ("STANDPIPE_UPSTREAM_FIPS", "yes")],
            "STANDPIPE_UPSTREAM_FIPS: upstream.fips must be true or false, not \"yes\"",
        ),
        (
            [A, ("STANDPIPE_DEFAULTS_LINGER_MS", "1s")],
            "STANDPIPE_DEFAULTS_LINGER_MS: defaults.linger_ms must be a whole number of milliseconds from 0 to 900000, not \"1s\"; write 1000",
        ),
        (
            [A, ("STANDPIPE_STOP_DELIVER_MS", "30000")],
            "STANDPIPE_STOP_DELIVER_MS: stop.deliver_ms = 30000 is more than stop.grace_ms = 25000; make it at most that",
        ),
        ([("STANDPIPE_STREAMS", "a,a"), ("", "")], "STANDPIPE_STREAMS: \"a\" is listed twice"),
        (
            [("STANDPIPE_STREAMS", "a,"), ("", "")],
            "STANDPIPE_STREAMS: \"\" can not name a stream: a stream name needs at least one character",
        ),
        (
            [("STANDPIPE_STREAMS", "*"), ("STANDPIPE_ANY_STREAM_STREAMS_MAX", "0")],
            "STANDPIPE_STREAMS: \"*\" allows any stream, and any_stream.streams_max = 0 none; drop one of them",
        ),
        (
            [("STANDPIPE_STREAMS", "b-c,b.c"), ("STANDPIPE_STREAMS_B_C_ACK", "memory")],
            "STANDPIPE_STREAMS_B_C_ACK: this can be ack of the stream \"b-c\" or ack of the stream \"b.c\"; set them in the file",
        ),
        (
            [("STANDPIPE_STREAMS", "d,d.min"), ("STANDPIPE_STREAMS_D_MIN_ACK", "memory")],
            "STANDPIPE_STREAMS_D_MIN_ACK: this can be min_ack of the stream \"d\" or ack of the stream \"d.min\"; set them in the file",
        ),
    ] {
        check_variables(&variables, &[fault]);
    }
}

#[test]
fn five_faults_are_five_lines() {
    let text = "[ingest]\nworkers = 0\nlistn = \"x\"\n[stop]\ndeliver_ms = 90000\n[[streams]]\nname = \"a/b\"\n";
    let told = refused(text, &[("STANDPIPE_LOG_FORMAT", "xml")]);
    let places: Vec<&str> = told.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["c.toml:2:11", "c.toml:3:1", "c.toml:5:14", "c.toml:7:8", "STANDPIPE_LOG_FORMAT"]
    );
}

#[test]
fn a_value_that_is_refused_is_not_refused_twice() {
    check(
        "[stop]\ngrace_ms = \"5s\"\ndeliver_ms = 60000",
        &[
            "2:12: stop.grace_ms must be a whole number of milliseconds from 0 to 86400000, not \"5s\"; write 5000",
        ],
    );
}
