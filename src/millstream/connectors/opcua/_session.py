"""An open OPC UA session as the runtime sees it: streamed, writable and read back, browsable, counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from math import inf

from asyncua import ua

from millstream.connectors.opcua._address import is_path, parse_address
from millstream.connectors.opcua._binary import DataValue
from millstream.connectors.opcua._browsing import Browser
from millstream.connectors.opcua._conditions import Conditions
from millstream.connectors.opcua._config import OpcUaConfig, TagOptions
from millstream.connectors.opcua._event_history import EventFiller
from millstream.connectors.opcua._events import EventReader
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._following import Followed, Positions
from millstream.connectors.opcua._history import HistoryFiller
from millstream.connectors.opcua._link import Link, read_request
from millstream.connectors.opcua._mapping import is_overflow, to_quality, to_sample
from millstream.connectors.opcua._reading import read_tags
from millstream.connectors.opcua._responses import ServiceFault
from millstream.connectors.opcua._subscriptions import LEVEL_HANDLE, STATE_HANDLE, Subscriptions, queue_size
from millstream.connectors.opcua._writing import Writer
from millstream.kernel import PlantError, ProtocolViolation, Unreachable
from millstream.model import Sample
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag, Write, WriteResult

BATCH_SAMPLES_MAX = 800  # one unit of the store holds 900 messages, and a position must lie in the unit of its data
MODEL_S_MIN = 1.0  # between two looks at a changed address space
QUEUED_S_MIN = 3.0  # shorter standstills are bridged by the publish requests in flight
_HISTORY_READ = 0x04  # bit of AccessLevel (OPC 10000-3, 8.57)
_VANISHED = {ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadNodeIdInvalid}  # node-opcua says the second
_STATES = frozenset(map(int, ua.ServerState))
_SCALAR_DATA_TYPE_MAX = 21  # i=1 to i=21 are not structures


class OpcUaSession:
    """One link. `stream` may run once at a time; `read`, `write` and `browse` may run beside it. `conditions` are those
    that its events told of."""

    def __init__(self, link: Link, config: OpcUaConfig, tools: ConnectorTools) -> None:
        self._link = link
        self._config = config
        self._tools = tools
        self._source_gaps = 0
        self.conditions = Conditions(link)
        self._writer = Writer(link, self.conditions)
        self._browser = Browser(link, config.browse_nodes_max, with_properties=config.browse_properties)

    # SourceCounted

    def take_source_gaps(self) -> int:
        """Overflows of the server's queues, missed messages and dropped samples since the last call. An overflow
        counts as one, since the standard does not tell how many values it cost."""
        gaps, self._source_gaps = self._source_gaps, 0
        return gaps

    # Polled: the runtime reads back what it wrote; data comes from `stream`

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order, asked for now."""
        await self._link.keep_channel()
        return await read_tags(self._link, tags)

    # Writable

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """Write all, each with its own result."""
        await self._link.keep_channel()
        return await self._writer.write(writes)

    # Browsable

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """Yield each variable below `root` (the Objects folder without the server's own when None)."""
        async for found in self._browser.browse(root):
            yield found

    # Streamed

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Yield what the server notifies, for ever. Tags that it refuses get one bad sample and are tried again."""
        stream = _Stream(self, tags, resume)
        try:
            async for batch in stream.batches():
                yield batch
        finally:
            stream.close()

    @property
    def link(self) -> Link:
        """The link below."""
        return self._link

    @property
    def config(self) -> OpcUaConfig:
        """What was configured."""
        return self._config

    @property
    def tools(self) -> ConnectorTools:
        """Clock and log."""
        return self._tools

    def count_gaps(self, count: int) -> None:
        """Add to the source gaps."""
        self._source_gaps += count


class _Stream:
    """The state of one `stream`."""

    def __init__(self, session: OpcUaSession, tags: Sequence[Tag], resume: Position | None) -> None:
        self._session = session
        self._link = session.link
        self._config = session.config
        self._clock = session.tools.clock
        self._log = session.tools.log
        self._subscriptions = Subscriptions(self._link, self._config.subscription, self._clock)
        self._positions = Positions([tag.key for tag in tags])
        newest = self._positions.resume(resume)
        read = [tag for tag in tags if tag.options.get("mode") != "method"]
        self._all = [Followed(tag, handle, newest_ns=newest.get(tag.key)) for handle, tag in enumerate(read)]
        self._options = [TagOptions.model_validate(dict(tag.options)) for tag in read]
        self._refused: list[Followed] = []
        self._vanished: dict[int, Followed] = {}  # by handle: the server has told that their nodes are gone
        self._said: set[int] = set()  # refused tags that were reported: once while they are
        self._retry_at_ns = 0
        self._has_fallen = False  # the server's service level
        self._state = int(ua.ServerState.Running)
        self._model_changes = 0  # followed so far
        self._model_at_ns = 0  # not before: a server that is being configured tells of each step
        self._poll_at_ns: dict[float, int] = {}
        self._history = HistoryFiller(self._link, self._config, session.tools)
        self._events = EventReader(self._link, session.conditions)
        self._past_events = EventFiller(self._link, self._events, self._config, session.tools)
        self._ready: list[Sample] = []
        self._missed_counted = 0
        self._queued_s = inf  # what the shortest queue of a tag with history holds
        self._taken_at_ns = self._clock.monotonic_ns()
        self._dropped_counted = 0

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Set up, then yield for ever."""
        await self._set_up(await self._resolve(self._all), reuse=False)
        await self._subscriptions.watch_server()
        self._taken_at_ns = self._clock.monotonic_ns()
        while True:
            self._refuse_after_standstill()
            self._take()
            while self._ready or self._subscriptions.flawed or self._events.is_waiting:
                yield await self._batch()
            self._go_on()
            if not await self._fill_gaps():
                await self._wait()
            await self._keep()

    def close(self) -> None:
        """Stop taking notifications; the end of the session deletes the subscriptions."""
        self._subscriptions.close()
        self._count()

    # Setting up

    async def _resolve(self, followed: Sequence[Followed]) -> list[Followed]:
        """Find the nodes; those that the server does not know are refused, the others given."""
        found = await self._link.resolve([parse_address(item.tag.address) for item in followed])
        known = []
        for item, node in zip(followed, found, strict=True):
            if isinstance(node, int):
                item.node = None
                self._refuse(item, node)
            else:
                item.node = node
                known.append(item)
        return known

    async def _follow_model(self) -> None:
        """The server's address space has changed: paths may lead to other nodes, and missing ones be there."""
        refused = {item.handle for item in self._refused}
        paths = [f for f in self._all if f.handle not in refused and is_path(f.tag.address)]
        before = {item.handle: item.node for item in paths}
        known = {item.handle for item in await self._resolve(paths)}
        moved = [item for item in paths if item.node != before[item.handle]]
        await self._subscriptions.remove(moved)
        for item in moved:
            self._ready += item.move()
        if moved:
            self._log.info("opcua_nodes_moved", tags=len(moved))
        await self._set_up([item for item in moved if item.handle in known], reuse=True)
        await self._retry()

    async def _set_up(self, followed: Sequence[Followed], *, reuse: bool) -> None:
        if not followed:
            return
        await self._describe(followed)
        followed = await self._resolve_types(followed)
        subscribed = [f for f in followed if self._options[f.handle].mode != "poll"]
        options = [self._options[f.handle] for f in subscribed]
        for item, option in zip(subscribed, options, strict=True):
            if item.has_history:
                queued_s = item.tag.sampling_interval_s * queue_size(item.tag, option, self._config.subscription)
                self._queued_s = min(self._queued_s, max(queued_s, QUEUED_S_MIN))
        refused = await self._subscriptions.add(subscribed, options, reuse=reuse)
        for item, status in refused:
            self._refuse(item, status)
        await self._begin_events({f.handle for f in subscribed} - {item.handle for item, _ in refused})
        # Those that are there may be refused, and reported, once more.
        self._said -= {f.handle for f in followed} - {item.handle for item, _ in refused}
        for item in followed:
            if self._options[item.handle].mode == "poll":
                self._poll_at_ns.setdefault(item.tag.publishing_interval_s, 0)

    async def _resolve_types(self, followed: Sequence[Followed]) -> Sequence[Followed]:
        """Find the event types that tags are limited to; without one, or without a notifier, a tag is refused."""
        texts = [(item, self._options[item.handle].event_type) for item in followed]
        limited = [(item, text) for item, text in texts if text is not None]
        nodes = await self._link.resolve([parse_address(text) for _, text in limited])
        refused = set()
        for (item, _), node in zip(limited, nodes, strict=True):
            item.event_type = node
            if isinstance(node, int):
                self._refuse(item, node)
                refused.add(item.handle)
        notifiers = [
            item for item in followed if self._options[item.handle].mode == "events" and item.handle not in refused
        ]
        for item, found in zip(notifiers, await self._read_notifiers(notifiers), strict=True):
            if found.StatusCode is not None and found.StatusCode.is_bad():
                self._refuse(item, int(found.StatusCode.value))
                refused.add(item.handle)
                continue
            bits = found.Value.Value if found.Value is not None else None
            wanted = self._config.backfill and self._options[item.handle].backfill
            item.has_event_history = wanted and isinstance(bits, int) and bool(bits & _HISTORY_READ)
        return [item for item in followed if item.handle not in refused]

    async def _read_notifiers(self, followed: Sequence[Followed]) -> list[ua.DataValue]:
        """Servers take variables for notifiers that have never anything to tell: ask for what a notifier has."""
        return await self._link.read_attributes([f.node for f in followed], ua.AttributeIds.EventNotifier)

    async def _begin_events(self, accepted: set[int]) -> None:
        """From now on events come: their tags are true, and the server tells again which conditions hold."""
        handles = {handle for handle in accepted if self._options[handle].mode == "events"}
        self._ready += [Sample(self._all[handle].tag.key, True) for handle in sorted(handles)]
        for item in (self._all[handle] for handle in sorted(handles)):
            if item.has_event_history and self._positions.newest_event(item.tag.key) is None:
                self._positions.begin_events(item.tag.key, await self._past_events.server_time_ns())
            else:
                self._fill_events(item)
        await self._subscriptions.refresh_conditions(handles)

    def _fill_events(self, item: Followed) -> None:
        """Read what the notifier told after the newest stored event, if the server keeps it."""
        newest = self._positions.newest_event(item.tag.key)
        if newest is not None and item.has_event_history:
            self._events.know(item.tag.key, newest[1])
            self._past_events.begin(item, self._options[item.handle], newest[0])

    async def _describe(self, followed: Sequence[Followed]) -> None:
        """Find which tags have history and which need the server's structure definitions."""
        nodes = [f.node for f in followed]
        if self._config.backfill:
            levels = await self._link.read_attributes(nodes, ua.AttributeIds.UserAccessLevel)
            for item, level in zip(followed, levels, strict=True):
                bits = level.Value.Value if level.Value is not None else None
                wanted = self._options[item.handle].backfill
                item.has_history = wanted and isinstance(bits, int) and bool(bits & _HISTORY_READ)
        if not self._config.load_structures:
            return
        types = await self._link.read_attributes(nodes, ua.AttributeIds.DataType)
        structured = [
            node
            for node, data_type in zip(nodes, types, strict=True)
            if data_type.Value is not None and _may_be_structure(data_type.Value.Value)
        ]
        await self._learn_structures(structured)

    async def _learn_structures(self, nodes: Sequence[ua.NodeId]) -> None:
        for at in range(0, len(nodes), self._link.limits["read"]):
            part = nodes[at : at + self._link.limits["read"]]
            try:
                self._link.responses.values(await self._link.request(read_request(part)))
            except ProtocolViolation as error:
                self._log.warning("opcua_structures_unreadable", reason=error.what)
        if any(index > 0 for index, _ in self._link.structures.unknown):
            await self._link.load_structures()

    def _refuse(self, followed: Followed, status: int) -> None:
        self._refused.append(followed)
        if followed.handle not in self._said:
            self._said.add(followed.handle)
            self._ready.append(Sample(followed.tag.key, None, to_quality(status), None))
            self._log.warning("opcua_tag_refused", tag=followed.tag.key, status=status_name(status))
        if self._retry_at_ns == 0:
            self._retry_at_ns = self._clock.monotonic_ns() + int(self._config.bad_tag_retry * 1e9)

    # Data

    def _take(self) -> None:
        """Everything that was notified becomes samples; those of tags whose gap is being filled wait."""
        ready = self._ready.append
        followed = self._all
        for values in self._subscriptions.take():
            for handle, value in values:
                if handle >= len(followed):
                    self._take_status(handle, value)
                    continue
                item = followed[handle]
                lost = value.status != 0 and is_overflow(value.status)
                sample = to_sample(item.tag.key, value)
                if value.status & 0xFFFF0000 in _VANISHED:
                    self._vanished[handle] = item
                if item.offer(sample, lost=lost):
                    ready(sample)
                    if lost:
                        self._session.count_gaps(1)

        for handle, fields in () if self._past_events.is_filling else self._subscriptions.take_events():
            if handle < len(followed):
                self._events.take(followed[handle].tag.key, followed[handle].event_names, fields)

    def _take_status(self, handle: int, value: DataValue) -> None:
        """Whether the server runs, and how well it says that it serves; a fall matters where there is another one."""
        if handle == STATE_HANDLE and isinstance(value.value, int) and value.value != self._state:
            self._state = value.value
            if value.value == ua.ServerState.Running:
                self._log.info("opcua_server_runs_again")
            else:
                got = str(value.value) if value.value not in _STATES else ua.ServerState(value.value).name
                error = PlantError("the OPC UA server does not run", where=self._link.where, got=got, code="MS-1106")
                self._log.warning("opcua_server_does_not_run", error=str(error))
        if handle == LEVEL_HANDLE and isinstance(value.value, int) and self._config.endpoints:
            self._has_fallen = value.value < self._link.service_level
            self._link.service_level = max(self._link.service_level, value.value)

    def _refuse_after_standstill(self) -> None:
        """Raise when this process stood still for longer than the server's queues last: some servers drop silently,
        so what is held may have a hole in it. A new link reads it from history."""
        now_ns = self._clock.monotonic_ns()
        stood_s = (now_ns - self._taken_at_ns) / 1e9
        self._taken_at_ns = now_ns
        if stood_s > self._queued_s and self._can_rewind():
            raise Unreachable("the node stood still, gaps are filled over a new link", got=f"{stood_s:.1f} s")

    def _go_on(self) -> None:
        """Ask the server for more. Raises Unreachable after back-pressure: a new link fills what the queues dropped."""
        if self._subscriptions.was_held_back and self._can_rewind():
            raise Unreachable("the node was slower than the data, gaps are filled over a new link")
        self._subscriptions.was_held_back = False
        self._subscriptions.go_on()

    def _can_rewind(self) -> bool:
        return any(f.has_history or f.has_event_history for f in self._all)

    async def _batch(self) -> Batch:
        events = await self._events.read()
        samples = self._ready[:BATCH_SAMPLES_MAX]
        del self._ready[:BATCH_SAMPLES_MAX]
        flawed = [self._subscriptions.flawed.popleft() for _ in range(len(self._subscriptions.flawed))]
        self._count()
        self._positions.advance(samples)
        self._positions.advance_events(events)
        position = self._positions.encode() if self._can_rewind() else None
        return Batch(samples, position=position, frames_bad=flawed, events=events)

    async def _fill_gaps(self) -> bool:
        """One step of filling gaps; False when there is nothing to fill now."""
        if await self._past_events.step():
            return True
        filled = await self._history.step([f for f in self._all if f.is_filling])
        if filled is None:
            return False
        self._ready += filled
        return True

    def _count(self) -> None:
        dropped, missed = self._subscriptions.dropped, self._subscriptions.messages_missed
        self._session.count_gaps(dropped - self._dropped_counted + missed - self._missed_counted)
        self._dropped_counted, self._missed_counted = dropped, missed
        for key in self._events.take_overflows():
            (item,) = [item for item in self._all if item.tag.key == key]
            if item.has_event_history:
                self._fill_events(item)
            else:
                self._session.count_gaps(1)

    # Living

    async def _wait(self) -> None:
        """Until something is notified, or something is due. A silent link is checked with a small read."""
        protocol = self._link.protocol if self._subscriptions.failure is None else None
        received = protocol.received_bytes if protocol is not None else 0
        try:
            async with asyncio.timeout(self._wait_s()):
                await self._subscriptions.wake.wait()
            return
        except TimeoutError:
            pass
        if protocol is not None and protocol.received_bytes == received:
            await self._link.check()
        self._subscriptions.check()

    def _wait_s(self) -> float:
        wait_s = self._config.check_interval
        now_ns = self._clock.monotonic_ns()
        for due_ns in (*self._poll_at_ns.values(), self._history.due_at_ns, self._past_events.due_at_ns):
            if due_ns is not None:
                wait_s = min(wait_s, max((due_ns - now_ns) / 1e9, 0.0))
        return wait_s

    async def _keep(self) -> None:
        """What is due: a new security token, polled tags, another try of refused tags, another server."""
        if self._has_fallen:
            raise Unreachable(
                "the OPC UA server's service level has fallen, the best of the redundant ones is asked for",
                where=self._link.where,
            )
        await self._link.keep_channel()
        now_ns = self._clock.monotonic_ns()
        for interval_s, due_ns in self._poll_at_ns.items():
            if due_ns <= now_ns:
                self._poll_at_ns[interval_s] = max(due_ns + int(interval_s * 1e9), now_ns)
                await self._poll(interval_s)
        if self._events.needs_refresh:
            self._events.needs_refresh = False
            await self._subscriptions.refresh_conditions({f.handle for f in self._all if f.event_names})
        if self._vanished:
            await self._give_up_vanished()
        if self._subscriptions.model_changes != self._model_changes and now_ns >= self._model_at_ns:
            self._model_at_ns = now_ns + int(MODEL_S_MIN * 1e9)
            self._model_changes = self._subscriptions.model_changes
            await self._follow_model()
        if self._retry_at_ns and now_ns >= self._retry_at_ns:
            await self._retry()

    async def _poll(self, interval_s: float) -> None:
        items = [
            f
            for f in self._all
            if f.node is not None
            and f.tag.publishing_interval_s == interval_s
            and self._options[f.handle].mode == "poll"
        ]
        for at in range(0, len(items), self._link.limits["read"]):
            part = items[at : at + self._link.limits["read"]]
            found = self._link.responses.values(await self._link.request(read_request([f.node for f in part])))
            if isinstance(found, ServiceFault):
                found = [DataValue(None, found.status, None)] * len(part)
            self._subscriptions.hold([(f.handle, value) for f, value in zip(part, found, strict=False)])

    async def _retry(self) -> None:
        again, self._refused, self._retry_at_ns = self._refused, [], 0
        await self._set_up(await self._resolve(again), reuse=True)

    async def _give_up_vanished(self) -> None:
        """What the server has deleted is monitored no longer, but looked for like a tag that it refused."""
        refused = {item.handle for item in self._refused}
        gone = [item for handle, item in self._vanished.items() if handle not in refused]
        self._vanished.clear()
        await self._subscriptions.remove(gone)
        for item in gone:
            self._said.add(item.handle)
            self._refuse(item, int(ua.StatusCodes.BadNodeIdUnknown))
            self._ready += item.move()


def _may_be_structure(data_type: object) -> bool:
    if not isinstance(data_type, ua.NodeId):
        return False
    return (
        data_type.NamespaceIndex != 0
        or not isinstance(data_type.Identifier, int)
        or (data_type.Identifier > _SCALAR_DATA_TYPE_MAX)
    )
