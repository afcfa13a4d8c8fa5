"""The hub as one program: its server, and the plants on it; composed and watched here, nothing else.

async with HubNode(config) as hub:      # ready: node.json is written
    await hub.run()                     # until cancelled
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import millstream
from millstream.bus import (
    HUB_DOMAIN,
    ClusterSettings,
    Credentials,
    LeafListener,
    LeafUser,
    NatsServer,
    NodeFile,
    ProcessMeter,
    ServerSettings,
    ServerTls,
    load_secret,
    node_service,
    node_tls,
    shared_secret,
    write_private,
)
from millstream.config import ClusterConfig, HubConfig
from millstream.historian import HistorianService
from millstream.hub._members import Member, OnePlant, Work
from millstream.hub._plant import LOCAL_BYTES_MAX, MQTT_BYTES_MAX, HubPlant, PlantAccount, PlantEdge
from millstream.hub._server_events import STORED_AT_PLACE, HeardEvents, SystemEars
from millstream.hub._sources import SourceKeeper
from millstream.hub._standing_history import history_dir
from millstream.hub._tenants import Tenants
from millstream.kernel import Clock, SystemClock
from millstream.model import AssetPath
from millstream.protocols.uns_subject import PREFIX, escape_token
from millstream.sdk import Log, TlsFiles

SLACK_BYTES = 2 << 30  # books, modules, dead letters and what MQTT sessions need, beside the configured bounds


@dataclass(frozen=True, slots=True)
class _LedTenants:
    """The tenants as the work of a member: who leads answers for all of them."""

    tenants: Tenants
    service: Callable[[Tenants], AbstractAsyncContextManager[None]]

    async def lead(self, begun: Callable[[], None]) -> None:
        """See `Work`."""
        async with self.service(self.tenants):
            await self.tenants.lead(begun)

    async def stand_by(self, begun: Callable[[], None]) -> None:
        """See `Work`."""
        await self.tenants.stand_by(begun)

    def about(self) -> dict[str, Any]:
        """See `Work`."""
        return self.tenants.about()


class _SilentLog:
    def info(self, event: str, **fields: object) -> None:
        """Drop."""

    warning = error = info


class HubNode:
    """One hub. Entering raises PlantError with the next step when it cannot start; leaving stops all in order.

    With `trust` in its file it serves tenants (`tenants`), each with a plant of its own that comes and goes with what
    the operator says; else there is one `plant`. With `cluster` it is one `member` of several, and has the plant while
    it leads.
    """

    def __init__(self, config: HubConfig, *, clock: Clock | None = None, log: Log | None = None) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._log = log or _SilentLog()
        self._data_dir = Path(config.hub.data_dir)
        self._file = NodeFile(self._data_dir)
        self._stack = contextlib.AsyncExitStack()
        self._started_ns = self._clock.now_ns()
        self._meter = ProcessMeter()
        self._plant: HubPlant | None = None
        self._one: OnePlant | None = None
        self._heard: HeardEvents | None = None
        self.member: Member | None = None
        self.tenants: Tenants | None = None

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
        """Keep the plants until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._plant is not None:
                group.create_task(self._plant.run(), name="plant")
            if self.member is not None:
                group.create_task(self.member.run(), name="member")
            if self.tenants is not None:
                work = self.tenants.run if self.member is None else self.tenants.watch
                group.create_task(work(), name="tenants")

    async def _open(self) -> None:
        config = self.config
        self._data_dir.mkdir(parents=True, exist_ok=True)
        settings = server_settings(config)
        if config.trust is not None:
            self.tenants = Tenants(config, self._data_dir, clock=self._clock, log=self._log)
            self.tenants.load()
            settings = await self.tenants.ask_others(self.tenants.settings(settings))
        self.server = await self._stack.enter_async_context(
            NatsServer(settings, self._data_dir, clock=self._clock, on_log=lambda line: self._log.warning(line))
        )
        if self.tenants is not None:
            await self._stack.enter_async_context(self.tenants.on(self.server))
            if config.cluster is None:
                await self._stack.enter_async_context(self._provider_service(self.tenants))
            else:
                tenants = _LedTenants(self.tenants, self._provider_service)
                self.member = await self._stack.enter_async_context(self._member(tenants, self.tenants.provider))
        elif config.cluster is not None:
            await self._listen_to_servers()
            self._one = OnePlant(config, self.server, self._make_plant, clock=self._clock, log=self._log)
            self.member = await self._stack.enter_async_context(self._member(self._one, None))
        else:
            self._plant = await self._stack.enter_async_context(self._make_plant())
        await self._stack.enter_async_context(self._file.hold(self._node_fields()))
        self._log.info("hub is up", name=config.hub.name, url=self.server.url)

    async def _listen_to_servers(self) -> None:
        """As one of several boxes, whether it leads or not: what happens while none does is told afterwards."""
        name, self._heard = f"hub {self.config.hub.name} events", HeardEvents()
        heard, login = self._heard, self.server.system_credentials
        self._heard.listen(await self._stack.enter_async_context(self.server.connection(name)), STORED_AT_PLACE)
        if login is not None:
            system = await self._stack.enter_async_context(self.server.connection(name, Credentials(*login)))
            await SystemEars(system, lambda _, event: heard.add(event)).listen()

    def _member(self, work: Work, login: Credentials | None) -> Member:
        return Member(self.config, self.server, work, login, clock=self._clock, log=self._log)

    def _make_plant(self) -> HubPlant:
        config = self.config
        account = PlantAccount(self.server.credentials, history_dir(config), self._data_dir, flows=config.flows)
        edges = [PlantEdge(edge.name, edge.path) for edge in config.edges]
        return HubPlant(config, self.server, account, edges, clock=self._clock, log=self._log, heard=self._heard)

    # -- what others see ----------------------------------------------------------------------------------------------

    @property
    def plant(self) -> HubPlant | None:
        """The one plant; of a member only while it leads."""
        return self._plant if self._one is None else self._one.plant

    @property
    def node_file(self) -> NodeFile:
        """``node.json``; the API adds its address with `update(api_url=...)`."""
        return self._file

    @property
    def historian(self) -> HistorianService | None:
        """Of the one plant; of a member its own, whether it leads or stands by."""
        if self._one is not None:
            return self._one.historian
        return None if self.plant is None else self.plant.historian

    @property
    def sources(self) -> SourceKeeper:
        """Of the one plant."""
        assert self.plant is not None
        return self.plant.sources

    def ledger(self) -> dict[str, dict[str, int | bool]]:
        """Of the one plant."""
        return {} if self.plant is None else self.plant.ledger()

    async def status(self) -> dict[str, Any]:
        """Of the one plant; of a hub of tenants what its provider may see: how each is, nothing of their data."""
        if self.plant is not None:
            return await self.plant.status()
        if self.member is not None and (told := await self.member.leaders_status()) is not None:
            return told
        return await self._own_status()

    async def _own_status(self) -> dict[str, Any]:
        tenants = self.tenants.status() if self.tenants is not None else {}
        return {
            "role": "hub",
            "name": self.config.hub.name,
            "member": self.config.cluster.member if self.config.cluster is not None else None,
            "version": millstream.__version__,
            "started_ns": self._started_ns,
            "server_restarts": self.server.restarts_count,
            **self._meter.read(self.server.pid),
            **tenants,
            "alarms": [*(alarm.as_dict() for alarm in self.server.alarms), *tenants.get("alarms", [])],
        }

    def _provider_service(self, tenants: Tenants) -> AbstractAsyncContextManager[None]:
        """Answers who runs the hub, in an account of its own."""
        name = self.config.hub.name
        return node_service(
            self.server.url, self.server.trusted(tenants.provider), name="millstream-hub",
            version=millstream.__version__,
            endpoints={"status": (f"millstream.node.{name}.status", self._own_status)},
        )  # fmt: skip

    def _node_fields(self) -> dict[str, Any]:
        settings = self.server.settings
        mqtt = self.server.mqtt_credentials
        fields = {
            "role": "hub",
            "name": self.config.hub.name,
            "nats_url": self.server.url,
            "domain": self.server.domain,
            "tls": node_tls(self.server.client_tls),
            "leaf_port": settings.leaf_listener.port if settings.leaf_listener else None,
            "monitor_port": None if self.server.is_given else settings.monitor_port,
            "websocket_port": settings.websocket_port,
            "mqtt_port": settings.mqtt_port,
            "mqtt_user": mqtt[0] if mqtt else None,
            "mqtt_password": mqtt[1] if mqtt else None,
        }
        if self.config.cluster is not None:
            fields["member"] = self.config.cluster.member
        if self.tenants is not None:
            return fields | {"tenants": str(self.tenants.creds_dir)}
        return fields | {"user": self.server.user, "password": self.server.password}


