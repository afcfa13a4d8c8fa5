"""A session with an MTConnect agent over HTTP: probe, current, then sample from sequence to sequence."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from millstream.connectors.mtconnect._agent import get_xml
from millstream.connectors.mtconnect._alarms import alarms
from millstream.connectors.mtconnect._assets import AssetReader
from millstream.connectors.mtconnect._config import MTConnectConfig, MTConnectTagOptions
from millstream.connectors.mtconnect._mapping import TagMap, device_nodes, make_series
from millstream.connectors.mtconnect._shdr_session import GapCounter
from millstream.kernel import AuthError, DecodeError, ProtocolViolation, Unreachable
from millstream.model import BAD_TYPE_MISMATCH, Block, Event, Sample
from millstream.protocols.mtconnect_condition import ConditionBook, Fields
from millstream.protocols.mtconnect_xml import (
    DOCUMENT_BYTES_MAX,
    AgentError,
    Devices,
    StreamedItem,
    Streams,
    parse_devices,
    parse_streams,
)
from millstream.protocols.shdr import Kind
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag, TlsFiles

BAD_BYTES_MAX = 1 << 16
ITEMS_BATCH_MAX = 800  # one unit of the store holds 900 messages, and a position must lie in the unit of its data
_KIND_BY_TYPE = {"float": Kind.SAMPLE, "int": Kind.INTEGER, "text": Kind.EVENT}


@dataclass(frozen=True, slots=True)
class AgentPosition:
    """Everything below `next_sequence` of the agent's run `instance_id`."""

    instance_id: int
    next_sequence: int

    def encode(self) -> Position:
        """As it is stored."""
        return Position(json.dumps({"instance": self.instance_id, "next": self.next_sequence}).encode())

    @classmethod
    def decode(cls, raw: Position) -> AgentPosition:
        """Inverse of `encode`. Raises DecodeError."""
        try:
            fields = json.loads(raw)
            return cls(int(fields["instance"]), int(fields["next"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError(f"not an agent position: {error}", got=repr(bytes(raw)[:80]), code="MS-0307") from error


class AgentSession:
    """Streamed, browsable, counted; rewinds within the agent's buffer."""

    def __init__(
        self, config: MTConnectConfig, tools: ConnectorTools, *, devices: Devices, gaps: GapCounter,
        conditions: ConditionBook,
    ) -> None:  # fmt: skip
        self._config = config
        self._tools = tools
        self._devices = devices
        self._gaps = gaps
        self._kinds = devices.kinds()
        self._assets = AssetReader(devices, self._fetch_asset, config.url or "")
        self._conditions = conditions
        self._condition_items = frozenset(item.id for item in devices.data_items if item.category == "CONDITION")

    def take_source_gaps(self) -> int:
        """Observations that had left the agent's buffer; a restart of the agent counts as one, its loss is unknown."""
        return self._gaps.take()

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The agent's device model."""
        for node in device_nodes(self._devices, is_native=False):
            if root is None or node.address.startswith(root):
                yield node

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Start with the present values (or the buffer), or right after `resume`; then all that the agent buffers."""
        tag_map = TagMap(tags, self._devices)
        self._read_as(tags, tag_map)
        if unknown := tag_map.unknown(self._tools.clock.now_ns()):
            yield Batch(unknown)
        if resume is None:
            present = await self._ask("current")
            position = AgentPosition(present.instance_id, present.next_sequence)
            if self._config.start == "buffer":
                position = AgentPosition(present.instance_id, present.first_sequence)
            else:
                async for batch in self._batches(present.items, tag_map, position, are_present=True):
                    yield batch
            if assets := await self._all_assets(tag_map, position):
                yield Batch(events=assets)
        else:
            position = AgentPosition.decode(resume)
            await self._remember(position)
        while True:
            document = await self._sample(position)
            if document is None:
                position = await self._recovered(position)
                if events := await self._changed_meanwhile(position, tag_map):
                    yield Batch(events=events)
                continue
            self._count_skipped(document, position)
            behind = AgentPosition(document.instance_id, document.next_sequence)
            fresh = [item for item in document.items if item.sequence >= position.next_sequence]
            if fresh and behind.next_sequence <= position.next_sequence:
                raise ProtocolViolation("agent's sequence stands still", where=self._config.url)
            async for batch in self._batches(fresh, tag_map, behind):
                yield batch
            position = behind
            if document.next_sequence > document.last_sequence:
                await self._tools.clock.sleep(self._config.poll_interval)

    def _read_as(self, tags: Sequence[Tag], tag_map: TagMap) -> None:
        for tag in tags:
            kind = _KIND_BY_TYPE.get(MTConnectTagOptions.model_validate(dict(tag.options)).data_type)
            if kind is not None:
                self._kinds.update(dict.fromkeys(tag_map.spellings(tag.address), kind))

    async def _sample(self, position: AgentPosition) -> Streams | None:
        """What follows `position`; None when the agent does not have it (any more), or is another run of it."""
        answer = await self._fetch(f"sample?from={position.next_sequence}&count={self._config.count_max}")
        if isinstance(answer, AgentError):
            if answer.code in ("OUT_OF_RANGE", "INVALID_REQUEST"):
                return None
            raise self._refused(answer)
        return answer if answer.instance_id == position.instance_id else None

    def _count_skipped(self, document: Streams, position: AgentPosition) -> None:
        """Some agents do not refuse a sequence that has left their buffer, but begin with the oldest that they have."""
        skipped = document.first_sequence - position.next_sequence
        if skipped > 0:
            self._gaps.add(skipped)
            self._tools.log.warning("agent's buffer has overrun", lost_count=skipped)

    async def _remember(self, position: AgentPosition) -> None:
        """Which conditions held at `position`, which a later NORMAL may end; told already, so nobody is told."""
        answer = await self._states_at(position.next_sequence - 1)
        if answer is not None and answer.instance_id == position.instance_id:
            self._conditions.replace(self._held_in(answer))

    async def _changed_meanwhile(self, position: AgentPosition, tag_map: TagMap) -> list[Event]:
        """What began and ended in a gap before `position`, and the assets: observations are gone, states are not."""
        assets = await self._all_assets(tag_map, position)
        if not self._condition_items:
            return assets
        answer = await self._states_at(position.next_sequence) or await self._ask("current")
        changes = self._conditions.replace(self._held_in(answer))
        mark = f"{position.instance_id}-{position.next_sequence}-gap"
        now_ns = self._tools.clock.now_ns()
        return [*alarms(changes, tag_map, source=self._source, mark=mark, time_ns=now_ns), *assets]

    async def _all_assets(self, tag_map: TagMap, position: AgentPosition) -> list[Event]:
        try:
            return await self._assets.all(tag_map, position.instance_id)
        except DecodeError as error:
            self._tools.log.warning("agent's assets cannot be read", reason=error.what)
            return []

    async def _states_at(self, sequence: int) -> Streams | None:
        """What held at a sequence; None when the agent cannot say, or there are no conditions to ask for."""
        if not self._condition_items:
            return None
        answer = await self._fetch(f"current?at={sequence}")
        return None if isinstance(answer, AgentError) else answer

    def _held_in(self, answer: Streams) -> dict[str, list[Fields]]:
        found: dict[str, list[Fields]] = {}
        for item in answer.items:
            if item.data_item_id in self._condition_items and isinstance(item.value, dict):
                found.setdefault(item.data_item_id, []).append(item.value)
        return found

    @property
    def _source(self) -> str:
        return self._config.url or ""

    async def _recovered(self, position: AgentPosition) -> AgentPosition:
        """Where to go on when `position` is gone, with the loss counted."""
        present = await self._ask("current")
        oldest = present.first_sequence
        if present.instance_id == position.instance_id and position.next_sequence <= present.next_sequence:
            lost = max(0, oldest - position.next_sequence)
            if lost == 0:
                raise ProtocolViolation(
                    "agent refuses a sequence that it has",
                    where=self._config.url,
                    expected=f"{oldest} to {present.next_sequence}",
                    got=str(position.next_sequence),
                )
            self._gaps.add(lost)
            self._tools.log.warning("agent's buffer has overrun", lost_count=lost)
        else:
            self._gaps.add(1)
            self._tools.log.warning("agent was started anew", instance_id=present.instance_id)
        return AgentPosition(present.instance_id, oldest)

    async def _fetch_asset(self, request: str) -> bytes:
        """Assets belong to the agent: a device's name behind its address does not count."""
        return await fetch(self._config, request, is_of_agent=True)

    async def _ask(self, request: str) -> Streams:
        answer = await self._fetch(request)
        if isinstance(answer, AgentError):
            raise self._refused(answer)
        return answer

    def _refused(self, answer: AgentError) -> ProtocolViolation:
        return ProtocolViolation(
            f"agent refuses the request: {answer.code} {answer.text[:200]}", where=self._config.url
        )

    async def _fetch(self, request: str) -> Streams | AgentError:
        body = await fetch(self._config, request)
        try:
            return parse_streams(body, self._kinds)
        except DecodeError as error:
            raise _violation(error, body, self._config) from error

    async def _batches(
        self, items: Sequence[StreamedItem], tag_map: TagMap, behind: AgentPosition, *, are_present: bool = False
    ) -> AsyncGenerator[Batch, None]:
        """Parts small enough for one unit of the store, each with the position behind its last observation.

        Present values have a position only behind the last part: after a crash among them they are asked again.
        """
        for start in range(0, len(items), ITEMS_BATCH_MAX):
            part = items[start : start + ITEMS_BATCH_MAX]
            position: AgentPosition | None = behind
            if start + len(part) < len(items):
                position = None if are_present else AgentPosition(behind.instance_id, part[-1].sequence + 1)
            batch = self._batch(part, tag_map, position, behind.instance_id)
            if not are_present:
                events, samples = await self._assets.of(part, tag_map, behind.instance_id)
                batch = replace(batch, events=[*batch.events, *events], samples=[*batch.samples, *samples])
            yield batch

    def _batch(
        self, items: Sequence[StreamedItem], tag_map: TagMap, position: AgentPosition | None, instance_id: int
    ) -> Batch:
        samples: list[Sample] = []
        blocks: list[Block] = []
        events: list[Event] = []
        for item in items:
            events += self._alarms(item, tag_map, instance_id)
            for key in tag_map.keys(item.data_item_id):
                if item.sample_rate_hz and item.time_ns is not None and isinstance(item.value, list) and item.value:
                    blocks.append(make_series(key, item.time_ns, item.sample_rate_hz, item.value))
                else:
                    samples.append(Sample(key, item.value, item.quality, item.time_ns))
        return Batch(samples, blocks, position.encode() if position is not None else None, events=events)

    def _alarms(self, item: StreamedItem, tag_map: TagMap, instance_id: int) -> Iterator[Event]:
        if item.data_item_id not in self._condition_items or item.quality == BAD_TYPE_MISMATCH:
            return iter(())
        changes = self._conditions.take(item.data_item_id, item.value if isinstance(item.value, dict) else None)
        mark = f"{instance_id}-{item.sequence}"
        return alarms(changes, tag_map, source=self._source, mark=mark, time_ns=item.time_ns)


async def fetch(config: MTConnectConfig, request: str, *, is_of_agent: bool = False) -> bytes:
    """The body of one request. Raises Unreachable, AuthError, ProtocolViolation."""
    base = (config.url or "").rstrip("/")
    if is_of_agent:
        parts = urlsplit(base)
        base = f"{parts.scheme}://{parts.netloc}"
    files = TlsFiles(config.ca_file, crl_file=config.crl_file)
    url = f"{base}/{request}"
    answer = await get_xml(url, timeout_s=config.connect_timeout, bytes_max=DOCUMENT_BYTES_MAX, files=files)
    if answer.status in (401, 403):
        raise AuthError(f"agent refuses access with status {answer.status}", where=config.url)
    if answer.status >= 500 or not answer.body:
        raise Unreachable(f"agent answers with status {answer.status}", where=config.url)
    return answer.body  # a refusal (404, 400) has an MTConnectError in it


def _violation(error: DecodeError, body: bytes, config: MTConnectConfig) -> ProtocolViolation:
    return ProtocolViolation(error.what, frame=body[:BAD_BYTES_MAX], where=config.url, got=error.got)


@asynccontextmanager
async def open_agent(
    config: MTConnectConfig, tools: ConnectorTools, *, gaps: GapCounter, conditions: ConditionBook
) -> AsyncIterator[AgentSession]:
    """Ask the agent for its device model. There is nothing to release: each request has its own connection."""
    body = await fetch(config, "probe")
    try:
        devices = parse_devices(body)
    except DecodeError as error:
        raise _violation(error, body, config) from error
    yield AgentSession(config, tools, devices=devices, gaps=gaps, conditions=conditions)
