//! The service can not be asked about its streams, or answers too few of many questions: who does not require
//! encryption flows, who requires it waits, and nobody asks more than his part.

use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

/// Streams whose records flow whatever is known, and as many that have to be encrypted.
const OF_EACH: usize = 4;

/// Questions that a process asks at once after a quiet time, and in a second.
const ASKED_AT_ONCE: f64 = 4.0;
const ASKED_PER_SECOND: f64 = 2.0;

struct Crowd {
    upstream: Upstream,
    directory: TempDir,
    free: Vec<String>,
    bound: Vec<String>,
}

impl Crowd {
    /// Streams that are all encrypted.
    fn new() -> Self {
        let names = |kind: &str| (0..OF_EACH).map(|n| format!("{kind}-{n}")).collect();
        let (free, bound): (Vec<String>, Vec<String>) = (names("free"), names("bound"));
        let all: Vec<&str> = free.iter().chain(&bound).map(String::as_str).collect();
        let upstream = Upstream::with_streams(&all);
        for name in all {
            let path = format!("/emulator/streams/{name}/encryption");
            upstream.control("PUT", &path, &json!({ "set": "enabled" }));
        }
        Self { upstream, directory: tempfile::tempdir().unwrap(), free, bound }
    }

    fn account(&self, account: &Value) {
        self.upstream.control("PUT", "/emulator/account", account);
    }

    fn start(&self) -> Pipe {
        let require = |name| format!("[[streams]]\nname = \"{name}\"\nencryption = \"require\"\n");
        let report = |name| format!("[[streams]]\nname = \"{name}\"\nencryption = \"report\"\n");
        let bound: String = self.bound.iter().map(require).collect();
        let free: String = self.free.iter().map(report).collect();
        Setup::new(&self.upstream.endpoint())
            .set("STANDPIPE_STREAMS", "")
            .spool_in(self.directory.path().to_str().unwrap())
            .config("[control]\npoll_min_ms = 10\npoll_max_ms = 500\nsettle_ms = 0\n")
            .config(&format!("{bound}{free}"))
            .start_durable()
    }

    /// Gives each stream ten records.
    fn post(&self, pipe: &Pipe, ledgers: &mut [Ledger]) {
        let mut client = pipe.client();
        for (name, ledger) in self.free.iter().chain(&self.bound).zip(ledgers) {
            let durable = [("standpipe-ack", "durable")];
            assert_eq!(ledger.post_to(name, &mut client, (10, 100), &durable).status, 200);
        }
    }

    fn left(&self, name: &str) -> u64 {
        self.upstream.counters(name)["counters"]["records_accepted"].as_u64().unwrap()
    }

    fn asked(&self) -> f64 {
        self.upstream.calls("firehose", "DescribeDeliveryStream") as f64
    }

    /// Checks that no more was asked than a process may since then.
    #[track_caller]
    fn is_asked_seldom(&self, since: Instant, before: f64) {
        let asked = self.asked() - before;
        let most = ASKED_AT_ONCE + ASKED_PER_SECOND * since.elapsed().as_secs_f64() + 1.0;
        assert!(asked <= most, "{asked} questions in {:?}", since.elapsed());
    }

    #[track_caller]
    fn is_all_delivered(&self, pipe: &Pipe, ledgers: &[Ledger]) {
        pipe.drain();
        for (name, ledger) in self.free.iter().chain(&self.bound).zip(ledgers) {
            assert_eq!(ledger.check(self.upstream.records(name).values()), 0, "{name}");
        }
    }
}

#[test]
fn where_nobody_may_ask_only_what_has_to_be_encrypted_waits_until_somebody_may() {
    let crowd = Crowd::new();
    crowd.account(&json!({ "denied": ["firehose:DescribeDeliveryStream"] }));
    let began = Instant::now();
    let pipe = crowd.start();
    let mut ledgers: Vec<Ledger> = (0..OF_EACH * 2).map(|_| Ledger::default()).collect();
    crowd.post(&pipe, &mut ledgers);
    wait_until("who does not require it flows", || {
        crowd.free.iter().all(|name| crowd.left(name) == 10)
    });
    wait_until("the others say why not", || {
        crowd.bound.iter().all(|name| {
            let why = pipe.stream(name)["gate_reason"].as_str().unwrap_or_default().to_owned();
            why.contains("AccessDeniedException")
        })
    });
    assert_eq!(crowd.bound.iter().map(|name| crowd.left(name)).sum::<u64>(), 0);
    assert!(!pipe.log_lines("the service can not be asked about a stream").is_empty());
    let denied = "operation=\"DescribeDeliveryStream\",result=\"AccessDeniedException\"";
    assert_eq!(pipe.metric("standpipe_encryption_calls_total", denied), crowd.asked());
    crowd.is_asked_seldom(began, 0.0);
    crowd.account(&json!({}));
    crowd.is_all_delivered(&pipe, &ledgers);
    crowd.is_asked_seldom(began, 0.0);
}

#[test]
fn where_others_use_up_the_questions_of_the_account_streams_flow_or_wait_and_all_come_to_it() {
    let crowd = Crowd::new();
    // What a fleet leaves of the five a second.
    crowd.account(&json!({ "rps": { "firehose:DescribeDeliveryStream": 1 } }));
    let began = Instant::now();
    let pipe = crowd.start();
    let mut ledgers: Vec<Ledger> = (0..OF_EACH * 2).map(|_| Ledger::default()).collect();
    crowd.post(&pipe, &mut ledgers);
    wait_until("who does not require it flows", || {
        crowd.free.iter().all(|name| crowd.left(name) == 10)
    });
    crowd.is_all_delivered(&pipe, &ledgers);
    crowd.is_asked_seldom(began, 0.0);
    let throttled = "operation=\"DescribeDeliveryStream\",result=\"ThrottlingException\"";
    assert!(pipe.metric("standpipe_encryption_calls_total", throttled) > 0.0);
    for name in &crowd.bound {
        let stream = pipe.stream(name);
        assert_eq!(
            (&stream["gate"], &stream["encryption"]["records_confirmed"]),
            (&json!("open"), &json!(10))
        );
    }
}