def server_settings(config: HubConfig) -> ServerSettings:
    """What the hub's server is told. Reads the edges' secrets; raises ConfigError."""
    server = config.server
    if server.url is not None:
        password = server.secret.resolve() if server.secret is not None else None
        return ServerSettings(
            config.hub.name, domain=HUB_DOMAIN, url=server.url, user=server.user, password=password,
            given_tls=TlsFiles(ca_file=server.ca_file) if server.ca_file is not None else None,
        )  # fmt: skip
    tls = config.tls
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
        websocket_port=0 if server.websocket_port is None and config.api is not None else server.websocket_port,
        websocket_origins=server.websocket_origins,
        people_secret=secrets.token_urlsafe(24) if config.api is not None and config.trust is None else None,
        leaf_listener=LeafListener(server.host, server.leaf_port, leaf_users(config)),
        tls=None if tls is None else ServerTls(tls.files, tls.names_at(server.host), tls.client_certificates),
        max_file_bytes=total,
        cluster=None if config.cluster is None else cluster_settings(config.hub.name, config.cluster),
    )


def cluster_settings(name: str, cluster: ClusterConfig) -> ClusterSettings:
    """This box's place in its cluster. Raises ConfigError when the secret cannot be read."""
    return ClusterSettings(
        name, cluster.member, cluster.members, cluster.secret.resolve(), cluster.host, cluster.kept_on
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
            if config.cluster is not None:  # the same at each member, to whichever the edge connects
                secret = shared_secret(config.cluster.secret.resolve(), f"edge {edge.name}")
                write_private(folder / "secrets" / "edges" / edge.name, secret + "\n")
            secret = load_secret(folder, f"edges/{edge.name}")
        place = ".".join(escape_token(level) for level in AssetPath.parse(edge.path).levels)
        users.append(LeafUser(edge.name, secret, PREFIX + place))
    return tuple(users)
