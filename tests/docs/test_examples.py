"""Every file in examples/ does what it says: the YAML is checked and run with the simulated plant, the scripts run."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ROOT, all_tags, beside, checkout, node_json, simulated_plant, until_done, use_ports

from millstream.config import InstalledConnectors, UpConfig, load_any

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_file())
TEMPERATURE = "acme/plant1/utilities/boiler1:steam/temperature"
SCRIPTS = {"live.py": "acme/plant1 --count 3", "history.py": f"{TEMPERATURE} hour.parquet"}


def test_every_example_is_tested_here() -> None:
    assert {path.name for path in EXAMPLES if path.suffix != ".yaml"} == set(SCRIPTS)


@pytest.mark.parametrize("file", [p for p in EXAMPLES if p.suffix == ".yaml"], ids=lambda p: p.name)
def test_an_example_file_has_no_errors(file: Path) -> None:
    config, findings = load_any(file, InstalledConnectors())
    assert [str(finding) for finding in findings] == []
    assert config is not None


async def test_the_single_machine_runs_with_all_protocols_and_the_scripts_read_it(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    folder, file = root / "examples", root / "examples" / "up.yaml"
    config, _ = load_any(file, InstalledConnectors())
    assert isinstance(config, UpConfig)
    async with simulated_plant(root, folder) as ports:
        use_ports(file, {**ports, 4222: 0, 1883: 0})
        async with beside(root, folder, "millstream up -c up.yaml"):
            await node_json(folder / "data" / "edge")
            silent = {
                "axes/x/position",
                "path/feedrate",
                "controller/execution",
            }  # the recording's machine stands still
            expected = sum(tag.name not in silent for entry in config.connectors for tag in entry.tags)
            tags = await all_tags(root, folder, expected)
            assert {path.split("/")[2] for path in tags} == {"presses", "utilities", "machining", "packing"}
            for script, arguments in SCRIPTS.items():
                # The history takes a moment longer than the last values, and has no rows until then.
                await until_done(root, folder, f"python {script} {arguments}", lines_min=1)
    assert pyarrow.parquet.read_table(folder / "hour.parquet").column("count").to_pylist() >= [1]
