//! The control against real services on loopback: the emulator, over its wire protocol. The data plane is
//! played here: it sends when its gate lets it, and says what the answers said.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::testing::{control, http, wait};
use super::*;
use crate::aws::Credentials;
use crate::embedded::{self, Emulator, SseTiming};
use crate::gate::{Flag, Gate, Passage, Proof, Route};

const MS: Duration = Duration::from_millis(1);

/// The emulator: the delivery stream `direct`, and `demo`, which reads from the data stream `data`.
struct Service {
    emulator: Emulator,
    dir: TempDir,
}

/// One process with the control, and its config for the next life.
struct Life {
    control: Control,
    gates: crate::gate::Gates,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let emulator = Emulator::start(embedded::Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: dir.path().join("emulator"),
            streams: vec![name("direct")],
            kinesis_streams: vec!["data=demo".parse().unwrap()],
            sse: SseTiming { transition: MS * 40, settle: MS * 10, calls_per_day_max: 25 },
            ..embedded::Config::default()
        })
        .unwrap();
        Self { emulator, dir }
    }

    fn config(&self, stream: &str, declared: Declared) -> Config {
        Config {
            upstream: Upstream {
                endpoint: Some(self.emulator.endpoint_url()),
                credentials: Credentials::Embedded,
                ..Upstream::default()
            },
            kinesis_endpoint: Some(self.emulator.endpoint_url()),
            streams: [(name(stream), declared)].into(),
            watch_interval: Duration::from_secs(3_600),
            settle: MS * 20,
            poll_min: MS * 5,
            poll_max: MS * 50,
            dir: Some(self.state_dir()),
            ..Config::default()
        }
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn life(&self, stream: &str, declared: Declared) -> Life {
        let control = Control::start(self.config(stream, declared)).unwrap();
        let gates = control.gates();
        Life { control, gates }
    }

    fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        control(self.emulator.local_addr(), method, path, body)
    }

    /// What is true of the encryption of a delivery stream.
    fn truth(&self, stream: &str) -> Value {
        self.control("GET", &format!("/emulator/streams/{stream}/encryption"), &Value::Null)
    }

    fn command(&self, stream: &str, command: &Value) {
        self.control("PUT", &format!("/emulator/streams/{stream}/encryption"), command);
    }

    /// How often an action was asked for.
    fn calls(&self, service: &str, action: &str) -> u64 {
        let calls = self.control("GET", "/emulator/calls", &Value::Null);
        calls[service][action].as_u64().unwrap_or(0)
    }

    /// Puts one record into `direct`, and gives the flag of the answer.
    fn put(&self, target: &str, body: &Value) -> Value {
        let headers = [("X-Amz-Target", target)];
        let address = self.emulator.local_addr();
        let answer = http(address, "POST", "/", &headers, &body.to_string());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    fn flag(&self, route: &Route) -> Flag {
        match route {
            Route::Firehose => {
                let body = json!({"DeliveryStreamName": "direct", "Record": {"Data": "YQ=="}});
                Flag::of(self.put("Firehose_20150804.PutRecord", &body)["Encrypted"].as_bool())
            }
            Route::Kinesis(_) => {
                let body = json!({"StreamName": "data", "Data": "YQ==", "PartitionKey": "k"});
                match self.put("Kinesis_20131202.PutRecord", &body)["EncryptionType"].as_str() {
                    Some("KMS") => Flag::Encrypted,
                    Some(_) => Flag::Plain,
                    None => Flag::Absent,
                }
            }
            Route::Unknown | Route::Nowhere(_) => panic!("there is no way"),
        }
    }
}

impl Life {
    fn status(&self, stream: &str) -> StreamStatus {
        let all = self.control.watcher().status();
        all.into_iter().find(|status| status.stream.as_str() == stream).unwrap()
    }

    fn wait_for(&self, stream: &str, what: &str, is_so: impl Fn(&StreamStatus) -> bool) {
        wait(what, || Some(self.status(stream)).filter(|status| is_so(status)));
    }

    fn change(&self, stream: &str, target: Target) -> Result<Changed, ChangeRefused> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let change = Change { stream: name(stream), target };
        runtime.block_on(self.control.watcher().change(change))
    }
}

/// Sends once if the gate lets it, and says what the answer said.
fn send(service: &Service, gate: &Gate) -> Option<Flag> {
    let guidance = gate.guidance().clone();
    let began_at = Instant::now();
    if matches!(guidance.passage, Passage::Closed(_)) || guidance.route == Route::Unknown {
        return None;
    }
    let flag = service.flag(&guidance.route);
    let proof = Proof { epoch: guidance.epoch, began_at, at: Instant::now() };
    gate.saw(flag, 1, proof, true);
    Some(flag)
}

