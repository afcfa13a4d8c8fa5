"""Ends live connections of log-ins that are over: asks the server which there are, and to hang up on them.

The hub cannot revoke a person's token, since the account's key stays with the operator; the token says which log-in it
belongs to, and is good for minutes. Until it has expired whoever comes back with it is thrown out as it connects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from millstream.bus import RawConnection
from millstream.kernel import AuthError, PlantError, ProtocolViolation
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.nats_wire import WireMessage

CONNECTED_SUBJECT = "$SYS.ACCOUNT.*.CONNECT"
PAGE = 1000
LOGIN_TAG = "login"


class Cutter:
    """`is_over` says of the number of a log-in whether it has ended."""

    def __init__(self, system: RawConnection, is_over: Callable[[str], bool]) -> None:
        self._system = system
        self._is_over = is_over
        self.cut_count = 0

    def listen(self) -> int:
        """Hear of each new connection. The subscription's number."""
        return self._system.subscribe(CONNECTED_SUBJECT, self._hear)

    async def sweep(self, account: str) -> None:
        """Hang up on all of an account whose log-in is over. Raises PlantError."""
        subject, offset = f"$SYS.REQ.ACCOUNT.{account}.CONNZ", 0
        while True:
            body = {"acc": account, "auth": True, "limit": PAGE, "offset": offset}
            answer = _decode((await self._system.request(subject, msgspec.json.encode(body)))[4])
            try:
                server, data = answer["server"]["id"], answer["data"]
                for one in data.get("connections") or ():
                    self._look(str(server), one.get("jwt"), one.get("cid"))
                offset += PAGE
                if offset >= int(data.get("total", 0)):
                    return
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise ProtocolViolation("the server's list of connections cannot be read") from error

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
        if login is not None and self._is_over(login):
            self.cut_count += 1
            # A request without a reply subject is not carried out; nobody waits for what it says.
            reply = f"{self._system.inbox}.kick"
            body = msgspec.json.encode({"cid": connection})
            self._system.publish(f"$SYS.REQ.SERVER.{server}.KICK", body, reply=reply)


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise ProtocolViolation("the server's answer is not JSON", frame=payload[:256]) from error
    if not isinstance(found, dict):
        raise ProtocolViolation("the server's answer is no object", frame=payload[:256])
    return found
