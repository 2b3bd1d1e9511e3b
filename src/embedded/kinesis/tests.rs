//! Data streams over the wire, and the delivery streams behind them.

use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use serde_json::{Value, json};

use crate::embedded::testing::{AT_ONCE, Rig, Told, code, config, start, start_with};
use crate::embedded::tests::{client, http};
use crate::embedded::{Emulator, Quota, SseTiming, read_delivered};

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/data";

impl Rig {
    fn try_put(&self, records: &[(&str, &str)]) -> Told {
        let records: Vec<_> = records
            .iter()
            .map(|(key, data)| {
                json!({ "PartitionKey": key, "Data": STANDARD.encode_to_string(data) })
            })
            .collect();
        self.try_kinesis("PutRecords", &json!({ "StreamName": "data", "Records": records }))
    }

    fn put(&self, records: &[(&str, &str)]) -> Value {
        self.try_put(records).unwrap()
    }

    fn summary(&self) -> Value {
        let named = json!({ "StreamARN": ARN });
        self.kinesis("DescribeStreamSummary", &named)["StreamDescriptionSummary"].take()
    }

    fn start_encryption(&self, key: &str) -> Told {
        let body = json!({ "StreamName": "data", "EncryptionType": "KMS", "KeyId": key });
        self.try_kinesis("StartStreamEncryption", &body)
    }

    /// All records of a shard from an iterator on.
    fn read(&self, shard: u32, from: &Value) -> Vec<String> {
        let mut asked = json!({ "StreamName": "data", "ShardId": format!("shardId-{shard:012}") });
        let members = asked.as_object_mut().unwrap();
        members.extend(from.as_object().unwrap().clone());
        let mut iterator = self.kinesis("GetShardIterator", &asked)["ShardIterator"].take();
        let mut read = Vec::new();
        loop {
            let asked = json!({ "ShardIterator": iterator, "Limit": 2 });
            let page = self.kinesis("GetRecords", &asked);
            let records = page["Records"].as_array().unwrap();
            read.extend(records.iter().map(|record| {
                let data = STANDARD.decode_to_vec(record["Data"].as_str().unwrap()).unwrap();
                String::from_utf8(data).unwrap()
            }));
            if records.is_empty() {
                assert_eq!(page["MillisBehindLatest"], 0);
                return read;
            }
            iterator = page["NextShardIterator"].clone();
        }
    }
}

#[test]
fn what_is_put_into_a_data_stream_is_delivered_by_the_delivery_stream_behind_it() {
    let rig = start();
    let answer = rig.put(&[("a", "one\n"), ("b", "two\n")]);
    assert_eq!(
        (&answer["FailedRecordCount"], &answer["EncryptionType"]),
        (&json!(0), &json!("NONE"))
    );
    let one =
        json!({ "StreamARN": ARN, "PartitionKey": "k", "Data": STANDARD.encode_to_string("3\n") });
    let one = rig.kinesis("PutRecord", &one);
    assert_eq!(one["ShardId"], "shardId-000000000000");

    let journal = rig.journal("streams/demo");
    let sequences: Vec<_> = journal.iter().map(|record| &record["sequence_number"]).collect();
    let answered = [
        &answer["Records"][0]["SequenceNumber"],
        &answer["Records"][1]["SequenceNumber"],
        &one["SequenceNumber"],
    ];
    assert_eq!(sequences, answered);
    assert_eq!(journal, rig.journal("kinesis/streams/data"));
    let counters = rig.get("streams/demo")["counters"].take();
    assert_eq!(
        (&counters["records_accepted"], &counters["bytes_accepted"]),
        (&json!(3), &json!(10))
    );
    assert_eq!(rig.get("kinesis/streams/data")["counters"]["records_accepted"], 3);
    rig.emulator.stop().unwrap();
    assert_eq!(read_delivered(rig.dir.path(), "demo").unwrap(), b"one\ntwo\n3\n");
}

