"""What a message holds, sample by sample; of a block of numbers also many samples at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from millstream.flow._model import Run
from millstream.model import GOOD, Quality

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from millstream.protocols.uns_payload import BlockRecord


class Fact(NamedTuple):
    """One sample or event of a message, without its key."""

    time_ns: int
    value: Any
    quality: Quality
    unit: str | None
    type: str


class BlockFacts(Sequence[Fact]):
    """The samples of a block of numbers; each is made when it is asked for."""

    def __init__(self, block: BlockRecord, times: npt.NDArray[np.int64], values: npt.NDArray[np.generic]) -> None:
        self._times, self._values, self._quality = times, values, block.quality
        self._unit = block.unit
        # where the time goes back: no run reaches over that
        self._breaks = ((self._times[1:] < self._times[:-1]).nonzero()[0] + 1).tolist()

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: Any) -> Any:
        quality = GOOD if self._quality is None else Quality(self._quality[index])
        return Fact(int(self._times[index]), self._values[index].item(), quality, self._unit, "")

    def run(self, key: str, source: str, start: int, newest_ns: int) -> Run | None:
        """The samples from `start` on in the order of time, none older than `newest_ns`."""
        if self._times[start] < newest_ns:
            return None
        end = next((at for at in self._breaks if at > start), len(self._times))
        quality = None if self._quality is None else self._quality[start:end]
        return Run(key, source, self._times[start:end], self._values[start:end], quality, self._unit)
