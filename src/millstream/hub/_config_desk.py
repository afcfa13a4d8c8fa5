"""Configurations as people ask for them: read and written below the paths that the server lets them ask for.

A log-in alone is no author of anything: what is stored has to be signed by somebody whom the operator lets sign for
that site. The edge looks again, and has the last word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from millstream.bus import CONFIG, CONFIG_PREFIX, StreamApi, decode_answer
from millstream.config import put_told
from millstream.historian import Reply
from millstream.hub._desk import DONE, Asker, DeskAround, no_name
from millstream.hub._kept_configs import kept_configs, revision_in
from millstream.kernel import DecodeError, FencedError, NotFoundError, PlantError, Unreachable
from millstream.protocols.audit import put_name
from millstream.protocols.below import sites_below
from millstream.protocols.config_desk import SEQ, STALE, STATUS, ConfigAsk, decode_ask
from millstream.protocols.module import MODULES, info_subject, is_module_digest
from millstream.protocols.site_config import decode_revision, is_edge_name

REPORT_TIMEOUT_S = 2.0
MODULES_COUNT_MAX = 64


class ConfigDesk:
    """Answers on ``millstream.below.config.<place>``."""

    def __init__(self, around: DeskAround) -> None:
        self._around = around
        self._api = StreamApi(around.connection)

    async def answer(self, asker: Asker, payload: bytes) -> AsyncGenerator[Reply, None]:
        """See `_desk.below`."""
        ask, body = decode_ask(payload)
        places = sites_below(self._around.places(), asker.root)
        if ask.action == "sites":
            yield Reply(msgspec.json.encode(places), DONE)
        elif ask.action == "missing":
            yield Reply(msgspec.json.encode(await self._missing(ask.modules)), DONE)
        elif not is_edge_name(ask.edge):
            raise no_name(ask.edge)
        elif ask.edge not in places:  # elsewhere, or nowhere
            raise NotFoundError("no such site below this path", got=ask.edge[:64], code="MS-2415")
        elif ask.action == "history":
            async for reply in self._history(ask.edge):
                yield reply
        elif ask.action == "report":
            yield Reply(await self._report(ask.edge), DONE)
        else:
            await self._put(ask, places[ask.edge], body, asker.origin)
            yield Reply(b"", DONE)

    async def _history(self, edge: str) -> AsyncGenerator[Reply, None]:
        async for message in kept_configs(self._around.connection, edge):
            yield Reply(message.payload, ((STATUS, "part"), (SEQ, str(message.seq))))
        yield Reply(b"", DONE)

    async def _report(self, edge: str) -> bytes:
        """What the site says that it runs; nothing when it does not answer."""
        try:
            async with asyncio.timeout(REPORT_TIMEOUT_S):
                return (await self._around.connection.request(f"millstream.node.{edge}.config", b""))[4]
        except (TimeoutError, Unreachable):
            return b""

    async def _missing(self, digests: tuple[str, ...]) -> list[str]:
        if len(digests) > MODULES_COUNT_MAX or not all(is_module_digest(digest) for digest in digests):
            raise DecodeError("not digests of modules", expected=f"at most {MODULES_COUNT_MAX}", code="MS-2418")
        return [digest for digest in digests if await self._api.last(MODULES, info_subject(digest)) is None]

    async def _put(self, ask: ConfigAsk, path: str, body: bytes, origin: str) -> None:
        """Store a revision that may be, and tell it; killed between, it is told at the next start (`_told_acts`).
        Raises PlantError with the reason."""
        revision, text = await asyncio.to_thread(decode_revision, body, ask.edge)
        self._around.authors.check_revision(revision, path)
        last = await self._api.last(CONFIG, CONFIG_PREFIX + ask.edge)
        if (0 if last is None else last.seq) != ask.last_seq:
            raise _stale(ask.edge)
        before = await asyncio.to_thread(revision_in, last, ask.edge)
        newest = 0 if before is None else before[0].revision
        if revision.revision <= newest or revision.based_on != newest:
            raise _stale(ask.edge)
        lines = f"Nats-Expected-Last-Subject-Sequence: {ask.last_seq}\r\n".encode()
        answer = await self._around.connection.request(CONFIG_PREFIX + ask.edge, body, header_lines=lines)
        try:
            decode_answer(answer[4], where=CONFIG_PREFIX + ask.edge)
        except FencedError as error:
            raise _stale(ask.edge) from error
        told = await asyncio.to_thread(put_told, before, (revision, text), path, origin)
        once = f"/{path}|{put_name(ask.edge, revision.revision)}"
        await self._around.audit.tell("config", "put", told, once)


def _stale(edge: str) -> PlantError:
    return PlantError("somebody else changed this site meanwhile", where=edge, code=STALE)
