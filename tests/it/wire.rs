//! The Firehose wire protocol at the data listener: answers, error shapes, limits, repeats.

use base64_simd::STANDARD;
use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::pipe::{Setup, wait_until};
use crate::upstream::Upstream;

fn call(client: &mut Client, operation: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let target = format!("Firehose_20150804.{operation}");
    let mut all =
        vec![("X-AMZ-Target", target.as_str()), ("content-type", "application/x-amz-json-1.1")];
    all.extend_from_slice(headers);
    let answer = client.request("POST", "/", &all, body.as_bytes());
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.1"));
    assert!(answer.header("x-amzn-requestid").is_some_and(|id| id.len() == 36));
    answer
}

fn put(client: &mut Client, body: &Value) -> Answer {
    call(client, "PutRecordBatch", &body.to_string(), &[])
}

fn batch(records: &[&[u8]]) -> Value {
    let records: Vec<Value> =
        records.iter().map(|data| json!({ "Data": STANDARD.encode_to_string(data) })).collect();
    json!({ "DeliveryStreamName": "demo", "Records": records })
}

/// The type and the message of an error.
fn error(answer: &Answer) -> (u16, String, String) {
    let body = answer.json();
    let text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
    (answer.status, text("__type"), text("message"))
}

#[test]
fn records_arrive_byte_for_byte_and_each_has_an_id() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut client = pipe.client();
    let one = json!({"DeliveryStreamName": "demo", "Record": {"Data": "AAEC/w=="}}).to_string();
    let answer = call(&mut client, "PutRecord", &one, &[]);
    assert_eq!(answer.status, 200);
    assert!(!answer.json()["RecordId"].as_str().unwrap().is_empty());
    assert_eq!(answer.json().get("Encrypted"), None, "nobody has asked the service yet");

    let answer = put(&mut client, &batch(&[b"", b"no newline", b"newline\n"])).json();
    assert_eq!(answer["FailedPutCount"], 0);
    let ids: std::collections::BTreeSet<&str> = answer["RequestResponses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["RecordId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 3, "ids are unique");
    pipe.settle();
    let mut records: Vec<Vec<u8>> = upstream.records("demo").into_values().collect();
    records.sort();
    assert_eq!(records, [&b""[..], b"\0\x01\x02\xff", b"newline\n", b"no newline"]);
}

#[test]
fn data_with_json_escapes_is_decoded_rightly() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    // What PHP sends: `/` as `\/`; and `+` as an escape, and white space between the tokens.
    let body = r#" { "Record" : { "Data" : "\u002b\/\/+" }, "DeliveryStreamName" : "\u0064emo" } "#;
    assert_eq!(call(&mut pipe.client(), "PutRecord", body, &[]).status, 200);
    pipe.settle();
    assert_eq!(upstream.records("demo").into_values().next().unwrap(), b"\xfb\xff\xfe");
}

#[test]
fn with_delivered_the_ids_and_the_encrypted_flag_are_the_service_s_own() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).set("STANDPIPE_DEFAULTS_ACK", "delivered").start();
    let answer = put(&mut pipe.client(), &batch(&[b"a", b"b"]));
    assert_eq!(answer.header("standpipe-ack"), Some("delivered"));
    let body = answer.json();
    assert_eq!(body["Encrypted"], false);
    let records = upstream.records("demo");
    for (index, data) in [b"a", b"b"].into_iter().enumerate() {
        assert_eq!(records[body["RequestResponses"][index]["RecordId"].as_str().unwrap()], data);
    }
}

