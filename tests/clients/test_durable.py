"""Durable answers as an application with boto3 sees them, with moto as KMS and as upstream that others wrote."""

import threading

import pytest
import requests
from botocore.exceptions import ClientError
from harness import Emulator, Ledger, configuration, wait_for_all, wait_until

NDJSON = "application/x-ndjson"


def metric(pipe, name, labels=""):
    """The sum of a metric over all its labels that contain `labels`."""
    lines = requests.get(f"{pipe.admin}/metrics", timeout=5).text.splitlines()
    found = [line for line in lines if line.startswith((name + "{", name + " ")) and labels in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def is_even(pipe):
    """Whether every record is in exactly one place."""
    came = ["spool_records_recovered_total", "ingest_records_accepted_total", "spool_dead_letters_replayed_total"]
    somewhere = [
        "forward_records_delivered_total",
        "pipeline_records_in_memory",
        "spool_records",
        "spool_records_quarantined_total",
        "spool_records_dead_lettered_total",
        "pipeline_records_lost_total",
    ]
    return sum(metric(pipe, f"standpipe_{name}") for name in came) == sum(
        metric(pipe, f"standpipe_{name}") for name in somewhere
    )


@pytest.fixture
def key(moto):
    """A key of moto's KMS."""
    return moto.client("kms").create_key(Description="of a test")["KeyMetadata"]["Arn"]


@pytest.fixture
def before(start, moto, key, tmp_path):
    """Starts a Standpipe in front of moto, with a spool whose keys are from moto too."""

    def before(key=key, kms=moto.url, more=""):
        settings = configuration(["orders"], upstream=moto.url, spool=tmp_path / "spool", ack="durable", grace_ms=4_000)
        return start(config=settings + f'[keys]\nkey = "{key}"\nendpoint = "{kms}"\n{more}')

    return before


def test_what_boto3_puts_is_durable_and_outlives_a_kill(moto, before, sdk):
    pipe, ledger = before(), Ledger("kill")
    moto.delete_bucket()  # every put call upstream fails with HTTP 500 from here on
    client = sdk(pipe)
    one = client.put_record(DeliveryStreamName="orders", Record={"Data": ledger.record()})
    assert one["RecordId"] and "Encrypted" not in one
    assert one["ResponseMetadata"]["HTTPHeaders"]["standpipe-ack"] == "durable"
    for _ in range(5):
        records = [{"Data": data} for data in ledger.records(100)]
        put = client.put_record_batch(DeliveryStreamName="orders", Records=records)
        assert put["FailedPutCount"] == 0
        assert len({entry["RecordId"] for entry in put["RequestResponses"]}) == 100
        assert put["ResponseMetadata"]["HTTPHeaders"]["standpipe-ack"] == "durable"
    wait_until("all is accounted for", lambda: is_even(pipe))
    assert metric(pipe, "standpipe_spool_records") == 501
    pipe.kill()

    moto.create_bucket()
    pipe = before()
    data = wait_for_all(ledger, lambda: moto.delivered("orders"))
    ledger.check_exactly_once(data)
    wait_until("the spool is empty", lambda: metric(pipe, "standpipe_spool_records") == 0 and is_even(pipe))
    assert metric(pipe, "standpipe_encryption_kms_requests_total", 'operation="Decrypt",result="ok"') >= 1
    assert metric(pipe, "standpipe_spool_records_recovered_total") == 501
    pipe.stop()


def test_durable_records_of_both_interfaces_reach_s3_each_exactly_once(moto, before, sdk):
    pipe, ledger = before(), Ledger("both")
    client = sdk(pipe)
    for _ in range(10):
        answer = pipe.post("orders", b"".join(ledger.records(130)), content_type=NDJSON)
        assert (answer.status_code, answer.json()["ack"]) == (200, "durable"), answer.text
        records = [{"Data": data} for data in ledger.records(170)]
        assert client.put_record_batch(DeliveryStreamName="orders", Records=records)["FailedPutCount"] == 0
    client.close()
    pipe.stop()
    ledger.check_exactly_once(moto.delivered("orders"))
    # moto writes an object for each call: what was synced in small groups is sent in large ones.
    assert len(moto.objects("orders")) < 20


def test_a_backlog_of_a_rotated_key_waits_until_the_old_one_is_listed(moto, before, key):
    pipe, ledger = before(), Ledger("rotated")
    moto.delete_bucket()
    assert pipe.post("orders", b"".join(ledger.records(200)), content_type=NDJSON).status_code == 200
    pipe.kill()
    moto.create_bucket()
    newer = moto.client("kms").create_key()["KeyMetadata"]["Arn"]
    pipe = before(key=newer)

    def waits_for():
        status = requests.get(f"{pipe.admin}/v1/status", timeout=5).json()
        return status["streams"][0]["spool"]["waits_for"] or ""

    wait_until("it says that the key is not listed", lambda: f"{key} is not listed" in waits_for())
    fresh = Ledger("fresh")
    assert pipe.post("orders", b"".join(fresh.records(50)), content_type=NDJSON).status_code == 200
    wait_for_all(fresh, lambda: moto.delivered("orders"))
    assert metric(pipe, "standpipe_encryption_kms_requests_total", 'operation="Decrypt"') == 0
    pipe.stop()

    pipe = before(key=newer, more=f'decrypt_only = ["{key}"]\n')
    data = wait_for_all(ledger, lambda: moto.delivered("orders"))
    ledger.check_exactly_once(data)
    fresh.check_exactly_once(data)
    wait_until("all is accounted for", lambda: is_even(pipe))
    pipe.stop()


def test_an_sdk_repeats_what_could_not_be_made_durable_until_it_is(binary, moto, before, sdk, tmp_path):
    kms = Emulator(binary, tmp_path)
    try:
        repeat_until_durable(kms, moto, before, sdk)
    finally:
        kms.kill()


def repeat_until_durable(kms, moto, before, sdk):
    def fault(faults):
        requests.put(f"{kms.url}/emulator/kms/faults", json=faults, timeout=5).raise_for_status()

    key = kms.client("kms").list_keys()["Keys"][0]["KeyArn"]
    pipe = before(key=key, kms=kms.url, more="soft_age_ms = 1000\nhard_age_ms = 2000\n")
    ledger = Ledger("repeated")
    once = sdk(pipe, retries={"total_max_attempts": 1})
    once.put_record(DeliveryStreamName="orders", Record={"Data": ledger.record()})
    fault({"outage": "unavailable"})
    obstacle = lambda: metric(pipe, "standpipe_spool_obstacle", 'reason="key_too_old"')  # noqa: E731
    wait_until("the key is too old", lambda: obstacle() == 1)
    wait_until("it is not ready", lambda: not pipe.ready())
    with pytest.raises(ClientError) as refused:
        once.put_record(DeliveryStreamName="orders", Record={"Data": b"id=never-000000;\n"})
    error = refused.value.response
    assert error["Error"]["Code"] == "ServiceUnavailableException"
    assert "keys.hard_age_ms" in error["Error"]["Message"]
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 503

    client = sdk(pipe, retries={"total_max_attempts": 12, "mode": "standard"})
    puts = []

    def put():
        puts.append(client.put_record(DeliveryStreamName="orders", Record={"Data": ledger.record()}))

    putting = threading.Thread(target=put)
    putting.start()
    refusals = lambda: metric(pipe, "standpipe_ingest_requests_total", "durable_unavailable")  # noqa: E731
    wait_until("it was refused and came back", lambda: refusals() >= 2)
    fault({})
    putting.join(60)
    assert puts and puts[0]["ResponseMetadata"]["RetryAttempts"] >= 1
    data = wait_for_all(ledger, lambda: moto.delivered("orders"))
    ledger.check_exactly_once(data)
    assert b"never" not in data
    wait_until("it is ready", pipe.ready)
    pipe.stop()
