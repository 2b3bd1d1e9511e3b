//! A scenario for each fault of the service: nothing is lost, nothing is made up, and it is shown.
//!
//! Every scenario ends with the identity of the counters and with every record id accounted for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::pipe::{PATIENCE, Pipe, Setup, wait_until};
use crate::upstream::Upstream;

/// A pipe whose waits are short, so that a scenario is over soon.
fn impatient(upstream: &Upstream) -> Setup {
    Setup::new(&upstream.endpoint()).config(
        "[forward]\nbackoff_min_ms = 10\nbackoff_max_ms = 200\nhold_min_ms = 100\n\
         hold_max_ms = 200\nattempt_timeout_ms = 1000\nconnect_timeout_ms = 500\n",
    )
}

/// Posts `requests` requests of ten records; all of them are accepted.
fn post(pipe: &Pipe, ledger: &mut Ledger, requests: usize) {
    let mut client = pipe.client();
    for _ in 0..requests {
        assert_eq!(ledger.post(&mut client, 10, &[]), 202);
    }
}

/// What the status says of the stream `demo`.
fn demo(pipe: &Pipe) -> Value {
    let status = pipe.status();
    let streams = status["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["name"] == "demo").unwrap().clone()
}

/// Runs records through a service with `faults`, which end after a while, and counts duplicates.
fn survive(faults: &Value) -> (usize, Pipe, Upstream) {
    let upstream = Upstream::start();
    upstream.fault(faults);
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 300);
    let some = || upstream.counters("demo").to_string().len() > 2;
    wait_until("the service was asked", || {
        some() && pipe.metric("standpipe_forward_requests_total", "") >= 3.0
    });
    upstream.heal();
    pipe.settle();
    let duplicates = ledger.check(upstream.records("demo").values());
    let delivered = upstream.delivered("demo");
    let in_files = ledger.check(delivered.split_inclusive(|byte| *byte == b'\n'));
    assert_eq!(in_files, duplicates, "the files hold what the service answered for");
    (duplicates, pipe, upstream)
}

#[test]
fn only_the_records_that_failed_are_sent_again() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"record_failure_rate": 0.3, "seed": 7}));
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 300);
    // The fault goes on: every record gets through in the end, and none of them twice.
    pipe.settle();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    let failed = pipe.metric("standpipe_forward_records_failed_total", "ServiceUnavailable");
    assert!(failed > 300.0, "{failed} records failed on the way");
}

#[test]
fn records_that_fail_by_index_are_settled_by_index() {
    for index in [0, 249, 499] {
        let upstream = Upstream::start();
        upstream.fault(&json!({"record_failure_indexes": [index], "fail_next": 1}));
        let pipe = impatient(&upstream).set("STANDPIPE_DEFAULTS_LINGER_MS", "60000").start();
        let mut ledger = Ledger::default();
        assert_eq!(ledger.post(&mut pipe.client(), 500, &[]), 202);
        pipe.settle();
        assert_eq!(ledger.check(upstream.records("demo").values()), 0, "index {index}");
        let requests = pipe.metric("standpipe_forward_requests_total", "");
        assert_eq!(requests, 2.0, "the failed one went again alone");
    }
}

#[test]
fn five_hundred_of_five_hundred_failed_with_a_200_is_no_success_and_no_hot_loop() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"record_failure_rate": 1.0}));
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    assert_eq!(ledger.post(&mut pipe.client(), 500, &[]), 202);
    let begun = Instant::now();
    wait_until("it was tried ten times", || {
        pipe.metric("standpipe_forward_requests_total", "") >= 10.0
    });
    // Ten full-jitter waits of 10 to 200 ms are about a second; a hot loop takes a few milliseconds.
    assert!(begun.elapsed() > Duration::from_millis(150), "{:?}", begun.elapsed());
    assert_eq!(pipe.metric("standpipe_forward_records_delivered_total", ""), 0.0);
    upstream.heal();
    pipe.settle();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn throttled_requests_are_sent_again() {
    let (duplicates, pipe, _upstream) = survive(&json!({"throttle_rate": 0.7, "seed": 1}));
    assert_eq!(duplicates, 0);
    assert!(pipe.metric("standpipe_forward_requests_total", "unavailable") > 0.0);
}

#[test]
fn a_quota_that_is_far_exceeded_is_used_up_and_never_loses_a_record() {
    let upstream = Upstream::start();
    let quota = json!({"records_per_s": 1_000, "requests_per_s": 50, "bytes_per_s": 1_000_000});
    upstream.control("PUT", "/emulator/streams/demo/quota", &quota);
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 300);
    // Three thousand records at a thousand a second, of which the first thousand are at hand.
    pipe.settle();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    let throttled = pipe.metric("standpipe_forward_records_failed_total", "ServiceUnavailable");
    assert!(throttled > 0.0, "the quota did bite");
}

