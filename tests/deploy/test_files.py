"""The files of deploy/, each by the checker of its reader; one that is not installed skips its test, and says so."""

from __future__ import annotations

import configparser
import functools
import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from typer.main import get_command

import gristmill
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.engine.ray_data import COUNTED
from tests.deploy import dashboard
from tests.support import DATA

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.parts)


def tool(name: str) -> str:
    """The path of a program, of this environment or the machine; without it the test is skipped."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def check(*line: str | Path) -> str:
    """Run a program that must end with 0: what it says."""
    done = subprocess.run([*map(str, line)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def strict(schema: Any) -> Any:
    """A schema that allows no field that it does not name: Kubernetes would drop such a field without a word."""
    if isinstance(schema, list):
        return [strict(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(inner) for key, inner in schema.items()}
    open_ended = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & {*schema}
    if isinstance(schema.get("properties"), dict) and "type" in schema and not open_ended:
        made["additionalProperties"] = False
    return made


@functools.cache
def crd(kind: str) -> Any:
    """The schema of a KubeRay resource, as its definition of August 2026 has it."""
    path = DATA / "kuberay" / f"ray.io_{kind.lower()}s.yaml.gz"
    if not path.exists():
        pytest.skip(f"KubeRay's definitions are not at {path.parent}")
    with gzip.open(path) as file:
        versions = yaml.load(file, yaml.CSafeLoader)["spec"]["versions"]
    return next(version for version in versions if version["name"] == "v1")["schema"]["openAPIV3Schema"]


def resources() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((DEPLOY / "kuberay").glob("*.yaml")):
        for document in documents(path):
            yield f"{path.name}:{document['kind']}", document


RESOURCES = dict(resources())


def parsed(words: list[str]) -> dict[str, Any]:
    """The parameters of a gristmill command, and those of its job, as the command line reads them."""
    assert words[0] == "gristmill"
    command: Any = get_command(app)
    parameters: dict[str, Any] = command.commands[words[1]].make_context(words[1], words[2:]).params
    if words[1] == "submit":
        night = "refresh" if parameters["refresh"] else "run"
        parsed(["gristmill", night, parameters["recipe"], *parameters["options"]])
    return parameters


@pytest.mark.parametrize("name", [name for name, r in RESOURCES.items() if r["apiVersion"] == "ray.io/v1"])
def test_resources_are_what_kuberay_defines(name: str) -> None:
    resource = RESOURCES[name]
    validator = jsonschema.Draft7Validator(strict(crd(resource["kind"])["properties"]["spec"]))
    assert not [f"{error.json_path}: {error.message}" for error in validator.iter_errors(resource["spec"])]
    assert len([*validator.iter_errors({**resource["spec"], "autoscaling": True})]) == 1


def test_the_job_of_kubernetes_is_a_run() -> None:
    (job,) = (resource for resource in RESOURCES.values() if resource["kind"] == "RayJob")
    assert parsed(job["spec"]["entrypoint"].split())["workers"] == 32 * 7


def test_the_nights_of_kubernetes_do_not_overlap_and_run_as_pods_may() -> None:
    (nightly,) = (resource for resource in RESOURCES.values() if resource["kind"] == "CronJob")
    assert nightly["spec"]["concurrencyPolicy"] == "Forbid"
    job = nightly["spec"]["jobTemplate"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 3, 5]
    pod = crd("RayCluster")["properties"]["spec"]["properties"]["headGroupSpec"]["properties"]["template"]
    template = {key: value for key, value in job["template"].items() if key != "metadata"}
    jsonschema.Draft7Validator(strict(pod)).validate(template)
    parsed(job["template"]["spec"]["containers"][0]["args"])


@pytest.mark.parametrize("name", [*RESOURCES])
def test_pods_are_no_root_and_take_secrets_by_reference(name: str) -> None:
    def pods(value: Any) -> Iterator[dict[str, Any]]:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from [inner] if isinstance(inner, dict) and "containers" in inner else pods(inner)

    for pod in pods(RESOURCES[name]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            for entry in container.get("env", ()):
                assert entry["name"] != "RAY_AUTH_TOKEN" or "secretKeyRef" in entry["valueFrom"]


@pytest.mark.parametrize("provider", ["aws", "gcp"])
def test_clusters_of_machines_are_what_ray_takes(provider: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = documents(DEPLOY / "ray" / f"{provider}.yaml")[0]
    prepared = prepare_config(json.loads(json.dumps(config)))
    validate_config(prepared)
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**prepared, "max_worker": 3})
    assert config["available_node_types"][config["head_node_type"]]["resources"]["CPU"] == 0


def test_the_compose_file_is_one() -> None:
    check(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    compose = documents(DEPLOY / "compose.yaml")[0]
    for service in compose["services"].values():
        assert {*service["secrets"]} <= {*compose["secrets"]}
        assert not [
            name
            for name in service["environment"]
            if re.search("TOKEN|PASSWORD|KEY", name) and "_FILE" not in name and "_PATH" not in name
        ]
    made = {Path(secret["file"]).name for secret in compose["secrets"].values()}
    assert made == {*re.findall(r"keep (\w+)$", (DEPLOY / "secrets.sh").read_text(), re.M)}
    check(tool("make"), "--dry-run", "compose")


def test_secrets_are_made_once(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "secrets.sh", tmp_path)
    check(tmp_path / "secrets.sh")
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert len(made["ray_token"]) == 64
    credentials = configparser.ConfigParser()
    credentials.read_string(made["s3_credentials"])
    assert dict(credentials["default"]) == {
        "aws_access_key_id": made["s3_user"],
        "aws_secret_access_key": made["s3_password"],
    }
    check(tmp_path / "secrets.sh")
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


def test_the_image_is_built_as_it_should_be() -> None:
    check(tool("hadolint"), DEPLOY / "Dockerfile")
    lines = (DEPLOY / "Dockerfile").read_text()
    for target in ("cpu", "gpu"):
        stage = re.split(rf"^FROM .* AS {target}$", lines, flags=re.M)[1].split("\nFROM ")[0]
        assert re.findall(r"^USER (.*)$", stage, re.M)[-1] == "1000"
    program = re.search(r'python -c "(.*?)"$', lines.replace("\\\n", ""), re.M)
    assert program is not None
    compile(program[1], "Dockerfile", "exec")
    for module, names in re.findall(r"from (\S+) import (\w+)", program[1]):
        assert hasattr(__import__(module, fromlist=[names]), names)
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert not [name for name in sent if not (ROOT / name).exists()]


@pytest.mark.slow
def test_the_image_is_built_where_docker_is() -> None:
    docker = tool("docker")
    if subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no docker daemon answers")
    check(docker, "build", "--file", DEPLOY / "Dockerfile", "--target", "cpu", "--tag", "gristmill:test", ".")
    assert gristmill.__version__ in check(docker, "run", "--rm", "gristmill:test", "gristmill", "--version")


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in (".sh", ".sbatch")], ids=lambda p: p.name)
def test_shell_is_sound(path: Path) -> None:
    check(tool("shellcheck"), "--severity=style", "--enable=all", "--exclude=SC2154,SC2310,SC2312,SC2250", path)


def test_units_and_the_cron_line_call_what_there_is() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read_string((DEPLOY / "systemd" / "gristmill.service").read_text())
    cron = (DEPLOY / "systemd" / "crontab").read_text().splitlines()[-1]
    assert len(re.split(r"\s+", cron, maxsplit=5)) == 6
    for line in (unit["Service"]["ExecStart"], cron.partition(".night ")[2].partition(" >>")[0]):
        parsed(line.removeprefix("/opt/gristmill/bin/").split())
    if shutil.which("systemd-analyze"):
        check("systemd-analyze", "calendar", "*-*-* 02:00:00 UTC")


def test_versions_are_pinned_and_are_those_of_today() -> None:
    text = "\n".join(path.read_text() for path in FILES)
    images = re.findall(r"^\s*-?\s*image: (\S+)$", text, re.M)
    assert images
    for image in images:
        name, _, tag = image.rpartition(":")
        assert name, image
        assert tag != "latest"
        assert not name.endswith("gristmill") or tag == gristmill.__version__
    assert {*re.findall(r"rayVersion: (\S+)", text)} == {ray.__version__}


def test_every_figure_of_the_dashboard_is_one_that_nodes_have() -> None:
    """Those of Ray itself are looked for at a real node in tests/reliability/test_submit.py."""
    ours = {f"ray_gristmill_{name}_total" for name in COUNTED} | dashboard.PASSING
    assert {name for name in dashboard.figures() if "gristmill" in name} == ours
    readme = (DEPLOY / "README.md").read_text()
    assert not [name for name in ours if f"`{name}`" not in readme]


def test_no_file_holds_a_secret() -> None:
    assignment = re.compile(r"(?i)(password|secret|token|key)\w*\s*[:=]\s*['\"]?([A-Za-z0-9+/_]{16,})")
    for path in FILES:
        found = [match[0] for match in assignment.finditer(path.read_text()) if not match[2].startswith("/")]
        assert not found, (path, found)
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
