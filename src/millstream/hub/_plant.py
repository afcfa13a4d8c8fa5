"""One plant at a hub: its streams, sources, historian, flows and services, in one account of the server.

A hub with passwords has one; a hub in operator mode has one for each tenant, and none of them sees another.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

import millstream
from millstream.archive import HistoryEvents, HistoryJobs, NodeRequests, node_historian
from millstream.bus import (
    HISTORY_BELOW,
    HUB_DLQ,
    HUB_FLOW,
    HUB_INTEGRITY,
    HUB_LOCAL,
    HUB_THROUGHPUT,
    START_PATIENCE_S,
    Credentials,
    NatsServer,
    ProcessMeter,
    RawConnection,
    StreamApi,
    StreamBounds,
    config_stream,
    contracts_stream,
    deadletter_stream,
    ensure_stream,
    find_stream,
    fit_bounds,
    flow_stream,
    hub_stream,
    local_stream,
    modules_stream,
    mqtt_stream,
    node_service,
    purge_below,
    rollouts_stream,
    store_room_bytes,
    trim_below,
)
from millstream.config import FlowEntry, HubConfig
from millstream.historian import ClickhouseServer, HistorianService, PostgresServer, Tell
from millstream.hub._authors import Authors
from millstream.hub._below import BelowDesks
from millstream.hub._command_book import CommandBook
from millstream.hub._command_file import CommandFiles
from millstream.hub._command_service import CHANGING, TELLING, CommandService
from millstream.hub._commands import Dispatcher
from millstream.hub._config_nudge import ConfigNudger
from millstream.hub._cursors import CursorTeller
from millstream.hub._desk import DeskAround, PeopleAudit
from millstream.hub._fleet import FleetDesk
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.hub._fleet_data import FleetData
from millstream.hub._history import history_below
from millstream.hub._hold import CatchUpHold
from millstream.hub._ledger import HubLedger, accounts_as_dict
from millstream.hub._rollouts import RolloutEngine
from millstream.hub._server_events import HeardEvents, ServerEventTeller, SystemEars, shelf_at
from millstream.hub._sources import SourceKeeper
from millstream.hub._told_acts import ToldActs
from millstream.kernel import Clock, PlantError
from millstream.protocols.history_job import job_subject
from millstream.protocols.server_advisory import ServerEvent
from millstream.protocols.trust_chain import TrustChain
from millstream.sdk import Log
from millstream.worker import FlowDirector, Surroundings, TellFlow, flow_teller

LOCAL_BYTES_MAX = 1 << 30
MQTT_BYTES_MAX = 256 << 20
TRIM_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class PlantEdge:
    """An edge that may report, and its place."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class PlantAccount:
    """Whose plant this is: how the hub logs in to its account, where its history and what its flows need lies, what its
    streams may take together (None: what the disk has), its flows and how their workers log in (None: as the hub).
    In operator mode `mqtt_token` makes a device's token, for the client that has the server make its MQTT streams, and
    `chain` says who may sign, `audit` hears what people did, `place` is the tenant's, and `told` hears what of the
    servers concerns it."""

    credentials: Credentials
    history_dir: Path
    work_dir: Path
    tenant: str | None = None
    room_bytes: int | None = None
    flows: tuple[FlowEntry, ...] = ()
    flow_login: Credentials | None = None
    mqtt_token: Callable[[], str] | None = None
    chain: Callable[[], TrustChain] | None = None
    audit: PeopleAudit | None = None
    place: str | None = None
    told: Callable[[ServerEvent], None] | None = None


