//! The command against the emulator, over its real wire protocol: what is told, what is done, how it ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::change::{Change, Changed};
use super::{Asked, Service, all, one};
use crate::aws::{Credentials, Upstream};
use crate::cli::args::{AskedStream, ConfigFile};
use crate::cli::exit::Exit;
use crate::embedded::{self, Emulator, FailureType, Faults, SseTiming};
use crate::encryption::sse::{Config, Declared, Destination, Key, Policy, Target};

const PATIENCE: Duration = Duration::from_secs(20);

/// An emulator with the streams `demo` and `fed`, which reads from the data stream `clicks`.
struct Rig {
    _emulator: Emulator,
    _dir: tempfile::TempDir,
    config: Config,
}

impl Rig {
    fn start(transition: Duration, faults: Faults) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let emulator = Emulator::start(embedded::Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().to_owned(),
            streams: vec!["demo".parse().unwrap()],
            kinesis_streams: vec!["clicks=fed".parse().unwrap()],
            sse: SseTiming { transition, settle: Duration::ZERO, calls_per_day_max: 2 },
            faults,
            ..embedded::Config::default()
        })
        .unwrap();
        let endpoint = Some(emulator.endpoint_url());
        let upstream = Upstream {
            region: Some("us-east-1".to_owned()),
            endpoint: endpoint.clone(),
            credentials: Credentials::Embedded,
            ..Upstream::default()
        };
        let config = Config { upstream, kinesis_endpoint: endpoint, ..Config::default() };
        Self { _emulator: emulator, _dir: dir, config }
    }

    fn quick() -> Self {
        Self::start(Duration::from_millis(50), Faults::default())
    }

    fn service(&self) -> Service {
        Service::new(&self.config).unwrap()
    }

    /// Declares something of a stream.
    fn declare(&mut self, stream: &str, declared: Declared) {
        self.config.streams.insert(stream.parse().unwrap(), declared);
    }

    /// A change, and what is shown of it.
    fn change(&self, stream: &str, target: &Target, wait: Option<Duration>) -> (Changed, Value) {
        let change = self.what(stream, target);
        let changed = change.make(&self.service(), wait);
        let shown = serde_json::from_str(&changed.as_json(&change)).unwrap();
        (changed, shown)
    }

    fn what<'a>(&self, stream: &str, target: &'a Target) -> Change<'a> {
        let poll = (Duration::from_millis(10), Duration::from_millis(50));
        Change { asked: self.asked(stream), target, poll }
    }

    fn asked(&self, stream: &str) -> Asked {
        one(&self.config, &named(Some(stream), None)).unwrap()
    }
}

fn named(stream: Option<&str>, kinesis_stream: Option<&str>) -> AskedStream {
    AskedStream {
        stream: stream.map(|stream| stream.parse().unwrap()),
        kinesis_stream: kinesis_stream.map(str::to_owned),
        config: ConfigFile { path: None },
        json: false,
    }
}

const OWNED: Target = Target::Encrypted(Key::AwsOwned);

#[test]
fn streams_are_shown_with_what_is_declared_of_them() {
    let mut rig = Rig::quick();
    rig.declare("demo", Declared { policy: Policy::Require, ..Declared::default() });
    rig.declare("fed", Declared { manage: Some(OWNED), ..Declared::default() });
    let looks = rig.service().look(all(&rig.config));
    let text = looks.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("STREAM  ENCRYPTION  KEY"), "{text}");
    assert!(lines[1].starts_with("demo    disabled") && lines[1].contains("firehose"), "{text}");
    assert!(lines[1].ends_with("require, not managed"), "{text}");
    assert!(
        lines[2].contains("kinesis: arn:aws:kinesis:us-east-1:000000000000:stream/clicks"),
        "{text}"
    );
    assert!(
        text.contains("demo: encryption = \"require\" is declared, and it is not encrypted"),
        "{text}"
    );
    assert!(text.contains(
        "fed: encrypted under aws-owned is declared (manage = true), and it is not encrypted"
    ));
    let shown: Value = serde_json::from_str(&looks.as_json()).unwrap();
    let fed = &shown["streams"][1];
    assert_eq!((&fed["name"], &fed["source"]), (&json!("fed"), &json!("KinesisStreamAsSource")));
    assert_eq!((&fed["encrypted"], &fed["error"]), (&json!(false), &Value::Null));
    assert_eq!(fed["deviations"].as_array().unwrap().len(), 1);
    assert_eq!(looks.result(false), Ok(()), "an answer is an answer");
    let failure = looks.result(true).unwrap_err();
    assert_eq!((failure.exit, failure.exit.code()), (Exit::Unwell, 1));
    assert_eq!(failure.message, "2 of 2 streams are not encrypted as they should be");
}

#[test]
fn a_stream_that_is_not_there_is_told_and_ends_with_its_own_code() {
    let rig = Rig::quick();
    let looks = rig.service().look(vec![rig.asked("demo"), rig.asked("missing")]);
    assert!(
        looks.text().contains("missing: it could not be asked about: ResourceNotFoundException")
    );
    let shown: Value = serde_json::from_str(&looks.as_json()).unwrap();
    assert_eq!(shown["streams"][1]["error"]["code"], "ResourceNotFoundException");
    assert_eq!(looks.result(false).unwrap_err().exit, Exit::Unavailable);
    let (changed, shown) = rig.change("missing", &OWNED, Some(PATIENCE));
    assert_eq!(shown["error"]["code"], "ResourceNotFoundException");
    let failure = changed.result(&rig.what("missing", &OWNED)).unwrap_err();
    assert_eq!(failure.exit, Exit::Unavailable);
}

