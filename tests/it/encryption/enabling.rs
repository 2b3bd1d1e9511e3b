//! Encryption is switched on, or can not be: what waits for it leaves when an answer confirms it, and not before.

use serde_json::{Value, json};

use super::scene::{
    Scene, command, evidence, gate, gate_changes, is_all_encrypted, notes, shown, wait_for_gate,
};
use crate::pipe::wait_until;

#[test]
fn what_comes_while_the_owner_switches_encryption_on_leaves_only_when_it_is_on() {
    let scene = Scene::new();
    let pipe = scene.setup().set("STANDPIPE_DEFAULTS_MANAGE", "true").start_durable();
    let posting = scene.post();
    posting.goes_on(100);
    wait_for_gate(&pipe, "open");
    posting.goes_on(100);
    let entries = scene.is_all_delivered(&pipe, &posting.stop());
    is_all_encrypted(&entries);
    assert_eq!(evidence(&pipe, "confirmed"), entries.len() as f64);
    assert_eq!(gate_changes(&pipe, "gate=\"half\""), 1.0, "one record has gone first");
    assert_eq!(scene.upstream.calls("firehose", "StartDeliveryStreamEncryption"), 1);
    let waited = pipe.log_lines("the gate is closed");
    assert!(!waited.is_empty() && !pipe.log_lines("the gate is open").is_empty());
    assert!(waited.iter().all(|line| line["records_left_unencrypted"] == 0), "{waited:?}");
}

#[test]
fn whatever_encryption_fails_for_keeps_the_gate_closed_and_is_shown() {
    let failures = [
        ["RETIRE_KMS_GRANT_FAILED", "CREATE_KMS_GRANT_FAILED"],
        ["KMS_ACCESS_DENIED", "DISABLED_KMS_KEY"],
        ["INVALID_KMS_KEY", "KMS_KEY_NOT_FOUND"],
        ["KMS_OPT_IN_REQUIRED", "UNKNOWN_ERROR"],
    ];
    // Side by side, since a process asks the service seldom.
    std::thread::scope(|scope| {
        for failures in failures {
            scope.spawn(move || each_keeps_the_gate_closed(failures));
        }
    });
}

fn each_keeps_the_gate_closed(failures: [&str; 2]) {
    let scene = Scene::new();
    scene.command(&json!({ "transition_ms": 20, "settle_ms": 0 }));
    let pipe = scene.setup().set("STANDPIPE_CONTROL_SETTLE_MS", "0").start_durable();
    let posting = scene.post();
    let enable = || scene.put(&pipe, &json!({ "state": "enabled" })).status;
    for failure in failures {
        scene.upstream.fault(&json!({ "sse_failure": failure }));
        wait_until("the change is taken", || enable() == 202);
        let is_it = |why: &Value| why.as_str().is_some_and(|why| why.starts_with(failure));
        wait_until("the failure is shown", || is_it(&shown(&pipe)["failure"]));
        assert_eq!(shown(&pipe)["state"], "enabling_failed");
        let reason = shown(&pipe)["gate_reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(failure), "{reason}");
        let stream = pipe.stream("demo");
        assert_eq!((&stream["gate"], &stream["state"]), (&json!("closed"), &json!("gated")));
        assert!(is_it(&stream["encryption"]["failure"]), "{stream}");
        let notes = notes(&pipe);
        assert!(
            notes.contains("note: gate of demo: closed: ") && notes.contains(failure),
            "{notes}"
        );
        let is = |label: &str| pipe.metric("standpipe_encryption_state", label);
        assert_eq!((is("state=\"enabling_failed\""), is("state=\"disabled\"")), (1.0, 0.0));
        assert_eq!(scene.left().requests, 0);
    }
    scene.is_shut(&pipe, &posting);
    scene.upstream.heal();
    wait_until("the change is taken", || enable() == 202);
    wait_for_gate(&pipe, "open");
    is_all_encrypted(&scene.is_all_delivered(&pipe, &posting.stop()));
}

#[test]
fn when_the_calls_of_the_day_are_used_up_the_owner_waits_and_so_do_the_records_and_the_people() {
    let scene = Scene::new();
    scene.command(&json!({ "calls": 25 }));
    let owner = scene.setup().set("STANDPIPE_DEFAULTS_MANAGE", "true");
    let pipe = owner.start_durable();
    let posting = scene.post();
    wait_until("the limit is met", || {
        let trouble = shown(&pipe)["trouble"].clone();
        trouble.as_str().is_some_and(|why| why.starts_with("LimitExceededException"))
    });
    // It goes on asking how the stream is; by its pace it would have called again by then.
    let asked = scene.upstream.calls("firehose", "DescribeDeliveryStream");
    wait_until("it goes on watching", || {
        scene.upstream.calls("firehose", "DescribeDeliveryStream") > asked + 2
    });
    scene.is_shut(&pipe, &posting);
    assert_eq!(scene.upstream.calls("firehose", "StartDeliveryStreamEncryption"), 1);
    assert_eq!((gate(&pipe).as_str(), scene.left().requests), ("closed", 0));

    let refused = scene.put(&pipe, &json!({ "state": "enabled" }));
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_calls"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 600, "hours, not seconds: {seconds}");
    let (code, said) = command(&scene.setup(), &["encryption", "enable", "demo"]);
    assert!(code == 75 || code == 69, "{code}: {said}");
    assert!(said.contains("24 hours"), "{said}");

    // Whoever has calls left switches it on, and the pipe sees it.
    scene.command(&json!({ "set": "enabled" }));
    wait_for_gate(&pipe, "open");
    is_all_encrypted(&scene.is_all_delivered(&pipe, &posting.stop()));
    assert_eq!(shown(&pipe)["doing"], "idle");
    assert_eq!(shown(&pipe)["by_hand"], Value::Null);
}
