"""The file that `discover --yaml` prints passes `check`, however devices call themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.cli._discover import edge_file
from millstream.config import InstalledConnectors, load_edge
from millstream.edge import Found
from millstream.sdk import Discovered

NAMES = [
    "Press 7",
    "Press 7",
    "温度計",
    "",
    "-",
    "x" * 300,
    'a": {b}\n- c',
    "Ärger\x7f\u202e",
    "1756-L85E/B LOGIX5585E",
]


@pytest.mark.parametrize(
    "where", ["10.0.4.17:502/3", "[fd00::17]:502/3", "a-very-long-host-name.of.a.plant.example:50200/247"]
)
def test_any_name_of_a_device_becomes_a_connectors_name(where: str, tmp_path: Path) -> None:
    config = {"host": "10.0.4.17", "port": 502, "unit_id": 3}
    file = tmp_path / "found.yaml"
    file.write_text(edge_file([Found("modbus", Discovered(where, name, config)) for name in NAMES]), encoding="utf-8")
    edge, findings = load_edge(file, InstalledConnectors())
    assert [str(finding) for finding in findings] == []
    assert edge is not None
    assert len({entry.name for entry in edge.connectors}) == len(NAMES)


def test_nothing_found_is_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "found.yaml"
    file.write_text(edge_file([]), encoding="utf-8")
    assert load_edge(file, InstalledConnectors())[1] == []
