"""The hub as one program: server, streams, sources, historian, ledger, status; composed and watched here, nothing else.

async with HubNode(config) as hub:      # ready: node.json is written
    await hub.run()                     # until cancelled
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

import millstream
from millstream.bus import (
    HUB_DLQ,
    HUB_DOMAIN,
    HUB_FLOW,
    HUB_INTEGRITY,
    HUB_LOCAL,
    HUB_THROUGHPUT,
    START_PATIENCE_S,
    LeafListener,
    LeafUser,
    NatsServer,
    NodeFile,
    ProcessMeter,
    ServerSettings,
    StreamApi,
    StreamBounds,
    StreamReader,
    config_stream,
    contracts_stream,
    deadletter_stream,
    ensure_stream,
    find_stream,
    fit_bounds,
    flow_stream,
    hub_stream,
    load_secret,
    local_stream,
    mqtt_stream,
    node_service,
    purge_below,
    rollouts_stream,
    store_room_bytes,
    trim_below,
)
from millstream.config import HubConfig
from millstream.historian import HistorianOptions, HistorianService
from millstream.hub._command_book import CommandBook
from millstream.hub._command_file import CommandFiles
from millstream.hub._command_service import CommandService
from millstream.hub._commands import Dispatcher
from millstream.hub._config_nudge import ConfigNudger
from millstream.hub._cursors import CursorTeller
from millstream.hub._fleet import FleetDesk
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.hub._fleet_data import FleetData
from millstream.hub._history import HubDeadLetters, HubRequests, HubStreamStates
from millstream.hub._hold import CatchUpHold
from millstream.hub._ledger import HubLedger, accounts_as_dict
from millstream.hub._rollouts import RolloutEngine
from millstream.hub._sources import SourceKeeper
from millstream.kernel import Clock, PlantError, SystemClock
from millstream.model import AssetPath
from millstream.protocols.uns_subject import PREFIX, escape_token
from millstream.sdk import Log
from millstream.worker import FlowDirector, Surroundings

LOCAL_BYTES_MAX = 1 << 30
MQTT_BYTES_MAX = 256 << 20
TRIM_INTERVAL_S = 2.0
SLACK_BYTES = 1 << 30  # dead letters and what MQTT sessions need, beside the configured bounds


class _SilentLog:
    def info(self, event: str, **fields: object) -> None:
        """Drop."""

    warning = error = info


class HubNode:
    """One hub. Entering raises PlantError with the next step when it cannot start; leaving stops all in order."""

    def __init__(self, config: HubConfig, *, clock: Clock | None = None, log: Log | None = None) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._log = log or _SilentLog()
        self._data_dir = Path(config.hub.data_dir)
        self._file = NodeFile(self._data_dir)
        self._meter = ProcessMeter()
        self._stack = contextlib.AsyncExitStack()
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._alarms: list[dict[str, object]] = []
        self._started_ns = 0
        self._ledger: HubLedger | None = None
        self._flows: FlowDirector | None = None
        self._dispatcher: Dispatcher | None = None
        self.historian: HistorianService | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._started_ns = self._clock.now_ns()
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
            teller = CursorTeller(self._connection, lambda: self.sources.edges, self._clock)
            group.create_task(teller.run(), name="cursors")
            group.create_task(ConfigNudger(self._connection, self._clock).run(), name="configurations")
            if self._dispatcher is not None:
                group.create_task(self._dispatcher.run(), name="commands")
            rollouts = RolloutEngine(self._connection, clock=self._clock, log=self._log)
            group.create_task(rollouts.run(), name="roll-outs")
            if self._ledger is not None:
                group.create_task(self._ledger.run(), name="ledger")
            if self._flows is not None:
                group.create_task(self._flows.run(), name="flows")
                group.create_task(self._trim_flows(self._flows), name="flows' stream")

    async def _open(self) -> None:
        config = self.config
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self.server = await self._stack.enter_async_context(
            NatsServer(
                server_settings(config), self._data_dir, clock=self._clock, on_log=lambda line: self._log.warning(line)
            )
        )
        self._connection = await self._stack.enter_async_context(self.server.connect(f"hub {config.hub.name}"))
        await self._ensure_streams()
        self.sources = SourceKeeper(
            self._connection,
            [e.name for e in config.edges],
            clock=self._clock,
            on_log=lambda line: self._log.info(line),
        )
        if config.historian is not None:
            hold = CatchUpHold(self.sources.behind_messages, self._clock)
            self.historian = await self._stack.enter_async_context(self._historian(hold))
        else:
            self._ledger = HubLedger(self._connection, (HUB_INTEGRITY, HUB_THROUGHPUT), clock=self._clock)
        if config.flows:
            self._flows = self._director()
            await self._flows.prepare()
        await self._serve()
        await self._open_fleet()
        await self._stack.enter_async_context(self._file.hold(self._node_fields()))
        self._log.info("hub is up", name=config.hub.name, url=self.server.url)

    def _director(self) -> FlowDirector:
        config, server = self.config, self.server
        around = Surroundings(
            config.hub.name, config.hub.name, server.url, server.user, server.password,
            (HUB_INTEGRITY, HUB_THROUGHPUT), HUB_FLOW, "hub", self._data_dir.absolute(), has_origins=True,
        )  # fmt: skip
        return FlowDirector(config.flows, around, self._connection, clock=self._clock, log=self._log)

    async def _trim_flows(self, flows: FlowDirector) -> None:
        """Make room in the stream of what flows say: what they need no more, and H_INTEGRITY has."""
        api = StreamApi(self._connection)
        while True:
            with contextlib.suppress(PlantError):
                info, sourced = await find_stream(api, HUB_FLOW), await find_stream(api, HUB_INTEGRITY)
                source = sourced.sources.get(HUB_FLOW) if sourced is not None else None
                if info is not None and source is not None and trim_below(info, source.cursor_seq) is not None:
                    seq = trim_below(info, min(source.cursor_seq, await flows.floor() - 1))
                    if seq is not None:
                        await purge_below(api, HUB_FLOW, seq)
            await self._clock.sleep(TRIM_INTERVAL_S)

    def _historian(self, hold: CatchUpHold) -> HistorianService:
        options = self.config.historian
        assert options is not None
        return HistorianService(
            StreamReader(self._connection),
            Path(options.dir) if options.dir is not None else self._data_dir / "historian",
            streams=(HUB_INTEGRITY, HUB_THROUGHPUT),
            states=HubStreamStates(self._connection),
            dead_letters=HubDeadLetters(self._connection, "dlq.hub.historian"),
            requests=HubRequests(self._connection),
            clock=self._clock,
            log=self._log,
            options=HistorianOptions(
                hot_window_s=options.hot_window,
                retention_s=options.retention,
                memory_bytes_max=options.max_memory,
                query_s_max=options.query_timeout,
            ),
            is_held=hold.is_held,
        )

    async def _ensure_streams(self) -> None:
        config, api = self.config, StreamApi(self._connection, patience_s=START_PATIENCE_S)
        wanted = {
            HUB_INTEGRITY: config.streams.max_bytes,
            HUB_THROUGHPUT: config.streams.max_bytes,
            HUB_LOCAL: min(LOCAL_BYTES_MAX, config.streams.max_bytes),
        }
        if config.flows:
            wanted[HUB_FLOW] = config.streams.flow_max_bytes
        room = store_room_bytes(self._data_dir)
        sizes = wanted if self.server.is_given else fit_bounds(wanted, room)
        if sizes != wanted:
            text = ", ".join(f"{name} {size >> 20} MiB" for name, size in sizes.items())
            message = f"the disk has room for {room >> 20} MiB of streams: {text}"
            self._alarms.append({"code": "MS-0611", "message": message, "since_ns": self._started_ns})
            self._log.warning(message)
        bounds = {n: StreamBounds(size, config.streams.max_age, "drop_oldest") for n, size in sizes.items()}
        await ensure_stream(api, local_stream(bounds[HUB_LOCAL]))
        local = [{"name": HUB_LOCAL}]
        if config.flows:
            flow_bounds = StreamBounds(bounds[HUB_FLOW].max_bytes)
            await ensure_stream(api, flow_stream(HUB_FLOW, flow_bounds))
            local.append({"name": HUB_FLOW})
        await ensure_stream(api, contracts_stream())
        await ensure_stream(api, config_stream())
        await ensure_stream(api, rollouts_stream())
        for name, fixed in ((HUB_INTEGRITY, local), (HUB_THROUGHPUT, []), (HUB_DLQ, [])):
            found = await find_stream(api, name)
            sources = list(fixed if found is None else found.config.get("sources") or fixed)
            sources += [source for source in fixed if source["name"] not in {s["name"] for s in sources}]
            if name == HUB_DLQ:
                await ensure_stream(api, deadletter_stream(name, "hub", edges=sources))
            else:
                await ensure_stream(api, hub_stream(name, bounds[name], sources))
        if config.server.mqtt_port is not None and not self.server.is_given:
            await self.server.open_mqtt(api, mqtt_stream("H_MQTT", StreamBounds(MQTT_BYTES_MAX)))
        await self.server.sync_descriptions()

    # -- what others see ----------------------------------------------------------------------------------------------

    @property
    def node_file(self) -> NodeFile:
        """``node.json``; the API adds its address with `update(api_url=...)`."""
        return self._file

    def _node_fields(self) -> dict[str, Any]:
        settings = self.server.settings
        mqtt = self.server.mqtt_credentials
        return {
            "role": "hub",
            "name": self.config.hub.name,
            "nats_url": self.server.url,
            "user": self.server.user,
            "password": self.server.password,
            "domain": self.server.domain,
            "leaf_port": settings.leaf_listener.port if settings.leaf_listener else None,
            "monitor_port": None if self.server.is_given else settings.monitor_port,
            "websocket_port": settings.websocket_port,
            "mqtt_port": settings.mqtt_port,
            "mqtt_user": mqtt[0] if mqtt else None,
            "mqtt_password": mqtt[1] if mqtt else None,
        }

    async def _serve(self) -> None:
        name = self.config.hub.name

        async def answer_ledger() -> object:
            return self.ledger()

        service = node_service(
            self.server.url,
            self.server.user,
            self.server.password,
            name="millstream-hub",
            version=millstream.__version__,
            endpoints={
                "status": (f"millstream.node.{name}.status", self.status),
                "ledger": (f"millstream.node.{name}.ledger", answer_ledger),
            },
            asked={} if self._flows is None else {"flows": (f"millstream.node.{name}.flows", self._flows.answer)},
        )
        await self._stack.enter_async_context(service)

    async def _open_fleet(self) -> None:
        connection, clock = self._connection, self._clock
        answers = EdgeAnswers(connection, lambda: self.sources.edges, self.sources.reached, clock=clock)
        answers.listen()
        paths = {edge.name: edge.path for edge in self.config.edges}
        desk = FleetDesk(connection, answers, clock=clock)
        data = FleetData(connection, answers, lambda: paths, clock=clock)
        book = CommandBook(connection, clock)
        await book.load()
        self._dispatcher = Dispatcher(connection, book, answers, lambda: paths, clock=clock, log=self._log)
        commands = CommandService(connection, book, self._dispatcher, lambda: paths, clock=clock)
        handlers = {
            "fleet": desk.answer, "fleet_data": data.answer, "command": commands.answer,
            "command_file": CommandFiles(connection, answers).answer,
        }  # fmt: skip
        for name, handler in handlers.items():
            serving = HubRequests(connection).serve(f"millstream.node.{self.config.hub.name}.{name}", handler)
            await self._stack.enter_async_context(serving)

    def ledger(self) -> dict[str, dict[str, int | bool]]:
        """The recount of each origin: by the historian, in its own transaction; without one by the hub."""
        if self.historian is not None:
            return accounts_as_dict(self.historian.ledger())
        return accounts_as_dict(self._ledger.accounts()) if self._ledger is not None else {}

    async def status(self) -> dict[str, Any]:
        """The node's status as JSON."""
        flows = self._flows.alarms if self._flows is not None else []
        alarms = [*self._alarms, *(a.as_dict() for a in (*self.server.alarms, *self.sources.alarms, *flows))]
        return {
            "role": "hub",
            "name": self.config.hub.name,
            "version": millstream.__version__,
            "started_ns": self._started_ns,
            "connectors": [],
            "publishers": [],
            "streams": [info.as_dict() for info in self.sources.streams],
            "sources": self.sources.sources(),
            "edges": self._edges(),
            "ledger": self.ledger(),
            "flows": self._flows.status() if self._flows is not None else [],
            "historian": await self._historian_status(),
            "server_restarts": self.server.restarts_count,
            **self._meter.read(self.server.pid),
            "alarms": alarms,
        }

    def _edges(self) -> list[dict[str, object]]:
        reached = self.sources.reached()
        return [{"name": e.name, "path": e.path, "reached_ns": reached.get(e.name)} for e in self.config.edges]

    async def _historian_status(self) -> Mapping[str, Any] | None:
        if self.historian is None:
            return None
        stats = await self.historian.stats()
        return {k: v for k, v in msgspec.to_builtins(stats).items() if k != "ledger"}


