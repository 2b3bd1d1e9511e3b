//! The keys of the spool from outside: KMS away, keys disabled, rotated, foreign, and a change of provider.
//!
//! KMS is an emulator of its own, so that it can go away alone. Nothing that waits for a key is skipped, and
//! nobody is told more than is true. Every scenario ends with the identity of the counters and every record id.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, is_true_within, wait_until};
use crate::upstream::Upstream;

const DURABLE: [(&str, &str); 1] = [("standpipe-ack", "durable")];
const MEMORY: [(&str, &str); 1] = [("standpipe-ack", "memory")];

/// A service, a KMS beside it with a key, and the directory of a spool.
struct Scene {
    upstream: Upstream,
    kms: Upstream,
    key: String,
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let kms = Upstream::start();
        let key = kms.key();
        Self { upstream: Upstream::start(), kms, key, directory: tempfile::tempdir().unwrap() }
    }

    /// A pipe with the spool of the scene, whose records are durable and whose waits are short.
    fn setup(&self) -> Setup {
        Setup::new(&self.upstream.endpoint())
            .spool_in(self.directory.path().to_str().unwrap())
            .kms(&self.kms.endpoint(), &self.key)
            .set("STANDPIPE_DEFAULTS_ACK", "durable")
            .config(
                "[forward]\nbackoff_max_ms = 200\nhold_min_ms = 100\nhold_max_ms = 200\n\
                 [stop]\ngrace_ms = 3000\ndeliver_ms = 1000\nquiet_ms = 100\n",
            )
    }

    /// A life that leaves a backlog of `records` durable records behind under the key of the scene.
    fn backlog(&self, records: usize) -> Ledger {
        self.backlog_of(self.setup(), Ledger::default(), records)
    }

    fn backlog_of(&self, setup: Setup, mut ledger: Ledger, records: usize) -> Ledger {
        self.upstream.fault(&json!({"outage": "unavailable"}));
        let pipe = setup.start();
        assert_eq!(ledger.post(&mut pipe.client(), records, &DURABLE), 200);
        assert_eq!(pipe.balance().spooled, records as f64);
        let (status, log) = pipe.stop();
        assert_eq!(status.code(), Some(0), "{log:?}");
        self.upstream.heal();
        ledger
    }

    /// Checks that the service has the records of `ledgers`, each once, and the pipe nothing any more.
    #[track_caller]
    fn is_all_delivered(&self, pipe: &Pipe, ledgers: &[&Ledger]) {
        pipe.drain();
        let mut all = Ledger::default();
        ledgers.iter().for_each(|ledger| all.add(ledger));
        assert_eq!(all.check(self.upstream.records("demo").values()), 0, "none is there twice");
    }
}

/// What the status says of the data key of the stream `demo`.
fn key_of(pipe: &Pipe) -> Value {
    let keys = pipe.status()["keys"].clone();
    keys["streams"].as_array().unwrap().iter().find(|key| key["name"] == "demo").unwrap().clone()
}

