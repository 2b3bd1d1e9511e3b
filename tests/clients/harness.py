"""The servers that the tests start, and how the tests look at them.

What belongs to Standpipe's outer contract and could move - the names of settings, the line that says
where it listens, the folder it delivers into - is written down here and nowhere else in the tests.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import boto3
import botocore.config
import pytest
import requests

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
DEPLOY = REPOSITORY / "deploy"
REGION = "us-east-1"

# Longer than the default grace time of a stop; a test that waits this long has found a fault.
STOP_SECONDS_MAX = 45
READY_SECONDS_MAX = 20
DELIVERY_SECONDS_MAX = 60


# --- The contract, as far as the tests depend on its spelling ------------------------------------


def configuration(
    streams,
    upstream=None,
    socket_path=None,
    memory_bytes_max=None,
    grace_ms=None,
    spool=None,
    ack="memory",
    kinesis=None,
    admin=None,
    tables="",
):
    """A configuration file for a Standpipe on free ports.

    `streams` are names, or names with what each has of its own; `admin` is what that table has besides, and
    `tables` whole tables as text.
    """
    lines = ["[ingest]", 'listen = "127.0.0.1:0"']
    if socket_path:
        lines.append(f'unix_socket = "{socket_path}"')
    lines += ["[admin]", 'listen = "127.0.0.1:0"', *settings_of(admin or {})]
    if memory_bytes_max:
        lines += ["[memory]", f"bytes_max = {memory_bytes_max}"]
    if grace_ms:
        lines += ["[stop]", f"grace_ms = {grace_ms}"]
    if upstream:
        lines += ["[upstream]", f'region = "{REGION}"', f'endpoint = "{upstream}"']
        if kinesis:
            lines.append(f'kinesis_endpoint = "{kinesis}"')
    if spool:
        lines += ["[spool]", f'dir = "{spool}"', "allow_tmpfs = true"]
    if tables:
        lines.append(tables)
    for stream in streams:
        own = streams[stream] if isinstance(streams, dict) else {}
        lines += ["[[streams]]", f'name = "{stream}"', *settings_of({"ack": ack, **own})]
    return "\n".join(lines) + "\n"


def settings_of(values):
    # Strings, numbers and truth values look the same in JSON and in TOML.
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


def addresses_in(line):
    """The addresses in a log line that says where Standpipe listens, or None for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    entry = {**entry, **entry.get("fields", {})}
    if entry.get("message") != "listening" or not {"data", "admin"} <= entry.keys():
        return None
    return {"data": entry["data"], "admin": entry["admin"]}


def emulator_of(pipe):
    """The address of the emulator in an embedded Standpipe, from what it shows at its start."""
    shown = re.search(r"(http://\S+)/emulator/faults", "\n".join(pipe.lines))
    assert shown, "it does not say where its emulator is:\n" + pipe.output()
    return shown.group(1)


def delivered_folder(home, stream):
    """Where an embedded Standpipe that was started in `home` delivers."""
    return Path(home) / "standpipe-data" / "delivered" / stream


# --- Waiting and finding ------------------------------------------------------------------------


