"""From what the edge has stored to metrics of its node: device, name, values and what a birth tells beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from millstream.kernel import DecodeError
from millstream.model import AssetPath, Quality, TagPath
from millstream.protocols.sparkplug import DataType, Property, PropertySet
from millstream.protocols.sparkplug_node import NodeUpdate
from millstream.protocols.uns_payload import ARROW_TYPE, BlockRecord, SampleRecord, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject
from millstream.sdk import Received, TagFacts

METRICS_COUNT_MAX = 500_000  # remembered; as many as a host takes
_ARROW = ARROW_TYPE.encode()


class _Metric(NamedTuple):
    device: str | None
    name: str
    tag: str
    unit: str | None
    """As the samples have it."""
    properties: PropertySet


class StoredTags:
    """The tags below `base`. `facts` is what the configuration says of them; `is_commanded`: commands may write."""

    def __init__(self, base: AssetPath, facts: Mapping[str, TagFacts], *, is_commanded: bool) -> None:
        self._base = base
        self._facts = facts
        self._is_commanded = is_commanded
        self._metrics: dict[str, _Metric | None] = {}
        self._tags: dict[tuple[str | None, str], str] = {}

    def updates(self, item: Received) -> list[NodeUpdate]:
        """The values of one stored message; none when it is no sample below the base, or cannot be read: whoever reads
        it in the stream has the same trouble."""
        try:
            known = self._metrics[item.subject] if item.subject in self._metrics else self._find(item.subject)
            if known is None:
                return []
            is_block = item.headers is not None and _ARROW in item.headers
            record = decode_block(item.payload) if is_block else decode_sample(item.payload)
        except DecodeError:
            return []
        if record.unit is not None and record.unit != known.unit:
            known = self._metrics[item.subject] = self._metric(known, record.unit)
        return _of_block(known, record) if isinstance(record, BlockRecord) else [_of_sample(known, record)]

    def tag_of(self, device: str | None, name: str) -> str | None:
        """The path of the tag that a metric shows."""
        return self._tags.get((device, name))

    def _find(self, subject: str) -> _Metric | None:
        """Device and metric name of a tag: the level below the base is the device."""
        address = decode_subject(subject)
        found: _Metric | None = None
        if address.contract == "_tag" and self._base.contains(address.tag.asset):
            device, name = self._place(address.tag)
            found = self._metric(_Metric(device, name, str(address.tag), None, {}), None)
        if len(self._metrics) >= METRICS_COUNT_MAX:
            self._metrics.clear()
            self._tags.clear()
        if found is not None:
            self._tags[found.device, found.name] = found.tag
        self._metrics[subject] = found
        return found

    def _place(self, tag: TagPath) -> tuple[str | None, str]:
        below = tag.asset.levels[len(self._base.levels) :]
        device = "".join("_" if c in "+/#" else c for c in below[0]) if below else None
        return device, "/".join((*below[1:], *tag.names))

    def _metric(self, metric: _Metric, unit: str | None) -> _Metric:
        """With its properties. Sparkplug names none but Quality (6.4.11); these are in wide use."""
        facts = self._facts.get(metric.tag) or TagFacts()
        shown = facts.unit or unit
        is_writable = self._is_commanded and facts.write_lifetime_s is not None
        properties = {"readOnly": Property(DataType.BOOLEAN, not is_writable)}
        if shown is not None:
            properties["engUnit"] = Property(DataType.STRING, shown)
        if facts.description is not None:
            properties["documentation"] = Property(DataType.STRING, facts.description)
        return metric._replace(unit=unit, properties=properties)


def _of_sample(metric: _Metric, record: SampleRecord) -> NodeUpdate:
    time_ms, quality = record.time_ns // 1_000_000, Quality(record.quality)
    return NodeUpdate(metric.device, metric.name, record.value, time_ms, quality, properties=metric.properties)


def _of_block(metric: _Metric, block: BlockRecord) -> list[NodeUpdate]:
    found = []
    for i, time_ns in enumerate(block.time_ns.tolist()):
        value: Any = block.values[i]
        plain = value.item() if hasattr(value, "item") else value
        quality = Quality(0 if block.quality is None else int(block.quality[i]))
        time_ms = time_ns // 1_000_000
        found.append(NodeUpdate(metric.device, metric.name, plain, time_ms, quality, properties=metric.properties))
    return found