def server_settings(config: HubConfig) -> ServerSettings:
    """What the hub's server is told. Reads the edges' secrets; raises ConfigError."""
    server = config.server
    if server.url is not None:
        password = server.secret.resolve() if server.secret is not None else None
        return ServerSettings(config.hub.name, domain=HUB_DOMAIN, url=server.url, user=server.user, password=password)
    flow_bytes = config.streams.flow_max_bytes if config.flows else 0
    total = 2 * config.streams.max_bytes + flow_bytes + LOCAL_BYTES_MAX + MQTT_BYTES_MAX + SLACK_BYTES
    return ServerSettings(
        config.hub.name,
        domain=HUB_DOMAIN,
        host=server.host,
        port=server.port,
        monitor_port=server.monitor_port or 0,
        mqtt_port=server.mqtt_port,
        mqtt_host=server.host,
        websocket_port=server.websocket_port,
        leaf_listener=LeafListener(server.host, server.leaf_port, leaf_users(config)),
        max_file_bytes=total,
    )


def leaf_users(config: HubConfig) -> tuple[LeafUser, ...]:
    """The edges that may connect, each with its own secret (made here when the configuration names none)."""
    folder = Path(config.hub.data_dir)
    users = []
    for edge in config.edges:
        if edge.secret is not None:
            secret = edge.secret.resolve()
        else:
            (folder / "secrets" / "edges").mkdir(parents=True, exist_ok=True, mode=0o700)
            secret = load_secret(folder, f"edges/{edge.name}")
        place = ".".join(escape_token(level) for level in AssetPath.parse(edge.path).levels)
        users.append(LeafUser(edge.name, secret, PREFIX + place))
    return tuple(users)
