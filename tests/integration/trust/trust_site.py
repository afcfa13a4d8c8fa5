"""An operator, a hub in operator mode and sites that join: all real, in one process and on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from millstream.bus import Credentials, RawConnection, StreamApi, connect_nats, write_private
from millstream.client import Plant, connect
from millstream.config import EdgeConfig, HubConfig
from millstream.edge import EdgeNode, join_hub
from millstream.hub import HubNode
from millstream.protocols.nats_jwt import KeyPair, format_creds, parse_creds
from millstream.release import Launched
from millstream.sdk import Received
from millstream.trust import (
    FORMAT,
    JoinFile,
    Limits,
    Role,
    Tenant,
    Trust,
    add_site,
    add_tenant,
    add_user,
    make_bundle,
    make_trust,
    note_change,
)

DEADLINE_S = 60.0


def now_s() -> int:
    """Unix seconds."""
    return int(time.time())


async def messages_of(connection: RawConnection, stream: str) -> list[Received]:
    """All that a stream holds, the oldest first."""
    api = StreamApi(connection)
    state = await api.state(stream)
    found = [await api.get(stream, seq) for seq in range(max(1, state.first_seq), state.last_seq + 1)]
    return [one for one in found if one is not None]


async def until(check: Any, what: str) -> None:
    """Poll until true; `check` may be a coroutine function."""
    end = time.monotonic() + DEADLINE_S
    while True:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.05)


@dataclass
class Operator:
    """The operator's state, in memory; `sign` writes the hub's file."""

    folder: Path
    trust: Trust = field(init=False)

    def __post_init__(self) -> None:
        self.trust = make_trust("op", "nats://127.0.0.1:1", now_s())

    @property
    def hub_file(self) -> Path:
        """What the hub watches."""
        return self.folder / "hub.trust"

    @contextmanager
    def changing(self) -> Iterator[Trust]:
        """As `changing_keys` does, without the passphrase's half second."""
        yield self.trust
        self.trust.serial += 1
        self.sign()

    def sign(self) -> None:
        """Write the hub's file."""
        before = self.hub_file.read_text(encoding="ascii") if self.hub_file.exists() else None
        write_private(self.hub_file, make_bundle(self.trust, now_s(), before))

    def tenant(self, name: str) -> Tenant:
        """A tenant, made when it is new."""
        if name not in self.trust.tenants:
            with self.changing() as trust:
                add_tenant(trust, name, None, Limits(disk_bytes=1 << 30), now_s())
                note_change(trust, "test", "tenant_added", "", name, {}, now_s())
        return self.trust.tenants[name]

    def join_file(self, tenant: str, site: str, expires_s: int = 3600, place: str | None = None) -> JoinFile:
        """A join file; a site of its own name lies right below its tenant's place."""
        found = self.tenant(tenant)
        with self.changing() as trust:
            made, creds = add_site(found, site, place, {}, now_s() + expires_s, now_s())
            note_change(trust, "test", "site_added", tenant, site, {}, now_s())
        return JoinFile(
            format=FORMAT, tenant=tenant, site=site, place=made.place, hub_url=self.trust.hub_url,
            operator_public=self.trust.operator_public, plant_public=found.plant_public, creds=creds,
            expires_s=now_s() + expires_s, people_public=found.people_public, more_urls=self.trust.more_urls,
        )  # fmt: skip

    def user(
        self, tenant: str, name: str, role: Role, expires_s: int | None = None, paths: tuple[str, ...] = ()
    ) -> Path:
        """A creds file."""
        with self.changing():
            until_s = None if expires_s is None else now_s() + expires_s
            _, creds = add_user(self.tenant(tenant), name, role, until_s, now_s(), paths=paths)
        path = self.folder / f"{tenant}-{name}.creds"
        write_private(path, creds)
        return path


@dataclass
class Site:
    """An operator and its hub."""

    operator: Operator
    hub: HubNode

    @property
    def leaf_port(self) -> int:
        """Where edges dial."""
        listener = self.hub.server.settings.leaf_listener
        assert listener is not None
        return listener.port

    async def ready(self, tenant: str) -> None:
        """The tenant's plant is up and knows its sites."""
        assert self.hub.tenants is not None
        await self.hub.tenants.wait_ready(tenant)

    async def taken(self) -> None:
        """The hub has taken the operator's newest file, and its server, too."""
        tenants = self.hub.tenants
        assert tenants is not None
        await until(lambda: tenants.is_current(self.operator.trust.serial), "the newest trust file")

    @asynccontextmanager
    async def plant(self, tenant: str) -> AsyncIterator[Plant]:
        """The SDK, as the hub sees a tenant."""
        async with connect(self.operator.folder / "hub", tenant=tenant) as plant:
            yield plant

    async def audit(self, tenant: str, what: str) -> list[dict[str, Any]]:
        """Audit events of a kind, oldest first; the provider's for tenant ""."""
        found = await (self.stored(tenant, "H_LOCAL") if tenant else self.stored("provider", "P_AUDIT"))
        return [json.loads(one.payload) for one in found if f"audit.{what}" in one.subject]

    async def stored(self, name: str, stream: str) -> list[Received]:
        """What a stream of a tenant, or of the provider, holds."""
        assert self.hub.tenants is not None
        creds = Credentials(creds_file=self.hub.tenants.creds_dir / f"{name}.creds")
        async with RawConnection(self.hub.server.url, credentials=creds) as connection:
            return await messages_of(connection, stream)

    async def join(self, file: JoinFile, name: str | None = None) -> Path:
        """A box joins; its data directory."""
        folder = self.operator.folder / (name or f"{file.tenant}-{file.site}")
        await join_hub(file, folder)
        return folder

    @asynccontextmanager
    async def edge(self, file: JoinFile, folder: Path, launched: Launched | None = None) -> AsyncIterator[EdgeNode]:
        """The edge of a site that has joined."""
        raw = {
            "edge": {"name": file.site, "path": file.place, "data_dir": folder},
            "uplink": {
                "url": file.hub_url,
                "more_urls": file.more_urls,
                "credentials": folder / "secrets" / "uplink.creds",
            },
            "streams": {"integrity": {"max_bytes": "64MiB"}},
        }
        node = EdgeNode(EdgeConfig.model_validate(raw), launched=launched)
        stop = asyncio.Event()
        task = asyncio.ensure_future(node.run(stop))
        try:
            await until(lambda: (folder / "node.json").exists() or task.done(), "the edge is up")
            yield node
        finally:
            stop.set()
            await task