def wait_until(what, condition, seconds=DELIVERY_SECONDS_MAX):
    """Calls `condition` until it returns something true, and returns that; fails with `what` at the end."""
    deadline = time.monotonic() + seconds
    while not (last := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain until {what}")
        time.sleep(0.05)
    return last


def wait_for_all(ledger, delivered):
    """Waits until every record of the ledger is in what `delivered` returns, and returns that."""
    deadline = time.monotonic() + DELIVERY_SECONDS_MAX
    while missing := ledger.missing(data := delivered()):
        if time.monotonic() > deadline:
            pytest.fail(
                f"{len(missing)} of {len(ledger.ids)} accepted records are not delivered after "
                f"{DELIVERY_SECONDS_MAX} s; the first are {missing[:3]}"
            )
        time.sleep(0.05)
    return data


def tool(name):
    """The path of a program that `tests/run` installs or asks for."""
    places = [REPOSITORY / ".venv/tools/bin", Path(sys.executable).parent]
    for place in places:
        if (place / name).is_file():
            return str(place / name)
    found = shutil.which(name)
    if not found:
        pytest.fail(f"{name} is missing: run the tests with tests/run, which installs it or says how")
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(home, **more):
    """An environment for child processes that inherits no AWS or Standpipe setting of its starter."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "STANDPIPE_"))}
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        kept.pop(proxy, None)
        kept.pop(proxy.upper(), None)
    return {
        **kept,
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


# --- Accounting for every record ----------------------------------------------------------------


class Ledger:
    """Makes records with ids that are found again wherever they end up, however they are framed."""

    ID = re.compile(rb"id=([a-z0-9-]+);")

    def __init__(self, prefix):
        self.prefix = prefix
        self.ids = []

    def record(self, padding=0):
        id = f"{self.prefix}-{len(self.ids):06}"
        self.ids.append(id)
        return f"id={id};{'x' * padding}\n".encode()

    def records(self, count, padding=0):
        return [self.record(padding) for _ in range(count)]

    def since(self, count):
        """The part that was written after the first `count` records."""
        part = Ledger(self.prefix)
        part.ids = self.ids[count:]
        return part

    def missing(self, data):
        """The ids that are not in `data`."""
        found = set(self.ID.findall(data))
        return [id for id in self.ids if id.encode() not in found]

    def check_exactly_once(self, data):
        counts = Counter(id.decode() for id in self.ID.findall(data) if id.decode().startswith(self.prefix + "-"))
        lost = [id for id in self.ids if counts[id] == 0]
        repeated = [f"{id} {n} times" for id, n in counts.items() if n > 1]
        foreign = sorted(counts.keys() - set(self.ids))
        faults = {"lost": lost, "delivered more than once": repeated, "never accepted": foreign}
        told = [f"{len(ids)} {fault} ({', '.join(ids[:3])}, ...)" for fault, ids in faults.items() if ids]
        assert not told, f"of {len(self.ids)} records: {'; '.join(told)}"


# --- Processes ----------------------------------------------------------------------------------


class Process:
    """A child process whose output is kept, and shown when something is wrong with it."""

    def __init__(self, name, command, home, env):
        self.name = name
        self.home = Path(home)
        self.lines = []
        self.child = subprocess.Popen(
            command,
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line.rstrip("\n"))

    def output(self):
        return "\n".join(self.lines[-60:])

    def alive(self):
        return self.child.poll() is None

    def fail(self, why):
        pytest.fail(f"{self.name} {why}; its last words were:\n{self.output()}")

    def wait_for(self, what, condition, seconds):
        def look():
            if not self.alive():
                self.reader.join(5)
                self.fail(f"ended with {self.child.returncode} before it was {what}")
            return condition()

        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                self.fail(f"was not {what} within {seconds} s")
            time.sleep(0.02)
        return found

    def end(self, sent=signal.SIGTERM, seconds=STOP_SECONDS_MAX):
        """Asks it to stop and returns its exit code; one that does not stop is killed, and the test fails."""
        if self.alive():
            self.child.send_signal(sent)
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.fail(f"did not stop within {seconds} s of {signal.Signals(sent).name}")
        self.reader.join(5)
        return code

    def kill(self):
        if self.alive():
            self.child.kill()
        self.child.wait()
        self.reader.join(5)


def run(binary, home, *arguments, **more):
    """Runs a command of Standpipe to its end, and returns how it ended and what it printed."""
    return subprocess.run(
        [str(binary), *map(str, arguments)],
        cwd=home,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STOP_SECONDS_MAX,
    )


class Standpipe(Process):
    """The real binary, listening on free ports of loopback."""

    def __init__(self, binary, home, *arguments, config=None, env=None):
        command = [str(binary), "serve", *arguments]
        # What these tests look at does not depend on the disk.
        settings = {
            "STANDPIPE_INGEST_LISTEN": "127.0.0.1:0",
            "STANDPIPE_ADMIN_LISTEN": "127.0.0.1:0",
            "STANDPIPE_DEFAULTS_ACK": "memory",
        }
        if config is not None:
            path = Path(home) / "standpipe.toml"
            path.write_text(config)
            command += ["--config", str(path)]
            settings = {}
        super().__init__("standpipe", command, home, environment(home, **{**settings, **(env or {})}))
        addresses = self.wait_for("listening", self._addresses, READY_SECONDS_MAX)
        self.url = f"http://{addresses['data']}"
        self.admin = f"http://{addresses['admin']}"
        self.http = requests.Session()
        self.http.trust_env = False
        self.wait_for("ready", self.ready, READY_SECONDS_MAX)

    def _addresses(self):
        return next(filter(None, map(addresses_in, list(self.lines))), None)

    def ready(self):
        try:
            return self.http.get(f"{self.admin}/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def records_url(self, stream):
        return f"{self.url}/v1/streams/{stream}/records"

    def post(self, stream, body, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(self.records_url(stream), data=body, headers=headers, timeout=30)

    def wire(self, operation, body):
        """A raw call of the Firehose protocol, for what no SDK can be made to send."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"Firehose_20150804.{operation}",
        }
        return self.http.post(self.url, data=body, headers=headers, timeout=30)

    def delivered(self, stream):
        """All bytes of the objects that the embedded emulator has closed; those of one second are in no order."""
        folder = delivered_folder(self.home, stream)
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
        return b"".join(p.read_bytes() for p in files)

    def end(self, sent=signal.SIGTERM, seconds=STOP_SECONDS_MAX):
        # Standpipe goes on accepting while the application holds a connection: this one lets go.
        if hasattr(self, "http"):
            self.http.close()
        return super().end(sent, seconds)

    def stop(self):
        """Stops it as Kubernetes would; all that it accepted must have been delivered by then."""
        code = self.end()
        if code != 0:
            self.fail(f"ended with {code} after SIGTERM, which means that it could not deliver everything")