#[test]
fn errors_have_the_shape_of_the_service() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut client = pipe.client();
    let record = json!({"Data": "eA=="});
    let named = |name: &str| json!({"DeliveryStreamName": name, "Records": [record]});
    let cases: [(&str, Value, &str, &str); 11] = [
        ("PutRecordBatch", named("other"), "ResourceNotFoundException", "other under account"),
        ("PutRecordBatch", named("a b"), "ValidationException", "[a-zA-Z0-9_.-]+"),
        ("PutRecordBatch", named(&"x".repeat(65)), "ValidationException", "or equal to 64"),
        (
            "PutRecordBatch",
            json!({"Records": [record]}),
            "ValidationException",
            "deliveryStreamName",
        ),
        (
            "PutRecordBatch",
            json!({"DeliveryStreamName": "demo"}),
            "ValidationException",
            "'records'",
        ),
        ("PutRecordBatch", batch(&[]), "ValidationException", "greater than or equal to 1"),
        (
            "PutRecordBatch",
            batch(&[&b"x"[..]; 501]),
            "ValidationException",
            "less than or equal to 500",
        ),
        ("PutRecord", json!({"DeliveryStreamName": "demo"}), "ValidationException", "'record'"),
        (
            "PutRecord",
            json!({"DeliveryStreamName": "demo", "Record": {"Data": "no base64"}}),
            "SerializationException",
            "record.data",
        ),
        ("StartDeliveryStreamEncryption", json!({}), "AccessDeniedException", "applications"),
        ("NoSuchThing", json!({}), "UnknownOperationException", "x-amz-target"),
    ];
    for (operation, body, code, part) in cases {
        let answer = call(&mut client, operation, &body.to_string(), &[]);
        let (status, found, message) = error(&answer);
        assert_eq!((status, found.as_str()), (400, code), "{operation} {body}");
        assert!(message.contains(part), "{message}");
    }
    let (status, code, _) = error(&call(&mut client, "PutRecord", "{\"DeliveryStreamName\":", &[]));
    assert_eq!((status, code.as_str()), (400, "SerializationException"));
    assert_eq!(pipe.metric("standpipe_ingest_records_accepted_total", ""), 0.0);
    assert_eq!(pipe.metric("standpipe_pipeline_memory_bytes", ""), 0.0);
}

#[test]
fn the_limits_of_the_service_hold_to_the_byte_and_one_bad_record_refuses_the_batch() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut client = pipe.client();
    let largest = vec![b'x'; 1_024_000];
    let too_large = vec![b'x'; 1_024_001];
    assert_eq!(put(&mut client, &batch(&[&largest])).status, 200);
    let (status, code, message) = error(&put(&mut client, &batch(&[b"fine", &too_large])));
    assert_eq!((status, code.as_str()), (400, "ValidationException"));
    assert!(message.contains("'records.2.member.data'"), "{message}");
    let rest = vec![b'x'; 4_194_304 - 4 * 1_024_000];
    let full = [&largest[..], &largest, &largest, &largest, &rest];
    assert_eq!(put(&mut client, &batch(&full)).status, 200);
    let over = [&full[..], &[b"x"]].concat();
    let (status, code, message) = error(&put(&mut client, &batch(&over)));
    assert_eq!((status, code.as_str()), (400, "InvalidArgumentException"));
    assert_eq!(message, "Records size exceeds 4 MB limit");
    pipe.settle();
    assert_eq!(upstream.records("demo").len(), 6);
}

#[test]
fn a_tail_that_finds_no_room_fails_by_index_and_a_batch_without_any_is_told_to_slow_down() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_BODY_BYTES_MAX", "5000000")
        .set("STANDPIPE_INGEST_DECODED_BYTES_MAX", "5000000")
        .set("STANDPIPE_MEMORY_BYTES_MAX", "20000000")
        .start();
    let mut client = pipe.client();
    let record = vec![b'x'; 700_000];
    let records = [&record[..]; 5];
    let mut taken = 0;
    let mut was_partial = false;
    let refused = loop {
        let answer = put(&mut client, &batch(&records));
        if answer.status != 200 {
            break answer;
        }
        let body = answer.json();
        let failed = body["FailedPutCount"].as_u64().unwrap();
        let entries = body["RequestResponses"].as_array().unwrap();
        assert_eq!(entries.len(), 5);
        for (index, entry) in entries.iter().enumerate() {
            let has_failed = entry["ErrorCode"] == "ServiceUnavailableException";
            assert_eq!(has_failed, index as u64 >= 5 - failed, "the tail fails, by index: {body}");
            assert_ne!(has_failed, entry["RecordId"].is_string());
        }
        was_partial |= failed > 0;
        taken += 5 - failed;
    };
    assert!(was_partial);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let (status, code, message) = error(&refused);
    assert_eq!((status, code.as_str()), (503, "ServiceUnavailableException"));
    assert!(message.starts_with("Slow down."));
    upstream.heal();
    pipe.settle();
    assert_eq!(upstream.records("demo").len() as u64, taken);
}