#[test]
fn an_outage_that_refuses_every_connection_is_survived() {
    assert_eq!(survive(&json!({"outage": "refuse"})).0, 0);
    assert_eq!(survive(&json!({"outage": "unavailable"})).0, 0);
}

#[test]
fn internal_failures_are_sent_again() {
    let faults = json!({"error_code": "InternalFailure", "error_status": 500, "error_rate": 0.7});
    assert_eq!(survive(&faults).0, 0);
}

#[test]
fn connections_that_are_reset_before_the_write_cost_nothing() {
    assert_eq!(survive(&json!({"reset_before_rate": 0.5, "seed": 3})).0, 0);
    assert_eq!(survive(&json!({"reset_after_rate": 0.5, "seed": 3})).0, 0);
}

#[test]
fn answers_that_are_lost_after_the_write_give_duplicates_and_no_loss() {
    let (duplicates, pipe, _upstream) = survive(&json!({"lost_answer_rate": 0.5, "seed": 5}));
    assert!(duplicates > 0, "the fault did happen");
    let resent = pipe.metric("standpipe_forward_records_retried_total", "");
    assert!(duplicates as f64 <= resent, "{duplicates} duplicates, {resent} records sent again");
}

#[test]
fn a_service_that_hangs_is_given_up_on_and_asked_again() {
    let (duplicates, pipe, _upstream) = survive(&json!({"outage": "hang"}));
    assert_eq!(duplicates, 0);
    assert!(pipe.metric("standpipe_forward_requests_total", "ambiguous") > 0.0);
}

#[test]
fn a_slow_service_keeps_few_requests_and_all_records() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"latency_ms": 300, "latency_jitter_ms": 200}));
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 300);
    let limit = pipe.metric("standpipe_forward_requests_in_flight", "");
    assert!(limit <= 8.0, "{limit} requests are under way");
    pipe.settle();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn an_outage_opens_the_circuit_and_its_end_closes_it() {
    let mut upstream = Upstream::start();
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 1);
    pipe.settle();
    upstream.go_away();
    post(&pipe, &mut ledger, 100);
    wait_until("the circuit is open", || demo(&pipe)["state"] == "circuit_open");
    assert_eq!(pipe.admin().get("/readyz").status, 200, "an outage does not make it unready");
    let shown = demo(&pipe);
    assert!(shown["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{shown}");
    let asked = pipe.metric("standpipe_forward_requests_total", "");
    post(&pipe, &mut ledger, 100);
    let probes = pipe.metric("standpipe_forward_requests_total", "") - asked;
    assert!(probes < 100.0, "an open circuit is probed, not hammered: {probes} requests");
    upstream.come_back();
    pipe.settle();
    wait_until("the circuit is closed", || demo(&pipe)["state"] == "flowing");
    let before = 10;
    let after: Vec<Vec<u8>> = upstream.records("demo").into_values().collect();
    assert_eq!(
        after.len() + before,
        ledger.len(),
        "each once; the first ten were in the first life"
    );
}

/// A refusal that is the stream's, or the credentials': the stream is held, and nothing is dropped.
fn is_held_and_released(code: &str, message: &str) {
    let upstream = Upstream::start();
    upstream.fault(&json!({"error_code": code, "error_message": message}));
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    post(&pipe, &mut ledger, 20);
    wait_until("the stream is held", || demo(&pipe)["state"] == "held");
    let shown = demo(&pipe);
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains(code), "the reason names the code of the service: {reason}");
    assert_eq!(pipe.metric("standpipe_pipeline_records_in_memory", ""), ledger.len() as f64);
    assert_eq!(pipe.admin().get("/readyz").status, 200);
    upstream.heal();
    pipe.settle();
    wait_until("it flows again", || demo(&pipe)["state"] == "flowing");
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn a_missing_stream_is_held() {
    is_held_and_released("ResourceNotFoundException", "Firehose demo not found.");
}

#[test]
fn a_key_that_is_away_holds_the_stream() {
    is_held_and_released("InvalidKMSResourceException", "The grant might have been revoked.");
}

#[test]
fn missing_permissions_hold_the_stream() {
    is_held_and_released(
        "AccessDeniedException",
        "not authorized to perform firehose:PutRecordBatch",
    );
}

#[test]
fn expired_credentials_hold_the_stream() {
    is_held_and_released("ExpiredTokenException", "The security token is expired.");
}

#[test]
fn a_stream_that_reads_from_kinesis_is_held_and_no_record_is_at_fault() {
    is_held_and_released(
        "InvalidArgumentException",
        "This operation is not permitted on KinesisStreamAsSource delivery stream type.",
    );
}

