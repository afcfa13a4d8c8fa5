"""Positions of rewindable sources outlive the data around them.

A position is the newest message of its subject in an edge stream, written with the data it covers. The stream forgets
its oldest messages (trimmed, dropped, aged, or set aside with an old generation); a source that has been quiet for long
would lose its position with them and read everything again. So positions are written again in time: into a new
generation, and before the stream forgets them.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.bus import (
    FAST_PREFIX,
    HUB_INTEGRITY,
    HUB_THROUGHPUT,
    SITE_PREFIX,
    START_PATIENCE_S,
    RawConnection,
    StreamApi,
    StreamInfo,
    StreamName,
    decode_answer,
)
from millstream.kernel import FencedError, NotFoundError, PlantError
from millstream.model import AssetPath
from millstream.protocols.ledger import CONTRACT, is_record_subject
from millstream.protocols.uns_subject import PREFIX, escape_token

_LISTENS_BELOW = {"T": FAST_PREFIX, "S": SITE_PREFIX}
_FLOW_MARK = ".flow-"  # a flow keeps its state records by itself


class PositionKeeper:
    """Carries and refreshes the position records of one edge."""

    def __init__(self, connection: RawConnection, edge: str, path: AssetPath) -> None:
        self._connection = connection
        self._api = StreamApi(connection, patience_s=START_PATIENCE_S)
        place = ".".join(escape_token(level) for level in path.levels)
        self._pattern = f"{PREFIX}{place}.{CONTRACT}.{escape_token(edge)}.>"

    async def carry(self, info: StreamInfo, older: Sequence[str], hub: StreamApi | None) -> None:
        """Write what is missing in a new generation: the hub's records (the newest) if it answers, else those of the
        older generations. The publishers' own records stay behind: the totals of a new generation begin anew."""
        places = [
            (self._api, n) for n in sorted(older, key=_generation, reverse=True) if StreamName.parse(n) is not None
        ]
        if hub is not None:
            places = [(hub, HUB_INTEGRITY), (hub, HUB_THROUGHPUT), *places]
        present = set(await self._subjects(self._api, info.name))
        for api, stream in places:
            for subject in await self._subjects(api, stream):
                if subject in present:
                    continue
                found = await api.last(stream, subject)
                if found is not None:
                    await self._write(info, subject, found.payload, expected_seq=0)
                    present.add(subject)

    async def refresh(self, info: StreamInfo, below: int) -> None:
        """Write again each position that stands before the sequence `below`, which the stream is about to forget."""
        for subject in await self._subjects(self._api, info.name):
            found = await self._api.last(info.name, subject)
            if found is None or found.seq >= below:
                continue
            try:
                await self._write(info, subject, found.payload, expected_seq=found.seq)
            except FencedError:
                continue  # its source has just written a newer one

    async def _subjects(self, api: StreamApi, stream: str) -> list[str]:
        try:
            raw = await api.request(f"STREAM.INFO.{stream}", {"subjects_filter": self._pattern})
        except NotFoundError:
            return []
        except PlantError:
            if api is self._api:
                raise
            return []  # the hub is gone again: then the next place is asked
        found = [subject for subject in raw["state"].get("subjects") or {} if not is_record_subject(subject)]
        return [subject for subject in found if _FLOW_MARK not in subject]

    async def _write(self, info: StreamInfo, subject: str, payload: bytes, *, expected_seq: int) -> None:
        name = StreamName.parse(info.name)
        target = _LISTENS_BELOW.get("" if name is None else name.kind, "") + subject
        lines = f"Nats-Expected-Last-Subject-Sequence: {expected_seq}\r\n".encode()
        answer = await self._connection.request(target, payload, header_lines=lines)
        decode_answer(answer[4], where=info.name)


def _generation(name: str) -> int:
    parsed = StreamName.parse(name)
    return parsed.generation if parsed is not None else 0
