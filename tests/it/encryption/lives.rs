//! Stops, kills and restarts in each state of the encryption, and two pipes that see to one stream: nothing that
//! was answered for is lost, nothing leaves that is not proven anew, and the calls of the day are counted on.

use std::time::{Duration, Instant};

use serde_json::json;

use super::posting::Fates;
use super::scene::{Scene, evidence, gate, is_all_encrypted, shown, wait_for_gate};
use crate::pipe::{Pipe, Setup, wait_until};

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

/// A state of the encryption to be ended in.
struct State {
    name: &'static str,
    /// What brings the first life there, and the next one on.
    owner: bool,
    /// What is set for the first life.
    before: fn(&Scene, Setup) -> Setup,
    is_there: fn(&Scene, &Pipe) -> bool,
    /// Brings the next life on, where that does not go there by itself.
    on: fn(&Scene, &Pipe),
}

const DESCRIBE: &str = "firehose:DescribeDeliveryStream";

/// As good as for ever, in ms.
const LONG_MS: u64 = 600_000;

const fn nothing(_: &Scene, _: &Pipe) {}

const STATES: [State; 7] = [
    State {
        name: "unknown",
        owner: true,
        before: |scene, setup| {
            scene.deny(&[DESCRIBE]);
            setup
        },
        is_there: |_, pipe| {
            shown(pipe)["gate_reason"].as_str().is_some_and(|r| r.contains("Denied"))
        },
        on: nothing,
    },
    State {
        name: "enabling",
        owner: true,
        before: |scene, setup| {
            scene.command(&json!({ "transition_ms": LONG_MS }));
            setup
        },
        is_there: |_, pipe| shown(pipe)["state"] == "enabling",
        on: |scene, pipe| {
            wait_until("it is seen", || shown(pipe)["state"] == "enabling");
            assert_eq!(gate(pipe), "closed");
            scene.command(&json!({ "set": "enabled", "key": scene.upstream.key_arn() }));
        },
    },
    State {
        name: "settling",
        owner: false,
        before: |scene, setup| {
            scene.command(&json!({ "set": "enabled" }));
            setup.set("STANDPIPE_CONTROL_SETTLE_MS", &LONG_MS.to_string())
        },
        is_there: |_, pipe| {
            let shown = shown(pipe);
            shown["state"] == "enabled" && shown["gate"] == "closed"
        },
        on: nothing,
    },
    State {
        name: "half",
        owner: false,
        before: |scene, setup| {
            scene.command(&json!({ "set": "enabled", "flag": "absent" }));
            setup
        },
        is_there: |_, pipe| gate(pipe) == "half" && evidence(pipe, "unverified") > 1.0,
        on: |scene, pipe| {
            wait_until("it is half open", || gate(pipe) == "half");
            scene.command(&json!({ "flag": null }));
        },
    },
    State {
        name: "open",
        owner: false,
        before: |scene, setup| {
            scene.command(&json!({ "set": "enabled" }));
            setup
        },
        is_there: |_, pipe| gate(pipe) == "open" && evidence(pipe, "confirmed") > 50.0,
        on: nothing,
    },
    State {
        name: "key change",
        owner: true,
        before: |scene, setup| {
            scene.command(&json!({ "set": "enabled", "transition_ms": LONG_MS }));
            setup
        },
        is_there: |_, pipe| shown(pipe)["state"] == "enabling" && gate(pipe) == "open",
        on: |scene, pipe| {
            // Whoever has not seen it encrypted before does not know that an old key encrypts.
            wait_until("it is seen", || shown(pipe)["state"] == "enabling");
            assert_eq!(gate(pipe), "closed");
            scene.command(&json!({ "set": "enabled", "key": scene.upstream.key_arn() }));
        },
    },
    State {
        name: "limit reached",
        owner: true,
        before: |scene, setup| {
            scene.command(&json!({ "calls": 25 }));
            setup
        },
        is_there: |_, pipe| {
            let trouble = shown(pipe)["trouble"].clone();
            trouble.as_str().is_some_and(|why| why.starts_with("LimitExceededException"))
        },
        on: |scene, _| scene.command(&json!({ "set": "enabled", "key": scene.upstream.key_arn() })),
    },
];

fn setup(scene: &Scene, state: &State) -> Setup {
    if !state.owner {
        return scene.setup();
    }
    scene
        .setup()
        .set("STANDPIPE_DEFAULTS_MANAGE", "true")
        .set("STANDPIPE_DEFAULTS_ENCRYPTION_KEY", scene.upstream.key_arn())
}