fn is_open(gate: &Gate) -> bool {
    gate.guidance().passage == Passage::Open
}

fn name(stream: &str) -> StreamName {
    stream.parse().unwrap()
}

fn owner(key: Key) -> Declared {
    Declared {
        policy: Policy::Require,
        manage: Some(Target::Encrypted(key)),
        ..Declared::default()
    }
}

fn watcher(policy: Policy) -> Declared {
    Declared { policy, ..Declared::default() }
}

/// Sends until the gate is open.
fn open(service: &Service, gate: &Gate) {
    wait("the gate opens", || {
        send(service, gate);
        is_open(gate).then_some(())
    });
}

#[test]
fn an_owner_switches_encryption_on_and_the_gate_opens_when_an_answer_confirms_it() {
    for (stream, action) in
        [("direct", "StartDeliveryStreamEncryption"), ("demo", "StartStreamEncryption")]
    {
        let service = Service::start();
        let life = service.life(stream, owner(Key::AwsOwned));
        let gate = life.gates.open(&name(stream));
        let mut flags = Vec::new();
        wait("the gate opens", || {
            flags.extend(send(&service, &gate));
            is_open(&gate).then_some(())
        });
        assert_eq!(flags.first(), Some(&Flag::Encrypted), "nothing left before: {flags:?}");
        let status = life.status(stream);
        assert_eq!((status.state, status.doing), (State::Enabled, "idle"));
        assert_eq!(status.calls_left, 24);
        assert_eq!(status.records.unencrypted, 0);
        let which = if stream == "demo" { "kinesis" } else { "firehose" };
        assert_eq!(service.calls(which, action), 1);
        let is_kinesis = matches!(status.route, Route::Kinesis(_));
        assert_eq!(is_kinesis, stream == "demo");
        if is_kinesis {
            assert_eq!(service.calls("firehose", "StartDeliveryStreamEncryption"), 0);
        }
    }
}

#[test]
fn a_watcher_changes_nothing_and_opens_when_somebody_else_has_encrypted_the_stream() {
    let service = Service::start();
    let life = service.life("direct", watcher(Policy::Require));
    let gate = life.gates.open(&name("direct"));
    life.wait_for("direct", "the stream is known to be plain", |s| s.state == State::Disabled);
    assert_eq!(send(&service, &gate), None);
    service.command("direct", &json!({"set": "enabled"}));
    open(&service, &gate);
    assert_eq!(service.calls("firehose", "StartDeliveryStreamEncryption"), 0);
    assert_eq!(life.status("direct").records.unencrypted, 0);
}

#[test]
fn what_is_switched_off_from_outside_closes_the_gate_and_the_owner_switches_it_on_again() {
    let service = Service::start();
    let life = service.life("direct", owner(Key::AwsOwned));
    let gate = life.gates.open(&name("direct"));
    open(&service, &gate);
    service.command("direct", &json!({"set": "disabled"}));
    wait("an answer denies it", || (send(&service, &gate)? == Flag::Plain).then_some(()));
    wait("the gate closes", || (!is_open(&gate)).then_some(()));
    life.wait_for("direct", "it is known why", |s| s.state == State::Disabled);
    // The pace of thirty polls is between the first call of the day and the second.
    open(&service, &gate);
    assert_eq!(service.calls("firehose", "StartDeliveryStreamEncryption"), 2);
    assert_eq!(service.calls("firehose", "StopDeliveryStreamEncryption"), 0);
}

#[test]
fn a_key_is_changed_without_the_gate_being_closed_and_so_when_that_fails() {
    let service = Service::start();
    let key = service.emulator.key_arn().to_owned();
    let life = service.life("direct", owner(Key::AwsOwned));
    let gate = life.gates.open(&name("direct"));
    open(&service, &gate);
    drop((gate, life));

    // Another life declares another key, and one that there is not.
    let changed = service.life("direct", owner(Key::Customer(key.as_str().into())));
    let gate = changed.gates.open(&name("direct"));
    open(&service, &gate);
    wait("the key is changed", || {
        assert_eq!(send(&service, &gate), Some(Flag::Encrypted));
        (service.truth("direct")["key"] == key).then_some(())
    });
    changed.wait_for("direct", "it is done", |s| s.doing == "idle");
    drop((gate, changed));
    let missing = key.replace("4000-8000", "4000-9000");
    let failing = service.life("direct", owner(Key::Customer(missing.as_str().into())));
    let gate = failing.gates.open(&name("direct"));
    open(&service, &gate);
    let status = wait("the change fails", || {
        assert_eq!(send(&service, &gate), Some(Flag::Encrypted));
        Some(failing.status("direct")).filter(|s| s.state == State::EnablingFailed)
    });
    assert_eq!(
        status.failure.map(|(kind, _)| kind.to_string()).as_deref(),
        Some("KMS_KEY_NOT_FOUND")
    );
    assert!(is_open(&gate), "the old key goes on encrypting");
    assert_eq!(service.truth("direct")["key"], key);
}

