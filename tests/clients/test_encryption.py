"""The encryption of streams at the service: seen and changed by the command, by a process, by people and by
applications, with moto and the emulator as the services and boto3 looking at what is so afterwards.

moto is at the end of a change at once, accepts any key, and says `Encrypted: false` whatever is so.
"""

import json
import re
import shlex
import subprocess

import pytest
from botocore.exceptions import ClientError
from harness import (
    REPOSITORY,
    Emulator,
    Ledger,
    application_environment,
    configuration,
    free_port,
    tool,
    wait_for_all,
    wait_until,
)

KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-4000-8000-000000000000"
TOKEN = "a-token-of-the-tests-that-is-long-enough"

# What is waited for comes in seconds and not in minutes.
QUICK = "[control]\npoll_min_ms = 50\npoll_max_ms = 500\nsettle_ms = 0\n"

# moto gives two records of a data stream one number when they come at once, and keeps the later one alone.
ONE_AT_A_TIME = "[forward]\nrequests_in_flight_max = 1\n"

UNAVAILABLE, USAGE, UNWELL = 69, 64, 1

CONFIRMED = "the stream is encrypted, and answers confirm it"


@pytest.fixture
def both(moto):
    """moto with `orders`, which takes puts, and `fed`, which reads from the data stream `clicks`."""
    moto.arn = moto.create_data_stream("clicks")
    moto.create_stream("fed", reads_from=moto.arn)
    return moto


@pytest.fixture
def configured(tmp_path):
    """Writes `standpipe.toml`, for commands."""

    def configured(streams, url, **more):
        path = tmp_path / "standpipe.toml"
        path.write_text(configuration(streams, upstream=url, kinesis=url, **more))
        return ["--config", path]

    return configured


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


def key_file(tmp_path):
    return f'[keys]\nprovider = "file"\nfile = "{tmp_path}/spool.key"\n'


def answer_of(run, code=0):
    """What a command printed as JSON."""
    assert run.returncode == code, run.stdout + run.stderr
    return json.loads(run.stdout)


def one(run, code=0):
    """The only stream of a status."""
    [stream] = answer_of(run, code)["streams"]
    return stream


