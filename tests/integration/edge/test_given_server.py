"""An edge on a server that somebody else runs: it says at the start what that server lacks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ramp import CATALOG

from millstream.bus._server_program import find_program
from millstream.config import load_edge
from millstream.edge import EdgeNode
from millstream.kernel import PlantError
from millstream.protocols.diagnosis import Facts, judge


def spawn(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([find_program(), "-c", str(config)], stderr=subprocess.DEVNULL)


@contextlib.asynccontextmanager
async def foreign_server(folder: Path, jetstream: str) -> AsyncIterator[int]:
    """A nats-server; gives its port."""
    config = folder / "foreign.conf"
    config.write_text(
        f'listen: "127.0.0.1:-1"\nserver_name: "t"\nports_file_dir: "{folder}"\n{jetstream}\n'
        'accounts { P: { users: [{user: edge, password: "only-for-tests"}] JETSTREAM }, S: {} }\n'.replace(
            "JETSTREAM", ", jetstream: enabled" if "enabled" in jetstream else ""
        )
    )
    process = spawn(config)
    try:
        ports = folder / f"nats-server_{process.pid}.ports"
        async with asyncio.timeout(60):
            while not ports.exists() or not ports.read_text().strip():
                await asyncio.sleep(0.02)
        yield int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
    finally:
        process.kill()
        process.wait()


def node_on(folder: Path, port: int) -> EdgeNode:
    (folder / "password").write_text("only-for-tests")
    path = folder / "edge.yaml"
    path.write_text(
        f"""
edge: {{name: e1, path: acme/plant1, data_dir: data}}
server: {{url: "nats://127.0.0.1:{port}", user: edge, secret: {{file: password}}}}
connectors:
  - {{name: ramp, type: ramp, config: {{rows: 50}}, tags: [{{name: n, address: 1}}]}}
"""
    )
    config, findings = load_edge(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    return EdgeNode(config, connectors=CATALOG)


def jetstream(folder: Path, domain: str) -> str:
    return f'jetstream {{ enabled: true, store_dir: "{folder}/js", domain: "{domain}" }}'


async def test_a_fitting_server_is_used_and_what_cannot_be_seen_is_said(tmp_path: Path) -> None:
    async with foreign_server(tmp_path, jetstream(tmp_path, "e1")) as port, node_on(tmp_path, port) as node:
        async with asyncio.timeout(60):
            while node.status()["connectors"][0]["samples_stored"] < 50:  # type: ignore[index]
                await asyncio.sleep(0.02)
        findings = [f for f in judge(Facts(0, nodes=[node.status()])) if f.code == "MS-0604"]
        assert [f.severity for f in findings] == ["warning"]
        assert "cannot be seen from outside" in findings[0].message


@pytest.mark.parametrize(
    ("section", "part"),
    [("", "without JetStream"), ("other", "another JetStream domain"), ("account", "without JetStream for this user")],
)
async def test_a_server_that_lacks_an_ability_is_refused_at_the_start(tmp_path: Path, section: str, part: str) -> None:
    text = jetstream(tmp_path, "other" if section == "other" else "e1") if section else ""
    if section == "account":
        text = text.replace("enabled: true, ", "")
    async with foreign_server(tmp_path, text) as port:
        with pytest.raises(PlantError, match=part) as caught:
            async with node_on(tmp_path, port):
                pass
        assert caught.value.code == "MS-0620"
        assert caught.value.next_step is not None


async def test_a_server_that_is_too_old_is_refused_at_the_start(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.22","headers":true,"jetstream":true}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    other = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with other:
        with pytest.raises(PlantError, match=r"too old, expected 2\.14 or newer, got 2\.10\.22"):
            async with node_on(tmp_path, other.sockets[0].getsockname()[1]):
                pass
        await asyncio.sleep(0)
