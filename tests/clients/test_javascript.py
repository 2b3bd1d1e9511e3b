"""The AWS SDK for JavaScript v3 against Standpipe, with the one environment variable."""

import json
import subprocess

import pytest
from harness import HERE, Ledger, application_environment, tool


def send(pipe, command, **input):
    if not (HERE / "node_modules/@aws-sdk/client-firehose").is_dir():
        pytest.fail("the JavaScript SDK is missing: run the tests with tests/run, or `npm ci` in tests/clients")
    run = subprocess.run(
        [tool("node"), str(HERE / "javascript/firehose.mjs"), command],
        env=application_environment(pipe.home, pipe.url),
        input=json.dumps(input),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_put_record_and_put_record_batch_are_delivered(embedded):
    ledger = Ledger("js")

    one = send(embedded, "PutRecord", DeliveryStreamName="demo", Record={"Data": ledger.record().decode()})
    assert one["answer"]["RecordId"]
    assert one["metadata"]["requestId"], "the SDK shows the request id of the answer"

    records = [{"Data": data.decode()} for data in ledger.records(500)]
    batch = send(embedded, "PutRecordBatch", DeliveryStreamName="demo", Records=records)["answer"]
    assert batch["FailedPutCount"] == 0
    assert len({entry["RecordId"] for entry in batch["RequestResponses"]}) == 500

    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))


def test_describe_is_parsed_by_the_sdk(shared_embedded):
    answer = send(shared_embedded, "DescribeDeliveryStream", DeliveryStreamName="demo")["answer"]

    assert answer["DeliveryStreamDescription"]["DeliveryStreamStatus"] == "ACTIVE"


def test_an_unknown_stream_is_thrown_as_the_class_of_the_service_after_one_attempt(shared_embedded):
    thrown = send(shared_embedded, "PutRecord", DeliveryStreamName="nobody", Record={"Data": "x"})

    assert thrown["error"]["class"] == "ResourceNotFoundException"
    assert thrown["error"]["ofTheService"]
    assert (thrown["metadata"]["httpStatusCode"], thrown["metadata"]["attempts"]) == (400, 1)


def test_a_batch_that_is_too_long_is_thrown_by_name_after_one_attempt(shared_embedded):
    records = [{"Data": "x"}] * 501

    thrown = send(shared_embedded, "PutRecordBatch", DeliveryStreamName="demo", Records=records)

    assert thrown["error"]["name"] == "ValidationException"
    assert "records" in thrown["error"]["message"]
    assert (thrown["metadata"]["httpStatusCode"], thrown["metadata"]["attempts"]) == (400, 1)
