"""Which nodes look after a place: those whose ledger records stand nearest above it."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.client._streams import Streams
from millstream.model import AssetPath
from millstream.protocols.ledger import CONTRACT
from millstream.protocols.uns_subject import UnsAddress, decode_subject, encode_subject


async def nodes_above(streams: Streams, levels: Sequence[str], flow: str | None = None) -> Sequence[str]:
    """Names of the nodes, in order; with a `flow` those that have run it. Empty when no node reports above the place.
    The records are in the hub's streams, also those of edges that are away."""
    for depth in range(len(levels), 0, -1):
        place = encode_subject(UnsAddress(AssetPath(tuple(levels[:depth])), CONTRACT, ("x",))).removesuffix(".x")
        nodes = {
            names[0]
            for stream in await streams.of_data()
            for subject in await streams.subjects(stream, f"{place}.>")
            if len(names := decode_subject(subject).names) == 2 and (flow is None or _flow_of(names[1]) == flow)
        }
        if nodes:
            return sorted(nodes)
    return []


def _flow_of(publisher: str) -> str | None:
    """``flow-<name>-<version>-<partition>`` is how a partition of a flow writes."""
    name = publisher.rpartition("-")[0].rpartition("-")[0]
    return name.removeprefix("flow-") if name.startswith("flow-") else None
