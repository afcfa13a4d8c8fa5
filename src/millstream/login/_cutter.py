"""Ends live connections of log-ins that are over: asks the server which there are, and to hang up on them.

The hub cannot revoke a person's token, since the account's key stays with the operator; the token says which log-in it
belongs to, and is good for minutes. Until it has expired whoever comes back with it is thrown out as it connects.

Of a hub of several boxes each member sees to its own server, and to the others' when it is told `everywhere`: their
processes may be gone. A log-in that a member has not heard of may have been opened at another one a moment ago; it is
over when it is still not known after all that was stored has been read (`settle`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.bus import RawConnection
from millstream.kernel import AuthError, PlantError, ProtocolViolation
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.nats_wire import WireMessage

CONNECTED_SUBJECT = "$SYS.ACCOUNT.*.CONNECT"
PAGE = 1000
LOGIN_TAG = "login"
DOUBTS_COUNT_MAX = 4096  # connections whose log-in is not known yet; of more the oldest is looked at in the next sweep


@dataclass(frozen=True, slots=True)
class Doubt:
    """A connection whose log-in is not known."""

    server: str
    connection: int
    login: str


class Cutter:
    """`is_over` says of the number of a log-in whether it has ended; None: it is not known."""

    def __init__(self, system: RawConnection, is_over: Callable[[str], bool | None]) -> None:
        self._system = system
        self._is_over = is_over
        self._doubts: deque[Doubt] = deque(maxlen=DOUBTS_COUNT_MAX)
        self.cut_count = 0

    def listen(self) -> list[int]:
        """Hear of each new connection, and of what is asked of all servers. The numbers of the subscriptions."""
        return [
            self._system.subscribe(CONNECTED_SUBJECT, self._hear),
            self._system.subscribe(self._pages, self._hear_page),
        ]

    @property
    def _pages(self) -> str:
        return f"{self._system.inbox}.sweep.*"

    async def sweep(self, account: str) -> None:
        """Hang up on all of an account, at this box's server, whose log-in is over. Raises PlantError."""
        server, offset = str(self._system.info.get("server_id", "")), 0
        while True:
            subject = f"$SYS.REQ.SERVER.{server}.CONNZ"
            answer = _decode((await self._system.request(subject, _asking(account, offset)))[4])
            if self._take_page(answer) <= (offset := offset + PAGE):
                return

    def sweep_everywhere(self, account: str) -> None:
        """Ask the servers of all members, and hang up as they answer. Raises Unreachable."""
        reply = f"{self._system.inbox}.sweep.{account}"
        self._system.publish(f"$SYS.REQ.ACCOUNT.{account}.CONNZ", _asking(account, 0), reply=reply)

    def take_doubts(self) -> list[Doubt]:
        """Those of which it was not known until now; for `settle`, after all that is stored by now has been read."""
        found = list(self._doubts)
        self._doubts.clear()
        return found

    def doubt_again(self, doubts: list[Doubt]) -> None:
        """What was taken could not be settled."""
        self._doubts.extendleft(reversed(doubts[: DOUBTS_COUNT_MAX - len(self._doubts)]))

    def settle(self, doubts: list[Doubt]) -> None:
        """Hang up on those that are not known even now, or have ended."""
        for doubt in doubts:
            if self._is_over(doubt.login) is not False:
                self._cut(doubt.server, doubt.connection)

    def _take_page(self, answer: dict[str, Any]) -> int:
        """Look at a part of a server's list; how many connections it has in all."""
        try:
            server, data = answer["server"]["id"], answer["data"]
            for one in data.get("connections") or ():
                self._look(str(server), one.get("jwt"), one.get("cid"))
            return int(data.get("total", 0))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProtocolViolation("the server's list of connections cannot be read") from error

    def _hear_page(self, messages: list[WireMessage]) -> None:
        """A part of the list of some server; the next one is asked of that server."""
        for message in messages:
            with suppress(PlantError, KeyError, TypeError, ValueError):
                answer = _decode(message[4])
                total, offset = self._take_page(answer), int(answer["data"]["offset"]) + PAGE
                if total > offset:
                    reply = bytes(message[1]).decode("ascii")
                    subject = f"$SYS.REQ.SERVER.{answer['server']['id']}.CONNZ"
                    self._system.publish(subject, _asking(reply.rpartition(".")[2], offset), reply=reply)

    def _hear(self, messages: list[WireMessage]) -> None:
        for message in messages:
            try:
                told = _decode(message[4])
                self._look(str(told["server"]["id"]), told["client"].get("jwt"), told["client"].get("id"))
            except (PlantError, KeyError, TypeError, AttributeError):
                continue  # not of a form that bears a token

    def _look(self, server: str, jwt: object, connection: object) -> None:
        if not isinstance(jwt, str) or not isinstance(connection, int):
            return
        try:
            login = read_token(jwt).tag(LOGIN_TAG)
        except AuthError:
            return
        if login is None:
            return
        is_over = self._is_over(login)
        if is_over is None:
            self._doubts.append(Doubt(server, connection, login))
        elif is_over:
            self._cut(server, connection)

    def _cut(self, server: str, connection: int) -> None:
        self.cut_count += 1
        # A request without a reply subject is not carried out; nobody waits for what it says.
        reply = f"{self._system.inbox}.kick"
        body = msgspec.json.encode({"cid": connection})
        self._system.publish(f"$SYS.REQ.SERVER.{server}.KICK", body, reply=reply)


def _asking(account: str, offset: int) -> bytes:
    return msgspec.json.encode({"acc": account, "auth": True, "limit": PAGE, "offset": offset})


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise ProtocolViolation("the server's answer is not JSON", frame=payload[:256]) from error
    if not isinstance(found, dict):
        raise ProtocolViolation("the server's answer is no object", frame=payload[:256])
    return found