class HubPlant:
    """See the module. Enter it, then run `run` in a task group."""

    def __init__(
        self, config: HubConfig, server: NatsServer, account: PlantAccount, edges: Sequence[PlantEdge], *, clock: Clock,
        log: Log, heard: HeardEvents | None = None,
    ) -> None:  # fmt: skip
        self.account = account
        self._heard = heard
        self._config = config
        self._server = server
        self._edges = list(edges)
        self._clock = clock
        self._log = log
        self._data_dir = Path(config.hub.data_dir)
        self._stack = contextlib.AsyncExitStack()
        self._alarms: list[dict[str, object]] = []
        self._room_bytes = self._fitted_bytes = account.room_bytes
        self._room_set = asyncio.Event()
        self._started_ns = clock.now_ns()
        self._meter = ProcessMeter()
        self._ledger: HubLedger | None = None
        self._flows: FlowDirector | None = None
        self._dispatcher: Dispatcher | None = None
        self._told_acts: ToldActs | None = None
        self._authors = Authors(account.chain, clock) if account.chain is not None else None
        self.historian: HistorianService | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def run(self) -> None:
        """Keep the sources and the ledger until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sources.run(), name="sources")
            teller = CursorTeller(self.connection, self.sources, self._clock)
            group.create_task(teller.run(), name="cursors")
            group.create_task(ConfigNudger(self.connection).run(), name="configurations")
            if self._dispatcher is not None:
                group.create_task(self._dispatcher.run(), name="commands")
            rollouts = RolloutEngine(
                self.connection, self._places, self._authors, clock=self._clock, log=self._log
            )  # fmt: skip
            group.create_task(rollouts.run(), name="roll-outs")
            if self._told_acts is not None:
                group.create_task(self._told_acts.run(), name="acts that were not told")
            group.create_task(self._teller.run(), name="events of the server")
            if self.account.tenant is not None:
                group.create_task(self._keep_room(), name="room of the streams")
            if self._ledger is not None:
                group.create_task(self._ledger.run(), name="ledger")
            if self._flows is not None:
                group.create_task(self._flows.run(), name="flows")
                group.create_task(self._trim_flows(self._flows), name="flows' stream")

    def set_edges(self, edges: Sequence[PlantEdge]) -> None:
        """From now on these may report."""
        self._edges = list(edges)
        self.sources.set_edges([edge.name for edge in edges])

    async def _open(self) -> None:
        config = self._config
        enter, name = self._stack.enter_async_context, f"hub {config.hub.name}"
        if self.account.tenant is None:
            self.connection = await enter(self._server.connect(name))
        else:
            self.connection = await enter(self._server.connection(name, self.account.credentials))
        await self._ensure_streams()
        self.sources = SourceKeeper(
            self.connection,
            [edge.name for edge in self._edges],
            clock=self._clock,
            on_log=lambda line: self._log.info(line),
        )
        if config.historian is not None:
            hold = CatchUpHold(self.sources.behind_messages, self._clock)
            historian = hub_historian(
                config, self.connection, self.account.history_dir, tenant=self.account.tenant, clock=self._clock,
                log=self._log, requests=NodeRequests(self.connection), is_held=hold.is_held,
                tell=HistoryEvents(self.connection, self._enterprise, writer="hub", clock=self._clock).tell,
            )  # fmt: skip
            self.historian = await enter(historian)
        else:
            self._ledger = HubLedger(self.connection, (HUB_INTEGRITY, HUB_THROUGHPUT), clock=self._clock)
        if self.account.flows:
            self._flows = self._director()
            await self._flows.prepare()
        await self._serve()
        await self._open_fleet()
        await self._listen_to_servers()

    async def _listen_to_servers(self) -> None:
        """Where tenants share them, what they say in the system account is heard by whoever has the plants, and given
        to the one that it concerns (`hear_of_servers`)."""
        server, account = self._server, self.account
        is_shared = account.tenant is not None
        self._teller = ServerEventTeller(
            self.connection, shelf_at(self._enterprise), clock=self._clock, log=self._log,
            streams=lambda: self.sources.streams, also=account.told, heard=self._heard,
            alarms=lambda: self.sources.alarms if is_shared else [*server.alarms, *self.sources.alarms],
            shared_alarms=lambda: server.alarms if is_shared else (),
        )  # fmt: skip
        self._teller.listen()
        if not is_shared and self._heard is None and (login := server.system_credentials) is not None:
            name = f"hub {self._config.hub.name} system"
            system = await self._stack.enter_async_context(server.connection(name, Credentials(*login)))
            await SystemEars(system, lambda _, event: self._teller.keep(event)).listen()

    def hear_of_servers(self, event: ServerEvent) -> None:
        """Of something that concerns this plant's account."""
        self._teller.keep(event)

    def _enterprise(self) -> str | None:
        """Where the servers' events stand; None while no edge has said of what enterprise this is the hub."""
        if self.account.place is not None:
            return self.account.place
        return self._edges[0].path.partition("/")[0] if self._edges else None

    def _director(self) -> FlowDirector:
        config, server, account = self._config, self._server, self.account
        around = Surroundings(
            config.hub.name, config.hub.name, server.url, server.trusted(account.flow_login or account.credentials),
            (HUB_INTEGRITY, HUB_THROUGHPUT), HUB_FLOW, "hub", account.work_dir.absolute(), has_origins=True,
        )  # fmt: skip
        audit = account.audit
        tell: TellFlow = (
            flow_teller(self.connection, around.node, lambda: self._enterprise() or around.place, self._clock)
            if audit is None
            else lambda outcome, data: audit.tell("flow", outcome, data)
        )
        return FlowDirector(account.flows, around, self.connection, clock=self._clock, log=self._log, tell=tell)

    async def _trim_flows(self, flows: FlowDirector) -> None:
        """Make room in the stream of what flows say: what they need no more, and H_INTEGRITY has."""
        api = StreamApi(self.connection)
        while True:
            with contextlib.suppress(PlantError):
                info, sourced = await find_stream(api, HUB_FLOW), await find_stream(api, HUB_INTEGRITY)
                source = sourced.sources.get(HUB_FLOW) if sourced is not None else None
                if info is not None and source is not None and trim_below(info, source.cursor_seq) is not None:
                    seq = trim_below(info, min(source.cursor_seq, await flows.floor() - 1))
                    if seq is not None:
                        await purge_below(api, HUB_FLOW, seq)
            await self._clock.sleep(TRIM_INTERVAL_S)

    def set_room(self, room_bytes: int | None) -> None:
        """From now on its streams may take so much together; those of data are made to fit."""
        self._room_bytes = room_bytes
        self._room_set.set()

    async def _keep_room(self) -> None:
        """What the operator grants reaches the server and this in any order: tried until it fits."""
        while True:
            await self._room_set.wait()
            self._room_set.clear()
            while self._room_bytes != self._fitted_bytes:
                with contextlib.suppress(PlantError):
                    await self._fit_streams(StreamApi(self.connection))
                    continue
                await self._clock.sleep(TRIM_INTERVAL_S)

    async def _fit_streams(self, api: StreamApi) -> None:
        """Bound those of data to what there is room for. A bound is never lowered under what a stream holds."""
        room_bytes = self._room_bytes
        for name, bounds in self._bounds().items():
            found = await find_stream(api, name)
            if found is not None:
                await ensure_stream(api, {**found.config, "name": name, "max_bytes": bounds.max_bytes})
        self._fitted_bytes = room_bytes

    async def _ensure_streams(self) -> None:
        config, api = self._config, StreamApi(self.connection, patience_s=START_PATIENCE_S)
        bounds = self._bounds()
        await ensure_stream(api, local_stream(bounds[HUB_LOCAL]))
        local = [{"name": HUB_LOCAL}]
        if self.account.flows:
            flow_bounds = StreamBounds(bounds[HUB_FLOW].max_bytes)
            await ensure_stream(api, flow_stream(HUB_FLOW, flow_bounds))
            local.append({"name": HUB_FLOW})
        await ensure_stream(api, contracts_stream())
        await ensure_stream(api, config_stream())
        await ensure_stream(api, rollouts_stream())
        await ensure_stream(api, modules_stream())
        for name, fixed in ((HUB_INTEGRITY, local), (HUB_THROUGHPUT, []), (HUB_DLQ, [])):
            found = await find_stream(api, name)
            sources = list(fixed if found is None else found.config.get("sources") or fixed)
            sources += [source for source in fixed if source["name"] not in {s["name"] for s in sources}]
            if name == HUB_DLQ:
                await ensure_stream(api, deadletter_stream(name, "hub", edges=sources))
            else:
                await ensure_stream(api, hub_stream(name, bounds[name], sources))
        if config.server.mqtt_port is not None and not self._server.is_given:
            token = self.account.mqtt_token
            # Nobody takes a tenant's messages out: what is too old makes room, rather than that devices are held back.
            mqtt_bounds = StreamBounds(MQTT_BYTES_MAX, None, "block" if token is None else "drop_oldest")
            await self._server.open_mqtt(api, mqtt_stream("H_MQTT", mqtt_bounds), token() if token else None)
        await self._server.sync_descriptions()

    def _bounds(self) -> dict[str, StreamBounds]:
        """Of the streams of data: as configured, or what there is room for, which is an alarm."""
        config = self._config
        wanted = {
            HUB_INTEGRITY: config.streams.max_bytes,
            HUB_THROUGHPUT: config.streams.max_bytes,
            HUB_LOCAL: min(LOCAL_BYTES_MAX, config.streams.max_bytes),
        }
        if self.account.flows:
            wanted[HUB_FLOW] = config.streams.flow_max_bytes
        on_disk, granted = store_room_bytes(self._data_dir), self._room_bytes or sys.maxsize
        room = min(on_disk, granted)
        sizes = wanted if self._server.is_given else fit_bounds(wanted, room)
        self._alarms = [alarm for alarm in self._alarms if alarm["code"] != "MS-0611"]
        if sizes != wanted:
            text = ", ".join(f"{name} {size >> 20} MiB" for name, size in sizes.items())
            what = "the disk has" if on_disk <= granted else "the tenant is granted"
            message = f"{what} room for {room >> 20} MiB of streams: {text}"
            self._alarms.append({"code": "MS-0611", "message": message, "since_ns": self._clock.now_ns()})
            self._log.warning(message)
        return {n: StreamBounds(size, config.streams.max_age, "drop_oldest") for n, size in sizes.items()}

    # -- what others see ----------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        name = self._config.hub.name

        async def answer_ledger() -> object:
            return self.ledger()

        service = node_service(
            self._server.url,
            self._server.trusted(self.account.credentials),
            name="millstream-hub",
            version=millstream.__version__,
            endpoints={
                "status": (f"millstream.node.{name}.status", self.status),
                "ledger": (f"millstream.node.{name}.ledger", answer_ledger),
            },
            asked_from={} if self._flows is None else {"flows": (f"millstream.node.{name}.flows", self._flows.answer)},
        )
        await self._stack.enter_async_context(service)

    async def _open_fleet(self) -> None:
        connection, clock = self.connection, self._clock
        answers = EdgeAnswers(connection, lambda: self.sources.edges, self.sources.reached, clock=clock)
        answers.listen()
        desk = FleetDesk(connection, answers, self._places, clock=clock)
        data = FleetData(connection, answers, self._places, clock=clock)
        book = CommandBook(connection, clock)
        await book.load()
        self._dispatcher = Dispatcher(connection, book, answers, self._places, clock=clock, log=self._log)
        commands = CommandService(connection, book, self._dispatcher, self._places, clock=clock)
        handlers = {
            "fleet": desk.answer, "fleet_data": data.answer, "commands": commands.answering(TELLING),
            "command_file": CommandFiles(connection, answers, self._places).answer,
        }  # fmt: skip
        base = f"millstream.node.{self._config.hub.name}"
        for name, handler in handlers.items():
            await self._stack.enter_async_context(NodeRequests(connection).serve(f"{base}.{name}", handler))
        changing = NodeRequests(connection).serve_each(
            f"{base}.command", lambda _, origin: commands.answering(CHANGING, origin)
        )
        await self._stack.enter_async_context(changing)
        if self.historian is not None:
            jobs = HistoryJobs(self.historian, connection, self._enterprise, writer="hub", clock=clock)
            serving = NodeRequests(connection).serve(job_subject(self._config.hub.name), jobs.answer)
            await self._stack.enter_async_context(serving)
        if self.historian is not None and self.account.tenant is not None:
            below = NodeRequests(connection).serve_each(f"{HISTORY_BELOW}.>", partial(history_below, self.historian))
            await self._stack.enter_async_context(below)
        if self._authors is not None:
            assert self.account.audit is not None
            assert self.account.place is not None
            around = DeskAround(connection, self._places, self._authors, self.account.audit, clock)
            self._told_acts = ToldActs(around, self.account.place)
            desks = BelowDesks(around, answers, desk, commands)
            await self._stack.enter_async_context(desks.open())

    def _places(self) -> dict[str, str]:
        """Edge -> its path."""
        return {edge.name: edge.path for edge in self._edges}

    def ledger(self) -> dict[str, dict[str, int | bool]]:
        """The recount of each origin: by the historian, in its own transaction; without one by the hub."""
        if self.historian is not None:
            return accounts_as_dict(self.historian.ledger())
        return accounts_as_dict(self._ledger.accounts()) if self._ledger is not None else {}

    def alarms(self) -> list[dict[str, object]]:
        """The plant's own; the server's are beside them."""
        flows = self._flows.alarms if self._flows is not None else []
        return [*self._alarms, *(alarm.as_dict() for alarm in (*self.sources.alarms, *flows))]

    async def status(self) -> dict[str, Any]:
        """The node's status as JSON."""
        return {
            "role": "hub",
            "name": self._config.hub.name,
            "member": self._config.cluster.member if self._config.cluster is not None else None,
            "tenant": self.account.tenant,
            "version": millstream.__version__,
            "started_ns": self._started_ns,
            "leaf_port": None if (leaf := self._server.settings.leaf_listener) is None else leaf.port,
            "connectors": [],
            "publishers": [],
            "streams": [info.as_dict() for info in await self.sources.looked_at()],
            "sources": self.sources.sources(),
            "edges": self._edges_shown(),
            "ledger": self.ledger(),
            "flows": self._flows.status() if self._flows is not None else [],
            "historian": await self._historian_status(),
            "server_restarts": self._server.restarts_count,
            **self._meter.read(self._server.pid),
            "alarms": [*(alarm.as_dict() for alarm in self._server.alarms), *self.alarms()],
        }

    def _edges_shown(self) -> list[dict[str, object]]:
        reached = self.sources.reached()
        return [{"name": e.name, "path": e.path, "reached_ns": reached.get(e.name)} for e in self._edges]

    async def _historian_status(self) -> Mapping[str, Any] | None:
        if self.historian is None:
            return None
        stats = await self.historian.stats()
        return {k: v for k, v in msgspec.to_builtins(stats).items() if k != "ledger"}


def history_server(config: HubConfig, tenant: str | None = None) -> PostgresServer | ClickhouseServer | None:
    """The server that a hub's file names for the history; None: it lies in a folder."""
    engine = None if config.historian is None else config.historian.engine
    if engine is None:
        return None
    schema = engine.schema_name if tenant is None else f"{engine.schema_name}_{tenant}"
    password = None if engine.password is None else engine.password.resolve
    make = PostgresServer if engine.type == "postgresql" else ClickhouseServer
    return make(engine.url, engine.user, password, schema)


def hub_historian(
    config: HubConfig, connection: RawConnection, folder: Path, *, clock: Clock, log: Log, tenant: str | None = None,
    requests: NodeRequests | None = None, is_held: Callable[[], bool] = lambda: False, tell: Tell | None = None,
) -> HistorianService:  # fmt: skip
    """The history of a hub's streams in `folder`, or on the server that its file names; without `requests` it only
    stores."""
    assert config.historian is not None
    server = history_server(config, tenant)
    return node_historian(
        config.historian, connection, folder, streams=(HUB_INTEGRITY, HUB_THROUGHPUT), letters="dlq.hub.historian",
        requests=requests, clock=clock, log=log, is_held=is_held, server=server, tell=tell,
    )  # fmt: skip
