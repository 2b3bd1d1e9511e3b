//! What is declared of streams: what reaches the stages, and what is refused with which words.

use std::path::Path;
use std::time::Duration;

use super::{FILE, loaded, refused, sources};
use crate::config::{Preset, load};
use crate::encryption::sse::{Declared, Destination, Key, Policy, Target};
use crate::forward::PartitionKey;

const A: (&str, &str) = ("STANDPIPE_STREAMS", "a");
const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// What is declared of the stream `a`.
fn declared(text: &str) -> Declared {
    loaded(text, &[A]).config.sse.streams["a"].clone()
}

/// Checks that the text has exactly this fault, beside the stream `a`.
fn check(text: &str, fault: &str) {
    assert_eq!(refused(text, &[A]), format!("{FILE}:{fault}"), "\n{text}");
}

#[test]
fn a_stream_of_which_nothing_is_said_is_asked_about_watched_and_never_changed() {
    let all = loaded("", &[("STANDPIPE_STREAMS", "a,*")]).config.sse;
    let nothing = Declared {
        destination: Destination::Auto,
        policy: Policy::Report,
        manage: None,
        asks_joins: false,
    };
    assert_eq!(all.streams.values().collect::<Vec<_>>(), [&nothing]);
    assert_eq!(all.others, nothing);
    assert_eq!(all.dir, None);
}

#[test]
fn what_a_stream_says_wins_over_what_holds_for_all() {
    let text = format!(
        "[defaults]\nencryption = \"require\"\nmanage = true\nencryption_key = \"{ARN}\"\n\
         [[streams]]\nname = \"a\"\ndestination = \"firehose\"\n\
         [[streams]]\nname = \"b\"\nmanage = false\nencryption = \"ignore\"\n\
         [[streams]]\nname = \"c\"\ndestination = \"kinesis\"\nkinesis_stream = \"clicks\"\nencryption_key = \"alias/c\"\n"
    );
    let sse = loaded(&text, &[("STANDPIPE_STREAMS_B_ENCRYPTION", "report")]).config.sse;
    let of = |name: &str| sse.streams[name].clone();
    let under = |key: &str| Some(Target::Encrypted(Key::Customer(key.into())));
    let (policy, destination) = (Policy::Require, Destination::Firehose);
    assert_eq!(of("a"), Declared { destination, policy, manage: under(ARN), asks_joins: false });
    let policy = Policy::Report;
    assert_eq!(
        of("b"),
        Declared { destination: Destination::Auto, policy, manage: None, asks_joins: false }
    );
    let (policy, destination) = (Policy::Require, Destination::Kinesis("clicks".into()));
    assert_eq!(
        of("c"),
        Declared { destination, policy, manage: under("alias/c"), asks_joins: false }
    );
    assert_eq!(sse.others.manage, None, "nobody manages what is there for its backlog alone");
    let any = loaded(&text, &[("STANDPIPE_STREAMS", "*")]).config.sse;
    assert_eq!(any.others.manage, under(ARN));
}

#[test]
fn a_key_is_the_services_own_a_customers_or_none() {
    let manage = |key: &str| declared(&format!("[defaults]\nmanage = true\n{key}")).manage;
    assert_eq!(manage(""), Some(Target::Encrypted(Key::AwsOwned)));
    assert_eq!(manage("encryption_key = \"aws-owned\""), Some(Target::Encrypted(Key::AwsOwned)));
    assert_eq!(manage("encryption_key = \"none\""), Some(Target::Plain));
    for key in [ARN, "alias/mine", "1234abcd-12ab-34cd-56ef-1234567890ab"] {
        let target = manage(&format!("encryption_key = \"{key}\""));
        assert_eq!(target, Some(Target::Encrypted(Key::Customer(key.into()))));
    }
    for wrong in ["alias/", "mine", "arn:aws:s3:::bucket", "NONE"] {
        let text = format!("[defaults]\nmanage = true\nencryption_key = \"{wrong}\"");
        let told = refused(&text, &[A]);
        assert!(
            told.starts_with("c.toml:3:18: defaults.encryption_key must be \"aws-owned\", the ARN"),
            "{told}"
        );
        assert!(
            told.ends_with(&format!("or \"none\" for not encrypted, not \"{wrong}\"")),
            "{told}"
        );
    }
}

