"""Where users and sessions are kept: a stream in the account of who runs the hub, which no tenant can ask.

A change is taken only if nobody changed the same record meanwhile, so that of two log-ins with one code one succeeds.

At a hub of several boxes each member follows the stream. A log-in is believed when it is heard of: whoever opened it
gives its token to nobody before it is stored. What was not heard is read from the replica that leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple, TypeVar

import msgspec

from millstream.bus import RawConnection, StreamApi, StreamConfig, decode_answer, ensure_stream, get_all
from millstream.kernel import ConfigError
from millstream.login._records import LoginUser, Session
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.uns_subject import escape_token
from millstream.sdk import Received

STREAM = "P_LOGIN"
USERS, SESSIONS, ALL = "login.user", "login.session", "login.>"
STREAM_BYTES_MAX = 64 << 20
USERS_COUNT_MAX = 50_000
AGAIN_S, LOOKS_MAX = 0.05, 9  # what was heard of is looked for until it is stored, each time after twice as long: 25 s
T = TypeVar("T", LoginUser, Session)


def login_stream() -> StreamConfig:
    """What does not fit is refused; none is dropped to make room."""
    return {
        "name": STREAM, "subjects": [f"{USERS}.>", f"{SESSIONS}.>"], "storage": "file", "retention": "limits",
        "discard": "new", "max_msgs_per_subject": 1, "max_bytes": STREAM_BYTES_MAX, "allow_direct": True,
        "allow_msg_ttl": True, "num_replicas": 1,
    }  # fmt: skip


def user_subject(tenant: str, name: str) -> str:
    """Where a user is kept."""
    return f"{USERS}.{tenant}.{escape_token(name)}"


class Changed(NamedTuple):
    """A user as it is now, and as it was before as far as this process knows."""

    user: LoginUser
    before: LoginUser | None


class LoginBook:
    """All users and sessions; the ones that `load` read, and what this process stored, are in memory."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._users: dict[tuple[str, str], tuple[LoginUser, int]] = {}
        self._sessions: dict[str, Session] = {}
        self._stale: dict[str, tuple[bytes, int]] = {}  # subject -> what was heard, and how often it was looked for
        self._told = asyncio.Event()
        self._seq = 0
        self.is_shared = connection.replicas > 1
        self.is_loaded = False

    async def prepare(self) -> None:
        """Make the stream. Raises PlantError."""
        await ensure_stream(self._api, login_stream())

    async def load(self) -> None:
        """Read all. Raises PlantError."""
        async for message in self._all(ALL):
            self._keep(message)
        self.is_loaded = True

    def listen(self) -> list[int]:
        """From now on hear of users that others change; `refresh` reads them. Of several members each also hears of
        the others' sessions. The numbers of the subscriptions."""
        sids = [self._connection.subscribe(f"{USERS}.>", self._on_change)]
        if self.is_shared:
            sids.append(self._connection.subscribe(f"{SESSIONS}.>", self._on_session))
        return sids

    async def told(self, timeout_s: float) -> None:
        """Return when a user has changed, or after `timeout_s`; sooner when what was heard is still looked for."""
        for _, looks in self._stale.values():
            timeout_s = min(timeout_s, AGAIN_S * 2**looks)
        try:
            async with asyncio.timeout(timeout_s):
                await self._told.wait()
        except TimeoutError:
            return

    async def refresh(self) -> list[Changed]:
        """Read what others changed, and give it back. Raises PlantError, and is to be called again then.

        A change is heard of when it is sent: on a busy machine long before it is stored, and also when it is refused.
        Of several members each gives back what it has heard of, and takes the rest in silence: that was told by those
        who were there.
        """
        self._told.clear()
        if self.is_shared:
            return await self._follow()
        changed = []
        for subject, heard in list(self._stale.items()):
            found = await self._api.last(STREAM, subject)
            if found is not None and (kept := self._keep(found)) is not None:
                changed.append(kept)
            if self._stale.get(subject) is not heard:
                continue  # heard of again meanwhile
            payload, looks = heard
            if (found is not None and found.payload == payload) or looks + 1 >= LOOKS_MAX:
                del self._stale[subject]
            else:
                self._stale[subject] = payload, looks + 1
        return changed

    async def _follow(self) -> list[Changed]:
        """Read on from what was read last, up to the end that the leading replica has."""
        changed = []
        while (message := await self._api.next(STREAM, self._seq + 1, ALL)) is not None:
            kept = self._keep(message)
            heard = self._stale.get(message.subject)
            if kept is not None and heard is not None:
                changed.append(kept)
            if heard is not None and heard[0] == message.payload:
                del self._stale[message.subject]
        for subject, (payload, looks) in list(self._stale.items()):
            if looks + 1 >= LOOKS_MAX:
                del self._stale[subject]
            else:
                self._stale[subject] = payload, looks + 1
        return changed

    def user(self, tenant: str, name: str) -> LoginUser | None:
        """A user that is not removed."""
        found = self._users.get((tenant, name))
        return None if found is None or found[0].is_removed else found[0]

    def users(self, tenant: str | None = None) -> list[LoginUser]:
        """Those that are not removed, by name."""
        found = (user for user, _ in self._users.values() if not user.is_removed and tenant in (None, user.tenant))
        return sorted(found, key=lambda user: (user.tenant, user.name))

    async def put_user(self, user: LoginUser) -> LoginUser:
        """Store a new state of a user; its epoch follows on the one before when it is a new user. Raises FencedError
        when somebody else changed it meanwhile."""
        before = self._users.get((user.tenant, user.name))
        if before is None and len(self._users) >= USERS_COUNT_MAX:
            raise ConfigError("too many users", expected=f"at most {USERS_COUNT_MAX}", code="MS-2120")
        subject = user_subject(user.tenant, user.name)
        lines = f"Nats-Expected-Last-Subject-Sequence: {0 if before is None else before[1]}\r\n"
        seq = await self._store(subject, msgspec.json.encode(user), lines)
        self._users[(user.tenant, user.name)] = (user, seq)
        return user

    def epoch_after(self, tenant: str, name: str) -> int:
        """Of the next state of a user that ends its sessions."""
        before = self._users.get((tenant, name))
        return 1 if before is None else before[0].epoch + 1

    def session(self, id: str) -> Session | None:
        """One that may have ended."""
        return self._sessions.get(id)

    def sessions(self) -> list[Session]:
        """All, also such as have ended and whose tokens may be good still."""
        return list(self._sessions.values())

    async def put_session(self, session: Session, kept_s: int) -> None:
        """Store it; the stream forgets it after `kept_s`."""
        await self._store(_session_subject(session), msgspec.json.encode(session), f"Nats-TTL: {max(1, kept_s)}s\r\n")
        self._sessions[session.id] = session

    def forget(self, id: str) -> None:
        """A session that is over, from memory."""
        self._sessions.pop(id, None)

    def mark(self, session: Session) -> None:
        """In memory first: from this moment it has ended, whatever the store says."""
        self._sessions[session.id] = session

    async def _store(self, subject: str, payload: bytes, lines: str) -> int:
        answer = await self._connection.request(subject, payload, header_lines=lines.encode())
        return int(decode_answer(answer[4], where=subject)["seq"])

    def _all(self, subjects: str) -> AsyncGenerator[Received, None]:
        return get_all(self._connection, STREAM, subjects, count=1000)

    def _on_change(self, messages: list[WireMessage]) -> None:
        self._stale |= {bytes(message[1]).decode(): (bytes(message[4]), 0) for message in messages}
        self._told.set()

    def _on_session(self, messages: list[WireMessage]) -> None:
        for message in messages:
            self._keep_session(message[4])
        self._told.set()

    def _keep(self, message: Received) -> Changed | None:
        """A user, with how it was before, whose state of rights is another one than before; None for all else."""
        self._seq = max(self._seq, message.seq)
        if message.subject.startswith(f"{SESSIONS}."):
            self._keep_session(message.payload)
            return None
        user = _decode(message.payload, LoginUser)
        before = None if user is None else self._users.get((user.tenant, user.name))
        if user is None or (before is not None and before[1] >= message.seq):
            return None  # this process stored it
        self._users[(user.tenant, user.name)] = (user, message.seq)
        if self.is_shared and before is not None and before[0].epoch == user.epoch:
            return None
        return Changed(user, None if before is None else before[0])

    def _keep_session(self, payload: bytes) -> None:
        """One that has ended does not begin again, in whatever order it is read."""
        session = _decode(payload, Session)
        if session is not None and (session.ended_s is not None or not self._has_ended(session.id)):
            self._sessions[session.id] = session

    def _has_ended(self, id: str) -> bool:
        known = self._sessions.get(id)
        return known is not None and known.ended_s is not None


def _session_subject(session: Session) -> str:
    return f"{SESSIONS}.{session.tenant}.{session.id}"


def _decode(payload: bytes, type: type[T]) -> T | None:
    """None for what cannot be read, as of a later version: who it was is not let in, and all others are."""
    try:
        return msgspec.json.decode(payload, type=type)
    except msgspec.DecodeError:
        return None