#[test]
fn a_limit_that_is_reached_is_not_asked_against() {
    let service = Service::start();
    service.command("direct", &json!({"calls": 25}));
    let life = service.life("direct", owner(Key::AwsOwned));
    life.wait_for("direct", "the limit is met", |s| {
        s.trouble.as_deref().is_some_and(|why| why.starts_with("LimitExceededException"))
    });
    life.wait_for("direct", "it waits", |s| s.doing == "idle");
    // By now it would have been tried again, at its pace.
    let asked = service.calls("firehose", "DescribeDeliveryStream");
    wait("it goes on watching", || {
        (service.calls("firehose", "DescribeDeliveryStream") > asked + 5).then_some(())
    });
    assert_eq!(service.calls("firehose", "StartDeliveryStreamEncryption"), 1);
    let refused = life.change("direct", Target::Encrypted(Key::AwsOwned)).unwrap_err();
    assert!(matches!(refused, ChangeRefused::TooManyCalls { .. }), "{refused}");
}

#[test]
fn calls_are_counted_over_restarts() {
    let service = Service::start();
    for left in [24, 23, 22] {
        service.command("direct", &json!({"set": "disabled"}));
        let life = service.life("direct", owner(Key::AwsOwned));
        life.wait_for("direct", "it is on", |s| s.state == State::Enabled && s.doing == "idle");
        assert_eq!(life.status("direct").calls_left, left);
    }
}

#[test]
fn two_owners_of_one_stream_settle_it_with_few_calls() {
    let service = Service::start();
    let (one, two) = (
        service.life("direct", owner(Key::AwsOwned)),
        Control::start(Config {
            dir: Some(service.dir.path().join("other")),
            ..service.config("direct", owner(Key::AwsOwned))
        })
        .unwrap(),
    );
    let (gate, other) = (one.gates.open(&name("direct")), two.gates().open(&name("direct")));
    open(&service, &gate);
    open(&service, &other);
    let calls = service.calls("firehose", "StartDeliveryStreamEncryption");
    assert!((1..=2).contains(&calls), "{calls}");
}

#[test]
fn a_person_s_order_is_in_force_until_a_restart() {
    let service = Service::start();
    let life = service.life("direct", owner(Key::AwsOwned));
    let gate = life.gates.open(&name("direct"));
    open(&service, &gate);
    let changed = life.change("direct", Target::Plain).unwrap();
    assert_eq!(changed.call, Some("StopDeliveryStreamEncryption"));
    assert_eq!(changed.status.by_hand, Some(Target::Plain));
    wait("the gate closes", || (!is_open(&gate)).then_some(()));
    life.wait_for("direct", "it is off", |s| s.state == State::Disabled && s.doing == "idle");
    let busy_or_done = life.change("direct", Target::Plain).unwrap();
    assert_eq!(busy_or_done.call, None, "it is there already");
    assert_eq!(service.calls("firehose", "StartDeliveryStreamEncryption"), 1);
    drop((gate, life));
    let next = service.life("direct", owner(Key::AwsOwned));
    next.wait_for("direct", "the declaration wins", |s| s.state == State::Enabled);
    let impossible = next.change("direct", Target::Encrypted(Key::Customer("alias/a".into())));
    assert!(matches!(impossible, Err(ChangeRefused::Impossible(_))), "{impossible:?}");
    assert_eq!(next.change("other", Target::Plain).unwrap_err(), ChangeRefused::UnknownStream);
}

