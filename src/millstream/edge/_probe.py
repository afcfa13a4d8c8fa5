"""Test a connection, and list what a device offers as a starting configuration."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from millstream.edge._apart import run_apart
from millstream.kernel import Clock, PlantError, SystemClock, Unreachable
from millstream.model import AssetPath, TagPath
from millstream.sdk import (
    Acknowledged,
    Browsable,
    Connector,
    NodeInfo,
    Polled,
    Session,
    SourceCounted,
    Streamed,
    Writable,
)

T = TypeVar("T")
TIMEOUT_S = 15.0
BROWSE_TIMEOUT_S = 120.0
NODES_COUNT_MAX = 20_000
_CAPABILITIES = (
    ("reads", Polled),
    ("streams", Streamed),
    ("acknowledges", Acknowledged),
    ("writes", Writable),
    ("browses", Browsable),
    ("counts its own losses", SourceCounted),
)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A connection that was opened and left again."""

    open_ms: float
    close_ms: float
    capabilities: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return {"open_ms": self.open_ms, "close_ms": self.close_ms, "capabilities": list(self.capabilities)}


@dataclass(frozen=True, slots=True)
class BrowseResult:
    """What a device offers. `is_complete` is False when there was more than the limit."""

    nodes: tuple[NodeInfo, ...]
    is_complete: bool


async def probe(connector: Connector, *, timeout_s: float = TIMEOUT_S, clock: Clock | None = None) -> ProbeResult:
    """Open the connection and leave it again. Raises the PlantError that says why it cannot be opened."""
    clock = clock or SystemClock()
    return await _bounded(_probe(connector, clock), timeout_s, connector)


async def _probe(connector: Connector, clock: Clock) -> ProbeResult:
    start_ns = clock.monotonic_ns()
    async with connector.open() as session:
        opened_ns = clock.monotonic_ns()
        found = tuple(name for name, kind in _CAPABILITIES if isinstance(session, kind))
    end_ns = clock.monotonic_ns()
    return ProbeResult((opened_ns - start_ns) / 1e6, (end_ns - opened_ns) / 1e6, found)


async def browse(
    connector: Connector, *, root: str | None = None, limit: int = NODES_COUNT_MAX, timeout_s: float = BROWSE_TIMEOUT_S
) -> BrowseResult:
    """List what the device offers below `root`. Raises PlantError, also when the connector cannot browse."""
    return await _bounded(_browse(connector, root, limit), timeout_s, connector)


async def _browse(connector: Connector, root: str | None, limit: int) -> BrowseResult:
    async with connector.open() as session:
        return await collect(connector, session, root, limit)


async def collect(connector: Connector, session: Session, root: str | None, limit: int) -> BrowseResult:
    """List what an open session offers. Raises PlantError (MS-0501) when it cannot list anything."""
    nodes: list[NodeInfo] = []
    if not isinstance(session, Browsable):
        raise PlantError(f"connector '{connector.info.name}' cannot list what its source offers", code="MS-0501")
    async with aclosing(session.browse(root)) as found:
        async for node in found:
            if len(nodes) >= limit:
                return BrowseResult(tuple(nodes), False)
            nodes.append(node)
    return BrowseResult(tuple(nodes), True)


async def _bounded(work: Coroutine[Any, Any, T], timeout_s: float, connector: Connector) -> T:
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            return await run_apart(work)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise Unreachable("no answer in time", where=connector.info.name, expected=f"{timeout_s:g}s") from error


def starting_config(
    nodes: tuple[NodeInfo, ...], *, name: str, type_name: str, config: Mapping[str, Any], path: str | None = None
) -> str:
    """A `connectors` section in YAML, to be pasted into an edge file. Names that repeat get a number."""
    lines = ["connectors:", f"  - name: {quoted(name)}", f"    type: {quoted(type_name)}"]
    if path is not None:
        lines.append(f"    path: {quoted(path)}")
    if config:
        lines.append(f"    config: {json.dumps(dict(config), ensure_ascii=False, default=str)}")
    lines.append("    tags:" if nodes else "    tags: []")
    seen: dict[str, int] = {}
    for node in nodes:
        place = _place(node)
        seen[place] = seen.get(place, 0) + 1
        if seen[place] > 1:
            place = f"{place}_{seen[place]}"
        fields = [f"name: {quoted(place)}", f"address: {quoted(node.address)}"]
        if node.unit:
            fields.append(f"unit: {quoted(node.unit)}")
        if node.is_scaled:
            fields.append(scale_field(node.factor, node.offset))
        if node.description:
            fields.append(f"description: {quoted(node.description[:200])}")
        note = f"  # {_comment(node.data_type)}" if node.data_type else ""
        lines.append(f"      - {{{', '.join(fields)}}}{note}")
    return "\n".join(lines) + "\n"


def scale_field(factor: float, offset: float) -> str:
    """A tag's scale, numbers as YAML 1.2 reads them: with a point."""
    parts = [f"factor: {factor:.17g}" if factor.is_integer() else f"factor: {factor!r}"]
    if offset:
        parts.append(f"offset: {offset:.17g}" if offset.is_integer() else f"offset: {offset!r}")
    return f"scale: {{{', '.join(parts)}}}"


def _place(node: NodeInfo) -> str:
    names = tuple(
        "".join(c for c in n if c.isprintable()).strip()[:128] or "unnamed" for n in (*node.groups, node.name)
    )
    return str(TagPath(AssetPath(("x",)), names[-12:])).partition(":")[2]


def quoted(text: str) -> str:
    """A foreign text as a YAML scalar; what cannot be printed is escaped (YAML 1.2.2, 5.7)."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in plain)


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:60]