#[test]
fn streams_can_be_described_and_listed_page_by_page() {
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).set("STANDPIPE_STREAMS", "demo,a,b").start();
    let mut client = pipe.client();
    let body = json!({"DeliveryStreamName": "demo"}).to_string();
    let described = call(&mut client, "DescribeDeliveryStream", &body, &[]).json();
    let described = &described["DeliveryStreamDescription"];
    assert_eq!(described["DeliveryStreamStatus"], "ACTIVE");
    assert_eq!(
        described["DeliveryStreamARN"],
        "arn:aws:firehose:us-east-1:000000000000:deliverystream/demo"
    );
    let listed = call(&mut client, "ListDeliveryStreams", "{\"Limit\":2}", &[]).json();
    assert_eq!(listed, json!({"DeliveryStreamNames": ["a", "b"], "HasMoreDeliveryStreams": true}));
    let body = json!({"ExclusiveStartDeliveryStreamName": "b"}).to_string();
    let listed = call(&mut client, "ListDeliveryStreams", &body, &[]).json();
    assert_eq!(listed, json!({"DeliveryStreamNames": ["demo"], "HasMoreDeliveryStreams": false}));
    let refused = call(&mut client, "ListDeliveryStreams", "{\"Limit\":0}", &[]);
    assert_eq!(error(&refused).1, "ValidationException");
}

#[test]
fn a_repeated_invocation_gets_the_first_answer_only_where_that_is_switched_on() {
    let upstream = Upstream::start();
    let id = [("amz-sdk-invocation-id", "8e7a2b34-0000-4000-8000-1234567890ab")];
    let body = batch(&[b"once"]).to_string();

    let pipe = Setup::new(&upstream.endpoint()).start();
    let mut client = pipe.client();
    let answers = [(); 2].map(|()| call(&mut client, "PutRecordBatch", &body, &id).json());
    assert_ne!(answers[0], answers[1], "without the window a repeat is a new call");
    pipe.settle();
    assert_eq!(upstream.records("demo").len(), 2);

    let pipe =
        Setup::new(&upstream.endpoint()).set("STANDPIPE_INGEST_REPEATS_ENABLED", "true").start();
    let first = call(&mut pipe.client(), "PutRecordBatch", &body, &id).json();
    for _ in 0..5 {
        assert_eq!(call(&mut pipe.client(), "PutRecordBatch", &body, &id).json(), first);
    }
    pipe.settle();
    assert_eq!(upstream.records("demo").len(), 3);
    assert_eq!(pipe.metric("standpipe_ingest_repeats_total", ""), 5.0);
}