#[test]
fn a_refusal_of_every_record_alone_holds_the_stream_and_sets_none_aside() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"error_code": "ValidationException", "error_message": "no"}));
    let pipe = impatient(&upstream).start();
    let mut ledger = Ledger::default();
    assert_eq!(ledger.post(&mut pipe.client(), 100, &[]), 202);
    wait_until("the stream is held", || demo(&pipe)["state"] == "held");
    assert_eq!(pipe.metric("standpipe_forward_records_set_aside", ""), 0.0);
    upstream.heal();
    pipe.settle();
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn one_bad_record_is_found_and_set_aside_and_its_siblings_are_delivered() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"poison": "poisoned", "poison_code": "ValidationException"}));
    let pipe = impatient(&upstream).set("STANDPIPE_DEFAULTS_LINGER_MS", "60000").start();
    let mut ledger = Ledger::default();
    let mut body = String::new();
    for at in 0..500 {
        if at == 321 {
            body.push_str("{\"id\":\"poisoned\"}\n");
        } else {
            let (id, record) = ledger.record(100);
            body.push_str(&record);
            ledger.note(id);
        }
    }
    let headers = [("content-type", "application/x-ndjson")];
    let answer = pipe.client().request("POST", &Pipe::path("demo"), &headers, body.as_bytes());
    assert_eq!(answer.json()["accepted"], 500);
    wait_until("the siblings are delivered", || upstream.records("demo").len() == 499);
    wait_until("it is set aside", || pipe.metric("standpipe_forward_records_set_aside", "") == 1.0);
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    assert_eq!(pipe.metric("standpipe_pipeline_records_in_memory", ""), 1.0, "it is not dropped");
    wait_until("it is logged", || !pipe.log_lines("set aside").is_empty());
    let log = pipe.log_lines("set aside");
    assert_eq!(log.len(), 1);
    assert!(!log[0].to_string().contains("poisoned"), "payload is never logged: {}", log[0]);
    // A stop names it, since it can not be saved.
    let (status, log) = pipe.stop();
    assert!(!status.success(), "records were lost: the exit code says so");
    assert!(log.iter().any(|line| line["lost"] == 1 || line["records"] == 1), "{log:?}");
}

#[test]
fn a_record_that_is_set_aside_does_not_slow_down_who_waits_for_delivery() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"poison": "poisoned", "poison_code": "ValidationException"}));
    let pipe = impatient(&upstream).set("STANDPIPE_DEFAULTS_LINGER_MS", "60000").start();
    let mut body = "{\"id\":\"poisoned\"}\n".to_owned();
    let mut ledger = Ledger::default();
    for _ in 0..499 {
        let (id, record) = ledger.record(100);
        body.push_str(&record);
        ledger.note(id);
    }
    let headers = [("content-type", "application/x-ndjson")];
    pipe.client().request("POST", &Pipe::path("demo"), &headers, body.as_bytes());
    wait_until("it is set aside", || pipe.metric("standpipe_forward_records_set_aside", "") == 1.0);
    wait_until("its siblings are delivered", || upstream.records("demo").len() == 499);
    // Nothing is in flight, so that a batch does not linger when somebody waits.
    assert_eq!(ledger.post(&mut pipe.client(), 3, &[("standpipe-ack", "delivered")]), 200);
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn one_stream_s_trouble_is_not_another_s() {
    let upstream = Upstream::with_streams(&["demo", "held", "slow"]);
    upstream.fault_of("held", &json!({"error_code": "AccessDeniedException"}));
    upstream.fault_of("slow", &json!({"outage": "hang"}));
    let pipe = impatient(&upstream).set("STANDPIPE_STREAMS", "demo,held,slow").start();
    let mut client = pipe.client();
    for stream in ["held", "slow"] {
        for _ in 0..50 {
            assert_eq!(client.request("POST", &Pipe::path(stream), &[], b"x").status, 202);
        }
    }
    let mut ledger = Ledger::default();
    let begun = Instant::now();
    post(&pipe, &mut ledger, 200);
    wait_until("the healthy stream flows", || upstream.records("demo").len() == ledger.len());
    assert!(begun.elapsed() < PATIENCE / 6, "it took {:?}", begun.elapsed());
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn all_faults_at_once_lose_nothing() {
    let (_, pipe, _upstream) = survive(&json!({
        "seed": 11, "throttle_rate": 0.1, "record_failure_rate": 0.2, "latency_ms": 2,
        "latency_jitter_ms": 20, "reset_before_rate": 0.05, "reset_after_rate": 0.05,
        "lost_answer_rate": 0.05, "error_code": "InternalFailure", "error_rate": 0.1,
    }));
    assert_eq!(pipe.metric("standpipe_pipeline_records_lost_total", ""), 0.0);
}
