"""What a configuration may change while an edge runs: its connectors, its flows, the bounds of its streams, and what
hangs on them. Everything else (server, identity, uplink) stays as the edge's own file says."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from millstream.bus import (
    FAST_PREFIX,
    SITE_PREFIX,
    FastIngestPublisher,
    GroupCommitPublisher,
    NatsServer,
    RawConnection,
    StreamName,
    StreamReader,
)
from millstream.config import ConnectorEntry, ConnectorTypes, EdgeConfig, MappedTag
from millstream.edge._connector_set import ConnectorSet
from millstream.edge._deadletter import StreamDeadLetters
from millstream.edge._describe import MetaNote, describe, load_meta, save_meta
from millstream.edge._forward import EdgeForward
from millstream.edge._forward_settings import EdgeStreams
from millstream.edge._journal import Journal
from millstream.edge._lifecycle import Lifecycle
from millstream.edge._log import LineLog, Sink
from millstream.edge._pipeline import Pipeline
from millstream.edge._settings import forward_settings
from millstream.edge._standing import OtherStream
from millstream.edge._supervisor import ConnectorPlan, Supervisor
from millstream.edge._thinning import Thinning
from millstream.edge._tracing import Tracer
from millstream.edge._writes import WriteDesk
from millstream.kernel import Backoff, Clock, ConfigError, PlantError
from millstream.protocols.contract import ContractBook
from millstream.protocols.ledger import position_subject, record_subject
from millstream.protocols.write_request import WriteAnswer, WriteRequest
from millstream.sdk import ConnectorConfig, ConnectorTools, Publisher, TagFacts
from millstream.worker import FlowDirector, Surroundings

META_UNIT_MESSAGES = 500
_FLOW_WORKS = ("running", "partly", "paused", "catching up")
AnswerTo = Callable[[bytes], Awaitable[object]]
AnswerFrom = Callable[[bytes, str], Awaitable[object]]
Kept = Callable[[str, Callable[[], Coroutine[Any, Any, None]]], Coroutine[Any, Any, None]]
"""Runs a part of the node again when it fails."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What is there before the first connector. `stack` closes what is opened later, before the server goes."""

    server: NatsServer
    connection: RawConnection
    forward: EdgeForward
    dead_letters: StreamDeadLetters
    stack: AsyncExitStack


