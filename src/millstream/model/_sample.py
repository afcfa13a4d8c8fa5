"""Samples and blocks: the values themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from millstream.model._quality import GOOD, Quality

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value]"
"""What a tag can hold. Integers are 64-bit signed or unsigned; floats include NaN and the infinities."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one tag, as the source stated it.

    `tag` is the tag's key: the text form of its `TagPath`, or, inside a connector, `Tag.key`.
    `value` may be None unless the quality is good (`Quality.allows_null`). `source_time_ns` is UTC, None when the
    source has no clock.
    """

    tag: str
    value: Value | None
    quality: Quality = GOOD
    source_time_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples of one tag, columnar, in source order.

    `source_time_ns` is int64 of shape (n,), `values` any 1-D array or list of length n, `quality` uint32 of shape (n,)
    or None when all are good.
    """

    tag: str
    source_time_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.generic] | Sequence[Value | None]
    quality: npt.NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return len(self.source_time_ns)
