"""Reads every sink of a site that has come to rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millstream.bus import HUB_INTEGRITY
from millstream.client import connect
from millstream.kernel import NotFoundError
from millstream.sim.producer_ledger import Truth
from millstream.torture._sinks import Samples, read_history, read_stream
from millstream.torture._site import EDGE, tag
from millstream.torture._verdict import CONTRACTS, Evidence


async def gather(
    edge: Mapping[str, Any], hub: Mapping[str, Any], truth: Truth, machines: Sequence[str], *, adapter: str = "",
    adapter_lines: int = 0,
) -> Evidence:  # fmt: skip
    """`edge` and `hub` are the nodes' ``node.json``. Raises NotFoundError, Unreachable."""
    async with connect(url=str(hub["nats_url"]), user=str(hub["user"]), password=str(hub["password"])) as plant:
        kinds = {"barrier": "tag", "grams": "tag", **{name: contract[1:] for name, contract in CONTRACTS.items()}}
        history = {
            tag(machine, name): await read_history(plant, tag(machine, name), kind)
            for machine in machines
            for name, kind in kinds.items()
        }
    return Evidence(
        truth=truth,
        machines=tuple(machines),
        edge=await _edge_streams(edge),
        hub=await read_stream(hub, HUB_INTEGRITY),
        history=history,
        adapter=adapter,
        adapter_lines=adapter_lines,
    )


async def _edge_streams(node: Mapping[str, Any]) -> list[Samples]:
    found = []
    for name in (f"E_{EDGE}_I", f"E_{EDGE}_F"):
        try:
            found.append(await read_stream(node, name))
        except NotFoundError:
            found.append({})
    return found
