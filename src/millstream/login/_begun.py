"""Log-ins that were begun at an identity provider and have not come back: kept where every member of a hub reads them.

They live in memory streams of the servers: a visitor whom nobody knows makes nothing be written to a disk, and whoever
was on the way when all servers went begins again. Of many, the oldest makes room.
"""

from __future__ import annotations

import hashlib

import msgspec

from millstream.bus import RawConnection, StreamApi, StreamConfig, decode_answer, ensure_stream
from millstream.kernel import FencedError, NotFoundError, Unreachable

STREAM, SUBJECT = "P_BEGUN", "login.begun"
COUNT_MAX = 2000
LIFE_S = 600
STREAM_BYTES_MAX = 8 << 20
USED = b""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """One log-in on its way. `browser` is the digest of what its browser holds; `expires_s` is Unix seconds."""

    provider: str
    browser: str
    nonce: str
    verifier: str
    redirect_uri: str
    expires_s: int

    def __repr__(self) -> str:
        return f"Begun({self.provider}, until {self.expires_s})"


def begun_stream() -> StreamConfig:
    """The oldest goes when it is full, and each after its time."""
    return {
        "name": STREAM, "subjects": [f"{SUBJECT}.*"], "storage": "memory", "retention": "limits", "discard": "old",
        "max_msgs": COUNT_MAX, "max_msgs_per_subject": 1, "max_bytes": STREAM_BYTES_MAX, "max_age": LIFE_S * 10**9,
        "allow_direct": True, "num_replicas": 1,
    }  # fmt: skip


class BegunBook:
    """`connection` is in the account of who runs the hub."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self._api = StreamApi(connection)

    async def prepare(self) -> None:
        """Make the stream. Raises PlantError."""
        await ensure_stream(self._api, begun_stream())

    async def put(self, state: str, begun: Begun) -> None:
        """Keep it; every member has it when this returns. Raises Unreachable."""
        await self._store(_subject(state), msgspec.json.encode(begun), 0)

    async def take(self, state: str) -> Begun | None:
        """The one of this state, for whoever asks first, at whichever member: nobody gets it again. None when it is
        not there, or used. Raises Unreachable; then it may be used up."""
        subject = _subject(state)
        try:
            found = await self._api.last(STREAM, subject)
        except NotFoundError:  # a hub where nobody has begun
            return None
        except Unreachable as error:
            raise _away() from error
        if found is None or found.payload == USED:
            return None
        try:
            await self._store(subject, USED, found.seq)
        except FencedError:  # somebody was first
            return None
        try:
            return msgspec.json.decode(found.payload, type=Begun)
        except msgspec.DecodeError:  # of a later version
            return None

    async def _store(self, subject: str, payload: bytes, after: int) -> None:
        lines = f"Nats-Expected-Last-Subject-Sequence: {after}\r\n"
        try:
            answer = await self._connection.request(subject, payload, header_lines=lines.encode())
            decode_answer(answer[4], where=SUBJECT)
        except Unreachable as error:
            raise _away() from error


def _subject(state: str) -> str:
    """The state itself is a secret of its browser until it has come back."""
    return f"{SUBJECT}.{hashlib.sha256(state.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _away() -> Unreachable:
    return Unreachable(
        "a log-in with an identity provider cannot be kept just now", retry_after_s=1.0, code="MS-2130",
        next_step="begin again in a moment, or at another member of the hub",
    )  # fmt: skip
