"""``onboard`` from simulated devices to a file that ``check`` accepts and an edge could run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
from pathlib import Path

import pytest
from modbus_kit import plant, process

import warm
from millstream.cli import main
from millstream.config import InstalledConnectors, load_edge

OPCUA = ("-m", "millstream.sim.opcua_plant", "--port", "0", "--tags", "3", "--rate", "20")


async def test_from_an_address_to_a_mapped_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with process(*warm.python(*OPCUA)) as (_, ready):
        words = ["127.0.0.1", "--look-for", f"opcua:{ready['port']}", "--yaml"]
        assert await asyncio.to_thread(main, ["discover", *words]) == 0
        Path("found.yaml").write_text(capfd.readouterr().out)
        words = ["found.yaml", "--place", "machining/press7", "--out", "edge.yaml"]
        assert await asyncio.to_thread(main, ["onboard", *words]) == 0, capfd.readouterr().err
        shown = capfd.readouterr()
        config, findings = load_edge(Path("edge.yaml"), InstalledConnectors())
        assert not findings
        assert config is not None
        tags = {tag.name: tag for tag in config.connectors[0].tags}
        assert set(tags) == {
            "counter_000", "counter_001", "counter_002", "spindle_temperature", "coolant_pressure", "spindle_speed",
            "vibration_rms",
        }  # fmt: skip
        assert tags["spindle_temperature"].unit == "degC"
        assert tags["vibration_rms"].unit == "mm/s"
        assert tags["counter_000"].deadband is None, "each step of a counter counts"
        assert config.connectors[0].path == "machining/press7"
        assert "spindle_temperature" in shown.out, "a preview of live values"
        assert "7 tags, 4 with a unit" in shown.err
        # A second time: the file is there, and nobody is asked.
        assert await asyncio.to_thread(main, ["onboard", *words]) == 1
        assert "--yes" in capfd.readouterr().err
        assert await asyncio.to_thread(main, ["onboard", *words, "--yes", "--observe", "0", "--no-deadbands"]) == 0
        assert "deadband" not in Path("edge.yaml").read_text()


async def test_deadbands_follow_the_noise_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The simulated signals have a noise of a twentieth of their amplitude."""
    monkeypatch.chdir(tmp_path)
    async with process(*warm.python(*OPCUA)) as (_, ready):
        config = json.dumps({"endpoint": ready["endpoint"], "security": {"policy": "none"}})
        Path("edge.yaml").write_text(
            "edge: {name: e1, path: acme/plant1, data_dir: data}\n"
            f"connectors: [{{name: press, type: opcua, config: {config}}}]\n"
        )
        found: dict[str, float | None] = {}
        for span_s in (8, 30):  # a machine under load gives few values in a short time
            capfd.readouterr()
            assert await asyncio.to_thread(main, ["onboard", "edge.yaml", "--observe", str(span_s), "--json"]) == 0
            answer = json.loads(capfd.readouterr().out)
            found = {tag["name"]: tag["deadband"] for tag in answer["tags"]}
            if found["spindle_speed"] is not None:
                break
        assert answer["place"] == "press"
        assert answer["complete"]
        assert 350 / 20 / 4 < (found["spindle_speed"] or 0) < 350 / 20 * 8
        assert found["counter_000"] is None


async def test_a_device_that_lists_nothing_is_mapped_from_its_data_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with plant("--port", "0") as (_, ready):
        Path("edge.yaml").write_text(
            "edge: {name: e1, path: acme/plant1, data_dir: data}\n"
            f"connectors: [{{name: boiler, type: modbus, config: {{host: 127.0.0.1, port: {ready['port']}}}}}]\n"
        )
        assert await asyncio.to_thread(main, ["onboard", "edge.yaml"]) == 1
        assert "MS-0501" in capfd.readouterr().err
        Path("boiler.csv").write_text("holding:10:float32,Steam temperature,°C\nholding:60,Not there\ncoil:0,Pump\n")
        assert await asyncio.to_thread(
            main, ["onboard", "edge.yaml", "--addresses", "boiler.csv", "--observe", "1"]
        ) == 0  # fmt: skip
        said = capfd.readouterr()
        Path("new.yaml").write_text(said.out)
        config, findings = load_edge(Path("new.yaml"), InstalledConnectors())
        assert not findings
        assert config is not None
        assert [(tag.name, tag.unit) for tag in config.connectors[0].tags] == [
            ("steam_temperature", "degC"),
            ("pump", None),
        ]
        assert "1 left out" in said.err
        # An address that cannot be one is found by the check, and nothing is written.
        Path("boiler.csv").write_text("holding:ten\n")
        words = ["onboard", "edge.yaml", "--addresses", "boiler.csv", "--observe", "0", "--out", "wrong.yaml"]
        assert await asyncio.to_thread(main, words) == 6
        assert "the new file" in capfd.readouterr().err
        assert not Path("wrong.yaml").exists()


async def test_on_a_terminal_it_shows_and_asks(tmp_path: Path) -> None:
    async with plant("--port", "0") as (_, ready):
        (tmp_path / "edge.yaml").write_text(
            "edge: {name: e1, path: acme/plant1, data_dir: data}\n"
            f"connectors: [{{name: boiler, type: modbus, config: {{host: 127.0.0.1, port: {ready['port']}}}}}]\n"
        )
        (tmp_path / "boiler.csv").write_text("holding:10:float32,Steam temperature,°C\n")
        for answers, status in (("cell/b1\ny\n", 0), ("\nn\n", 1)):
            ours, theirs = pty.openpty()
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "millstream", "onboard", "edge.yaml", "--addresses", "boiler.csv",
                "--observe", "0.5", cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
            )  # fmt: skip
            os.close(theirs)
            os.write(ours, answers.encode())
            said = b""
            with contextlib.suppress(OSError):  # the terminal's other end is closed
                while part := await asyncio.to_thread(os.read, ours, 4096):
                    said += part
            os.close(ours)
            assert await child.wait() == status, said.decode()
            assert b"steam_temperature" in said
            assert b"write edge.yaml anew" in said
    config, findings = load_edge(tmp_path / "edge.yaml", InstalledConnectors())
    assert not findings
    assert config is not None
    assert config.connectors[0].path == "cell/b1"
    assert [tag.name for tag in config.connectors[0].tags] == ["steam_temperature"]
