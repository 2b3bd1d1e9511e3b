//! The spool and the levels that need it: what is the default, what is refused and with which words.

use super::{FILE, loaded, only_sources, refused};
use crate::config::{Loaded, Preset, load};
use crate::record::Ack;
use crate::spool::Volume;

const A: (&str, &str) = ("STANDPIPE_STREAMS", "a");
const SPOOL: (&str, &str) = ("STANDPIPE_SPOOL_DIR", "/spool");
const KEY: (&str, &str) = ("STANDPIPE_KEYS_KEY", "arn:aws:kms:eu-west-1:111122223333:key/mrk-1");

const UNSAID: &str = "configuration: a pipe without a spool must say ack = \"memory\" itself: write ack = \
                      \"memory\" below [defaults], or name a directory with spool.dir";

/// What these say, without a level that the tests add.
fn only(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    load(&only_sources(text, variables), Preset::Service).map_err(|faults| faults.to_string())
}

#[test]
fn durable_is_what_nobody_has_to_ask_for() {
    let config = only("", &[("STANDPIPE_STREAMS", "a,*"), SPOOL, KEY]).unwrap().config;
    assert_eq!(config.ingest.streams[0].settings.ack, Ack::Durable);
    assert_eq!(config.ingest.streams[0].settings.min_ack, Ack::Memory);
    assert_eq!(config.ingest.any_stream.unwrap().settings.ack, Ack::Durable);
    assert_eq!(config.spool.unwrap().volume, Volume::Persistent);
}

#[test]
fn a_pipe_without_a_spool_says_memory_itself() {
    for variables in [&[A][..], &[("STANDPIPE_STREAMS", "a,b,*")]] {
        assert_eq!(only("", variables).unwrap_err(), UNSAID);
    }
    // One stream that says nothing is enough.
    let one = "[[streams]]\nname = \"b\"\nack = \"memory\"\n";
    assert_eq!(only(one, &[A]).unwrap_err(), UNSAID);
    assert_eq!(only(one, &[]).unwrap().config.spool, None);
    let all = only("[defaults]\nack = \"memory\"\n", &[A]).unwrap().config;
    assert_eq!(all.ingest.streams[0].settings.ack, Ack::Memory);
    for level in ["ack = \"delivered\"", "min_ack = \"delivered\""] {
        let delivered = only(&format!("[defaults]\n{level}\n"), &[A]).unwrap().config;
        assert_eq!(delivered.ingest.streams[0].settings.ack, Ack::Delivered);
    }
}

#[test]
fn durable_is_refused_without_a_spool_where_it_is_said() {
    let why = "= \"durable\" needs a spool; name a directory with spool.dir, or write \"memory\"";
    for key in ["ack", "min_ack"] {
        let column = key.len() + 4;
        let text = format!(
            "[defaults]\n{key} = \"durable\"\n[[streams]]\nname = \"b\"\n{key} = \"durable\"\n"
        );
        let told = only(&text, &[A]).unwrap_err();
        assert!(told.contains(&format!("{FILE}:2:{column}: defaults.{key} {why}")), "{told}");
        assert!(told.contains(&format!("{FILE}:5:{column}: {key} of the stream \"b\" {why}")));
        assert!(!told.contains("must say"), "{told}");
    }
    assert_eq!(
        only("[defaults]\nack = \"memory\"", &[A, ("STANDPIPE_STREAMS_A_ACK", "durable")])
            .unwrap_err(),
        format!("STANDPIPE_STREAMS_A_ACK: ack of the stream \"a\" {why}")
    );
}

#[test]
fn a_level_that_is_misspelt_is_one_fault() {
    let told = only("[defaults]\nack = \"durabel\"", &[A]).unwrap_err();
    assert_eq!(
        told,
        "c.toml:2:7: defaults.ack must be \"memory\", \"durable\" or \"delivered\", not \"durabel\"; \
         did you mean \"durable\"?"
    );
}

#[test]
fn keys_of_a_spool_that_is_not_there_have_no_meaning() {
    assert_eq!(
        refused("[spool]\nbytes_max = 10000000\n", &[A]),
        "c.toml:2:13: spool.bytes_max has no meaning without a spool; name a directory with spool.dir"
    );
    assert_eq!(
        refused("[[streams]]\nname = \"b\"\noversize = \"dead-letter\"\n", &[]),
        "c.toml:3:12: oversize of the stream \"b\" = \"dead-letter\" needs a spool; name a directory \
         with spool.dir, or write \"refuse\""
    );
}

