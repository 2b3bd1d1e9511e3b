//! The native dialect: what becomes a record, which level an answer has, and every refusal.

use std::io::Write;

use serde_json::json;

use crate::http::Client;
use crate::pipe::{Pipe, Setup, TokenFile, wait_until};
use crate::upstream::Upstream;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn post(client: &mut Client, headers: &[(&str, &str)], body: &[u8]) -> crate::http::Answer {
    client.request("POST", &Pipe::path("demo"), headers, body)
}

/// Waits until `records` were delivered, and gives them in no particular order.
fn delivered(upstream: &Upstream, records: usize) -> Vec<Vec<u8>> {
    wait_until("all is delivered", || upstream.records("demo").len() >= records);
    let mut all: Vec<Vec<u8>> = upstream.records("demo").into_values().collect();
    all.sort();
    all
}

#[test]
fn a_body_is_one_record_and_gets_the_newline_that_it_lacks() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut client = pipe.client();
    for body in ["one", "two\n", "{\"a\":\n1}"] {
        let answer = post(&mut client, &[], body.as_bytes());
        let bytes = body.len() + usize::from(!body.ends_with('\n'));
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json(), json!({"accepted": 1, "bytes": bytes, "ack": "memory"}));
        assert_eq!(answer.header("standpipe-ack"), Some("memory"));
    }
    assert_eq!(delivered(&upstream, 3), [&b"one\n"[..], b"two\n", b"{\"a\":\n1}\n"]);
    pipe.settle();
}

#[test]
fn a_line_is_a_record_and_empty_lines_are_none() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let answer = post(&mut pipe.client(), &[NDJSON], b"a\n\n  \r\nb\r\nc");
    assert_eq!(answer.json(), json!({"accepted": 3, "bytes": 7, "ack": "memory"}));
    let charset = [("content-type", "Application/JSONL; charset=utf-8")];
    assert_eq!(post(&mut pipe.client(), &charset, b"d\ne").json()["accepted"], 2);
    assert_eq!(delivered(&upstream, 5), [&b"a\n"[..], b"b\r\n", b"c\n", b"d\n", b"e\n"]);
    pipe.settle();
}

#[test]
fn large_bodies_in_many_pieces_are_cut_like_small_ones() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let lines: Vec<String> =
        (0..3_000).map(|line| format!("{line:06}{}", "y".repeat(line % 900))).collect();
    let body = lines.join("\n");
    let answer = post(&mut pipe.client(), &[NDJSON], body.as_bytes());
    assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(3_000)));
    // The same without a length: in chunks.
    let mut client = pipe.client();
    client
        .send(
            format!(
                "POST {} HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-ndjson\r\n\
                 transfer-encoding: chunked\r\n\r\n",
                Pipe::path("demo")
            )
            .as_bytes(),
        )
        .unwrap();
    for chunk in body.as_bytes().chunks(70_001) {
        client.send(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        client.send(chunk).unwrap();
        client.send(b"\r\n").unwrap();
    }
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().json()["accepted"], 3_000);
    let mut wanted: Vec<Vec<u8>> =
        lines.iter().chain(&lines).map(|line| format!("{line}\n").into_bytes()).collect();
    wanted.sort();
    assert!(delivered(&upstream, 6_000) == wanted, "every line is there twice, byte for byte");
    pipe.settle();
}

#[test]
fn gzip_and_zstd_bodies_are_bounded_after_decompression() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_BODY_BYTES_MAX", "100000")
        .set("STANDPIPE_INGEST_DECODED_BYTES_MAX", "100000")
        .start();
    let gzip = |text: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    };
    let mut client = pipe.client();
    let answer = post(&mut client, &[NDJSON, ("content-encoding", "gzip")], &gzip(b"a\nb\n"));
    assert_eq!(answer.json()["accepted"], 2);
    let frame = zstd::bulk::compress(b"c\nd", 1).unwrap();
    let answer = post(&mut client, &[NDJSON, ("Content-Encoding", "ZSTD")], &frame);
    assert_eq!(answer.json()["accepted"], 2);

    let fits = gzip(&vec![b'x'; 100_000]);
    assert_eq!(post(&mut client, &[("content-encoding", "gzip")], &fits).status, 202);
    let bomb = gzip(&vec![b'x'; 100_001]);
    let answer = post(&mut client, &[("content-encoding", "gzip")], &bomb);
    assert_eq!((answer.status, answer.code().as_str()), (413, "decoded_too_large"));
    let answer = post(&mut client, &[("content-encoding", "gzip")], b"no gzip");
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"));
    let answer = post(&mut client, &[("content-encoding", "br")], b"x");
    assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_encoding"));
    assert_eq!(delivered(&upstream, 5)[..4], [&b"a\n"[..], b"b\n", b"c\n", b"d\n"]);
    pipe.settle();
}

