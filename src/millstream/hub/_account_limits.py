"""How near tenants are to the limits of their accounts, by what the servers say of all accounts at once.

Connections, sites and storage count together over the servers of a cluster; subscriptions are limited for each
connection by itself (measured), so the one with the most of them counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.bus import RawConnection
from millstream.kernel import AuthError, Clock, PlantError
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.server_advisory import LimitWatch, ServerEvent
from millstream.trust import HubTenant

LOOK_INTERVAL_S = 10.0
ANSWER_S = 2.0
CONNECTIONS_COUNT_MAX = 256  # those with the most subscriptions, of each server
ACCOUNTS_COUNT_MAX = 10_000
STATZ: tuple[str, dict[str, Any]] = ("$SYS.REQ.ACCOUNT.PING.STATZ", {})
JSZ: tuple[str, dict[str, Any]] = ("$SYS.REQ.SERVER.PING.JSZ", {"accounts": True, "limit": ACCOUNTS_COUNT_MAX})
CONNZ: tuple[str, dict[str, Any]] = (
    "$SYS.REQ.SERVER.PING.CONNZ",
    {"sort": "subs", "limit": CONNECTIONS_COUNT_MAX, "auth": True},
)


@dataclass(slots=True)
class AccountUse:
    """What one account uses. `connections` are all of them, sites too, as the server counts."""

    connections: int = 0
    sites: int = 0
    disk_bytes: int = 0
    memory_bytes: int = 0
    subscriptions: int = 0


def read_use(statz: list[Any], jsz: list[Any], connz: list[Any]) -> dict[str, AccountUse]:
    """Account -> what it uses, from each server's answers. What is malformed counts as nothing. Pure."""
    found: dict[str, AccountUse] = {}
    for account in _each(statz, "account_statz"):
        use = found.setdefault(str(account.get("acc")), AccountUse())
        use.connections += _count(account, "total_conns")
        use.sites += _count(account, "leafnodes")
    for account in _each(jsz, "account_details"):
        use = found.setdefault(str(account.get("id") or account.get("name")), AccountUse())
        use.disk_bytes += _count(account, "storage")
        use.memory_bytes += _count(account, "memory")
    for connection in _each(connz, "connections"):
        use = found.setdefault(str(connection.get("account")), AccountUse())
        use.subscriptions = max(use.subscriptions, _count(connection, "subscriptions"))
    return found


def limits_of(token: str) -> dict[str, int]:
    """The limits in an account's token, by what `AccountUse` calls them; those that are none are left out."""
    try:
        raw = read_token(token).nats.get("limits", {})
    except AuthError:
        return {}
    names = {
        "connections": "conn", "sites": "leaf", "disk_bytes": "disk_storage", "memory_bytes": "mem_storage",
        "subscriptions": "subs",
    }  # fmt: skip
    return {ours: bound for ours, theirs in names.items() if (bound := _count(raw, theirs)) > 0}


_SAID = {
    "connections": "connections", "sites": "sites", "disk_bytes": "storage", "memory_bytes": "storage in memory",
    "subscriptions": "subscriptions of one connection",
}  # fmt: skip


class AccountLimits:
    """Run `run`. `tell` gets the account and the event of each limit that is near, or is no more."""

    def __init__(
        self, system: RawConnection, tenants: Callable[[], Mapping[str, HubTenant]],
        tell: Callable[[str, ServerEvent], None], clock: Clock, *, servers_count: int = 1,
    ) -> None:  # fmt: skip
        self._system = system
        self._tenants = tenants
        self._tell = tell
        self._clock = clock
        self._servers_count = servers_count
        self._watch = LimitWatch()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(PlantError):  # the server restarts: looked at again
                self._judge(await look(self._system, self._servers_count))
            await self._clock.sleep(LOOK_INTERVAL_S)

    def _judge(self, uses: Mapping[str, AccountUse]) -> None:
        now_ns = self._clock.now_ns()
        for tenant in self._tenants().values():
            accounts = ((tenant.plant_public, tenant.plant_token, ""), (tenant.people_public, tenant.people_token,
                        "people's "))  # fmt: skip
            for account, token, whose in accounts:
                use = uses.get(account, AccountUse())
                for name, bound in limits_of(token).items():
                    text = f"{tenant.name}: {whose}{_SAID[name]}"
                    event = self._watch.feed(text, getattr(use, name), bound, now_ns)
                    if event is not None:
                        self._tell(account, event)


async def look(system: RawConnection, servers_count: int) -> dict[str, AccountUse]:
    """Account -> what it uses, by what all servers say. Raises Unreachable."""
    return read_use(*await asyncio.gather(*(_ask(system, question, servers_count) for question in (STATZ, JSZ, CONNZ))))


async def _ask(system: RawConnection, question: tuple[str, Mapping[str, Any]], servers_count: int) -> list[Any]:
    """The answers of all servers; of those that come in time. Raises Unreachable."""
    answers: list[Any] = []
    done = asyncio.Event()

    def hear(messages: list[WireMessage]) -> None:
        for message in messages:
            with contextlib.suppress(msgspec.DecodeError):
                answers.append(msgspec.json.decode(message[4]))
        if len(answers) >= servers_count:
            done.set()

    reply = system.gather(hear)
    try:
        system.publish(question[0], msgspec.json.encode(question[1]), reply=reply)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                await done.wait()
    finally:
        system.let_go(reply)
    return answers


def _each(answers: list[Any], name: str) -> Iterator[Mapping[str, Any]]:
    for answer in answers:
        data = answer.get("data") if isinstance(answer, dict) else None
        for item in (data.get(name) or ()) if isinstance(data, dict) else ():
            if isinstance(item, dict):
                yield item


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    return value if isinstance(value, int) else 0