#[test]
fn repeats_at_the_same_time_wait_for_the_first_even_when_its_client_has_gone() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"latency_ms": 400}));
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_REPEATS_ENABLED", "true")
        .set("STANDPIPE_DEFAULTS_ACK", "delivered")
        .start();
    let id = ("amz-sdk-invocation-id", "8e7a2b34-0000-4000-8000-1234567890ab");
    let body = batch(&[b"once"]).to_string();
    let mut gone = pipe.client();
    let head = crate::http::head(
        "POST",
        "/",
        &[("x-amz-target", "Firehose_20150804.PutRecordBatch"), id],
        body.len(),
    );
    gone.send(&[&head[..], body.as_bytes()].concat()).unwrap();
    wait_until("it is accepted", || {
        pipe.metric("standpipe_ingest_records_accepted_total", "") == 1.0
    });
    drop(gone);
    let answer = call(&mut pipe.client(), "PutRecordBatch", &body, &[id]);
    assert_eq!(answer.header("standpipe-ack"), Some("delivered"));
    pipe.settle();
    assert_eq!(upstream.records("demo").len(), 1);
}

#[test]
fn calls_whose_clients_have_gone_are_bounded_like_those_whose_clients_are_there() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_REPEATS_ENABLED", "true")
        // Four that may wait.
        .set("STANDPIPE_INGEST_REQUESTS_MAX", "5")
        .set("STANDPIPE_INGEST_DELIVERED_WAIT_MS", "60000")
        .set("STANDPIPE_DEFAULTS_ACK", "delivered")
        .start();
    let accepted = || pipe.metric("standpipe_ingest_records_accepted_total", "");
    let body = json!({"DeliveryStreamName": "demo", "Record": {"Data": "YQ=="}}).to_string();
    let send_and_go = |id: &str| {
        let target = ("x-amz-target", "Firehose_20150804.PutRecord");
        let headers = [target, ("amz-sdk-invocation-id", id)];
        let head = crate::http::head("POST", "/", &headers, body.len());
        let mut client = pipe.client();
        client.send(&[&head[..], body.as_bytes()].concat()).unwrap();
        client
    };
    for call in 1..=4_u32 {
        let _gone = send_and_go(&call.to_string());
        wait_until("it is accepted", || accepted() >= f64::from(call));
    }
    wait_until("their clients have gone", || pipe.status()["requests"] == 0);
    // As many again that wait for the first of them: they go with their clients.
    for _ in 0..50 {
        let _gone = send_and_go("1");
    }
    wait_until("their clients have gone", || pipe.status()["connections"] == 0);
    let refused = call(&mut pipe.client(), "PutRecord", &body, &[("amz-sdk-invocation-id", "5")]);
    let (status, kind, _) = error(&refused);
    assert_eq!((status, kind.as_str()), (503, "ServiceUnavailableException"));
    upstream.heal();
    pipe.settle();
    let again = call(&mut pipe.client(), "PutRecord", &body, &[("amz-sdk-invocation-id", "5")]);
    assert_eq!(again.header("standpipe-ack"), Some("delivered"));
    assert_eq!(upstream.records("demo").len(), 5);
}

#[test]
fn a_refusal_is_not_remembered() {
    let upstream = Upstream::start();
    upstream.fault(&json!({"outage": "unavailable"}));
    let pipe = Setup::new(&upstream.endpoint())
        .set("STANDPIPE_INGEST_REPEATS_ENABLED", "true")
        .set("STANDPIPE_INGEST_BODY_BYTES_MAX", "5000000")
        .set("STANDPIPE_INGEST_DECODED_BYTES_MAX", "5000000")
        .set("STANDPIPE_MEMORY_BYTES_MAX", "20000000")
        .start();
    let record = vec![b'x'; 1_000_000];
    let body = batch(&[&record]).to_string();
    let mut client = pipe.client();
    let mut call_number = 0;
    let refused = loop {
        call_number += 1;
        let id = format!("call-{call_number}");
        let answer = call(&mut client, "PutRecordBatch", &body, &[("amz-sdk-invocation-id", &id)]);
        if answer.status != 200 {
            break id;
        }
    };
    upstream.heal();
    pipe.settle();
    let again = call(&mut client, "PutRecordBatch", &body, &[("amz-sdk-invocation-id", &refused)]);
    assert_eq!(again.status, 200);
    pipe.settle();
    assert_eq!(upstream.records("demo").len(), call_number);
}
