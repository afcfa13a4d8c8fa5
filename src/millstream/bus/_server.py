"""A supervised nats-server: started, checked, watched, restarted, stopped; and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from millstream.bus._abilities import check_abilities
from millstream.bus._cluster_config import is_alone, is_own, shared_secret
from millstream.bus._connection import RawConnection
from millstream.bus._credentials import Credentials
from millstream.bus._mqtt_wake import make_mqtt_stream, wake_mqtt
from millstream.bus._patience import START_PATIENCE_S
from millstream.bus._scope import leave_group
from millstream.bus._server_alarms import ServerAlarm, StandingAlarms
from millstream.bus._server_child import START_TIMEOUT_S, STOP_TIMEOUT_S, ServerChild
from millstream.bus._server_config import (
    MQTT_SETUP_USER,
    MQTT_USER,
    PLANT_USER,
    SYSTEM_USER,
    MqttUser,
    ServerSecrets,
    ServerSettings,
    render_config,
)
from millstream.bus._server_files import (
    PROGRAM,
    disk_error,
    end_process,
    find_orphan,
    hold_lock,
    load_ports,
    load_secret,
    load_secrets,
    make_directories,
    pick_ports,
    save_ports,
)
from millstream.bus._server_log import LogTail, http_get_json
from millstream.bus._server_looks import HealthJudge, Looks
from millstream.bus._server_program import connectable, describe_exit
from millstream.bus._server_tls import JUDGE_LOOKS, LOOK_INTERVAL_S, ServerCertificates
from millstream.bus._store_repair import SET_ASIDE_MAX, Descriptions, LostStreamError, problem_of, set_aside
from millstream.bus._streams import JetStreamApi, StreamConfig, StreamInfo
from millstream.kernel import Backoff, Clock, ConfigError, PlantError, SystemClock, Unreachable, write_private
from millstream.sdk import TlsFiles

RELOAD_TIMEOUT_S = 10.0
DISK_FREE_BYTES_MIN = 4 << 20  # below it nothing can be promised; also what a start of the server needs at most
PORT_TRIES_MAX = 5  # a picked port may be taken by another program before the server binds it


class NatsServer:
    """A nats-server with JetStream below `data_dir`, alive while the `async with` block is.

    On entering, the server answers, its JetStream is up and syncs every message, or a PlantError tells why not. From
    then on it is restarted with back-off when it exits or stays unhealthy; clients see a lost connection and come back.
    With `settings.url` nothing is started or supervised; `connect` checks what the server offers.
    """

    def __init__(
        self,
        settings: ServerSettings,
        data_dir: Path,
        *,
        clock: Clock | None = None,
        program: str | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._settings = settings
        self._clock = clock or SystemClock()
        self._on_log = on_log
        self._alarms = StandingAlarms(self._clock, self._log)
        self._secrets: ServerSecrets | None = None
        self._certificates = ServerCertificates.needed(settings, self.data_dir / "server", self._clock)
        self._ports: dict[str, int] = {}
        self._stack = contextlib.AsyncExitStack()
        self._ready = asyncio.Event()
        self._restart_reason: str | None = None
        self._is_mqtt_open = False
        self._wake = asyncio.Event()
        self._descriptions = Descriptions(self.data_dir)
        self._looks = Looks()
        self._backoff = Backoff(floor_s=0.1, ceiling_s=30.0)
        self._log_tail = LogTail(self.data_dir / "server" / "nats-server.log")
        self._child = ServerChild(
            self.data_dir, self._log_tail, self._clock, program, self.monitor, self._is_disk_full
        )  # fmt: skip

    # --- what callers read -------------------------------------------------------------------------------------------

    @property
    def settings(self) -> ServerSettings:
        """The settings in use, with the real ports."""
        return self._settings

    @property
    def is_given(self) -> bool:
        """True when the server belongs to someone else."""
        return self._settings.url is not None

    @property
    def url(self) -> str:
        """Where clients connect."""
        scheme = "nats" if self._settings.tls is None else "tls"
        return self._settings.url or f"{scheme}://{connectable(self._settings.host)}:{self._settings.port}"

    @property
    def client_tls(self) -> TlsFiles | None:
        """What the node's own clients check this server against; None without TLS."""
        if self.is_given:
            return self._settings.given_tls
        return None if self._certificates is None else self._certificates.client

    @property
    def user(self) -> str | None:
        """The plant account's user."""
        return self._settings.user if self.is_given else PLANT_USER

    @property
    def password(self) -> str | None:
        """The plant account's password."""
        return self._settings.password if self._secrets is None else self._secrets.plant

    @property
    def credentials(self) -> Credentials:
        """How the node's own clients log in."""
        return Credentials(self.user, self.password, tls=self.client_tls)

    def trusted(self, credentials: Credentials) -> Credentials:
        """The same, checking that this is the server."""
        return replace(credentials, tls=self.client_tls)

    @property
    def system_credentials(self) -> tuple[str, str] | None:
        """User and password of the system account; None for a given server."""
        return None if self._secrets is None else (SYSTEM_USER, self._secrets.system)

    @property
    def domain(self) -> str:
        """The JetStream domain."""
        return self._settings.js_domain

    @property
    def mqtt_credentials(self) -> tuple[str, str] | None:
        """User and password for devices on the MQTT listener; None without a listener, or with tokens."""
        users = self._settings.mqtt_users
        is_here = self._settings.mqtt_port is not None and self._settings.trust is None
        return (users[0].name, users[0].secret) if users and is_here else None

    @property
    def pid(self) -> int | None:
        """The running process."""
        process = self._child.running
        return None if process is None else process.pid

    @property
    def restarts_count(self) -> int:
        """Starts after the first."""
        return max(0, self._child.starts_count - 1)

    @property
    def alarms(self) -> list[ServerAlarm]:
        """What is wrong now."""
        return self._alarms.all()

    @contextlib.asynccontextmanager
    async def connect(self, name: str) -> AsyncIterator[RawConnection]:
        """The node's data-plane connection. Raises ConfigError (MS-0620) for a given server that lacks an ability."""
        async with self.connection(name) as connection:
            if self.is_given:
                await check_abilities(connection, domain=self.domain)
                self._alarms.set(
                    "MS-0604",
                    f"whether {connection.where} syncs each message cannot be seen from outside: "
                    "set `sync_interval: always` there",
                )
            yield connection

    def connection(self, name: str, credentials: Credentials | None = None) -> RawConnection:
        """A data-plane connection, to be entered; it waits for a supervised server that is just being restarted. In
        operator mode the caller has `credentials`; else the node's own are used."""
        patience_s, replicas = 0.0 if self.is_given else START_PATIENCE_S, self._settings.replicas
        login = self.trusted(credentials) if credentials is not None else self.credentials
        return RawConnection(self.url, credentials=login, name=name, patience_s=patience_s, replicas=replicas)

    async def wait_ready(self) -> None:
        """Return once the server is up (again)."""
        await self._ready.wait()

    async def monitor(self, path: str) -> Any:
        """GET a monitoring page (``/varz``, ``/leafz`` ...) as JSON; raises Unreachable."""
        return await http_get_json("127.0.0.1", self._settings.monitor_port, path)

    def take_log_lines(self) -> list[str]:
        """Lines that the server logged since the last call (at most the newest 1,000)."""
        return self._log_tail.take()

    # --- what callers do ------------------------------------------------------------

    def doubt(self) -> None:
        """Something that asked the server, or stores there, met trouble: see to its health each second again."""
        if self._looks.doubt():
            self._wake.set()

    def restart(self, reason: str) -> None:
        """Ask for a restart; the supervisor does it. `reason` goes into the log and the alarm."""
        self._restart_reason = reason
        self._wake.set()

    async def reconfigure(self, settings: ServerSettings) -> None:
        """Use other settings without a restart: edges, MQTT users, the leaf remote's `is_disabled`. Ports stay.

        Returns when the server uses them (a server that hangs: after `RELOAD_TIMEOUT_S`, it takes them later).
        """
        if self.is_given:
            raise PlantError("a given server cannot be reconfigured", where=self.url, code="MS-0600")
        self._settings = settings.with_ports(self._ports)
        await self._reload()

    async def _reload(self) -> None:
        """Have the server read its file again, and wait until it has: while it swaps its accounts, a request may be
        told that nobody answers, which the caller's next one must not meet."""
        self._write_config()
        process = self._child.running
        if process is None:
            return  # it will start with the new file
        before = await self._loaded_at()
        self._child.reread()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELOAD_TIMEOUT_S):
                while process.returncode is None and await self._loaded_at() in (None, before):
                    await self._clock.sleep(0.01)

    async def _loaded_at(self) -> str | None:
        """When the server read its file last, in its own words; None when it does not say."""
        try:
            return str((await self.monitor("/varz")).get("config_load_time"))
        except Unreachable:
            return None

    async def sync_descriptions(self) -> None:
        """To be called when streams have been made: nats-server itself does not sync all of what they are."""
        if not self.is_given:
            await self._descriptions.sync()

    async def open_mqtt(self, api: JetStreamApi, config: StreamConfig, token: str | None = None) -> StreamInfo:
        """Make the stream of what MQTT devices publish (`mqtt_stream`), then admit them. In operator mode `token` is a
        device's of the account, and nobody needs admitting. Until the stream's consumer stands on ``$MQTT_msgs``, the
        server would acknowledge a PUBLISH and drop it. Both survive restarts, so this matters once; it is repeated at
        each start all the same. Raises PlantError."""
        port, secrets = self._settings.mqtt_port, self._secrets
        if port is None or secrets is None:
            raise PlantError("this server has no MQTT listener", where=self.domain, code="MS-0600")
        host, login = connectable(self._settings.mqtt_host), token or secrets.mqtt_setup
        info = await make_mqtt_stream(
            api, config, lambda: wake_mqtt(host, port, MQTT_SETUP_USER, login, tls=self.client_tls), self._clock,
            patience_s=0.0 if self._settings.cluster is None else START_TIMEOUT_S,
        )  # fmt: skip
        if token is None:
            await self.admit_devices()
        return info

    async def admit_devices(self) -> None:
        """Let MQTT devices in, after a stream takes what they publish."""
        if not self._is_mqtt_open:
            self._is_mqtt_open = True
            await self._reload()

    def _device_secret(self) -> str:
        """Of several boxes a device knows one password: it goes to another box when one is gone."""
        cluster = self._settings.cluster
        return load_secret(self.data_dir, MQTT_USER) if cluster is None else shared_secret(cluster.secret, MQTT_USER)

    async def __aenter__(self) -> Self:
        if self.is_given:
            self._ready.set()
            return self
        try:
            await asyncio.to_thread(make_directories, self.data_dir)
            self._stack.enter_context(hold_lock(self.data_dir))
            orphan = find_orphan(self.data_dir)
            if orphan is not None:
                self._log(f"ending the server {orphan.pid} that a killed node left behind")
                await asyncio.to_thread(end_process, orphan, patience_s=STOP_TIMEOUT_S)
            self._secrets = load_secrets(self.data_dir)
            if self._certificates is not None:
                await asyncio.to_thread(self._certificates.open)
            if self._settings.mqtt_port is not None and not self._settings.mqtt_users:
                device = MqttUser(MQTT_USER, self._device_secret())
                self._settings = replace(self._settings, mqtt_users=(device,))
            self._stack.push_async_callback(self._stop)
            await self._start_first()
            group = asyncio.TaskGroup()
            await group.__aenter__()
            tasks = [group.create_task(self._supervise(), name=f"supervise {PROGRAM} {self.domain}")]
            if self._certificates is not None:
                tasks.append(group.create_task(self._watch_certificates(self._certificates), name="certificates"))

            async def end_supervision(
                kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
            ) -> None:
                for task in tasks:
                    task.cancel()
                await leave_group(group, error)

            self._stack.push_async_exit(end_supervision)
        except OSError as error:
            await self._stack.aclose()
            raise disk_error(error, self.data_dir) from error
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    # --- life of the process -----------------------------------------------------------------------------------------

    async def _start_first(self) -> None:
        asked = self._settings
        wanted = asked.wanted_ports()
        remembered = load_ports(self.data_dir)
        for attempt in range(PORT_TRIES_MAX):
            self._ports = pick_ports(wanted, remembered if attempt == 0 else {}, asked.host)
            self._settings = asked.with_ports(self._ports)
            self._write_config()
            try:
                await self._start()
            except PlantError as error:
                was_picked = error.code == "MS-0601" and any(
                    str(self._ports[n]) in str(error) for n, p in wanted.items() if p == 0
                )
                if not was_picked or attempt == PORT_TRIES_MAX - 1:
                    raise
                continue
            save_ports(self.data_dir, self._ports)
            return

    def _write_config(self) -> None:
        assert self._secrets is not None
        settings = self._settings
        text = render_config(
            settings if self._certificates is None else self._certificates.applied(settings),
            self._secrets,
            store_dir=str(self.data_dir / "jetstream"),
            log_file=str(self._log_tail.path),
            is_mqtt_open=self._is_mqtt_open,
        )
        write_private(self.data_dir / "server" / "nats-server.conf", text)

    async def _start(self) -> None:
        """Start; a stream that the server cannot read any more is set aside for it."""
        for _ in range(SET_ASIDE_MAX):
            try:
                return await self._start_once()
            except LostStreamError as lost:
                kept = await asyncio.to_thread(set_aside, self.data_dir, lost, self._clock.now_ns())
                self._alarms.set("MS-0624", f"the store of {lost.stream} was damaged; it was set aside at {kept}")
        return await self._start_once()

    async def _start_once(self) -> None:
        await self._child.start(self._settings)
        self._ready.set()

    async def _stop(self) -> None:
        self._ready.clear()
        await self._child.stop()

    async def _watch_certificates(self, certificates: ServerCertificates) -> None:
        """New files are used without a restart; live connections stay. Whatever is wrong with them is an alarm."""
        looks_count, told = 0, frozenset[str]()
        while True:
            try:
                if await asyncio.to_thread(certificates.look):
                    self._log(f"{self.domain} takes its new TLS files")
                    await self._reload()
                if certificates.has_news or looks_count % JUDGE_LOOKS == 0:
                    alarms = await asyncio.to_thread(certificates.alarms)
                    for code in told - alarms.keys():
                        self._alarms.set(code, None)
                    for code, message in alarms.items():
                        self._alarms.set(code, message)
                    told = frozenset(alarms)
            except (OSError, ConfigError) as error:  # a full disk, or files that go away while they are read
                self._log(f"TLS files of {self.domain}: {error}")
            looks_count += 1
            await self._clock.sleep(LOOK_INTERVAL_S)

    async def _supervise(self) -> None:
        while True:
            process = self._child.process
            assert process is not None
            # Once, not at each look: asyncio keeps every waiter of a process until it ends.
            ended = asyncio.ensure_future(process.wait())
            ended.add_done_callback(lambda _: self._wake.set())
            try:
                reason = await self._watch(process)
            finally:
                ended.cancel()
                await asyncio.wait([ended])
            self._ready.clear()
            self._alarms.set("MS-0607", f"nats-server {self.domain} is restarted: {reason}")
            with contextlib.suppress(TimeoutError):
                await self._stop()
            await self._start_again()
            self._alarms.set("MS-0607", None)
            self._alarms.set("MS-0606", None)

    async def _watch(self, process: asyncio.subprocess.Process) -> str:
        """Return the reason for a restart."""
        health = HealthJudge()
        self._looks = looks = Looks()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(looks.interval_s):
                    await self._wake.wait()
            self._wake.clear()
            if process.returncode is not None:
                return describe_exit(process.returncode)
            if self._restart_reason is not None:
                reason, self._restart_reason = self._restart_reason, None
                return reason
            problem = await self._health_problem() if looks.is_due() else None
            is_full = self._is_disk_full()
            if is_full:
                looks.doubt()
            verdict = health.judge(problem, is_full=is_full)
            if verdict.alarm is not None:
                self._alarms.set("MS-0606", f"nats-server {self.domain} {verdict.alarm}" if verdict.alarm else None)
            if verdict.restart is not None:
                return verdict.restart
            if looks.note(is_well=problem is None):
                self._backoff.reset()

    def _is_disk_full(self) -> bool:
        """Also raises and clears the alarm."""
        free = shutil.disk_usage(self.data_dir).free
        if free >= DISK_FREE_BYTES_MIN:
            self._alarms.set("MS-0609", None)
            return False
        self._alarms.set("MS-0609", f"the disk of {self.data_dir} is full: sources are held back")
        return True

    async def _health_problem(self) -> str | None:
        try:
            health = await self.monitor("/healthz")
        except Unreachable as error:
            return error.what
        problem = problem_of(health, self.data_dir, self._clock.now_ns())
        if self._settings.cluster is None or problem is None or not is_alone(problem):
            self._alarms.set("MS-2600", None)
        else:
            self._alarms.set("MS-2600", f"{self._settings.cluster.server_name} is without the others: {problem}")
        return problem if self._settings.cluster is None or is_own(problem or "") else None

    async def _start_again(self) -> None:
        while True:
            await self._clock.sleep(self._backoff.next_s())
            try:
                await self._start()
                return
            except (PlantError, OSError) as error:
                self._alarms.set("MS-0607", f"nats-server {self.domain} does not start again: {error}")

    def _log(self, line: str) -> None:
        if self._on_log is not None:
            self._on_log(line)
