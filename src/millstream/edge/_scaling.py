"""Linear scaling that keeps integers exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.model import Value


def scale_value(value: Value | None, factor: float, offset: float) -> Value | None:
    """value x factor + offset for numbers (and lists of them); anything else as it is. Integers stay integers when
    factor and offset are."""
    kind = type(value)
    if kind is float or kind is int:
        try:
            return value * factor + offset  # type: ignore[operator]  # a number, by its exact type
        except OverflowError:  # an integer beyond what a float holds
            return float("inf") if (value > 0) == (factor > 0) else float("-inf")  # type: ignore[operator]
    if kind is list:
        return [scale_value(item, factor, offset) for item in value]  # type: ignore[union-attr, misc]
    return value


def scale_array(values: npt.NDArray[Any], factor: float, offset: float) -> npt.NDArray[Any]:
    """The same for an array; integers beyond 64 bits become floats."""
    if values.dtype.kind not in "iuf":
        return values
    if values.dtype.kind == "f" or isinstance(factor, float) or isinstance(offset, float):
        return values * factor + offset
    ends = [int(values.min()) * factor + offset, int(values.max()) * factor + offset]
    ends += [int(values.min()), int(values.max())]
    if min(ends) >= -(2**63) and max(ends) < 2**63:
        scaled: npt.NDArray[Any] = values.astype(np.int64) * factor + offset
        return scaled
    return values.astype(np.float64) * factor + offset
