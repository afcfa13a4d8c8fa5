"""Features of what is sampled fast: vibration, current, force. The samples may stay where they are."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import Field, field_validator, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, Run, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._features import WITHOUT_UNIT, Feature, Features, Limits
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, nanoseconds, number
from millstream.kernel import ConfigError
from millstream.model import Quality
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration

SIZE_MIN = 32  # the filter of the envelope needs 28, and a spectrum of fewer says little
SIZE_MAX = 16_384  # values of a window: half of what the state of a key may take
BANDS_MAX = 32
SAMPLE_BYTES = 8
BAD_SEVERITY = 2  # the top two bits of a quality, from here on
_pack = struct.Struct("<d").pack


class BandConfig(FlowConfig):
    """A band of frequencies, from `low_hz` up to, not including, `high_hz`."""

    low_hz: float = Field(ge=0)
    """Lower edge in Hz."""
    high_hz: float = Field(gt=0)
    """Upper edge in Hz, at most half of the sampling rate."""

    @model_validator(mode="after")
    def _fits(self) -> BandConfig:
        if self.low_hz >= self.high_hz:
            raise ValueError("low_hz is below high_hz")
        return self


class WaveformConfig(FlowConfig):
    """How fast is sampled, and what is worth knowing of it."""

    rate_hz: float = Field(gt=0, le=1e6)
    """Samples a second. A sample that comes more than half of its distance too early or too late ends the window
    without a result, for a spectrum of uneven samples is none."""
    window: Duration = 1.0
    """So long a stretch of samples gives one value of each feature; one window begins where the one before it ends."""
    features: tuple[Feature, ...] = ("rms", "peak", "crest_factor", "kurtosis")
    """Of `mean`, `rms`, `peak`, `peak_to_peak`, `crest_factor`, `kurtosis` (3 for noise, more for shocks) and
    `skewness`. All but `mean` are about the mean of the window."""
    bands: dict[str, BandConfig] = Field(default={}, max_length=BANDS_MAX)
    """By name: each gives `band/<name>`, the RMS of what lies in the band (Hann window)."""
    envelope: BandConfig | None = None
    """The band in which bearings and gears ring: gives `envelope/mean`, `envelope/rms` (of what is about the mean) and
    `envelope/kurtosis` of the envelope."""
    envelope_bands: dict[str, BandConfig] = Field(default={}, max_length=BANDS_MAX)
    """By name, with `envelope`: each gives `envelope/band/<name>`, the RMS of what lies in the band of the envelope's
    own spectrum: how strongly the resonance is struck so often."""
    output: OutputName = "{name}"
    """Features are `<output>/<feature>` at the same place; `{name}` stands for the input's name."""

    @field_validator("bands", "envelope_bands")
    @classmethod
    def _named(cls, bands: dict[str, BandConfig]) -> dict[str, BandConfig]:
        for name in bands:
            if not name.isidentifier() or not name.isascii():
                raise ValueError(f"not a name of a band: {name!r} (letters, digits and _)")
        return bands

    @model_validator(mode="after")
    def _fits(self) -> WaveformConfig:
        if not SIZE_MIN <= self.size <= SIZE_MAX:
            raise ValueError(f"a window holds {SIZE_MIN} to {SIZE_MAX} samples; this one {self.size}")
        if self.envelope_bands and self.envelope is None:
            raise ValueError("envelope_bands need an envelope")
        for name, band in (*self.bands.items(), *self.envelope_bands.items()):
            if band.high_hz > self.rate_hz / 2:
                raise ValueError(f"band {name!r} reaches over half of rate_hz, where nothing can be seen")
        if self.envelope is not None and not 0 < self.envelope.low_hz < self.envelope.high_hz < self.rate_hz / 2:
            raise ValueError("the band of the envelope lies between 0 and half of rate_hz")
        if "{name}" not in self.output:
            raise ValueError("output contains {name}: each waveform has features of its own")
        if not (self.features or self.bands or self.envelope):
            raise ValueError("nothing is asked for")
        return self

    @property
    def size(self) -> int:
        """Samples of a window."""
        return round(self.rate_hz * self.window)


class Window(msgspec.Struct, array_like=True):
    """Samples so far (float64, little-endian), the time of the newest (UTC ns), their worst quality, and whether an
    interruption was told since the last full window."""

    samples: bytes = b""
    newest_ns: int = 0
    quality: int = 0
    is_told: bool = False


