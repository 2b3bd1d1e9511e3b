"""The files in deploy/, each checked by the program or the schema that it is written for."""

import json
import re
import shutil
import subprocess
import tomllib

import boto3
import kubernetes_validate
import pytest
import yaml
from harness import DEPLOY, REPOSITORY, environment, tool

# The oldest version of the API in which restartPolicy of an init container is stable, and a recent one.
KUBERNETES_VERSIONS = ["1.33", "1.36"]


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **more)


def package():
    return tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]


def manifests():
    return {entry["kind"]: entry for entry in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def pod():
    return manifests()["Deployment"]["spec"]["template"]["spec"]


def sidecar():
    return next(container for container in pod()["initContainers"] if container["name"] == "standpipe")


# --- Dockerfile ---------------------------------------------------------------------------------


def test_hadolint_finds_nothing_wrong_with_the_dockerfile():
    linted = run(tool("hadolint"), "--failure-threshold", "style", str(DEPLOY / "Dockerfile"))
    assert linted.returncode == 0, linted.stdout + linted.stderr


def dockerfile():
    """The instructions of the Dockerfile: a list of (INSTRUCTION, rest) for each stage."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
    instructions = [line.split(None, 1) for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    stages = [[]]
    for name, rest in instructions:
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest))
    return stages


def test_the_image_needs_no_shell_and_is_not_root():
    *_, runtime = dockerfile()
    commands = {name: rest.removeprefix("CMD ") for name, rest in runtime}

    assert "RUN" not in commands
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", commands["USER"]), "a number, so that Kubernetes sees that it is not root"
    assert json.loads(commands["ENTRYPOINT"])[0].endswith("/standpipe")
    assert json.loads(commands["CMD"]) == ["serve"]
    assert json.loads(commands["HEALTHCHECK"].split("CMD ", 1)[1])[1:] == ["probe", "--live"]


def test_the_image_is_built_with_a_compiler_that_is_new_enough():
    build = next(rest for stage in dockerfile() for name, rest in stage if name == "FROM" and rest.startswith("rust:"))
    version = re.match(r"rust:(\d+)\.(\d+)", build)
    needed = package()["rust-version"].split(".")

    assert tuple(map(int, version.groups())) >= tuple(map(int, needed[:2]))


def test_all_that_cargo_asks_for_is_in_the_context_of_the_image(tmp_path):
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text()
    copies = [rest for stage in dockerfile() for name, rest in stage if name == "COPY" and "--from" not in rest]
    for name in [name for rest in copies for name in rest.split()[:-1]]:
        assert f"!{name}\n" in ignore, f"{name} is copied, and Dockerfile.dockerignore keeps it out"
        if (REPOSITORY / name).is_dir():
            skipped = shutil.ignore_patterns("node_modules", "__pycache__")
            shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=skipped)
        elif (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, tmp_path / name)
        else:
            pytest.fail(f"the Dockerfile copies {name}, which is not there")

    # Reading the manifest finds every target's file.
    read = run(tool("cargo"), "metadata", "--offline", "--no-deps", "--format-version", "1", cwd=tmp_path)
    assert read.returncode == 0, read.stderr


# --- Kubernetes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_manifest_is_valid_for_the_schema_of_its_kind(version):
    for entry in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        kubernetes_validate.validate(entry, version, strict=True)


def test_standpipe_is_a_native_sidecar_that_is_probed_from_outside():
    container = sidecar()
    config = tomllib.loads(manifests()["ConfigMap"]["data"]["standpipe.toml"])
    port = next(port["containerPort"] for port in container["ports"] if port["name"] == "standpipe")

    assert container["restartPolicy"] == "Always"
    assert config["admin"]["health_listen"] == f"0.0.0.0:{port}", "the kubelet and Prometheus come from outside"
    assert config["ingest"]["listen"].startswith("127.0.0.1:"), "records come from inside the pod only"
    for probe, path in [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]:
        assert container[probe]["httpGet"] == {"path": path, "port": "standpipe"}


def test_the_spool_of_the_manifest_has_a_volume_that_holds_it():
    config = tomllib.loads(manifests()["ConfigMap"]["data"]["standpipe.toml"])
    (mount,) = [mount for mount in sidecar()["volumeMounts"] if not mount.get("readOnly")]
    (volume,) = [volume for volume in pod()["volumes"] if volume["name"] == mount["name"]]
    size = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30

    assert config["spool"]["dir"].startswith(mount["mountPath"] + "/"), "the root of the container is read-only"
    assert config["spool"]["volume"] == "ephemeral", "an emptyDir goes with the pod"
    assert volume["emptyDir"].get("medium", "") != "Memory"
    reserve = 64 * 2**20
    assert config["spool"]["bytes_max"] + config["spool"]["dead_letter_bytes_max"] + reserve < size


def test_standpipe_stops_by_itself_before_it_is_killed():
    config = tomllib.loads(manifests()["ConfigMap"]["data"]["standpipe.toml"])

    assert config["stop"]["grace_ms"] < pod()["terminationGracePeriodSeconds"] * 1000


def test_the_application_in_the_manifest_is_pointed_at_the_listener_of_the_sidecar():
    config = tomllib.loads(manifests()["ConfigMap"]["data"]["standpipe.toml"])
    (application,) = pod()["containers"]
    variables = {entry["name"]: entry["value"] for entry in application["env"]}

    assert variables["AWS_ENDPOINT_URL_FIREHOSE"] == f"http://{config['ingest']['listen']}"
    assert variables["AWS_REGION"] == config["upstream"]["region"]


def test_every_container_meets_the_restricted_pod_security_standard():
    spec = pod()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["initContainers"] + spec["containers"]:
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


def test_the_manifest_runs_the_image_of_this_version_as_the_user_of_the_image():
    *_, runtime = dockerfile()
    user, group = dict(runtime)["USER"].split(":")

    assert sidecar()["image"].endswith(f"/standpipe:{package()['version']}")
    assert sidecar()["securityContext"]["runAsUser"] == int(user)
    assert sidecar()["securityContext"]["runAsGroup"] == int(group)


def test_standpipe_itself_accepts_the_configuration_of_the_manifest(binary, tmp_path):
    path = tmp_path / "standpipe.toml"
    path.write_text(manifests()["ConfigMap"]["data"]["standpipe.toml"])

    checked = run(binary, "check", "--config", str(path), env=environment(tmp_path), cwd=tmp_path)

    assert checked.returncode == 0, checked.stdout + checked.stderr


# --- systemd ------------------------------------------------------------------------------------


@pytest.fixture
def unit(tmp_path):
    """A copy of the unit that runs a program which exists.

    `systemd-analyze verify` wants ExecStart's program to be there, and no test installs into /usr/bin.
    """
    text = (DEPLOY / "standpipe.service").read_text()
    program = tmp_path / "standpipe"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / "standpipe.service"
    assert text.count("ExecStart=/usr/bin/standpipe ") == 1
    copy.write_text(text.replace("/usr/bin/standpipe ", f"{program} "))
    return copy


def test_systemd_finds_nothing_wrong_with_the_unit(unit):
    verified = run(tool("systemd-analyze"), "verify", str(unit))
    # It also reports on units of the machine; what it says of ours is what counts.
    said = [line for line in verified.stderr.splitlines() if "standpipe" in line]
    assert verified.returncode == 0 and not said, verified.stderr


def test_systemd_rates_the_unit_as_little_exposed(unit):
    # 0 is none, 10 is all; the threshold is in tenths. A service without any hardening has 9.6.
    rated = run(tool("systemd-analyze"), "security", "--offline=yes", "--no-pager", "--threshold=20", str(unit))
    assert rated.returncode == 0, rated.stdout + rated.stderr


# --- IAM ----------------------------------------------------------------------------------------


# Which file allows what, and no more.
POLICIES = {
    "iam-policy.json": [
        "firehose:DescribeDeliveryStream",
        "firehose:PutRecordBatch",
        "kms:Decrypt",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKey",
    ],
    "iam-policy-kinesis.json": [
        "firehose:DescribeDeliveryStream",
        "kinesis:DescribeStreamSummary",
        "kinesis:PutRecords",
        "kms:Decrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKey",
    ],
    "iam-policy-owner.json": [
        "firehose:DescribeDeliveryStream",
        "firehose:StartDeliveryStreamEncryption",
        "firehose:StopDeliveryStreamEncryption",
        "kinesis:DescribeStreamSummary",
        "kinesis:StartStreamEncryption",
        "kinesis:StopStreamEncryption",
        "kms:CreateGrant",
        "kms:DescribeKey",
    ],
}


def test_every_policy_is_known_here():
    assert sorted(path.name for path in DEPLOY.glob("iam-*.json")) == sorted(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_allows_named_actions_on_named_resources_and_no_more(name):
    policy = json.loads((DEPLOY / name).read_text())
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    assert len({statement["Sid"] for statement in policy["Statement"]}) == len(policy["Statement"])

    actions = []
    for statement in policy["Statement"]:
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        assert statement["Effect"] == "Allow"
        service = statement["Action"][0].split(":")[0]
        assert re.fullmatch(rf"arn:aws:{service}:[a-z0-9-]+:\d{{12}}:[a-z]+/[A-Za-z0-9_.-]+", statement["Resource"])
        for action in statement["Action"]:
            # The names of these services' actions are the names of their operations.
            prefix, operation = action.split(":")
            operations = boto3.client(prefix, region_name="us-east-1").meta.service_model.operation_names
            assert prefix == service and operation in operations, f"{action} does not exist"
        actions += statement["Action"]

    assert sorted(actions) == POLICIES[name]


def test_an_owner_gives_the_customer_s_key_to_firehose_alone():
    policy = json.loads((DEPLOY / "iam-policy-owner.json").read_text())
    (grant,) = [statement for statement in policy["Statement"] if statement["Action"] == ["kms:CreateGrant"]]
    assert grant["Condition"] == {
        "StringEquals": {"kms:ViaService": "firehose.eu-west-1.amazonaws.com"},
        "Bool": {"kms:GrantIsForAWSResource": "true"},
    }


def test_the_key_of_the_spool_seals_nothing_but_the_streams_of_this_application():
    policy = json.loads((DEPLOY / "iam-policy.json").read_text())
    (spool,) = [statement for statement in policy["Statement"] if statement["Sid"] == "SealAndOpenTheSpool"]
    (sending,) = [statement for statement in policy["Statement"] if statement["Sid"] == "SendRecordsToTheStreams"]

    # A data key is bound to an encryption context, and KMS opens it for no other.
    condition = spool["Condition"]["StringEquals"]
    assert condition["kms:EncryptionContext:standpipe:application"]
    assert condition["kms:EncryptionContext:standpipe:stream"] == [sending["Resource"].split("/")[1]]


# --- Prometheus ---------------------------------------------------------------------------------


def test_promtool_finds_nothing_wrong_with_the_scrape_configuration(tmp_path):
    text = (DEPLOY / "prometheus.yml").read_text()
    checked = run(tool("promtool"), "check", "config", str(DEPLOY / "prometheus.yml"))
    if "kubernetes_sd_configs not found" in checked.stderr + checked.stdout:
        # Debian builds Prometheus without discovery in Kubernetes: all but the discovery itself is checked.
        discovery = "    kubernetes_sd_configs:\n      - role: pod\n"
        assert text.count(discovery) == 1
        copy = tmp_path / "prometheus.yml"
        copy.write_text(text.replace(discovery, '    static_configs:\n      - targets: ["127.0.0.1:4576"]\n'))
        checked = run(tool("promtool"), "check", "config", str(copy))

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_finds_nothing_wrong_with_the_alerts():
    checked = run(tool("promtool"), "check", "rules", str(DEPLOY / "alerts.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_metric_that_alerts_is_in_the_readme():
    rules = [rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    table = (DEPLOY.parent / "README.md").read_text()
    for rule in rules:
        (metric,) = re.findall(r"standpipe_[a-z_]+", rule["expr"])
        assert f"| `{metric}` |" in table, metric


def test_prometheus_looks_where_standpipe_listens():
    jobs = {job["job_name"]: job for job in yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]}
    kept = next(rule for rule in jobs["standpipe-sidecars"]["relabel_configs"] if rule.get("action") == "keep")

    assert jobs["standpipe"]["static_configs"] == [{"targets": ["127.0.0.1:4574"]}]
    assert kept["regex"] in [port["name"] for port in sidecar()["ports"]]
