//! Requests that wait on streams in trouble leave places for those of others.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::Client;
use crate::ledger::Ledger;
use crate::pipe::{Pipe, Setup, wait_until};
use crate::upstream::Upstream;

const DELIVERED: [(&str, &str); 1] = [("standpipe-ack", "delivered")];

/// How many requests there may be at once.
const REQUESTS_MAX: usize = 32;

/// Sends more requests to a stream than there are places, each of which waits for delivery, until it is told
/// something or the pipe is gone.
fn besiege(pipe: &Pipe, stream: &'static str) {
    for _ in 0..2 * REQUESTS_MAX {
        let address = pipe.data.clone();
        std::thread::spawn(move || {
            let mut client = Client::tcp(&address);
            let body = b"{\"id\":1}\n";
            let request = crate::http::head("POST", &Pipe::path(stream), &DELIVERED, body.len());
            while client.send(&[&request[..], body].concat()).is_ok() {
                let Some(answer) = client.answer() else { return };
                if answer.status < 300 {
                    return;
                }
                // Otherwise it is told to come back.
                let _pause = crate::pipe::is_true_within(Duration::from_millis(50), || false);
            }
        });
    }
}

#[test]
fn requests_that_wait_on_broken_streams_leave_places_for_the_healthy_one() {
    let upstream = Upstream::with_streams(&["demo", "broken", "hanging"]);
    upstream.fault_of("broken", &json!({"error_code": "AccessDeniedException"}));
    upstream.fault_of("hanging", &json!({"outage": "hang"}));
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_STREAMS", "demo,broken,hanging")
        .set("STANDPIPE_INGEST_REQUESTS_MAX", &REQUESTS_MAX.to_string())
        .set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "25000")
        .config("[forward]\nhold_min_ms = 100\nhold_max_ms = 200\nconnect_timeout_ms = 1000\nattempt_timeout_ms = 1000\n")
        .start();
    besiege(&pipe, "broken");
    wait_until("one stream has all places that it may have", || {
        pipe.metric("standpipe_ingest_requests_total", "too_many_waiting") > 0.0
    });
    besiege(&pipe, "hanging");
    wait_until("so have two", || pipe.status()["requests"].as_u64().unwrap() >= 20);
    let mut ledger = Ledger::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let demos: Vec<_> = (0..2)
            .map(|index| {
                let pipe = &pipe;
                scope.spawn(move || {
                    let (mut client, mut ledger) = (pipe.client(), Ledger::from(index * 1_000));
                    for _ in 0..20 {
                        let answer = ledger.post_to("demo", &mut client, (2, 200), &DELIVERED);
                        assert_eq!(answer.status, 200, "{answer:?}");
                    }
                    ledger
                })
            })
            .collect();
        demos.into_iter().for_each(|demo| ledger.add(&demo.join().unwrap()));
    });
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(pipe.status()["requests"].as_u64().unwrap() >= 20, "the others still wait");
    // Who does not wait is taken on a broken stream, too.
    let mut client = pipe.client();
    wait_until("memory is taken", || {
        client.request("POST", &Pipe::path("broken"), &[], b"{\"id\":1}\n").status == 202
    });
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
    for stream in ["broken", "hanging"] {
        let path = format!("/emulator/streams/{stream}/faults");
        upstream.control("DELETE", &path, &serde_json::Value::Null);
    }
    wait_until("all are answered", || pipe.status()["requests"] == 0);
    pipe.drain();
}

#[test]
fn a_stream_that_is_alone_may_have_most_places() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "hang"}));
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_REQUESTS_MAX", &REQUESTS_MAX.to_string())
        .set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "25000")
        .config("[forward]\nconnect_timeout_ms = 1000\nattempt_timeout_ms = 1000\n")
        .start();
    besiege(&pipe, "demo");
    wait_until("three quarters of the places are taken", || {
        pipe.metric("standpipe_ingest_requests_total", "too_many_waiting") > 0.0
            && pipe.status()["requests"].as_u64().unwrap() >= 24
    });
    upstream.heal();
    wait_until("all are answered", || pipe.status()["requests"] == 0);
    pipe.drain();
}
