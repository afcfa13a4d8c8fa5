"""Reads of some tags, now: what a write is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from asyncua import ua

from millstream.connectors.opcua._address import parse_address
from millstream.connectors.opcua._binary import DataValue
from millstream.connectors.opcua._link import Link, read_request
from millstream.connectors.opcua._mapping import to_sample
from millstream.connectors.opcua._responses import ServiceFault
from millstream.model import Sample
from millstream.sdk import Tag

_MISSING = DataValue(None, int(ua.StatusCodes.BadUnexpectedError), None)


async def read_tags(link: Link, tags: Sequence[Tag]) -> list[Sample]:
    """One sample a tag, in order. Methods and notifiers have no value: BadNotReadable. Raises only when the link is
    gone."""
    found = [DataValue(None, int(ua.StatusCodes.BadNotReadable), None)] * len(tags)
    plain = [i for i, tag in enumerate(tags) if tag.options.get("mode") not in ("method", "events")]
    nodes: dict[int, ua.NodeId] = {}
    resolved = await link.resolve([parse_address(tags[i].address) for i in plain])
    for i, node in zip(plain, resolved, strict=True):
        if isinstance(node, int):
            found[i] = DataValue(None, node, None)
        else:
            nodes[i] = node
    asked = list(nodes)
    for at in range(0, len(asked), link.limits["read"]):
        part = asked[at : at + link.limits["read"]]
        values = link.responses.values(await link.request(read_request([nodes[i] for i in part])))
        if isinstance(values, ServiceFault):
            values = [DataValue(None, values.status, None)] * len(part)
        for place, i in enumerate(part):
            found[i] = values[place] if place < len(values) else _MISSING
    return [to_sample(tag.key, value) for tag, value in zip(tags, found, strict=True)]
