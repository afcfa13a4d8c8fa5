"""A hub with tenants, its API and its WebSocket listener; people who log in; and a browser's NATS client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg
from trust_site import DEADLINE_S, Site, creds_of, trusted_hub, until

from millstream.api import PeopleAccess, create_tenants_app, plants_of, serve_api, users_of
from millstream.client import LoginUsers, login_users
from millstream.historian import Last
from millstream.hub import HubPlant
from millstream.kernel import SystemClock
from millstream.protocols.nats_jwt import KeyPair

PEERS = Path(__file__).resolve().parents[2] / "peers"
PAGE = "https://plant.example"
PASSWORD = "correct horse battery staple"


@dataclass
class LoginSite:
    """A hub where people log in."""

    site: Site
    url: str

    @property
    def websocket_url(self) -> str:
        """Where browsers connect."""
        return f"ws://127.0.0.1:{self.site.hub.server.settings.websocket_port}"

    @asynccontextmanager
    async def http(self, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        """A client of the API with cookies of its own. It keeps no connection: on a busy machine the server may close
        one that has waited just as the next request goes out."""
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=self.url, timeout=DEADLINE_S, limits=limits, **options) as client:
            yield client

    @asynccontextmanager
    async def users(self) -> AsyncIterator[LoginUsers]:
        """As `millstream login` has them."""
        async with login_users(self.site.operator.folder / "hub", "test") as users:
            yield users

    async def add(self, tenant: str, name: str, role: str = "viewer", paths: tuple[str, ...] = ()) -> None:
        """A person, known to the hub."""
        async with self.users() as users:
            await users.add(tenant, name, PASSWORD, role=role, paths=list(paths))
        await until(lambda: self.desk.book.user(tenant, name) is not None, "the hub has heard of the user")

    @property
    def desk(self) -> Any:
        """The hub's own."""
        tenants = self.site.hub.tenants
        assert tenants is not None
        assert tenants.logins is not None
        return tenants.logins

    async def publish(self, tenant: str, *tags: str) -> None:
        """One value a tag, and wait until the history has it."""
        async with self.site.plant(tenant) as plant:
            for number, tag in enumerate(tags):
                await plant.publish(tag, number)
        assert self.site.hub.tenants is not None
        found: HubPlant | None = self.site.hub.tenants.plant(tenant)
        assert found is not None
        historian = found.historian
        assert historian is not None

        async def is_stored() -> bool:
            found = await historian.query(Last(tags=("*",)))
            return set(tags) <= set(found.column("tag").to_pylist())

        await until(is_stored, "the history has them")


@asynccontextmanager
async def login_site(
    folder: Path, *tenants: str, origins: Sequence[str] = (PAGE,), more: dict[str, Any] | None = None, **login: Any
) -> AsyncIterator[LoginSite]:
    """A hub with its API; `login` is its section of the file, `origins` those of pages that may connect (none: any)."""
    server = {"websocket_port": 0, "websocket_origins": list(origins)}
    more = {"historian": {}, "api": {}, "login": login, "server": server, **(more or {})}
    async with trusted_hub(folder, *tenants, more=more) as site:
        assert site.hub.tenants is not None
        data_dir = site.hub.config.hub.data_dir
        app = create_tenants_app(
            site.hub.tenants, clock=SystemClock(), websocket_port=site.hub.server.settings.websocket_port,
            public_url=site.hub.config.login.public_url, plants=plants_of(data_dir),
            people=PeopleAccess(users_of(data_dir), frozenset(site.hub.config.login.admins)),
        )  # fmt: skip
        async with serve_api(app) as address:
            yield LoginSite(site, address.url)


def login_body(tenant: str, user: str, **more: Any) -> dict[str, Any]:
    """What is posted to log in."""
    return {"tenant": tenant, "user": user, "password": PASSWORD, **more}


async def log_in(client: httpx.AsyncClient, tenant: str, user: str, **more: Any) -> httpx.Response:
    """One attempt."""
    return await client.post("/api/v1/login", json=login_body(tenant, user, **more))


