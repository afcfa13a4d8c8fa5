"""A hub in operator mode: who the tenants are comes from the operator's signed file, and each gets a plant of its own.

A tenant whose plant fails is tried again by itself; the others do not notice. At a hub of several boxes each keeps the
operator's file and the accounts of its server; who leads has the plants, the others keep a history of each.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

import millstream
from millstream.bus import (
    Credentials,
    NatsServer,
    RawConnection,
    ServerAlarm,
    ServerSettings,
    ServerTrust,
    scouting,
)
from millstream.config import ClusterConfig, HubConfig, OidcConfig, TenantConfig
from millstream.historian import HistorianService
from millstream.hub._account_limits import look
from millstream.hub._accounts import Accounts
from millstream.hub._audit import GONE_SUBJECT, REFUSED_SUBJECT, Auditor, AuditPlace
from millstream.hub._desk import PeopleAudit
from millstream.hub._flow_login import FlowLogin, no_key
from millstream.hub._joins import JOINS_SUBJECT, JoinCounters, JoinDesk
from millstream.hub._listening import Listening
from millstream.hub._plant import HubPlant, PlantAccount, PlantEdge
from millstream.hub._provider_events import ProviderEvents
from millstream.hub._registrar import Registrar
from millstream.hub._renewals import EdgeKeys, renew_sites
from millstream.hub._shared_trust import SharedTrust
from millstream.hub._standing_history import history_dir, standing_history
from millstream.hub._tenant_uses import Use, uses_of
from millstream.hub._told_changes import BucketMark, FileMark, Mark, ToldChanges
from millstream.hub._trust import TrustFile
from millstream.kernel import AuthError, Backoff, Clock, PlantError, Signal, Unreachable
from millstream.login import ClaimRule, LoginAround, LoginDesk, LoginOptions, OidcProvider
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.server_advisory import ServerEvent
from millstream.protocols.trust_chain import Chain, Pin, TrustChain, encode_chain
from millstream.sdk import Log
from millstream.trust import BOOKS_BYTES, HubTenant, HubTrust, new_key, program_token, told_change

SETTLE_S = 3.0  # a member that starts waits so long for those that do not answer
PLANTS_UP_S = 30.0  # then acts are told to the provider, rather than not at all
STATUS_S = 2.0
LOOK_INTERVAL_S = 0.1  # a stat; locking out is to take effect within a second


@dataclass(slots=True)
class _Running:
    """One tenant's plant and what serves it."""

    tenant: HubTenant
    connection: RawConnection | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    plant: HubPlant | None = None
    standby: HistorianService | None = None
    task: asyncio.Task[None] | None = None
    joins: JoinCounters = field(default_factory=JoinCounters)


