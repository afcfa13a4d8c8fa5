"""A hub in operator mode: who the tenants are comes from the operator's signed file, and each gets a plant of its own.

A tenant whose plant fails is tried again by itself; the others do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from millstream.bus import (
    Credentials,
    NatsServer,
    RawConnection,
    ServerAlarm,
    ServerSettings,
    ServerTrust,
    decode_answer,
)
from millstream.config import HubConfig, OidcConfig, TenantConfig
from millstream.hub._audit import GONE_SUBJECT, REFUSED_SUBJECT, Auditor, AuditPlace
from millstream.hub._desk import PeopleAudit
from millstream.hub._flow_login import FlowLogin, no_key
from millstream.hub._joins import JOINS_SUBJECT, JoinCounters, JoinDesk
from millstream.hub._plant import HubPlant, PlantAccount, PlantEdge
from millstream.hub._registrar import Registrar
from millstream.hub._trust import TrustFile
from millstream.kernel import Backoff, Clock, PlantError, ProtocolViolation
from millstream.login import ClaimRule, LoginAround, LoginDesk, LoginOptions, OidcProvider
from millstream.protocols.trust_chain import Chain, Pin, TrustChain, encode_chain
from millstream.sdk import Log
from millstream.trust import HubTenant, HubTrust, new_key, program_token

LOOK_INTERVAL_S = 0.1  # a stat; locking out is to take effect within a second
CLAIMS_SUBJECT = "$SYS.REQ.CLAIMS.UPDATE"


@dataclass(slots=True)
class _Running:
    """One tenant's plant and what serves it."""

    tenant: HubTenant
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    plant: HubPlant | None = None
    task: asyncio.Task[None] | None = None
    joins: JoinCounters = field(default_factory=JoinCounters)


