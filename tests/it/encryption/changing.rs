//! Encryption is switched off by people, its key is changed, and its key is taken away, all under load.

use std::time::Instant;

use serde_json::{Value, json};

use super::posting::Posting;
use super::scene::{
    Scene, command, evidence, gate, gate_changes, is_all_encrypted, shown, wait_for_gate,
};
use crate::pipe::{Pipe, Setup, wait_until};

/// A pipe whose gate is open, and through which records flow.
fn flowing(scene: &Scene) -> (Pipe, Posting) {
    flowing_through(scene, scene.setup())
}

fn flowing_through(scene: &Scene, setup: Setup) -> (Pipe, Posting) {
    let pipe = setup.start_durable();
    let posting = scene.post();
    wait_for_gate(&pipe, "open");
    posting.goes_on(50);
    (pipe, posting)
}

#[test]
fn what_is_switched_off_by_hand_is_shut_before_it_is_off_and_flows_when_the_command_has_it_on_again()
 {
    let scene = Scene::encrypted();
    let setup = scene.setup().set("STANDPIPE_CONTROL_SETTLE_MS", "0");
    let (pipe, posting) = flowing_through(&scene, setup);
    scene.command(&json!({ "transition_ms": 1_500, "settle_ms": 0 }));
    let taken = scene.put(&pipe, &json!({ "state": "disabled" }));
    assert_eq!(taken.status, 202, "{}", taken.json());
    assert_eq!(taken.json()["call"], "StopDeliveryStreamEncryption");
    scene.is_shut(&pipe, &posting);
    wait_until("it is off", || shown(&pipe)["state"] == "disabled");
    assert_eq!(scene.is_shut(&pipe, &posting).unencrypted, 0, "it was shut while it was still on");

    scene.command(&json!({ "transition_ms": 20 }));
    let enable = ["encryption", "enable", "demo", "--wait", "--json"];
    let (code, said) = command(&scene.setup(), &enable);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["waited"]), (0, &json!("reached")), "{said}");
    wait_for_gate(&pipe, "open");
    posting.goes_on(50);

    let (code, said) = command(&scene.setup(), &["encryption", "disable", "demo"]);
    assert!(code == 0 && said.contains("has taken StopDeliveryStreamEncryption"), "{code}: {said}");
    wait_for_gate(&pipe, "closed");
    scene.is_shut(&pipe, &posting);
    assert_eq!(command(&scene.setup(), &["encryption", "enable", "demo"]).0, 0);
    wait_for_gate(&pipe, "open");
    let entries = scene.is_all_delivered(&pipe, &posting.stop());
    let unencrypted = entries.iter().filter(|entry| !entry.encrypted).count();
    assert_eq!(evidence(&pipe, "unencrypted"), unencrypted as f64);
}

#[test]
fn a_change_of_the_key_leaves_the_gate_open_and_every_record_encrypted() {
    let scene = Scene::encrypted();
    let key = scene.upstream.key();
    let (pipe, posting) = flowing(&scene);
    let before = gate_changes(&pipe, "");
    let taken = scene.put(&pipe, &json!({ "state": "enabled", "key": key }));
    assert_eq!(
        (taken.status, &taken.json()["call"]),
        (202, &json!("StartDeliveryStreamEncryption"))
    );
    wait_until("the key is being changed", || shown(&pipe)["state"] == "enabling");
    posting.goes_on(50);
    wait_until("the key is changed", || {
        shown(&pipe)["state"] == "enabled" && shown(&pipe)["key"] == key
    });
    posting.goes_on(50);
    assert_eq!((scene.truth()["key"].as_str(), gate(&pipe).as_str()), (Some(&*key), "open"));
    is_all_encrypted(&scene.is_all_delivered(&pipe, &posting.stop()));
    assert_eq!(gate_changes(&pipe, ""), before, "it was open all the while");
}

#[test]
fn a_change_of_the_key_that_fails_leaves_the_gate_open_under_the_old_key() {
    let scene = Scene::encrypted();
    let (old, gone) = (scene.upstream.key(), scene.upstream.key());
    scene.command(&json!({ "set": "enabled", "key": old }));
    scene.upstream.kms("DisableKey", &json!({ "KeyId": gone }));
    let (pipe, posting) = flowing(&scene);
    let before = gate_changes(&pipe, "");
    let taken = scene.put(&pipe, &json!({ "state": "enabled", "key": gone }));
    assert_eq!(taken.status, 202, "{}", taken.json());
    wait_until("the change fails", || shown(&pipe)["state"] == "enabling_failed");
    posting.goes_on(100);
    let shown = shown(&pipe);
    assert!(shown["failure"].as_str().unwrap().starts_with("DISABLED_KMS_KEY"), "{shown}");
    assert!(shown["detail"].as_str().unwrap().contains("the old key goes on encrypting"));
    assert_eq!((&shown["gate"], scene.truth()["key"].as_str()), (&json!("open"), Some(&*old)));
    is_all_encrypted(&scene.is_all_delivered(&pipe, &posting.stop()));
    assert_eq!(gate_changes(&pipe, ""), before, "it was open all the while");
}

#[test]
fn while_its_key_is_disabled_a_stream_is_held_and_nothing_is_set_aside() {
    let scene = Scene::encrypted();
    let key = scene.upstream.key();
    scene.command(&json!({ "set": "enabled", "key": key }));
    let began = Instant::now();
    let (pipe, posting) = flowing(&scene);
    scene.upstream.kms("DisableKey", &json!({ "KeyId": key }));
    wait_until("the stream is held", || pipe.stream("demo")["state"] == "held");
    let reason = pipe.stream("demo")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("InvalidKMSResourceException"), "{reason}");
    let left = scene.left().records;
    posting.goes_on(100);
    wait_until("what waits is spooled", || pipe.metric("standpipe_spool_records", "") >= 50.0);
    assert_eq!(scene.left().records, left);
    // A doubt is asked about ever more seldom, and never more often than a process asks at all.
    let asked = scene.upstream.calls("firehose", "DescribeDeliveryStream") as f64;
    let most = 5.0 + 2.0 * began.elapsed().as_secs_f64();
    assert!(asked <= most, "{asked} questions in {:?}", began.elapsed());
    scene.upstream.kms("EnableKey", &json!({ "KeyId": key }));
    wait_until("it flows", || pipe.stream("demo")["state"] == "flowing");
    is_all_encrypted(&scene.is_all_delivered(&pipe, &posting.stop()));
}
