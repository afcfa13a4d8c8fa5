"""What the boxes of a site share of its configuration from afar: the state and the revisions that it refers to, in the
bucket where the lease is. A step counts once a majority has it, so the box that takes over goes on from there.

Each change is compared with the state that this box read or wrote last. One that works no longer and has not noticed
changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Collection
from pathlib import Path

import msgspec

from millstream.bus import CLUSTER_BUCKET, CLUSTER_PREFIX, StreamApi, Transport, decode_answer
from millstream.edge._config_state import Held, SiteState
from millstream.edge._config_store import name_of, names_used, text_of
from millstream.edge._shared_modules import SharedModules
from millstream.kernel import DecodeError, FencedError, PlantError

STATE, CHAIN = f"{CLUSTER_PREFIX}config.state", f"{CLUSTER_PREFIX}config.chain"
REVISIONS = f"{CLUSTER_PREFIX}config.revision."


class SharedState(msgspec.Struct, frozen=True):
    """The state, and which turn of which box wrote it."""

    by: str
    state: SiteState


class SharedShelf:
    """One turn of one box; see `ConfigShelf`."""

    def __init__(self, connection: Transport, edge: str) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._edge = edge
        self._by = secrets.token_hex(8)
        self._seq = self._chain_seq = 0
        self._is_unsure = False
        self._modules = SharedModules(connection)

    async def load(self) -> SiteState:
        """Of whichever box wrote it last. Raises DecodeError, Unreachable."""
        found = await self._api.last(CLUSTER_BUCKET, STATE)
        self._seq, self._is_unsure = 0 if found is None else found.seq, False
        return SiteState() if found is None else _decode(found.payload).state

    async def save(self, state: SiteState) -> None:
        """Raises FencedError when another box has changed it meanwhile."""
        if self._is_unsure:
            await self._learn()
        payload = msgspec.json.encode(SharedState(self._by, state))
        self._is_unsure = True  # until there is an answer
        self._seq = await self._put(STATE, payload, f"Nats-Expected-Last-Subject-Sequence: {self._seq}\r\n".encode())
        self._is_unsure = False

    async def _learn(self) -> None:
        """Whether the last change, which had no answer, was stored."""
        found = await self._api.last(CLUSTER_BUCKET, STATE)
        seq = 0 if found is None else found.seq
        if found is not None and seq != self._seq and _decode(found.payload).by != self._by:
            raise FencedError("another box of the site has changed its configuration", where=STATE)
        self._seq, self._is_unsure = seq, False

    async def keep(self, payload: bytes, held: Held) -> None:
        """The same bytes under the same name, however often."""
        await self._put(REVISIONS + name_of(held), payload)

    async def document(self, held: Held) -> str:
        """From the replica that leads."""
        subject = REVISIONS + name_of(held)
        found = await self._api.last(CLUSTER_BUCKET, subject)
        if found is None:
            raise DecodeError("a kept configuration is gone", where=subject, code="MS-2409")
        return text_of(found.payload, self._edge, held, subject)

    async def clean(self, state: SiteState) -> None:
        """Of what is older than the state that this box wrote last: what is newer is another's. What cannot be removed
        now is with the next one."""
        used = {REVISIONS + name for name in names_used(state)}
        with contextlib.suppress(PlantError):
            info = await self._api.request(f"STREAM.INFO.{CLUSTER_BUCKET}", {"subjects_filter": f"{REVISIONS}>"})
            for subject in (info["state"].get("subjects") or {}).keys() - used:
                await self._api.request(f"STREAM.PURGE.{CLUSTER_BUCKET}", {"filter": subject, "seq": self._seq})

    async def keep_module(self, digest: str, path: Path) -> None:
        """Before the revision that names it is kept."""
        await self._modules.keep(digest, await asyncio.to_thread(path.read_bytes))

    async def module(self, digest: str) -> bytes | None:
        """From the replica that leads."""
        return await self._modules.get(digest)

    async def clean_modules(self, needed: Collection[str]) -> None:
        """What cannot be removed now is with the next one."""
        with contextlib.suppress(PlantError):
            await self._modules.clean(needed)

    async def chain(self) -> bytes | None:
        """The newest that any of the boxes has seen."""
        found = await self._api.last(CLUSTER_BUCKET, CHAIN)
        self._chain_seq = 0 if found is None else found.seq
        return None if found is None else found.payload

    async def keep_chain(self, chain: bytes) -> None:
        """Behind what `chain` gave last. Raises FencedError when another box has kept one since."""
        lines = f"Nats-Expected-Last-Subject-Sequence: {self._chain_seq}\r\n"
        self._chain_seq = await self._put(CHAIN, chain, lines.encode())

    async def _put(self, subject: str, payload: bytes, lines: bytes = b"") -> int:
        answer = await self._connection.request(subject, payload, header_lines=lines)
        return int(decode_answer(answer[4], where=subject)["seq"])


def _decode(payload: bytes) -> SharedState:
    try:
        return msgspec.json.decode(payload, type=SharedState)
    except msgspec.DecodeError as error:
        raise DecodeError(
            "the state of the configuration cannot be read", where=STATE, got=str(error)[:120],
            next_step="the hub's newest revision is taken anew", code="MS-2409",
        ) from error  # fmt: skip