class Tenants:
    """See the module. Use `settings` for the server, `on` around its life, and run `run`."""

    def __init__(self, config: HubConfig, data_dir: Path, *, clock: Clock, log: Log) -> None:
        assert config.trust is not None
        self._config = config
        self._data_dir = data_dir
        self._clock = clock
        self._log = log
        self._file = TrustFile(Path(config.trust.file), data_dir, clock, self._on_judged)
        self._pushed: dict[str, str] = {}
        self._running: dict[str, _Running] = {}
        self._alarms: dict[str, ServerAlarm] = {}
        self._untold: list[str] = []
        self._server: NatsServer
        self._system: RawConnection
        self._provider: RawConnection
        self._auditor: Auditor
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

    @property
    def alarms(self) -> list[ServerAlarm]:
        """What the provider should know now."""
        return list(self._alarms.values())

    def is_current(self, serial: int) -> bool:
        """True when the operator's file of this serial was taken, the server knows its accounts, and the plants their
        tenants."""
        trust = self._file.trust
        known = {name: running.tenant for name, running in self._running.items()}
        return trust.serial >= serial and not self._due() and known == trust.tenants

    async def wait_ready(self, tenant: str) -> None:
        """Return once the tenant's plant is up."""
        while tenant not in self._running:
            await self._clock.sleep(0.02)
        await self._running[tenant].ready.wait()

    def settings(self, settings: ServerSettings) -> ServerSettings:
        """The server's, in operator mode. Raises ConfigError or AuthError when there is no trust file to go by."""
        self._file.load()
        trust = self._file.trust
        resolver = self._data_dir.absolute() / "server" / "accounts"
        server_trust = ServerTrust(trust.operator_token, trust.system_public, trust.system_token, str(resolver))
        return replace(settings, trust=server_trust)

    @asynccontextmanager
    async def on(self, server: NatsServer) -> AsyncIterator[None]:
        """While the server runs: its accounts are pushed, refused log-ins are heard."""
        self._server = server
        name = f"hub {self._config.hub.name}"
        async with AsyncExitStack() as stack:
            system = server.connection(f"{name} system", Credentials(creds_file=self._file.creds_file("system")))
            self._system = await stack.enter_async_context(system)
            await self._push()
            provider = server.connection(f"{name} provider", self.provider)
            self._provider = await stack.enter_async_context(provider)
            self._auditor = Auditor(self._provider, self._place_of, self._tenant_of, self._config.hub.name, self._clock)
            await self._auditor.prepare()
            self._system.subscribe(REFUSED_SUBJECT, self._auditor.hear)
            self._system.subscribe(GONE_SUBJECT, self._auditor.hear_gone)
            if self._config.api is not None:
                self.logins = await stack.enter_async_context(self._login_desk())
            yield

    def _login_desk(self) -> LoginDesk:
        around = LoginAround(
            self._provider, self._system, lambda: self._file.trust, self._auditor.tell, self._auditor.gather
        )
        login = self._config.login
        providers = tuple(_provider(one) for one in login.oidc)
        options = LoginOptions(int(login.session), int(login.credentials), providers)
        return LoginDesk(around, options, self._clock)

    async def run(self) -> None:
        """Keep the tenants' plants as the operator's file says, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self.logins is not None:
                group.create_task(self.logins.run(), name="log-ins")
            while True:
                self._adapt(group)
                self._auditor.note_log(self._server.take_log_lines())
                await self._auditor.flush()
                while self._untold:
                    await self._auditor.tell("", "trust", "refused", {"reason": self._untold.pop()})
                await self._clock.sleep(LOOK_INTERVAL_S)
                before = self._file.trust.serial
                is_new = self._file.look()
                try:
                    await self._push()
                    self._alarms.pop("push", None)
                except PlantError as error:  # its supervisor restarts the server; then it is told
                    self._raise_alarm("push", "MS-2109", f"the server was not told of the newest accounts: {error}")
                if is_new:
                    await self._tell_changes(before)

    async def _tell_changes(self, before: int) -> None:
        """What the operator did since the file before."""
        self._log.info("the operator's file was taken", serial=self._file.trust.serial)
        for change in self._file.trust.changes:
            if change.serial > before:
                await self._auditor.tell(change.tenant, "operator", change.action, msgspec.to_builtins(change))

    def _adapt(self, group: asyncio.TaskGroup) -> None:
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
                running.task = group.create_task(self._keep(running), name=f"tenant {name}")
            elif running.tenant != tenant:
                running.tenant = tenant
                if running.plant is not None:
                    running.plant.set_edges(edges_of(tenant))

    async def _keep(self, running: _Running) -> None:
        backoff = Backoff(floor_s=0.5, ceiling_s=30.0)
        name = running.tenant.name
        while True:
            try:
                await self._serve(running)
            except* PlantError as errors:
                text = "; ".join(str(error) for error in errors.exceptions)
                self._raise_alarm(f"MS-2109 {name}", "MS-2109", f"the plant of tenant {name} is down: {text}")
            finally:
                running.plant = None
                running.ready.clear()
            await self._clock.sleep(backoff.next_s())

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
            tenant.disk_bytes * 9 // 10, flows, login.credentials, lambda: self._device_token(running.tenant),
            lambda: self._chain(running.tenant), self._people_audit(tenant.name),
        )  # fmt: skip
        plant = HubPlant(self._config, self._server, account, edges_of(tenant), clock=self._clock, log=self._log)
        async with plant, asyncio.TaskGroup() as group:
            running.plant = plant

            async def audit(what: str, outcome: str, data: dict[str, object]) -> None:
                await self._auditor.tell(tenant.name, what, outcome, data)

            tls = self._server.client_tls
            ca_file = tls.ca_file if tls is not None else None
            registrar = Registrar(plant.connection, lambda: running.tenant, self._clock, audit, ca_file)
            await registrar.prepare()
            desk = JoinDesk(plant.connection, registrar.answer, group, running.joins)
            sid = plant.connection.subscribe(JOINS_SUBJECT, desk.take)
            plant.set_edges(edges_of(running.tenant))  # it may have changed while the plant opened
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
            lambda what, outcome, data: self._auditor.tell(tenant, what, outcome, data),
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
        told = b""
        while True:
            chain = encode_chain(Chain(self._file.trust.operator_token, running.tenant.people_token))
            if chain != told:
                with suppress(PlantError):  # the server restarts: told again
                    await registrar.hand_on(chain)
                    told = chain
            await self._clock.sleep(LOOK_INTERVAL_S)

    async def _push(self) -> None:
        """Give the server each account whose token it does not have. Exporters first, then who imports."""
        for public, token in self._due().items():
            answer = await self._system.request(CLAIMS_SUBJECT, token.encode())
            data = decode_answer(answer[4], where=CLAIMS_SUBJECT).get("data")
            if not isinstance(data, dict) or data.get("code") != 200:
                raise ProtocolViolation("the server did not take an account", frame=answer[4][:256])
            self._pushed[public] = token

    def _due(self) -> dict[str, str]:
        """Account -> token that the server does not have yet."""
        trust = self._file.trust
        tokens = {tenant.plant_public: tenant.plant_token for tenant in trust.tenants.values()}
        tokens |= {tenant.people_public: tenant.people_token for tenant in trust.tenants.values()}
        tokens[trust.provider_public] = trust.provider_token
        return {public: token for public, token in tokens.items() if self._pushed.get(public) != token}

    def _place_of(self, tenant: str) -> AuditPlace | None:
        running = self._running.get(tenant)
        if running is None or running.plant is None:
            return None
        return AuditPlace(running.plant.connection, running.tenant.place)

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


def history_dir(config: HubConfig, tenant: str | None = None) -> Path:
    """Where the history lies: a tenant's below the folder of all."""
    folder = Path(config.hub.data_dir) / "historian"
    if config.historian is not None and config.historian.dir is not None:
        folder = Path(config.historian.dir)
    return folder if tenant is None else folder / tenant