#[test]
fn a_delivery_stream_behind_a_data_stream_says_so_and_takes_no_puts_and_no_encryption() {
    let rig = start();
    let named = json!({ "DeliveryStreamName": "demo" });
    let mut described = rig.firehose("DescribeDeliveryStream", &named).unwrap();
    let description = described["DeliveryStreamDescription"].take();
    assert_eq!(description["DeliveryStreamType"], "KinesisStreamAsSource");
    assert_eq!(description["Source"]["KinesisStreamSourceDescription"]["KinesisStreamARN"], ARN);
    let put = json!({ "DeliveryStreamName": "demo", "Record": { "Data": "YQ==" } });
    let batch = json!({ "DeliveryStreamName": "demo", "Records": [{ "Data": "YQ==" }] });
    for (action, body) in [
        ("PutRecord", &put),
        ("PutRecordBatch", &batch),
        ("StartDeliveryStreamEncryption", &named),
        ("StopDeliveryStreamEncryption", &named),
    ] {
        let (code, message) = rig.firehose(action, body).unwrap_err();
        assert_eq!(code, "InvalidArgumentException", "{action}");
        assert_eq!(
            message,
            "This operation is not permitted on KinesisStreamAsSource delivery stream type."
        );
    }
}

#[tokio::test]
async fn the_sdk_reads_what_describe_says_of_a_source() {
    let rig = start();
    let msk = json!({
        "DeliveryStreamName": "kafka",
        "DeliveryStreamType": "MSKAsSource",
        "MSKSourceConfiguration": { "MSKClusterARN": "arn:m", "TopicName": "t",
            "AuthenticationConfiguration": { "RoleARN": "arn:r", "Connectivity": "PUBLIC" } },
        "S3DestinationConfiguration": { "RoleARN": "arn:r", "BucketARN": "arn:aws:s3:::b" },
    });
    rig.firehose("CreateDeliveryStream", &msk).unwrap();
    let client = client(&rig.emulator);
    for (name, kind) in [("demo", "KinesisStreamAsSource"), ("kafka", "MSKAsSource")] {
        let described = client.describe_delivery_stream().delivery_stream_name(name).send().await;
        let described = described.unwrap().delivery_stream_description.unwrap();
        assert_eq!(described.delivery_stream_type.as_str(), kind);
        let source = described.source.unwrap();
        let of_data = source.kinesis_stream_source_description;
        let arn = of_data.and_then(|source| source.kinesis_stream_arn);
        assert_eq!(arn.as_deref(), (name == "demo").then_some(ARN));
        assert_eq!(source.msk_source_description.is_some(), name == "kafka");
    }
}

