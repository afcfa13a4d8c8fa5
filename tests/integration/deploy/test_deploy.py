"""What is deployed, checked by the tools that would deploy it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import peers
from millstream.bus._server_child import STOP_TIMEOUT_S as SERVER_STOP_S
from millstream.cli._nodes import LEFT_S
from millstream.config import HubConfig
from millstream.edge._connector_set import STOP_TIMEOUT_S
from millstream.edge._node import END_S
from millstream.edge._update import HEALTHY_WITHIN_S
from millstream.release import STARTS_MAX

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "helm" / "millstream"
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
EXPOSURE_MAX = 20  # tenths: systemd's own measure of what a service may do to its machine, of 100
KUBERNETES = "1.31"
IMAGE = {"image": {"repository": "registry.invalid/millstream", "tag": "1"}}
CLUSTER = {"members": 3, "clusterSecret": "shared", "config": {"edges": [{"name": "e1", "path": "acme/e1"}]}}
VALUES: dict[str, dict[str, Any]] = {
    "one hub": IMAGE,
    "a hub of three": {**IMAGE, "hub": CLUSTER, "spreadOver": "zone", "secretFiles": "files"},
    "an edge": {**IMAGE, "role": "edge", "edge": {"config": {"edge": {"name": "e1", "path": "acme/e1"}}}},
}


def _helm(values: dict[str, Any]) -> dict[str, Any]:
    script = ROOT / "tests" / "peers" / "helm_check.py"
    command = [str(peers.venv_python("helm-python-sdk")), str(script), str(CHART), json.dumps(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def _objects(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for text in answer["manifests"].values() for each in yaml.safe_load_all(text) if each]


@pytest.mark.needs("helm-python-sdk", "kubernetes-validate")
@pytest.mark.parametrize("what", VALUES)
def test_helm_and_kubernetes_take_the_chart(what: str, tmp_path: Path) -> None:
    answer = _helm(VALUES[what])
    assert answer["errors"] == []
    assert [m["error"] for m in answer["messages"] if m["severity"] > 1] == []
    objects = _objects(answer)
    files = []
    for number, each in enumerate(objects):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(each), encoding="utf-8")
        files.append(str(path))
    validate = peers.venv_python("kubernetes-validate").parent / "kubernetes-validate"
    command = [str(validate), "-k", KUBERNETES, "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    pods = next(each for each in objects if each["kind"] == "StatefulSet")["spec"]
    for container in (*pods["template"]["spec"]["containers"], *pods["template"]["spec"]["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip


@pytest.mark.needs("helm-python-sdk")
def test_what_the_chart_writes_is_a_hub_file_for_each_member() -> None:
    objects = _objects(_helm(VALUES["a hub of three"]))
    text = next(each for each in objects if each["kind"] == "ConfigMap")["data"]["node.yaml"]
    stateful = next(each for each in objects if each["kind"] == "StatefulSet")
    pods = [f"{stateful['metadata']['name']}-{number}" for number in range(stateful["spec"]["replicas"])]
    services = {each["metadata"]["name"] for each in objects if each["kind"] == "Service"}
    for pod in pods:
        config = HubConfig.model_validate(yaml.safe_load(text.replace("__MEMBER__", pod)))
        assert config.cluster is not None
        assert list(config.cluster.members) == pods
        assert {address.partition(":")[0].partition(".")[2] for address in config.cluster.members.values()} <= services
        assert config.edges[0].name == "e1"


@pytest.mark.needs("helm-python-sdk")
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "repository"),
        ({**IMAGE, "hub": {"members": 2}}, "members"),
        ({**IMAGE, "hub": {"members": 3}}, "clusterSecret"),
        ({**IMAGE, "role": "broker"}, "role"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], reason: str) -> None:
    errors = _helm(values)["errors"]
    assert errors
    assert any(reason in str(error) for error in errors), errors


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_the_units_and_finds_them_closed(unit: Path, tmp_path: Path) -> None:
    text, count = re.subn(
        r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text(encoding="utf-8"), flags=re.M
    )
    assert count == 1
    copy = tmp_path / unit.name
    copy.write_text(text, encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(copy)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(copy)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-600:] + rated.stderr


def _unit(name: str) -> dict[str, list[str]]:
    """Each setting of a unit with its values, in order."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "deploy" / "systemd" / name).read_text(encoding="utf-8").splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_the_edges_unit_lets_another_version_be_tried_and_taken_back() -> None:
    """What `millstream.release` relies on. Killed on trial, the launcher dies too: the count of starts is on disk, so
    each end has to be followed by another start, whatever the exit status is and however often it comes."""
    unit = _unit("millstream-edge.service")
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"], "else systemd gives up before the launcher has counted its starts"
    assert not {"StartLimitBurst", "RestartPreventExitStatus", "RestartForceExitStatus", "RuntimeMaxSec"} & unit.keys()
    trials_s = STARTS_MAX * _seconds(unit["RestartSec"][0])
    assert trials_s < HEALTHY_WITHIN_S[1], "what dies is taken back within the time of a trial"
    # The chosen version replaces the installed one in the same process (execve), and says nothing to systemd.
    assert unit["Type"] == ["exec"]
    assert not {"WatchdogSec", "PIDFile", "NotifyAccess"} & unit.keys()
    (start,) = unit["ExecStart"]
    program, *words = start.split()
    assert Path(program).is_absolute()
    assert (Path(program).name, words[:2]) == ("millstream", ["edge", "-c"])
    # SIGTERM goes to the launcher alone, which hands it on; it ends before systemd kills what is left.
    assert unit["KillMode"] == ["mixed"]
    assert unit["KillSignal"] == ["SIGTERM"]
    needed_s = END_S + 2 * STOP_TIMEOUT_S + SERVER_STOP_S + LEFT_S
    assert _seconds(unit["TimeoutStopSec"][0]) > needed_s
    # Versions lie below the data directory and are run from there.
    assert unit["WorkingDirectory"] == [f"/var/lib/{unit['StateDirectory'][0]}"]
    assert not {"NoExecPaths", "MemoryDenyWriteExecute", "ReadOnlyPaths", "RootDirectory"} & unit.keys()
    assert not any("MILLSTREAM_" in value or "PYTHONPATH" in value for value in unit.get("Environment", []))
