"""Where a connector stands: its newest record, in whichever class of durability that is.

Each class has a stream, and in it a record of the connector. A connector whose class was changed goes on from the
record of the other class: it is written into the new one with the next turn, before anything else, and the newest turn
counts. One whose class was changed back before a record came in the new one goes on from its own record, which says the
same: nothing is written, and the record after it has the newest turn.

What happens if it is killed here? Before that record is stored the other class's is still the newest, and the same is
done again; after it this one is. What a crash left behind a record without one of its own may be given again by the
source: behind the newest record of each class, as long as none came in the class that was changed to (`is_moved`), so
no record may be written over one that has such a rest behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

from millstream.bus import RawConnection, StreamApi, StreamName, StreamReader, list_streams, read_after_control
from millstream.edge._boot import newest_generation
from millstream.edge._progress import Progress, decode_progress, encode_progress
from millstream.sdk import Control, Publisher, Received


class OtherClass(Protocol):
    """The same connector's record in another class of durability."""

    async def last(self) -> bytes | None:
        """The newest record; None: there is none. Raises Unreachable."""
        ...

    async def after(self) -> Sequence[Received]:
        """What stands behind it. Raises Unreachable."""
        ...


class OtherStream:
    """`OtherClass` at an edge. The stream may be one that no connector needs now: then nothing writes to it."""

    def __init__(
        self, connection: RawConnection, edge: str, kind: Literal["I", "T"], subject: str, publisher: Publisher | None
    ) -> None:
        """`publisher` is that of the stream, if it is open."""
        self._api = StreamApi(connection)
        self._reader = StreamReader(connection)
        self._edge = edge
        self._kind: Literal["I", "T"] = kind
        self._subject = subject
        self._publisher = publisher

    async def _stream(self) -> str | None:
        generation = newest_generation(await list_streams(self._api), self._edge, self._kind)
        return str(StreamName(self._edge, self._kind, generation)) if generation else None

    async def last(self) -> bytes | None:
        """See OtherClass. What was submitted there is stored first, however long that takes: it may be of this
        connector."""
        if self._publisher is not None:
            await self._publisher.flush()
            return await self._publisher.last_control(self._subject)
        stream = await self._stream()
        found = None if stream is None else await self._api.last(stream, self._subject)
        return None if found is None else found.payload

    async def after(self) -> Sequence[Received]:
        """See OtherClass."""
        if self._publisher is not None:
            return await self._publisher.after_control(self._subject)
        stream = await self._stream()
        return () if stream is None else await read_after_control(self._api, self._reader, stream, self._subject)


class Standing:
    """Finds where the last run stood, and takes it over into this class."""

    def __init__(self, publisher: Publisher, subject: str, other: OtherClass | None) -> None:
        self._publisher = publisher
        self._subject = subject
        self._other = other

    async def find(self) -> tuple[Progress | None, Sequence[Received]]:
        """The progress as records from now on continue it (None: there was no run), and what stands behind its record
        in the stream. Raises Unreachable, DecodeError."""
        own = _read(await self._publisher.last_control(self._subject))
        other = _read(await self._other.last()) if self._other is not None else None
        is_changed = other is not None and (own is None or other.turn > own.turn)
        if other is not None and is_changed:
            if own is not None and other.is_moved:  # from here, and nothing has come there since
                own = replace(own, turn=other.turn + 1)
            else:
                own = replace(other, turn=other.turn + 1, is_moved=True)
                await (await self._publisher.submit((), Control(self._subject, encode_progress(own))))
        if own is None or not own.rewinds:
            return own, ()
        behind = list(await self._publisher.after_control(self._subject))
        if self._other is not None and (is_changed or own.is_moved):
            behind += await self._other.after()
        return own, behind


def _read(payload: bytes | None) -> Progress | None:
    return None if payload is None else decode_progress(payload)
