"""boto3 against Standpipe, as an application uses it that has changed one environment variable."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from harness import Ledger, configuration, free_port, wait_for_all

RECORD_BYTES_MAX = 1_024_000
BATCH_RECORDS_MAX = 500


def code_of(error):
    return error.value.response["Error"]["Code"]


def status_of(error):
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_put_record_is_answered_with_an_id_and_delivered_byte_for_byte(embedded, sdk):
    client = sdk(embedded)
    data = bytes(range(256)) + "no newline at the end: \N{DROPLET}".encode()

    answer = client.put_record(DeliveryStreamName="demo", Record={"Data": data})

    assert answer["RecordId"]
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"], "SDKs show this id to people"
    assert "Encrypted" not in answer, "below `delivered` Standpipe cannot know, and must not guess"
    client.close()
    embedded.stop()
    assert embedded.delivered("demo") == data


def test_put_record_batch_of_500_is_delivered_with_every_record_once(embedded, sdk):
    client = sdk(embedded)
    ledger = Ledger("batch")

    ids = []
    for _ in range(5):
        records = [{"Data": data} for data in ledger.records(BATCH_RECORDS_MAX)]
        answer = client.put_record_batch(DeliveryStreamName="demo", Records=records)
        assert answer["FailedPutCount"] == 0
        assert len(answer["RequestResponses"]) == BATCH_RECORDS_MAX
        assert not [entry for entry in answer["RequestResponses"] if "ErrorCode" in entry]
        ids += [entry["RecordId"] for entry in answer["RequestResponses"]]

    assert len(set(ids)) == len(ids), "a record id names one record"
    client.close()
    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))


def test_records_are_delivered_while_standpipe_runs_not_only_when_it_stops(embedded, sdk):
    ledger = Ledger("linger")
    sdk(embedded).put_record(DeliveryStreamName="demo", Record={"Data": ledger.record()})

    wait_for_all(ledger, lambda: embedded.delivered("demo"))


def test_a_record_of_the_largest_size_and_an_empty_one_are_both_taken(embedded, sdk):
    client = sdk(embedded)
    largest = b"a" * RECORD_BYTES_MAX

    client.put_record(DeliveryStreamName="demo", Record={"Data": largest})
    client.put_record(DeliveryStreamName="demo", Record={"Data": b""})

    client.close()
    embedded.stop()
    assert embedded.delivered("demo") == largest


def test_a_batch_of_four_mib_that_is_full_of_large_records_is_taken(embedded, sdk):
    client = sdk(embedded)
    ledger = Ledger("large")
    records = [{"Data": data} for data in ledger.records(4, padding=1_000_000)]

    assert client.put_record_batch(DeliveryStreamName="demo", Records=records)["FailedPutCount"] == 0

    client.close()
    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))


def test_when_there_is_room_for_a_part_of_a_batch_the_rest_fails_by_index_and_can_be_sent_again(start, sdk):
    # Nothing listens upstream, so that what is accepted stays in memory until the budget is used up.
    config = configuration(["orders"], upstream=f"http://127.0.0.1:{free_port()}", memory_bytes_max=24 * 1024 * 1024)
    pipe = start(config=config)
    client = sdk(pipe, retries={"total_max_attempts": 1})
    records = [{"Data": b"x" * 8_000}] * BATCH_RECORDS_MAX

    for _ in range(20):
        answer = client.put_record_batch(DeliveryStreamName="orders", Records=records)
        failed = [i for i, entry in enumerate(answer["RequestResponses"]) if "ErrorCode" in entry]
        assert answer["FailedPutCount"] == len(failed)
        assert len(answer["RequestResponses"]) == len(records), "one entry for each record, in the order of the request"
        if failed:
            break
    else:
        pytest.fail("80 MB went into a budget of 24 MiB and nothing was refused")

    assert failed == list(range(failed[0], len(records))), "what fails is the tail"
    refused = answer["RequestResponses"][failed[0]]
    assert refused["ErrorCode"] == "ServiceUnavailableException"
    assert refused["ErrorMessage"]
    assert "RecordId" not in refused
    assert pipe.child.poll() is None


def test_describe_names_the_stream_and_says_that_it_is_active(shared_embedded, sdk):
    description = sdk(shared_embedded).describe_delivery_stream(DeliveryStreamName="demo")["DeliveryStreamDescription"]

    assert description["DeliveryStreamName"] == "demo"
    assert description["DeliveryStreamStatus"] == "ACTIVE"
    assert description["DeliveryStreamType"] == "DirectPut"
    assert description["DeliveryStreamARN"].endswith("deliverystream/demo")
    assert isinstance(description["Destinations"], list)


def test_list_names_the_streams(start, sdk):
    pipe = start(config=configuration(["alpha", "beta", "gamma"], upstream=f"http://127.0.0.1:{free_port()}"))
    client = sdk(pipe)

    answer = client.list_delivery_streams()
    assert answer["DeliveryStreamNames"] == ["alpha", "beta", "gamma"]
    assert answer["HasMoreDeliveryStreams"] is False

    first = client.list_delivery_streams(Limit=2)
    assert first["DeliveryStreamNames"] == ["alpha", "beta"]
    assert first["HasMoreDeliveryStreams"] is True
    rest = client.list_delivery_streams(ExclusiveStartDeliveryStreamName="beta")
    assert rest["DeliveryStreamNames"] == ["gamma"]


@pytest.mark.parametrize("operation", ["put_record", "put_record_batch", "describe_delivery_stream"])
def test_an_unknown_stream_is_resource_not_found(shared_embedded, sdk, operation):
    client = sdk(shared_embedded)
    record = {"Data": b"x"}
    more = {"put_record": {"Record": record}, "put_record_batch": {"Records": [record]}}.get(operation, {})

    with pytest.raises(client.exceptions.ResourceNotFoundException) as error:
        getattr(client, operation)(DeliveryStreamName="nobody", **more)

    assert status_of(error) == 400
    assert "nobody" in error.value.response["Error"]["Message"]


def test_a_refused_batch_is_refused_as_a_whole_and_leaves_nothing_behind(embedded, sdk):
    client = sdk(embedded)
    ledger = Ledger("accepted")
    refused = Ledger("refused")
    one_too_many = [{"Data": data} for data in refused.records(BATCH_RECORDS_MAX + 1)]
    one_too_large = [{"Data": refused.record()}, {"Data": b"x" * (RECORD_BYTES_MAX + 1)}, {"Data": refused.record()}]
    too_large_together = [{"Data": data} for data in refused.records(5, padding=900_000)]

    for records, code in [
        (one_too_many, "ValidationException"),
        (one_too_large, "ValidationException"),
        (too_large_together, "InvalidArgumentException"),
    ]:
        with pytest.raises(ClientError) as error:
            client.put_record_batch(DeliveryStreamName="demo", Records=records)
        assert (code_of(error), status_of(error)) == (code, 400)
        client.put_record(DeliveryStreamName="demo", Record={"Data": ledger.record()})

    client.close()
    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))
    assert b"refused" not in embedded.delivered("demo")


@pytest.mark.parametrize("name", ["no/slash", "n" * 65, "sp ace"])
def test_a_name_that_no_stream_can_have_is_a_validation_error(shared_embedded, sdk, name):
    with pytest.raises(ClientError) as error:
        sdk(shared_embedded).put_record(DeliveryStreamName=name, Record={"Data": b"x"})
    assert (code_of(error), status_of(error)) == ("ValidationException", 400)


def test_an_operation_that_manages_streams_is_denied(shared_embedded, sdk):
    with pytest.raises(ClientError) as error:
        sdk(shared_embedded).delete_delivery_stream(DeliveryStreamName="demo")
    assert (code_of(error), status_of(error)) == ("AccessDeniedException", 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"DeliveryStreamName":"demo","Record":{"Data":"not base64!"}}',
        b'{"DeliveryStreamName":"demo","Record":{"Data":7}}',
        b'{"DeliveryStreamName":"demo","Record":{"Data":"YQ=="}} trailing',
    ],
)
def test_a_body_that_no_sdk_would_send_is_a_serialization_error(shared_embedded, body):
    answer = shared_embedded.wire("PutRecord", body)

    assert answer.status_code == 400
    assert answer.json()["__type"].split("#")[-1] == "SerializationException"
    assert answer.headers["content-type"].startswith("application/x-amz-json-1.1")


def test_escapes_that_other_languages_write_into_base64_are_understood(embedded):
    # json_encode of PHP writes `/` as `\/`; some writers escape `+` for HTML.
    body = rb'{"DeliveryStreamName":"demo","Record":{"Data":"\/\/79\u002b\/o="}}'

    assert embedded.wire("PutRecord", body).status_code == 200

    embedded.stop()
    assert embedded.delivered("demo") == bytes.fromhex("fffefdfbfa")


def test_a_missing_member_is_named(shared_embedded):
    answer = shared_embedded.wire("PutRecord", json.dumps({"Record": {"Data": "YQ=="}}))

    assert answer.status_code == 400
    assert answer.json()["__type"].split("#")[-1] == "ValidationException"
    assert "deliveryStreamName" in answer.json()["message"]


def test_with_the_header_delivered_the_answer_carries_the_ids_of_the_service(embedded, sdk):
    client = sdk(embedded)
    client.meta.events.register(
        "before-sign.firehose", lambda request, **_: request.headers.add_header("standpipe-ack", "delivered")
    )
    ledger = Ledger("delivered")

    answer = client.put_record_batch(DeliveryStreamName="demo", Records=[{"Data": data} for data in ledger.records(3)])

    assert answer["FailedPutCount"] == 0
    assert answer["Encrypted"] is False, "the emulator's stream is not encrypted, and says so"
    assert len({entry["RecordId"] for entry in answer["RequestResponses"]}) == 3
    # The service has them; into an object it writes them in its own time.
    ledger.check_exactly_once(wait_for_all(ledger, lambda: embedded.delivered("demo")))


def test_four_clients_at_once_lose_nothing(embedded, sdk):
    client = sdk(embedded, max_pool_connections=4)
    ledger = Ledger("many")
    batches = [[{"Data": data} for data in ledger.records(100)] for _ in range(40)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda records: client.put_record_batch(DeliveryStreamName="demo", Records=records), batches)
        )

    assert sum(answer["FailedPutCount"] for answer in answers) == 0
    client.close()
    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))
