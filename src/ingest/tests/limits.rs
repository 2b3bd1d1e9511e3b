//! The ingest limits at the listener, in both dialects. What comes in during a test is too little to matter.

use base64_simd::STANDARD;
use serde_json::json;

use super::*;

/// A stream that takes one record or one byte in a second, and 1,000 of them at once.
fn limited(records: Option<u64>, bytes: Option<u64>) -> Rig {
    let mut config = config(Ack::Memory, Ack::Memory);
    config.streams[0].settings.ingest_limits = IngestLimits {
        records_per_second: records,
        bytes_per_second: bytes,
        burst: Duration::from_secs(1_000),
    };
    Rig::start(config)
}

impl Rig {
    /// What the limits have left: records and bytes.
    fn left(&self) -> (Option<i64>, Option<i64>) {
        let status = self.streams.all()[0].ingest_limits().unwrap();
        (status.records.map(|rate| rate.left), status.bytes.map(|rate| rate.left))
    }

    fn post_lines(&self, lines: usize) -> Reply {
        self.post("", &"x\n".repeat(lines)).reply()
    }

    fn put(&self, records: usize, bytes: usize) -> Reply {
        let data = STANDARD.encode_to_string(vec![b'x'; bytes]);
        let records = vec![json!({ "Data": data }); records];
        let call = json!({"DeliveryStreamName": "demo", "Records": records});
        self.wire("PutRecordBatch", &call.to_string()).reply()
    }
}

impl Reply {
    fn retry_after(&self) -> u64 {
        let found = self.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
        found.unwrap().parse().unwrap()
    }
}

#[test]
fn a_native_request_over_the_limit_on_records_is_429_and_leaves_nothing_behind() {
    let rig = limited(Some(1), None);
    assert_eq!(rig.post_lines(600).status, 202);
    let reply = rig.post_lines(450);
    assert_eq!((reply.status, &reply.body["code"]), (429, &json!("over_ingest_limit")));
    assert!(reply.detail().contains("1 records in a second (ingest_records_per_second)"));
    assert!((10..=75).contains(&reply.retry_after()), "{reply:?}");
    assert_eq!(rig.accepted(), 600);
    assert_eq!(rig.post_lines(400).status, 202, "what there was is still there");
    assert_eq!(rig.post_lines(100).status, 429);
    assert_eq!(rig.accepted(), 1_000);
}

#[test]
fn a_native_request_over_the_limit_on_bytes_is_429_by_its_bytes_with_delimiters() {
    let rig = limited(None, Some(1));
    // A newline is added to the last one.
    assert_eq!(rig.post("", &format!("{0}\n{0}", "x".repeat(299))).reply().body["bytes"], 600);
    assert!((400..450).contains(&rig.left().1.unwrap()), "{:?}", rig.left());
    let reply = rig.post("", &"x".repeat(450)).reply();
    assert_eq!((reply.status, &reply.body["code"]), (429, &json!("over_ingest_limit")));
    assert!(reply.detail().contains("ingest_bytes_per_second"));
    assert_eq!(rig.post("", &"x".repeat(399)).reply().status, 202);
    assert_eq!(rig.accepted(), 3);
}

#[test]
fn a_request_larger_than_the_burst_is_taken_when_it_is_full_and_paid_off_before_the_next() {
    let rig = limited(Some(1), None);
    assert_eq!(rig.post_lines(3_000).status, 202);
    assert!((-2_000..-1_900).contains(&rig.left().0.unwrap()), "{:?}", rig.left());
    let reply = rig.post_lines(1);
    assert_eq!(reply.status, 429);
    assert!((1_900..=3_002).contains(&reply.retry_after()), "{reply:?}");
    let reply = rig.put(1, 1);
    assert_eq!((reply.status, &reply.body["__type"]), (503, &json!("ServiceUnavailableException")));
    // A call has a part that fits, and so takes no more than that.
    let rig = limited(None, Some(1));
    assert_eq!(rig.put(3, 400).body["FailedPutCount"], 1);
    let rig = limited(None, Some(1));
    assert_eq!(rig.put(3, 1_500).body["FailedPutCount"], 2, "the first goes alone");
    assert!((-500..-400).contains(&rig.left().1.unwrap()), "{:?}", rig.left());
}

