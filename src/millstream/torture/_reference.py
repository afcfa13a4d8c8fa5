"""What the flows have to say: the same flows, run here over the truth alone, without a stream or a node."""

from __future__ import annotations

from collections.abc import Iterable
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


def part_counter() -> Flow[Any]:
    """The built-in counter behind `once`, as the edge's file configures it."""
    inputs = [Input(f"{SITE}/*:{flows.COUNTED}", "count")]
    config = {"mode": "counter", "output": flows.PARTS}
    return FLOW_TYPES["part_counter"].make("parts", inputs, config, time=TimePolicy(0, None))


def reference(machine: str, truth: MachineTruth) -> dict[str, list[Output]]:
    """By name of the output. Every part that was made is taken to be delivered, which the end of a run makes true."""
    subject = tag_subject(TagPath.parse(tag(machine, "barrier")))
    parts = [
        Message(subject, encode_sample(part.n, quality=0, source_time_ns=part.time_ns, ingest_time_ns=part.time_ns))
        for part in truth.made
    ]
    said: dict[str, list[Output]] = {flows.COUNTED: [], flows.PARTS: [], flows.RATE: []}
    for flow in (flows.once, part_counter(), flows.rate):
        parts = drive(flow, _arrive(parts)).messages
        for message in parts:
            record = decode_sample(message.payload)
            said[decode_subject(message.subject).tag.names[-1]].append(Output(record.value, record.time_ns))
    return said


def _arrive(messages: Iterable[Message]) -> list[Received]:
    return [Received(m.subject, m.payload, None, seq, 0) for seq, m in enumerate(messages, 1)]
