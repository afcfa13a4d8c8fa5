"""The smallest buffer is full while the hub is away: what the policy does is counted, and a person is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ramp import CATALOG, RampSession

from millstream.bus import StreamReader
from millstream.config import load_edge
from millstream.edge import EdgeNode
from millstream.model import Sample
from millstream.sdk import Batch

ROWS = 3_000
TEXT = "x" * 8_000  # so that 16 MiB are soon full


class WideSession(RampSession):
    """Each row is a number and a long text."""

    async def stream(self, tags: Any, resume: Any) -> Any:
        async for batch in super().stream(tags, resume):
            wide = [Sample(s.tag, [s.value, TEXT], source_time_ns=s.source_time_ns) for s in batch.samples]
            yield Batch(wide, position=batch.position)


class Wide(CATALOG["ramp"]):  # type: ignore[misc]
    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[WideSession]:
        yield WideSession(self._config)


def node_on(folder: Path, when_full: str) -> EdgeNode:
    (folder / "password").write_text("nobody asks for it")
    path = folder / "edge.yaml"
    path.write_text(
        f"""
edge: {{name: e1, path: acme/plant1, data_dir: data}}
uplink: {{url: "nats://127.0.0.1:1", secret: {{file: password}}}}
streams: {{integrity: {{max_bytes: 16MiB, when_full: {when_full}}}}}
connectors:
  - {{name: wide, type: wide, config: {{rows: {ROWS}, batch_rows: 20}}, tags: [{{name: n, address: 1}}]}}
"""
    )
    config, findings = load_edge(path, {"wide": Wide})
    assert config is not None, [str(f) for f in findings]
    return EdgeNode(config, connectors={"wide": Wide})


async def until(condition: Callable[[], bool], node: EdgeNode) -> None:
    try:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in time: {node.status()}") from None


def alarms(node: EdgeNode) -> set[str]:
    return {alarm["code"] for alarm in node.status()["alarms"]}  # type: ignore[attr-defined]


async def numbers(node: EdgeNode) -> list[int]:
    found: list[int] = []
    async with node.server.connection("test") as connection:
        batches = StreamReader(connection).read("E_e1_I", wait_s=1.0)
        async for batch in batches:
            if not batch:
                break
            found += [msgspec.json.decode(m.payload)["value"][0] for m in batch if "._tag." in m.subject]
        await batches.aclose()
    return found


def connector(node: EdgeNode) -> dict[str, Any]:
    return node.status()["connectors"][0]  # type: ignore[index, no-any-return]


async def test_block_holds_the_source_back_and_keeps_all_that_was_accepted(tmp_path: Path) -> None:
    async with node_on(tmp_path, "block") as node:
        await until(lambda: "MS-0401" in alarms(node), node)
        assert connector(node)["state"] == "connected"
        found = await numbers(node)
        assert found == list(range(len(found)))
        assert 0 < len(found) == connector(node)["samples_stored"] < ROWS
        assert node.status()["dropped_messages"] == 0


@pytest.mark.parametrize("when_full", ["drop_oldest", "thin"])
async def test_what_is_dropped_is_counted_and_told(tmp_path: Path, when_full: str) -> None:
    """Texts cannot be thinned, so with `thin`, too, the oldest go in the end."""
    async with node_on(tmp_path, when_full) as node:
        await until(lambda: connector(node)["state"] == "ended", node)
        await until(lambda: "MS-0623" in alarms(node), node)
        if when_full == "thin":
            assert "MS-0622" in alarms(node)
        found = await numbers(node)
        assert found == list(range(ROWS - len(found), ROWS))
        assert connector(node)["samples_stored"] == ROWS
        # Beside the samples the bounds drop records and descriptions, which are messages, too.
        assert int(node.status()["dropped_messages"]) >= ROWS - len(found) > 0  # type: ignore[call-overload]