class _Wave:
    """The step."""

    def __init__(self, config: WaveformConfig, features: Features) -> None:
        self._path, self._features = OutputPath(config.output), features
        self._full = config.size * SAMPLE_BYTES
        distance_ns = nanoseconds(1 / config.rate_hz)
        self._low_ns, self._high_ns = distance_ns // 2, distance_ns * 3 // 2

    def __call__(self, state: Window, event: Event) -> tuple[Window, Sequence[Effect]]:
        if event.value is None or event.quality.is_bad:
            return self._interrupted(state, event, "a bad value")
        value = number(event.value)
        if value is None:
            raise ValueError(f"not a number: {event.value!r:.60}")
        effects: Sequence[Effect] = ()
        if state.samples and not self._low_ns <= event.time_ns - state.newest_ns <= self._high_ns:
            state, effects = self._interrupted(state, event, "uneven times")
        state.samples += _pack(value)
        state.newest_ns = event.time_ns
        state.quality = max(state.quality, int(event.quality))
        if len(state.samples) < self._full:
            return state, effects
        said = [*effects, *self._said(state, event)]
        return Window(newest_ns=event.time_ns), said

    def absorb(self, state: Window, run: Run) -> int:
        """Samples that are numbers, not bad, at even distances, up to the one that makes the window full."""
        import numpy as np

        count = min(len(run.values), (self._full - len(state.samples)) // SAMPLE_BYTES - 1)
        if count <= 0 or (state.samples and not self._low_ns <= int(run.time_ns[0]) - state.newest_ns <= self._high_ns):
            return 0
        times, values = run.time_ns[:count], run.values[:count].astype("<f8")
        fits = np.isfinite(values)
        apart = times[1:] - times[:-1]
        fits[1:] &= (apart >= self._low_ns) & (apart <= self._high_ns)
        if run.quality is not None:
            fits &= run.quality[:count] >> 30 < BAD_SEVERITY
        if not np.logical_and.reduce(fits):
            count = int(fits.argmin())
        if count:
            state.samples += values[:count].tobytes()
            state.newest_ns = int(times[count - 1])
            if run.quality is not None:
                state.quality = max(state.quality, int(run.quality[:count].max()))
        return count

    def _interrupted(self, state: Window, event: Event, why: str) -> tuple[Window, Sequence[Effect]]:
        """The window is lost; the first time since a full one it is told."""
        fresh = Window(is_told=state.is_told)
        lost = len(state.samples) // SAMPLE_BYTES
        if state.is_told or not lost:
            return fresh, ()
        fresh.is_told = True
        data = {"why": why, "lost": lost, "after": format_time(state.newest_ns)}
        path = f"{self._path(event.key)}/interrupted"
        return fresh, (EmitEvent(path, "millstream.waveform.interrupted", data, event.time_ns),)

    def _said(self, state: Window, event: Event) -> list[Effect]:
        path, quality = self._path(event.key), Quality(state.quality)
        return [
            Emit(f"{path}/{name}", value, event.time_ns, "kpi", quality, self._unit(name, event))
            for name, value in self._features.of(state.samples).items()
        ]

    def _unit(self, name: str, event: Event) -> str | None:
        group, _, last = name.rpartition("/")
        return None if last in WITHOUT_UNIT and not group.endswith("band") else event.unit


def _build(
    name: str, inputs: tuple[Input, ...], config: WaveformConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    bands = {key: Limits(band.low_hz, band.high_hz) for key, band in config.bands.items()}
    envelope = Limits(config.envelope.low_hz, config.envelope.high_hz) if config.envelope is not None else None
    beats = {key: Limits(band.low_hz, band.high_hz) for key, band in config.envelope_bands.items()}
    features = Features(
        config.features, bands, envelope, rate_hz=config.rate_hz, size=config.size, envelope_bands=beats
    )
    if empty := features.empty_bands():
        raise ConfigError(
            "a band is narrower than a window of this length can tell apart",
            expected=f"a line of the spectrum each {config.rate_hz / config.size:g} Hz", got=", ".join(empty),
        )  # fmt: skip
    key, said = OutputPath(config.output).key, ("kpi", "event")
    wave = _Wave(config, features)
    flow = Flow(name, inputs, wave, Window, Window, key, None, said, time, version, absorb=wave.absorb)
    return in_order(flow)


WAVEFORM = FlowType(
    "waveform", WaveformConfig, _build,
    "Features of fast samples, such as vibration or current at 1 kHz: level, peaks, crest factor, kurtosis, what lies "
    "in bands of the spectrum, and the envelope, one of each for a window. The time of a feature is that of the last "
    "sample in it. Samples that are lost or bad end a window without a result, and an event says so once. Needs "
    "`pip install millstream[predict]`.",
)  # fmt: skip
