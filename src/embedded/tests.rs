//! The emulator over the wire, with the real SDK and with plain sockets.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::config::retry::RetryConfig;
use aws_sdk_firehose::config::timeout::TimeoutConfig;
use aws_sdk_firehose::config::{BehaviorVersion, Region, SharedCredentialsProvider};
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::operation::RequestId;
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{
    BufferingHints, CompressionFormat, DeliveryStreamEncryptionConfigurationInput,
    DeliveryStreamEncryptionStatus, DeliveryStreamStatus, ExtendedS3DestinationConfiguration,
    KeyType, Record,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// An emulator in a directory of its own.
struct Rig {
    emulator: Emulator,
    dir: TempDir,
    client: Client,
}

fn config(dir: &Path) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: dir.to_owned(),
        streams: vec!["demo".parse().unwrap()],
        quota: None,
        journal_bytes_max: 1_000_000,
        ..Config::default()
    }
}

fn start_with(change: impl FnOnce(&mut Config)) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    change(&mut config);
    let emulator = Emulator::start(config).unwrap();
    let client = client(&emulator);
    Rig { emulator, dir, client }
}

fn start() -> Rig {
    start_with(|_| {})
}

pub(super) fn client(emulator: &Emulator) -> Client {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(20)).build();
    let config = aws_sdk_firehose::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(emulator.endpoint_url())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

impl Rig {
    async fn put(&self, stream: &str, records: &[&str]) -> PutRecordBatchOutput {
        self.try_put(stream, records).await.unwrap()
    }

    async fn try_put(
        &self,
        stream: &str,
        records: &[&str],
    ) -> Result<PutRecordBatchOutput, String> {
        let records = records
            .iter()
            .map(|data| Record::builder().data(Blob::new(*data)).build().unwrap())
            .collect();
        let put = self.client.put_record_batch().delivery_stream_name(stream);
        put.set_records(Some(records)).send().await.map_err(|error| code_of(&error))
    }

    fn set(&self, path: &str, json: &Value) {
        let (status, answer) = self.control("PUT", path, &json.to_string());
        assert_eq!(status, 200, "{answer}");
    }

    fn control(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        http(self.emulator.local_addr(), method, path, &[], body.as_bytes())
    }

    fn counters(&self, stream: &str) -> Value {
        self.control("GET", &format!("/emulator/streams/{stream}"), "").1["counters"].take()
    }

    fn journal(&self, stream: &str) -> Vec<Value> {
        let path = format!("/emulator/streams/{stream}/records?limit=100000");
        let (status, mut page) = self.control("GET", &path, "");
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["forgotten"], 0);
        page["records"].as_array_mut().map(std::mem::take).unwrap()
    }

    /// Stops the emulator and reads back what the stream was given.
    fn stop_and_read(self, stream: &str) -> String {
        self.emulator.stop().unwrap();
        read_back(self.dir.path(), stream)
    }
}

fn read_back(dir: &Path, stream: &str) -> String {
    String::from_utf8(read_delivered(dir, stream).unwrap()).unwrap()
}

/// The code of a service's error, or `cut` when there was no answer.
fn code_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(refused) => refused.err().code().unwrap_or("none").to_owned(),
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => String::from("cut"),
        SdkError::TimeoutError(_) => String::from("timeout"),
        _ => String::from("other"),
    }
}

