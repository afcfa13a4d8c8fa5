"""A disk that is really full: sources are held back, a person is told, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ramp import CATALOG

from millstream.bus import StreamReader
from millstream.config import load_edge
from millstream.edge import EdgeNode
from millstream.kernel import PlantError
from millstream.protocols.diagnosis import Facts, judge
from millstream.protocols.ledger import LedgerVerifier, is_ledger_subject

ROWS = 60_000
LEFT_BYTES = 2 << 20  # what the foreign file leaves free


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def node_on(folder: Path, durability: str) -> EdgeNode:
    path = folder / "edge.yaml"
    path.write_text(
        f"""
edge: {{name: e1, path: acme/plant1, data_dir: data}}
connectors:
  - name: ramp
    type: ramp
    durability: {durability}
    config: {{rows: {ROWS}, batch_rows: 400, pause: 10ms}}
    tags: [{{name: n, address: 1}}]
"""
    )
    config, findings = load_edge(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    return EdgeNode(config, connectors=CATALOG)


def fill(folder: Path, left_bytes: int) -> Path:
    """A foreign file that takes the disk."""
    usage = os.statvfs(folder)
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, usage.f_bavail * usage.f_frsize - left_bytes)
    return ballast


async def until(condition: Callable[[], bool], node: EdgeNode, deadline_s: float = 90.0) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in time: {node.status()}") from None


def connector(node: EdgeNode) -> dict[str, Any]:
    return node.status()["connectors"][0]  # type: ignore[index, no-any-return]


def alarms(node: EdgeNode) -> set[str]:
    return {alarm["code"] for alarm in node.status()["alarms"]}  # type: ignore[attr-defined]


async def stored(node: EdgeNode, stream: str) -> tuple[list[int], LedgerVerifier]:
    values: list[int] = []
    verifier = LedgerVerifier()
    async with node.server.connection("test") as connection:
        batches = StreamReader(connection).read(stream, wait_s=1.0)
        async for batch in batches:
            if not batch:
                break
            for m in batch:
                is_counted = "._tag." in m.subject
                verifier.feed(stream, m.seq, m.subject, 1 if is_counted else 0, m.payload)
                if is_counted and not is_ledger_subject(m.subject):
                    values.append(msgspec.json.decode(m.payload)["value"])
        await batches.aclose()
    return values, verifier


@pytest.mark.needs("mount")
@pytest.mark.parametrize(("durability", "kind"), [("integrity", "I"), ("throughput", "T")])
async def test_a_full_disk_holds_the_source_back_and_nothing_is_lost(
    small_disk: Path, durability: str, kind: str
) -> None:
    async with node_on(small_disk, durability) as node:
        await until(lambda: connector(node)["samples_stored"] > 0, node)
        ballast = fill(small_disk, LEFT_BYTES)
        await until(lambda: "MS-0609" in alarms(node), node)
        held = -1

        def is_held_back() -> bool:
            nonlocal held
            before, held = held, connector(node)["samples_received"]
            return before == held and connector(node)["units_unanswered"] > 0

        await until(is_held_back, node)
        findings = judge(Facts(0, nodes=[node.status()]))
        assert any(f.code == "MS-0609" and "disk" in f.message for f in findings)
        assert connector(node)["state"] == "connected"
        assert held < ROWS
        ballast.unlink()
        await until(lambda: connector(node)["state"] == "ended", node)
        await until(lambda: "MS-0609" not in alarms(node), node)
        assert connector(node)["samples_dead"] == 0
        values, verifier = await stored(node, f"E_e1_{kind}")
        assert values == list(range(ROWS))
        assert verifier.accounts[f"E_e1_{kind}"].is_clean


@pytest.mark.needs("mount")
async def test_a_node_that_starts_on_a_full_disk_says_so(small_disk: Path) -> None:
    node = node_on(small_disk, "integrity")
    fill(small_disk, 0)
    with pytest.raises(PlantError, match="No space left on device") as caught:
        async with node:
            pass
    assert caught.value.code == "MS-0602"
    assert "free space" in str(caught.value.next_step)
