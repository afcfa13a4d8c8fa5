"""A history as somebody sees it who may see some paths only: what lies elsewhere does not exist, by no question and in
no message."""

from __future__ import annotations

import glob
import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.historian._answer import ipc_parts
from millstream.historian._ports import Reply
from millstream.historian._query import AsOf, Query, check_query, decode_query
from millstream.kernel import NotFoundError, PlantError

if TYPE_CHECKING:
    import pyarrow as pa

    from millstream.historian._service import HistorianService
    from millstream.historian._tags import TagEntry

_NOTHING = "\x00*"  # a pattern that fits no name: none has a control character


class HistoryView:
    """`paths` are the roots of what is seen, such as ``acme/plant1``; None: everything."""

    def __init__(self, historian: HistorianService, paths: Sequence[str] | None = None) -> None:
        self._historian = historian
        self._roots = None if paths is None else tuple(paths)

    @property
    def is_whole(self) -> bool:
        """True when nothing is hidden."""
        return self._roots is None

    def sees(self, path: str) -> bool:
        """Whether a place, or a tag's or event's name, is at or below one of the roots."""
        return self._roots is None or any(
            path == root or path.startswith((f"{root}/", f"{root}:")) for root in self._roots
        )

    async def query(self, query: Query) -> pa.Table:
        """As `HistorianService.query`."""
        return await self._historian.query(self._confined(query))

    def tags(self, pattern: str = "*", kind: str | None = "tag") -> list[TagEntry]:
        """As `HistorianService.tags`."""
        return [entry for entry in self._historian.tags(pattern, kind) if self.sees(entry.path)]

    async def answer(self, request: bytes) -> AsyncIterator[Reply]:
        """Answer a request that came over NATS, in the form of `QUERY_SUBJECT`."""
        try:
            for part in ipc_parts(await self.query(decode_query(request))):
                yield Reply(part)
        except PlantError as error:
            yield Reply(b"", (("Ms-Error", json.dumps(error.as_dict())),))
            return
        except Exception as error:  # noqa: BLE001 (a bug in one query is told to who asked, and must not end the others)
            fault = self._historian.note_fault(error)
            yield Reply(b"", (("Ms-Error", json.dumps(fault.as_dict())),))
            return
        yield Reply(b"", (("Ms-Status", "done"),))

    def _confined(self, query: Query) -> Query:
        """The same question about what is seen, name by name. Raises NotFoundError, without a word on other names."""
        if self._roots is None:
            return query
        check_query(query)
        kind = query.data_kind
        names: dict[str, None] = {}
        for pattern in query.tags:
            names |= dict.fromkeys(self._names(pattern, kind))
        changes: dict[str, Any] = {"tags": tuple(glob.escape(name) for name in names) or (_NOTHING,)}
        if isinstance(query, AsOf) and query.reference is not None and not self._names(query.reference, kind):
            raise _unknown(query.reference)
        return msgspec.structs.replace(query, **changes)

    def _names(self, pattern: str, kind: str | None) -> list[str]:
        found = [entry.path for entry in self.tags(pattern, kind)]
        if not found and not any(c in pattern for c in "*?["):
            raise _unknown(pattern)
        return found


def _unknown(name: str) -> NotFoundError:
    return NotFoundError("no such tag in the history", got=name, next_step="ask for what there is: /api/v1/tags")