/// One request on a connection of its own.
pub(super) fn http(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Value) {
    let mut stream = TcpStream::connect(addr).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: emulator\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if path == "/" {
        let head = head.to_ascii_lowercase();
        assert!(head.contains("x-amzn-requestid: "), "{head}");
        assert!(head.contains("content-type: application/x-amz-json-1.1"), "{head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

fn wire(rig: &Rig, action: &str, body: &[u8]) -> (u16, Value) {
    let target = format!("Firehose_20150804.{action}");
    http(rig.emulator.local_addr(), "POST", "/", &[("X-AMZ-TARGET", &target)], body)
}

fn ids(output: &PutRecordBatchOutput) -> Vec<&str> {
    output.request_responses().iter().filter_map(|entry| entry.record_id()).collect()
}

#[tokio::test]
async fn what_was_answered_with_an_id_is_in_the_files_after_the_stop() {
    let rig = start();
    let one = rig.client.put_record().delivery_stream_name("demo");
    let record = Record::builder().data(Blob::new("one\n")).build().unwrap();
    let one = one.record(record).send().await.unwrap();
    assert_eq!(one.encrypted(), Some(false));
    let batch = rig.put("demo", &["two\n", "", "three\n"]).await;
    assert_eq!((batch.failed_put_count(), batch.encrypted()), (0, Some(false)));
    assert!(batch.request_id().is_some());
    let mut all: BTreeSet<_> = ids(&batch).into_iter().collect();
    all.insert(one.record_id());
    assert_eq!(all.len(), 4, "every record has an id of its own");
    let counters = rig.counters("demo");
    assert_eq!(counters["records_accepted"], 4);
    assert_eq!(counters["bytes_accepted"], 14);
    assert_eq!(counters["bytes_billed"], 4 * 5_120);
    assert_eq!(rig.stop_and_read("demo"), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn an_object_appears_by_itself_and_is_named_as_the_service_names_it() {
    let rig = start_with(|config| {
        let roll_after = Duration::from_millis(20);
        config.delivery = Delivery::Files { roll_bytes: u64::MAX, roll_after };
    });
    rig.put("demo", &["by age"]).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while delivered_objects(rig.dir.path(), "demo").unwrap().is_empty() {
        assert!(Instant::now() < deadline, "no object appeared");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let objects = delivered_objects(rig.dir.path(), "demo").unwrap();
    let name = objects[0].file_name().unwrap().to_str().unwrap();
    let place = objects[0].strip_prefix(rig.dir.path().join("delivered")).unwrap();
    assert_eq!(object::object_path(name).as_deref(), Some(place));
    assert!(name.starts_with("demo-1-20"), "{name}");
}

#[tokio::test]
async fn an_object_is_closed_by_its_size_and_by_a_flush() {
    let rig = start_with(|config| {
        let roll_after = Duration::from_secs(3_600);
        config.delivery = Delivery::Files { roll_bytes: 10, roll_after };
    });
    rig.put("demo", &["0123456789"]).await;
    rig.put("demo", &["small"]).await;
    // The writer closed the first before it took the second.
    assert_eq!(read_back(rig.dir.path(), "demo"), "0123456789");
    assert_eq!(rig.control("POST", "/emulator/flush", "").0, 200);
    assert_eq!(read_back(rig.dir.path(), "demo"), "0123456789small");
}

#[tokio::test]
async fn a_stream_is_created_described_listed_and_deleted() {
    let rig = start();
    let s3 = ExtendedS3DestinationConfiguration::builder()
        .role_arn("arn:aws:iam::000000000000:role/r")
        .bucket_arn("arn:aws:s3:::b")
        .prefix("p/")
        .buffering_hints(BufferingHints::builder().size_in_mbs(64).interval_in_seconds(60).build())
        .build()
        .unwrap();
    let create = || {
        let create = rig.client.create_delivery_stream().delivery_stream_name("another");
        create.extended_s3_destination_configuration(s3.clone()).send()
    };
    let arn = "arn:aws:firehose:us-east-1:000000000000:deliverystream/another";
    assert_eq!(create().await.unwrap().delivery_stream_arn(), Some(arn));
    assert_eq!(code_of(&create().await.unwrap_err()), "ResourceInUseException");

    let described =
        rig.client.describe_delivery_stream().delivery_stream_name("another").send().await.unwrap();
    let description = described.delivery_stream_description().unwrap();
    assert_eq!(description.delivery_stream_status(), &DeliveryStreamStatus::Active);
    assert_eq!(description.delivery_stream_arn(), arn);
    assert!(description.delivery_stream_encryption_configuration().is_none());
    let destination = &description.destinations()[0];
    let extended = destination.extended_s3_destination_description().unwrap();
    assert_eq!(extended.prefix(), Some("p/"));
    assert_eq!(extended.buffering_hints().unwrap().size_in_mbs(), Some(64));
    assert_eq!(extended.compression_format(), &CompressionFormat::Uncompressed);
    assert!(destination.s3_destination_description().is_some());

    let list = rig.client.list_delivery_streams().limit(1).send().await.unwrap();
    assert_eq!(list.delivery_stream_names(), ["another"]);
    assert!(list.has_more_delivery_streams());
    let list = rig.client.list_delivery_streams().exclusive_start_delivery_stream_name("another");
    let list = list.send().await.unwrap();
    assert_eq!(list.delivery_stream_names(), ["demo"]);
    assert!(!list.has_more_delivery_streams());

    rig.put("another", &["stays"]).await;
    rig.client.delete_delivery_stream().delivery_stream_name("another").send().await.unwrap();
    assert_eq!(rig.try_put("another", &["x"]).await.unwrap_err(), "ResourceNotFoundException");
    assert_eq!(rig.stop_and_read("another"), "stays");
}

#[tokio::test]
async fn a_stream_takes_records_once_it_is_active() {
    let rig = start_with(|config| config.create_delay = Duration::from_secs(1));
    let s3 = r#"{"DeliveryStreamName":"late","S3DestinationConfiguration":
        {"RoleARN":"arn:aws:iam::000000000000:role/r","BucketARN":"arn:aws:s3:::b"}}"#;
    assert_eq!(wire(&rig, "CreateDeliveryStream", s3.as_bytes()).0, 200);
    assert_eq!(rig.try_put("late", &["x"]).await.unwrap_err(), "ResourceNotFoundException");
    let named = br#"{"DeliveryStreamName":"late"}"#;
    let status = wire(&rig, "DescribeDeliveryStream", named).1;
    assert_eq!(status["DeliveryStreamDescription"]["DeliveryStreamStatus"], "CREATING");
    let deadline = Instant::now() + Duration::from_secs(10);
    while rig.try_put("late", &["x"]).await.is_err() {
        assert!(Instant::now() < deadline, "the stream did not become active");
    }
}

#[test]
fn a_restart_finds_the_streams_and_what_was_left_open() {
    let dir = tempfile::tempdir().unwrap();
    let first = Emulator::start(config(dir.path())).unwrap();
    let create = br#"{"DeliveryStreamName":"kept","S3DestinationConfiguration":
        {"RoleARN":"arn:aws:iam::000000000000:role/r","BucketARN":"arn:aws:s3:::b"}}"#;
    let target = [("X-Amz-Target", "Firehose_20150804.CreateDeliveryStream")];
    assert_eq!(http(first.local_addr(), "POST", "/", &target, create).0, 200);
    let in_use = Emulator::start(config(dir.path())).unwrap_err();
    assert!(in_use.to_string().contains("another emulator uses"), "{in_use}");
    drop(first);
    let again = Emulator::start(config(dir.path())).unwrap();
    let (_, streams) = http(again.local_addr(), "GET", "/emulator/streams", &[], b"");
    let names: Vec<_> = streams["streams"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["demo", "kept"]);
}

#[test]
fn what_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Emulator::start(Config { listen, ..config(dir.path()) }).unwrap_err();
    assert!(error.to_string().contains(&format!("cannot listen on {listen}")), "{error}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Emulator::start(config(&file.path().join("below"))).unwrap_err();
    assert!(matches!(error, StartError::DataDir { .. }), "{error}");

    let data_dir = files::DataDir::open(dir.path()).unwrap();
    data_dir.replace(files::STREAMS, r#"{"version":9,"streams":[]}"#).unwrap();
    drop(data_dir);
    let error = Emulator::start(config(dir.path())).unwrap_err();
    assert!(error.to_string().ends_with("version 9 is not known"), "{error}");

    let faults = Faults { throttle_rate: 2.0, ..Faults::default() };
    let error = Emulator::start(Config { faults, ..config(dir.path()) }).unwrap_err();
    assert!(matches!(error, StartError::Faults(_)), "{error}");
}

#[tokio::test]
async fn refusals_have_the_shapes_of_the_service() {
    let rig = start();
    let refused = |action: &str, body: &str| {
        let (status, answer) = wire(&rig, action, body.as_bytes());
        (status, answer["__type"].as_str().unwrap().to_owned(), answer["message"].clone())
    };
    let (status, code, message) =
        refused("PutRecord", r#"{"DeliveryStreamName":"none","Record":{"Data":"YQ=="}}"#);
    assert_eq!((status, code.as_str()), (400, "ResourceNotFoundException"));
    assert_eq!(message, "Firehose none under account 000000000000 not found.");
    for (action, body, expected) in [
        (
            "PutRecord",
            r#"{"DeliveryStreamName":"demo","Record":{"Data":"%"}}"#,
            "SerializationException",
        ),
        ("PutRecord", "", "SerializationException"),
        ("PutRecord", "{}", "ValidationException"),
        ("PutRecordBatch", r#"{"DeliveryStreamName":"demo","Records":[]}"#, "ValidationException"),
        ("PutRecords", "{}", "UnknownOperationException"),
        ("DescribeDeliveryStream", r#"{"DeliveryStreamName":"a b"}"#, "ValidationException"),
        ("CreateDeliveryStream", r#"{"DeliveryStreamName":"new"}"#, "InvalidArgumentException"),
        ("ListDeliveryStreams", r#"{"Limit":0}"#, "ValidationException"),
        (
            "StartDeliveryStreamEncryption",
            r#"{"DeliveryStreamName":"demo","DeliveryStreamEncryptionConfigurationInput":
                {"KeyType":"CUSTOMER_MANAGED_CMK","KeyARN":"alias/mine"}}"#,
            "ValidationException",
        ),
        (
            "StartDeliveryStreamEncryption",
            r#"{"DeliveryStreamName":"demo","DeliveryStreamEncryptionConfigurationInput":
                {"KeyType":"CUSTOMER_MANAGED_CMK"}}"#,
            "InvalidArgumentException",
        ),
    ] {
        let (status, code, _) = refused(action, body);
        assert_eq!((status, code.as_str()), (400, expected), "{action} {body}");
    }
    let no_target = http(rig.emulator.local_addr(), "POST", "/", &[], b"{}");
    assert_eq!((no_target.0, &no_target.1["__type"]), (400, &json!("UnknownOperationException")));
    assert_eq!(rig.counters("demo")["records_accepted"], 0);
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused() {
    let rig = start_with(|config| config.body_bytes_max = 1_000);
    let large =
        format!(r#"{{"DeliveryStreamName":"demo","Record":{{"Data":"{}"}}}}"#, "A".repeat(2_000));
    let (status, answer) = wire(&rig, "PutRecord", large.as_bytes());
    assert_eq!((status, &answer["__type"]), (413, &json!("RequestEntityTooLargeException")));
}

#[tokio::test]
async fn the_largest_batch_of_the_service_is_taken() {
    let rig = start();
    let largest = "x".repeat(1_024_000);
    let records = [largest.as_str(); 4];
    assert_eq!(rig.put("demo", &records).await.failed_put_count(), 0);
    assert_eq!(rig.stop_and_read("demo").len(), 4 * 1_024_000);
}

#[tokio::test]
async fn the_tail_over_the_quota_is_told_to_slow_down() {
    let quota = Quota { records_per_s: 3, requests_per_s: 3, bytes_per_s: 1_000 };
    let rig = start_with(|config| config.quota = Some(quota));
    let output = rig.put("demo", &["a", "b", "c", "d", "e"]).await;
    assert_eq!(output.failed_put_count(), 2);
    let tail = &output.request_responses()[3];
    assert_eq!(tail.error_code(), Some("ServiceUnavailableException"));
    assert_eq!(tail.error_message(), Some("Slow down."));
    assert_eq!(rig.counters("demo")["records_throttled"], 2);
    rig.control("DELETE", "/emulator/streams/demo/quota", "");
    assert_eq!(rig.put("demo", &["d", "e"]).await.failed_put_count(), 0);
    let none = json!({ "records_per_s": 9, "requests_per_s": 0, "bytes_per_s": 9 });
    rig.set("/emulator/streams/demo/quota", &none);
    assert_eq!(rig.try_put("demo", &["x"]).await.unwrap_err(), "ServiceUnavailableException");
    assert_eq!(rig.stop_and_read("demo"), "abcde");
}

#[tokio::test]
async fn faults_change_while_it_runs_and_unknown_ones_are_refused() {
    let rig = start();
    rig.set("/emulator/faults", &json!({ "error_code": "ExpiredTokenException", "fail_next": 2 }));
    assert_eq!(rig.try_put("demo", &["x"]).await.unwrap_err(), "ExpiredTokenException");
    assert_eq!(rig.try_put("demo", &["x"]).await.unwrap_err(), "ExpiredTokenException");
    assert_eq!(rig.put("demo", &["a"]).await.failed_put_count(), 0);
    assert_eq!(rig.control("GET", "/emulator/faults", "").1["fail_next"], 0);

    rig.set("/emulator/streams/demo/faults", &json!({ "record_failure_indexes": [1] }));
    let output = rig.put("demo", &["b", "x", "c"]).await;
    assert_eq!(output.failed_put_count(), 1);
    assert!(output.request_responses()[1].record_id().is_none());
    rig.control("DELETE", "/emulator/streams/demo/faults", "");

    let (status, answer) = rig.control("PUT", "/emulator/faults", r#"{"trottle_rate":1}"#);
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("unknown field `trottle_rate`"), "{answer}");
    let (status, _) = rig.control("PUT", "/emulator/streams/demo/faults", r#"{"outage":"refuse"}"#);
    assert_eq!(status, 400);
    assert_eq!(rig.control("GET", "/emulator/streams/none", "").0, 404);

    rig.set("/emulator/faults", &json!({ "poison": "BAD", "poison_code": "ValidationException" }));
    assert_eq!(rig.try_put("demo", &["x", "a BAD one"]).await.unwrap_err(), "ValidationException");
    let counters = rig.counters("demo");
    assert_eq!(counters["put_requests_refused"], 3);
    assert_eq!(counters["records_failed"], 1);
    assert_eq!(rig.stop_and_read("demo"), "abc");
}

#[tokio::test]
async fn a_cut_line_writes_nothing_and_a_lost_answer_writes_all() {
    let rig = start();
    for fault in ["reset_before_rate", "reset_after_rate"] {
        rig.set("/emulator/faults", &json!({ (fault): 1, "fail_next": 1 }));
        assert_eq!(rig.try_put("demo", &["x"]).await.unwrap_err(), "cut", "{fault}");
        assert_eq!(rig.put("demo", &["a"]).await.failed_put_count(), 0);
    }
    assert_eq!(rig.counters("demo")["records_accepted"], 2);
    rig.set("/emulator/faults", &json!({ "lost_answer_rate": 1, "fail_next": 1 }));
    assert_eq!(rig.try_put("demo", &["lost"]).await.unwrap_err(), "cut");
    let again = rig.put("demo", &["lost"]).await;
    let journal = rig.journal("demo");
    let lost: Vec<_> = journal.iter().map(|record| record["answer_lost"] == true).collect();
    assert_eq!(lost, [false, false, true, false]);
    assert_eq!(journal[3]["record_id"], ids(&again)[0]);
    assert_eq!(rig.counters("demo")["records_answer_lost"], 1);
    assert_eq!(rig.stop_and_read("demo"), "aalostlost");
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let rig = start();
    rig.set("/emulator/faults", &json!({ "outage": "refuse" }));
    let mut stream = TcpStream::connect(rig.emulator.local_addr()).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 100\r\n\
        X-Amz-Target: Firehose_20150804.PutRecord\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_outage_begins_and_ends() {
    let rig = start();
    for (outage, code) in [("refuse", "cut"), ("unavailable", "ServiceUnavailableException")] {
        rig.set("/emulator/faults", &json!({ "outage": outage }));
        assert_eq!(rig.try_put("demo", &["x"]).await.unwrap_err(), code);
        let list = rig.client.list_delivery_streams().send().await;
        assert_eq!(code_of(&list.unwrap_err()), code);
    }
    rig.set("/emulator/faults", &json!({ "outage": "hang" }));
    let hung = tokio::time::timeout(Duration::from_millis(100), rig.try_put("demo", &["x"])).await;
    assert!(hung.is_err(), "an answer came in an outage");
    rig.control("DELETE", "/emulator/faults", "");
    assert_eq!(rig.put("demo", &["a"]).await.failed_put_count(), 0);
    assert_eq!(rig.stop_and_read("demo"), "a");
}

#[tokio::test]
async fn a_latency_is_waited_for() {
    let rig = start();
    rig.set("/emulator/faults", &json!({ "latency_ms": 50, "latency_jitter_ms": 5 }));
    let begun = Instant::now();
    rig.put("demo", &["a"]).await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_failed_put_record_is_refused_as_a_whole() {
    let rig = start();
    let faults = json!({ "record_failure_rate": 1, "record_failure_code": "InternalFailure" });
    rig.set("/emulator/faults", &faults);
    let put = br#"{"DeliveryStreamName":"demo","Record":{"Data":"YQ=="}}"#;
    let (status, answer) = wire(&rig, "PutRecord", put);
    assert_eq!((status, &answer["__type"]), (500, &json!("InternalFailure")));
}

#[tokio::test]
async fn discarded_records_are_counted_and_leave_no_file() {
    let rig = start_with(|config| config.delivery = Delivery::Discard);
    assert_eq!(rig.put("demo", &["a", "b"]).await.failed_put_count(), 0);
    assert_eq!(rig.counters("demo")["records_accepted"], 2);
    assert_eq!(rig.stop_and_read("demo"), "");
}

async fn status(rig: &Rig) -> Option<DeliveryStreamEncryptionStatus> {
    let described = rig.client.describe_delivery_stream().delivery_stream_name("demo");
    let described = described.send().await.unwrap();
    let description = described.delivery_stream_description().unwrap();
    description.delivery_stream_encryption_configuration()?.status().cloned()
}

async fn wait_for(rig: &Rig, wanted: DeliveryStreamEncryptionStatus) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(rig).await.as_ref() != Some(&wanted) {
        assert!(Instant::now() < deadline, "never {wanted:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn encryption_is_switched_on_and_off_and_each_answer_says_so() {
    let ms = Duration::from_millis;
    let timing = SseTiming { transition: ms(1_000), settle: ms(0), calls_per_day_max: 4 };
    let rig = start_with(|config| config.sse = timing);
    let start = || rig.client.start_delivery_stream_encryption().delivery_stream_name("demo");
    let stop = || rig.client.stop_delivery_stream_encryption().delivery_stream_name("demo");
    assert_eq!(status(&rig).await, None);

    start().send().await.unwrap();
    assert_eq!(status(&rig).await, Some(DeliveryStreamEncryptionStatus::Enabling));
    assert_eq!(rig.put("demo", &["plain"]).await.encrypted(), Some(false));
    let twice = start().send().await.unwrap_err();
    assert_eq!(code_of(&twice), "ResourceInUseException");
    wait_for(&rig, DeliveryStreamEncryptionStatus::Enabled).await;
    assert_eq!(rig.put("demo", &["sealed"]).await.encrypted(), Some(true));

    // A change of the key that fails leaves the old one in force.
    rig.set("/emulator/faults", &json!({ "sse_failure": "KMS_ACCESS_DENIED" }));
    let arn = "arn:aws:kms:us-east-1:123456789012:key/1234abcd";
    let key = DeliveryStreamEncryptionConfigurationInput::builder()
        .key_type(KeyType::CustomerManagedCmk)
        .key_arn(arn)
        .build()
        .unwrap();
    start().delivery_stream_encryption_configuration_input(key).send().await.unwrap();
    wait_for(&rig, DeliveryStreamEncryptionStatus::EnablingFailed).await;
    assert_eq!(rig.put("demo", &["sealed"]).await.encrypted(), Some(true));
    rig.control("DELETE", "/emulator/faults", "");

    stop().send().await.unwrap();
    wait_for(&rig, DeliveryStreamEncryptionStatus::Disabled).await;
    assert_eq!(rig.put("demo", &["plain"]).await.encrypted(), Some(false));
    assert_eq!(code_of(&start().send().await.unwrap_err()), "LimitExceededException");
    let sealed: Vec<_> = rig.journal("demo").iter().map(|r| r["encrypted"] == true).collect();
    assert_eq!(sealed, [false, true, true, false]);
    assert_eq!(rig.counters("demo")["records_encrypted"], 2);
}

#[tokio::test]
async fn a_stop_ends_though_requests_hang() {
    let rig = start();
    rig.set("/emulator/faults", &json!({ "outage": "hang" }));
    let put = rig.client.put_record().delivery_stream_name("demo");
    let record = Record::builder().data(Blob::new("x")).build().unwrap();
    let hung = tokio::spawn(put.record(record).send());
    let idle = TcpStream::connect(rig.emulator.local_addr()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while rig.counters("demo")["put_requests_refused"] == 0 {
        assert!(Instant::now() < deadline, "the request did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.emulator.stop().unwrap();
    assert_eq!(code_of(&hung.await.unwrap().unwrap_err()), "cut");
    drop(idle);
}

#[tokio::test]
async fn records_that_cannot_be_written_are_refused_and_the_next_are_taken() {
    let rig = start();
    let open = rig.dir.path().join("open");
    tokio::fs::remove_dir(&open).await.unwrap();
    assert_eq!(rig.try_put("demo", &["x"]).await.unwrap_err(), "InternalFailure");
    tokio::fs::create_dir(&open).await.unwrap();
    assert_eq!(rig.put("demo", &["a"]).await.failed_put_count(), 0);
    assert_eq!(rig.counters("demo")["records_accepted"], 1);
    assert_eq!(rig.stop_and_read("demo"), "a");
}

/// Puts batches until `batches` are sent, whatever becomes of them. Returns the ids that were answered.
async fn put_blindly(client: Client, sender: usize, batches: usize) -> Vec<String> {
    let mut answered = Vec::new();
    for batch in 0..batches {
        let line = |n| Blob::new(format!("{sender}/{batch}/{n}\n"));
        let records = (0..20).map(|n| Record::builder().data(line(n)).build().unwrap()).collect();
        let put = client.put_record_batch().delivery_stream_name("demo").set_records(Some(records));
        if let Ok(output) = put.send().await {
            answered.extend(ids(&output).into_iter().map(str::to_owned));
        }
    }
    answered
}

#[tokio::test]
async fn under_all_faults_at_once_every_record_is_accounted_for() {
    let rig = start_with(|config| {
        config.faults = parse_faults(
            "seed=42,throttle_rate=0.1,record_failure_rate=0.2,reset_before_rate=0.05,\
             reset_after_rate=0.05,lost_answer_rate=0.1,latency_jitter_ms=3",
        )
        .unwrap();
        config.delivery =
            Delivery::Files { roll_bytes: 1_000, roll_after: Duration::from_millis(20) };
        config.journal_bytes_max = 100_000_000;
    });
    let senders: Vec<_> =
        (0..4).map(|sender| tokio::spawn(put_blindly(rig.client.clone(), sender, 40))).collect();
    let mut answered = BTreeSet::new();
    for sender in senders {
        for id in sender.await.unwrap() {
            assert!(answered.insert(id), "an id was given twice");
        }
    }
    let journal = rig.journal("demo");
    let counters = rig.counters("demo");
    let (lost, seen): (Vec<_>, Vec<_>) = journal.iter().partition(|r| r["answer_lost"] == true);
    let seen: BTreeSet<_> =
        seen.iter().map(|r| r["record_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, answered);
    assert!(!lost.is_empty());
    assert_eq!(counters["records_answer_lost"], lost.len());
    assert_eq!(counters["records_accepted"], journal.len());
    let mut delivered: Vec<_> = rig.stop_and_read("demo").lines().map(str::to_owned).collect();
    let decode = |r: &Value| {
        let data = base64_simd::STANDARD.decode_to_vec(r["data"].as_str().unwrap()).unwrap();
        String::from_utf8(data).unwrap().trim_end().to_owned()
    };
    let mut accepted: Vec<_> = journal.iter().map(decode).collect();
    delivered.sort();
    accepted.sort();
    assert_eq!(delivered, accepted);
}

#[test]
fn a_taken_port_is_given_up_for_any_other_where_that_is_allowed() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_owned();
    let config = Config { listen, any_port_if_taken: true, data_dir, ..Config::default() };
    let emulator = Emulator::start(config).unwrap();
    assert_ne!(emulator.local_addr().port(), listen.port());
    emulator.stop().unwrap();
}
