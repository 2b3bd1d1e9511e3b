"""The admin listener as the programs see it that ask it: Prometheus, the kubelet, `standpipe probe`."""

import subprocess

from harness import Ledger, environment, tool, wait_for_all


def scrape(pipe):
    answer = pipe.http.get(f"{pipe.admin}/metrics", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


def test_promtool_finds_nothing_wrong_with_the_metrics(embedded):
    # Metrics that appear only with use have to be there when they are checked.
    ledger = Ledger("metrics")
    embedded.post("demo", b"".join(ledger.records(20)), content_type="application/x-ndjson")
    embedded.post("nobody", b"refused")
    embedded.wire("PutRecord", b"{")
    wait_for_all(ledger, lambda: embedded.delivered("demo"))
    metrics = scrape(embedded)
    assert "standpipe_" in metrics

    run = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=metrics, capture_output=True, text=True, timeout=60
    )

    assert run.returncode == 0 and not run.stderr.strip(), run.stderr


def test_a_standpipe_that_serves_is_live_and_ready(shared_embedded):
    for path in ["/livez", "/readyz"]:
        assert shared_embedded.http.get(shared_embedded.admin + path, timeout=10).status_code == 200, path


def test_the_status_is_json(shared_embedded):
    answer = shared_embedded.http.get(f"{shared_embedded.admin}/v1/status", timeout=10)

    assert answer.status_code == 200
    assert "demo" in answer.text
    answer.json()


def test_the_probes_that_a_container_runs_say_with_their_exit_code_how_it_is(embedded, binary):
    def probe(kind):
        env = environment(embedded.home, STANDPIPE_ADMIN_LISTEN=embedded.admin.removeprefix("http://"))
        return subprocess.run([binary, "probe", kind], env=env, capture_output=True, text=True, timeout=30)

    for kind in ["--live", "--ready"]:
        assert probe(kind).returncode == 0, probe(kind).stderr
    embedded.stop()
    for kind in ["--live", "--ready"]:
        assert probe(kind).returncode != 0, f"{kind} finds a Standpipe that has ended"
