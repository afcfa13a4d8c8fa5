"""``browse`` of each protocol against a real peer: what it writes is a configuration that ``check`` accepts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import pytest
from cases.agent_peer import AgentPeer, Item
from cases.loopback import joined
from cases.shdr_peer import ShdrPeer
from modbus_kit import plant, process

import warm
from millstream.cli import main

ROOT = Path(__file__).resolve().parents[2]
HEAD = "edge: {name: e1, path: acme/plant1, data_dir: data}\n"
DATA = files("millstream.sim") / "data"
ITEMS = (Item("x1", "Xabs"), Item("t1", "Stemp", "SAMPLE", "TEMPERATURE", "CELSIUS"))


@asynccontextmanager
async def device(kind: str) -> AsyncIterator[str]:
    """A device, as the `config` that reaches it."""
    if kind == "opcua":
        command = warm.python("-m", "millstream.sim.opcua_plant", "--port", "0", "--tags", "3")
        async with process(*command) as (_, ready):
            yield f"{{endpoint: '{ready['endpoint']}', security: {{policy: none}}}}"
    elif kind == "opcua-foreign":
        script = ROOT / "peers/opcua_conformance.js"
        async with process("node", str(script), "pki", "plain") as (_, ready):
            endpoint = f"opc.tcp://127.0.0.1:{ready['port']}"
            yield f"{{endpoint: '{endpoint}', security: {{policy: none}}, request_timeout: 60s}}"
    elif kind == "mtconnect-agent":
        async with joined(AgentPeer({}, (), items=ITEMS)) as agent:
            yield f"{{mode: agent, url: 'http://127.0.0.1:{agent.port}'}}"
    elif kind == "mtconnect-shdr":
        async with joined(ShdrPeer({}, (), pong_ms=None)) as adapter:
            model = DATA / "mazak01-devices.xml"
            yield f"{{mode: shdr, host: 127.0.0.1, port: {adapter.port}, devices_file: '{model}'}}"
    elif kind == "mtconnect-shdr-without-a-model":
        async with joined(ShdrPeer({}, (), pong_ms=None, greeting=b"|Xabs|1.5|mode|AUTO\n")) as adapter:
            yield f"{{mode: shdr, host: 127.0.0.1, port: {adapter.port}}}"
    elif kind == "replay":
        yield f"{{file: '{DATA / 'mazak01.txt.gz'}'}}"
    else:
        async with plant("--port", "0") as (_, ready):
            yield f"{{host: 127.0.0.1, port: {ready['port']}}}"


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("opcua", "counter"),
        pytest.param("opcua-foreign", "nsu=", marks=pytest.mark.needs("node-opcua")),
        ("mtconnect-agent", "x1"),
        ("mtconnect-shdr", "Xabs"),
        ("mtconnect-shdr-without-a-model", "Xabs"),
        ("replay", "Xabs"),
    ],
)
async def test_what_browse_writes_is_accepted_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: str, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    async with device(kind) as config:
        entry = f"connectors:\n  - {{name: found, type: {kind.partition('-')[0]}, path: cell, config: {config}}}\n"
        Path("edge.yaml").write_text(HEAD + entry)
        assert await asyncio.to_thread(main, ["probe", "edge.yaml"]) == 0
        capfd.readouterr()
        assert await asyncio.to_thread(main, ["browse", "edge.yaml", "found"]) == 0
        text = capfd.readouterr().out
    assert address in text
    Path("found.yaml").write_text(HEAD + text)
    status = await asyncio.to_thread(main, ["check", "found.yaml"])
    assert status == 0, capfd.readouterr().out[:3000]


async def test_a_protocol_that_cannot_list_says_so_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with device("modbus") as config:
        Path("edge.yaml").write_text(HEAD + f"connectors:\n  - {{name: found, type: modbus, config: {config}}}\n")
        assert await asyncio.to_thread(main, ["probe", "edge.yaml"]) == 0
        capfd.readouterr()
        assert await asyncio.to_thread(main, ["browse", "edge.yaml", "found"]) == 1
    said = capfd.readouterr().err
    assert "MS-0501" in said
    assert "tip" in said
