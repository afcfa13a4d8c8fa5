"""The edge node: chooses, wires and supervises its parts. No decision about data is made here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import millstream
from millstream.bus import (
    CONTRACTS,
    HUB_DOMAIN,
    START_PATIENCE_S,
    NatsServer,
    NodeFile,
    ProcessMeter,
    RawConnection,
    StreamApi,
    disk_error,
    mqtt_taken,
    node_service,
    node_tls,
    store_room_bytes,
)
from millstream.config import ConnectorTypes, EdgeConfig, InstalledConnectors
from millstream.edge._built_in import (
    alarm_command,
    bundle_command,
    context_command,
    diagnostics_command,
    downtime_command,
    edge_facts,
    quality_command,
    restart_command,
    write_command,
)
from millstream.edge._command_files import FileDesk
from millstream.edge._command_types import CommandTypes
from millstream.edge._commands import CommandDesk
from millstream.edge._config_keeper import ConfigKeeper
from millstream.edge._config_store import ConfigShelf
from millstream.edge._contracts import ContractKeeper
from millstream.edge._deadletter import StreamDeadLetters
from millstream.edge._facts import FactBook
from millstream.edge._fleet import FleetDesk
from millstream.edge._fleet_data import DataDesk
from millstream.edge._flow_commands import FlowCommands
from millstream.edge._forward import EdgeForward
from millstream.edge._history import EdgeHistory, SharedStreams
from millstream.edge._history_pages import HistoryPages
from millstream.edge._lifecycle import Alarm
from millstream.edge._log import LineLog, Sink, to_logging
from millstream.edge._new_token import NewToken
from millstream.edge._service_scope import ServiceScope
from millstream.edge._settings import forward_settings, make_data_dir, server_settings
from millstream.edge._shared_config import SharedShelf
from millstream.edge._shared_tokens import SharedTokens
from millstream.edge._store_watch import StoreWatch
from millstream.edge._turns import Turns
from millstream.edge._update import TYPE as UPDATE
from millstream.edge._update import UpdateDesk
from millstream.edge._update_ground import NodeToUpdate, UpdateGround
from millstream.edge._works import Ground, Works
from millstream.flow.library import FLOW_TYPES
from millstream.historian import HistorianService
from millstream.kernel import Backoff, Clock, PlantError, SystemClock, end_tasks, left_when
from millstream.release import Launched, check_data, note_data
from millstream.sdk import CommandType

SERVICE_NAME = "millstream-edge"
END_S = 25.0  # a change of the configuration closes connectors and workers, for 10 s each; systemd waits for 90
KEEP_INTERVAL_S = 1.0


class EdgeNode:
    """One edge: nats-server, streams, connectors, uplink watch, status. Use it as a scope, or call `run`.

    Entering returns once the server is up, the streams are checked and the connectors have begun; it raises PlantError
    when the node cannot start. Leaving stops connectors first, then flushes, then stops the server.
    """

    def __init__(
        self, config: EdgeConfig, *, connectors: ConnectorTypes | None = None, clock: Clock | None = None,
        log: Sink = to_logging, folder: Path | None = None, commands: Mapping[str, CommandType] | None = None,
        launched: Launched | None = None,
    ) -> None:  # fmt: skip
        """`folder` is that of the edge's file: where a configuration from the hub finds the files that it names.
        `connectors` and `commands` None: those of installed packages. `launched`: how the process was started, when
        another version may be started in its place."""
        self._foreign = commands
        self._launched = launched if config.cluster is None else None
        self.wants_restart = False
        """Whether it has ended so that the version that was chosen can start."""
        self._asked_stop: asyncio.Event | None = None
        self.config = config
        """The edge's own file."""
        self._types = connectors if connectors is not None else InstalledConnectors()
        self._clock = clock or SystemClock()
        self._sink = log
        self._log = LineLog(config.edge.name, log)
        creds = None if config.uplink is None else config.uplink.credentials
        self._new_token = None if creds is None else NewToken(creds.absolute(), self._clock, self._log)
        self.turns: Turns | None = None
        """This box among the site's, when there are several."""
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._is_up = False
        self._task: asyncio.Task[None] | None = None
        self._server: NatsServer | None = None
        self._forward: EdgeForward | None = None
        self._contracts: ContractKeeper | None = None
        self._configuration = ConfigKeeper(
            config, folder, connectors=self._types, flows=FLOW_TYPES, clock=self._clock, log=self._log
        )
        self._works = Works(config, self._types, clock=self._clock, sink=log)
        self._facts: FactBook | None = None
        self._fleet: FleetDesk | None = None
        self._data: DataDesk | None = None
        self._history: EdgeHistory | None = None
        self.node_file = NodeFile(config.edge.data_dir)
        self._commands: CommandDesk | None = None
        self._files: FileDesk | None = None
        self._alarms: dict[str, Alarm] = {}
        self._meter = ProcessMeter()
        self._started_ns = 0
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
        await make_data_dir(self.config.edge.data_dir)
        await asyncio.to_thread(_take_data, self.config.edge.data_dir)
        self._asked_stop = stop
        if self.config.cluster is not None:  # what the boxes share is known once their servers run
            self._works.check(self.config)
            await self._run(self.config, stop)
            return
        await self._try(None, lambda config: self._run(config, stop), stop)

    async def _try(
        self, shelf: ConfigShelf | None, run: Callable[[EdgeConfig], Coroutine[Any, Any, None]], stop: asyncio.Event
    ) -> None:  # fmt: skip
        """Run what is to be run; a trial that cannot start is given up."""
        while True:
            config = self.config
            async with left_when(stop):
                config = await self._configuration.open(shelf)
            if stop.is_set():
                return None
            self._works = Works(config, self._types, clock=self._clock, sink=self._sink)
            self._started_ns, self._is_up = self._clock.now_ns(), False
            try:
                self._works.check(config)
                return await run(config)
            except PlantError as error:
                if self._is_up or not await self._configuration.start_failed(error):
                    raise

    async def _run(self, config: EdgeConfig, stop: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            is_given = config.server.url is not None
            room = None if is_given else await asyncio.to_thread(store_room_bytes, config.edge.data_dir)
            settings = server_settings(config, room_bytes=room)
            server = NatsServer(settings, config.edge.data_dir, clock=self._clock, on_log=self._log.warning)
            async with left_when(stop):  # a large store is scanned first
                self._server = await stack.enter_async_context(server)
            if stop.is_set():
                self._log.info("edge stops while its server starts")
            elif config.cluster is None:
                await self._work(config, server, room, stop)
            else:
                await self._take_turns(server, room, stop, stack)

    async def _take_turns(
        self, server: NatsServer, room: int | None, stop: asyncio.Event, stack: AsyncExitStack
    ) -> None:
        """As one of several boxes: be there, and work when it is this one's turn."""
        config = self.config
        self.turns = await stack.enter_async_context(Turns(config, server, clock=self._clock, log=self._log))
        await stack.enter_async_context(self.node_file.hold(self._node_info(server)))
        self._ready.set()

        async def turn() -> None:
            self._alarms.clear()
            async with server.connect(f"{config.edge.name} configuration") as connection:
                shelf = SharedShelf(connection, config.edge.name)
                await self._try(shelf, lambda own: self._work(own, server, room, stop), stop)

        async with self._whether_it_works_or_not(server, self.turns.connection):
            await self.turns.run(turn, stop, lambda: self._stand_by(server))

    @asynccontextmanager
    async def _whether_it_works_or_not(self, server: NatsServer, connection: RawConnection) -> AsyncIterator[None]:
        """Each box lets devices in, and takes its own of the tokens that the hub gives to the one that works."""
        tasks = []
        if self._new_token is not None:
            shared = SharedTokens(connection, self._new_token.take, self._log)
            self._new_token.share = shared.store
            tasks.append(self._kept("tokens of the uplink", shared.run))
        if self.config.server.mqtt_port is not None:
            tasks.append(self._kept("devices", lambda: self._let_devices_in(server, connection)))
        running = [asyncio.ensure_future(task) for task in tasks]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _let_devices_in(self, server: NatsServer, connection: RawConnection) -> None:
        await mqtt_taken(StreamApi(connection), self._clock)
        await server.admit_devices()

    async def _stand_by(self, server: NatsServer) -> None:
        """What a box does while another one works: keep the site's history too."""
        edge, config = self.config.edge, self.config.historian
        if config is None:
            return

        async def keep() -> None:
            async with server.connect(f"{edge.name} history") as connection, asyncio.TaskGroup() as group:
                shared = SharedStreams(edge.name, connection, self._clock)
                self._history = history = EdgeHistory(
                    edge.name, edge.data_dir, config, connection, lambda: shared.names, clock=self._clock,
                    log=self._log, is_asked=False,
                )  # fmt: skip
                group.create_task(shared.run(), name="streams of the site")
                await history.run()

        await self._kept("history", keep)

    async def _work(self, config: EdgeConfig, server: NatsServer, room: int | None, stop: asyncio.Event) -> None:
        async with AsyncExitStack() as stack:
            async with left_when(stop):
                connection = await self._open(config, server, room, stack)
            if stop.is_set():
                self._log.info("edge stops while it starts")
            else:
                await self._run_parts(stop, connection)

    async def _open(
        self, config: EdgeConfig, server: NatsServer, room: int | None, stack: AsyncExitStack
    ) -> RawConnection:  # fmt: skip
        """All parts, until `stack` ends."""
        connection = await stack.enter_async_context(server.connect(config.edge.name))
        self._forward = EdgeForward(
            server, connection, forward_settings(config, room_bytes=room), clock=self._clock, on_log=self._log.info,
        )  # fmt: skip
        dead_letters = StreamDeadLetters(
            connection, config.edge.name, self._clock, payload_bytes_max=connection.max_payload
        )
        await self._works.open(Ground(server, connection, self._forward, dead_letters, stack), room)
        self._contracts = await self._open_contracts(connection)
        await self._works.open_late()
        self._history = self._open_history(connection)
        self._open_fleet(stack, connection)
        self._open_commands(stack, connection)
        service = await stack.enter_async_context(ServiceScope(self._serve))
        self._works.on_change = service.refresh
        if config.cluster is None:
            await stack.enter_async_context(self.node_file.hold(self._node_info(server)))
        return connection

    async def _run_parts(self, stop: asyncio.Event, connection: RawConnection) -> None:
        forward, contracts, works, data = self._forward, self._contracts, self._works, self._data
        assert forward is not None
        assert contracts is not None
        assert data is not None
        assert self._commands is not None
        assert self._files is not None
        hub = StreamApi(connection, HUB_DOMAIN) if self.config.uplink is not None else None
        publisher = works.publishers["integrity"][1]
        loop, changing = asyncio.get_running_loop(), list[asyncio.Task[None]]()  # no group waits for these for ever
        async with self._ended(changing), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._kept("contracts", contracts.run)),
                group.create_task(self._kept("uplink watch", forward.run)),
                group.create_task(self._kept("housekeeping", self._keep_house)),
                group.create_task(self._kept("raw data", data.run)),
                group.create_task(self._kept("files of commands", self._files.run)),
            ]
            if self._history is not None:
                tasks.append(group.create_task(self._kept("history", self._history.run)))
            works.start(group, self._kept)
            for name, run in (
                ("configuration", lambda: self._configuration.run(works, hub, publisher)),
                ("commands", self._commands.run),
            ):
                changing.append(loop.create_task(self._kept(name, run), name=name))
            url = self._server.url if self._server else None
            self._log.info("edge is up", connectors=len(works.connectors), url=url)
            self._is_up = True
            self._ready.set()
            await stop.wait()
            await self._end(changing)  # they must not start what is being stopped
            await works.stop()
            for task in tasks:
                task.cancel()
        self._log.info("edge stops")

    @asynccontextmanager
    async def _ended(self, tasks: list[asyncio.Task[None]]) -> AsyncIterator[None]:
        """A scope behind which they have ended, however it is left."""
        try:
            yield
        finally:
            await self._end(tasks)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """What has not ended in time is told once, and left alone."""
        for task in await end_tasks(tasks, END_S):
            self._log.warning("edge stops while a part of it does not end", part=task.get_name(), after_s=END_S)
        tasks.clear()

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

    async def _open_contracts(self, connection: RawConnection) -> ContractKeeper:
        """Contracts hold from the first sample on: those that this edge knows, until it hears of newer ones."""
        hub, forward = StreamApi(connection, HUB_DOMAIN) if self.config.uplink is not None else None, self._forward
        assert forward is not None
        keeper = ContractKeeper(
            StreamApi(connection, patience_s=START_PATIENCE_S), hub, clock=self._clock, log=self._log,
            on_book=self._works.enforce, told_seq=lambda: forward.told.seq(CONTRACTS),
        )  # fmt: skip
        await keeper.open()
        forward.told.on_told = keeper.hint
        return keeper

    async def _keep_house(self) -> None:
        """Once a second: what the streams' bounds mean for the pipelines and for people."""
        assert self._forward is not None
        while True:
            now_ns, streams = self._clock.now_ns(), self._forward.streams
            if self._facts is not None:
                self._facts.look({each.plan.name: each.pipeline.counters.received for each in self._works.connectors})
            self._works.thinning.watch(streams, self._works.config.streams)
            stats = {name: publisher.stats() for name, (_, publisher) in self._works.publishers.items()}
            if any(each.is_full for each in stats.values()):
                self.server.doubt()  # a stream that is full, or one that an I/O error has frozen
            cursor = self._forward.uplink.cursor_seq if self.config.uplink is not None else None
            thinning = self._works.thinning.alarm(now_ns)
            alarms = self._store_watch.look(streams, stats, cursor, now_ns)
            self._store_alarms = alarms if thinning is None else [thinning, *alarms]
            await self._clock.sleep(KEEP_INTERVAL_S)

    # -- status -------------------------------------------------------------------------------------------------------

    @property
    def historian(self) -> HistorianService | None:
        """That of the site, while it runs: it begins anew when the edge has other streams."""
        return None if self._history is None else self._history.historian

    async def site_status(self) -> dict[str, Any]:
        """What the status service answers; at a box that stands by what the one that works does."""
        if self.turns is None or self.turns.state == "works":
            return dict(self.status())
        return await self.turns.told_by_worker()

    async def started(self) -> None:
        """Waits until the node is up."""
        await self._ready.wait()

    @property
    def server(self) -> NatsServer:
        """The node's server, while it runs."""
        if self._server is None:
            raise PlantError("the edge does not run", where=self.config.edge.name, code="MS-0682")
        return self._server

    def status(self) -> dict[str, object]:
        """What the status service answers."""
        forward, server, contracts, works = self._forward, self._server, self._contracts, self._works
        alarms: list[Any] = [s.lifecycle.alarm for s in works.connectors if s.lifecycle.alarm is not None]
        alarms += [
            *self._alarms.values(),
            *self._store_alarms,
            *(server.alarms if server else ()),
            *(forward.alarms if forward else ()),
            *(works.flows.alarms if works.flows else ()),
            *self._configuration.alarms(),
            *(contracts.alarms() if contracts else ()),
        ]
        return {
            "role": "edge",
            "name": self.config.edge.name,
            "path": self.config.edge.path,
            "labels": self.config.edge.labels,
            "version": millstream.__version__,
            "release": None if self._launched is None else self._launched.as_facts(),
            "started_ns": self._started_ns,
            **works.status(),
            "commands": self._commands.status() if self._commands else {},
            "configuration": self._configuration.status(),
            "publishers": [
                {"name": name, "stream": stream, **asdict(publisher.stats())}
                for name, (stream, publisher) in self._works.publishers.items()
            ],
            "streams": [info.as_dict() for info in forward.streams] if forward else [],
            "dropped_messages": self._store_watch.dropped_messages,
            "contracts": contracts.status() if contracts else {},
            "historian": self._history.status() if self._history else None,
            "uplink": forward.uplink.as_dict() if forward else {"state": "none"},
            **self._meter.read(server.pid if server else None),
            "server_restarts": server.restarts_count if server else 0,
            "alarms": [alarm.as_dict() for alarm in alarms],
        }

    def _open_history(self, connection: RawConnection) -> EdgeHistory | None:
        edge, config = self.config.edge, self.config.historian
        if config is None:
            return None
        history = EdgeHistory(
            edge.name, edge.data_dir, config, connection, self._works.streams, clock=self._clock, log=self._log
        )
        assert self._forward is not None
        self._forward.room.history_floor = history.floor
        return history

    def _open_fleet(self, stack: AsyncExitStack, connection: RawConnection) -> None:
        edge = self.config.edge
        release = {} if self._launched is None else {"release": self._launched.as_facts()}
        identity = {"name": edge.name, "path": edge.path, "role": "edge", "labels": edge.labels, **release}
        self._facts = FactBook(
            identity, edge.data_dir, self.status, lambda: connection.info.get("version"), clock=self._clock
        )
        named = {"command_types": lambda: self._commands.offered() if self._commands else {}}
        self._fleet = FleetDesk(edge.name, self._facts.facts, connection, named)
        pages = HistoryPages(edge.name, lambda: self.historian)
        self._data = DataDesk(
            edge.name, self.config.path, connection, self._works.streams, history=pages, clock=self._clock
        )
        stack.callback(self._fleet.open())
        stack.callback(self._data.open())

    def _open_commands(self, stack: AsyncExitStack, connection: RawConnection) -> None:
        edge, works, log = self.config.edge, self._works, LineLog(self.config.edge.name, self._sink)
        facts = partial(edge_facts, self.status, StreamApi(connection), works.streams, edge.data_dir, self._clock)
        built_in = {
            "write": write_command(lambda: works.writes),
            "restart_connector": restart_command(works.connectors, self._clock),
            "diagnostics": diagnostics_command(facts),
            "alarm": alarm_command(self.config.path),
            "context": context_command(self.config.path),
            "downtime": downtime_command(self.config.path),
            "quality": quality_command(self.config.path),
            "support_bundle": bundle_command(edge.data_dir, lambda: works.config, self.status, facts),
            UPDATE: self._open_updates(connection).command(),
        }
        flows = FlowCommands(self.config.path, lambda: works.flows, StreamApi(connection), self._clock)
        types = CommandTypes(
            built_in, edge.name, edge.data_dir, clock=self._clock, log=log, foreign=self._foreign, flows=flows
        )  # fmt: skip
        assert self._facts is not None
        assert works.journal is not None
        self._commands = CommandDesk(
            edge.name, self.config.path, works.journal, types, works.publishers["integrity"][1], self._facts.facts,
            clock=self._clock, log=log,
        )  # fmt: skip
        self._files = FileDesk(edge.name, edge.data_dir, connection)
        stack.callback(self._commands.listen(connection))
        stack.callback(self._files.open())

    def _open_updates(self, connection: RawConnection) -> UpdateDesk:
        hub = StreamApi(connection, HUB_DOMAIN) if self.config.uplink is not None else None
        ground = UpdateGround(self.config, self._launched, hub, self._configuration)
        node = NodeToUpdate(self._works, self._configuration, lambda: self._forward, self._restart)
        return UpdateDesk(ground, node, clock=self._clock, log=self._log)

    def _restart(self) -> None:
        assert self._asked_stop is not None
        self.wants_restart = True
        self._asked_stop.set()

    def _serve(self) -> tuple[frozenset[str], AbstractAsyncContextManager[None]]:
        """The names of what can be asked now, and the service that answers."""

        async def _answer() -> object:
            return self.status()

        server, base = self.server, f"millstream.node.{self.config.edge.name}"
        asked = {**self._works.asked(), "config": self._configuration.answer}
        if self._new_token is not None:
            asked["uplink_token"] = self._new_token.answer
        if self._fleet is not None:
            asked["facts"] = self._fleet.answer_request
        asked_from = self._works.asked_from()
        service = node_service(
            server.url, server.credentials, name=SERVICE_NAME, version=millstream.__version__,
            endpoints={"status": (f"{base}.status", _answer)},
            asked={name: (f"{base}.{name}", answer) for name, answer in asked.items()},
            asked_from={name: (f"{base}.{name}", answer) for name, answer in asked_from.items()},
        )  # fmt: skip
        return frozenset((*asked, *asked_from)), service

    def _node_info(self, server: NatsServer) -> Mapping[str, object]:
        info: dict[str, object] = {
            "role": "edge",
            "name": self.config.edge.name,
            "path": self.config.edge.path,
            "nats_url": server.url,
            "user": server.user,
            "password": server.password,
            "domain": server.domain,
            "tls": node_tls(server.client_tls),
        }
        if server.settings.mqtt_port is not None:
            info["mqtt_port"] = server.settings.mqtt_port
            info["mqtt_user"], info["mqtt_password"] = server.mqtt_credentials or (None, None)
        if self.config.cluster is not None:
            info["member"] = self.config.cluster.member
        if not server.is_given:
            info["monitor_port"] = server.settings.monitor_port
        return info


def _take_data(data_dir: Path) -> None:
    """Run over data that this version understands, and say so to those that come after. Raises PlantError."""
    check_data(data_dir)
    try:
        note_data(data_dir, millstream.__version__)
    except OSError as error:
        raise disk_error(error, data_dir) from error
