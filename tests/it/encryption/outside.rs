//! Encryption is switched off from outside, or answers say so, while requests are under way.

use serde_json::{Value, json};

use super::posting::Posting;
use super::scene::{
    Kind, Left, REQUEST_RECORDS_MAX, REQUESTS_IN_FLIGHT_MAX, Scene, evidence, gate_changes, notes,
    runs, shown, wait_for_gate,
};
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Entry;

/// How long the service takes for an answer, in ms, so that more comes than leaves, and whenever it is switched off
/// as many requests are under way as may be.
const LATENCY_MS: u64 = 50;

/// The most records that leave between the moment in which encryption ends and the first answer that says so: those
/// of requests that had begun before that answer. Nothing else is sent after it.
const LEAVES_MAX: u64 = REQUESTS_IN_FLIGHT_MAX * REQUEST_RECORDS_MAX;

/// A pipe whose gate is open, and which sends as much as it may.
fn sending(scene: &Scene, setup: Setup) -> (Pipe, Posting) {
    let pipe = setup.start_durable();
    let posting = scene.post();
    wait_for_gate(&pipe, "open");
    scene.fault(&json!({ "latency_ms": LATENCY_MS, "latency_jitter_ms": LATENCY_MS }));
    wait_until("as much is under way as may be", || {
        let stream = pipe.stream("demo");
        stream["records_in_flight"].as_u64() == Some(LEAVES_MAX)
            && stream["records_waiting"].as_u64() >= Some(LEAVES_MAX)
    });
    (pipe, posting)
}

/// What the log says of records that left unencrypted, over all lines of the gate.
fn logged(pipe: &Pipe) -> u64 {
    let lines = pipe.log_lines("the gate is ");
    lines.iter().filter_map(|line| line["records_left_unencrypted"].as_u64()).sum()
}

fn answers(pipe: &Pipe, flag: &str) -> f64 {
    pipe.metric("standpipe_forward_responses_total", &format!("encrypted=\"{flag}\""))
}

/// Switches encryption off under load, sees that nothing leaves, lets `on` switch it on again, and accounts for
/// every record. Gives the journal.
pub fn switched_off_and_on(scene: &Scene, setup: Setup, on: impl FnOnce(&Scene)) -> Vec<Entry> {
    let (pipe, posting) = sending(scene, setup);
    assert_eq!(scene.left().unencrypted, 0, "nothing left before it was encrypted");
    // Whoever switches it on again takes long enough to see that nothing leaves meanwhile.
    scene.command(&json!({ "set": "disabled", "transition_ms": 1_500 }));
    let shut = scene.is_shut(&pipe, &posting);
    let unencrypted = evidence(&pipe, "unencrypted");
    assert!(unencrypted > 0.0, "requests were under way");
    assert_eq!(unencrypted, shut.unencrypted as f64, "the pipe counts what the service counts");
    assert!(shut.unencrypted <= LEAVES_MAX, "{shut:?}");
    assert!(answers(&pipe, "false") <= REQUESTS_IN_FLIGHT_MAX as f64);
    let cause = pipe.log_lines("it has to be encrypted and is not");
    assert_eq!((cause.len(), &cause[0]["level"]), (1, &json!("ERROR")), "{cause:?}");
    assert!(notes(&pipe).contains("note: gate of demo: closed: "));
    scene.heal();
    on(scene);
    wait_for_gate(&pipe, "open");
    posting.goes_on(50);

    let entries = scene.is_all_delivered(&pipe, &posting.stop());
    let left = usize::try_from(shut.unencrypted).unwrap();
    let (before, after) = (usize::try_from(shut.records).unwrap() - left, entries.len());
    let expected = [(true, before), (false, left), (true, after - before - left)];
    assert_eq!(runs(&entries), expected, "once it was closed nothing left unencrypted");
    assert_eq!(evidence(&pipe, "unencrypted"), unencrypted);
    assert_eq!(evidence(&pipe, "confirmed"), (after - left) as f64);
    assert_eq!(evidence(&pipe, "unverified"), 0.0);
    wait_until("the log has every record", || logged(&pipe) == shut.unencrypted);
    assert_eq!(shown(&pipe)["records_unencrypted"], shut.unencrypted);
    entries
}

#[test]
fn nothing_leaves_while_encryption_is_switched_off_from_outside_until_the_owner_has_it_on_again() {
    let scene = Scene::new();
    let owner = scene.setup().set("STANDPIPE_DEFAULTS_MANAGE", "true");
    switched_off_and_on(&scene, owner, |_| {});
    assert_eq!(scene.changes(), [2, 0, 0, 0]);
}

#[test]
fn nothing_leaves_while_encryption_is_switched_off_and_on_from_outside_and_a_watcher_changes_nothing()
 {
    let scene = Scene::encrypted();
    switched_off_and_on(&scene, scene.setup(), |scene| {
        scene.command(&json!({ "set": "enabled" }));
    });
    assert_eq!(scene.changes(), [0; 4]);
}

/// When the gate became half open, in ms.
fn tries(pipe: &Pipe) -> Vec<f64> {
    let at = |line: &Value| ms(line["timestamp"].as_str().unwrap());
    pipe.log_lines("the gate is half open").iter().map(at).collect()
}

/// The milliseconds of the day that a time stamp says.
fn ms(timestamp: &str) -> f64 {
    let clock = timestamp.split('T').nth(1).unwrap().trim_end_matches('Z');
    let parts = clock.split(':').map(|part| part.parse::<f64>().unwrap());
    parts.fold(0.0, |sum, part| sum * 60.0 + part) * 1_000.0
}