#[test]
fn a_stream_can_set_its_framing_and_its_delimiter() {
    let upstream = Upstream::with_streams(&["demo", "raw"]);
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_STREAMS", "")
        .config(
            "[[streams]]\nname = \"demo\"\nframing = \"lines\"\ndelimiter = \"none\"\n\
             [[streams]]\nname = \"raw\"\nframing = \"body\"\ndelimiter = \"none\"\n",
        )
        .start();
    let mut client = pipe.client();
    assert_eq!(post(&mut client, &[], b"a\r\nb\n\nc").json()["accepted"], 3);
    let answer = client.request("POST", &Pipe::path("raw"), &[NDJSON], b"x\ny\n");
    assert_eq!(answer.json(), json!({"accepted": 1, "bytes": 4, "ack": "memory"}));
    assert_eq!(delivered(&upstream, 3), [b"a", b"b", b"c"]);
    wait_until("it is delivered", || !upstream.records("raw").is_empty());
    assert_eq!(upstream.records("raw").into_values().next().unwrap(), b"x\ny\n");
}

#[test]
fn a_record_may_have_its_last_byte_and_the_delimiter_counts() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut client = pipe.client();
    let largest = vec![b'x'; 1_023_999];
    assert_eq!(post(&mut client, &[], &largest).json()["bytes"], 1_024_000);
    let answer = post(&mut client, &[], &[&largest[..], b"x"].concat());
    assert_eq!((answer.status, answer.code().as_str()), (413, "record_too_large"));
    assert_eq!(answer.json()["index"], 0);
    let three = [&b"fine\nfine too\n"[..], &largest, b"xx\n"].concat();
    let answer = post(&mut client, &[NDJSON], &three);
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["index"], 2, "{answer:?}");
    // The two good lines of the refused request are not there: all or none.
    pipe.settle();
    assert_eq!(delivered(&upstream, 1).len(), 1);
    assert_eq!(pipe.metric("standpipe_ingest_records_accepted_total", ""), 1.0);
}

#[test]
fn every_refusal_has_its_status_and_its_code_and_leaves_nothing_behind() {
    let upstream = Upstream::start();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_BODY_BYTES_MAX", "50000").start();
    let path = Pipe::path("demo");
    let long = vec![b'x'; 50_001];
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);
    let two_levels = [("standpipe-ack", "memory"), ("standpipe-ack", "delivered")];
    let cases: [Case<'_>; 12] = [
        ("POST", &path, &[], b"", 400, "malformed"),
        ("POST", &path, &[NDJSON], b"\n \n", 400, "malformed"),
        ("POST", &path, &[("standpipe-ack", "soon")], b"x", 400, "malformed"),
        ("POST", &path, &two_levels, b"x", 400, "malformed"),
        ("POST", &path, &[("origin", "http://evil.example")], b"x", 403, "cross_origin"),
        ("POST", "/v1/streams/other/records", &[], b"x", 404, "unknown_stream"),
        ("POST", "/v1/streams/a%20b/records", &[], b"x", 404, "unknown_stream"),
        ("POST", "/v1/other", &[], b"x", 404, "no_such_path"),
        ("GET", &path, &[], b"", 405, "method_not_allowed"),
        ("POST", &path, &[], &long, 413, "body_too_large"),
        ("POST", &path, &[("content-encoding", "gzip, gzip")], b"x", 415, "unsupported_encoding"),
        ("POST", &path, &[("standpipe-ack", "durable")], b"x", 503, "durable_unavailable"),
    ];
    let mut client = pipe.client();
    for (method, path, headers, body, status, code) in cases {
        let answer = client.request(method, path, headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path}");
        assert_eq!(pipe.metric("standpipe_pipeline_memory_bytes", ""), 0.0, "after {code}");
    }
    assert_eq!(client.request("GET", &path, &[], b"").header("allow"), Some("POST"));
    assert_eq!(pipe.metric("standpipe_ingest_records_accepted_total", ""), 0.0);
    assert!(pipe.metric("standpipe_ingest_requests_total", "unknown_stream") >= 2.0);
    // The connection has served all of them.
    assert_eq!(post(&mut client, &[], b"x").status, 202);
}

