"""From data items to tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from millstream.model import BAD_NODE_ID_UNKNOWN, Block, Sample
from millstream.protocols.mtconnect_xml import Devices
from millstream.protocols.shdr import Kind, Observation, decode_value
from millstream.sdk import NodeInfo, Tag


class TagMap:
    """Which tags read which data item. An address is a data item's id or its name; either may be on the wire."""

    def __init__(self, tags: Sequence[Tag], devices: Devices | None, *, unmodelled: str | None = None) -> None:
        self._tags = tuple(tags)
        self._has_model = devices is not None
        self._unmodelled = unmodelled  # sent besides the model: the adapter's own line counter
        self._other: dict[str, set[str]] = {}
        for item in devices.data_items if devices is not None else ():
            both = {item.id, item.name or item.id}
            for spelling in both:
                self._other.setdefault(spelling, set()).update(both)
        self._keys: dict[str, list[str]] = {}
        for tag in self._tags:
            for spelling in self.spellings(tag.address):
                self._keys.setdefault(spelling, []).append(tag.key)

    def spellings(self, address: str) -> set[str]:
        """The address and, by the device model, its other name."""
        return self._other.get(address, set()) | {address}

    def keys(self, data_item: str) -> Sequence[str]:
        """Keys of the tags that read `data_item`."""
        return self._keys.get(data_item, ())

    def unknown(self, now_ns: int) -> list[Sample]:
        """One bad sample for each tag that the device model does not have; none without a model."""
        if not self._has_model:
            return []
        return [
            Sample(tag.key, None, BAD_NODE_ID_UNKNOWN, now_ns)
            for tag in self._tags
            if tag.address not in self._other and tag.address != self._unmodelled and not tag.address.startswith("@")
        ]


def device_nodes(devices: Devices, *, is_native: bool) -> Iterator[NodeInfo]:
    """The device model as browse gives it. Names are what an adapter (`is_native`) sends, ids what an agent does."""
    for item in devices.data_items:
        yield NodeInfo(
            address=(item.name or item.id) if is_native else item.id,
            name=item.name or item.id,
            groups=item.components[1:],
            data_type=item.kind.value,
            unit=item.unit(is_native=is_native),
            description=" ".join(part for part in (item.category, item.type, item.sub_type) if part),
        )


def series_block(key: str, event: Observation) -> Block | None:
    """A time series as a block: its time is that of the last value, the others lie before it by the rate.

    None when count, rate, values and time do not fit together.
    """
    if event.time_ns is None or len(event.fields) != 3:
        return None
    values, quality = decode_value(Kind.TIME_SERIES, event.fields)
    try:
        count, rate_hz = int(event.fields[0]), float(event.fields[1])
    except ValueError:
        return None
    if not quality.is_good or not isinstance(values, list) or not values or count != len(values) or not rate_hz > 0:
        return None
    return make_series(key, event.time_ns, rate_hz, values)


def make_series(key: str, time_ns: int, rate_hz: float, values: Sequence[object]) -> Block:
    """A block of `values`, the last of them at `time_ns`."""
    back_ns = np.rint(np.arange(len(values) - 1, -1, -1, dtype=np.float64) * 1e9 / rate_hz).astype(np.int64)
    return Block(key, np.int64(time_ns) - back_ns, np.asarray(values, dtype=np.float64))