const DAY_MS: f64 = 24.0 * 60.0 * 60.0 * 1_000.0;

#[test]
fn answers_that_deny_what_the_service_says_cost_one_record_each_and_ever_more_seldom() {
    const SETTLE_MS: u32 = 100;
    let scene = Scene::encrypted();
    let setup = scene
        .setup()
        .set("STANDPIPE_CONTROL_SETTLE_MS", &SETTLE_MS.to_string())
        .set("STANDPIPE_CONTROL_POLL_MAX_MS", "10000");
    let (pipe, posting) = sending(&scene, setup);
    assert_eq!(gate_changes(&pipe, "gate=\"half\""), 1.0);
    scene.command(&json!({ "flag": "false" }));
    wait_until("it is tried again and again", || gate_changes(&pipe, "gate=\"half\"") >= 5.0);
    scene.is_shut(&pipe, &posting);
    let tries = tries(&pipe);
    // The first one opened the gate.
    let tried = (tries.len() - 1) as f64;
    let unencrypted = evidence(&pipe, "unencrypted");
    let at_first = answers(&pipe, "false") - tried;
    assert!((1.0..=REQUESTS_IN_FLIGHT_MAX as f64).contains(&at_first), "{at_first} answers");
    assert!(unencrypted - tried <= LEAVES_MAX as f64, "one record each: {unencrypted}");
    assert!(unencrypted >= at_first + tried);
    let wait = |pair: &[f64]| (pair[1] - pair[0]).rem_euclid(DAY_MS);
    let waits: Vec<f64> = tries.windows(2).skip(1).map(wait).collect();
    for (wait, doublings) in waits.iter().zip(1..) {
        assert!(*wait >= f64::from(SETTLE_MS << doublings), "ever later: {waits:?}");
    }
    let why = shown(&pipe)["gate_reason"].as_str().unwrap().to_owned();
    assert!(why.contains("its answers say that records are not"), "{why}");
    assert_eq!(shown(&pipe)["state"], "contradicted");

    scene.heal();
    scene.command(&json!({ "flag": null }));
    wait_for_gate(&pipe, "open");
    let entries = scene.is_all_delivered(&pipe, &posting.stop());
    assert_eq!(runs(&entries), [(true, entries.len())], "it was true all the while");
    let (denied, confirmed) = (evidence(&pipe, "unencrypted"), evidence(&pipe, "confirmed"));
    assert_eq!((denied, confirmed + denied), (unencrypted, entries.len() as f64));
    wait_until("the log has every record", || logged(&pipe) as f64 == denied);
}

#[test]
fn answers_that_say_nothing_keep_the_gate_half_open_and_the_rest_waits_in_the_spool() {
    says_nothing(Kind::Direct);
}

/// The answers of a stream that was encrypted long ago say nothing of it, and then they do.
pub fn says_nothing(kind: Kind) {
    let scene = Scene::encrypted_of(kind);
    scene.command(&json!({ "flag": "absent" }));
    let pipe = scene.setup().start_durable();
    let posting = scene.post();
    wait_until("it is asked with a few records", || evidence(&pipe, "unverified") >= 4.0);
    posting.goes_on(200);
    let Left { records, requests, .. } = scene.left();
    // A request is counted when it comes, and its record when it is written.
    assert!(records <= requests && requests <= records + 1, "one record at a time");
    let shown = shown(&pipe);
    assert_eq!((&shown["gate"], &shown["state"]), (&json!("half"), &json!("enabled")));
    assert!(shown["detail"].as_str().unwrap().contains("answers say nothing of it"), "{shown}");
    assert!(notes(&pipe).contains("note: gate of demo: half open"));
    assert_eq!(pipe.stream("demo")["state"], "gated");
    wait_until("the rest waits in the spool", || {
        pipe.metric("standpipe_spool_records", "") > 150.0
    });

    scene.command(&json!({ "flag": null }));
    wait_for_gate(&pipe, "open");
    let entries = scene.is_all_delivered(&pipe, &posting.stop());
    let (unverified, confirmed) = (evidence(&pipe, "unverified"), evidence(&pipe, "confirmed"));
    assert_eq!(unverified + confirmed, entries.len() as f64);
    assert_eq!(evidence(&pipe, "unencrypted"), 0.0);
}

#[test]
fn when_answers_say_nothing_any_more_in_the_middle_of_a_run_one_record_at_a_time_goes_after_a_while()
 {
    let scene = Scene::encrypted();
    let setup = scene.setup().set("STANDPIPE_CONTROL_PROOF_HOLDS_MS", "300");
    let (pipe, posting) = sending(&scene, setup);
    scene.command(&json!({ "flag": "absent" }));
    wait_until("the flow ends", || pipe.stream("demo")["state"] == "gated");
    let before = scene.left();
    posting.goes_on(100);
    let after = scene.left();
    let (records, requests) = (after.records - before.records, after.requests - before.requests);
    // A request is counted when it comes, and its record when it is written.
    assert!(records.abs_diff(requests) <= 1, "one record at a time: {records} in {requests}");
    let reason = pipe.stream("demo")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("no answer has confirmed the encryption of late"), "{reason}");

    scene.heal();
    scene.command(&json!({ "flag": null }));
    wait_until("it flows", || pipe.stream("demo")["state"] == "flowing");
    scene.is_all_delivered(&pipe, &posting.stop());
}