class Emulator(Process):
    """`standpipe emulator` alone: Firehose, Kinesis and KMS on a free port of loopback."""

    def __init__(self, binary, home, *arguments):
        command = [str(binary), "emulator", "--listen", "127.0.0.1:0", *arguments]
        super().__init__("emulator", command, home, environment(home))
        self.url = self.wait_for("listening", self._url, READY_SECONDS_MAX)

    def _url(self):
        return next((line.split()[1] for line in list(self.lines) if line.startswith("emulator ")), None)

    def look(self, what):
        answer = requests.get(f"{self.url}/emulator/{what}", timeout=5)
        answer.raise_for_status()
        return answer.json()

    def command(self, what, value):
        """Commands something below its control endpoint."""
        answer = requests.put(f"{self.url}/emulator/{what}", json=value, timeout=5)
        assert answer.ok, answer.text
        return answer.json()

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )


class Moto(Process):
    """moto's Firehose, Kinesis, KMS and S3: state in memory, one object for each put call, faults by hand."""

    BUCKET = "delivered"
    ROLE = "arn:aws:iam::123456789012:role/firehose"

    def __init__(self, home, port=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [tool("moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]
        super().__init__("moto", command, home, environment(home))
        self.wait_for("answering", self._answers, READY_SECONDS_MAX)
        self.clients = {}

    def _answers(self):
        try:
            return requests.get(f"{self.url}/moto-api/data.json", timeout=5).ok
        except requests.ConnectionError:
            return False

    def client(self, service):
        if service not in self.clients:
            self.clients[service] = boto3.client(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=botocore.config.Config(s3={"addressing_style": "path"}),
            )
        return self.clients[service]

    def create_bucket(self):
        self.client("s3").create_bucket(Bucket=self.BUCKET)

    def create_stream(self, name, reads_from=None, bare=False, **more):
        """A delivery stream, by Direct PUT or behind the data stream of the ARN `reads_from`."""
        destination = {
            "RoleARN": self.ROLE,
            "BucketARN": f"arn:aws:s3:::{self.BUCKET}",
            "Prefix": f"{name}/",
        }
        if not bare:
            # moto echoes what was given, and the Rust SDK refuses a description that lacks these three.
            destination["CompressionFormat"] = "UNCOMPRESSED"
            destination["BufferingHints"] = {"SizeInMBs": 1, "IntervalInSeconds": 60}
            destination["EncryptionConfiguration"] = {"NoEncryptionConfig": "NoEncryption"}
        source = {"DeliveryStreamType": "DirectPut"}
        if reads_from:
            source = {
                "DeliveryStreamType": "KinesisStreamAsSource",
                "KinesisStreamSourceConfiguration": {"KinesisStreamARN": reads_from, "RoleARN": self.ROLE},
            }
        self.client("firehose").create_delivery_stream(
            DeliveryStreamName=name, ExtendedS3DestinationConfiguration=destination, **source, **more
        )

    def create_data_stream(self, name, shards=1):
        """A data stream of Kinesis; returns its ARN."""
        self.client("kinesis").create_stream(StreamName=name, ShardCount=shards)
        return self.data_stream(name)["StreamARN"]

    def data_stream(self, name):
        return self.client("kinesis").describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]

    def sse(self, stream):
        """What Firehose says of the encryption of a delivery stream."""
        described = self.client("firehose").describe_delivery_stream(DeliveryStreamName=stream)
        return described["DeliveryStreamDescription"].get("DeliveryStreamEncryptionConfiguration")

    def objects(self, stream):
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.BUCKET, Prefix=f"{stream}/")
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def delivered(self, stream):
        s3 = self.client("s3")
        return b"".join(s3.get_object(Bucket=self.BUCKET, Key=key)["Body"].read() for key in self.objects(stream))

    def delete_bucket(self):
        """Returns what the bucket held; from here on every put call of Firehose fails with HTTP 500."""
        s3 = self.client("s3")
        held = b""
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.BUCKET):
            for entry in page.get("Contents", []):
                held += s3.get_object(Bucket=self.BUCKET, Key=entry["Key"])["Body"].read()
                s3.delete_object(Bucket=self.BUCKET, Key=entry["Key"])
        s3.delete_bucket(Bucket=self.BUCKET)
        return held


def sdk_client(monkeypatch, home, url, **config):
    """A boto3 client as an application would make it: nothing but the one variable points at Standpipe."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in application_environment(home, url).items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return boto3.session.Session().client("firehose", config=botocore.config.Config(**config))


def application_environment(home, url):
    """What an application has in its environment when it goes through Standpipe."""
    return environment(home, AWS_REGION=REGION, AWS_DEFAULT_REGION=REGION, AWS_ENDPOINT_URL_FIREHOSE=url)
