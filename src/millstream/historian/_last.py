"""The newest sample of each tag, in memory: the one question that a table in order of arrival answers badly.

In columns by tag number, so that a commit of ten thousand tags costs no object a tag.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from millstream.historian._columns import KIND_BOOL, KIND_FLOAT, KIND_INT, Codes, Floats, Ints, Kinds
from millstream.historian._rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

_ROOM_MIN = 1024


@dataclass(frozen=True, slots=True)
class LastRow:
    """The newest sample of one tag, in columns (see `_columns`)."""

    tag_id: int
    time_ns: int
    kind: int
    value: float | None
    whole: int | None
    text: str | None
    quality: int


@dataclass(slots=True)
class _Columns:
    """One place a tag number; as many as the dictionary has numbers, and at most as many again. `is_long`: its
    `whole` or `text` is kept beside."""

    is_known: npt.NDArray[np.bool_]
    is_long: npt.NDArray[np.bool_]
    time_ns: Ints
    kind: Kinds
    value: Floats
    quality: Codes

    @classmethod
    def of(cls, room: int) -> _Columns:
        return cls(
            np.zeros(room, np.bool_), np.zeros(room, np.bool_), np.zeros(room, np.int64), np.zeros(room, np.uint8),
            np.zeros(room), np.zeros(room, np.uint32),
        )  # fmt: skip

    def grown(self, room: int) -> _Columns:
        found = _Columns.of(room)
        for name in _Columns.__slots__:
            old = getattr(self, name)
            getattr(found, name)[: len(old)] = old
        return found


class LastValues:
    """Newest by source time; of equal times the one that arrived last. Cost of `add`: O(n log n) in the rows. One
    thread adds, any may ask."""

    def __init__(self, rows: Iterable[LastRow] = ()) -> None:
        self._lock = threading.Lock()
        self._of = _Columns.of(_ROOM_MIN)
        self._whole: dict[int, int] = {}
        self._text: dict[int, str] = {}
        for row in rows:
            self._make_room(row.tag_id)
            at, value = row.tag_id, np.nan if row.value is None else row.value
            self._of.is_known[at], self._of.time_ns[at], self._of.kind[at] = True, row.time_ns, row.kind
            self._of.value[at], self._of.quality[at] = value, row.quality
            self._keep_long(at, row.whole, row.text)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._of.is_known))

    def rows(self) -> list[LastRow]:
        """All, for a checkpoint elsewhere."""
        columns = (column.to_pylist() for column in self.arrow().columns)
        return [LastRow(*row) for row in zip(*columns, strict=True)]

    def arrow(self, tag_ids: Sequence[int] | None = None) -> pa.Table:
        """The newest samples of these tags, in their order, without those that have none; None: of all. Columns tag_id,
        time_ns, kind, value, whole, text, quality."""
        import pyarrow as pa

        asked = np.asarray(range(len(self._of.is_known)) if tag_ids is None else tag_ids, np.int64)
        with self._lock:
            of = self._of
            asked = asked[asked < len(of.is_known)]
            asked = asked[of.is_known[asked]]
            time_ns, kind, value, quality = of.time_ns[asked], of.kind[asked], of.value[asked], of.quality[asked]
            places = np.flatnonzero(of.is_long[asked])
            whole: list[int | None] = [None] * len(asked)
            text: list[str | None] = [None] * len(asked)
            for place, tag_id in zip(places.tolist(), asked[places].tolist(), strict=True):
                whole[place], text[place] = self._whole.get(tag_id), self._text.get(tag_id)
        has_value = (kind == KIND_FLOAT) | (kind == KIND_INT) | (kind == KIND_BOOL)
        return pa.table(
            {
                "tag_id": pa.array(asked.astype(np.uint32)),
                "time_ns": pa.array(time_ns),
                "kind": pa.array(kind),
                "value": pa.array(value, mask=~has_value),
                "whole": pa.array(whole, pa.int64()),
                "text": pa.array(text, pa.string()),
                "quality": pa.array(quality),
            }
        )

    def add(self, rows: Rows) -> None:
        """Take stored rows in; older ones than known change nothing."""
        if not len(rows):
            return
        by = np.lexsort((rows.order, rows.time_ns, rows.tag_id))
        sorted_ids = rows.tag_id[by]
        places = by[np.flatnonzero(np.append(sorted_ids[1:] != sorted_ids[:-1], True))]
        ids, times = rows.tag_id[places], rows.time_ns[places]
        with self._lock:
            self._make_room(int(ids[-1]))
            of = self._of
            is_newer = ~of.is_known[ids] | (times >= of.time_ns[ids])
            ids, times, places = ids[is_newer], times[is_newer], places[is_newer]
            of.is_known[ids], of.time_ns[ids], of.kind[ids] = True, times, rows.kind[places]
            of.value[ids], of.quality[ids] = rows.value[places], rows.quality[places]
            for tag_id in ids[of.is_long[ids]].tolist():
                self._keep_long(tag_id, None, None)
            if rows.whole or rows.text:
                for tag_id, place in zip(ids.tolist(), places.tolist(), strict=True):
                    self._keep_long(tag_id, rows.whole.get(place), rows.text.get(place))

    def _keep_long(self, tag_id: int, whole: int | None, text: str | None) -> None:
        self._whole.pop(tag_id, None)
        self._text.pop(tag_id, None)
        if whole is not None:
            self._whole[tag_id] = whole
        if text is not None:
            self._text[tag_id] = text
        self._of.is_long[tag_id] = whole is not None or text is not None

    def _make_room(self, tag_id: int) -> None:
        if tag_id >= len(self._of.is_known):
            self._of = self._of.grown(2 * (tag_id + 1))
