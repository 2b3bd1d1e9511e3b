"""moto as an upstream that others wrote: its objects in S3 are read back, and every record is accounted for."""

from harness import Ledger, Moto, configuration, wait_for_all, wait_until

NDJSON = "application/x-ndjson"


def post(pipe, ledger, count):
    answer = pipe.post("orders", b"".join(ledger.records(count)), content_type=NDJSON)
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == count


def test_records_of_both_interfaces_reach_s3_each_exactly_once(moto, before_moto, sdk):
    ledger = Ledger("both")
    client = sdk(before_moto)

    for _ in range(10):
        post(before_moto, ledger, 130)
        records = [{"Data": data} for data in ledger.records(170)]
        assert client.put_record_batch(DeliveryStreamName="orders", Records=records)["FailedPutCount"] == 0

    client.close()
    before_moto.stop()
    ledger.check_exactly_once(moto.delivered("orders"))
    # moto writes an object for each call: batches were made of what came in small pieces.
    assert len(moto.objects("orders")) < 20


def test_the_endpoint_that_the_application_was_given_is_not_inherited(start, moto):
    ledger = Ledger("endpoint")
    dead = {"AWS_ENDPOINT_URL_FIREHOSE": "http://127.0.0.1:1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    pipe = start(config=configuration(["orders"], upstream=moto.url), env=dead)

    post(pipe, ledger, 10)

    pipe.stop()
    ledger.check_exactly_once(moto.delivered("orders"))


def test_each_stream_gets_its_own_records(start, moto, sdk):
    moto.create_stream("clicks")
    pipe = start(config=configuration(["orders", "clicks"], upstream=moto.url))
    ledgers = {"orders": Ledger("orders"), "clicks": Ledger("clicks")}

    for _ in range(20):
        for stream, ledger in ledgers.items():
            assert pipe.post(stream, ledger.record()).status_code == 202

    pipe.stop()
    for stream, ledger in ledgers.items():
        ledger.check_exactly_once(moto.delivered(stream))
    assert b"clicks" not in moto.delivered("orders")


def test_a_bucket_that_is_deleted_and_made_again_costs_no_record(moto, before_moto):
    ledger = Ledger("bucket")
    post(before_moto, ledger, 300)
    wait_for_all(ledger, lambda: moto.delivered("orders"))

    held = moto.delete_bucket()  # every put call now fails with HTTP 500 and a page of HTML
    for _ in range(5):
        post(before_moto, ledger, 200)
    wait_until(
        "a put call has failed with HTTP 500",
        lambda: any('"POST / HTTP/1.1" 500' in line for line in moto.lines),
    )
    assert before_moto.ready(), "an outage upstream does not make Standpipe unready"
    moto.create_bucket()

    wait_for_all(ledger.since(300), lambda: moto.delivered("orders"))
    before_moto.stop()
    ledger.check_exactly_once(held + moto.delivered("orders"))


def test_an_upstream_that_dies_and_comes_back_empty_costs_no_record(start, moto, tmp_path):
    pipe = start(config=configuration(["orders"], upstream=moto.url))
    ledger = Ledger("killed")
    post(pipe, ledger, 300)
    held = wait_for_all(ledger, lambda: moto.delivered("orders"))

    moto.kill()
    for _ in range(5):
        post(pipe, ledger, 200)
    assert pipe.ready(), "an outage upstream does not make Standpipe unready"

    # It comes back without bucket and stream: ResourceNotFoundException, which holds the stream and drops nothing.
    reborn = Moto(tmp_path, port=moto.port)
    try:
        reborn.create_bucket()
        reborn.create_stream("orders")
        wait_for_all(ledger.since(300), lambda: reborn.delivered("orders"))
        pipe.stop()
        ledger.check_exactly_once(held + reborn.delivered("orders"))
    finally:
        reborn.kill()


def test_what_cannot_be_delivered_at_a_stop_is_named_and_the_exit_code_says_so(start, moto):
    pipe = start(config=configuration(["orders"], upstream=moto.url, grace_ms=2_000))
    moto.kill()
    post(pipe, Ledger("lost"), 7)

    code = pipe.end()

    assert code != 0
    assert any("orders" in line and "7" in line for line in pipe.lines), (
        "the log does not say how many records of which stream are lost:\n" + pipe.output()
    )


def test_what_is_sealed_under_a_key_of_moto_is_opened_again_and_reaches_s3(start, moto, tmp_path):
    arn = moto.client("kms").create_key()["KeyMetadata"]["Arn"]
    disk = f'[keys]\nkey = "{arn}"\nendpoint = "{moto.url}"\n[spool]\ndir = "{tmp_path}/spool"\nallow_tmpfs = true\n'
    away = configuration(["orders"], upstream="http://127.0.0.1:9") + disk
    ledger = Ledger("sealed")
    pipe = start(config=away)

    wait_until("the key is there", lambda: pipe.post("orders", b"probe", standpipe_ack="durable").status_code == 200)
    for _ in range(5):
        answer = pipe.post("orders", b"".join(ledger.records(100)), content_type=NDJSON, standpipe_ack="durable")
        assert (answer.status_code, answer.json()["ack"]) == (200, "durable")
    pipe.kill()
    sealed = b"".join(path.read_bytes() for path in (tmp_path / "spool").rglob("*.seg"))
    assert sealed and b"sealed" not in sealed

    pipe = start(config=configuration(["orders"], upstream=moto.url) + disk)
    wait_for_all(ledger, lambda: moto.delivered("orders"))
    pipe.stop()