/// Ends a life in this state under load, and has the next one deliver everything.
fn ends_in(state: &State, end: End) {
    let scene = Scene::new();
    let first = (state.before)(&scene, setup(&scene, state)).start_durable();
    let posting = scene.post();
    wait_until("it is there", || (state.is_there)(&scene, &first));
    posting.goes_on(50);
    let calls_left = shown(&first)["calls_left"].clone();
    let fates = ended(first, end, || posting.stop());

    // The next life may not ask: whatever the last one knew, nothing leaves.
    scene.deny(&[DESCRIBE]);
    let next = setup(&scene, state).start_durable();
    let posting = scene.post();
    scene.is_shut(&next, &posting);
    assert_eq!(shown(&next)["calls_left"], calls_left, "the calls are counted on");
    scene.deny(&[]);
    (state.on)(&scene, &next);
    wait_for_gate(&next, "open");
    posting.goes_on(50);
    let mut all = fates;
    all.add(posting.stop());
    is_all_encrypted(&match end {
        End::Stopped => scene.is_all_delivered(&next, &all),
        End::Killed => scene.drained(&next, &all),
    });
    if state.name != "limit reached" {
        let made = scene.truth()["calls"].as_u64().unwrap();
        assert!(made <= 1, "{made} calls");
        assert_eq!(shown(&next)["calls_left"], 25 - made);
    }
}

/// Ends a life, and the applications with `stop`: before a stop, and after a kill.
fn ended(pipe: Pipe, end: End, stop: impl FnOnce() -> Fates) -> Fates {
    match end {
        End::Stopped => {
            let fates = stop();
            let (status, log) = pipe.stop();
            assert_eq!(status.code(), Some(0), "{log:?}");
            fates
        }
        End::Killed => {
            pipe.signal("KILL");
            let _killed = pipe.ended();
            stop().killed()
        }
    }
}

/// All states side by side: most of it is waiting.
fn ends_in_each(end: End) {
    std::thread::scope(|scope| {
        for state in &STATES {
            let name = format!("{} {end:?}", state.name);
            std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || ends_in(state, end))
                .unwrap();
        }
    });
}

#[test]
fn a_stop_in_each_state_loses_nothing_and_the_next_life_lets_nothing_leave_unproven() {
    ends_in_each(End::Stopped);
}

#[test]
fn a_kill_in_each_state_loses_nothing_and_the_next_life_lets_nothing_leave_unproven() {
    ends_in_each(End::Killed);
}

#[test]
fn a_stop_under_load_with_the_gate_closed_ends_in_time_and_the_next_life_delivers_it_all() {
    let scene = Scene::new();
    let first = scene.setup().set("STANDPIPE_STOP_GRACE_MS", "1500").start_durable();
    let posting = scene.post();
    wait_until("it is known to be off", || shown(&first)["state"] == "disabled");
    scene.is_shut(&first, &posting);
    let began = Instant::now();
    first.signal("TERM");
    let (status, log) = first.ended();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "its grace time is 1.5 s: {took:?}");
    assert_eq!(status.code(), Some(0), "{log:?}");
    let stay =
        |line: &&serde_json::Value| line["message"].as_str().unwrap().contains("stay in the spool");
    assert!(log.iter().any(|line| stay(&line)), "{log:?}");
    let mut fates = posting.stop();
    assert_eq!(scene.left().requests, 0);

    scene.command(&json!({ "set": "enabled" }));
    let next = scene.setup().start_durable();
    let posting = scene.post();
    wait_for_gate(&next, "open");
    fates.add(posting.stop());
    is_all_encrypted(&scene.is_all_delivered(&next, &fates));
}

#[test]
fn two_pipes_that_see_to_one_stream_make_few_calls_and_both_open() {
    let scene = Scene::new();
    let pipes = ["one", "two"]
        .map(|name| scene.setup_of(name).set("STANDPIPE_DEFAULTS_MANAGE", "true").start_durable());
    let postings = ["one", "two"].map(|name| scene.post_to(name));
    for (pipe, posting) in pipes.iter().zip(&postings) {
        wait_for_gate(pipe, "open");
        posting.goes_on(50);
    }
    // Both sent without a doubt of each other: what one sees is true for the other.
    scene.command(&json!({ "set": "disabled" }));
    for pipe in &pipes {
        wait_for_gate(pipe, "closed");
    }
    for pipe in &pipes {
        wait_for_gate(pipe, "open");
    }
    let mut fates = Fates::default();
    postings.into_iter().for_each(|posting| fates.add(posting.stop()));
    pipes.iter().for_each(|pipe| {
        pipe.drain();
    });
    let entries = scene.is_all_delivered(&pipes[0], &fates);
    let unencrypted = entries.iter().filter(|entry| !entry.encrypted).count();
    let counted: f64 = pipes.iter().map(|pipe| evidence(pipe, "unencrypted")).sum();
    assert_eq!(counted, unencrypted as f64);
    let [starts, others @ ..] = scene.changes();
    assert!((2..=4).contains(&starts), "{starts}");
    assert_eq!(others, [0; 3]);
}
