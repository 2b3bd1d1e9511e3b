//! Streams that read from a data stream, whose encryption is that one's; and streams that are made anew with
//! another source while applications post.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::enabling::is_switched_on;
use super::outside::{says_nothing, switched_off_and_on};
use super::posting::number_of;
use super::scene::{
    Kind, Scene, evidence, gate, gate_changes, is_all_encrypted, is_none_set_aside, shown,
    wait_for_gate,
};
use crate::pipe::{Pipe, wait_until};
use crate::upstream::{Entry, Upstream};

/// Checks that each record has the key that its request named.
#[track_caller]
fn has_its_key(entries: &[Entry]) {
    for entry in entries {
        let key = entry.partition_key.as_deref().unwrap();
        let first: u64 = key.strip_prefix("key-").unwrap().parse().unwrap();
        let number = number_of(&entry.data);
        assert!((first..first + 8).contains(&number), "record {number} has {key}");
    }
}

#[test]
fn what_goes_into_a_data_stream_leaves_when_the_owner_has_that_encrypted() {
    let scene = Scene::of(Kind::Kinesis);
    let owner = scene
        .setup()
        .set("STANDPIPE_DEFAULTS_MANAGE", "true")
        .set("STANDPIPE_DEFAULTS_PARTITION_KEY", "header");
    has_its_key(&is_switched_on(&scene, owner));
    assert_eq!(scene.changes(), [0, 0, 1, 0]);
}

#[test]
fn nothing_goes_into_a_data_stream_while_its_encryption_is_switched_off_from_outside() {
    let scene = Scene::of(Kind::Kinesis);
    let owner = scene
        .setup()
        .set("STANDPIPE_DEFAULTS_MANAGE", "true")
        .set("STANDPIPE_DEFAULTS_PARTITION_KEY", "/id");
    for entry in switched_off_and_on(&scene, owner, |_| {}) {
        assert_eq!(entry.partition_key, Some(number_of(&entry.data).to_string()));
    }
    assert_eq!(scene.changes(), [0, 0, 2, 0]);
}

#[test]
fn nothing_goes_into_a_data_stream_until_its_encryption_is_on_again_and_a_watcher_changes_nothing()
{
    let scene = Scene::encrypted_of(Kind::Kinesis);
    switched_off_and_on(&scene, scene.setup(), |scene| {
        scene.command(&json!({ "set": "enabled" }));
    });
    assert_eq!(scene.changes(), [0; 4]);
}

#[test]
fn answers_of_a_data_stream_that_say_nothing_keep_the_gate_half_open() {
    says_nothing(Kind::Kinesis);
}

#[test]
fn the_key_of_a_data_stream_is_changed_and_taken_away_and_no_record_is_lost_or_unencrypted() {
    let scene = Scene::encrypted_of(Kind::Kinesis);
    let key = scene.upstream.key();
    let pipe = scene.setup().start_durable();
    let posting = scene.post();
    wait_for_gate(&pipe, "open");
    let before = gate_changes(&pipe, "");
    let taken = scene.put(&pipe, &json!({ "state": "enabled", "key": key }));
    assert_eq!((taken.status, &taken.json()["call"]), (202, &json!("StartStreamEncryption")));
    wait_until("the key is changed", || shown(&pipe)["key"] == key);
    posting.goes_on(50);
    assert_eq!(scene.truth()["key"], key);
    assert_eq!((gate(&pipe).as_str(), gate_changes(&pipe, "")), ("open", before));

    scene.upstream.kms("DisableKey", &json!({ "KeyId": key }));
    wait_until("the stream is held", || pipe.stream("demo")["state"] == "held");
    let reason = pipe.stream("demo")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("KMSDisabledException"), "{reason}");
    posting.goes_on(50);
    scene.upstream.kms("EnableKey", &json!({ "KeyId": key }));
    wait_until("it flows", || pipe.stream("demo")["state"] == "flowing");
    is_all_encrypted(&scene.is_all_delivered(&pipe, &posting.stop()));
}

/// Makes the stream anew, with this source.
fn make_anew(scene: &Scene, kind: Kind) {
    let firehose = |action, body| scene.upstream.act("Firehose_20150804", action, &body);
    firehose("DeleteDeliveryStream", json!({ "DeliveryStreamName": "demo" }));
    let role = "arn:aws:iam::000000000000:role/r";
    let mut create = json!({
        "DeliveryStreamName": "demo",
        "S3DestinationConfiguration": { "RoleARN": role, "BucketARN": "arn:aws:s3:::b" },
    });
    if kind == Kind::Kinesis {
        create["DeliveryStreamType"] = json!("KinesisStreamAsSource");
        create["KinesisStreamSourceConfiguration"] = json!({
            "KinesisStreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/data",
            "RoleARN": role,
        });
    }
    firehose("CreateDeliveryStream", create);
}

/// Waits until the records go there, proven to be encrypted.
#[track_caller]
fn wait_for_route(pipe: &Pipe, to: &str) {
    wait_until(&format!("the records go to {to}"), || {
        let shown = shown(pipe);
        shown["route"]["to"] == to && shown["gate"] == "open"
    });
}

/// A delivery stream that was encrypted long ago, and a data stream beside it.
fn with_another_source() -> Scene {
    let scene = Scene::with(Upstream::with_data_streams(&["demo"], &["data"]), Kind::Direct);
    scene.command(&json!({ "set": "enabled" }));
    scene
}

