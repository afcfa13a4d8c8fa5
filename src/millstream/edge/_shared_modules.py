"""Modules that the boxes of a site share: a copy in a stream of the site's own, so that whichever box takes over has
what its configuration names, also without the hub.

A module counts as shared once all of it is with a majority; only then is the configuration that names it kept.

What happens if it is killed here, or another box takes over meanwhile? Each turn begins with a mark, and whatever a
turn stores is refused once there is a newer mark. So what a turn removes, which is bounded by the last message that it
stored itself, is never what a later one has stored. Who needs a module stores it anew in its own turn.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

import msgspec

from millstream.bus import StreamApi, StreamConfig, Transport, decode_answer, ensure_stream
from millstream.kernel import DecodeError, FencedError, NotFoundError, PlantError, StoreFullError, Unreachable
from millstream.protocols.module import module_digest

STREAM, PREFIX = "OBJ_site_modules", "$O.site_modules."
TURN = f"{PREFIX}turn"
CHUNK_BYTES = 256 << 10
STREAM_BYTES_MAX = 512 << 20  # as many as a hub keeps of a tenant
STORE_TIMEOUT_S = 30.0
PATIENCE_S = 30.0  # who leads the stream may have gone with the box whose place is taken


class Shared(msgspec.Struct, frozen=True):
    """How much there is of a module."""

    size: int
    chunks: int


def modules_stream() -> StreamConfig:
    """What does not fit is refused; none is dropped to make room."""
    return {
        "name": STREAM, "subjects": [f"{PREFIX}>"], "storage": "file", "retention": "limits", "discard": "new",
        "max_msgs_per_subject": 1, "max_bytes": STREAM_BYTES_MAX, "allow_direct": True, "num_replicas": 1,
    }  # fmt: skip


class SharedModules:
    """One turn of one box. It asks for nothing before a module is wanted."""

    def __init__(self, connection: Transport) -> None:
        self._connection = connection
        self._api = StreamApi(connection, patience_s=PATIENCE_S)
        self._turn_seq = self._last_seq = 0

    async def keep(self, digest: str, data: bytes) -> None:
        """Share a module. Raises Unreachable, also when another box works by now; PlantError (MS-2442) without room."""
        await self._begin()
        known = await self._api.last(STREAM, _info(digest))
        if known is not None and known.seq > self._turn_seq:
            return  # stored in this turn
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        for number, chunk in enumerate(chunks):
            await self._store(f"{_info(digest)}.{number}", chunk)
        await self._store(_info(digest), msgspec.json.encode(Shared(len(data), len(chunks))))

    async def get(self, digest: str) -> bytes:
        """A module that is shared. Raises NotFoundError, DecodeError, Unreachable."""
        await self._begin()
        found = await self._api.last(STREAM, _info(digest))
        if found is None:
            raise _missing(digest)
        shared, parts = msgspec.json.decode(found.payload, type=Shared), []
        for number in range(shared.chunks):
            part = await self._api.last(STREAM, f"{_info(digest)}.{number}")
            if part is None:
                raise _missing(digest)
            parts.append(part.payload)
        data = b"".join(parts)
        if module_digest(data) != digest:
            raise DecodeError("what the boxes share is another module", where=digest, code="MS-2441")
        return data

    async def clean(self, needed: Collection[str]) -> None:
        """Remove what is not needed, of what was stored by this turn or before. Raises PlantError; then it is with the
        next."""
        if not self._turn_seq:
            return
        info = await self._api.request(f"STREAM.INFO.{STREAM}", {"subjects_filter": f"{PREFIX}>"})
        kept = {_info(digest) for digest in needed} | {TURN}
        subjects = (info["state"].get("subjects") or {}).keys()
        # The description first: what is left of a removal that was killed has none, and is removed by the next.
        for subject in sorted(subject for subject in subjects if ".".join(subject.split(".")[:3]) not in kept):
            await self._api.request(f"STREAM.PURGE.{STREAM}", {"filter": subject, "seq": self._last_seq + 1})

    async def _begin(self) -> None:
        if not self._turn_seq:
            await ensure_stream(self._api, modules_stream())
            answer = await self._connection.request(TURN, secrets.token_hex(8).encode(), timeout_s=STORE_TIMEOUT_S)
            self._turn_seq = self._last_seq = int(decode_answer(answer[4], where=TURN)["seq"])

    async def _store(self, subject: str, payload: bytes) -> None:
        lines = (
            f"Nats-Expected-Last-Subject-Sequence: {self._turn_seq}\r\n"
            f"Nats-Expected-Last-Subject-Sequence-Subject: {TURN}\r\n"
        )
        answer = await self._connection.request(
            subject, payload, header_lines=lines.encode(), timeout_s=STORE_TIMEOUT_S
        )
        try:
            self._last_seq = int(decode_answer(answer[4], where=subject)["seq"])
        except FencedError as error:
            raise Unreachable("another box of the site works by now", where=subject) from error
        except StoreFullError as error:
            raise PlantError(
                "the boxes have no room for the module", where=subject, got=error.got, code="MS-2442",
                expected=f"at most {STREAM_BYTES_MAX >> 20} MiB of modules",
                next_step="name fewer or smaller ones in the site's configuration",
            ) from error  # fmt: skip


def _info(digest: str) -> str:
    return PREFIX + digest.removeprefix("sha256:")


def _missing(digest: str) -> NotFoundError:
    return NotFoundError(
        "the boxes of the site do not share this module", where=digest, code="MS-2440",
        next_step="put the configuration again when the hub is there: it is fetched anew",
    )  # fmt: skip
