"""What the flows have to say: the same flows, run here over the truth alone, without a stream or a node."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from millstream.flow import Flow, Input, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.model import TagPath
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.protocols.uns_subject import decode_subject, tag_subject
from millstream.sdk import Message, Received
from millstream.sim.producer_ledger import MachineTruth
from millstream.torture import flows
from millstream.torture._checker import Output
from millstream.torture._site import SITE, tag

WINDOW = "2s"
LIBRARY: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("parts", "part_counter", flows.COUNTED, {"mode": "counter", "output": flows.PARTS}),
    ("rate", "rate", flows.PARTS, {"window": WINDOW, "every": WINDOW, "keep": "1min", "output": flows.RATE}),
)
"""Built-in flows, the first at the edge, the second at the hub: name, type, name of the input (a count),
configuration."""


def edge_flows() -> list[dict[str, Any]]:
    """The edge's flows, as its file has them."""
    return [{"name": "once", "python": f"{Path(flows.__file__)}:once"}, _section(*LIBRARY[0])]


def hub_flows() -> list[dict[str, Any]]:
    """The hub's flow, as its file has it."""
    return [_section(*LIBRARY[1])]


def _section(name: str, type_name: str, source: str, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": type_name,
        "inputs": [{"pattern": f"{SITE}/*:{source}", "kind": "count"}],
        "idle": "never",
        "config": config,
    }


def _chain() -> list[Flow[Any]]:
    """The same flows, as they run here."""
    built_in = [
        FLOW_TYPES[type_name].make(name, [Input(f"{SITE}/*:{source}", "count")], config, time=TimePolicy(0, None))
        for name, type_name, source, config in LIBRARY
    ]
    return [flows.once, *built_in]


def reference(machine: str, truth: MachineTruth) -> dict[str, list[Output]]:
    """By name of the output. Every part that was made is taken to be delivered, which the end of a run makes true."""
    subject = tag_subject(TagPath.parse(tag(machine, "barrier")))
    parts = [
        Message(subject, encode_sample(part.n, quality=0, source_time_ns=part.time_ns, ingest_time_ns=part.time_ns))
        for part in truth.made
    ]
    said: dict[str, list[Output]] = {flows.COUNTED: [], flows.PARTS: [], flows.RATE: []}
    for flow in _chain():
        parts = drive(flow, _arrive(parts)).messages
        for message in parts:
            if "._event." in message.subject:
                continue  # what is said beside the numbers, such as a window that came too late
            record = decode_sample(message.payload)
            said[decode_subject(message.subject).tag.names[-1]].append(Output(record.value, record.time_ns))
    return said


def _arrive(messages: Iterable[Message]) -> list[Received]:
    return [Received(m.subject, m.payload, None, seq, 0) for seq, m in enumerate(messages, 1)]