#[test]
fn encryption_is_switched_on_waited_for_and_switched_off_again() {
    let rig = Rig::quick();
    for (stream, start, stop) in [
        ("demo", "StartDeliveryStreamEncryption", "StopDeliveryStreamEncryption"),
        ("fed", "StartStreamEncryption", "StopStreamEncryption"),
    ] {
        let (changed, shown) = rig.change(stream, &OWNED, Some(PATIENCE));
        assert_eq!(
            (&shown["call"], &shown["waited"]),
            (&json!(start), &json!("reached")),
            "{shown}"
        );
        assert_eq!(shown["encryption"]["encrypted"], json!(true));
        let what = rig.what(stream, &OWNED);
        assert_eq!(changed.result(&what), Ok(()));
        let text = changed.text(&what);
        assert!(
            text.contains(&format!("{stream}: the service has taken {start}: once that is done")),
            "{text}"
        );
        assert!(text.contains("it is encrypted under aws-owned now"), "{text}");

        let (changed, shown) = rig.change(stream, &OWNED, None);
        assert_eq!((&shown["call"], &shown["waited"]), (&Value::Null, &Value::Null));
        assert!(changed.text(&what).ends_with("as it stands; nothing was done\n"));

        let (_, shown) = rig.change(stream, &Target::Plain, Some(PATIENCE));
        assert_eq!((&shown["call"], &shown["waited"]), (&json!(stop), &json!("reached")));
        assert_eq!(shown["encryption"]["state"], "disabled");
    }
    // The emulator allows two calls a day here: Start and Stop together at Firehose.
    let (changed, shown) = rig.change("demo", &OWNED, None);
    assert_eq!(shown["error"]["code"], "too_many_calls");
    assert_eq!(changed.result(&rig.what("demo", &OWNED)).unwrap_err().exit, Exit::Unavailable);
}

#[test]
fn a_data_stream_can_be_named_without_its_delivery_stream() {
    let rig = Rig::quick();
    let asked = one(&rig.config, &named(None, Some("clicks"))).unwrap();
    assert_eq!(asked.name, "clicks");
    assert_eq!(asked.declared.destination, Destination::Kinesis("clicks".into()));
    let looks = rig.service().look(vec![asked]);
    let shown: Value = serde_json::from_str(&looks.as_json()).unwrap();
    assert_eq!(
        (&shown["streams"][0]["source"], &shown["streams"][0]["state"]),
        (&Value::Null, &json!("disabled"))
    );
    assert!(one(&rig.config, &named(None, None)).is_none());
}

#[test]
fn a_change_that_fails_is_told_with_the_services_reason() {
    let faults = Faults { sse_failure: Some(FailureType::KmsAccessDenied), ..Faults::default() };
    let rig = Rig::start(Duration::from_millis(50), faults);
    let (changed, shown) = rig.change("demo", &OWNED, Some(PATIENCE));
    assert_eq!(shown["waited"], "failed");
    assert_eq!(shown["encryption"]["failure"]["type"], "KMS_ACCESS_DENIED");
    let failure = changed.result(&rig.what("demo", &OWNED)).unwrap_err();
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.message.contains("KMS_ACCESS_DENIED"), "{}", failure.message);
}

#[test]
fn a_wait_ends_and_one_that_finds_a_change_under_way_waits_for_that_too() {
    let rig = Rig::start(Duration::from_millis(1_500), Faults::default());
    let (changed, shown) = rig.change("demo", &OWNED, Some(Duration::from_millis(50)));
    assert_eq!(shown["waited"], "too_long");
    let failure = changed.result(&rig.what("demo", &OWNED)).unwrap_err();
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.message.contains("enabling"), "{}", failure.message);
    let (_, shown) = rig.change("demo", &OWNED, None);
    assert_eq!(shown["error"]["code"], "busy");
    let (_, shown) = rig.change("demo", &OWNED, Some(PATIENCE));
    assert_eq!((&shown["waited"], &shown["call"]), (&json!("reached"), &Value::Null));
}

#[test]
fn whoever_would_undo_it_is_named() {
    let mut rig = Rig::quick();
    rig.declare("demo", Declared { manage: Some(OWNED), ..Declared::default() });
    let (changed, shown) = rig.change("demo", &Target::Plain, None);
    assert!(
        shown["warning"].as_str().unwrap().contains("a running standpipe with this configuration")
    );
    let text = changed.text(&rig.what("demo", &Target::Plain));
    assert!(
        text.starts_with("demo: encrypted under aws-owned is declared (manage = true)"),
        "{text}"
    );
    let (_, shown) = rig.change("demo", &OWNED, None);
    assert_eq!(shown["warning"], Value::Null);
    let (_, shown) = rig.change("demo", &Target::Encrypted(Key::Customer("alias/x".into())), None);
    assert_eq!(shown["error"]["code"], "impossible");
}
