"""The fixtures: a real Standpipe, alone with its emulator or in front of moto."""

import os
from pathlib import Path

import pytest
from harness import REPOSITORY, Emulator, Moto, Standpipe, configuration, run, sdk_client


@pytest.fixture(scope="session")
def binary():
    """The binary under test: STANDPIPE_BIN, or the debug build."""
    path = Path(os.environ.get("STANDPIPE_BIN", REPOSITORY / "target/debug/standpipe")).resolve()
    if not os.access(path, os.X_OK):
        pytest.fail(f"there is no binary at {path}: build it with `cargo build`, or set STANDPIPE_BIN")
    return path


@pytest.fixture
def start(binary, tmp_path):
    """Starts a Standpipe in a folder of its own; what still runs when the test is over is killed."""
    started = []

    def start(*arguments, **settings):
        pipe = Standpipe(binary, tmp_path, *arguments, **settings)
        started.append(pipe)
        return pipe

    yield start
    for pipe in started:
        pipe.kill()


@pytest.fixture
def cli(binary, tmp_path):
    """Runs a command of Standpipe to its end, where its configuration is `standpipe.toml` if there is one."""

    def cli(*arguments, **more):
        return run(binary, tmp_path, *arguments, **more)

    return cli


@pytest.fixture
def emulator(binary, tmp_path):
    """The emulator alone."""
    emulator = Emulator(binary, tmp_path)
    yield emulator
    emulator.kill()


@pytest.fixture
def embedded(start):
    """A Standpipe with the emulator inside, as in `serve --embedded`: its stream is `demo`."""
    return start("--embedded")


@pytest.fixture(scope="session")
def shared_embedded(binary, tmp_path_factory):
    """One embedded Standpipe for the tests that only ask and look at the answer."""
    pipe = Standpipe(binary, tmp_path_factory.mktemp("standpipe"), "--embedded")
    yield pipe
    pipe.kill()


@pytest.fixture
def moto(tmp_path):
    """moto with its bucket and the stream `orders`."""
    server = Moto(tmp_path)
    server.create_bucket()
    server.create_stream("orders")
    yield server
    server.kill()


@pytest.fixture
def before_moto(start, moto):
    """A Standpipe in front of moto."""
    return start(config=configuration(["orders"], upstream=moto.url))


@pytest.fixture
def sdk(monkeypatch, tmp_path):
    """Makes boto3 clients that know Standpipe from AWS_ENDPOINT_URL_FIREHOSE only, and closes them."""
    made = []

    def make(pipe, **config):
        client = sdk_client(monkeypatch, tmp_path, pipe.url, **config)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