/// Commands the encryption of the data stream.
fn command_data(scene: &Scene, command: &Value) {
    scene.upstream.control("PUT", "/emulator/kinesis/streams/data/encryption", command);
}

#[test]
fn a_stream_that_is_made_anew_with_another_source_is_found_there_and_encrypted_there() {
    let scene = with_another_source();
    command_data(&scene, &json!({ "transition_ms": 300, "settle_ms": 1_000 }));
    // That nobody reads from a data stream any more is said by no answer of it.
    let owner = scene
        .setup()
        .set("STANDPIPE_DEFAULTS_MANAGE", "true")
        .set("STANDPIPE_CONTROL_WATCH_INTERVAL_MS", "1000");
    let pipe = owner.start_durable();
    let posting = scene.post();
    wait_for_route(&pipe, "firehose");
    posting.goes_on(50);

    make_anew(&scene, Kind::Kinesis);
    wait_for_route(&pipe, "kinesis");
    let shown = shown(&pipe);
    assert_eq!(shown["source"], "KinesisStreamAsSource", "{shown}");
    posting.goes_on(50);
    wait_until("they are delivered", || scene.upstream.entries("demo").len() > 50);
    is_all_encrypted(&scene.upstream.entries("demo"));

    make_anew(&scene, Kind::Direct);
    scene.slow_down();
    wait_for_route(&pipe, "firehose");
    posting.goes_on(50);
    let fates = posting.stop();
    is_none_set_aside(&pipe.drain());
    is_all_encrypted(&scene.upstream.entries("demo"));
    // What the service knew of the records of a stream was deleted with it; what it had delivered was not. What
    // came into the data stream after that is still there, for whoever reads from it next.
    let there = scene.upstream.data_entries("data");
    is_all_encrypted(&there);
    let delivered = numbers(&scene.upstream.delivered("demo"));
    let there = there.iter().map(|entry| number_of(&entry.data));
    let all: BTreeSet<u64> = there.chain(delivered.iter().copied()).collect();
    let all: Vec<u64> = all.into_iter().collect();
    fates.check_numbers(&all);
    let confirmed = pipe.metric("standpipe_forward_records_delivered_total", "");
    assert_eq!((evidence(&pipe, "confirmed"), all.len() as f64), (confirmed, confirmed));
    assert_eq!(scene.changes(), [1, 0, 1, 0]);
}

#[test]
fn what_answers_of_one_stream_have_proven_opens_no_other() {
    let scene = with_another_source();
    command_data(&scene, &json!({ "set": "enabled", "flag": "absent" }));
    let pipe = scene.setup().start_durable();
    let posting = scene.post();
    wait_for_route(&pipe, "firehose");
    posting.goes_on(50);
    make_anew(&scene, Kind::Kinesis);
    wait_until("it is asked with a few records", || evidence(&pipe, "unverified") >= 4.0);
    posting.goes_on(100);
    let counters = scene.upstream.control("GET", "/emulator/kinesis/streams/data", &Value::Null);
    let (records, requests) =
        (&counters["counters"]["records_accepted"], &counters["counters"]["put_requests"]);
    assert_eq!((records, gate(&pipe).as_str()), (requests, "half"), "one record at a time");
    command_data(&scene, &json!({ "flag": null }));
    wait_for_route(&pipe, "kinesis");
    let fates = posting.stop();
    is_none_set_aside(&pipe.drain());
    let delivered = numbers(&scene.upstream.delivered("demo"));
    assert_eq!(fates.check_numbers(&delivered), 0, "none came twice");
}

/// The numbers of the records that stand in a file.
fn numbers(delivered: &[u8]) -> Vec<u64> {
    delivered.split_inclusive(|byte| *byte == b'\n').map(number_of).collect()
}

#[test]
fn the_records_of_a_stream_that_comes_to_read_from_elsewhere_wait_and_say_why() {
    let scene = Scene::encrypted();
    let pipe = scene.setup().start_durable();
    let posting = scene.post();
    wait_for_route(&pipe, "firehose");
    let firehose = |action, body| scene.upstream.act("Firehose_20150804", action, &body);
    firehose("DeleteDeliveryStream", json!({ "DeliveryStreamName": "demo" }));
    wait_until("it is held", || {
        let reason = pipe.stream("demo")["reason"].clone();
        reason.as_str().is_some_and(|why| why.starts_with("ResourceNotFoundException"))
    });
    let role =
        json!({ "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::b" });
    let kafka = json!({
        "DeliveryStreamName": "demo",
        "DeliveryStreamType": "MSKAsSource",
        "MSKSourceConfiguration": {},
        "S3DestinationConfiguration": role,
    });
    firehose("CreateDeliveryStream", kafka);
    wait_until("nothing can go there", || shown(&pipe)["route"]["to"] == "nowhere");
    let why = shown(&pipe)["route"]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("MSKAsSource"), "{why}");
    posting.goes_on(50);
    assert_eq!(pipe.stream("demo")["state"], "gated");

    make_anew(&scene, Kind::Direct);
    scene.command(&json!({ "set": "enabled" }));
    wait_for_route(&pipe, "firehose");
    let fates = posting.stop();
    is_none_set_aside(&pipe.drain());
    let delivered = numbers(&scene.upstream.delivered("demo"));
    assert_eq!(fates.check_numbers(&delivered), 0, "none came twice");
    assert_eq!(shown(&pipe)["trouble"], Value::Null);
}