#[test]
fn the_tail_of_a_batch_over_the_limit_fails_by_index_as_at_the_service() {
    // One record in a second may come in meanwhile.
    for (rig, before, all, bytes, expected) in [
        (limited(Some(1), None), 500, 500, 1, 500..=500),
        (limited(Some(1), Some(1)), 300, 500, 2, 200..=225),
        (limited(Some(1), Some(1)), 100, 10, 9, 10..=10),
        (limited(None, Some(1)), 6, 10, 100, 4..=4),
    ] {
        assert_eq!(rig.put(before, bytes).body["FailedPutCount"], 0);
        let reply = rig.put(all, bytes);
        assert_eq!(reply.status, 200);
        let taken = usize::try_from(rig.accepted()).unwrap() - before;
        assert!(expected.contains(&taken), "{taken}");
        assert_eq!(reply.body["FailedPutCount"], all - taken);
        let answers = reply.body["RequestResponses"].as_array().unwrap();
        assert_eq!(answers.len(), all);
        for (index, answer) in answers.iter().enumerate() {
            if index < taken {
                assert!(answer["RecordId"].is_string(), "{index}: {answer}");
            } else {
                let error = json!({
                    "ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."
                });
                assert_eq!(answer, &error, "{index}");
            }
        }
    }
}

#[test]
fn a_single_record_over_the_limit_is_the_service_s_own_exception() {
    let rig = limited(None, Some(1));
    let put = |bytes: usize| {
        let data = STANDARD.encode_to_string(vec![b'x'; bytes]);
        let call = json!({"DeliveryStreamName": "demo", "Record": {"Data": data}});
        rig.wire("PutRecord", &call.to_string()).reply()
    };
    assert_eq!(put(1_000).status, 200);
    let reply = put(100);
    assert_eq!((reply.status, &reply.body["__type"]), (503, &json!("ServiceUnavailableException")));
    assert!(reply.body["message"].as_str().unwrap().starts_with("Slow down."), "{reply:?}");
    assert!((50..=150).contains(&reply.retry_after()), "{reply:?}");
    assert_eq!(rig.accepted(), 1);
}

#[test]
fn what_is_refused_for_another_reason_costs_nothing_of_the_limit() {
    let rig = limited(Some(1), Some(1_000));
    // The spool is asked for, and takes nothing.
    rig.outflow.set_obstacle(Some(NotDurable::ALL[0]));
    assert_eq!(rig.post("durable", "a\nb\n").reply().status, 503);
    // One record of the call is none.
    let call = r#"{"DeliveryStreamName":"demo","Records":[{"Data":"YQ=="},{"Data":"?"}]}"#;
    assert_eq!(rig.wire("PutRecordBatch", call).reply().body["__type"], "SerializationException");
    assert_eq!(rig.post("", "\n\n").reply().status, 400);
    let full = (Some(1_000), Some(1_000_000));
    assert_eq!(rig.left(), full);
    // No batch is taken from the worker, until it has no room for more of them.
    let mut accepted = 0;
    let mut refused = 0;
    while refused < 5 && accepted < 900 {
        match rig.post("", &"x".repeat(1_000)).reply().status {
            202 => accepted += 1,
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    let left = rig.left().0.unwrap();
    assert!((1_000 - accepted..1_100 - accepted).contains(&left), "{left}, {accepted} accepted");
}

#[test]
fn a_record_that_is_set_aside_counts_as_well() {
    let mut config = config(Ack::Memory, Ack::Memory);
    config.streams[0].settings.oversize = Oversize::DeadLetter;
    config.streams[0].settings.ingest_limits = IngestLimits {
        bytes_per_second: Some(1),
        burst: Duration::from_secs(2_000_000),
        ..IngestLimits::NONE
    };
    let rig = Rig::start(config);
    let large = "x".repeat(RECORD_BYTES_MAX);
    let asked = rig.post("", &large);
    let aside = rig.asides.recv_timeout(PATIENCE).unwrap();
    rig.post.settle([(aside.ticket, Word::Secured)]);
    assert_eq!(asked.reply().body["set_aside"], 1);
    assert_eq!(rig.post("", &large).reply().status, 429, "and nothing of it is set aside");
    assert!(rig.asides.try_recv().is_err());
    assert_eq!(rig.accepted(), 1);
}

#[test]
fn a_request_that_nothing_can_be_taken_of_is_refused_before_it_is_decompressed() {
    let rig = limited(Some(1), None);
    let head = "POST /v1/streams/demo/records HTTP/1.1\r\ncontent-encoding: gzip";
    assert_eq!(rig.send(head, "this is no gzip").reply().status, 400);
    assert_eq!(rig.post_lines(2_000).status, 202);
    assert_eq!(rig.send(head, "this is no gzip").reply().status, 429);
}

#[test]
fn a_stream_without_a_limit_shows_none() {
    let rig = Rig::start(config(Ack::Memory, Ack::Memory));
    assert_eq!(rig.post_lines(3_000).status, 202);
    assert_eq!(rig.streams.all()[0].ingest_limits(), None);
}
