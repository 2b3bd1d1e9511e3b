"""curl against Standpipe: what a person types, and the native interface at its edges."""

import gzip
import json
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest
import requests
import zstandard
from harness import REPOSITORY, Ledger, configuration, emulator_of, environment, tool, wait_for_all, wait_until

NDJSON = "application/x-ndjson"
RECORD_BYTES_MAX = 1_024_000


def curl(*arguments, body=None):
    """Runs curl; returns the status, the content type, the HTTP version, and the body as JSON if it is any."""
    form = r"\n%{http_code} %{http_version} %{content_type}"
    if body is not None:
        arguments = (*arguments, "--data-binary", "@-")
    run = subprocess.run(
        [tool("curl"), "-q", "-sS", "--max-time", "30", "--noproxy", "*", "-w", form, *arguments],
        input=body,
        capture_output=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr.decode()
    answer, _, told = run.stdout.decode().rpartition("\n")
    status, version, kind = (told + " ").split(" ", 2)
    try:
        answer = json.loads(answer)
    except ValueError:
        pass
    return int(status), version, kind.strip(), answer


def test_the_line_in_the_readme_works_as_it_is_pasted(embedded):
    readme = (REPOSITORY / "README.md").read_text()
    # The whole command, with the lines that a backslash at the end of a line joins to it.
    lines = re.findall(r"^\s*(curl(?:[^\n]|(?<=\\)\n)*/v1/streams/demo/records(?:[^\n]|(?<=\\)\n)*)$", readme, re.M)
    assert lines, "the README shows no curl line for the stream `demo`"
    assert "127.0.0.1:4573" in lines[0] or "localhost:4573" in lines[0]
    line = re.sub(r"(127\.0\.0\.1|localhost):4573", embedded.url.removeprefix("http://"), lines[0])

    run = subprocess.run(["sh", "-c", line], env=environment(embedded.home), capture_output=True, text=True, timeout=30)

    assert run.returncode == 0, run.stderr
    assert '"accepted":' in run.stdout.replace(" ", ""), run.stdout
    embedded.stop()
    assert embedded.delivered("demo"), "the line was accepted, and nothing was delivered"


def test_the_line_that_standpipe_itself_shows_at_its_start_works(embedded):
    shown = [line.strip() for line in embedded.lines if line.strip().startswith("curl ")]
    assert shown, "`serve --embedded` says no curl line to try next:\n" + embedded.output()

    run = subprocess.run(shlex.split(shown[0]), capture_output=True, text=True, timeout=30)

    assert run.returncode == 0, run.stderr
    assert '"accepted":' in run.stdout.replace(" ", ""), run.stdout


def test_a_body_of_no_known_kind_is_one_record_byte_for_byte_and_a_newline(embedded):
    body = b'{"two":"lines\n"}\n{"in":"one record"}'

    status, _, kind, answer = curl(embedded.records_url("demo"), body=body)  # as `curl -d` sends it

    assert (status, kind) == (202, "application/json")
    assert answer["accepted"] == 1
    assert answer["ack"] == "memory"
    embedded.stop()
    assert embedded.delivered("demo") == body + b"\n"


def test_ndjson_is_a_record_for_each_line_that_is_not_empty(embedded):
    ledger = Ledger("ndjson")
    body = b"\n" + b"\n\n".join(ledger.records(100)) + ledger.record().rstrip(b"\n")

    status, _, _, answer = curl(embedded.records_url("demo"), "-H", f"Content-Type: {NDJSON}", body=body)

    assert (status, answer["accepted"]) == (202, 101)
    embedded.stop()
    delivered = embedded.delivered("demo")
    ledger.check_exactly_once(delivered)
    assert delivered.count(b"\n") == 101, "each record ends with one newline"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_body_is_taken(embedded, coding):
    ledger = Ledger(coding)
    plain = b"".join(ledger.records(1_000))
    body = gzip.compress(plain) if coding == "gzip" else zstandard.compress(plain)

    headers = ["-H", f"Content-Type: {NDJSON}", "-H", f"Content-Encoding: {coding}"]

    status, _, _, answer = curl(*headers, embedded.records_url("demo"), body=body)

    assert (status, answer["accepted"]) == (202, 1_000)
    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(shared_embedded, coding):
    plain = b"\n" * (1 << 28)
    body = gzip.compress(plain) if coding == "gzip" else zstandard.compress(plain)

    headers = ["-H", f"Content-Type: {NDJSON}", "-H", f"Content-Encoding: {coding}"]

    status, _, kind, problem = curl(*headers, shared_embedded.records_url("demo"), body=body)

    assert (status, kind) == (413, "application/problem+json")
    assert problem["code"]


def test_the_level_delivered_is_answered_with_the_ids_of_the_service(embedded):
    ledger = Ledger("acked")
    body = b"".join(ledger.records(3))

    status, _, _, answer = curl(
        embedded.records_url("demo"), "-H", f"Content-Type: {NDJSON}", "-H", "standpipe-ack: delivered", body=body
    )

    assert (status, answer["ack"], len(answer["record_ids"])) == (200, "delivered", 3)
    # The service has them; into an object it writes them in its own time.
    ledger.check_exactly_once(wait_for_all(ledger, lambda: embedded.delivered("demo")))


def test_what_nobody_asked_for_is_durable_and_lies_sealed_on_the_disk(start):
    pipe = start("--embedded", env={"STANDPIPE_DEFAULTS_ACK": ""})
    requests.put(f"{emulator_of(pipe)}/emulator/faults", json={"outage": "unavailable"}, timeout=10)

    status, _, _, answer = curl(pipe.records_url("demo"), body=b"marked-record")

    assert (status, answer["ack"]) == (200, "durable")
    pipe.kill()
    spool = pipe.home / "standpipe-data" / "spool"
    assert [path for path in spool.rglob("*.seg") if path.stat().st_size > 0]
    assert not [path for path in spool.rglob("*") if path.is_file() and b"marked" in path.read_bytes()]
    # The emulator has forgotten its outage, and remembers its keys.
    again = start("--embedded", env={"STANDPIPE_DEFAULTS_ACK": ""})
    wait_until("the record of the last life is delivered", lambda: b"marked-record" in again.delivered("demo"))
    again.stop()


def test_http_2_with_prior_knowledge_is_spoken_on_the_same_port(embedded):
    ledger = Ledger("h2")

    status, version, _, _ = curl("--http2-prior-knowledge", embedded.records_url("demo"), body=ledger.record())

    assert (status, version) == (202, "2")
    embedded.stop()
    ledger.check_exactly_once(embedded.delivered("demo"))


def test_a_unix_socket_takes_both_interfaces(start, moto):
    # A folder with a short name: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        path = Path(folder) / "standpipe.sock"
        pipe = start(config=configuration(["orders"], upstream=moto.url, socket_path=path))
        ledger = Ledger("unix")

        status, _, _, _ = curl(
            "--unix-socket", str(path), "http://localhost/v1/streams/orders/records", body=ledger.record()
        )
        assert status == 202
        status, _, _, answer = curl(
            "--unix-socket", str(path), "http://localhost/",
            "-H", "Content-Type: application/x-amz-json-1.1",
            "-H", "X-Amz-Target: Firehose_20150804.ListDeliveryStreams",
            body=b"{}",
        )  # fmt: skip
        assert (status, answer["DeliveryStreamNames"]) == (200, ["orders"])

        pipe.stop()
        assert not path.exists(), "a stop that is clean takes its socket with it"
    ledger.check_exactly_once(moto.delivered("orders"))


PROBLEMS = {
    "an unknown stream": ({404}, "nobody", [], b"x"),
    "a name that no stream can have": ({400, 404}, "no%20name", [], b"x"),
    "a method that is none": ({405}, "demo", ["-X", "GET"], None),
    "a coding that is unknown": ({415}, "demo", ["-H", "Content-Encoding: br"], b"x"),
    "a body that is not what its coding says": ({400}, "demo", ["-H", "Content-Encoding: gzip"], b"not gzip"),
    "an unknown level": ({400}, "demo", ["-H", "standpipe-ack: perhaps"], b"x"),
    "a record too large": ({413}, "demo", [], b"x" * (RECORD_BYTES_MAX + 1)),
    "a record too large with its newline": ({413}, "demo", [], b"x" * RECORD_BYTES_MAX),
}


@pytest.mark.parametrize("what", PROBLEMS)
def test_a_refusal_is_a_problem_with_a_stable_code(shared_embedded, what):
    expected, stream, arguments, body = PROBLEMS[what]

    status, _, kind, problem = curl(*arguments, shared_embedded.records_url(stream), body=body)

    assert status in expected, problem
    assert kind == "application/problem+json"
    assert problem["status"] == status
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", problem["code"]), problem
    assert problem["title"]


def test_a_line_too_large_is_named_by_its_index_and_none_of_the_others_is_taken(embedded):
    refused = Ledger("refused")
    body = refused.record() + refused.record(padding=RECORD_BYTES_MAX) + refused.record()

    status, _, _, problem = curl(embedded.records_url("demo"), "-H", f"Content-Type: {NDJSON}", body=body)

    assert status == 413
    assert problem.get("index") == 1 or "1" in problem["detail"], problem
    embedded.stop()
    assert embedded.delivered("demo") == b""


def test_the_largest_record_that_its_newline_leaves_room_for_is_taken(embedded):
    body = b"x" * (RECORD_BYTES_MAX - 1)

    status, _, _, _ = curl(embedded.records_url("demo"), body=body)

    assert status == 202
    embedded.stop()
    assert embedded.delivered("demo") == body + b"\n"