/// What the segments of `demo` wait for.
fn waits_for(pipe: &Pipe) -> String {
    pipe.stream("demo")["spool"]["waits_for"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn with_kms_away_at_the_start_durable_is_refused_with_the_reason_and_memory_flows() {
    let mut scene = Scene::new();
    scene.kms.go_away();
    let pipe = scene.setup().launch();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    wait_until("the reason is known", || key_of(&pipe)["state"] == "missing");
    for headers in [&DURABLE[..], &[]] {
        let answer = ledger.post_to("demo", &mut client, (1, 200), headers);
        assert_eq!((answer.status, answer.code().as_str()), (503, "durable_unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.json()["detail"].as_str().unwrap().contains("no data key"), "{answer:?}");
    }
    let spool = pipe.stream("demo")["spool"].clone();
    assert_eq!(spool["obstacle"], "no_key", "{spool}");
    wait_until("the detail names what is in the way", || {
        let spool = pipe.stream("demo")["spool"].clone();
        spool["obstacle_detail"].as_str().is_some_and(|detail| detail.contains("Connect"))
    });
    assert_eq!(pipe.metric("standpipe_spool_obstacle", "reason=\"no_key\""), 1.0);
    let ready = pipe.admin().get("/readyz");
    assert_eq!(ready.status, 503, "the level that is configured can not be given");
    assert!(!pipe.log_lines("no data key is to be had").is_empty());

    assert_eq!(ledger.post(&mut client, 10, &MEMORY), 202);
    wait_until("memory flows", || scene.upstream.records("demo").len() == 10);
    scene.kms.come_back();
    wait_until("durable is given again", || ledger.post(&mut client, 10, &DURABLE) == 200);
    wait_until("it is ready", || pipe.admin().get("/readyz").status == 200);
    scene.is_all_delivered(&pipe, &[&ledger]);
}

#[test]
fn with_kms_away_at_a_renewal_the_old_key_goes_on_until_its_hard_age_and_never_after_it() {
    const HARD_AGE: Duration = Duration::from_secs(4);
    let mut scene = Scene::new();
    let pipe = scene
        .setup()
        .config(
            "[keys]\nsoft_age_ms = 1000\nhard_age_ms = 4000\n[spool]\nsegment_age_max_ms = 1000\n",
        )
        .start();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    assert_eq!(ledger.post(&mut client, 5, &DURABLE), 200);
    scene.kms.go_away();
    // Whatever renewals there were, the key at hand is older than this by now.
    let away_since = Instant::now();
    let mut refused = None;
    while away_since.elapsed() < HARD_AGE + Duration::from_secs(1) {
        let begun = away_since.elapsed();
        // A request that names no level gets no weaker one.
        let answer = ledger.post_to("demo", &mut client, (2, 200), &[]);
        match answer.status {
            200 => assert!(
                begun < HARD_AGE + Duration::from_millis(600),
                "a key of {begun:?} and more seals nothing"
            ),
            _ => {
                assert_eq!((answer.status, answer.code().as_str()), (503, "durable_unavailable"));
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("keys.hard_age_ms"), "{detail}");
                refused.get_or_insert(begun);
            }
        }
        let _pause = is_true_within(Duration::from_millis(20), || false);
    }
    let refused = refused.expect("it was refused in the end");
    assert!(refused > Duration::from_secs(2), "the old key went on: {refused:?}");
    assert_eq!(key_of(&pipe)["state"], "too-old");
    let spool = pipe.stream("demo")["spool"].clone();
    assert_eq!(spool["obstacle"], "key_too_old", "{spool}");
    assert_eq!(pipe.metric("standpipe_spool_obstacle", "reason=\"key_too_old\""), 1.0);
    assert_eq!(pipe.metric("standpipe_encryption_keys_available", "demo"), 0.0);
    wait_until("it is not ready", || pipe.admin().get("/readyz").status == 503);
    assert_eq!(ledger.post(&mut client, 3, &MEMORY), 202, "memory needs no key");

    scene.kms.come_back();
    wait_until("durable is given again", || ledger.post(&mut client, 5, &DURABLE) == 200);
    scene.is_all_delivered(&pipe, &[&ledger]);
}

#[test]
fn a_key_is_renewed_by_bytes_and_without_kms_the_old_one_goes_on() {
    let mut scene = Scene::new();
    let pipe = scene.setup().config("[keys]\nkey_bytes_max = 1048576\n").start();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    let mut post = |ledger: &mut Ledger| {
        for _ in 0..12 {
            let answer = ledger.post_to("demo", &mut client, (100, 1_000), &DURABLE);
            assert_eq!(answer.status, 200);
        }
    };
    post(&mut ledger);
    let renewed = || pipe.metric("standpipe_encryption_keys_renewed_total", "");
    wait_until("it is renewed", || renewed() == 2.0);
    scene.kms.go_away();
    post(&mut ledger);
    wait_until("the renewal fails", || key_of(&pipe)["state"] == "aging");
    post(&mut ledger);
    assert_eq!(renewed(), 2.0);
    scene.is_all_delivered(&pipe, &[&ledger]);
}

#[test]
fn with_kms_away_at_a_stop_memory_is_kept_under_the_key_at_hand() {
    let mut scene = Scene::new();
    let pipe = scene.setup().start();
    let (mut client, mut ledger) = (pipe.client(), Ledger::default());
    assert_eq!(ledger.post(&mut client, 5, &DURABLE), 200);
    wait_until("the first are delivered", || scene.upstream.records("demo").len() == 5);
    scene.upstream.fault(&json!({"outage": "unavailable"}));
    scene.kms.go_away();
    for _ in 0..20 {
        assert_eq!(ledger.post(&mut client, 10, &MEMORY), 202);
    }
    drop(client);
    let (status, log) = pipe.stop();
    assert_eq!(status.code(), Some(0), "{log:?}");
    assert!(log.iter().any(|line| line["stream"] == "demo" && line["records"] == 200), "{log:?}");

    scene.kms.come_back();
    scene.upstream.heal();
    let next = scene.setup().start();
    scene.is_all_delivered(&next, &[&ledger]);
    assert_eq!(next.accounts().recovered, 200.0);
}

#[test]
fn what_no_key_was_ever_there_for_is_named_as_lost_at_a_stop() {
    let mut scene = Scene::new();
    scene.kms.go_away();
    scene.upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = scene.setup().launch();
    assert_eq!(Ledger::default().post(&mut pipe.client(), 30, &MEMORY), 202);
    let begun = Instant::now();
    let (status, log) = pipe.stop();
    assert!(begun.elapsed() < Duration::from_millis(3_300), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(74), "{log:?}");
    let lost = log.iter().find(|line| line["level"] == "ERROR" && line["records"] == 30);
    assert_eq!(lost.unwrap()["stream"], "demo", "{log:?}");
}

#[test]
fn a_backlog_whose_key_is_disabled_waits_and_what_is_under_another_key_flows() {
    let mut scene = Scene::new();
    let old = scene.backlog(70);
    let disabled = std::mem::replace(&mut scene.key, scene.kms.key());
    let newer = scene.backlog_of(scene.setup(), Ledger::from(500), 30);
    scene.kms.kms("DisableKey", &json!({"KeyId": disabled}));
    let second = std::mem::replace(&mut scene.key, scene.kms.key());
    let listed = format!("{disabled},{second}");
    let pipe = scene.setup().set("STANDPIPE_KEYS_DECRYPT_ONLY", &listed).start();
    wait_until("it says what the segment waits for", || {
        waits_for(&pipe).contains("its key can not be used: DisabledException")
    });
    let mut fresh = Ledger::from(1_000);
    for _ in 0..10 {
        assert_eq!(fresh.post(&mut pipe.client(), 7, &DURABLE), 200);
    }
    // What lies behind the segment that waits is not kept waiting.
    wait_until("others flow", || scene.upstream.records("demo").len() == 100);
    fresh.add(&newer);
    assert_eq!(fresh.check(scene.upstream.records("demo").values()), 0, "and no other old one");
    assert_eq!(pipe.metric("standpipe_spool_reading_waits", "demo"), 1.0);
    assert_eq!(pipe.metric("standpipe_encryption_waiting_keys", ""), 1.0);
    assert_eq!(pipe.metric("standpipe_spool_segments_uncounted", ""), 1.0);
    let waiting = pipe.status()["keys"]["old_keys"]["waiting"].clone();
    assert_eq!(waiting[0]["key_id"], disabled.as_str(), "{waiting}");
    assert!(!pipe.log_lines("the segment waits until that is put right").is_empty());
    assert_eq!(pipe.admin().get("/readyz").status, 200, "durable can be given");
    let accounts = pipe.balance();
    assert_eq!((accounts.quarantined, accounts.recovered), (0.0, 30.0), "{accounts:?}");

    scene.kms.kms("EnableKey", &json!({"KeyId": disabled}));
    scene.is_all_delivered(&pipe, &[&old, &fresh]);
    assert_eq!(pipe.accounts().recovered, 100.0);
    assert_eq!(waits_for(&pipe), "");
    assert_eq!(pipe.metric("standpipe_encryption_waiting_keys", ""), 0.0);
}

#[test]
fn after_a_rotation_the_backlog_of_the_old_key_is_delivered() {
    let mut scene = Scene::new();
    let old = scene.backlog(50);
    let before = std::mem::replace(&mut scene.key, scene.kms.key());
    let pipe = scene.setup().set("STANDPIPE_KEYS_DECRYPT_ONLY", &before).start();
    let mut fresh = Ledger::from(1_000);
    assert_eq!(fresh.post(&mut pipe.client(), 10, &DURABLE), 200);
    scene.is_all_delivered(&pipe, &[&old, &fresh]);
    assert_eq!(scene.kms.kms_calls("Decrypt"), 1);
}

#[test]
fn a_key_that_is_not_listed_is_never_asked_for_and_its_segments_wait() {
    let mut scene = Scene::new();
    let old = scene.backlog(50);
    let before = std::mem::replace(&mut scene.key, scene.kms.key());
    let pipe = scene.setup().start();
    wait_until("it says whose key is not listed", || {
        waits_for(&pipe).contains(&format!("its key {before} is not listed"))
    });
    let mut fresh = Ledger::from(1_000);
    assert_eq!(fresh.post(&mut pipe.client(), 10, &DURABLE), 200);
    wait_until("fresh ones flow", || scene.upstream.records("demo").len() == 10);
    // It looks again every two seconds.
    assert!(!is_true_within(Duration::from_millis(2_500), || scene.kms.kms_calls("Decrypt") > 0));
    assert_eq!(pipe.metric("standpipe_spool_reading_waits", "demo"), 1.0);
    assert!(!pipe.log_lines("segments wait").is_empty());
    assert_eq!(pipe.balance().spooled, 0.0, "what is not counted is said apart");
    assert_eq!(pipe.metric("standpipe_spool_segments_uncounted", ""), 1.0);
    let (status, log) = pipe.stop();
    assert_eq!(status.code(), Some(0), "{log:?}");
    assert!(log.iter().any(|line| line["segments_uncounted"] == 1), "{log:?}");

    let pipe = scene.setup().set("STANDPIPE_KEYS_DECRYPT_ONLY", &before).start();
    scene.is_all_delivered(&pipe, &[&old, &fresh]);
}

#[test]
fn a_change_from_a_key_file_to_kms_delivers_the_backlog_when_the_file_is_listed() {
    let scene = Scene::new();
    let file = scene.directory.path().join("key").to_str().unwrap().to_owned();
    let with_file = scene
        .setup()
        .set("STANDPIPE_KEYS_PROVIDER", "file")
        .set("STANDPIPE_KEYS_FILE", &file)
        .set("STANDPIPE_KEYS_KEY", "");
    let old = scene.backlog_of(with_file, Ledger::default(), 40);
    assert_eq!(scene.kms.kms_calls("GenerateDataKey"), 0);

    let pipe = scene.setup().start();
    wait_until("it is foreign", || waits_for(&pipe).contains("is not listed"));
    assert_eq!(pipe.stop().0.code(), Some(0));

    let pipe = scene.setup().set("STANDPIPE_KEYS_FILE", &file).start();
    let mut fresh = Ledger::from(1_000);
    assert_eq!(fresh.post(&mut pipe.client(), 10, &DURABLE), 200);
    scene.is_all_delivered(&pipe, &[&old, &fresh]);
    assert_eq!(scene.kms.kms_calls("Decrypt"), 0);
    assert_eq!(pipe.stop().0.code(), Some(0));

    // And back again.
    let newer = scene.backlog_of(scene.setup(), Ledger::from(2_000), 10);
    let pipe = scene
        .setup()
        .set("STANDPIPE_KEYS_PROVIDER", "file")
        .set("STANDPIPE_KEYS_FILE", &file)
        .set("STANDPIPE_KEYS_KEY", "")
        .set("STANDPIPE_KEYS_DECRYPT_ONLY", &scene.key)
        .start();
    scene.is_all_delivered(&pipe, &[&old, &fresh, &newer]);
}

#[test]
fn a_kms_that_throttles_is_asked_again_at_the_start_and_for_a_backlog() {
    let scene = Scene::new();
    scene.kms.kms_fault(&json!({"throttle_rate": 1, "fail_next": 3}));
    let old = scene.backlog(30);
    assert!(scene.kms.kms_calls("GenerateDataKey") > 3);
    scene.kms.kms_fault(&json!({"throttle_rate": 1, "fail_next": 5}));
    let pipe = scene.setup().start();
    let mut fresh = Ledger::from(1_000);
    wait_until("durable is given", || fresh.post(&mut pipe.client(), 10, &DURABLE) == 200);
    scene.is_all_delivered(&pipe, &[&old, &fresh]);
    let throttled = pipe.metric("standpipe_encryption_kms_requests_total", "Throttling");
    assert_eq!(throttled, 5.0);
}