async def bearer(site: LoginSite, client: httpx.AsyncClient, tenant: str, user: str) -> None:
    """From now on this client is that user."""
    answer = await log_in(client, tenant, user, as_cookie=False)
    assert answer.status_code == 200, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"


async def nats_of(client: httpx.AsyncClient, key: KeyPair) -> dict[str, Any]:
    """NATS credentials of a session."""
    answer = await client.post("/api/v1/session/credentials", json={"public_key": key.public})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["nats"]
    return found


class Person:
    """A NATS client with credentials of a log-in, and what the server said to it."""

    def __init__(self) -> None:
        self.client = Client()
        self.errors: list[str] = []
        self.is_cut = asyncio.Event()

    async def note(self, error: Exception) -> None:
        """From the library."""
        self.errors.append(str(error).lower())

    async def cut(self) -> None:
        """From the library."""
        self.is_cut.set()

    async def outcome(self, subject: str, data: bytes = b"") -> str:
        """What asking brings: "violation", or the status of the answer ("" for one that is good)."""
        mark, inbox = len(self.errors), self.client.new_inbox()
        answers: list[str] = []

        async def take(message: Msg) -> None:
            answers.append((message.headers or {}).get("Status", ""))

        subscription = await self.client.subscribe(inbox, cb=take)
        await self.client.publish(subject, data, reply=inbox)
        violation = f'publish to "{subject.lower()}"'
        await until(
            lambda: answers or any(violation in error for error in self.errors[mark:]), f"an outcome of {subject}"
        )
        await subscription.unsubscribe()
        return answers[0] if answers else "violation"


@asynccontextmanager
async def person(site: LoginSite, nats: dict[str, Any], key: KeyPair) -> AsyncIterator[Person]:
    """Connected over WebSocket's sister, plain NATS: the same credentials."""
    found = Person()
    creds = site.site.operator.folder / f"{key.public[:12]}.creds"
    creds.write_text(creds_of(nats["jwt"], key), encoding="ascii")
    await found.client.connect(
        site.site.hub.server.url, user_credentials=str(creds), error_cb=found.note, disconnected_cb=found.cut,
        inbox_prefix=nats["inbox_prefix"].encode(), allow_reconnect=False,
    )  # fmt: skip
    try:
        yield found
    finally:
        await found.client.close()


@dataclass
class Browser:
    """npm @nats-io/nats-core over WebSocket, in a process of its own."""

    process: asyncio.subprocess.Process
    public: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def say(self, **command: Any) -> None:
        """One command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.process.stdin.drain()

    async def hear(self, *, since: int = 0, **wanted: Any) -> dict[str, Any]:
        """The first line from `since` on with these values."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [line for line in self.lines[since:] if wanted.items() <= line.items()]
            return bool(found)

        await until(is_there, f"a line with {wanted}, after {self.lines[-8:]}")
        return found[0]

    async def connect(self, site: LoginSite, nats: dict[str, Any]) -> bool:
        """With these credentials."""
        mark = len(self.lines)
        await self.say(connect=site.websocket_url, jwt=nats["jwt"], inbox=nats["inbox_prefix"])
        await until(lambda: any("connected" in line for line in self.lines[mark:]), "an answer")
        return any(line.get("connected") is True for line in self.lines[mark:])

    async def ask(self, subject: str, data: str = "") -> dict[str, Any]:
        """The parts of an answer."""
        mark = len(self.lines)
        await self.say(request=subject, data=data)
        return await self.hear(since=mark, answered=subject)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """It has made its key when this is entered."""
    process = await asyncio.create_subprocess_exec(
        "node", "--experimental-websocket", "--no-warnings", "nats_browser.mjs", cwd=PEERS,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    found = Browser(process)

    async def read() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            # The library itself writes here, too, when a connection is cut while it opens.
            found.lines.append(json.loads(line) if line.startswith(b"{") else {"said": line.decode()})

    reading = asyncio.ensure_future(read())
    try:
        await until(lambda: found.lines or process.returncode is not None, "the browser's key")
        found.public = found.lines[0]["public"]
        yield found
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await reading
