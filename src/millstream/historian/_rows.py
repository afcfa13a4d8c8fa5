"""Decoded rows on their way into the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from millstream.historian._columns import KIND_BOOL, KIND_FLOAT, KIND_INT, Codes, Floats, Ints, Kinds

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Rows:
    """`n` samples of any tags; arrays of shape (n,), times in UTC ns. `order` is the place of arrival among them,
    from 0. `whole` and `text` are sparse (see `_columns`)."""

    tag_id: Codes
    time_ns: Ints
    order: Ints
    quality: Codes
    kind: Kinds
    value: Floats
    whole: dict[int, int]
    text: dict[int, str]

    def __len__(self) -> int:
        return len(self.time_ns)

    def arrow(self, first_order: int = 0) -> pa.Table:
        """As the table that the store inserts; `first_order` is added to `order`."""
        import pyarrow as pa

        n = len(self)
        has_value = (self.kind == KIND_FLOAT) | (self.kind == KIND_INT) | (self.kind == KIND_BOOL)
        whole = pa.array([self.whole.get(i) for i in range(n)], pa.int64()) if self.whole else pa.nulls(n, pa.int64())
        text = pa.array([self.text.get(i) for i in range(n)], pa.string()) if self.text else pa.nulls(n, pa.string())
        return pa.table(
            {
                "tag_id": pa.array(self.tag_id),
                "ts": pa.array(self.time_ns).cast(pa.timestamp("ns")),
                "n": pa.array(self.order + first_order),
                "kind": pa.array(self.kind),
                "value": pa.array(self.value, mask=None if has_value.all() else ~has_value),
                "whole": whole,
                "text": text,
                "quality": pa.array(self.quality),
            }
        )


def join_rows(parts: Sequence[Rows], *, is_ordered: bool = False) -> Rows:
    """Several as one; the places of arrival follow one another, unless they are those of one list already
    (`is_ordered`)."""
    if len(parts) == 1:
        return parts[0]
    whole: dict[int, int] = {}
    text: dict[int, str] = {}
    orders, start = [], 0
    for part in parts:
        whole.update((start + i, v) for i, v in part.whole.items())
        text.update((start + i, v) for i, v in part.text.items())
        orders.append(part.order if is_ordered else part.order + start)
        start += len(part)
    return Rows(
        np.concatenate([p.tag_id for p in parts]) if parts else np.empty(0, np.uint32),
        np.concatenate([p.time_ns for p in parts]) if parts else np.empty(0, np.int64),
        np.concatenate(orders) if parts else np.empty(0, np.int64),
        np.concatenate([p.quality for p in parts]) if parts else np.empty(0, np.uint32),
        np.concatenate([p.kind for p in parts]) if parts else np.empty(0, np.uint8),
        np.concatenate([p.value for p in parts]) if parts else np.empty(0, np.float64),
        whole,
        text,
    )