def shown(pipe, stream):
    answer = pipe.http.get(f"{pipe.admin}/v1/streams/{stream}/encryption", timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def put(pipe, stream, body, token=TOKEN):
    """Asks for a change, as an operator would with curl."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    url = f"{pipe.admin}/v1/streams/{stream}/encryption"
    return pipe.http.put(url, data=body if isinstance(body, str) else json.dumps(body), headers=headers, timeout=30)


def logged(pipe):
    """The lines of the log as objects, none of which says a thing twice."""

    def members(pairs):
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    return [json.loads(line, object_pairs_hook=members) for line in list(pipe.lines) if line.startswith("{")]


def calls_of(pipe, operation):
    """How often a process has made a call of the management API with success."""
    wanted = f'standpipe_encryption_calls_total{{operation="{operation}",result="ok"}} '
    lines = pipe.http.get(f"{pipe.admin}/metrics", timeout=10).text.splitlines()
    return sum(int(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


# --- The command, with moto --------------------------------------------------------------------


def test_a_direct_put_stream_is_switched_on_given_another_key_and_switched_off(both, cli, configured):
    config = configured(["orders"], both.url)
    stream = one(cli("encryption", "status", "orders", "--json", *config))
    assert (stream["source"], stream["state"], stream["encrypted"]) == ("DirectPut", "disabled", False)
    assert both.sse("orders") is None, "to look changes nothing"

    changed = answer_of(cli("encryption", "enable", "orders", "--wait", "--json", *config))
    assert (changed["call"], changed["waited"]) == ("StartDeliveryStreamEncryption", "reached")
    assert both.sse("orders") == {"KeyType": "AWS_OWNED_CMK", "Status": "ENABLED"}
    again = cli("encryption", "enable", "orders", "--key", "aws-owned", *config)
    said = "orders: it is encrypted under aws-owned as it stands; nothing was done\n"
    assert (again.returncode, again.stdout) == (0, said)

    changed = cli("encryption", "enable", "orders", "--key", KEY, *config)
    assert changed.returncode == 0 and "the service has taken StartDeliveryStreamEncryption" in changed.stdout
    assert "once that is done" in changed.stdout and "--wait waits for the end" in changed.stdout
    assert both.sse("orders") == {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": KEY, "Status": "ENABLED"}
    table = cli("encryption", "status", "orders", "--require", *config)
    assert table.returncode == 0 and KEY in table.stdout, table.stdout + table.stderr

    changed = answer_of(cli("encryption", "disable", "orders", "--wait", "--json", *config))
    assert (changed["call"], changed["waited"]) == ("StopDeliveryStreamEncryption", "reached")
    assert both.sse("orders") == {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": KEY, "Status": "DISABLED"}
    assert changed["encryption"]["key"] is None, "what is not encrypted has no key, whatever is left of the last one"
    again = answer_of(cli("encryption", "disable", "orders", "--json", *config))
    assert again["call"] is None and again["error"] is None


def test_for_a_stream_behind_a_data_stream_the_data_stream_is_changed_and_never_itself(both, cli, configured):
    config = configured(["fed"], both.url)
    stream = one(cli("encryption", "status", "fed", "--json", *config))
    assert (stream["source"], stream["data_stream"]) == ("KinesisStreamAsSource", both.arn)
    assert (stream["state"], stream["takes_records"]) == ("disabled", True)

    # From an alias to a key that may be the one behind it, too.
    for key, key_id in [("aws-owned", "alias/aws/kinesis"), ("alias/mine", "alias/mine"), (KEY, KEY)]:
        changed = answer_of(cli("encryption", "enable", "fed", "--key", key, "--wait", "--json", *config))
        assert (changed["call"], changed["waited"]) == ("StartStreamEncryption", "reached")
        summary = both.data_stream("clicks")
        assert (summary["EncryptionType"], summary["KeyId"]) == ("KMS", key_id)
        assert one(cli("encryption", "status", "fed", "--require", "--json", *config))["key"] == key
    configured({"fed": {"manage": True, "encryption_key": "alias/mine"}}, both.url)
    listed = cli("encryption", "status", "--require", *config)
    assert listed.returncode == 0, listed.stderr
    assert f"the service names {KEY}: whether that is the same key can not be told" in listed.stdout

    changed = answer_of(cli("encryption", "disable", "fed", "--wait", "--json", *config))
    assert (changed["call"], changed["waited"]) == ("StopStreamEncryption", "reached")
    assert both.data_stream("clicks")["EncryptionType"] == "NONE"
    assert both.sse("fed") is None, "the delivery stream has nothing to encrypt"


def test_a_data_stream_can_be_meant_without_its_delivery_stream(both, cli, configured):
    config = configured([], both.url)
    for stream in ["clicks", both.arn]:
        meant = ["--kinesis-stream", stream, "--json", *config]
        assert answer_of(cli("encryption", "enable", "--wait", *meant))["call"] == "StartStreamEncryption"
        assert both.data_stream("clicks")["KeyId"] == "alias/aws/kinesis"
        assert one(cli("encryption", "status", "--require", *meant))["name"] == stream
        assert answer_of(cli("encryption", "disable", *meant))["call"] == "StopStreamEncryption"
    assert both.data_stream("clicks")["EncryptionType"] == "NONE"


def test_the_services_own_key_has_two_names_for_a_data_stream(both, cli, start, configured):
    config = configured(["fed"], both.url)
    for key in ["alias/aws/kinesis", "aws-owned", "arn:aws:kms:us-east-1:123456789012:alias/aws/kinesis"]:
        changed = answer_of(cli("encryption", "enable", "fed", "--key", key, "--json", *config))
        assert changed["call"] == ("StartStreamEncryption" if key == "alias/aws/kinesis" else None)
    streams = {"fed": {"manage": True, "encryption_key": "alias/aws/kinesis"}}
    configured(streams, both.url)
    assert answer_of(cli("encryption", "status", "--require", "--json", *config))["streams"][0]["deviations"] == []
    refused = cli("encryption", "enable", "orders", "--key", "alias/aws/kinesis", *config)
    assert refused.returncode == UNAVAILABLE and "needs the ARN of a key" in refused.stderr


def test_a_stream_that_is_described_in_a_few_words_is_read_all_the_same(moto, cli, configured):
    # An SDK that holds to the service's model refuses these descriptions.
    moto.create_stream("bare", bare=True)
    sse = {"DeliveryStreamEncryptionConfigurationInput": {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": KEY}}
    moto.create_stream("born", bare=True, **sse)
    config = configured(["bare", "born"], moto.url)

    assert answer_of(cli("encryption", "enable", "bare", "--wait", "--json", *config))["waited"] == "reached"
    assert moto.sse("bare")["Status"] == "ENABLED"
    # One that was created encrypted has a key and no status with moto: nobody knows.
    assert moto.sse("born") == {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": KEY}
    stream = one(cli("encryption", "status", "born", "--require", "--json", *config), UNWELL)
    assert (stream["state"], stream["encrypted"], stream["key"]) == ("unknown", False, KEY)
    assert "born: the service does not say whether" in cli("encryption", "status", "born", *config).stdout
    # Who asks for a change means it all the same.
    assert answer_of(cli("encryption", "enable", "born", "--wait", "--json", *config))["waited"] == "reached"
    assert moto.sse("born")["Status"] == "ENABLED"


def test_all_configured_streams_are_listed_with_what_is_declared_of_them(both, cli, configured):
    streams = {
        "orders": {"encryption": "require"},
        "fed": {"manage": True, "encryption_key": "alias/mine"},
        "other": {"encryption": "ignore", "destination": "kinesis", "kinesis_stream": "clicks"},
    }
    config = configured(streams, both.url)

    listed = cli("encryption", "status", *config)
    assert listed.returncode == 0, listed.stderr
    lines = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert list(lines)[:4] == ["STREAM", "fed", "orders", "other"]
    assert "kinesis: " + both.arn in lines["fed"] and "firehose" in lines["orders"]
    assert "fed: encrypted under alias/mine is declared (manage = true), and it is not encrypted" in listed.stdout
    assert 'orders: encryption = "require" is declared, and it is not encrypted' in listed.stdout

    for stream in ["fed", "orders"]:
        key = "alias/mine" if stream == "fed" else "aws-owned"
        assert cli("encryption", "enable", stream, "--key", key, *config).returncode == 0
    every = answer_of(cli("encryption", "status", "--require", "--json", *config))["streams"]
    assert [(stream["name"], stream["encrypted"], stream["deviations"]) for stream in every] == [
        ("fed", True, []),
        ("orders", True, []),
        ("other", True, []),
    ]


def test_whoever_would_undo_a_change_is_named(both, cli, configured):
    config = configured({"orders": {"manage": True, "encryption_key": KEY}}, both.url)
    changed = cli("encryption", "enable", "orders", "--key", OTHER_KEY, *config)
    assert changed.returncode == 0
    assert f"encrypted under {KEY} is declared (manage = true)" in changed.stdout
    assert both.sse("orders")["KeyARN"] == OTHER_KEY


def test_what_can_not_be_done_says_why_and_ends_with_its_code(both, cli, configured):
    config = configured(["orders"], both.url)

    def refused(*arguments, code):
        run = cli("encryption", *arguments, *config)
        assert run.returncode == code, run.stdout + run.stderr
        return run.stderr

    assert "a delivery stream needs the ARN of a key" in refused(
        "enable", "orders", "--key", "alias/mine", code=UNAVAILABLE
    )
    assert both.sse("orders") is None
    assert "ResourceNotFoundException" in refused("enable", "nobody", code=UNAVAILABLE)
    assert "1 of 1 streams could not be asked about" in refused("status", "nobody", code=UNAVAILABLE)
    assert "a key is" in refused("enable", "orders", "--key", "mine", code=USAGE)
    assert "which stream" in refused("enable", code=USAGE)
    assert "--wait" in refused("disable", "orders", "--timeout-ms", "5", code=USAGE)
    assert "cannot be used with" in refused("disable", "orders", "--kinesis-stream", "clicks", code=USAGE)
    assert refused("disable", "no stream", code=USAGE)

    unknown = one(cli("encryption", "status", "nobody", "--json", *config), UNAVAILABLE)
    assert unknown["error"]["code"] == "ResourceNotFoundException"
    assert "not encrypted" in refused("status", "orders", "--require", code=UNWELL)


def test_a_service_that_is_away_can_not_be_asked(cli, configured):
    config = configured(["orders"], f"http://127.0.0.1:{free_port()}")
    unknown = one(cli("encryption", "status", "--json", *config), UNAVAILABLE)
    assert unknown["error"]["code"] == "Connect" and "DescribeDeliveryStream" in unknown["error"]["message"]
    changed = answer_of(cli("encryption", "enable", "orders", "--json", *config), UNAVAILABLE)
    assert changed["error"]["code"] == "Connect" and changed["call"] is None


def test_no_configuration_is_needed_and_without_credentials_or_streams_it_says_so(both, cli):
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_FIREHOSE": "http://127.0.0.1:1"}
    way = {"STANDPIPE_UPSTREAM_ENDPOINT": both.url, "STANDPIPE_UPSTREAM_REGION": "us-east-1", **away}
    stream = one(cli("encryption", "status", "orders", "--json", **way))
    assert (stream["state"], stream["declared"]["named"]) == ("disabled", False)
    assert "it is not named" in cli("encryption", "status", "orders", **way).stdout
    nothing = cli("encryption", "status", **way)
    assert nothing.returncode == USAGE and "no stream is configured" in nothing.stderr
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    unknown = one(cli("encryption", "status", "orders", "--json", **way, **nobody), UNAVAILABLE)
    assert unknown["error"]["code"] == "NoCredentials"


# --- A process, with moto ----------------------------------------------------------------------


def test_an_owner_switches_both_kinds_on_and_a_restart_does_nothing_more(both, start, tmp_path):
    streams = {
        "orders": {"encryption": "report", "manage": True, "encryption_key": KEY},
        "fed": {"encryption": "report", "manage": True, "encryption_key": "alias/mine"},
    }
    tables = key_file(tmp_path) + QUICK
    config = configuration(streams, upstream=both.url, kinesis=both.url, spool=tmp_path / "spool", tables=tables)

    def wait_for_both(pipe):
        wait_until("orders is known", lambda: shown(pipe, "orders")["state"] == "enabled")
        wait_until("fed is known", lambda: shown(pipe, "fed")["state"] == "enabled")
        wait_until("nothing is under way", lambda: {shown(pipe, s)["doing"] for s in streams} == {"idle"})

    pipe = start(config=config)
    wait_for_both(pipe)
    assert both.sse("orders") == {"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": KEY, "Status": "ENABLED"}
    summary = both.data_stream("clicks")
    assert (summary["EncryptionType"], summary["KeyId"]) == ("KMS", "alias/mine")
    assert both.sse("fed") is None
    for operation in ["StartDeliveryStreamEncryption", "StartStreamEncryption"]:
        assert calls_of(pipe, operation) == 1, operation
    assert [shown(pipe, stream)["calls_left"] for stream in streams] == [24, 24]
    changes = [entry for entry in logged(pipe) if entry["message"] == "the stream's encryption is being changed"]
    assert sorted((entry["stream"], entry["call"], entry["becomes"]) for entry in changes) == [
        ("fed", "StartStreamEncryption", "encrypted under alias/mine"),
        ("orders", "StartDeliveryStreamEncryption", f"encrypted under {KEY}"),
    ]
    pipe.stop()

    pipe = start(config=config)
    wait_for_both(pipe)
    for operation in ["StartDeliveryStreamEncryption", "StartStreamEncryption"]:
        assert calls_of(pipe, operation) == 0, operation
    assert [shown(pipe, stream)["calls_left"] for stream in streams] == [24, 24], "what was made is remembered"
    pipe.stop()


def test_a_stream_that_nobody_owns_is_only_looked_at(both, start):
    pipe = start(config=configuration(["orders", "fed"], upstream=both.url, kinesis=both.url, tables=QUICK))
    wait_until("both are known", lambda: {shown(pipe, s)["state"] for s in ["orders", "fed"]} == {"disabled"})
    assert shown(pipe, "orders")["declared"]["manage"] is None
    pipe.stop()
    assert both.sse("orders") is None
    assert both.data_stream("clicks")["EncryptionType"] == "NONE"


def test_the_source_is_found_and_told_to_whoever_asks(both, start, sdk):
    pipe = start(config=configuration(["orders", "fed"], upstream=both.url, kinesis=both.url, tables=QUICK))
    wait_until("the source is known", lambda: shown(pipe, "fed")["source"])
    assert shown(pipe, "fed")["source"] == "KinesisStreamAsSource"
    assert shown(pipe, "fed")["route"] == {"to": "kinesis", "data_stream": both.arn, "reason": None, "assumed": False}
    wait_until("the other is known", lambda: shown(pipe, "orders")["source"])
    assert shown(pipe, "orders")["route"]["to"] == "firehose"

    described = sdk(pipe).describe_delivery_stream(DeliveryStreamName="fed")["DeliveryStreamDescription"]
    assert described["DeliveryStreamType"] == "KinesisStreamAsSource"
    assert described["Source"]["KinesisStreamSourceDescription"]["KinesisStreamARN"] == both.arn
    assert "DeliveryStreamEncryptionConfiguration" not in described


def test_a_change_by_hand_is_in_force_until_a_restart(both, start, token_file):
    streams = {"orders": {"manage": True}, "fed": {}}
    config = configuration(
        streams,
        upstream=both.url,
        kinesis=both.url,
        admin={"token_file": str(token_file), "manage_encryption": True},
        tables=QUICK,
    )
    pipe = start(config=config)
    wait_until("it is on", lambda: shown(pipe, "orders")["state"] == "enabled")
    wait_until("nothing is under way", lambda: shown(pipe, "orders")["doing"] == "idle")

    answer = put(pipe, "orders", {"state": "disabled"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["call"] == "StopDeliveryStreamEncryption"
    assert "in force until this process restarts" in answer.json()["detail"]
    assert "the declaration wins then (manage = true: encrypted under aws-owned)" in answer.json()["detail"]
    assert both.sse("orders")["Status"] == "DISABLED"
    wait_until("it is seen", lambda: shown(pipe, "orders")["state"] == "disabled")
    now = shown(pipe, "orders")
    assert now["in_force"] == {"state": "disabled", "key": None} == now["by_hand"]
    assert now["declared"]["manage"] == {"state": "enabled", "key": "aws-owned"}

    answer = put(pipe, "fed", {"state": "enabled", "key": "alias/mine"})
    assert (answer.status_code, answer.json()["call"]) == (202, "StartStreamEncryption")
    assert "nothing is declared that would undo it" in answer.json()["detail"]
    assert both.data_stream("clicks")["KeyId"] == "alias/mine"
    wait_until("nothing is under way", lambda: shown(pipe, "fed")["doing"] == "idle")
    answer = put(pipe, "fed", {"state": "enabled", "key": "alias/mine"})
    assert (answer.status_code, answer.json()["call"]) == (200, None)
    assert both.sse("orders")["Status"] == "DISABLED", "what was asked for by hand is in force"
    pipe.stop()

    pipe = start(config=config)
    wait_until("the declaration has won", lambda: both.sse("orders")["Status"] == "ENABLED")
    wait_until("it is seen", lambda: shown(pipe, "orders")["state"] == "enabled")
    assert shown(pipe, "orders")["by_hand"] is None
    pipe.stop()
    assert both.data_stream("clicks")["KeyId"] == "alias/mine", "where nothing is declared it stays"


def test_a_change_by_hand_that_is_refused_says_why_and_changes_nothing(both, start, token_file):
    admin = {"token_file": str(token_file), "manage_encryption": True}
    config = configuration(["orders"], upstream=both.url, kinesis=both.url, admin=admin, tables=QUICK)
    pipe = start(config=config)
    on = {"state": "enabled"}
    for body, token, stream, status, code in [
        (on, None, "orders", 401, "token_missing"),
        (on, "wrong", "orders", 401, "token_wrong"),
        (on, None, "nobody", 401, "token_missing"),
        (on, TOKEN, "nobody", 404, "unknown_stream"),
        ({"state": "on"}, TOKEN, "orders", 400, "bad_encryption"),
        ("{", TOKEN, "orders", 400, "bad_encryption"),
        ({"state": "enabled", "key": "mine"}, TOKEN, "orders", 400, "bad_encryption"),
        ({"state": "enabled", "key": "alias/mine"}, TOKEN, "orders", 422, "impossible"),
    ]:
        answer = put(pipe, stream, body, token)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.json()["detail"] or answer.json()["title"]
    assert pipe.http.get(f"{pipe.admin}/v1/streams/nobody/encryption", timeout=10).status_code == 404
    metrics = pipe.http.get(f"{pipe.admin}/metrics", timeout=10).text
    assert 'standpipe_admin_tokens_refused_total{reason="wrong"} 1' in metrics
    assert 'standpipe_admin_tokens_refused_total{reason="missing"} 2' in metrics
    assert any("admin request without its token" in line for line in pipe.lines)
    assert both.sse("orders") is None
    pipe.stop()


def test_nothing_is_changed_where_the_configuration_does_not_let_it(both, start, token_file):
    config = configuration(["orders"], upstream=both.url, admin={"token_file": str(token_file)}, tables=QUICK)
    pipe = start(config=config)
    answer = put(pipe, "orders", {"state": "enabled"})
    assert (answer.status_code, answer.json()["code"]) == (405, "encryption_not_managed")
    assert answer.headers["allow"] == "GET, HEAD" and "admin.manage_encryption" in answer.text
    wait_until("it is shown", lambda: shown(pipe, "orders")["state"] == "disabled")
    assert both.sse("orders") is None


def test_a_service_whose_answers_deny_what_it_says_gets_no_more_than_single_records(both, start, tmp_path):
    # moto says ENABLED, and `Encrypted: false` to every record.
    control = "[control]\npoll_min_ms = 50\nsettle_ms = 0\n"
    spool = {"spool": tmp_path / "spool", "ack": "durable", "tables": key_file(tmp_path) + control}
    streams = {"orders": {"encryption": "require", "manage": True}}
    pipe = start(config=configuration(streams, upstream=both.url, **spool))
    ledger = Ledger("denied")
    for record in ledger.records(200):
        assert pipe.post("orders", record).status_code == 200
    wait_until("one has left", lambda: shown(pipe, "orders")["records_unencrypted"])
    wait_until("the gate is closed", lambda: shown(pipe, "orders")["gate"] == "closed")
    now = shown(pipe, "orders")
    assert now["records_confirmed"] == 0 and now["gate_reason"]
    assert "note: gate of orders: closed: " in pipe.http.get(f"{pipe.admin}/readyz?verbose", timeout=10).text
    assert pipe.ready(), "that makes it no less ready to take records"
    assert len(ledger.missing(both.delivered("orders"))) > 150
    pipe.stop()

    pipe = start(config=configuration({"orders": {"encryption": "report"}}, upstream=both.url, **spool))
    wait_for_all(ledger, lambda: both.delivered("orders"))
    pipe.stop()
    ledger.check_exactly_once(both.delivered("orders"))


def test_where_encryption_is_only_reported_answers_that_deny_it_are_told(both, start):
    pipe = start(config=configuration({"orders": {"manage": True}}, upstream=both.url, tables=QUICK))

    def is_told():
        pipe.post("orders", b"x")
        return shown(pipe, "orders")["state"] == "contradicted"

    # They say the same before and after it is switched on: false.
    wait_until("it is told", is_told)
    assert both.sse("orders")["Status"] == "ENABLED"
    now = shown(pipe, "orders")
    assert (now["gate"], now["key"]) == ("open", "aws-owned")
    assert "its answers say that records are not" in now["detail"]
    assert calls_of(pipe, "StartDeliveryStreamEncryption") == 1, "what the service says is so is not asked for again"
    pipe.stop()


# --- Records into data streams -----------------------------------------------------------------


def records_of(kinesis, stream):
    """All records of a data stream, shard by shard, as any consumer reads them."""
    found = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        at = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        iterator = at["ShardIterator"]
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator)
            found += answer["Records"]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
    return found


def data_of(kinesis, stream):
    return b"".join(record["Data"] for record in records_of(kinesis, stream))


def test_records_of_a_stream_behind_a_data_stream_are_read_from_that(both, start, sdk):
    pipe = start(config=configuration(["orders", "fed"], upstream=both.url, kinesis=both.url, tables=ONE_AT_A_TIME))
    ledgers = {"orders": Ledger("direct"), "fed": Ledger("through")}
    client = sdk(pipe)
    for _ in range(5):
        for stream, ledger in ledgers.items():
            lines = b"".join(ledger.records(130))
            assert pipe.post(stream, lines, content_type="application/x-ndjson").json()["accepted"] == 130
            batch = [{"Data": data} for data in ledger.records(170)]
            assert client.put_record_batch(DeliveryStreamName=stream, Records=batch)["FailedPutCount"] == 0
    client.close()
    pipe.stop()

    kinesis = both.client("kinesis")
    ledgers["fed"].check_exactly_once(data_of(kinesis, "clicks"))
    ledgers["orders"].check_exactly_once(both.delivered("orders"))
    assert both.objects("fed") == [], "nothing was put into the delivery stream"
    keys = {record["PartitionKey"] for record in records_of(kinesis, "clicks")}
    assert len(keys) > 1_000, "each has a partition key of its own"


def test_partition_keys_come_from_a_header_or_from_the_record(both, start):
    pointed = both.create_data_stream("pointed", shards=2)
    both.create_stream("users", reads_from=pointed)
    streams = {"fed": {"partition_key": "header"}, "users": {"partition_key": "/user/id"}}
    pipe = start(config=configuration(streams, upstream=both.url, kinesis=both.url, tables=ONE_AT_A_TIME))
    for key in ["alpha", "beta"]:
        lines = "".join(f'{{"key":"{key}","n":{n}}}\n' for n in range(10))
        headers = {"content_type": "application/x-ndjson", "standpipe_partition_key": key}
        assert pipe.post("fed", lines, **headers).status_code == 202
    assert pipe.post("fed", "{}").status_code == 202
    for n in range(20):
        assert pipe.post("users", json.dumps({"user": {"id": f"user-{n % 4}"}})).status_code == 202
    assert pipe.post("users", json.dumps({"user": {}})).status_code == 202
    pipe.stop()

    kinesis = both.client("kinesis")
    read = records_of(kinesis, "clicks")
    assert len(read) == 21
    for record in read:
        key = json.loads(record["Data"]).get("key")
        assert key == record["PartitionKey"] or key is None and record["PartitionKey"] not in ["alpha", "beta"]
    read = records_of(kinesis, "pointed")
    assert len(read) == 21
    for record in read:
        user = json.loads(record["Data"])["user"].get("id")
        assert user == record["PartitionKey"] or user is None and record["PartitionKey"]


# --- Applications, with the emulator -----------------------------------------------------------


@pytest.fixture
def quick(emulator):
    """The emulator with `orders` and with `fed` behind the data stream `clicks`; changes take no time to speak of."""
    firehose, kinesis = emulator.client("firehose"), emulator.client("kinesis")
    kinesis.create_stream(StreamName="clicks", ShardCount=2)
    arn = kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"]["StreamARN"]
    role = "arn:aws:iam::000000000000:role/firehose"
    bucket = {"ExtendedS3DestinationConfiguration": {"RoleARN": role, "BucketARN": "arn:aws:s3:::delivered"}}
    firehose.create_delivery_stream(DeliveryStreamName="orders", **bucket)
    firehose.create_delivery_stream(
        DeliveryStreamName="fed",
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={"KinesisStreamARN": arn, "RoleARN": role},
        **bucket,
    )
    emulator.arn = arn
    for stream in ["streams/orders", "kinesis/streams/clicks"]:
        emulator.command(f"{stream}/encryption", {"transition_ms": 100, "settle_ms": 0})
    return emulator


def aws(pipe, *arguments):
    """The AWS CLI as an application would have it."""
    return subprocess.run(
        [tool("aws"), "firehose", *arguments, "--output", "json"],
        env=application_environment(pipe.home, pipe.url),
        cwd=pipe.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def before(emulator, start, allow):
    tables = QUICK
    config = configuration(["orders", "fed"], upstream=emulator.url, kinesis=emulator.url, tables=tables)
    if allow:
        config = config.replace("[ingest]", "[ingest]\nallow_encryption_calls = true")
    return start(config=config)


def test_applications_may_not_change_encryption_unless_they_are_let(quick, start, sdk):
    pipe = before(quick, start, allow=False)
    client = sdk(pipe)
    for call in [client.start_delivery_stream_encryption, client.stop_delivery_stream_encryption]:
        assert code_of(call, DeliveryStreamName="orders") == "AccessDeniedException"
    for call in ["start-delivery-stream-encryption", "stop-delivery-stream-encryption"]:
        run = aws(pipe, call, "--delivery-stream-name", "orders")
        assert run.returncode != 0 and "(AccessDeniedException)" in run.stderr, run.stderr
        assert "ingest.allow_encryption_calls" in run.stderr, "it says what would let it"
    calls = quick.look("calls")["firehose"]
    assert not calls.keys() & {"StartDeliveryStreamEncryption", "StopDeliveryStreamEncryption"}
    assert "DeliveryStreamEncryptionConfiguration" not in describe(quick.client("firehose"), "orders")


def describe(client, stream):
    return client.describe_delivery_stream(DeliveryStreamName=stream)["DeliveryStreamDescription"]


def test_applications_that_are_let_change_encryption_and_see_how_it_stands(quick, start, sdk):
    pipe = before(quick, start, allow=True)
    client = sdk(pipe)

    def stands(status, key=None):
        found = describe(client, "orders").get("DeliveryStreamEncryptionConfiguration", {})
        return (found.get("Status"), found.get("KeyARN")) == (status, key)

    client.start_delivery_stream_encryption(DeliveryStreamName="orders")
    wait_until("it is on", lambda: stands("ENABLED"))
    arn = quick.client("kms").list_keys()["Keys"][0]["KeyArn"]
    client.start_delivery_stream_encryption(
        DeliveryStreamName="orders",
        DeliveryStreamEncryptionConfigurationInput={"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": arn},
    )
    wait_until("its key is another", lambda: stands("ENABLED", arn))
    assert describe(quick.client("firehose"), "orders")["DeliveryStreamEncryptionConfiguration"]["KeyARN"] == arn

    run = aws(pipe, "stop-delivery-stream-encryption", "--delivery-stream-name", "orders")
    assert run.returncode == 0, run.stderr
    wait_until("it is off", lambda: stands("DISABLED"))
    run = aws(pipe, "describe-delivery-stream", "--delivery-stream-name", "orders")
    told = json.loads(run.stdout)["DeliveryStreamDescription"]["DeliveryStreamEncryptionConfiguration"]
    assert told["Status"] == "DISABLED"

    assert code_of(client.start_delivery_stream_encryption, DeliveryStreamName="nobody") == "ResourceNotFoundException"
    # A key that is not there is found out by the service, later.
    missing = OTHER_KEY.replace("123456789012", "000000000000")
    client.start_delivery_stream_encryption(
        DeliveryStreamName="orders",
        DeliveryStreamEncryptionConfigurationInput={"KeyType": "CUSTOMER_MANAGED_CMK", "KeyARN": missing},
    )
    failed = wait_until(
        "the failure is told",
        lambda: describe(client, "orders")["DeliveryStreamEncryptionConfiguration"].get("FailureDescription"),
    )
    assert failed["Type"] == "KMS_KEY_NOT_FOUND"
    pipe.stop()


def test_an_embedded_run_can_be_tried_with_encryption_and_with_a_data_stream(start, sdk, tmp_path):
    allowed = {"STANDPIPE_INGEST_ALLOW_ENCRYPTION_CALLS": "true", "STANDPIPE_STREAMS": "demo,fed"}
    pipe = start("--embedded", "--kinesis-stream", "data=fed", env=allowed)
    client = sdk(pipe)
    client.start_delivery_stream_encryption(DeliveryStreamName="demo")
    wait_until("the source is known", lambda: describe(client, "fed")["DeliveryStreamType"] == "KinesisStreamAsSource")
    # Its data stream is what is encrypted, and not it.
    client.start_delivery_stream_encryption(DeliveryStreamName="fed")
    ledgers = {"demo": Ledger("direct"), "fed": Ledger("through")}

    def is_confirmed():
        for stream, ledger in ledgers.items():
            client.put_record(DeliveryStreamName=stream, Record={"Data": ledger.record()})
        return {shown(pipe, stream)["detail"] for stream in ledgers} == {CONFIRMED}

    # Records go on all the time, and nobody requires that they be encrypted: that they are is seen all the same.
    wait_until("answers confirm it", is_confirmed)
    assert describe(client, "demo")["DeliveryStreamEncryptionConfiguration"]["Status"] == "ENABLED"
    assert "DeliveryStreamEncryptionConfiguration" not in describe(client, "fed")
    for stream, ledger in ledgers.items():
        wait_for_all(ledger, lambda: pipe.delivered(stream))
    client.close()
    pipe.stop()


def test_the_emulator_speaks_kinesis_to_an_sdk(emulator):
    kinesis = emulator.client("kinesis")
    kinesis.create_stream(StreamName="events", ShardCount=2)
    emulator.command("kinesis/streams/events/encryption", {"transition_ms": 100, "settle_ms": 0})
    kinesis.get_waiter("stream_exists").wait(StreamName="events", WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    def summary():
        return kinesis.describe_stream_summary(StreamName="events")["StreamDescriptionSummary"]

    assert (summary()["EncryptionType"], summary()["OpenShardCount"]) == ("NONE", 2)
    record = kinesis.put_record(StreamName="events", PartitionKey="a", Data=b"one")
    assert record["EncryptionType"] == "NONE"
    batch = [{"PartitionKey": f"key-{n}", "Data": b"%d" % n} for n in range(20)]
    kinesis.start_stream_encryption(StreamName="events", EncryptionType="KMS", KeyId="alias/aws/kinesis")
    wait_until("it is on", lambda: (summary()["StreamStatus"], summary()["EncryptionType"]) == ("ACTIVE", "KMS"))
    answer = kinesis.put_records(StreamName="events", Records=batch)
    assert (answer["FailedRecordCount"], answer["EncryptionType"]) == (0, "KMS")
    kinesis.stop_stream_encryption(StreamName="events", EncryptionType="KMS", KeyId="alias/aws/kinesis")
    wait_until("it is off", lambda: (summary()["StreamStatus"], summary()["EncryptionType"]) == ("ACTIVE", "NONE"))

    read = records_of(kinesis, "events")
    assert sorted(record["Data"] for record in read) == sorted([b"one", *[entry["Data"] for entry in batch]])
    encrypted = {record["Data"]: record["EncryptionType"] for record in read}
    assert (encrypted[b"one"], encrypted[b"7"]) == ("NONE", "KMS")
    assert code_of(kinesis.put_record, StreamName="nobody", PartitionKey="a", Data=b"x") == "ResourceNotFoundException"


def test_every_record_of_a_stream_that_requires_it_is_encrypted_in_the_data_stream(quick, start, tmp_path):
    tables = key_file(tmp_path) + QUICK
    settings = {"kinesis": quick.url, "spool": tmp_path / "spool", "ack": "durable", "tables": tables}
    streams = {"fed": {"encryption": "require", "manage": True}}
    pipe = start(config=configuration(streams, upstream=quick.url, **settings))
    ledger = Ledger("required")
    for record in ledger.records(100):
        assert pipe.post("fed", record).status_code == 200
    kinesis = quick.client("kinesis")
    wait_for_all(ledger, lambda: data_of(kinesis, "clicks"))
    assert {record["EncryptionType"] for record in records_of(kinesis, "clicks")} == {"KMS"}
    wait_until("it is told", lambda: shown(pipe, "fed")["records_confirmed"] == 100)
    now = shown(pipe, "fed")
    assert (now["state"], now["gate"], now["records_unencrypted"]) == ("enabled", "open", 0)
    pipe.stop()
    ledger.check_exactly_once(data_of(kinesis, "clicks"))


def test_a_delivery_stream_behind_a_data_stream_refuses_puts_and_encryption_of_its_own(quick):
    firehose = quick.client("firehose")
    assert code_of(firehose.put_record, DeliveryStreamName="fed", Record={"Data": b"x"}) == "InvalidArgumentException"
    refused = code_of(firehose.start_delivery_stream_encryption, DeliveryStreamName="fed")
    assert refused == "InvalidArgumentException"


def test_a_change_that_takes_its_time_is_waited_for_and_one_that_fails_says_why(quick, cli, configured):
    config = configured(["orders", "fed"], quick.url)
    for stream, command in [("orders", "streams/orders"), ("fed", "kinesis/streams/clicks")]:
        quick.command(f"{command}/encryption", {"transition_ms": 2_000})
        changed = answer_of(cli("encryption", "enable", stream, "--json", *config))
        assert changed["call"] and changed["waited"] is None
        under_way = one(cli("encryption", "status", stream, "--require", "--json", *config), UNWELL)
        # A data stream does not say what it is being changed to.
        wanted = ("enabling", "ACTIVE") if stream == "orders" else ("disabled", "UPDATING")
        assert (under_way["state"], under_way["status"]) == wanted
        assert ("UPDATING: what" in cli("encryption", "status", stream, *config).stdout) == (stream == "fed")
        busy = answer_of(cli("encryption", "disable", stream, "--json", *config), UNAVAILABLE)
        assert busy["error"]["code"] == "busy"
        changed = answer_of(cli("encryption", "enable", stream, "--wait", "--json", *config))
        assert (changed["call"], changed["waited"]) == (None, "reached")

    quick.command("streams/orders/encryption", {"transition_ms": 100, "set": "disabled"})
    quick.command("faults", {"sse_failure": "KMS_ACCESS_DENIED"})
    failed = cli("encryption", "enable", "orders", "--wait", *config)
    assert failed.returncode == UNAVAILABLE and "KMS_ACCESS_DENIED" in failed.stderr, failed.stderr
    listed = cli("encryption", "status", *config)
    assert listed.returncode == 0 and "orders: the last change failed: KMS_ACCESS_DENIED" in listed.stdout


def test_the_calls_of_a_day_that_are_used_up_are_told(quick, cli, configured):
    config = configured(["orders", "fed"], quick.url)
    quick.command("streams/orders/encryption", {"calls": 25})
    quick.command("kinesis/streams/clicks/encryption", {"starts": 25})
    for stream in ["orders", "fed"]:
        refused = cli("encryption", "enable", stream, *config)
        assert refused.returncode == UNAVAILABLE and "24 hours are used up" in refused.stderr, refused.stderr
    assert quick.look("calls")["firehose"]["StartDeliveryStreamEncryption"] == 1, "it is not asked for again and again"


# --- What README.md says that people run -------------------------------------------------------


def section(title):
    """A section of README.md, up to the next title."""
    text = (REPOSITORY / "README.md").read_text()
    return re.split(r"^#+ ", text.split(title + "\n", 1)[1], maxsplit=1, flags=re.M)[0]


def fitted(command, tmp_path):
    """A command of README.md for a file in `tmp_path`, without the name of the program and its comment."""
    words = shlex.split(command, comments=True)
    assert words[0] == "standpipe", command
    return [str(tmp_path / "standpipe.toml") if word == "F" else word for word in words[1:]]


def test_the_commands_of_the_auditor_answer(both, cli, configured, start, tmp_path):
    streams = {"orders": {"encryption": "require", "manage": True}, "fed": {"encryption": "report"}}
    configured(streams, both.url, tables=QUICK)
    audit = section("### For an auditor")
    commands = {command: fitted(command, tmp_path) for command in re.findall("`(standpipe [^`]* F)`", audit)}
    asked = "standpipe encryption status --require --config F"
    assert set(commands) == {"standpipe check --config F", "standpipe config show --config F", asked}

    before = cli(*commands[asked])
    assert before.returncode == UNWELL and "2 of 2 streams are not encrypted" in before.stderr
    said = cli(*commands["standpipe check --config F"])
    assert said.returncode == 0 and "nothing leaves unless it is encrypted, and kept encrypted under" in said.stdout
    said = cli(*commands["standpipe config show --config F"])
    assert said.returncode == 0 and 'encryption = "require" #' in said.stdout and "manage = true #" in said.stdout
    for stream in streams:
        assert cli("encryption", "enable", stream, "--wait", *commands[asked][-2:]).returncode == 0
    assert cli(*commands[asked]).returncode == 0
    assert answer_of(cli(*commands[asked], "--json"))["streams"][0]["encrypted"]

    pipe = start(config=(tmp_path / "standpipe.toml").read_text())
    wait_until("it is known", lambda: shown(pipe, "orders")["state"] == "enabled")
    pipe.post("fed", b"x")
    wait_until("an answer is counted", lambda: shown(pipe, "fed")["records_unverified"] == 1)
    assert re.findall("`(records_[a-z]+)`", audit) == [name for name in shown(pipe, "fed") if "records_" in name]
    metrics = pipe.http.get(f"{pipe.admin}/metrics", timeout=10).text
    assert 'standpipe_forward_records_by_evidence_total{stream="fed",evidence="unverified"} 1' in metrics

    # What is asked of Prometheus is a question, about metrics that there are.
    asked = [question.replace("\\|", "|") for question in re.findall("`([a-z_(]*standpipe_[^`]+)`", audit)]
    assert len(asked) == 3
    rules = [{"record": f"audit:{n}", "expr": question} for n, question in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "audit", "rules": rules}]}))
    checked = subprocess.run(
        [tool("promtool"), "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for question in asked:
        assert f"# TYPE {re.search('standpipe_[a-z_]+', question).group()} " in metrics


def test_the_commands_of_the_readme_are_understood(both, cli, configured, tmp_path):
    config = configured(["orders"], both.url)
    commands = re.findall("^standpipe .*", section("### Looking at it and changing it"), flags=re.M)
    assert len(commands) == 4
    codes = [cli(*fitted(command, tmp_path), *config).returncode for command in commands]
    assert codes == [0, UNWELL, 0, 0]
    assert both.sse("orders")["Status"] == "DISABLED"


def test_the_emulator_is_asked_as_the_readme_says(binary, tmp_path, cli):
    emulator = Emulator(binary, tmp_path, "--stream", "direct", "--kinesis-stream", "data=demo")
    try:
        part = section("## The emulator").replace("http://127.0.0.1:4575", emulator.url)
        exported = dict(word.split("=", 1) for line in re.findall("^export (.*)", part, re.M) for word in line.split())
        commands = re.findall("^standpipe encryption .*", part, flags=re.M)
        assert len(commands) == 2
        for command in commands:
            run = cli(*fitted(command, tmp_path), **exported)
            assert run.returncode == 0, run.stdout + run.stderr
        assert "kinesis: arn:aws:kinesis:us-east-1:000000000000:stream/data" in run.stdout
    finally:
        emulator.kill()