class Works:
    """Order of use: `check`, `open` on the ground, `start` in the node's task group, `stop`; `drain` and `switch` while
    it runs."""

    def __init__(self, config: EdgeConfig, types: ConnectorTypes, *, clock: Clock, sink: Sink) -> None:
        self.config = config
        self.publishers: dict[str, tuple[str, Publisher]] = {}
        self.flows: FlowDirector | None = None
        self.writes: WriteDesk | None = None
        self.journal: Journal | None = None
        self.thinning = Thinning()
        self.on_change: Callable[[], Awaitable[None]] | None = None
        self._types = types
        self._clock = clock
        self._sink = sink
        self._log = LineLog(config.edge.name, sink)
        self.connectors = ConnectorSet(self._supervise, self._log)
        self._ground: Ground | None = None
        self._streams: EdgeStreams | None = None
        self._book: ContractBook | None = None
        self._group: asyncio.TaskGroup | None = None
        self._kept: Kept | None = None
        self._flows_task: asyncio.Task[None] | None = None
        self._meta_task: asyncio.Task[None] | None = None
        self._described: MetaNote | None = None  # as published last
        self._room_bytes: int | None = None
        self._facts: dict[str, TagFacts] = {}  # of all connectors: complete before the first of them opens

    # -- before it runs -----------------------------------------------------------------------------------------------

    def check(self, config: EdgeConfig) -> None:
        """A wrong connector is told before anything is started. Raises ConfigError."""
        for entry in config.connectors:
            self._build(entry, ConnectorTools(entry.name))

    def _build(self, entry: ConnectorEntry, tools: ConnectorTools) -> Any:
        """Construct a connector; it does no I/O. Raises ConfigError."""
        try:
            cls = self._types[entry.type]
        except KeyError:
            raise ConfigError("no such connector", where=entry.name, got=repr(entry.type)) from None
        config = entry.config
        if not isinstance(config, ConnectorConfig):
            try:
                config = cls.Config.model_validate(config)
            except ValidationError as error:
                raise ConfigError(f"configuration of connector '{entry.name}' is wrong: {error}") from error
        return cls(config, tools)

    async def open(self, ground: Ground, room_bytes: int | None) -> EdgeStreams:
        """Streams, publishers, connectors, flows and writes, none of them running. Raises PlantError."""
        self._ground, self._room_bytes = ground, room_bytes
        self._streams = await ground.forward.prepare()
        ground.stack.push_async_callback(ground.forward.close)
        await self._open_publishers()
        self.connectors.prepare(self.config.connectors)
        return self._streams

    async def open_late(self) -> None:
        """What needs the contracts to hold already."""
        name = self.config.edge.name
        self.journal = Journal(
            self.publishers["integrity"][1], position_subject(self.config.path, name, "integrity", "commands"),
            self._clock,
        )  # fmt: skip
        await self.journal.open()
        self.writes = self._open_writes()
        self.flows = await self._plan_flows()

    def start(self, group: asyncio.TaskGroup, kept: Kept) -> None:
        """Run all in the node's group."""
        self._group, self._kept = group, kept
        self.connectors.start(group)
        self._start_flows()
        self._meta_task = group.create_task(kept("descriptions", self._publish_meta))

    def _start_flows(self) -> None:
        if self.flows is not None and self._flows_task is None:
            assert self._group is not None
            assert self._kept is not None
            self._flows_task = self._group.create_task(self._kept("flows", self.flows.run))

    async def stop(self) -> None:
        """Connectors first, then the flows' workers: they end before what they write to."""
        await self.connectors.stop()
        await self._stop_flows()
        if self._meta_task is not None:
            self._meta_task.cancel()

    async def _stop_flows(self) -> None:
        if self.flows is not None and self._flows_task is not None:
            self.flows.stop()
            await asyncio.wait([self._flows_task])
        self._flows_task = None

    # -- while it runs ------------------------------------------------------------------------------------------------

    def up(self) -> tuple[str, ...]:
        """What works now: connectors, and flows as ``flow <name>``."""
        flows = self.flows.status() if self.flows is not None else []
        return (
            *self.connectors.up(), *(f"flow {flow['name']}" for flow in flows if flow["state"] in _FLOW_WORKS)
        )  # fmt: skip

    def ailing(self, must_be_up: Sequence[str], unchanged: Sequence[str]) -> str | None:
        """Why this is not well; None: it is."""
        found = self.connectors.ailing(must_be_up, unchanged)
        for flow in self.flows.status() if found is None and self.flows is not None else ():
            name, state = f"flow {flow['name']}", flow["state"]
            is_up = name in unchanged or all(worker["state"] == "running" for worker in flow["workers"])
            if state == "refused" or not is_up or (name in must_be_up and state not in _FLOW_WORKS):
                why = next((str(worker["error"]) for worker in flow["workers"] if worker["error"]), "")
                return f"{name} is {state if state != 'running' else 'starting'}{': ' if why else ''}{why}"
        return found

    def hopeless(self, unchanged: Sequence[str]) -> str | None:
        """Why waiting does not help: a flow that is not `unchanged` cannot be made of what its section names."""
        for flow in self.flows.status() if self.flows is not None else ():
            name = f"flow {flow['name']}"
            for worker in flow["workers"] if name not in unchanged else ():
                if worker["is_misconfigured"]:
                    return f"{name}: {worker['error']}"
        return None

    async def drain(self, config: EdgeConfig) -> None:
        """Stop what differs in `config`, at a boundary of its batches. Raises PlantError."""
        await self.connectors.drain(self.connectors.changed(config.connectors))
        if self.flows is not None and config.flows != self.config.flows:
            await self._stop_flows()

    async def switch(self, config: EdgeConfig) -> None:
        """Run `config`: stop what differs, start what is missing. May be called again. Raises PlantError."""
        ground = self._require()
        assert self._group is not None
        await self.drain(config)
        self.thinning.keep([supervisor.pipeline for supervisor in self.connectors])
        has_same_flows = config.flows == self.config.flows and self._flows_task is not None
        self.config = config
        settings = forward_settings(config, room_bytes=self._room_bytes)
        self._streams = await ground.forward.reshape(settings)
        await self._open_publishers()
        for supervisor in self.connectors.prepare(config.connectors):
            if self._book is not None:
                supervisor.pipeline.enforce(self._book)
        self.connectors.start(self._group)
        if not has_same_flows:
            self.flows = await self._plan_flows()
            self._start_flows()
        self.writes = self._open_writes()
        self._describe_again()
        if self.on_change is not None:
            await self.on_change()

    def _describe_again(self) -> None:
        assert self._group is not None
        assert self._kept is not None
        if self._meta_task is not None:
            self._meta_task.cancel()
        self._meta_task = self._group.create_task(self._kept("descriptions", self._publish_meta))

    def enforce(self, book: ContractBook) -> None:
        """These contracts hold from now on."""
        self._book = book
        for supervisor in self.connectors:
            supervisor.pipeline.enforce(book)

    def streams(self) -> list[str]:
        """The streams that hold this edge's data."""
        found = self._streams
        names = () if found is None else (found.integrity, found.throughput, found.site, found.flow)
        return [name for name in names if name is not None]

    def asked(self) -> dict[str, AnswerTo]:
        """What can be asked of the node because of its configuration."""
        return {} if self.writes is None else {"write": self.writes.answer}

    def asked_from(self) -> dict[str, AnswerFrom]:
        """The same of what wants to know from where it is asked."""
        return {} if self.flows is None else {"flows": self._answer_flows}

    async def _answer_flows(self, request: bytes, origin: str) -> object:
        return await self.flows.answer(request, origin) if self.flows is not None else {"flows": []}

    # -- parts --------------------------------------------------------------------------------------------------------

    def _require(self) -> Ground:
        if self._ground is None:
            raise PlantError("the edge does not run", where=self.config.edge.name, code="MS-0682")
        return self._ground

    async def _open_publishers(self) -> None:
        """Those whose streams are there and that are not open yet; an open one stays."""
        ground, streams = self._require(), self._streams
        assert streams is not None
        place, name, connection = self.config.path, self.config.edge.name, ground.connection
        if "integrity" not in self.publishers:
            subject = record_subject(place, name, "integrity")
            group = GroupCommitPublisher(connection, streams.integrity, ledger_subject=subject, clock=self._clock)
            self.publishers["integrity"] = (streams.integrity, await ground.stack.enter_async_context(group))
        for kind, stream, prefix in (
            ("throughput", streams.throughput, FAST_PREFIX), ("site", streams.site, SITE_PREFIX),
        ):  # fmt: skip
            if stream is None or kind in self.publishers:
                continue
            subject = record_subject(place, name, kind)
            # Of several boxes one that was frozen may wake and write on: only atomic batches fence it.
            make = FastIngestPublisher if connection.replicas == 1 else GroupCommitPublisher
            lazy = make(connection, stream, ledger_subject=subject, publish_prefix=prefix, clock=self._clock)
            self.publishers[kind] = (stream, await ground.stack.enter_async_context(lazy))

    def _supervise(self, entry: ConnectorEntry) -> Supervisor:
        ground, streams = self._require(), self._streams
        assert streams is not None
        log = LineLog(entry.name, self._sink)
        mapped = self.config.mapped_tags(entry)
        self._facts |= {m.tag.key: _facts_of(m) for m in mapped}
        tools = ConnectorTools(
            entry.name,
            self._clock,
            log,
            StreamReader(ground.connection),
            streams.mqtt,
            tuple(m.tag for m in mapped),
            tuple(stream for stream, _ in self.publishers.values()),
            self._facts,
            self._write,
        )
        place = self.config.connector_path(entry)
        stream, publisher = self.publishers[entry.durability]
        unit_bytes_max = self._unit_bytes_max(stream)
        pipeline = Pipeline(mapped, place, payload_bytes_max=min(ground.connection.max_payload, unit_bytes_max))
        self.thinning.add(entry.durability, pipeline)
        tags, subject = [m.tag for m in mapped], self._position_subject(entry.durability, entry.name)
        other = self._other_class(entry)
        return Supervisor(
            ConnectorPlan(entry.name, entry.type, tags, subject, unit_bytes_max, self._tracer(), other),
            self._build(entry, tools),
            pipeline,
            publisher=publisher,
            dead_letters=ground.dead_letters,
            lifecycle=Lifecycle(Backoff()),
            clock=self._clock,
            log=log,
        )

    def _position_subject(self, durability: str, connector: str) -> str:
        return position_subject(self.config.path, self.config.edge.name, durability, connector)

    def _other_class(self, entry: ConnectorEntry) -> OtherStream:
        """Where the connector stands if its class of durability was the other one before: `integrity` for those two
        that are not. What stayed at the site may still be asked of its source for the hub."""
        name: str = "throughput" if entry.durability == "integrity" else "integrity"
        _, publisher = self.publishers.get(name, ("", None))
        kind: Literal["I", "T"] = "T" if name == "throughput" else "I"
        subject = self._position_subject(name, entry.name)
        return OtherStream(self._require().connection, self.config.edge.name, kind, subject, publisher)

    def _tracer(self) -> Tracer | None:
        every = self.config.tracing.every
        return None if every == "never" else Tracer(round(every * 1e9), secrets.token_bytes(32))

    def _unit_bytes_max(self, stream: str) -> int:
        """A quarter of what the stream may hold, so that what is submitted at once always fits once there is room."""
        info = next(info for info in self._require().forward.streams if info.name == stream)
        return int(info.config["max_bytes"]) // 4

    def _open_writes(self) -> WriteDesk | None:
        """None unless a tag of this edge may be written. One that is open learns what has changed."""
        config, name = self.config, self.config.edge.name
        owners = self.connectors.owners()
        owned = [(owners[e.name], m) for e in config.connectors for m in config.mapped_tags(e)]
        mapped, by_tag = [m for _, m in owned], {m.tag.key: s for s, m in owned}
        if not any(m.config.write is not None for m in mapped):
            return None
        if self.writes is not None:
            self.writes.rewire(mapped, by_tag)
            return self.writes
        assert self.journal is not None
        return WriteDesk(
            mapped, by_tag, self.journal, place=config.path, clock=self._clock, log=LineLog(name, self._sink)
        )

    async def _write(self, request: WriteRequest) -> WriteAnswer:
        """What a connector asks for in the name of others goes over the same desk as all writes."""
        if self.writes is None:
            return WriteAnswer(request.id, "refused", self._clock.now_ns(), "MS-2001", "no tag here may be written")
        return await self.writes.take(request)

    async def _plan_flows(self) -> FlowDirector | None:
        """The flows read what this edge stores and write into a stream of their own."""
        config, ground, streams = self.config, self._require(), self._streams
        assert streams is not None
        if streams.flow is None or not config.flows:
            ground.forward.room.flow_floor = ground.forward.room.input_floor = None
            return None
        server = ground.server
        held = (streams.integrity, streams.throughput, streams.site, streams.flow)
        inputs = tuple(name for name in held if name is not None)
        around = Surroundings(
            config.edge.name, str(config.path), server.url, server.credentials, inputs, streams.flow,
            config.edge.name, config.edge.data_dir.absolute(),
            generation=name.generation if (name := StreamName.parse(streams.flow)) else 1,
        )  # fmt: skip
        director = FlowDirector(config.flows, around, ground.connection, clock=self._clock, log=self._log)
        await director.prepare()
        ground.forward.room.flow_floor, ground.forward.room.input_floor = director.floor, director.input_floor
        return director

    async def _publish_meta(self) -> None:
        """Describe the configured tags, once; what did not change is not published again."""
        config, data_dir = self.config, self.config.edge.data_dir
        stream, publisher = self.publishers["integrity"]
        tags = [(entry, mapped) for entry in config.connectors for mapped in config.mapped_tags(entry)]
        known = self._described
        if known is None:
            known = await asyncio.to_thread(load_meta, data_dir)
        messages, note = describe(tags, known, stream)
        for first in range(0, len(messages), META_UNIT_MESSAGES):
            await (await publisher.submit(messages[first : first + META_UNIT_MESSAGES]))
        if note != known:
            await asyncio.to_thread(save_meta, data_dir, note)
        self._described = note

    def status(self) -> Mapping[str, Any]:
        """Its part of the node's status."""
        return {
            "connectors": [supervisor.status() for supervisor in self.connectors],
            "flows": self.flows.status() if self.flows else [],
            "writes": self.writes.status() if self.writes else {},
        }


def _facts_of(mapped: MappedTag) -> TagFacts:
    """What the configuration says of a tag."""
    config = mapped.config
    return TagFacts(config.unit, config.description, config.write.lifetime_max if config.write is not None else None)
