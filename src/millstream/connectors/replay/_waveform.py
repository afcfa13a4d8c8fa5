"""Waveform recordings: .npz (one array a channel) and .npy (one array, channels in columns)."""

from __future__ import annotations

import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from millstream.connectors.replay._config import ReplayConfig
from millstream.connectors.replay._rows import Row
from millstream.kernel import DecodeError
from millstream.protocols.shdr import parse_time_ns

WAVEFORM_BYTES_MAX = 1 << 30  # unpacked; a longer recording is cut into files
RATE_KEY = "rate_hz"


@dataclass(frozen=True, slots=True)
class Waveform:
    """Channels of equal length and rate. `start_ns` is 0 when unknown."""

    channels: dict[str, npt.NDArray[np.generic]]
    rate_hz: float
    start_ns: int

    @property
    def samples_count(self) -> int:
        """Per channel."""
        return len(next(iter(self.channels.values()))) if self.channels else 0

    @property
    def duration_ns(self) -> int:
        """From the first sample to one sampling interval after the last."""
        return round(self.samples_count * 1e9 / self.rate_hz)


def load_waveform(config: ReplayConfig) -> Waveform:
    """Read the whole file (blocking). Raises OSError, DecodeError."""
    try:
        _check_size(config)
        loaded: Any = np.load(config.file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = _columns(loaded)
        else:
            with loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise DecodeError(f"not a waveform file: {error}", where=str(config.file), code="MS-0306") from error
    rate = arrays.pop(RATE_KEY, None)
    rate_hz = config.rate_hz or (float(rate) if rate is not None and rate.size == 1 else 0.0)
    channels = {name: array for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "biuf"}
    lengths = {len(array) for array in channels.values()}
    if not rate_hz > 0 or len(lengths) != 1:
        raise DecodeError(
            "waveform file does not fit",
            where=str(config.file),
            expected="numeric channels of one length, and rate_hz (in the file or the configuration)",
            got=f"lengths {sorted(lengths)}, rate_hz {rate_hz:g}",
            code="MS-0306",
        )
    return Waveform(channels, rate_hz, parse_time_ns(config.start_time) if config.start_time else 0)


def _check_size(config: ReplayConfig) -> None:
    size = config.file.stat().st_size
    if zipfile.is_zipfile(config.file):
        with zipfile.ZipFile(config.file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    if size > WAVEFORM_BYTES_MAX:
        raise DecodeError(
            "waveform file is too large",
            where=str(config.file),
            expected=f"at most {WAVEFORM_BYTES_MAX} bytes unpacked",
            got=str(size),
            code="MS-0306",
        )


def _columns(array: npt.NDArray[np.generic]) -> dict[str, npt.NDArray[np.generic]]:
    if array.ndim == 1:
        return {"0": array}
    if array.ndim == 2:
        return {str(i): array[:, i] for i in range(array.shape[1])}
    raise ValueError(f"array has {array.ndim} dimensions, expected 1 or 2")


def waveform_rows(waveform: Waveform, block_duration_s: float) -> Generator[Row, None, None]:
    """One row a block; its time is the end of the block, when a real device would have sent it."""
    step = max(1, round(block_duration_s * waveform.rate_hz))
    interval_ns = 1e9 / waveform.rate_hz
    for start in range(0, waveform.samples_count, step):
        end = min(start + step, waveform.samples_count)
        yield Row(
            waveform.start_ns + round(end * interval_ns),
            arrays={name: array[start:end] for name, array in waveform.channels.items()},
            array_offsets_ns=np.arange(start, end, dtype=np.float64) * interval_ns,
        )
