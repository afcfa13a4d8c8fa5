"""Configuration of the replay connector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from millstream.protocols.shdr import parse_time_ns
from millstream.sdk import ConfigPath, ConnectorConfig, Duration

Format = Literal["shdr", "csv", "jsonl", "waveform"]


class ReplayConfig(ConnectorConfig):
    """What to replay, how fast, and with which times."""

    file: ConfigPath
    """The recording; .gz is unpacked while reading (not for waveforms)."""
    format: Literal["auto"] | Format = "auto"
    """shdr (.txt, .shdr), csv, jsonl or waveform (.npz, .npy); auto goes by the file's name."""
    speed: Annotated[float, Field(gt=0, le=1e6)] | Literal["max"] = 1.0
    """1.0 is true speed, 10 is ten times as fast, max is as fast as it is stored."""
    loop: bool = False
    """Start again at the end. Needs shifted times and a speed that is not max."""
    times: Literal["original", "shift"] = "original"
    """original keeps the recorded times; shift moves them so that the recording begins now (with max: ends now)."""
    pause_max: Duration = 0.0
    """Pauses in the recording are shortened to this; 0s keeps them. Not for waveforms."""
    time_column: str | None = None
    """csv: name of the column that holds the time; the first column when left out."""
    time_unit: Literal["iso", "s", "ms", "us", "ns"] = "iso"
    """csv and jsonl: how times are written; numbers count from 1970 in UTC, ISO 8601 without a zone is UTC."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """csv: the character between columns."""
    rate_hz: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """waveform: samples per second of each channel; needed unless the .npz holds a number named rate_hz."""
    start_time: str | None = None
    """waveform: time of the first sample, ISO 8601; needed with original times."""
    block_duration: Duration = 1.0
    """waveform: how much of a channel goes into one block."""
    devices_file: ConfigPath | None = None
    """shdr: a Devices.xml that says what each data item is; without it numbers and text go by their look."""

    @model_validator(mode="after")
    def _fits(self) -> ReplayConfig:
        if self.loop and (self.times == "original" or self.speed == "max"):
            raise ValueError(
                "loop needs 'times: shift' and a speed that is a number, or times would repeat or run away"
            )
        if self.start_time is not None:
            parse_time_ns(self.start_time)
        if self.resolved_format == "waveform":
            if self.times == "original" and self.start_time is None:
                raise ValueError("a waveform has no times: give start_time, or 'times: shift'")
            if self.block_duration <= 0:
                raise ValueError("block_duration must be longer than 0s")
        return self

    @property
    def resolved_format(self) -> Format:
        """The format, by the file's name when it is auto. Raises ValueError."""
        if self.format != "auto":
            return self.format
        name = self.file.name.removesuffix(".gz")
        by_suffix: dict[str, Format] = {
            "txt": "shdr",
            "shdr": "shdr",
            "csv": "csv",
            "jsonl": "jsonl",
            "ndjson": "jsonl",
            "npz": "waveform",
            "npy": "waveform",
        }
        found = by_suffix.get(name.rpartition(".")[2].lower())
        if found is None:
            raise ValueError(f"format of {self.file.name!r} cannot be told by its name: give 'format'")
        return found
