"""What the server knows of accounts: their tokens, as the operator signed them, are given to it and kept up to date.

What is pushed reaches every server of a cluster, and replaces what that one has, be it newer. So a member pushes only
what it has not seen there in a newer form, and says its own again when another member has pushed an older one; a member
that starts gives its own server, and no other, what it kept, before that server runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from millstream.bus import RawConnection, decode_answer, write_private
from millstream.kernel import AuthError, ProtocolViolation, Unreachable
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.nats_wire import WireMessage
from millstream.trust import HubTrust

CLAIMS_SUBJECT = "$SYS.REQ.CLAIMS.UPDATE"
ONE_CLAIMS_SUBJECT = "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE"
PUSH_TIMEOUT_S = 5.0


class Accounts:
    """`trust` gives what the operator says now. `member_server` is the name of this box's server in a cluster: its
    answer counts, since each of them gives one; None for a server that is alone."""

    def __init__(self, folder: Path, trust: Callable[[], HubTrust], member_server: str | None = None) -> None:
        self._folder = folder
        self._trust = trust
        self._member_server = member_server
        self._known: dict[str, str] = {}
        self._settled: HubTrust | None = None  # what the server is known to have

    def store(self) -> None:
        """Write what is newer than what the server keeps into its folder: before it runs."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for public, token in self._tokens().items():
            path = self._folder / f"{public}.jwt"
            kept = _text_of(path)
            if kept is None or _is_newer(token, kept):
                write_private(path, token)
                kept = token
            self._known[public] = kept

    def due(self) -> dict[str, str]:
        """Account -> token that the server does not have yet. Exporters first, then who imports."""
        return {public: token for public, token in self._tokens().items() if self._is_due(public, token)}

    def _is_due(self, public: str, token: str) -> bool:
        known = self._known.get(public)
        if known is None or self._member_server is None:
            return known != token
        return known != token and not _is_newer(known, token)

    async def push(self, system: RawConnection) -> None:
        """Give the server what is due. Raises PlantError."""
        trust = self._trust()
        if trust is self._settled:
            return
        self._settled = trust  # first: what another member says meanwhile comes after it
        for public, token in self.due().items():
            before = self._known.get(public, "")
            self._known[public] = token  # first, too
            try:
                await self._push_one(system, token.encode())
            except BaseException:
                self._known[public], self._settled = before, None
                raise

    async def _push_one(self, system: RawConnection, token: bytes) -> None:
        payload = await self._ask(system, token)
        data = decode_answer(payload, where=CLAIMS_SUBJECT).get("data")
        if not isinstance(data, dict) or data.get("code") != 200:
            raise ProtocolViolation("the server did not take an account", frame=payload[:256])

    async def _ask(self, system: RawConnection, token: bytes) -> bytes:
        if self._member_server is None:
            return (await system.request(CLAIMS_SUBJECT, token))[4]
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def hear(messages: list[WireMessage]) -> None:
            for message in messages:
                if _server_of(message[4]) == self._member_server and not answered.done():
                    answered.set_result(message[4])

        reply = f"{system.inbox}.claims"
        sid = system.subscribe(reply, hear)
        try:
            async with asyncio.timeout(PUSH_TIMEOUT_S):
                system.publish(CLAIMS_SUBJECT, token, reply=reply)
                return await answered
        except TimeoutError as error:
            raise Unreachable("no answer in time", where=CLAIMS_SUBJECT, expected=f"{PUSH_TIMEOUT_S:g}s") from error
        finally:
            system.unsubscribe(sid)

    def listen(self, system: RawConnection) -> None:
        """Hear what other members push."""
        for subject in (CLAIMS_SUBJECT, ONE_CLAIMS_SUBJECT):
            system.subscribe(subject, self._hear)

    def _hear(self, messages: list[WireMessage]) -> None:
        for message in messages:
            try:
                token = read_token(bytes(message[4]).decode("ascii"))
            except (AuthError, UnicodeDecodeError):
                continue  # the servers refuse it as well
            if self._known.get(token.subject, token.text) != token.text:
                self._known[token.subject], self._settled = token.text, None

    def _tokens(self) -> dict[str, str]:
        trust = self._trust()
        tokens = {tenant.plant_public: tenant.plant_token for tenant in trust.tenants.values()}
        tokens |= {tenant.people_public: tenant.people_token for tenant in trust.tenants.values()}
        return tokens | {trust.provider_public: trust.provider_token}


def _is_newer(one: str, other: str) -> bool:
    """Whether the operator signed `one` after `other`; what cannot be read is older than all."""
    try:
        newer = read_token(one).issued_s
    except AuthError:
        return False
    try:
        return newer > read_token(other).issued_s
    except AuthError:
        return True


def _server_of(payload: bytes) -> str | None:
    try:
        server = msgspec.json.decode(payload)["server"]["name"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return str(server)


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
