"""One file, looked through once: what it holds, how long it lasts, and its digest, by which a position knows it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Generator
from dataclasses import dataclass, field

from millstream.connectors.replay._config import ReplayConfig
from millstream.connectors.replay._rows import CHUNK_BYTES, Row, text_rows
from millstream.connectors.replay._waveform import Waveform, load_waveform, waveform_rows
from millstream.kernel import ConfigError, DecodeError
from millstream.model import Value
from millstream.sdk import NodeInfo

KEYS_COUNT_MAX = 100_000  # distinct tags of one file that are remembered; more are still replayed
PASS_GAP_NS = 1_000_000_000  # between two passes of a loop, so that no time stands twice


@dataclass(slots=True)
class Timeline:
    """Places recorded times on the axis of the replay, ns since its start; long pauses are cut, steps back are kept."""

    pause_max_ns: int = 0
    offset_ns: int = 0
    last_ns: int | None = None

    def place(self, time_ns: int | None) -> int:
        """The next row's offset; a row without a time comes with the row before it."""
        if time_ns is None:
            return self.offset_ns
        if self.last_ns is not None:
            step_ns = time_ns - self.last_ns
            if self.pause_max_ns:
                step_ns = min(step_ns, self.pause_max_ns)
            self.offset_ns += step_ns
        self.last_ns = time_ns
        return self.offset_ns


@dataclass(slots=True)
class Recording:
    """A file ready to be replayed. `span_ns` is the length of one pass of a loop at true speed."""

    config: ReplayConfig
    digest: str
    rows_count: int = 0
    span_ns: int = 0
    keys: dict[str, str] = field(default_factory=dict)
    waveform: Waveform | None = None

    def rows(self) -> Generator[Row, None, None]:
        """All rows from the start (blocking file reads in small steps)."""
        if self.waveform is not None:
            return waveform_rows(self.waveform, self.config.block_duration)
        return text_rows(self.config)

    def timeline(self) -> Timeline:
        """A fresh one, at the start of a pass. A waveform's starts at its first sample, not at its first row."""
        if self.waveform is not None:
            return Timeline(last_ns=self.waveform.start_ns)
        return Timeline(int(self.config.pause_max * 1e9))

    def nodes(self) -> list[NodeInfo]:
        """What the file holds, by address."""
        return [NodeInfo(address=key, name=key, data_type=kind) for key, kind in sorted(self.keys.items())]


def read_recording(config: ReplayConfig) -> Recording:
    """Look through the file (blocking: about 0.5 s for 100,000 lines). Raises ConfigError, DecodeError."""
    try:
        recording = Recording(config, _digest(config))
        if config.resolved_format == "waveform":
            recording.waveform = load_waveform(config)
            recording.keys = {name: str(array.dtype) for name, array in recording.waveform.channels.items()}
        _look_through(recording)
    except OSError as error:
        raise ConfigError(
            f"recording cannot be read: {error.strerror or error}",
            where=str(config.file),
            next_step="correct 'file'",
            code="MS-0104",
        ) from error
    except (EOFError, zlib.error) as error:
        raise DecodeError(f"recording is cut off: {error}", where=str(config.file), code="MS-0306") from error
    return recording


def _look_through(recording: Recording) -> None:
    timeline = recording.timeline()
    span_ns = 0
    for row in recording.rows():
        recording.rows_count += 1
        span_ns = max(span_ns, timeline.place(row.time_ns))
        for key, value, _ in row.items:
            if value is not None and key not in recording.keys and len(recording.keys) < KEYS_COUNT_MAX:
                recording.keys[key] = _type_name(value)
            elif value is None:
                recording.keys.setdefault(key, "unknown")
    recording.span_ns = span_ns if recording.waveform is not None else span_ns + PASS_GAP_NS


def _type_name(value: Value) -> str:
    return type(value).__name__


def _digest(config: ReplayConfig) -> str:
    digest = hashlib.sha256()
    with config.file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()[:32]
