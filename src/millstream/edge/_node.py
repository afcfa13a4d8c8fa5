"""The edge node: chooses, wires and supervises its parts. No decision about data is made here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

import millstream
from millstream.bus import (
    FAST_PREFIX,
    HUB_DOMAIN,
    START_PATIENCE_S,
    FastIngestPublisher,
    GroupCommitPublisher,
    NatsServer,
    NodeFile,
    ProcessMeter,
    RawConnection,
    StreamApi,
    StreamName,
    StreamReader,
    node_service,
    store_room_bytes,
)
from millstream.config import ConnectorEntry, ConnectorTypes, EdgeConfig, InstalledConnectors
from millstream.edge._contracts import ContractKeeper
from millstream.edge._deadletter import StreamDeadLetters
from millstream.edge._describe import describe, load_meta, save_meta
from millstream.edge._facts import FactBook
from millstream.edge._fleet import FleetDesk
from millstream.edge._fleet_data import DataDesk
from millstream.edge._forward import EdgeForward, EdgeStreams
from millstream.edge._lifecycle import Alarm, Lifecycle
from millstream.edge._log import LineLog, Sink, to_logging
from millstream.edge._pipeline import Pipeline
from millstream.edge._settings import forward_settings, make_data_dir, server_settings
from millstream.edge._store_watch import StoreWatch
from millstream.edge._supervisor import ConnectorPlan, Supervisor
from millstream.edge._thinning import Thinning
from millstream.edge._writes import WriteDesk
from millstream.kernel import Backoff, Clock, ConfigError, PlantError, SystemClock
from millstream.protocols.contract import ContractBook
from millstream.protocols.ledger import position_subject, record_subject
from millstream.sdk import ConnectorConfig, ConnectorTools, Publisher
from millstream.worker import FlowDirector, Surroundings

SERVICE_NAME = "millstream-edge"
STOP_TIMEOUT_S = 10.0  # for connectors to close, send and be answered; then they are cut off
KEEP_INTERVAL_S = 1.0
META_UNIT_MESSAGES = 500


class EdgeNode:
    """One edge: nats-server, streams, connectors, uplink watch, status. Use it as a scope, or call `run`.

    Entering returns once the server is up, the streams are checked and the connectors have begun; it raises PlantError
    when the node cannot start. Leaving stops connectors first, then flushes, then stops the server.
    """

    def __init__(
        self, config: EdgeConfig, *, connectors: ConnectorTypes | None = None, clock: Clock | None = None,
        log: Sink = to_logging,
    ) -> None:  # fmt: skip
        self.config = config
        self._types = connectors if connectors is not None else InstalledConnectors()
        self._clock = clock or SystemClock()
        self._sink = log
        self._log = LineLog(config.edge.name, log)
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._server: NatsServer | None = None
        self._forward: EdgeForward | None = None
        self._contracts: ContractKeeper | None = None
        self._publishers: dict[str, tuple[str, Publisher]] = {}
        self._supervisors: list[Supervisor] = []
        self._flows: FlowDirector | None = None
        self._writes: WriteDesk | None = None
        self._facts: FactBook | None = None
        self._fleet: FleetDesk | None = None
        self._data: DataDesk | None = None
        self._alarms: dict[str, Alarm] = {}
        self._meter = ProcessMeter()
        self._started_ns = 0
        self._data_streams: list[str] = []
        self._thinning = Thinning()
        self._store_watch = StoreWatch()
        self._store_alarms: list[Alarm] = []

    # -- scope --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self.run(self._stop), name=f"edge {self.config.edge.name}")
        ready = asyncio.get_running_loop().create_task(self._ready.wait())
        try:
            await asyncio.wait([self._task, ready], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        finally:
            ready.cancel()
        if self._task.done():
            self._task.result()
            raise PlantError("the edge ended while it started", where=self.config.edge.name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._task is None:
            return
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        self._task.result()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises PlantError when the node cannot start."""
        config = self.config
        self._started_ns = self._clock.now_ns()
        for entry in config.connectors:
            self._build(entry, ConnectorTools(entry.name))  # a wrong one is told before anything is started
        async with AsyncExitStack() as stack:
            await make_data_dir(config.edge.data_dir)
            server = NatsServer(server_settings(config), config.edge.data_dir, clock=self._clock, on_log=self._log.info)
            self._server = await stack.enter_async_context(server)
            connection = await stack.enter_async_context(server.connect(config.edge.name))
            room = None if server.is_given else await asyncio.to_thread(store_room_bytes, config.edge.data_dir)
            settings = forward_settings(config, room_bytes=room)
            self._forward = EdgeForward(server, connection, settings, clock=self._clock, on_log=self._log.info)
            streams = await self._forward.prepare()
            stack.push_async_callback(self._forward.close)
            await self._open_publishers(stack, connection, streams.integrity, streams.throughput)
            dead_letters = StreamDeadLetters(
                connection, config.edge.name, self._clock, payload_bytes_max=connection.max_payload
            )
            self._supervisors = [
                self._supervise(entry, connection, streams.mqtt, dead_letters) for entry in config.connectors
            ]
            self._contracts = await self._open_contracts(connection)
            self._writes = await self._open_writes()
            self._flows = await self._plan_flows(server, connection, streams)
            names = (streams.integrity, streams.throughput, streams.flow)
            self._data_streams = [name for name in names if name is not None]
            self._open_fleet(stack, connection)
            await self._serve_status(stack, server)
            await stack.enter_async_context(NodeFile(config.edge.data_dir).hold(self._node_info(server)))
            await self._run_parts(stop, streams.integrity)

    async def _run_parts(self, stop: asyncio.Event, stream: str) -> None:
        assert self._forward is not None
        assert self._contracts is not None
        assert self._data is not None
        async with asyncio.TaskGroup() as group:
            data = group.create_task(self._kept("raw data", self._data.run))
            contracts = group.create_task(self._kept("contracts", self._contracts.run))
            watch = group.create_task(self._kept("uplink watch", self._forward.run))
            keep = group.create_task(self._kept("housekeeping", self._keep_house))
            meta = group.create_task(self._kept("descriptions", lambda: self._publish_meta(stream)))
            tasks = [group.create_task(s.run(), name=s.plan.name) for s in self._supervisors]
            flows = None if self._flows is None else group.create_task(self._kept("flows", self._flows.run))
            self._log.info("edge is up", connectors=len(tasks), url=self._server.url if self._server else None)
            self._ready.set()
            await stop.wait()
            await self._stop_connectors(tasks)
            if self._flows is not None and flows is not None:  # workers end before what they write to
                self._flows.stop()
                await asyncio.wait([flows])
            for task in (contracts, watch, keep, meta, data):
                task.cancel()
        self._log.info("edge stops")

    async def _stop_connectors(self, tasks: list[asyncio.Task[None]]) -> None:
        for supervisor in self._supervisors:
            supervisor.stop()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
        for task in late:
            self._log.warning("connector is cut off", connector=task.get_name(), after_s=STOP_TIMEOUT_S)
            task.cancel()

    async def _kept(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a part of the node again when it fails: data must go on without it, and a person must know."""
        backoff = Backoff(floor_s=1.0, ceiling_s=60.0)
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - a failing watch must not take the data path with it
                self._alarms[name] = Alarm(
                    "MS-0621", f"{name} failed: {type(error).__name__}: {error}", self._clock.now_ns()
                )
                self._log.error(f"{name} failed", error=f"{type(error).__name__}: {error}")
                await self._clock.sleep(backoff.next_s())
            else:
                self._alarms.pop(name, None)
                return

    # -- parts --------------------------------------------------------------------------------------------------------

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

    async def _open_publishers(
        self, stack: AsyncExitStack, connection: RawConnection, integrity: str, throughput: str | None
    ) -> None:
        place, name = self.config.path, self.config.edge.name
        subject = record_subject(place, name, "integrity")
        group = GroupCommitPublisher(connection, integrity, ledger_subject=subject, clock=self._clock)
        self._publishers["integrity"] = (integrity, await stack.enter_async_context(group))
        if throughput is not None:
            subject = record_subject(place, name, "throughput")
            fast = FastIngestPublisher(
                connection, throughput, ledger_subject=subject, publish_prefix=FAST_PREFIX, clock=self._clock
            )
            self._publishers["throughput"] = (throughput, await stack.enter_async_context(fast))

    def _supervise(
        self, entry: ConnectorEntry, connection: RawConnection, mqtt: str | None, dead_letters: StreamDeadLetters
    ) -> Supervisor:
        log = LineLog(entry.name, self._sink)
        mapped = self.config.mapped_tags(entry)
        tools = ConnectorTools(
            entry.name, self._clock, log, StreamReader(connection), mqtt, tuple(m.tag for m in mapped),
            tuple(stream for stream, _ in self._publishers.values()),
        )
        place = self.config.connector_path(entry)
        unit_bytes_max = self._unit_bytes_max(self._publishers[entry.durability][0])
        pipeline = Pipeline(mapped, place, payload_bytes_max=min(connection.max_payload, unit_bytes_max))
        self._thinning.add(entry.durability, pipeline)
        subject = position_subject(self.config.path, self.config.edge.name, entry.durability, entry.name)
        return Supervisor(
            ConnectorPlan(entry.name, entry.type, [m.tag for m in mapped], subject, unit_bytes_max),
            self._build(entry, tools),
            pipeline,
            publisher=self._publishers[entry.durability][1],
            dead_letters=dead_letters,
            lifecycle=Lifecycle(Backoff()),
            clock=self._clock,
            log=log,
        )

    async def _open_contracts(self, connection: RawConnection) -> ContractKeeper:
        """Contracts hold from the first sample on: those that this edge knows, until it hears of newer ones."""
        hub = StreamApi(connection, HUB_DOMAIN) if self.config.uplink is not None else None
        keeper = ContractKeeper(
            StreamApi(connection, patience_s=START_PATIENCE_S), hub, clock=self._clock, log=self._log,
            on_book=self._enforce,
        )  # fmt: skip
        await keeper.open()
        return keeper

    async def _open_writes(self) -> WriteDesk | None:
        """None unless a tag of this edge may be written."""
        config, name = self.config, self.config.edge.name
        owned = [
            (s, m) for s, e in zip(self._supervisors, config.connectors, strict=True) for m in config.mapped_tags(e)
        ]
        if not any(mapped.config.write is not None for _, mapped in owned):
            return None
        desk = WriteDesk(
            [mapped for _, mapped in owned], {mapped.tag.key: s for s, mapped in owned},
            self._publishers["integrity"][1], place=config.path,
            state_subject=position_subject(config.path, name, "integrity", "write requests"), clock=self._clock,
            log=LineLog(name, self._sink),
        )  # fmt: skip
        await desk.open()
        return desk

    def _enforce(self, book: ContractBook) -> None:
        for supervisor in self._supervisors:
            supervisor.pipeline.enforce(book)

    async def _plan_flows(
        self, server: NatsServer, connection: RawConnection, streams: EdgeStreams
    ) -> FlowDirector | None:
        """The flows read what this edge stores and write into a stream of their own."""
        config, forward = self.config, self._forward
        if streams.flow is None or not config.flows:
            return None
        assert forward is not None
        inputs = tuple(name for name in (streams.integrity, streams.throughput, streams.flow) if name is not None)
        around = Surroundings(
            config.edge.name, str(config.path), server.url, server.user, server.password, inputs, streams.flow,
            config.edge.name, config.edge.data_dir.absolute(),
            generation=name.generation if (name := StreamName.parse(streams.flow)) else 1,
        )  # fmt: skip
        log = LineLog(config.edge.name, self._sink)
        director = FlowDirector(config.flows, around, connection, clock=self._clock, log=log)
        await director.prepare()
        forward.flow_floor, forward.input_floor = director.floor, director.input_floor
        return director

    def _unit_bytes_max(self, stream: str) -> int:
        """A quarter of what the stream may hold, so that what is submitted at once always fits once there is room."""
        assert self._forward is not None
        info = next(info for info in self._forward.streams if info.name == stream)
        return int(info.config["max_bytes"]) // 4

    async def _publish_meta(self, stream: str) -> None:
        """Describe the configured tags, once; what did not change is not published again."""
        data_dir = self.config.edge.data_dir
        tags = [(entry, mapped) for entry in self.config.connectors for mapped in self.config.mapped_tags(entry)]
        known = await asyncio.to_thread(load_meta, data_dir)
        messages, note = describe(tags, known, stream)
        publisher = self._publishers["integrity"][1]
        for first in range(0, len(messages), META_UNIT_MESSAGES):
            await (await publisher.submit(messages[first : first + META_UNIT_MESSAGES]))
        if note != known:
            await asyncio.to_thread(save_meta, data_dir, note)

    async def _keep_house(self) -> None:
        """Once a second: what the streams' bounds mean for the pipelines and for people."""
        assert self._forward is not None
        while True:
            now_ns, streams = self._clock.now_ns(), self._forward.streams
            if self._facts is not None:
                self._facts.look([s.status() for s in self._supervisors])
            self._thinning.watch(streams, self.config.streams)
            stats = {name: publisher.stats() for name, (_, publisher) in self._publishers.items()}
            cursor = self._forward.uplink.cursor_seq if self.config.uplink is not None else None
            thinning = self._thinning.alarm(now_ns)
            alarms = self._store_watch.look(streams, stats, cursor, now_ns)
            self._store_alarms = alarms if thinning is None else [thinning, *alarms]
            await self._clock.sleep(KEEP_INTERVAL_S)

    # -- status -------------------------------------------------------------------------------------------------------

    @property
    def server(self) -> NatsServer:
        """The node's server, while it runs."""
        if self._server is None:
            raise PlantError("the edge does not run", where=self.config.edge.name, code="MS-0682")
        return self._server

    def status(self) -> dict[str, object]:
        """What the status service answers."""
        forward, server, contracts = self._forward, self._server, self._contracts
        alarms: list[Any] = [s.lifecycle.alarm for s in self._supervisors if s.lifecycle.alarm is not None]
        alarms += [
            *self._alarms.values(),
            *self._store_alarms,
            *(server.alarms if server else ()),
            *(forward.alarms if forward else ()),
            *(self._flows.alarms if self._flows else ()),
            *(contracts.alarms() if contracts else ()),
        ]
        return {
            "role": "edge",
            "name": self.config.edge.name,
            "path": self.config.edge.path,
            "version": millstream.__version__,
            "started_ns": self._started_ns,
            "connectors": [s.status() for s in self._supervisors],
            "publishers": [
                {"name": name, "stream": stream, **asdict(publisher.stats())}
                for name, (stream, publisher) in self._publishers.items()
            ],
            "streams": [info.as_dict() for info in forward.streams] if forward else [],
            "dropped_messages": self._store_watch.dropped_messages,
            "flows": self._flows.status() if self._flows else [],
            "contracts": contracts.status() if contracts else {},
            "writes": self._writes.status() if self._writes else {},
            "uplink": forward.uplink.as_dict() if forward else {"state": "none"},
            **self._meter.read(server.pid if server else None),
            "server_restarts": server.restarts_count if server else 0,
            "alarms": [alarm.as_dict() for alarm in alarms],
        }

    def _open_fleet(self, stack: AsyncExitStack, connection: RawConnection) -> None:
        edge = self.config.edge
        identity = {"name": edge.name, "path": edge.path, "role": "edge", "labels": edge.labels}
        self._facts = FactBook(
            identity, edge.data_dir, self.status, lambda: connection.info.get("version"), clock=self._clock
        )
        self._fleet = FleetDesk(edge.name, self._facts.facts, connection)
        self._data = DataDesk(edge.name, self.config.path, connection, lambda: self._data_streams, clock=self._clock)
        stack.callback(self._fleet.open())
        stack.callback(self._data.open())

    async def _serve_status(self, stack: AsyncExitStack, server: NatsServer) -> None:
        async def _answer() -> object:
            return self.status()

        subject = f"millstream.node.{self.config.edge.name}.status"
        service = node_service(
            server.url, server.user, server.password, name=SERVICE_NAME, version=millstream.__version__,
            endpoints={"status": (subject, _answer)}, asked=self._asked(),
        )  # fmt: skip
        await stack.enter_async_context(service)

    def _asked(self) -> dict[str, tuple[str, Callable[[bytes], Awaitable[object]]]]:
        base = f"millstream.node.{self.config.edge.name}"
        asked: dict[str, tuple[str, Callable[[bytes], Awaitable[object]]]] = {}
        if self._flows is not None:
            asked["flows"] = (f"{base}.flows", self._flows.answer)
        if self._fleet is not None:
            asked["facts"] = (f"{base}.facts", self._fleet.answer_request)
        if self._writes is not None:
            asked["write"] = (f"{base}.write", self._writes.answer)
        return asked

    def _node_info(self, server: NatsServer) -> Mapping[str, object]:
        info: dict[str, object] = {
            "role": "edge",
            "name": self.config.edge.name,
            "path": self.config.edge.path,
            "nats_url": server.url,
            "user": server.user,
            "password": server.password,
            "domain": server.domain,
        }
        if server.settings.mqtt_port is not None:
            info["mqtt_port"] = server.settings.mqtt_port
            info["mqtt_user"], info["mqtt_password"] = server.mqtt_credentials or (None, None)
        if not server.is_given:
            info["monitor_port"] = server.settings.monitor_port
        return info
