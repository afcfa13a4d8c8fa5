"""An edge as a process that can be killed, and what its stream holds afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

import warm
from millstream.bus import Credentials, RawConnection, StreamApi, StreamReader
from millstream.config import InstalledConnectors, load_edge
from millstream.edge import EdgeNode
from millstream.protocols.ledger import LedgerVerifier, is_ledger_subject
from millstream.rig import Child

WAIT_S = 60.0
STREAM = "E_e1_I"
LETTERS = "E_e1_DLQ"


async def until(condition: Callable[[], bool], tell: Callable[[], object] = lambda: "") -> None:
    """Wait for it; `tell` says how things stand when it does not come."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {WAIT_S:g} s: {tell()}"
        await asyncio.sleep(0.02)


def write_edge(folder: Path, connector: str) -> Path:
    """An edge file with one connector, given as YAML below ``connectors:``."""
    path = folder / "edge.yaml"
    path.write_text(f"edge: {{name: e1, path: acme/plant1, data_dir: data}}\nconnectors:\n{connector}")
    return path


@asynccontextmanager
async def edge_process(path: Path) -> AsyncIterator[Child]:
    """An edge that runs; on exit it is killed, without a chance to say goodbye."""
    node_json = path.parent / "data" / "node.json"
    node_json.unlink(missing_ok=True)
    edge = await Child.start("edge", ["edge", "--config", str(path)], path.parent, by=warm.command())
    try:
        await edge.wait_file(node_json)
        yield edge
    finally:
        await edge.kill()


@asynccontextmanager
async def edge_node(path: Path) -> AsyncIterator[EdgeNode]:
    """The edge in this process."""
    catalog = InstalledConnectors()
    config, findings = load_edge(path, catalog)
    assert config is not None, [str(finding) for finding in findings]
    async with EdgeNode(config, connectors=catalog) as node:
        yield node


def status_of(node: EdgeNode) -> dict[str, Any]:
    """Of its first connector."""
    return node.status()["connectors"][0]  # type: ignore[index, no-any-return]


async def stored_values(node: EdgeNode) -> tuple[dict[str, list[Any]], LedgerVerifier]:
    """Values by the last token of their subject, in stream order, and the account of them."""
    values: dict[str, list[Any]] = {}
    verifier = LedgerVerifier()
    async with (
        asyncio.timeout(WAIT_S),
        RawConnection(node.server.url, credentials=Credentials(node.server.user, node.server.password)) as connection,
        aclosing(StreamReader(connection).read(STREAM)) as batches,
    ):
        last_seq = (await StreamApi(connection).state(STREAM)).last_seq
        async for batch in batches:
            for message in batch:
                is_counted = "._tag." in message.subject
                verifier.feed(STREAM, message.seq, message.subject, 1 if is_counted else 0, message.payload)
                if is_counted and not is_ledger_subject(message.subject):
                    name = message.subject.rpartition(".")[2]
                    values.setdefault(name, []).append(msgspec.json.decode(message.payload)["value"])
            if batch and batch[-1].seq >= last_seq:
                break
    return values, verifier
