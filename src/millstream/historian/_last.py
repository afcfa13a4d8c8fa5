"""The newest sample of each tag, in memory: the one question that a table in order of arrival answers badly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from millstream.historian._rows import Rows


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


class LastValues:
    """Newest by source time; of equal times the one that arrived last. Cost of `add`: O(n log n) in the rows."""

    def __init__(self, rows: Iterable[LastRow] = ()) -> None:
        self._rows = {row.tag_id: row for row in rows}

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[LastRow]:
        """All, for a checkpoint."""
        return list(self._rows.values())

    def get(self, tag_id: int) -> LastRow | None:
        """The newest sample of a tag, None when it has none."""
        return self._rows.get(tag_id)

    def add(self, rows: Rows) -> None:
        """Take stored rows in; older ones than known change nothing."""
        if not len(rows):
            return
        by = np.lexsort((rows.order, rows.time_ns, rows.tag_id))
        tag_ids = rows.tag_id[by]
        newest = by[np.flatnonzero(np.append(tag_ids[1:] != tag_ids[:-1], True))]
        for index, tag_id, time_ns in zip(
            newest.tolist(), rows.tag_id[newest].tolist(), rows.time_ns[newest].tolist(), strict=True
        ):
            known = self._rows.get(tag_id)
            if known is None or time_ns >= known.time_ns:
                self._rows[tag_id] = LastRow(
                    tag_id,
                    time_ns,
                    int(rows.kind[index]),
                    float(rows.value[index]),
                    rows.whole.get(index),
                    rows.text.get(index),
                    int(rows.quality[index]),
                )