#[test]
fn what_the_service_refuses_is_told_with_its_code() {
    let service = Service::start();
    let life = service.life("direct", watcher(Policy::Report));
    let denied = json!({"denied": ["firehose:StartDeliveryStreamEncryption"]});
    service.control("PUT", "/emulator/account", &denied);
    let refused = life.change("direct", Target::Encrypted(Key::AwsOwned)).unwrap_err();
    let ChangeRefused::Service { code, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(code, "AccessDeniedException");
    let denied = json!({"denied": ["firehose:DescribeDeliveryStream"]});
    service.control("PUT", "/emulator/account", &denied);
    let refused = life.change("direct", Target::Encrypted(Key::AwsOwned)).unwrap_err();
    assert!(matches!(refused, ChangeRefused::Service { .. }), "{refused:?}");
    assert_eq!(life.status("direct").by_hand, None);
}

#[test]
fn who_may_not_ask_keeps_the_gate_closed_and_says_why() {
    let service = Service::start();
    service.control(
        "PUT",
        "/emulator/account",
        &json!({"denied": ["firehose:DescribeDeliveryStream"]}),
    );
    let life = service.life("direct", watcher(Policy::Require));
    let gate = life.gates.open(&name("direct"));
    life.wait_for("direct", "the reason", |s| s.trouble.is_some());
    let Passage::Closed(why) = gate.guidance().passage.clone() else { panic!() };
    assert!(why.contains("AccessDenied"), "{why}");
    service.command("direct", &json!({"set": "enabled"}));
    service.control("DELETE", "/emulator/account", &Value::Null);
    open(&service, &gate);
}

#[test]
fn an_answer_without_a_flag_opens_nothing() {
    let service = Service::start();
    service.command("direct", &json!({"set": "enabled", "flag": "absent"}));
    let life = service.life("direct", watcher(Policy::Require));
    let gate = life.gates.open(&name("direct"));
    wait("answers come", || {
        send(&service, &gate);
        (life.status("direct").records.unverified > 5).then_some(())
    });
    assert_eq!(gate.guidance().passage, Passage::Half);
    service.command("direct", &json!({"flag": null}));
    open(&service, &gate);
}

#[test]
fn a_stream_that_is_made_anew_with_another_source_is_routed_anew() {
    let service = Service::start();
    let life = service.life("demo", watcher(Policy::Report));
    let gate = life.gates.open(&name("demo"));
    wait("the route", || matches!(gate.guidance().route, Route::Kinesis(_)).then_some(()));
    let named = json!({"DeliveryStreamName": "demo"});
    service.put("Firehose_20150804.DeleteDeliveryStream", &named);
    let s3 = json!({"RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::b"});
    let create = json!({"DeliveryStreamName": "demo", "S3DestinationConfiguration": s3});
    service.put("Firehose_20150804.CreateDeliveryStream", &create);
    gate.doubts(crate::gate::Doubt::Source);
    wait("the new route", || (gate.guidance().route == Route::Firehose).then_some(()));
}

#[test]
fn one_look_and_one_change_need_no_process() {
    let service = Service::start();
    let config = service.config("direct", Declared::default());
    let direct = Direct::new(&config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (auto, stream) = (Destination::Auto, name("direct"));
    let described = runtime.block_on(direct.describe(&stream, &auto)).unwrap();
    assert_eq!((described.state, described.data_stream), (State::Disabled, None));
    let target = Target::Encrypted(Key::AwsOwned);
    let call = runtime.block_on(direct.change(&stream, &auto, &target)).unwrap();
    assert_eq!(call, Some("StartDeliveryStreamEncryption"));
    let busy = runtime.block_on(direct.change(&stream, &auto, &target)).unwrap_err();
    assert!(matches!(busy, ChangeRefused::Busy(_)), "{busy}");
    wait("it is on", || {
        let described = runtime.block_on(direct.describe(&stream, &auto)).unwrap();
        (described.state == State::Enabled).then_some(())
    });
    assert_eq!(runtime.block_on(direct.change(&stream, &auto, &target)), Ok(None));
    let demo = runtime.block_on(direct.describe(&name("demo"), &auto)).unwrap();
    assert_eq!(demo.source.as_deref(), Some("KinesisStreamAsSource"));
    assert!(demo.data_stream.unwrap().ends_with(":stream/data"));
    let data = Destination::Kinesis("data".into());
    let call = runtime.block_on(direct.change(&name("demo"), &data, &target)).unwrap();
    assert_eq!(call, Some("StartStreamEncryption"));
    let unknown = runtime.block_on(direct.describe(&name("none"), &auto)).unwrap_err();
    let ChangeRefused::Service { code, .. } = &unknown else { panic!("{unknown:?}") };
    assert_eq!(code, "ResourceNotFoundException");
}