class Tenants:
    """See the module. Use `settings` for the server, `on` around its life, and run `run`; at a hub of several boxes run
    `watch` beside the member whose work this is."""

    def __init__(self, config: HubConfig, data_dir: Path, *, clock: Clock, log: Log) -> None:
        assert config.trust is not None
        self._config = config
        self._data_dir = data_dir
        self._clock = clock
        self._log = log
        cluster = config.cluster
        self._file = TrustFile(
            Path(config.trust.file), data_dir, clock, self._on_judged, is_shared=cluster is not None
        )  # fmt: skip
        self._resolver_dir = data_dir.absolute() / "server" / "accounts"
        self._accounts: Accounts
        self._shared: SharedTrust | None = None
        self._running: dict[str, _Running] = {}
        self._alarms: dict[str, ServerAlarm] = {}
        self._untold: list[str] = []
        self._taken = Signal()  # a newer file of the operator, and the server knows its accounts
        self._leads = cluster is None
        self._server: NatsServer
        self._system: RawConnection
        self._provider: RawConnection
        self._auditor: Auditor
        self._listening: Listening
        self._edge_keys: EdgeKeys
        self._events: ProviderEvents
        self.logins: LoginDesk | None = None

    @property
    def creds_dir(self) -> Path:
        """Folder of the hub's log-ins, one a tenant."""
        return self._file.creds_dir

    @property
    def trust(self) -> HubTrust:
        """What the operator says now."""
        return self._file.trust

    @property
    def provider(self) -> Credentials:
        """The hub's log-in to the account of who runs it."""
        return Credentials(creds_file=self._file.creds_file("provider"))

    def status(self) -> dict[str, Any]:
        """For who runs the hub: each tenant's state, and what could not be done or kept."""
        return {
            "operator": self._file.trust.operator_public,
            "trust_serial": self._file.trust.serial,
            "tenants": [self._shown(running) for running in self._running.values()],
            "audit": {
                "failures": self._auditor.failures_count, "violations_untold": self._auditor.violations_untold_count,
            },
            "alarms": [alarm.as_dict() for alarm in self.alarms],
        }  # fmt: skip

    async def uses(self) -> dict[str, dict[str, Use]]:
        """Tenant -> what it uses of each of its limits, by the servers of all boxes. Raises Unreachable."""
        cluster = self._config.cluster
        found = await look(self._system, 1 if cluster is None else len(cluster.members))
        return {name: uses_of(tenant, found) for name, tenant in self._file.trust.tenants.items()}

    def about(self) -> dict[str, Any]:
        """Of one member: how new the operator's file is that its server goes by; None while it does not yet."""
        return {"trust_serial": None if self._accounts.due() else self._file.trust.serial}

    def _shown(self, running: _Running) -> dict[str, Any]:
        plant = running.plant if running.ready.is_set() else None
        return {
            "name": running.tenant.name,
            "place": running.tenant.place,
            "is_up": plant is not None,
            "sites": len(running.tenant.sites),
            "sites_locked_out": sum(site.is_revoked for site in running.tenant.sites.values()),
            "join_answers_lost": running.joins.answers_lost,
            "join_requests_left": running.joins.requests_left,
            "alarms": plant.alarms() if plant is not None else [],
        }

    def plant(self, tenant: str) -> HubPlant | None:
        """The plant of a tenant; None while it is not up."""
        running = self._running.get(tenant)
        return running.plant if running is not None else None

    def historian(self, tenant: str) -> HistorianService | None:
        """The history of a tenant at this box, whether it leads or stands by; None while it is not up."""
        running = self._running.get(tenant)
        if running is None:
            return None
        return running.standby if running.plant is None else running.plant.historian

    async def plant_status(self, tenant: str) -> Mapping[str, Any]:
        """A tenant's status, by whichever box leads; how it is here when none answers."""
        running = self._running.get(tenant)
        if running is not None and running.plant is not None:
            return await running.plant.status()
        name, cluster = self._config.hub.name, self._config.cluster
        if running is not None and running.connection is not None:
            with suppress(PlantError, msgspec.DecodeError):
                subject = f"millstream.node.{name}.status"
                answer = await running.connection.request(subject, timeout_s=STATUS_S)
                return msgspec.json.decode(answer[4], type=dict[str, Any])
        member = None if cluster is None else cluster.member
        return {"role": "hub", "name": name, "member": member, "tenant": tenant, "version": millstream.__version__}

    def _plant_ears(self, tenant: str) -> Callable[[ServerEvent], None] | None:
        """Who tells a tenant what of the servers concerns it; None while its plant is not up."""
        plant = self.plant(tenant)
        return plant.hear_of_servers if plant is not None else None

    @property
    def alarms(self) -> list[ServerAlarm]:
        """What the provider should know now."""
        return list(self._alarms.values())

    def is_current(self, serial: int) -> bool:
        """True when the operator's file of this serial was taken, the server knows its accounts, and the plants their
        tenants."""
        trust = self._file.trust
        known = {name: running.tenant for name, running in self._running.items()}
        return trust.serial >= serial and not self._accounts.due() and known == trust.tenants

    async def wait_ready(self, tenant: str) -> None:
        """Return once the tenant's plant is up."""
        while tenant not in self._running:
            await self._clock.sleep(0.02)
        await self._running[tenant].ready.wait()

    def load(self) -> None:
        """Read what the operator says. Raises ConfigError or AuthError when there is no trust file to go by."""
        self._file.load()

    def settings(self, settings: ServerSettings) -> ServerSettings:
        """The server's, in operator mode, after `load`."""
        trust, resolver = self._file.trust, self._resolver_dir
        server = None if settings.cluster is None else settings.cluster.server_name
        self._accounts = Accounts(resolver, lambda: self._file.trust, server)
        if server is not None:
            self._accounts.store()
        server_trust = ServerTrust(trust.operator_token, trust.system_public, trust.system_token, str(resolver))
        return replace(settings, trust=server_trust)

    async def ask_others(self, settings: ServerSettings) -> ServerSettings:
        """Before the server of one of several boxes opens its doors: take the newest file that the others have. The
        server's settings after that. With nobody to ask it goes by what it has."""
        cluster = self._config.cluster
        if cluster is None:
            return settings
        try:
            async with scouting(settings, self._data_dir, self.provider) as connection:
                shared = self._share(connection, cluster)
                if not await shared.settle(len(cluster.members) - 1, SETTLE_S):
                    self._log.info("not all members could be asked for the operator's newest file")
        except PlantError as error:
            self._log.warning("the other members could not be asked for the operator's newest file", error=str(error))
        return self.settings(settings)

    def _share(self, connection: RawConnection, cluster: ClusterConfig) -> SharedTrust:
        names = (self._config.hub.name, cluster.member)
        shared = SharedTrust(connection, self._file, names, cluster.secret.resolve(), self._clock, self._on_judged)
        shared.listen()
        return shared

    @asynccontextmanager
    async def on(self, server: NatsServer) -> AsyncIterator[None]:
        """While the server runs: its accounts are pushed, refused log-ins are heard."""
        self._server = server
        cluster = self._config.cluster
        name = f"hub {self._config.hub.name}"
        async with AsyncExitStack() as stack:
            system = server.connection(f"{name} system", Credentials(creds_file=self._file.creds_file("system")))
            self._system = await stack.enter_async_context(system)
            self._edge_keys = EdgeKeys(lambda: self._file.trust.tenants)
            self._accounts.listen(self._system)
            await self._accounts.push(self._system)
            provider = server.connection(f"{name} provider", self.provider)
            self._provider = await stack.enter_async_context(provider)
            if cluster is not None:
                self._shared = self._share(self._provider, cluster)
            own = None if server.settings.cluster is None else server.settings.cluster.server_name
            self._auditor = Auditor(
                self._provider, self._place_of, self._tenant_of, self._config.hub.name, self._clock, own
            )  # fmt: skip
            self._listening = Listening(
                self._system, lambda: self._file.trust.tenants, self._auditor.gather_permission, self._auditor.note,
                self._clock,
            )  # fmt: skip
            self._events = ProviderEvents(
                self._provider, self._system, lambda: self._file.trust.tenants, self._tenant_of, self._plant_ears,
                lambda: server.alarms, self._clock, self._log, 1 if cluster is None else len(cluster.members),
            )  # fmt: skip
            if cluster is None:  # else whoever leads does, with a majority
                await self._auditor.prepare()
                await self._events.prepare()
            self._system.subscribe(REFUSED_SUBJECT, self._auditor.hear)
            self._system.subscribe(GONE_SUBJECT, self._auditor.hear_gone)
            self._listening.listen()
            await self._events.listen()
            if self._config.api is not None:
                self.logins = await stack.enter_async_context(self._login_desk())
            yield

    def _login_desk(self) -> LoginDesk:
        around = LoginAround(
            self._provider, self._system, lambda: self._file.trust, self._auditor.tell, self._auditor.gather,
            lambda: self._leads,
        )  # fmt: skip
        login = self._config.login
        providers = tuple(_provider(one) for one in login.oidc)
        options = LoginOptions(int(login.session), int(login.credentials), providers)
        return LoginDesk(around, options, self._clock)

    async def run(self) -> None:
        """Keep the tenants' plants as the operator's file says, until cancelled."""
        told = await self._told_changes(FileMark(self._data_dir / "secrets" / "told.json"))
        async with asyncio.TaskGroup() as group:
            group.create_task(told.run(self._clock), name="the operator's acts")
            group.create_task(self._events.run(), name="events of the servers")
            group.create_task(self._work(self._serve), name="plants")
            group.create_task(self.watch(), name="the operator's file")

    async def watch(self) -> None:
        """Take what the operator says, and see to who is logged in, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self.logins is not None:
                group.create_task(self.logins.run(), name="log-ins")
            if self._shared is not None:
                group.create_task(self._shared.run(), name="the operator's file at the other members")
            group.create_task(self._tell_refusals(), name="what was refused")
            group.create_task(self._listening.run(), name="what sites listen to")
            before = self._file.trust.serial
            while True:
                await self._clock.sleep(LOOK_INTERVAL_S)
                if self._file.look() and self._shared is not None:
                    with suppress(PlantError):
                        self._shared.tell()
                await self._renew_sites()
                await self._push()
                if self._file.trust.serial != before:
                    self._taken.tell()
                    self._log.info("the operator's file was taken", serial=self._file.trust.serial)
                    before = self._file.trust.serial

    async def _tell_refusals(self) -> None:
        """Beside the looks for the operator's newest file: locking somebody out waits for no event to be stored."""
        while True:
            self._auditor.note_log(self._server.take_log_lines())
            await self._auditor.flush()
            while self._untold:
                await self._auditor.tell("", "trust", "refused", {"reason": self._untold.pop()})
            await self._clock.sleep(LOOK_INTERVAL_S)

    async def _renew_sites(self) -> None:
        """Before the server refuses what an old key signed, sites get what the new one signs; a member without the
        plants lets the one that has them do it."""
        for tenant in self._edge_keys.take_changed():
            plant = self.plant(tenant.name)
            connection = None if plant is None else plant.connection
            await renew_sites(connection, tenant, self._auditor.tell, self._clock, self._log)

    async def _push(self) -> None:
        try:
            await self._accounts.push(self._system)
            self._alarms.pop("push", None)
        except PlantError as error:  # its supervisor restarts the server; then it is told
            self._raise_alarm("push", "MS-2109", f"the server was not told of the newest accounts: {error}")

    async def _told_changes(self, mark: Mark) -> ToldChanges:
        """Behind what was told before. Raises PlantError."""
        told = ToldChanges(mark, lambda: self._file.trust, self._tell_changes)
        await told.begin()
        return told

    async def _tell_changes(self, before: int) -> None:
        """What the operator did since the file of that serial: each act is for its tenant's audit, once that is up.
        Raises Unreachable when one could not be stored now."""
        trust = self._file.trust
        changes = [change for change in trust.changes if change.serial > before]
        concerned = {change.tenant for change in changes} & trust.tenants.keys()
        with suppress(TimeoutError):
            async with asyncio.timeout(PLANTS_UP_S):
                while any(self._place_of(name) is None for name in concerned):
                    await self._clock.sleep(LOOK_INTERVAL_S)
        for change in changes:
            once = f"operator {trust.operator_public} {hashlib.sha256(msgspec.json.encode(change)).hexdigest()}"
            if not await self._auditor.tell(change.tenant, "operator", change.action, told_change(change), once):
                raise Unreachable("an act of the operator could not be told", where=change.action)

    # -- the work of one of several boxes ------------------------------------------------------------------------------

    async def lead(self, begun: Callable[[], None]) -> None:
        """Have the plants, until cancelled."""
        await self._auditor.prepare()
        await self._events.prepare()
        if self.logins is not None:
            await self.logins.prepare()
        told = await self._told_changes(BucketMark(self._provider))
        async with asyncio.TaskGroup() as group:
            group.create_task(told.run(self._clock), name="the operator's acts")
            group.create_task(self._events.run(), name="events of the servers")
            begun()
            self._leads = True
            try:
                await self._work(self._serve)
            finally:
                self._leads = False

    async def stand_by(self, begun: Callable[[], None]) -> None:
        """Keep each tenant's history while another box leads, until cancelled."""
        begun()
        await self._work(self._stand_by)

    async def _work(self, serve: Callable[[_Running], Awaitable[None]]) -> None:
        """Serve the tenants that the operator's file names, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._adapt(group, serve)
                    await self._taken.wait()
        finally:
            self._running.clear()

    def _adapt(self, group: asyncio.TaskGroup, serve: Callable[[_Running], Awaitable[None]]) -> None:
        """Start plants of new tenants, end those of tenants that are gone, tell the others their sites."""
        self._note_strangers()
        tenants = self._file.trust.tenants
        for name in [name for name in self._running if name not in tenants]:
            task = self._running.pop(name).task
            if task is not None:
                task.cancel()
        for name, tenant in tenants.items():
            running = self._running.get(name)
            if running is None:
                running = self._running[name] = _Running(tenant)
                running.task = group.create_task(self._keep(running, serve), name=f"tenant {name}")
            elif running.tenant != tenant:
                running.tenant = tenant
                if running.plant is not None:
                    running.plant.set_edges(edges_of(tenant))
                    running.plant.set_room(self._room_of(tenant))

    async def _keep(self, running: _Running, serve: Callable[[_Running], Awaitable[None]]) -> None:
        backoff = Backoff(floor_s=0.5, ceiling_s=30.0)
        name = running.tenant.name
        while True:
            try:
                await serve(running)
            except* PlantError as errors:
                text = "; ".join(str(error) for error in errors.exceptions)
                self._raise_alarm(f"MS-2109 {name}", "MS-2109", f"the plant of tenant {name} is down: {text}")
            finally:
                running.plant = running.standby = running.connection = None
                running.ready.clear()
            await self._clock.sleep(backoff.next_s())

    async def _stand_by(self, running: _Running) -> None:
        name = running.tenant.name
        login = Credentials(creds_file=self._file.creds_file(name))
        async with self._server.connection(f"hub {self._config.hub.name}", login) as connection:
            running.connection = connection
            self._alarms.pop(f"MS-2109 {name}", None)

            def change(historian: HistorianService | None) -> None:
                running.standby = historian

            await standing_history(
                self._config, connection, name, clock=self._clock, log=self._log, on_change=change
            )  # fmt: skip

    async def _serve(self, running: _Running) -> None:
        tenant = running.tenant
        flows = self._config.tenants.get(tenant.name, TenantConfig()).flows
        login_file = self._data_dir / "secrets" / "flows" / f"{tenant.name}.creds"
        login = FlowLogin(login_file, self._config.hub.name, lambda: running.tenant, self._clock)
        if flows:
            login.renew()
        account = PlantAccount(
            Credentials(creds_file=self._file.creds_file(tenant.name)),
            history_dir(self._config, tenant.name), self._data_dir / "tenants" / tenant.name, tenant.name,
            self._room_of(tenant), flows, login.credentials, lambda: self._device_token(running.tenant),
            lambda: self._chain(running.tenant), self._people_audit(tenant.name), tenant.place,
            lambda event: self._events.tell(tenant.name, event),
        )  # fmt: skip
        plant = HubPlant(self._config, self._server, account, edges_of(tenant), clock=self._clock, log=self._log)
        async with plant, asyncio.TaskGroup() as group:
            running.plant, running.connection = plant, plant.connection

            async def audit(what: str, outcome: str, data: dict[str, object]) -> None:
                await self._auditor.tell(tenant.name, what, outcome, data)

            tls = self._server.client_tls
            ca_file = tls.ca_file if tls is not None else None
            registrar = Registrar(
                plant.connection, lambda: running.tenant, lambda: self._file.trust.operator_public, self._clock, audit,
                ca_file, self._listening.origin_of,
            )  # fmt: skip
            await registrar.prepare()
            desk = JoinDesk(plant.connection, registrar.answer, group, running.joins)
            sid = plant.connection.subscribe(JOINS_SUBJECT, desk.take)
            plant.set_edges(edges_of(running.tenant))  # it may have changed while the plant opened
            plant.set_room(self._room_of(running.tenant))
            self._alarms.pop(f"MS-2109 {tenant.name}", None)
            running.ready.set()
            beside = [group.create_task(self._hand_on(running, registrar), name=f"chain of {tenant.name}")]
            if flows:
                beside.append(group.create_task(login.run(), name=f"log-in of the flows of {tenant.name}"))
            try:
                await plant.run()
            finally:
                for task in beside:
                    task.cancel()
                plant.connection.unsubscribe(sid)

    def _chain(self, tenant: HubTenant) -> TrustChain:
        """Who may sign in a tenant, as the operator says now."""
        operator = self._file.trust.operator_public
        pin = Pin(
            tenant=tenant.name, site="", operator_public=operator, plant_public=tenant.plant_public,
            people_public=tenant.people_public,
        )  # fmt: skip
        chain = Chain(self._file.trust.operator_token, tenant.people_token)
        return TrustChain(chain, pin, self._clock.now_ns() / 1e9)

    def _people_audit(self, tenant: str) -> PeopleAudit:
        """Where a tenant's desks tell who did what."""
        return PeopleAudit(
            partial(self._auditor.tell, tenant),
            lambda what, data: self._auditor.gather(tenant, what, data),
        )

    def _device_token(self, tenant: HubTenant) -> str:
        """For the one client by which the server makes the MQTT streams of an account."""
        if "device" not in tenant.roles:
            raise no_key(tenant.name, "device")
        now_s = self._clock.now_ns() // 10**9
        public = new_key("user").public
        return program_token(
            tenant.roles["device"], tenant.plant_public, public, "setup", "device", now_s=now_s, expires_s=now_s + 60
        )

    async def _hand_on(self, running: _Running, registrar: Registrar) -> None:
        """Give the edges what they prove signatures with, whenever the operator has signed it anew."""
        name = running.tenant.name
        key = f"MS-2105 {name}"
        told, looked_at = b"", None
        while True:
            while (trust := self._file.trust) is looked_at:
                await self._taken.wait()
            tenant = trust.tenants.get(name, running.tenant)
            chain = encode_chain(Chain(trust.operator_token, tenant.people_token))
            try:
                if chain != told:
                    await registrar.hand_on(chain, trust.serial)
                    self._alarms.pop(key, None)
                told, looked_at = chain, trust
            except AuthError as error:  # until the operator's next file
                self._raise_alarm(key, "MS-2105", str(error).removesuffix(" [MS-2105]"))
                self._untold.append(str(error))
                told, looked_at = chain, trust
            except PlantError:  # the server restarts: told again
                await self._clock.sleep(LOOK_INTERVAL_S)

    def _room_of(self, tenant: HubTenant) -> int:
        """Bytes that its data may take on one box: servers count what all of them keep."""
        replicas = 1 if self._config.cluster is None else self._config.cluster.kept_on
        granted = int(read_token(tenant.plant_token).nats.get("limits", {}).get("disk_storage", 0))
        return min(tenant.disk_bytes * 9 // 10, max(0, granted // replicas - BOOKS_BYTES))

    def _place_of(self, tenant: str) -> AuditPlace | None:
        running = self._running.get(tenant)
        if running is None or running.connection is None:
            return None
        return AuditPlace(running.connection, running.tenant.place)

    def _tenant_of(self, account: str) -> str | None:
        for name, tenant in self._file.trust.tenants.items():
            if account in (tenant.plant_public, tenant.people_public):
                return name
        return None

    def _on_judged(self, refusal: str | None) -> None:
        if refusal is None:
            self._alarms.pop("MS-2105", None)
            return
        self._raise_alarm("MS-2105", "MS-2105", refusal)
        self._untold.append(refusal)

    def _note_strangers(self) -> None:
        """Sections of the file for tenants whom the operator does not know: nobody runs what they ask for."""
        for name in self._config.tenants:
            key = f"MS-2111 {name}"
            if name in self._file.trust.tenants:
                self._alarms.pop(key, None)
            else:
                text = f"the file has a section for tenant {name}, whom the operator does not know"
                self._raise_alarm(key, "MS-2111", text)

    def _raise_alarm(self, key: str, code: str, text: str) -> None:
        known = self._alarms.get(key)
        if known is None:
            self._log.warning(f"{text} [{code}]")
        self._alarms[key] = ServerAlarm(code, text, self._clock.now_ns() if known is None else known.since_ns)


def _provider(config: OidcConfig) -> OidcProvider:
    rules = tuple(ClaimRule(rule.claim, rule.value, rule.tenant, rule.role, rule.paths) for rule in config.rules)
    secret = None if config.secret is None else config.secret.resolve
    return OidcProvider(
        config.name, config.issuer, config.client_id, rules, secret=secret, user_claim=config.user_claim,
        scopes=config.scopes, ca_file=config.ca,
    )  # fmt: skip


def edges_of(tenant: HubTenant) -> list[PlantEdge]:
    """The sites that may report. One that is locked out stays: what it sent is still its own."""
    return [PlantEdge(name, site.place) for name, site in tenant.sites.items()]
