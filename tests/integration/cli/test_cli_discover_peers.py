"""``discover`` and ``onboard`` against a PLC, an agent, an adapter, brokers and an IO-Link master on this machine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cases.agent_peer import AgentPeer, Item
from cases.loopback import joined
from cases.mosquitto_peer import broker, published, publisher
from cases.snap7_peer import plc
from discover_kit import discover, nonsense
from modbus_kit import process, served

from millstream.cli import main
from millstream.config import InstalledConnectors, load_edge
from millstream.kernel import free_port

ADAPTER = (sys.executable, "-m", "millstream.sim.shdr_adapter", "--port", "0")
MASTER = (sys.executable, "-m", "millstream.sim.iolink_master", "--port", "0")
AGENT_ITEMS = (Item("x1", "Xabs"), Item("m1", "mode", "EVENT", "CONTROLLER_MODE", None))


@pytest.mark.needs("node-snap7")
async def test_a_plc_says_which_module_it_is_and_in_which_slot(capfd: pytest.CaptureFixture[str]) -> None:
    async with plc({"DB": {1: bytes(16)}}) as peer, nonsense() as odd:
        status, found, said = await discover(capfd, "127.0.0.1", "--look-for", f"s7:{peer.port},{odd},{free_port()}")
    assert status == 0, said
    (device,) = found["devices"]
    assert device["config"] == {"host": "127.0.0.1", "port": peer.port, "rack": 0, "slot": 1}
    assert device["facts"]["order_number"].startswith("6ES7 ")
    assert "CPU" in device["facts"]["module"]
    assert device["facts"]["state"] == "run"
    assert [o["where"] for o in found["odd"]] == [f"127.0.0.1:{odd}"]
    assert found["silent"] == 1
    assert found["sent"] == {"connection": 3, "S7 system status list": 2}


async def test_a_plc_in_another_slot_is_found_and_one_that_refuses_all_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A real PLC ends the connection to a slot that has no CPU."""
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(4)
        asked.append(await reader.readexactly(int.from_bytes(header[2:4], "big") - 4))
        writer.write(bytes.fromhex("0300000b06800000000100"))

    async with served(refuse) as port:
        status, found, _ = await discover(capfd, "127.0.0.1", "--look-for", f"s7:{port}")
    assert status == 3
    (odd,) = found["odd"]
    assert "refuses racks and slots" in odd["error"]["message"]
    tsaps = [frame[frame.index(b"\xc2\x02") + 2 :][:2].hex() for frame in asked]
    assert tsaps == ["0301", "0302", "0300"]


async def test_an_agent_lists_its_machines_and_an_adapter_gives_itself_away(
    capfd: pytest.CaptureFixture[str],
) -> None:
    peer = AgentPeer({}, [], items=AGENT_ITEMS)
    async with joined(peer), process(*ADAPTER) as (_, adapter), nonsense() as odd:
        ports = f"{peer.port},{adapter['port']},{odd},{free_port()}"
        status, found, said = await discover(capfd, "127.0.0.1", "--look-for", f"mtconnect:{ports}")
    assert status == 0, said
    agent, shdr = found["devices"]
    assert agent["config"] == {"mode": "agent", "url": f"http://127.0.0.1:{peer.port}"}
    assert (agent["name"], agent["facts"]["data_items"]) == ("d", "2")
    assert shdr["config"] == {"mode": "shdr", "host": "127.0.0.1", "port": adapter["port"]}
    assert [o["where"] for o in found["odd"]] == [f"127.0.0.1:{odd}"]
    assert found["silent"] == 1


@asynccontextmanager
async def brokers(folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """One that is open to anybody, with a retained message, and one that wants a password."""
    async with AsyncExitStack() as stack:
        folders = [folder / "open", folder / "closed"]
        for each in folders:
            each.mkdir()
        free = await stack.enter_async_context(broker(folders[0]))
        closed = await stack.enter_async_context(broker(folders[1], password="secret"))
        client = await stack.enter_async_context(publisher(free.port))
        client.publish("hall/scale/state", b'{"n": 3, "kg": 12.5, "dose": {"a b": 1}}', qos=1, retain=True)
        await published(client, "hall/scale/raw", b"\xff\xfe")
        yield free, closed


@pytest.mark.needs("mosquitto")
async def test_a_broker_is_found_with_its_topics_and_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with brokers(tmp_path) as (free, closed), nonsense() as odd:
        ports = f"{free.port},{closed.port},{odd},{free_port()}"
        status, found, said = await discover(capfd, "127.0.0.1", "--look-for", f"mqtt:{ports}", "--timeout", "4")
        assert status == 0, said
        first, second = found["devices"]
        assert first["facts"] == {"access": "anybody", "topics": "1", "begin_with": "hall"}
        assert second["facts"]["access"] == "user and password"
        assert [o["where"] for o in found["odd"]] == [f"127.0.0.1:{odd}"]
        # From there to a file with a tag for each member of what is published.
        words = ["discover", "127.0.0.1", "--look-for", f"mqtt:{free.port}", "--yaml"]
        assert await asyncio.to_thread(main, words) == 0
        Path("found.yaml").write_text(capfd.readouterr().out)
        words = ["onboard", "found.yaml", "--place", "hall/scale", "--observe", "1", "--out", "edge.yaml"]
        assert await asyncio.to_thread(main, words) == 0, capfd.readouterr().err
        config, findings = load_edge(Path("edge.yaml"), InstalledConnectors())
    assert not findings
    assert config is not None
    assert {tag.address for tag in config.connectors[0].tags} == {
        "hall/scale/state#$.n", "hall/scale/state#$.kg", "hall/scale/state#$.dose['a b']",
    }  # fmt: skip


async def test_an_io_link_master_says_who_it_is_in_either_dialect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    async def only_core(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An IoT core: whatever is asked below another path does not exist."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(h.split(":")[1]) for h in head.lower().split("\r\n") if h.startswith("content-l")), 0)
            await reader.readexactly(length)
            body = b'{"cid":1,"code":200,"data":{"/deviceinfo/productcode":{"code":200,"data":"AL1350"}}}'
            if head.startswith("GET"):
                writer.write(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
            else:
                writer.write(f"HTTP/1.1 200 X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def web_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")

    async with process(*MASTER) as (_, master), served(only_core) as core, served(web_page) as page:
        ports = f"{master['port']},{core},{page},{free_port()}"
        status, found, said = await discover(capfd, "127.0.0.1", "--look-for", f"iolink:{ports}", "--timeout", "4")
        assert status == 0, said
        first, second = found["devices"]
        assert first["config"] == {"url": f"http://127.0.0.1:{master['port']}/iolink/v1", "dialect": "json"}
        assert first["facts"] | {"ports": "4", "connected": "1, 2"} == first["facts"]
        assert second["config"] == {"url": f"http://127.0.0.1:{core}", "dialect": "iotcore"}
        assert second["name"] == "AL1350"
        assert [o["where"] for o in found["odd"]] == [f"127.0.0.1:{page}"]
        assert found["silent"] == 1
        words = ["discover", "127.0.0.1", "--look-for", f"iolink:{master['port']}", "--yaml"]
        assert await asyncio.to_thread(main, words) == 0
        Path("found.yaml").write_text(capfd.readouterr().out)
        words = ["onboard", "found.yaml", "--place", "cell", "--observe", "1", "--out", "edge.yaml"]
        assert await asyncio.to_thread(main, words) == 0, capfd.readouterr().err
        config, findings = load_edge(Path("edge.yaml"), InstalledConnectors())
    assert not findings
    assert config is not None
    assert "port1:product_name" in {tag.address for tag in config.connectors[0].tags}
