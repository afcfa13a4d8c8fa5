"""Loading: places, secrets, bounds against hostile files, what the halves of an `up` file become."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from millstream.config import (
    EdgeConfig,
    EdgeIdentity,
    Finding,
    HubConfig,
    InstalledConnectors,
    UpConfig,
    UplinkConfig,
    config_error,
    load_any,
    load_edge,
    load_up,
    role_of,
    unit_problem,
)
from millstream.config._units import USUAL_UNITS
from millstream.config._yaml import FILE_BYTES_MAX, parse_yaml
from millstream.kernel import ConfigError
from millstream.sdk import SecretRef

EDGE = "edge: {name: e1, path: acme/plant1, data_dir: data}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "edge.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_relative_paths_are_taken_from_the_file(tmp_path: Path, catalog: object) -> None:
    path = write(
        tmp_path,
        EDGE + "connectors: [{name: a, type: plc, config: {host: h, trace: t.log, password: {file: p}}}]\n",
    )
    config, findings = load_edge(path, catalog)  # type: ignore[arg-type]
    assert findings == []
    assert config is not None
    assert config.edge.data_dir == tmp_path / "data"
    own = config.connectors[0].config
    assert own.trace == tmp_path / "t.log"  # type: ignore[union-attr]
    assert own.password.file == tmp_path / "p"  # type: ignore[union-attr]


def test_the_connectors_own_configuration_and_options_come_back_typed(tmp_path: Path, catalog: object) -> None:
    path = write(
        tmp_path,
        EDGE + "connectors: [{name: a, type: plc, path: line, config: {host: h, timeout: 3s},"
        " tags: [{name: g/t, address: D1, publishing_interval: 10s}]}]\n",
    )
    config, _ = load_edge(path, catalog)  # type: ignore[arg-type]
    assert config is not None
    entry = config.connectors[0]
    assert entry.config.timeout == 3.0  # type: ignore[union-attr]
    mapped = config.mapped_tags(entry)[0]
    assert mapped.tag.key == "acme/plant1/line:g/t"
    assert mapped.tag.options == {"word_order": "big"}
    assert (mapped.tag.sampling_interval_s, mapped.tag.publishing_interval_s) == (1.0, 10.0)


@pytest.mark.parametrize("what", ["missing", "folder", "too large"])
def test_a_file_that_cannot_be_read_is_one_finding(what: str, tmp_path: Path, catalog: object) -> None:
    path = tmp_path / "edge.yaml"
    if what == "folder":
        path.mkdir()
    elif what == "too large":
        path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    config, findings = load_any(path, catalog)  # type: ignore[arg-type]
    assert config is None
    assert len(findings) == 1
    assert str(path) in str(findings[0])


def test_ten_megabytes_of_brackets_are_refused_at_once() -> None:
    assert parse_yaml("[" * 5_000_000).root is None
    assert parse_yaml("- " * 1_000_000).root is None


def test_thousands_of_errors_end_in_a_count(tmp_path: Path, catalog: object) -> None:
    tags = "".join(f"      - {{name: t{i}, adress: D{i}}}\n" for i in range(2000))
    path = write(tmp_path, EDGE + "connectors:\n  - name: a\n    type: plc\n    config: {host: h}\n    tags:\n" + tags)
    _, findings = load_edge(path, catalog)  # type: ignore[arg-type]
    assert len(findings) == 501
    assert findings[-1].message == "and 3500 more"


def test_ten_thousand_tags_load(tmp_path: Path, catalog: object) -> None:
    tags = "".join(f"      - {{name: g/t{i}, address: D{i}, unit: degC}}\n" for i in range(10_000))
    path = write(tmp_path, EDGE + "connectors:\n  - name: a\n    type: plc\n    config: {host: h}\n    tags:\n" + tags)
    config, findings = load_edge(path, catalog)  # type: ignore[arg-type]
    assert findings == []
    assert config is not None
    assert len(config.mapped_tags(config.connectors[0])) == 10_000


@given(st.text(max_size=300))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    parse_yaml(text)


@given(st.recursive(st.sampled_from(["a", "1", "'x", "{", "}", "[", "]", ":", "- ", "\n", "&a ", "*a", "<<: ", "? "]),
                    lambda inner: st.lists(inner, max_size=8).map("".join), max_leaves=40))  # fmt: skip
def test_no_yaml_syntax_makes_the_parser_raise(text: str) -> None:
    parse_yaml(text)


def test_scalars_follow_yaml_1_2() -> None:
    text = "{a: no, b: 007, c: 1:30, d: 0x1F, e: 1e3, f: ~, g: true, h: 2024-01-01, i: '5', j: .inf, k: +3, l: 0o17}"
    assert parse_yaml(text).plain() == {
        "a": "no", "b": "007", "c": "1:30", "d": 31, "e": 1000.0, "f": None, "g": True, "h": "2024-01-01", "i": "5",
        "j": float("inf"), "k": 3, "l": 15,
    }  # fmt: skip


def test_a_secret_is_resolved_late_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p").write_text("hunter2\n")
    by_file = SecretRef.model_validate({"file": "p"}, context={"folder": str(tmp_path)})
    monkeypatch.setenv("MS_TEST_SECRET", "hunter3")
    by_env = SecretRef(env="MS_TEST_SECRET")
    assert (by_file.resolve(), by_env.resolve()) == ("hunter2", "hunter3")
    assert "hunter" not in repr((by_file, by_env)) + str(by_file.model_dump())


@pytest.mark.parametrize("kind", ["missing", "not text", "too large", "variable"])
def test_a_secret_that_cannot_be_read_says_which_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "p"
    if kind == "not text":
        path.write_bytes(b"\xff\xfe")
    elif kind == "too large":
        path.write_bytes(b"x" * 100_000)
    ref = SecretRef(env="MS_SURELY_NOT_SET") if kind == "variable" else SecretRef(file=path)
    with pytest.raises(ConfigError) as caught:
        ref.resolve()
    assert caught.value.code == "MS-0103"
    assert ("MS_SURELY_NOT_SET" if kind == "variable" else str(path)) in str(caught.value)


def test_an_up_file_becomes_an_edge_and_a_hub(tmp_path: Path, catalog: object) -> None:
    path = write(
        tmp_path,
        EDGE + "hub: {name: hub, data_dir: hubdata}\nserver: {port: 4222, leaf_port: 7422, mqtt_port: 1883}\n"
        "edges: [{name: e2, path: acme/plant2}]\n"
        "connectors: [{name: a, type: plc, config: {host: h}, tags: [{name: t, address: D1}]}]\n",
    )
    assert role_of(path) == "up"
    config, findings = load_up(path, catalog)  # type: ignore[arg-type]
    assert findings == []
    assert isinstance(config, UpConfig)
    hub = config.hub_config(SecretRef(file=Path("x")))
    edge = config.edge_config(UplinkConfig(url="nats://127.0.0.1:7422"))
    assert isinstance(hub, HubConfig)
    assert isinstance(edge, EdgeConfig)
    assert [e.name for e in hub.edges] == ["e1", "e2"]
    assert (hub.server.port, hub.server.leaf_port, edge.server.mqtt_port) == (4222, 7422, 1883)
    assert edge.connectors[0].config.host == "h"  # type: ignore[union-attr]


def test_findings_as_one_error_names_the_first_and_counts_the_rest() -> None:
    found = [Finding("f.yaml", 3, 1, "edge.name", "wrong"), Finding("f.yaml", 4, 1, "edge.path", "wrong")]
    text = str(config_error(found))
    assert "f.yaml:3:1" in text
    assert "and 1 more" in text
    assert "millstream check f.yaml" in text


def test_every_usual_unit_is_known_to_pint() -> None:
    import pint

    registry = pint.UnitRegistry(cache_folder=None)
    for unit in USUAL_UNITS:
        registry.parse_units(unit)


@pytest.mark.parametrize("unit", ["m/s²", "µm", "kg*m/s**2", "1/min", "%"])
def test_units_of_pint_are_accepted(unit: str) -> None:
    assert unit_problem(unit) is None


@pytest.mark.parametrize(
    "unit", ["9**9**9", "9^99999999", "(9)**99", "m**99", "x" * 1000, "__import__('os')", "\ud800", ""]
)
def test_hostile_units_are_refused_at_once(unit: str) -> None:
    assert unit == "" or unit_problem(unit) is not None


def test_installed_connectors_are_listed_without_importing_them() -> None:
    catalog = InstalledConnectors()
    assert "replay" in catalog
    assert "nothing" not in catalog
    assert catalog["replay"].info.name == "replay"
    with pytest.raises(KeyError):
        catalog["nothing"]


def test_configuration_is_frozen() -> None:
    identity = EdgeIdentity(name="e1", path="acme", data_dir=Path("x"))
    with pytest.raises(ValueError):
        identity.name = "other"


def test_the_check_does_not_load_pint_or_connectors_for_a_usual_file(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = write(tmp_path, EDGE)
    code = (
        "import sys;from pathlib import Path;from millstream.config import load_edge,InstalledConnectors;"
        f"assert load_edge(Path({str(path)!r}),InstalledConnectors())[1]==[];"
        "assert not {'pint','pyarrow','asyncua','pymodbus','gmqtt','duckdb'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_an_edge_serves_pages_only_from_a_history_of_its_own(tmp_path: Path) -> None:
    document: dict[str, Any] = {"edge": {"name": "e1", "path": "acme/p1", "data_dir": tmp_path}, "api": {}}
    with pytest.raises(ValidationError, match="add a 'historian' section"):
        EdgeConfig.model_validate(document)
    assert EdgeConfig.model_validate({**document, "historian": {}}).api is not None