@asynccontextmanager
async def trusted_hub(folder: Path, *tenants: str, more: dict[str, Any] | None = None) -> AsyncIterator[Site]:
    """A hub in operator mode that runs while in the scope; `more` is added to its file."""
    operator = Operator(folder)
    operator.sign()
    for name in tenants:
        operator.tenant(name)
    async with hub_of(operator, more) as site:
        yield site


@asynccontextmanager
async def hub_of(operator: Operator, more: dict[str, Any] | None = None) -> AsyncIterator[Site]:
    """The hub of an operator; started once more, it goes on with what it has."""
    raw = {
        "hub": {"name": "h1", "data_dir": operator.folder / "hub"},
        "streams": {"max_bytes": "64MiB"},
        "trust": {"file": operator.hub_file},
        "historian": None,
        **(more or {}),
    }
    async with HubNode(HubConfig.model_validate(raw)) as hub:
        site = Site(operator, hub)
        operator.trust.hub_url = f"nats://127.0.0.1:{site.leaf_port}"
        task = asyncio.ensure_future(hub.run())
        try:
            for name in operator.trust.tenants:
                await site.ready(name)
            yield site
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class RawLeaf:
    """A hostile leaf: the wire protocol by hand, with given credentials."""

    def __init__(self, port: int, creds: str) -> None:
        self._port = port
        self._token, self._key = parse_creds(creds, where="test")
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.lines: list[str] = []

    async def __aenter__(self) -> RawLeaf:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        info = json.loads((await self._reader.readline()).partition(b" ")[2])
        signature = base64.urlsafe_b64encode(self._key.sign(info["nonce"].encode())).rstrip(b"=").decode()
        options = {"jwt": self._token, "sig": signature, "name": "hostile", "headers": True, "version": "2.15.1",
                   "server_id": "N" + os.urandom(8).hex(), "domain": "hostile", "proto": 1}  # fmt: skip
        self._writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        return self

    async def __aexit__(self, *args: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def send(self, text: str) -> None:
        """Protocol lines, with ``\\r\\n`` added."""
        self._writer.write(text.encode() + b"\r\n")

    async def listen(self, *subscriptions: str) -> None:
        """Subscriptions (``subject`` or ``subject queue weight``), taken when this returns."""
        assert await self.read("PONG")  # to what was said with the credentials
        for each in subscriptions:
            self.send(f"LS+ {each}")
        self.send("PING")
        assert await self.read("PONG")

    def publish(self, subject: str, payload: str = "{}", reply: str = "") -> None:
        """One LMSG."""
        self.send(f"LMSG {subject} {f'{reply} ' if reply else ''}{len(payload)}\r\n{payload}")

    async def read(self, mark: str, patience_s: float = 10.0) -> bool:
        """Read until a line holds `mark`; false when the hub hangs up or nothing comes."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(patience_s):
                while line := await self._reader.readline():
                    self.lines.append(line.decode("utf-8", "replace").strip())
                    if line.startswith(b"PING"):
                        self._writer.write(b"PONG\r\n")
                    if mark in self.lines[-1]:
                        return True
        return False


def creds_of(token: str, key: KeyPair) -> str:
    """A creds file's text."""
    return format_creds(token, key.seed)


@asynccontextmanager
async def client_of(site: Site, creds: Path) -> AsyncIterator[Client]:
    """A client of any kind, with given credentials."""
    client = await connect_nats(site.hub.server.url, Credentials(creds_file=creds))
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def hub_client(site: Site, tenant: str) -> AsyncIterator[Client]:
    """The hub's own rights in a tenant's plant."""
    assert site.hub.tenants is not None
    async with client_of(site, site.hub.tenants.creds_dir / f"{tenant}.creds") as client:
        yield client


async def refusals(site: Site, kind: str, count: int, *fields: str) -> list[tuple[Any, ...]]:
    """These fields of what acme's audit has of refused configurations, updates, ..., once there are so many."""
    found: list[tuple[Any, ...]] = []

    async def is_there() -> bool:
        subject = f"_event.millstream.audit.{kind}.refused"
        data = [json.loads(m.payload) for m in await site.stored("acme", "H_INTEGRITY") if m.subject.endswith(subject)]
        found[:] = [tuple(event[field] for field in fields) for event in data]
        return len(found) >= count

    await until(is_there, f"{count} audit events")
    return found


async def told(at: Site, tenant: str, what: str, **data: Any) -> None:
    """An audit event of this kind, with these values, is stored."""

    async def is_told() -> bool:
        return any(data.items() <= event.items() for event in await at.audit(tenant, what))

    await until(is_told, f"an audit event {what} with {data}")


async def joined_edge(site: Site, tenant: str, name: str) -> str:
    """The creds of a box that joined; their text."""
    file = site.operator.join_file(tenant, name)
    await site.taken()
    folder = await site.join(file)
    return (folder / "secrets" / "uplink.creds").read_text(encoding="ascii")
