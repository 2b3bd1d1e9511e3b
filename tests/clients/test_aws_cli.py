"""The AWS CLI against Standpipe, with the one environment variable."""

import json
import subprocess

from harness import Ledger, application_environment, tool


def aws(pipe, *arguments):
    # No --region, no --endpoint-url, no --no-sign-request: the environment is all.
    return subprocess.run(
        [tool("aws"), "firehose", *arguments, "--output", "json"],
        env=application_environment(pipe.home, pipe.url),
        cwd=pipe.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def answer_of(run):
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_put_record_and_put_record_batch_are_delivered(embedded):
    ledger = Ledger("cli")

    record = json.dumps({"Data": ledger.record().decode()})
    assert answer_of(aws(embedded, "put-record", "--delivery-stream-name", "demo", "--record", record))["RecordId"]

    records = embedded.home / "records.json"
    records.write_text(json.dumps([{"Data": data.decode()} for data in ledger.records(50)]))
    batch = answer_of(
        aws(embedded, "put-record-batch", "--delivery-stream-name", "demo", "--records", f"file://{records}")
    )
    assert batch["FailedPutCount"] == 0
    assert len(batch["RequestResponses"]) == 50

    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))


def test_describe_delivery_stream_answers_for_the_stream(shared_embedded):
    run = aws(shared_embedded, "describe-delivery-stream", "--delivery-stream-name", "demo")

    assert answer_of(run)["DeliveryStreamDescription"]["DeliveryStreamStatus"] == "ACTIVE"


def test_an_unknown_stream_ends_with_the_error_of_the_service(shared_embedded):
    run = aws(shared_embedded, "put-record", "--delivery-stream-name", "nobody", "--record", '{"Data":"x"}')

    assert run.returncode != 0
    assert "(ResourceNotFoundException)" in run.stderr, run.stderr
