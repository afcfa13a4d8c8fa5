"""The plant as a developer sees it: values by path and type, never a subject, a stream or a connection."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.bus._link import Frame, Link, open_link
from millstream.client._acts import Acts
from millstream.client._alarms import Alarms
from millstream.client._archive import Archive
from millstream.client._context import PlantContext
from millstream.client._contracts import Registry, Review
from millstream.client._deadletter import (
    DeadLetter,
    check_replay,
    find_replayed,
    read_letter,
    read_letters,
    refuse_without_subject,
    remove_letter,
    repaired,
)
from millstream.client._desk_tools import DeskTools
from millstream.client._downtime import Downtime
from millstream.client._fleet import Fleet
from millstream.client._flows import ask_flow, flow_lists
from millstream.client._history import EVENT_KINDS, SAMPLE_KINDS, Historian, check_kind, stored_event
from millstream.client._ledger import Ledger, account_from, read_rows, recount
from millstream.client._letter_acts import LetterActs
from millstream.client._namespace import Namespace
from millstream.client._node import NodeAddress, find_node
from millstream.client._node_services import NodeServices
from millstream.client._oee import Oee
from millstream.client._part_quality import PartQuality
from millstream.client._paths import (
    Where,
    disjoint,
    event_place,
    to_address,
    to_names,
    to_patterns,
    to_subject,
)
from millstream.client._publisher import Publisher
from millstream.client._reading import Reading, last_reading, readings_of
from millstream.client._site_configs import SiteConfigs
from millstream.client._streams import Streams
from millstream.client._times import Span, Time, to_span_ns, to_time_ns
from millstream.client._trace import Trace, find_trace
from millstream.client._tree import TagEntry, TreeNode, build_tree
from millstream.client._twin import Twins
from millstream.client._writes import writable_tags, write_tag
from millstream.kernel import Clock, DecodeError, NotFoundError, SystemClock, Unreachable, suggest
from millstream.model import GOOD, AssetPath, Quality, TagPath, Value
from millstream.protocols.cloudevents import CloudEvent, decode_event, encode_event
from millstream.protocols.contract import Contract, Verdict
from millstream.protocols.uns_pattern import Pattern, contract_of
from millstream.protocols.uns_payload import encode_sample
from millstream.protocols.uns_subject import UnsAddress, decode_subject, encode_subject
from millstream.protocols.write_request import WritableTag, WriteAnswer
from millstream.sdk import Stored, TlsFiles

if TYPE_CHECKING:
    import pyarrow as pa

LIVE_PREFIX = "live."


class Plant:
    """An open view of one node: an edge sees its own site, a hub all of them. Made by `connect`."""

    def __init__(self, link: Link, address: NodeAddress, clock: Clock) -> None:
        self._link, self._address, self._clock = link, address, clock
        self._streams = Streams(link)
        self._historian = Historian(link, address.name if address.role == "edge" else None)
        self._namespace = Namespace(self._streams)
        self._services = NodeServices(link, address)
        self.fleet = Fleet(link, address, self._services.all, clock)
        self.commands = self.fleet.commands
        self._acts = Acts(self.event, link, self.fleet.whom)
        self._registry = Registry(link, self._streams, clock, self._acts)
        self.put_aside = self._registry.put_aside
        self._publisher = Publisher(link, self._streams, self._registry, clock)
        tools = DeskTools(
            self._streams, self._publisher.store, self.fleet.whom, self.commands, clock, self._acts, self._historian
        )
        self.configs, self.letters = SiteConfigs(tools), LetterActs(tools, self.replay)
        self.alarms, self.context = Alarms(tools), PlantContext(tools)
        self.downtime, self.quality, self.oee = Downtime(tools), PartQuality(tools), Oee(tools)
        self.archive = Archive(self._historian, link, self.fleet.whom, clock)
        self.twins = Twins(self._streams, clock)
        self.dropped_count = 0
        """Live messages that were dropped because this program did not keep up; they stay in the history."""

    def act_from(self, origin: str) -> None:
        """The audit is told from here on that what is done comes from this address: a program acts for a person."""
        self._acts.origin = self.commands.origin = origin

    @property
    def node(self) -> NodeAddress:
        """The node this plant is seen from."""
        return self._address

    async def live(self, *patterns: Where, kind: str = "tag", initial: bool = False) -> AsyncGenerator[Reading, None]:
        """Readings as they are stored, for ever; with `initial` the last known values first.

        Only stored values are seen. Ends with Unreachable when the plant is closed; a lost link heals by itself, and
        what was missed meanwhile is in the history. Consume under `aclosing` when you leave early.
        """
        checked, contract = to_patterns(patterns), contract_of(kind)
        units = await self._namespace.units()
        async with self._listen(checked, contract) as arrivals:
            if initial:
                for reading in await self.last(*patterns, kind=kind):
                    yield reading
            async for frame, address in arrivals:
                path = str(address.tag)
                for reading in readings_of(path, frame.payload, frame.headers, unit=units.get(path)):
                    yield reading

    async def events(
        self, *patterns: Where, type: str | None = None, kind: str = "event", start: Time | None = None,
        end: Time = "now",
    ) -> AsyncGenerator[CloudEvent, None]:  # fmt: skip
        """Events as they are stored, for ever; with `start` those of the history up to `end` instead.

        `type` is a CloudEvents type, a final ``*`` stands for any ending; `kind` is "event" or "alarm".
        """
        check_kind(kind, EVENT_KINDS)
        if start is not None:
            table = await self.event_history(patterns, start, end, type=type, kind=kind)
            at = table.schema.get_field_index("timestamp")
            if at >= 0:
                for row in table.set_column(at, "timestamp", table.column(at).cast("int64")).to_pylist():
                    yield stored_event(row)
            return
        async with self._listen(to_patterns(patterns), contract_of(kind)) as arrivals:
            async for frame, _ in arrivals:
                try:
                    event = decode_event(frame.headers, frame.payload)
                except DecodeError:
                    continue  # another program's message under the event contract: not for readers of events
                if type is None or event.type == type or (type.endswith("*") and event.type.startswith(type[:-1])):
                    yield event

    @asynccontextmanager
    async def _listen(
        self, patterns: Sequence[Pattern], contract: str
    ) -> AsyncGenerator[AsyncGenerator[tuple[Frame, UnsAddress], None], None]:
        subjects = disjoint([LIVE_PREFIX + pattern.subject_filter(contract) for pattern in patterns])
        async with self._link.subscribe(subjects) as subscription:

            async def arrivals() -> AsyncGenerator[tuple[Frame, UnsAddress], None]:
                """What fits, in order of arrival."""
                dropped_before = 0
                while True:
                    for frame in await subscription.take():
                        address = to_address(frame.subject.removeprefix(LIVE_PREFIX))
                        if address is None or address.contract != contract:
                            continue
                        if any(pattern.matches(address) for pattern in patterns):
                            yield frame, address
                    self.dropped_count += subscription.dropped_count - dropped_before
                    dropped_before = subscription.dropped_count

            async with aclosing(arrivals()) as frames:
                yield frames

    async def get(self, path: Where, *, kind: str = "tag") -> Reading:
        """The last stored reading of one tag. Raises NotFoundError, which names a similar tag if there is one."""
        pattern = Pattern.parse(path)
        if not pattern.is_exact:
            raise DecodeError(
                "not the path of one tag", expected='such as "acme/plant1/press:temperature"', got=repr(str(path)),
                next_step="use `last` for a pattern", code="MS-0580",
            )  # fmt: skip
        found = await self.last(path, kind=kind)
        if found:
            return found[0]
        near = suggest(str(path), [entry.path for entry in await self.tags(kind=kind)])
        raise NotFoundError(
            "no value is stored for this path", where=str(pattern.tag),
            next_step=f"did you mean {near!r}?" if near else "list what exists with `millstream tree`",
        )  # fmt: skip

    async def last(self, *patterns: Where, kind: str = "tag") -> list[Reading]:
        """The last stored reading of every tag that fits, in order of path; empty when none does."""
        checked, units = to_patterns(patterns), await self._namespace.units()
        frames = await self._namespace.last_frames(checked, contract_of(kind))
        return [
            last_reading(path, frame.payload, frame.headers, unit=units.get(path))
            for path, frame in sorted((str(decode_subject(subject).tag), frame) for subject, frame in frames.items())
        ]

    async def tags(self, *patterns: Where, kind: str | None = None) -> list[TagEntry]:
        """What there is: every tag that fits, with its description; `kind` None means every kind but descriptions."""
        return await self._namespace.tags(to_patterns(patterns), kind)

    async def tree(self, *patterns: Where, kind: str | None = None) -> TreeNode:
        """The namespace as a tree of places, as far as it fits."""
        return build_tree(await self.tags(*patterns, kind=kind))

    async def history(
        self,
        paths: Where | Sequence[Where],
        start: Time,
        end: Time = "now",
        *,
        every: Span | None = None, aggregate: str | Sequence[str] | None = None, limit: int | None = None,
        quality: str | None = None, kind: str = "tag", as_recorded: bool = False,
    ) -> pa.Table:  # fmt: skip
        """Stored samples from `start` (included) to `end` (not), or, with `every`, aggregates by window.

        Aggregates: count, min, max, mean, sum, first, last, time_weighted_mean. Columns: tag, kind, time (UTC) and the
        values, or one column an aggregate. `quality` is "any", "usable" or "good"; `kind` is "tag", "count", "kpi" or
        "state": the same path in two kinds is two histories. A sample that corrects an earlier one of its time stands
        in its place; with `as_recorded` both are given, in order of arrival.
        """
        now_ns = self._clock.now_ns()
        names = await self._history_names(paths, check_kind(kind, SAMPLE_KINDS))
        if every is not None and as_recorded:
            raise DecodeError("windows count what is right now", expected="no every beside as_recorded", code="MS-0582")
        request: dict[str, Any] = {
            "kind": "range" if every is None else "window",
            "data_kind": kind,
            "tags": names,
            "start_ns": to_time_ns(start, now_ns),
            "end_ns": to_time_ns(end, now_ns),
            "limit": limit,
            "quality": quality, "as_recorded": as_recorded or None,
        }  # fmt: skip
        if every is not None:
            request["every_ns"] = to_span_ns(every)
            request["aggregates"] = to_names(aggregate)
        elif aggregate is not None:
            raise DecodeError("an aggregate needs windows", expected='every="1min" beside aggregate', code="MS-0582")
        return await self._historian.ask(request)

    async def asof(
        self,
        paths: Where | Sequence[Where],
        at: Time | Sequence[Time],
        *,
        max_age: Span | None = None,
        quality: str | None = None,
        kind: str = "tag",
    ) -> pa.Table:
        """What was known at one or more moments: the newest sample of each tag at or before each."""
        now_ns = self._clock.now_ns()
        moments = [at] if isinstance(at, str) or not isinstance(at, Sequence) else list(at)
        request = {
            "kind": "asof", "data_kind": kind,
            "tags": await self._history_names(paths, check_kind(kind, SAMPLE_KINDS)),
            "times_ns": [to_time_ns(moment, now_ns) for moment in moments],
            "max_age_ns": None if max_age is None else to_span_ns(max_age),
            "quality": quality,
        }  # fmt: skip
        return await self._historian.ask(request)

    async def last_history(self, *patterns: Where, kind: str = "tag") -> pa.Table:
        """The newest sample of each tag as the historian has it."""
        names = await self._history_names(patterns, check_kind(kind, SAMPLE_KINDS))
        return await self._historian.ask({"kind": "last", "data_kind": kind, "tags": names})

    async def event_history(
        self,
        paths: Where | Sequence[Where],
        start: Time,
        end: Time = "now",
        *,
        type: str | None = None,
        kind: str = "event",
        limit: int | None = None,
    ) -> pa.Table:
        """Stored events from `start` (included) to `end` (not), oldest first.

        Columns: tag, kind, timestamp, id, source, type, subject, content_type, data and extensions (JSON text).
        """
        now_ns = self._clock.now_ns()
        request = {
            "kind": "events",
            "data_kind": kind,
            "tags": await self._history_names(paths, check_kind(kind, EVENT_KINDS)),
            "type": type,
            "start_ns": to_time_ns(start, now_ns), "end_ns": to_time_ns(end, now_ns), "limit": limit,
        }  # fmt: skip
        return await self._historian.ask(request)

    async def _history_names(self, paths: Where | Sequence[Where], kind: str) -> Sequence[str]:
        several = [paths] if isinstance(paths, (str, AssetPath, TagPath)) else list(paths)
        return await self._historian.resolve(to_patterns(several), kind)

    async def publish(
        self,
        path: Where,
        value: Value | None,
        *,
        unit: str | None = None, time: Time | None = None, quality: Quality = GOOD, kind: str = "tag",
        is_correction: bool = False,
    ) -> Stored:  # fmt: skip
        """Store one value and return once it is on disk. `time` is the source time; left out, it is now. A correction
        stands in the history in the place of the sample of exactly that time, which stays readable as recorded."""
        now_ns = self._clock.now_ns()
        subject, revised = to_subject(path, kind), {"Ms-Revision": "1"} if is_correction else {}
        payload = encode_sample(
            value,
            quality=quality,
            source_time_ns=now_ns if time is None else to_time_ns(time, now_ns),
            ingest_time_ns=now_ns,
            unit=unit,
        )
        return await self._publisher.store(subject, payload, {"Nats-Msg-Id": str(uuid.uuid4()), **revised})

    async def event(
        self, path: Where, type: str, data: Any = None, *, id: str | None = None, source: str | None = None,
        time: Time | None = None, subject: str | None = None,
    ) -> Stored:  # fmt: skip
        """Store one event (CloudEvents 1.0) at a place; the same `source` and `id` within two minutes is no other.

        `path` is a place, or a tag path whose names replace the ones that the type gives.
        """
        now_ns = self._clock.now_ns()
        asset, names = event_place(path, type)
        event = CloudEvent(
            id or str(uuid.uuid4()), source or f"/{asset}", type, data,
            now_ns if time is None else to_time_ns(time, now_ns), subject,
        )  # fmt: skip
        headers, payload = encode_event(event)
        headers["Nats-Msg-Id"] = headers["ce-source"] + "|" + headers["ce-id"]
        return await self._publisher.store(encode_subject(UnsAddress(asset, "_event", names)), payload, headers)

    async def ledger(self, *, recounted: bool = False) -> Ledger:
        """What every publisher says it stored. With `recounted` all messages are read and counted again here;
        without, the accounts are those that the node keeps itself, if it does."""
        rows = await read_rows(self._streams)
        if recounted:
            return Ledger(rows, await recount(self._streams))
        accounts = {}
        for node in await self.status():
            origins = node.get("ledger")
            if isinstance(origins, dict):
                accounts.update({name: account_from(raw) for name, raw in origins.items() if isinstance(raw, dict)})
        return Ledger(rows, accounts)

    async def trace(self, what: str, *, kind: str = "tag", within: Span = 60.0) -> Trace:
        """What touched one message (a path's newest, ``STREAM:SEQUENCE``, a trace id or `traceparent`), and when."""
        return await find_trace(self._streams, self._services.of, what, kind, to_span_ns(within))

    async def dead_letters(self, *, limit: int = 100) -> tuple[list[DeadLetter], int]:
        """What could not become data: the newest letters, newest last, and how many there are in all."""
        return await read_letters(self._streams, limit=limit)

    async def dead_letter(self, id: str) -> DeadLetter:
        """One letter. Raises NotFoundError."""
        return await read_letter(self._streams, id)

    async def replay(
        self, letter: DeadLetter, *, path: Where | None = None, payload: bytes | None = None, keep: bool = False
    ) -> Stored:
        """Store a letter where it should have gone (or at `path`), then remove it unless `keep`.

        `payload` are its bytes put right: one JSON sample or an Arrow block. Raises PlantError when the bytes make no
        sense: it would only come back. Each is stored once, however often a replay is cut off and tried again.
        """
        if payload is not None:
            letter = repaired(letter, payload)
        subject = letter.subject if path is None else to_subject(path, "tag")
        if subject is None:
            raise refuse_without_subject(letter)
        check_replay(letter, subject)
        await self._registry.check_replay(letter, subject)
        headers = {**letter.headers, "Nats-Msg-Id": f"replay|{letter.id}|{letter.time_ns}"}
        if letter.content_type is not None:
            headers["Content-Type"] = letter.content_type
        found = await find_replayed(self._streams, letter, subject, headers["Nats-Msg-Id"])
        if found:
            stored = Stored(found.stream, found.seq)
        else:
            stored = await self._publisher.store(subject, letter.payload, headers)
        if not keep:
            await remove_letter(self._streams, letter.id)
        return stored

    async def contracts(self) -> list[Contract]:
        """All versions of all contracts that this node knows, by name and version."""
        return sorted(await self._registry.versions(), key=lambda c: (c.name, c.version))

    async def review_contract(self, contract: Contract) -> Review:
        """What publishing a contract would change, and for which flows; nothing is stored."""
        return await self._registry.review(contract, await self.status())

    async def publish_contract(
        self, contract: Contract, *, is_breaking_allowed: bool = False
    ) -> tuple[Verdict, Contract]:
        """Store the next version of a contract; it holds at the edges as soon as they hear of it. Unchanged ones are
        not stored again. Raises ConfigError, and PlantError for a breaking change unless that is allowed."""
        return await self._registry.publish(contract, is_breaking_allowed=is_breaking_allowed)

    async def streams(self) -> list[Mapping[str, Any]]:
        """The server's own description of each stream that it has: configuration, state, sources, its time."""
        return [await self._streams.info(name) for name in await self._streams.names()]

    async def round_trip_ms(self) -> float:
        """The time to the node and back."""
        return await self._link.round_trip_ms()

    async def clock_skews(self) -> Mapping[str, float]:
        """By name: how many seconds the clocks of this node and of its hub are ahead of this machine's. What cannot be
        asked is left out. Accurate to half a round trip."""
        return await self._services.clock_skews(self._streams, self._clock)

    async def status(self) -> list[Mapping[str, Any]]:
        """How the nodes that can be seen from here are: this one first, then by name."""
        return await self._services.statuses()

    async def flows(self) -> list[Mapping[str, Any]]:
        """The flows of each node that can be seen from here: ``{"node": ..., "flows": [...]}``."""
        return await flow_lists(self._link, await self._services.subjects("flows"))

    async def ask_flow(self, flow: str, action: str, **more: Any) -> Mapping[str, Any]:
        """Status, lag, pause, resume or replay of one flow, named ``name`` or ``node/name``. Raises NotFoundError."""
        return await ask_flow(self._link, await self._services.subjects("flows"), flow, action, more)

    async def writable(self) -> Mapping[str, Sequence[WritableTag]]:
        """By edge, the tags that may be written, with their bounds."""
        return await writable_tags(self._link, await self._services.subjects("write"))

    async def write(
        self, path: Where, value: Value | None, *, valid: Span = 10.0, id: str | None = None, who: str | None = None
    ) -> WriteAnswer:
        """Write one value to a machine, None for a null; returns once it took it. `valid` is how long the request may
        wait; the same `id` again is carried out once. Raises NotWritten with what became of it."""
        subjects, tag = await self._services.subjects("write"), str(Pattern.parse(path).tag)
        times, told = (self._clock.now_ns(), to_span_ns(valid)), (self._acts, self._namespace.value_of)
        return await write_tag(self._link, subjects, tag, value, times, told, id=id, who=who)


@asynccontextmanager
async def connect(
    node: str | os.PathLike[str] | None = None,
    *,
    url: str | None = None,
    user: str | None = None,
    password: str | None = None,
    creds_file: Path | None = None,
    tenant: str | None = None, tls: TlsFiles | None = None, timeout_s: float = 5.0, clock: Clock | None = None,
) -> AsyncGenerator[Plant, None]:  # fmt: skip
    """Open a plant: ``async with millstream.connect() as plant:``. `node` is the data directory of a node on this
    machine (or its node.json); left out, MILLSTREAM_NODE and MILLSTREAM_URL are looked at. `url` reaches any node, with
    `user` and `password` or a `creds_file`, checked by the authorities of `tls`; `tenant` is whose plant, at a hub of
    several. Raises NotFoundError, Unreachable, AuthError, each with the next step."""
    address = find_node(node, url=url, user=user, password=password, creds_file=creds_file, tenant=tenant, tls=tls)
    try:
        async with open_link(address.nats_url, address.credentials, timeout_s=timeout_s) as link:
            yield Plant(link, address, clock or SystemClock())
    except Unreachable as error:
        if error.code == Unreachable.default_code and not address.is_running:
            raise Unreachable(
                "the node is not running", where=str(address.file), got=f"no process {address.pid}",
                next_step="start it again; its node.json is a leftover", code="MS-0682",
            ) from error  # fmt: skip
        raise