#[test]
fn a_data_stream_is_named_with_and_only_with_its_destination() {
    for name in ["clicks", "a_b.c-1", "arn:aws:kinesis:eu-west-1:111122223333:stream/clicks"] {
        let text = format!(
            "[[streams]]\nname = \"a\"\ndestination = \"kinesis\"\nkinesis_stream = \"{name}\""
        );
        assert_eq!(declared(&text).destination, Destination::Kinesis(name.into()));
    }
    let long = "x".repeat(129);
    for wrong in ["a b", "arn:aws:kinesis:eu-west-1:1:stream/clicks", &long] {
        let text = format!("[defaults]\ndestination = \"kinesis\"\nkinesis_stream = \"{wrong}\"");
        let told = refused(&text, &[A]);
        let begins = "c.toml:3:18: defaults.kinesis_stream must be the name of a Kinesis data stream, or its ARN";
        assert!(told.starts_with(begins) && told.lines().count() == 1, "{told}");
    }
    check(
        "[[streams]]\nname = \"a\"\ndestination = \"kinesis\"",
        "3:15: destination of the stream \"a\" = \"kinesis\" needs kinesis_stream, the name or the ARN of the data stream",
    );
    check(
        "[defaults]\ndestination = \"kinesis\"",
        "2:15: destination of the stream \"a\" = \"kinesis\" needs kinesis_stream, the name or the ARN of the data stream",
    );
    check(
        "[defaults]\nkinesis_stream = \"clicks\"",
        "2:18: defaults.kinesis_stream has no meaning without destination = \"kinesis\"; write that, or drop it",
    );
    check(
        "[[streams]]\nname = \"a\"\ndestination = \"firehose\"\nkinesis_stream = \"clicks\"",
        "4:18: kinesis_stream of the stream \"a\" has no meaning without destination = \"kinesis\"; write that, or drop it",
    );
}

#[test]
fn what_holds_for_all_is_no_fault_where_it_means_nothing_to_one() {
    let text = "[defaults]\ndestination = \"kinesis\"\nkinesis_stream = \"clicks\"\npartition_key = \"header\"\n\
                manage = true\nencryption_key = \"alias/x\"\n\
                [[streams]]\nname = \"a\"\n[[streams]]\nname = \"b\"\ndestination = \"firehose\"\nmanage = false\n";
    let of_file = loaded(text, &[]);
    let sse = &of_file.config.sse;
    assert_eq!(sse.streams["b"].destination, Destination::Firehose);
    assert_eq!(sse.streams["a"].destination, Destination::Kinesis("clicks".into()));
    assert_eq!(loaded(&of_file.show(), &[]).config, of_file.config);
    // A default that holds for nobody is none.
    let only = "[defaults]\ndestination = \"kinesis\"\n[[streams]]\nname = \"a\"\nkinesis_stream = \"clicks\"\n";
    assert_eq!(declared(only).destination, Destination::Kinesis("clicks".into()));
    let any = refused(only, &[("STANDPIPE_STREAMS", "*")]);
    assert!(
        any.starts_with("c.toml:2:15: defaults.destination = \"kinesis\" needs kinesis_stream"),
        "{any}"
    );
}

#[test]
fn a_partition_key_is_random_a_header_or_a_pointer() {
    for right in ["random", "header", "/user/id", "/", "/a~0b~1c"] {
        loaded(&format!("[defaults]\npartition_key = \"{right}\""), &[A]);
    }
    let long = format!("/{}", "x".repeat(256));
    for wrong in ["user", "/a~2", "/a~", &long] {
        let told = refused(&format!("[defaults]\npartition_key = \"{wrong}\""), &[A]);
        let begins =
            "c.toml:2:17: defaults.partition_key must be \"random\", \"header\", or a JSON pointer";
        assert!(told.starts_with(begins), "{told}");
    }
    check(
        "[[streams]]\nname = \"a\"\ndestination = \"firehose\"\npartition_key = \"header\"",
        "4:17: partition_key of the stream \"a\" has no meaning without a destination that can be a data stream; \
         write destination = \"auto\" or \"kinesis\", or drop it",
    );
}

#[test]
fn where_a_partition_key_comes_from_reaches_who_reads_it_and_who_sends_it() {
    let text = "[defaults]\npartition_key = \"header\"\nbatch_records_max = 10\n[[streams]]\nname = \"b\"\n\
                partition_key = \"/user/id\"\n[[streams]]\nname = \"c\"\npartition_key = \"random\"\n\
                batch_bytes_max = 2048\nbatch_records_max = 500\n";
    let config = loaded(text, &[("STANDPIPE_STREAMS", "a,*")]).config;
    let of = |name: &str| config.forward.streams[name].clone();
    assert_eq!(of("a").partition_key, PartitionKey::Header);
    assert_eq!(of("b").partition_key, PartitionKey::Pointer("/user/id".parse().unwrap()));
    assert_eq!(of("c").partition_key, PartitionKey::Random);
    assert_eq!((of("a").request_records_max, of("a").request_bytes_max), (Some(10), None));
    assert_eq!((of("c").request_records_max, of("c").request_bytes_max), (None, Some(2_048)));
    assert_eq!(config.forward.others, of("a"));
    let streams = &config.ingest.streams;
    let reads: Vec<bool> = streams.iter().map(|s| s.settings.partition_key_header).collect();
    assert_eq!(reads, [true, false, false]);
    assert!(config.ingest.any_stream.unwrap().settings.partition_key_header);
}

