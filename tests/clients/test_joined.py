"""Joined records, read back by what others wrote: the KPL's format by a decoder of AWS Labs, and lines from S3."""

import base64
import json

import pytest
from aws_kinesis_agg.deaggregator import deaggregate_records
from harness import Ledger, configuration, wait_for_all, wait_until

NDJSON = "application/x-ndjson"
MAGIC = b"\xf3\x89\x9a\xc2"


def status_of(pipe):
    return pipe.http.get(f"{pipe.admin}/v1/status", timeout=10).json()


def blobs_of(moto, stream):
    """All records of a data stream, as the service gives them."""
    kinesis = moto.client("kinesis")
    found = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        at = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while (page := kinesis.get_records(ShardIterator=at, Limit=10_000))["Records"]:
            found += page["Records"]
            at = page["NextShardIterator"]
    return found


def records_of(blobs):
    """What is in them, by the foreign decoder."""
    as_a_lambda_sees_it = [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "sequenceNumber": blob["SequenceNumber"],
                "partitionKey": blob["PartitionKey"],
                "approximateArrivalTimestamp": 0,
                "data": blob["Data"],
            }
        }
        for blob in blobs
    ]
    for record in as_a_lambda_sees_it:
        record["kinesis"]["data"] = base64.b64encode(record["kinesis"]["data"])
    found = deaggregate_records(as_a_lambda_sees_it)
    return [(entry["kinesis"]["partitionKey"], base64.b64decode(entry["kinesis"]["data"])) for entry in found]


@pytest.mark.parametrize("key", ["random", "/tenant"])
def test_a_foreign_decoder_reads_what_was_joined_for_a_data_stream(start, moto, key):
    moto.create_data_stream("clicks", shards=2)
    own = {
        "aggregate": "on",
        "aggregate_bytes": 20_000,
        "destination": "kinesis",
        "kinesis_stream": "clicks",
        "partition_key": key,
    }
    pipe = start(config=configuration({"orders": own}, upstream=moto.url, kinesis=moto.url))
    ledger = Ledger("kpl")
    odd = [b"\n", b"\x00", b"\xff\x00" * 300, b"{}", b"x" * 200_000, MAGIC, MAGIC + b"\x00" * 16, b"\xc3\xa9" * 100]
    for number in range(20):
        lines = [{"tenant": number % 3, "text": line.decode()} for line in ledger.records(100)]
        body = "".join(json.dumps(line) + "\n" for line in lines)
        answer = pipe.post("orders", body.encode(), content_type=NDJSON)
        assert answer.status_code == 202, answer.text
    for data in odd:
        # A body that is no list of lines is a record as it is, but for the newline at its end.
        assert pipe.post("orders", data).status_code == 202

    pipe.stop()
    blobs = blobs_of(moto, "clicks")
    records = records_of(blobs)
    taken = b"".join(data for _, data in records if b"kpl" in data)
    ledger.check_exactly_once(taken)
    others = [data for _, data in records if b"kpl" not in data]
    assert sorted(others) == sorted(data if data.endswith(b"\n") else data + b"\n" for data in odd)
    assert len(blobs) * 5 < len(records)
    if key == "random":
        assert all(len(blob["Data"]) <= 20_000 for blob in blobs if blob["Data"].startswith(MAGIC + b"\x0a"))
    else:
        for partition_key, data in records:
            if b"kpl" in data:
                assert partition_key == str(json.loads(data)["tenant"])


def test_records_joined_for_s3_are_the_same_bytes_in_fewer_records(start, moto):
    pipe = start(config=configuration({"orders": {"aggregate": "on"}}, upstream=moto.url))
    ledger = Ledger("joined")
    for _ in range(20):
        assert pipe.post("orders", b"".join(ledger.records(100)), content_type=NDJSON).status_code == 202

    wait_for_all(ledger, lambda: moto.delivered("orders"))
    shown = next(stream for stream in status_of(pipe)["streams"] if stream["name"] == "orders")["aggregate"]
    pipe.stop()
    ledger.check_exactly_once(moto.delivered("orders"))
    assert shown["joins"] and shown["blobs"] * 20 < shown["records"] == 2_000, shown
    assert shown["bytes_saved"] + shown["bytes_billed"] == 2_000 * 5_120


LAMBDA = {"Type": "Lambda", "Parameters": [{"ParameterName": "LambdaArn", "ParameterValue": "arn:aws:lambda:x"}]}
DE_AGGREGATION = {
    "Type": "RecordDeAggregation",
    "Parameters": [{"ParameterName": "SubRecordType", "ParameterValue": "JSON"}],
}


@pytest.mark.parametrize(
    ("processors", "joins", "words"),
    [([], True, "S3"), ([LAMBDA], False, "Lambda"), ([DE_AGGREGATION, LAMBDA], True, "RecordDeAggregation")],
)
def test_what_describe_says_decides_whether_records_are_joined(start, moto, processors, joins, words):
    destination = {
        "RoleARN": moto.ROLE,
        "BucketARN": f"arn:aws:s3:::{moto.BUCKET}",
        "Prefix": "judged/",
        "ProcessingConfiguration": {"Enabled": bool(processors), "Processors": processors},
    }
    moto.client("firehose").create_delivery_stream(
        DeliveryStreamName="judged",
        DeliveryStreamType="DirectPut",
        ExtendedS3DestinationConfiguration=destination,
    )
    pipe = start(config=configuration({"judged": {"aggregate": "auto"}}, upstream=moto.url))
    ledger = Ledger("judged")

    def shown():
        stream = next(stream for stream in status_of(pipe)["streams"] if stream["name"] == "judged")
        return stream.get("aggregate", {})

    assert pipe.post("judged", b"".join(ledger.records(10)), content_type=NDJSON).status_code == 202
    said = wait_until("the reason is shown", lambda: words in shown().get("reason", "") and shown())
    assert said["joins"] is joins, said
    pipe.stop()
    ledger.check_exactly_once(moto.delivered("judged"))