#[test]
fn bounds_of_the_spool_that_do_not_go_together() {
    for (text, fault) in [
        (
            "stream_bytes_max = 5000000000",
            "2:20: spool.stream_bytes_max = 5000000000 is more than spool.bytes_max = 4294967296; make it at most that",
        ),
        (
            "segment_bytes_max = 20000000\nstream_bytes_max = 10000000",
            "2:21: spool.segment_bytes_max = 20000000 is more than spool.stream_bytes_max = 10000000; make it at most that",
        ),
        (
            "stream_floor_bytes = 5000000000",
            "2:22: spool.stream_floor_bytes = 5000000000 is more than spool.stream_bytes_max = 4294967296; make it at most that",
        ),
        (
            "read_ahead_bytes_max = 60000000",
            "2:24: spool.read_ahead_bytes_max and spool.group_bytes_max are 68388608 bytes together, more than half of memory.bytes_max = 67108864; lower those or raise memory.bytes_max",
        ),
    ] {
        let told = refused(&format!("[spool]\n{text}"), &[A, SPOOL, KEY]);
        assert!(told.lines().any(|line| line == format!("{FILE}:{fault}")), "{told}");
    }
    assert_eq!(
        refused(
            "[spool]\nstream_floor_bytes = 3000000000",
            &[("STANDPIPE_STREAMS", "a,b"), SPOOL, KEY]
        ),
        "c.toml:2:22: the floors of 2 streams and spool.reserve_bytes are 6067108864 bytes together, more \
         than spool.bytes_max = 4294967296; lower spool.stream_floor_bytes or raise spool.bytes_max"
    );
}

#[test]
fn bounds_of_the_spool_that_nobody_set_fit_each_other_and_the_memory() {
    let spool = |text: &str, streams: &str| {
        loaded(text, &[("STANDPIPE_STREAMS", streams), SPOOL, KEY]).config.spool.unwrap()
    };
    let mib = 1024 * 1024;
    let small = spool("[spool]\nbytes_max = 33554432\n", "a");
    assert_eq!((small.stream_bytes_max, small.segment_bytes_max), (32 * mib, 8 * mib));
    assert_eq!((small.stream_floor_bytes, small.reserve_bytes), (16 * mib, 8 * mib));
    assert_eq!(spool("", "*").stream_floor_bytes, 16 * mib);
    assert_eq!(spool("[spool]\nbytes_max = 838860800\n", "*").stream_floor_bytes, 4 * mib);
    let tight = spool("[memory]\nbytes_max = 33554432\n", "a");
    assert_eq!((tight.read_ahead_bytes_max, tight.group_bytes_max), (6 * mib, 6 * mib));
    assert_eq!(tight.reserve_bytes, 32 * mib);
    // What the spool takes is not for the streams.
    let floor = |variables: &[(&str, &str)]| {
        loaded("", variables).config.ingest.streams[0].settings.memory_floor_bytes
    };
    assert_eq!(floor(&[A]) - floor(&[A, SPOOL, KEY]), 4 * mib);
}

#[test]
fn an_embedded_run_has_a_spool_below_its_data() {
    let mut demo = load(&only_sources("", &[]), Preset::Embedded).unwrap();
    assert_eq!(demo.config.ingest.streams[0].settings.ack, Ack::Durable);
    demo.place_spool("data".as_ref());
    assert_eq!(demo.config.spool.as_ref().unwrap().dir.to_str(), Some("data/spool"));
    let mut named = load(&only_sources("", &[SPOOL]), Preset::Embedded).unwrap();
    named.place_spool("data".as_ref());
    assert_eq!(named.config.spool.as_ref().unwrap().dir.to_str(), Some("/spool"));
}

#[test]
fn a_spool_keeps_nothing_in_the_clear() {
    let told = only("", &[A, SPOOL]).unwrap_err();
    assert_eq!(
        told,
        "configuration: keys.key is not set, and KMS wraps the data keys of the spool: set it to the ARN \
         of a KMS key, or write provider = \"file\" and name a file"
    );
    let file = [("STANDPIPE_KEYS_PROVIDER", "file"), ("STANDPIPE_KEYS_FILE", "/key")];
    assert!(only("", &[A, SPOOL, file[0], file[1]]).unwrap().config.keys.is_some());
}