#[test]
fn a_key_needs_an_owner_and_an_owner_what_can_be_done() {
    check(
        "[defaults]\nencryption_key = \"aws-owned\"",
        "2:18: defaults.encryption_key has no meaning without manage = true, since nobody else changes a stream; \
         write that, or drop it",
    );
    check(
        "[defaults]\nmanage = true\n[[streams]]\nname = \"a\"\nmanage = false\nencryption_key = \"none\"",
        "6:18: encryption_key of the stream \"a\" has no meaning without manage = true, since nobody else changes a \
         stream; write that, or drop it",
    );
    check(
        "[[streams]]\nname = \"a\"\nmanage = true\nencryption = \"require\"\nencryption_key = \"none\"",
        "5:18: encryption_key of the stream \"a\" = \"none\" can not stand beside encryption = \"require\": no record \
         would ever leave; name a key, or write encryption = \"report\"",
    );
    check(
        "[[streams]]\nname = \"a\"\nmanage = true\nencryption = \"ignore\"",
        "3:10: manage of the stream \"a\" = true can not stand beside encryption = \"ignore\", by which the service is \
         not even asked; write encryption = \"report\" or \"require\", or drop manage",
    );
    for key in [
        "alias/mine",
        "arn:aws:kms:eu-west-1:111122223333:alias/mine",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
    ] {
        let text = format!(
            "[[streams]]\nname = \"a\"\ndestination = \"firehose\"\nmanage = true\nencryption_key = \"{key}\""
        );
        check(
            &text,
            &format!(
                "5:18: encryption_key of the stream \"a\" = \"{key}\" can not be the key of a delivery stream, which takes \
             the ARN of a key alone (arn:aws:kms:...:key/...) or \"aws-owned\""
            ),
        );
        declared(&text.replace("destination = \"firehose\"\n", ""));
    }
}

#[test]
fn a_stream_that_requires_encryption_can_do_without_a_spool() {
    let text = "[[streams]]\nname = \"a\"\nencryption = \"require\"\nack = \"memory\"";
    assert_eq!(declared(text).policy, Policy::Require);
}

#[test]
fn what_the_control_needs_of_others_is_theirs() {
    let text = format!(
        "[upstream]\nregion = \"eu-west-1\"\nkinesis_endpoint = \"https://kinesis.test\"\nproxy = \"http://p:1\"\n\
         [forward]\nconnect_timeout_ms = 50\nattempt_timeout_ms = 4000\n\
         [keys]\nkey = \"{ARN}\"\n[spool]\ndir = \"/spool\"\n"
    );
    let config = loaded(&text, &[A]).config;
    assert_eq!(config.sse.upstream, config.forward.upstream);
    assert_eq!(config.sse.kinesis_endpoint.as_deref(), Some("https://kinesis.test"));
    assert_eq!(config.forward.kinesis_endpoint, config.sse.kinesis_endpoint);
    assert_eq!(config.sse.connect_timeout, Duration::from_millis(50));
    assert_eq!(config.sse.attempt_timeout, Duration::from_secs(4));
    assert_eq!(config.sse.dir.as_deref(), Some(Path::new("/spool/control")));
    let long = loaded("[forward]\nconnect_timeout_ms = 20000\n", &[A]).config.sse;
    assert_eq!(long.attempt_timeout, Duration::from_secs(20));
    let mut embedded = load(&sources("", &[]), Preset::Embedded).unwrap();
    embedded.place_spool(Path::new("/data"));
    assert_eq!(embedded.config.sse.dir.as_deref(), Some(Path::new("/data/spool/control")));
}

#[test]
fn times_switches_and_endpoints_have_to_fit() {
    check(
        "[control]\npoll_min_ms = 400000",
        "2:15: control.poll_min_ms = 400000 is more than control.poll_max_ms = 300000; make it at most that",
    );
    check(
        "[control]\ncalls_max = 26",
        "2:13: control.calls_max must be a whole number from 1 to 25, not 26",
    );
    check(
        "[admin]\nmanage_encryption = true",
        "2:21: admin.manage_encryption = true needs admin.token_file: nobody changes a stream without the token",
    );
    check(
        "[upstream]\nkinesis_endpoint = \"http://localhost:4573\"",
        "2:20: upstream.kinesis_endpoint = \"http://localhost:4573\" is our own ingest.listen = \"127.0.0.1:4573\"; \
         name the service, or leave it out for the Region's own endpoint",
    );
    check(
        "[upstream]\nfips = true\nkinesis_endpoint = \"http://kinesis.test\"",
        "2:8: upstream.fips = true has no meaning beside upstream.kinesis_endpoint; drop one of them",
    );
    let embedded =
        load(&sources("[upstream]\nkinesis_endpoint = \"http://a:1\"\n", &[]), Preset::Embedded);
    assert_eq!(
        embedded.unwrap_err().to_string(),
        "c.toml:2:20: --embedded brings its own upstream; drop upstream.kinesis_endpoint or --embedded"
    );
}