#[test]
fn the_control_endpoint_says_what_it_has_not() {
    let rig = start();
    let asked = |method: &str, path: &str| {
        let path = format!("/emulator/{path}");
        http(rig.emulator.local_addr(), method, &path, &[], br#"{"set":"enabled"}"#).0
    };
    assert_eq!(asked("PUT", "streams/demo/encryption"), 409);
    assert_eq!(asked("PUT", "streams/direct/encryption"), 200);
    for missing in ["kinesis/streams/none", "kinesis/streams/none/encryption", "kinesis/nothing"] {
        assert_eq!(asked("GET", missing), 404, "{missing}");
    }
    assert_eq!(asked("PUT", "kinesis/streams/data/quota"), 400);
    assert_eq!(asked("PUT", "kinesis/faults"), 400);
    assert_eq!(asked("PUT", "account"), 400);
    assert_eq!(rig.get("kinesis")["streams"][0]["arn"], ARN);
}

#[test]
fn a_delivery_stream_can_be_made_again_with_another_source() {
    let rig = start();
    let s3 =
        json!({ "RoleARN": "arn:aws:iam::000000000000:role/r", "BucketARN": "arn:aws:s3:::b" });
    let create = |kind: &str, source: Value| {
        let mut body = json!({ "DeliveryStreamName": "other", "DeliveryStreamType": kind,
            "ExtendedS3DestinationConfiguration": s3 });
        body.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        rig.firehose("CreateDeliveryStream", &body)
    };
    let from = |arn: &str| json!({ "KinesisStreamSourceConfiguration": { "KinesisStreamARN": arn, "RoleARN": "arn:r" } });
    assert_eq!(code(create("KinesisStreamAsSource", json!({}))), "InvalidArgumentException");
    assert_eq!(code(create("DirectPut", from(ARN))), "InvalidArgumentException");
    assert_eq!(code(create("KinesisStreamAsSource", from("data"))), "ValidationException");
    let nowhere = format!("{ARN}-none");
    assert_eq!(code(create("KinesisStreamAsSource", from(&nowhere))), "InvalidArgumentException");

    let put = json!({ "DeliveryStreamName": "other", "Record": { "Data": "YQ==" } });
    let list = |kind: &str| {
        rig.firehose("ListDeliveryStreams", &json!({ "DeliveryStreamType": kind })).unwrap()
            ["DeliveryStreamNames"]
            .take()
    };
    for (kind, source) in [
        ("KinesisStreamAsSource", from(ARN)),
        ("MSKAsSource", json!({ "MSKSourceConfiguration": { "MSKClusterARN": "arn:m" } })),
        ("DatabaseAsSource", json!({})),
        ("DirectPut", json!({})),
    ] {
        create(kind, source).unwrap();
        assert!(list(kind).as_array().unwrap().contains(&json!("other")), "{kind}");
        let refused = rig.firehose("PutRecord", &put);
        assert_eq!(refused.is_ok(), kind == "DirectPut", "{kind}");
        rig.firehose("DeleteDeliveryStream", &json!({ "DeliveryStreamName": "other" })).unwrap();
    }
    assert_eq!(list("DirectPut"), json!(["direct"]));
}

#[test]
fn records_are_read_back_shard_by_shard() {
    let rig = start();
    rig.kinesis("DeleteStream", &json!({ "StreamName": "data" }));
    rig.kinesis("CreateStream", &json!({ "StreamName": "data", "ShardCount": 2 }));
    // The MD5 of "a" falls into the first half of the hash keys, that of "b" into the second.
    let answer = rig.put(&[("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("b", "5")]);
    let start = json!({ "ShardIteratorType": "TRIM_HORIZON" });
    assert_eq!(rig.read(0, &start), ["1", "3", "4"]);
    assert_eq!(rig.read(1, &start), ["2", "5"]);
    let third = &answer["Records"][2]["SequenceNumber"];
    let at = |kind: &str| json!({ "ShardIteratorType": kind, "StartingSequenceNumber": third });
    assert_eq!(rig.read(0, &at("AT_SEQUENCE_NUMBER")), ["3", "4"]);
    assert_eq!(rig.read(0, &at("AFTER_SEQUENCE_NUMBER")), ["4"]);
    let since = json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.5 });
    assert_eq!(rig.read(0, &since), ["1", "3", "4"]);
    assert!(rig.read(0, &json!({ "ShardIteratorType": "LATEST" })).is_empty());

    let shards = rig.kinesis("ListShards", &json!({ "StreamName": "data", "MaxResults": 1 }));
    let token = &shards["NextToken"];
    let rest = rig.kinesis("ListShards", &json!({ "NextToken": token }));
    assert_eq!(rest["Shards"][0]["ShardId"], "shardId-000000000001");
    let described = rig.kinesis("DescribeStream", &json!({ "StreamName": "data" }));
    assert_eq!(described["StreamDescription"]["Shards"].as_array().unwrap().len(), 2);
}

#[test]
fn a_record_over_the_quota_of_its_shard_fails_alone() {
    let rig = start_with(|config| {
        config.shard_quota = Some(Quota { records_per_s: 2, ..Quota::SHARD });
    });
    let answer = rig.put(&[("a", "1"), ("a", "2"), ("a", "3")]);
    assert_eq!(answer["FailedRecordCount"], 1);
    let failed = &answer["Records"][2];
    assert_eq!(failed["ErrorCode"], "ProvisionedThroughputExceededException");
    assert_eq!(
        failed["ErrorMessage"],
        "Rate exceeded for shard shardId-000000000000 in stream data under account 000000000000."
    );
    rig.control("DELETE", "kinesis/streams/data/quota", &json!({}));
    assert_eq!(rig.put(&[("a", "1"), ("a", "2"), ("a", "3")])["FailedRecordCount"], 0);
}

#[test]
fn a_record_may_be_as_large_as_the_stream_says() {
    let rig = start_with(|config| config.shard_quota = None);
    let large = "x".repeat(1024 * 1024);
    let (refused, message) = rig.try_put(&[("key", &large)]).unwrap_err();
    assert_eq!(refused, "InvalidArgumentException");
    assert!(message.contains("MaxRecordSizeInKiB"), "{message}");
    rig.put(&[("key", &large[3..])]);
    let larger = json!({ "StreamARN": ARN, "MaxRecordSizeInKiB": 2_048 });
    rig.kinesis("UpdateMaxRecordSize", &larger);
    assert_eq!(rig.summary()["MaxRecordSizeInKiB"], 2_048);
    rig.put(&[("key", &large)]);
    let too_large = json!({ "StreamARN": ARN, "MaxRecordSizeInKiB": 10_241 });
    assert_eq!(code(rig.try_kinesis("UpdateMaxRecordSize", &too_large)), "ValidationException");
}

#[test]
fn encryption_is_switched_on_and_off_and_each_answer_says_so() {
    let rig = start_with(|config| {
        config.sse = SseTiming { transition: Duration::from_secs(3_600), ..AT_ONCE };
    });
    rig.start_encryption("alias/aws/kinesis").unwrap();
    assert_eq!(
        (&rig.summary()["StreamStatus"], &rig.summary()["EncryptionType"]),
        (&json!("UPDATING"), &json!("NONE"))
    );
    assert_eq!(code(rig.start_encryption("alias/aws/kinesis")), "ResourceInUseException");
    assert_eq!(rig.put(&[("a", "plain")])["EncryptionType"], "NONE");
    // From outside, at once, and then with transitions that take no time.
    let command = json!({ "set": "disabled", "transition_ms": 0 });
    rig.control("PUT", "kinesis/streams/data/encryption", &command);
    rig.start_encryption("alias/aws/kinesis").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while rig.summary()["StreamStatus"] != "ACTIVE" {
        assert!(Instant::now() < deadline, "never active");
    }
    assert_eq!(
        (&rig.summary()["EncryptionType"], &rig.summary()["KeyId"]),
        (&json!("KMS"), &json!("alias/aws/kinesis"))
    );
    assert_eq!(rig.put(&[("a", "sealed")])["EncryptionType"], "KMS");
    let stop =
        json!({ "StreamName": "data", "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" });
    rig.kinesis("StopStreamEncryption", &stop);
    assert_eq!(rig.put(&[("a", "plain")])["EncryptionType"], "NONE");
    let sealed: Vec<_> =
        rig.journal("streams/demo").iter().map(|r| r["encrypted"] == true).collect();
    assert_eq!(sealed, [false, true, false]);
    let shown = rig.get("kinesis/streams/data/encryption");
    assert_eq!((&shown["starts"], &shown["stops"]), (&json!(2), &json!(1)));
}

#[test]
fn a_change_that_fails_leaves_the_stream_as_it_was() {
    let rig = start();
    let faults = json!({ "sse_failure": "UNKNOWN_ERROR", "fail_next": 1 });
    rig.control("PUT", "kinesis/streams/data/faults", &faults);
    rig.start_encryption("alias/aws/kinesis").unwrap();
    let summary = rig.summary();
    let shown = (&summary["StreamStatus"], &summary["EncryptionType"], &summary["KeyId"]);
    assert_eq!(shown, (&json!("ACTIVE"), &json!("NONE"), &Value::Null));
    rig.control("PUT", "kinesis/streams/data/encryption", &json!({ "flag": "absent" }));
    rig.start_encryption("alias/aws/kinesis").unwrap();
    assert_eq!(rig.put(&[("a", "1")])["EncryptionType"], Value::Null);
    assert_eq!(rig.journal("streams/demo")[0]["encrypted"], true);
}

#[test]
fn both_members_name_the_encryption_and_the_calls_of_a_day_are_counted_apart() {
    let rig = start();
    for (body, expected) in [
        (json!({ "StreamName": "data", "EncryptionType": "KMS" }), "ValidationException"),
        (json!({ "StreamName": "data", "KeyId": "alias/aws/kinesis" }), "ValidationException"),
        (
            json!({ "StreamName": "data", "KeyId": "alias/aws/kinesis", "EncryptionType": "NONE" }),
            "InvalidArgumentException",
        ),
        (
            json!({ "StreamName": "none", "KeyId": "alias/aws/kinesis", "EncryptionType": "KMS" }),
            "ResourceNotFoundException",
        ),
    ] {
        assert_eq!(code(rig.try_kinesis("StartStreamEncryption", &body)), expected, "{body}");
    }
    rig.control("PUT", "kinesis/streams/data/encryption", &json!({ "starts": 25 }));
    assert_eq!(code(rig.start_encryption("alias/aws/kinesis")), "LimitExceededException");
    let stop =
        json!({ "StreamName": "data", "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" });
    rig.kinesis("StopStreamEncryption", &stop);
}

#[test]
fn a_key_that_cannot_be_used_is_refused_at_the_start_and_at_every_put_after_it() {
    let rig = start();
    let key = rig.kms("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].take();
    let key = key.as_str().unwrap();
    assert_eq!(code(rig.start_encryption("alias/none")), "KMSNotFoundException");
    rig.start_encryption(key).unwrap();
    assert_eq!(rig.put(&[("a", "1")])["EncryptionType"], "KMS");
    rig.kms("DisableKey", &json!({ "KeyId": key }));
    assert_eq!(code(rig.try_put(&[("a", "2")])), "KMSDisabledException");
    assert_eq!(code(rig.start_encryption(key)), "KMSDisabledException");
    rig.kms("EnableKey", &json!({ "KeyId": key }));
    rig.put(&[("a", "2")]);
    rig.kms("ScheduleKeyDeletion", &json!({ "KeyId": key }));
    assert_eq!(code(rig.try_put(&[("a", "3")])), "KMSInvalidStateException");
    // The key of another account cannot be looked up.
    rig.start_encryption("arn:aws:kms:us-east-1:123456789012:key/theirs").unwrap();
    rig.put(&[("a", "3")]);
}

#[test]
fn what_callers_may_not_do_is_refused_with_the_service_s_words() {
    let rig = start();
    rig.start_encryption("arn:aws:kms:us-east-1:123456789012:key/theirs").unwrap();
    let denied = |actions: &[&str]| rig.control("PUT", "account", &json!({ "denied": actions }));
    denied(&["kms:GenerateDataKey"]);
    assert_eq!(code(rig.try_put(&[("a", "1")])), "KMSAccessDeniedException");
    denied(&["kinesis:PutRecords"]);
    let (code, message) = rig.try_put(&[("a", "1")]).unwrap_err();
    assert_eq!(code, "AccessDeniedException");
    assert!(
        message.contains(&format!("perform: kinesis:PutRecords on resource: {ARN}")),
        "{message}"
    );
    rig.control("PUT", "account", &json!({ "denied": ["kms:Decrypt"] }));
    rig.put(&[("a", "1")]);
    let from = json!({ "StreamName": "data", "ShardId": "shardId-000000000000",
        "ShardIteratorType": "TRIM_HORIZON" });
    let iterator = rig.kinesis("GetShardIterator", &from);
    let read =
        || rig.try_kinesis("GetRecords", &json!({ "ShardIterator": iterator["ShardIterator"] }));
    assert_eq!(read().unwrap_err().0, "KMSAccessDeniedException");
    rig.control("DELETE", "account", &json!({}));
    assert_eq!(read().unwrap()["Records"].as_array().unwrap().len(), 1);
    assert_eq!(rig.get("kinesis/streams/data")["calls"]["GetRecords"], 2);
}

#[test]
fn faults_hit_data_streams_as_they_hit_delivery_streams() {
    let rig = start();
    let faults = json!({ "record_failure_indexes": [1] });
    rig.control("PUT", "kinesis/streams/data/faults", &faults);
    let answer = rig.put(&[("a", "1"), ("a", "2")]);
    assert_eq!(answer["FailedRecordCount"], 1);
    assert_eq!(answer["Records"][1]["ErrorCode"], "ProvisionedThroughputExceededException");
    rig.control("DELETE", "kinesis/streams/data/faults", &json!({}));
    rig.control("PUT", "kinesis/faults", &json!({ "outage": "unavailable" }));
    assert_eq!(code(rig.try_put(&[("a", "1")])), "ServiceUnavailable");
    rig.control("DELETE", "kinesis/faults", &json!({}));
    rig.put(&[("a", "1")]);
    let shown = rig.get("kinesis/streams/data");
    assert_eq!(shown["counters"]["put_requests_refused"], 1);
    assert_eq!(shown["calls"]["PutRecords"], 3);
    assert_eq!(rig.get("calls")["kinesis"]["PutRecords"], 3);
}

#[test]
fn data_streams_outlive_the_process_and_their_records_do_not() {
    let rig = start();
    rig.kinesis(
        "CreateStream",
        &json!({ "StreamName": "kept",
        "StreamModeDetails": { "StreamMode": "ON_DEMAND" } }),
    );
    rig.start_encryption("alias/aws/kinesis").unwrap();
    rig.put(&[("a", "1")]);
    let Rig { emulator, dir } = rig;
    emulator.stop().unwrap();
    let rig = Rig { emulator: Emulator::start(config(dir.path())).unwrap(), dir };
    let list = rig.kinesis("ListStreams", &json!({}));
    assert_eq!(list["StreamNames"], json!(["data", "kept"]));
    assert_eq!(list["StreamSummaries"][1]["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    assert_eq!(rig.summary()["EncryptionType"], "KMS");
    assert!(rig.journal("kinesis/streams/data").is_empty());
}

#[test]
fn a_data_stream_is_created_once_and_takes_records_when_it_is_active() {
    let rig = start_with(|config| config.create_delay = Duration::from_secs(3_600));
    let create = |body: Value| rig.try_kinesis("CreateStream", &body);
    assert_eq!(code(create(json!({ "StreamName": "new" }))), "ValidationException");
    create(json!({ "StreamName": "new", "ShardCount": 1 })).unwrap();
    let again = create(json!({ "StreamName": "new", "ShardCount": 1 }));
    assert_eq!(code(again), "ResourceInUseException");
    let named = json!({ "StreamName": "new" });
    let summary = rig.kinesis("DescribeStreamSummary", &named);
    assert_eq!(summary["StreamDescriptionSummary"]["StreamStatus"], "CREATING");
    let put = json!({ "StreamName": "new", "PartitionKey": "k", "Data": "" });
    let (code, message) = rig.try_kinesis("PutRecord", &put).unwrap_err();
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(message, "Stream new under account 000000000000 not found.");
}
