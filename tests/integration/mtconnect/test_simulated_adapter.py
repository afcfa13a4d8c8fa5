"""The simulated adapter as a process: what it says that it wrote is what a session receives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from millstream.connectors.mtconnect import MTConnectConfig, MTConnectConnector
from millstream.kernel import Unreachable
from millstream.protocols.shdr import Observation, ShdrParser
from millstream.sdk import ConnectorTools, Streamed, Tag
from millstream.sim import shdr_adapter

ROOT = Path(__file__).resolve().parents[3]
DEVICES = ROOT / "src" / "millstream" / "sim" / "data" / "mazak01-devices.xml"


@asynccontextmanager
async def adapter(truth: Path, *arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """The process, ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "millstream.sim.shdr_adapter", "--truth", str(truth), *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            ready: dict[str, Any] = json.loads(await process.stdout.readline())
        yield process, int(ready["port"])
    finally:
        if process.returncode is None:
            process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def final_truth(path: Path) -> dict[str, Any]:
    """The file, once it is final."""
    async with asyncio.timeout(60):
        while True:
            if path.exists():
                document: dict[str, Any] = json.loads(path.read_text())
                assert document["final"]
                return document
            await asyncio.sleep(0.01)


async def test_every_observation_that_was_written_is_received(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    lines = shdr_adapter.read_lines(shdr_adapter.SAMPLE)
    items = sorted({item for line in lines for item in line.items} | {"adapter_seq"})
    received: Counter[str] = Counter()
    async with adapter(truth, "--speed", "600", "--paused") as (process, port):
        config = MTConnectConfig.model_validate(
            {
                "mode": "shdr",
                "host": "127.0.0.1",
                "port": port,
                "devices_file": str(DEVICES),
                "sequence_item": "adapter_seq",
            }
        )
        tags = [Tag(item, item) for item in items]
        async with MTConnectConnector(config, ConnectorTools()).open() as session:
            assert isinstance(session, Streamed)
            os.kill(process.pid, signal.SIGUSR2)
            expected: dict[str, Any] = {}
            try:
                async with asyncio.timeout(60), aclosing(session.stream(tags, None)) as stream:
                    async for batch in stream:
                        assert not batch.frames_bad
                        received.update(sample.tag for sample in batch.samples)
                        if not expected and received["adapter_seq"] > 2000:
                            os.kill(process.pid, signal.SIGUSR1)
                            expected = await final_truth(truth)
                            process.terminate()  # ends the connection, behind the last line
                            await process.wait()  # a second signal while it ends would kill it
            except Unreachable:
                pass
            assert session.take_source_gaps() == 0
    assert received == Counter(expected["produced"])
    # The kernel lets the session connect before the adapter knows of it: lines of that moment went to nobody.
    assert received["adapter_seq"] + expected["lines_without_client"] == expected["lines"]
    assert expected["clients_dropped"] == 0


async def test_lines_without_a_client_are_gone_and_numbered(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    async with adapter(truth, "--speed", "1000") as (process, port):
        seen: list[int] = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            parser = ShdrParser()
            writer.write(b"* PING\n")
            pongs = 0
            count = 0
            async with asyncio.timeout(60):
                while count < 50 or not pongs:
                    data = await reader.read(4096)
                    pongs += data.count(b"* PONG 10000\n")
                    for event in parser.feed(data):
                        if isinstance(event, Observation) and event.key == "adapter_seq":
                            seen.append(int(event.fields[0]))
                            count += 1
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.2)  # the machine goes on meanwhile
        os.kill(process.pid, signal.SIGUSR1)
        document = await final_truth(truth)
    steps = [b - a for a, b in pairwise(seen)]
    assert sum(step != 1 for step in steps) == 1, "one gap, where nobody was connected"
    assert document["lines_without_client"] > 0
    assert document["lines"] >= max(seen)


def test_the_adapter_counts_items_by_bars_alone() -> None:
    assert shdr_adapter.items_of("Xabs|1.5") == ("Xabs",)
    assert shdr_adapter.items_of("a|1|b|2|c|") == ("a", "b", "c")
    assert shdr_adapter.items_of("servo_cond|Normal||||") == ("servo_cond",)
