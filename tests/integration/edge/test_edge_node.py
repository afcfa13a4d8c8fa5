"""The edge node with a real nats-server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from ramp import CATALOG

import warm
from millstream.bus import (
    Credentials,
    RawConnection,
    StreamApi,
    StreamReader,
    _server_child,
    _server_looks,
    connect_nats,
    request_nats,
)
from millstream.config import load_edge
from millstream.edge import EdgeNode, _node
from millstream.kernel import PlantError, free_port
from millstream.protocols.command import Command, Delivery
from millstream.protocols.ledger import LedgerVerifier, is_ledger_subject
from millstream.sdk import CommandContext, Received

HERE = Path(__file__).parent


def write_config(folder: Path, rows: int, *, durability: str = "integrity", extra: str = "") -> Path:
    path = folder / "edge.yaml"
    path.write_text(
        f"""
edge: {{name: e1, path: acme/plant1, data_dir: data}}
connectors:
  - name: ramp
    type: ramp
    path: line/cell
    durability: {durability}
    config: {{rows: {rows}}}
    tags:
      - {{name: axis/position, address: 1, unit: mm, description: where it is}}
      - {{name: axis/speed, address: 2, unit: mm/s}}
{extra}
"""
    )
    return path


def node_for(path: Path) -> EdgeNode:
    config, findings = load_edge(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    return EdgeNode(config, connectors=CATALOG)


async def until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.02)


def ramp_status(node: EdgeNode) -> dict[str, Any]:
    return node.status()["connectors"][0]  # type: ignore[index, no-any-return]


@asynccontextmanager
async def connected(node: EdgeNode) -> AsyncIterator[RawConnection]:
    async with RawConnection(
        node.server.url, credentials=Credentials(node.server.user, node.server.password)
    ) as connection:
        yield connection


async def messages_of(node: EdgeNode, stream: str) -> list[Received]:
    """All that the stream holds, once its last message is a record (throughput's comes a moment after the data)."""
    found: list[Received] = []
    async with (
        asyncio.timeout(60),
        connected(node) as connection,
        aclosing(StreamReader(connection).read(stream)) as batches,
    ):
        api = StreamApi(connection)
        async for batch in batches:
            found += batch
            last_seq = (await api.state(stream)).last_seq
            if found and found[-1].seq >= last_seq and is_ledger_subject(found[-1].subject):
                break
    return found


async def read_stream(node: EdgeNode, stream: str) -> tuple[dict[str, list[int]], LedgerVerifier]:
    values: dict[str, list[int]] = {}
    verifier = LedgerVerifier()
    for m in await messages_of(node, stream):
        is_counted = "._tag." in m.subject
        verifier.feed(stream, m.seq, m.subject, 1 if is_counted else 0, m.payload)
        if is_counted and not is_ledger_subject(m.subject):
            values.setdefault(m.subject, []).append(msgspec.json.decode(m.payload)["value"])
    return values, verifier


async def test_a_ramp_is_stored_once_described_and_accounted(tmp_path: Path) -> None:
    async with node_for(write_config(tmp_path, 1000)) as node:
        await until(lambda: ramp_status(node)["state"] == "ended")
        values, verifier = await read_stream(node, "E_e1_I")
        assert values == {
            "uns.v1.acme.plant1.line.cell._tag.axis.position": list(range(1000)),
            "uns.v1.acme.plant1.line.cell._tag.axis.speed": list(range(1000)),
        }
        account = verifier.accounts["E_e1_I"]
        assert account.is_clean
        assert account.samples == 2000
        assert ramp_status(node)["samples_stored"] == 2000
        await until((tmp_path / "data" / "meta.json").exists)  # written once the descriptions are stored
        async with connected(node) as connection:
            answer = await connection.request(
                "$JS.API.DIRECT.GET.E_e1_I.uns.v1.acme.plant1.line.cell._meta.axis.position"
            )
        meta = json.loads(answer[4])
        assert (meta["unit"], meta["source"]["address"], meta["revision"]) == ("mm", "1", 1)


async def test_status_is_served_and_node_json_is_private_and_goes_away(tmp_path: Path) -> None:
    async with node_for(write_config(tmp_path, 10)) as node:
        await until(lambda: ramp_status(node)["state"] == "ended")
        info_path = tmp_path / "data" / "node.json"
        info = json.loads(info_path.read_text())
        assert stat.S_IMODE(info_path.stat().st_mode) == 0o600
        client = await connect_nats(info["nats_url"], Credentials(info["user"], info["password"]))
        try:
            answer = await request_nats(client, "millstream.node.e1.status")
        finally:
            await client.close()
        status = json.loads(answer.data)
        assert (status["role"], status["name"], status["path"]) == ("edge", "e1", "acme/plant1")
        assert status["connectors"][0]["samples_stored"] == 20
        assert status["publishers"][0]["name"] == "integrity"
        assert status["uplink"]["state"] == "none"
        assert {s["name"] for s in status["streams"]} == {"E_e1_I", "E_e1_DLQ"}
        assert status["rss_mb"] > 10
        assert status["alarms"] == []
    assert not info_path.exists()


async def test_unchanged_descriptions_are_not_published_again_and_changed_ones_count_up(tmp_path: Path) -> None:
    path = write_config(tmp_path, 1)
    note = tmp_path / "data" / "meta.json"

    async def metas(*, is_new: bool) -> list[Any]:
        before = note.read_bytes() if note.exists() else b""
        async with node_for(path) as node:
            await until(lambda: ramp_status(node)["state"] == "ended")
            await until(lambda: not is_new or (note.exists() and note.read_bytes() != before))
            return [json.loads(m.payload) for m in await messages_of(node, "E_e1_I") if "._meta." in m.subject]

    assert len(await metas(is_new=True)) == 2
    assert len(await metas(is_new=False)) == 2
    path.write_text(path.read_text().replace("mm/s", "m/s"))
    assert [m["revision"] for m in await metas(is_new=True)] == [1, 1, 2]


async def test_throughput_class_has_its_own_stream(tmp_path: Path) -> None:
    async with node_for(write_config(tmp_path, 500, durability="throughput")) as node:
        await until(lambda: ramp_status(node)["state"] == "ended")
        values, _ = await read_stream(node, "E_e1_T")
        assert [len(v) for v in values.values()] == [500, 500]
        assert values["uns.v1.acme.plant1.line.cell._tag.axis.speed"] == list(range(500))


async def start(path: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(*warm.python(str(HERE / "ramp_edge.py"), str(path)))


async def start_afresh(path: Path) -> asyncio.subprocess.Process:
    """One whose memory is its own."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    return await asyncio.create_subprocess_exec(sys.executable, str(HERE / "ramp_edge.py"), str(path), env=environment)


def last_seq(folder: Path) -> Path:
    return folder / "data" / "node.json"


@pytest.mark.parametrize("durability", ["integrity", "throughput"])
async def test_kill_9_of_the_edge_loses_and_doubles_nothing_of_a_rewindable_source(
    tmp_path: Path, durability: str
) -> None:
    path = write_config(tmp_path, 3000, durability=durability)
    node_json = tmp_path / "data" / "node.json"
    for turn in range(4):
        node_json.unlink(missing_ok=True)
        process = await start(path)
        try:
            await until(node_json.exists)
            await asyncio.sleep(0.15 + 0.1 * turn)
        finally:
            process.kill()
            await process.wait()
    warm.settle()
    async with node_for(path) as node:
        await until(lambda: ramp_status(node)["state"] == "ended", 60)
        stream = "E_e1_I" if durability == "integrity" else "E_e1_T"
        values, verifier = await read_stream(node, stream)
        for series in values.values():
            assert series == list(range(3000))
        account = verifier.accounts[stream]
        assert account.is_clean, account
        assert ramp_status(node)["samples_received"] == 6000
    await until(lambda: not _servers_of(tmp_path))


async def test_a_stop_signal_ends_the_edge_cleanly(tmp_path: Path) -> None:
    path = write_config(tmp_path, 10**6)
    process = await start_afresh(path)
    try:
        await until(lambda: (tmp_path / "data" / "node.json").exists())
        assert psutil.Process(process.pid).memory_info().rss < 150e6
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not _servers_of(tmp_path)


def _servers_of(folder: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if str(folder) in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize("when", ["its server starts", "it waits for its hub"])
async def test_a_stop_while_it_starts_is_not_put_off_until_it_is_up(tmp_path: Path, when: str) -> None:
    """Of a hub that is away it waits some seconds for where that stands; a large store is scanned for minutes."""
    (tmp_path / "uplink.secret").write_text("of a hub that is away", encoding="ascii")
    uplink = f"uplink: {{url: 'nats://127.0.0.1:{free_port()}', secret: {{file: uplink.secret}}}}"
    config, findings = load_edge(write_config(tmp_path, 10**6, extra=uplink), CATALOG)
    assert config is not None, findings
    said: list[str] = []
    stop, node = asyncio.Event(), EdgeNode(config, connectors=CATALOG, log=lambda level, line: said.append(line))
    running = asyncio.ensure_future(node.run(stop))
    if when == "it waits for its hub":
        await until(lambda: node._forward is not None)
    else:
        await until(lambda: (tmp_path / "data/server").exists())
    stop.set()
    await running
    assert any("edge stops while" in line for line in said), said
    assert not any("edge is up" in line for line in said)
    assert not _servers_of(tmp_path)


async def test_a_connector_gets_a_reader_of_the_nodes_own_streams(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Curious(CATALOG["ramp"]):  # type: ignore[misc, name-defined]
        def __init__(self, config: Any, tools: Any) -> None:
            super().__init__(config, tools)
            seen.append(tools)

    path = write_config(tmp_path, 1)
    path.write_text(path.read_text() + "server: {mqtt_port: 0}\n")
    config, _ = load_edge(path, CATALOG)
    assert config is not None
    async with EdgeNode(config, connectors={"ramp": Curious}) as node:
        assert seen[-1].reader is not None
        assert seen[-1].mqtt_stream == "E_e1_MQTT"
        info = json.loads((tmp_path / "data" / "node.json").read_text())
        assert info["mqtt_port"] > 0
        assert info["mqtt_password"]
        assert node.status()["alarms"] == []
    assert seen[0].reader is None


async def test_a_connector_that_hangs_on_stop_is_cut_off_and_the_edge_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millstream.edge import _connector_set

    class Stuck(CATALOG["ramp"]):  # type: ignore[misc, name-defined]
        @asynccontextmanager
        async def open(self) -> AsyncIterator[Any]:
            await asyncio.Event().wait()
            yield

    monkeypatch.setattr(_connector_set, "STOP_TIMEOUT_S", 0.2)
    config, _ = load_edge(write_config(tmp_path, 1), CATALOG)
    assert config is not None
    async with EdgeNode(config, connectors={"ramp": Stuck}) as node:
        await until(lambda: ramp_status(node)["state"] == "opening")


async def test_a_server_that_is_killed_comes_back_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    async with node_for(write_config(tmp_path, 3000)) as node:
        await until(lambda: ramp_status(node)["samples_stored"] > 100)
        pid = node.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: ramp_status(node)["state"] == "ended", 60)
        values, verifier = await read_stream(node, "E_e1_I")
        for series in values.values():
            assert series == list(range(3000))
        assert verifier.accounts["E_e1_I"].is_clean
        assert node.status()["server_restarts"] == 1


async def test_a_server_that_is_frozen_is_restarted_and_nothing_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its sockets and takes bytes, but answers nobody: only the watchdog can tell."""
    monkeypatch.setattr(_server_looks, "HEALTH_FAILURES_MAX", 2)
    monkeypatch.setattr(_server_child, "STOP_TIMEOUT_S", 1.0)  # a frozen process heeds no SIGTERM
    async with node_for(write_config(tmp_path, 3000)) as node:
        await until(lambda: ramp_status(node)["samples_stored"] > 100)
        pid = node.server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: node.status()["server_restarts"] == 1, 60)
        assert not psutil.pid_exists(pid)
        await until(lambda: ramp_status(node)["state"] == "ended", 60)
        values, verifier = await read_stream(node, "E_e1_I")
        for series in values.values():
            assert series == list(range(3000))
        assert verifier.accounts["E_e1_I"].is_clean
        await until(lambda: not {"MS-0606", "MS-0607"} & {a["code"] for a in node.status()["alarms"]})  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["type", "port", "folder", "secret"])