#[test]
fn a_listener_with_a_token_takes_only_who_shows_it() {
    let upstream = Upstream::start();
    let token = TokenFile::new("a-token-of-the-test");
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_TOKEN_FILE", token.path()).start();
    let mut client = pipe.client();
    for headers in [&[][..], &[("authorization", "Bearer another")]] {
        let answer = post(&mut client, headers, b"x");
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let right = [("authorization", "Bearer a-token-of-the-test")];
    assert_eq!(post(&mut client, &right, b"x").status, 202);
    // An SDK has its signature where the token would be.
    let headers = [("x-amz-target", "Firehose_20150804.PutRecord")];
    let answer = client.request("POST", "/", &headers, b"{}");
    assert_eq!((answer.status, &answer.json()["__type"]), (400, &json!("AccessDeniedException")));
    pipe.settle();
}

#[test]
fn delivered_gives_the_record_ids_of_the_service() {
    let upstream = Upstream::start();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_DEFAULTS_LINGER_MS", "60000").start();
    let answer = post(&mut pipe.client(), &[NDJSON, ("standpipe-ack", "delivered")], b"a\nb\n");
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["ack"]), (&json!(2), &json!("delivered")));
    let records = upstream.records("demo");
    let ids: Vec<&str> =
        body["record_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(records[ids[0]], b"a\n");
    assert_eq!(records[ids[1]], b"b\n");
}

#[test]
fn delivered_does_not_wait_for_the_linger_time_when_many_ask_at_once() {
    let upstream = Upstream::start();
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_DEFAULTS_LINGER_MS", "60000").start();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = pipe.client();
                for _ in 0..20 {
                    let answer = post(&mut client, &[("standpipe-ack", "delivered")], b"x");
                    assert_eq!(answer.status, 200);
                }
            });
        }
    });
    pipe.settle();
    let requests = pipe.metric("standpipe_forward_requests_total", "");
    assert!(requests < 320.0, "requests at the same time share calls: {requests} calls for 320");
}

#[test]
fn delivered_says_what_is_true_when_the_wait_is_over() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "200").start();
    let answer = post(&mut pipe.client(), &[("standpipe-ack", "delivered")], b"late");
    assert_eq!((answer.status, answer.header("standpipe-ack")), (202, Some("memory")));
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["ack"]), (&json!(1), &json!("memory")));
    assert!(body["detail"].as_str().unwrap().contains("not delivered yet"));
    upstream.heal();
    assert_eq!(delivered(&upstream, 1), [b"late\n"]);
    pipe.settle();
}

#[test]
fn a_stream_lifts_the_level_to_its_floor() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_DEFAULTS_ACK", "delivered")
        .set("STANDPIPE_DEFAULTS_MIN_ACK", "delivered")
        .start();
    let answer = post(&mut pipe.client(), &[("standpipe-ack", "memory")], b"x");
    assert_eq!((answer.status, answer.header("standpipe-ack")), (200, Some("delivered")));
}

#[test]
fn any_stream_comes_into_being_up_to_its_bound() {
    let upstream = Upstream::with_streams(&["a", "b", "c"]);
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_STREAMS", "*")
        .set("STANDPIPE_ANY_STREAM_STREAMS_MAX", "2")
        .start();
    let mut client = pipe.client();
    for (stream, status) in [("a", 202), ("b", 202), ("a", 202), ("c", 404)] {
        let answer = client.request("POST", &Pipe::path(stream), &[], b"x");
        assert_eq!(answer.status, status, "{stream}");
    }
    pipe.settle();
    assert_eq!(upstream.records("a").len(), 2);
}

#[test]
fn the_unix_socket_and_several_workers_serve_like_one_port() {
    let upstream = Upstream::start();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("data.sock");
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_UNIX_SOCKET", socket.to_str().unwrap())
        .set("STANDPIPE_INGEST_WORKERS", "3")
        .start();
    for _ in 0..12 {
        assert_eq!(post(&mut Client::unix(&socket), &[], b"unix").status, 202);
        assert_eq!(post(&mut pipe.client(), &[], b"tcp").status, 202);
    }
    pipe.settle();
    assert_eq!(delivered(&upstream, 24).len(), 24);
    let (status, _) = pipe.stop();
    assert!(status.success());
    assert!(!socket.exists(), "a clean stop leaves no socket behind");
}
