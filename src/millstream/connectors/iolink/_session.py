"""A session with an IO-Link master: ask, decode process data, set outputs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from millstream.connectors.iolink._client import Client
from millstream.connectors.iolink._config import IoLinkConfig, IoLinkTagOptions
from millstream.connectors.iolink._descriptions import read_descriptions
from millstream.model import (
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Sample,
    Value,
)
from millstream.protocols.iodd import Description
from millstream.protocols.iolink_data import Point, encode_point, parse_point
from millstream.protocols.iolink_master import (
    Ask,
    Reading,
    plan_iotcore,
    plan_json,
    quality_of_error,
    read_iotcore,
    read_json,
    with_substitutes,
    write_iotcore,
    write_json,
)
from millstream.sdk import ConnectorTools, NodeInfo, Tag, Write, WriteResult, given_value, write_in_turn

BAD_NOT_WRITABLE = Quality(0x803B0000)
PLANS_COUNT_MAX = 64  # one for each set of tags asked together
EVENTS_KEPT_MAX = 1_000  # of one tag, to know which are new


@dataclass(slots=True)
class _Plan:
    points: list[Point]
    asks: list[Ask]
    is_smart: list[bool]


class IoLinkSession:
    """Polled, Writable (output data and parameters), Browsable."""

    def __init__(self, client: Client, config: IoLinkConfig, tools: ConnectorTools) -> None:
        self._client = client
        self._config = config
        self._tools = tools
        self._is_json = config.dialect == "json"
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._events: dict[str, list[Value]] = {}

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order, without a source time. Raises Unreachable, AuthError, ProtocolViolation."""
        plan = self._plan(tags)
        readings: list[Reading] = [(None, BAD_NO_COMMUNICATION)] * len(tags)
        for ask in plan.asks:
            status, document = await self._client.ask(ask)
            for index in ask.members:
                reading = self._read(plan.points[index], status, document)
                readings[index] = with_substitutes(plan.points[index], reading) if plan.is_smart[index] else reading
        return [
            Sample(tag.key, *self._only_new(tag, point, reading))
            for tag, point, reading in zip(tags, plan.points, readings, strict=True)
        ]

    def _plan(self, tags: Sequence[Tag]) -> _Plan:
        key = tuple(f"{tag.key}\n{tag.address}" for tag in tags)
        plan = self._plans.get(key)
        if plan is None:
            points = [parse_point(tag.address) for tag in tags]
            is_smart = [IoLinkTagOptions.model_validate(dict(tag.options)).smart_sensor for tag in tags]
            plan = _Plan(points, plan_json(points) if self._is_json else plan_iotcore(points), is_smart)
            if len(self._plans) >= PLANS_COUNT_MAX:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _read(self, point: Point, status: int, document: object) -> Reading:
        if status != 200:
            return None, quality_of_error(status, document)
        return read_json(point, document) if self._is_json else read_iotcore(point, document)

    def _only_new(self, tag: Tag, point: Point, reading: Reading) -> Reading:
        """A master lists its last events again and again; a tag has those that were not there before."""
        events, quality = reading
        if point.what != "events" or not isinstance(events, list):
            return reading
        known = self._events.get(tag.key, [])
        fresh = [event for event in events if event not in known]
        self._events[tag.key] = list(events)[-EVENTS_KEPT_MAX:]
        return fresh, quality

    # -- writing ------------------------------------------------------------------------------------------------------

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """One after the other: the device's output data, or the parameter, is read, changed and set; a lost link fails
        all that follow."""
        return await write_in_turn(writes, self._write_one)

    async def _write_one(self, write: Write) -> WriteResult:
        point = parse_point(write.tag.address)
        if point.what not in ("out", "isdu"):
            return WriteResult(
                BAD_NOT_WRITABLE, "only output data and parameters can be written: port1:out, port1:isdu:24"
            )
        what = "parameter" if point.what == "isdu" else "output data"
        whole = Point(point.device, point.what, None, point.index, point.subindex)
        (ask,) = plan_json([whole]) if self._is_json else plan_iotcore([whole])
        present, quality = self._read(whole, *await self._client.ask(ask))
        if not isinstance(present, bytes):
            return WriteResult(quality, f"the present {what} cannot be read")
        try:
            octets = encode_point(point, given_value(write), present)
        except TypeError as error:
            return WriteResult(BAD_TYPE_MISMATCH, str(error))
        except OverflowError as error:
            return WriteResult(BAD_OUT_OF_RANGE, str(error))
        status, document = await self._client.ask((write_json if self._is_json else write_iotcore)(point, octets))
        if status in (200, 204) and (self._is_json or _is_taken(document)):
            return WriteResult(GOOD)
        words = document.get("message", "") if isinstance(document, dict) else ""
        return WriteResult(BAD_NOT_WRITABLE, f"master refuses the {what} with status {status} {words}".strip())

    # -- browsing -----------------------------------------------------------------------------------------------------

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """Ports with a device, and what can be read of each; of a described one the fields of its process data."""
        folder = self._config.iodd_folder
        known = {} if folder is None else await asyncio.to_thread(read_descriptions, folder, self._tools.log)
        for number in range(1, self._config.ports + 1):
            port = f"port{number}"
            names = ("in", "out", "product_name", "serial_number", "status", "vendor_id", "device_id")
            found = await self.read([Tag(name, f"{port}:{name}") for name in names])
            samples = {sample.tag: sample for sample in found if sample.quality.is_good}
            if "product_name" not in samples:
                continue
            group = (port, str(samples["product_name"].value))
            key = (samples[name].value if name in samples else None for name in ("vendor_id", "device_id"))
            for node in _nodes(port, group, samples, known.get(tuple(key))):  # type: ignore[arg-type]
                if root is None or node.address.startswith(root):
                    yield node


def _nodes(
    port: str, group: tuple[str, ...], samples: Mapping[str, Sample], description: Description | None
) -> Iterator[NodeInfo]:
    for direction in ("in", "out"):
        octets = samples[direction].value if direction in samples else None
        layout = None
        if description is not None and isinstance(octets, bytes):
            layout = description.layout_for(len(octets), is_output=direction == "out")
        for item in layout.items if layout is not None else ():
            said = [item.description, f"where {layout.condition}" if layout is not None and layout.condition else None]
            yield NodeInfo(
                address=f"{port}:{direction}:{item.field}", name=item.name, groups=group,
                data_type=item.field.partition("@")[0], unit=item.unit,
                description=", ".join(text for text in said if text) or None, is_writable=direction == "out",
                factor=item.factor, offset=item.offset,
            )  # fmt: skip
        if layout is None and direction == "in" and octets is not None:
            yield NodeInfo(address=f"{port}:in", name="in", groups=group, data_type="bytes")
    for name in ("product_name", "serial_number", "status"):
        if name in samples:
            kind = type(samples[name].value).__name__
            yield NodeInfo(address=f"{port}:{name}", name=name, groups=group, data_type=kind)


def _is_taken(document: object) -> bool:
    return isinstance(document, dict) and document.get("code") == 200