async def test_an_edge_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path, what: str) -> None:
    import socket

    path = write_config(tmp_path, 1)
    text = path.read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        if what == "port":
            text += f"server: {{port: {taken.getsockname()[1]}}}\n"
        elif what == "folder":
            (tmp_path / "data").write_text("a file")
        elif what == "secret":
            text += "uplink: {url: 'nats://127.0.0.1:1'}\n"
        path.write_text(text)
        config, findings = load_edge(path, CATALOG)
        assert config is not None, [str(f) for f in findings]
        codes = {"type": "MS-0100", "port": "MS-0601", "folder": "MS-0602", "secret": "MS-0103"}
        with pytest.raises(PlantError) as caught:
            async with EdgeNode(config, connectors={} if what == "type" else CATALOG):
                pass
    assert caught.value.code == codes[what]
    assert not _servers_of(tmp_path)


class Stubborn:
    """A command that does not let itself be ended."""

    description, is_cancellable, time_limit_s = "Go on.", False, 300.0
    schema: Mapping[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def run(self, args: Mapping[str, Any], context: CommandContext) -> Any:
        self.begun.set()
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                continue


async def test_an_edge_stops_though_a_command_does_not_and_says_which_part_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_node, "END_S", 0.2)
    config, _ = load_edge(write_config(tmp_path, 1), CATALOG)
    assert config is not None
    stubborn, told = Stubborn(), list[str]()

    def log(*args: object, **more: object) -> None:
        told.append(f"{args} {more}")

    edge = EdgeNode(config, connectors=CATALOG, commands={"go_on": stubborn}, log=log)
    async with edge as node, asyncio.timeout(20):
        now_ns = time.time_ns()
        command = Command("0123456789abcdef", "go_on", "ada", now_ns, now_ns + 60 * 10**9, {})
        async with connected(node) as connection:
            connection.publish("millstream.node.e1.command", msgspec.json.encode(Delivery("f" * 16, command)))
            await stubborn.begun.wait()
    assert [line for line in told if "does not end" in line and "commands" in line], told
    stubborn.may_end.set()
    await until(lambda: not [each for each in asyncio.all_tasks() if "command" in each.get_name()])
