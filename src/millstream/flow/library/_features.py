"""What one window of a waveform tells: level, peaks, how impulsive it is, what lies in which band, its envelope.

The only place that loads scipy, and only when a flow needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from millstream.kernel import needs_extra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Wave = npt.NDArray[np.float64]

Feature = Literal["mean", "rms", "peak", "peak_to_peak", "crest_factor", "kurtosis", "skewness"]
WITHOUT_UNIT = frozenset(("crest_factor", "kurtosis", "skewness"))
SILENCE = 1e-12  # of the largest value: what is left of a constant after rounding
FILTER_ORDER = 4
DIGITS = 9  # significant: what two processors agree on


@dataclass(frozen=True, slots=True)
class Limits:
    """A band of frequencies, in Hz."""

    low_hz: float
    high_hz: float


class Features:
    """Works out the wanted features of windows of `size` values, evenly spaced at `rate_hz`."""

    def __init__(
        self, wanted: Sequence[Feature], bands: Mapping[str, Limits], envelope: Limits | None, *, rate_hz: float,
        size: int,
    ) -> None:  # fmt: skip
        """Raises ConfigError (MS-0106) without numpy and scipy."""
        with needs_extra("a flow of type waveform", "predict"):
            import numpy as np
            import scipy.signal
        self._np, self._signal = np, scipy.signal
        self._wanted, self._bands, self._rate_hz = wanted, bands, rate_hz
        self._filter: Any = None
        if envelope is not None:
            edges = (envelope.low_hz, envelope.high_hz)
            self._filter = self._signal.butter(FILTER_ORDER, edges, "bandpass", fs=rate_hz, output="sos")
        frequencies = np.fft.rfftfreq(size, 1 / rate_hz)
        self._lines = {
            name: (frequencies >= band.low_hz) & (frequencies < band.high_hz) for name, band in bands.items()
        }

    def empty_bands(self) -> list[str]:
        """Bands that are narrower than the spectrum resolves."""
        return [name for name, lines in self._lines.items() if not lines.any()]

    def of(self, samples: bytes) -> dict[str, float]:
        """By name: the wanted ones, `band/<name>`, `envelope/...`; without those that have no value here, as the crest
        factor of silence. `samples` are float64, little-endian."""
        np = self._np
        values: Wave = np.frombuffer(samples, dtype="<f8")
        mean = float(values.mean())
        wave = values - mean
        if float(np.abs(wave).max()) <= SILENCE * float(np.abs(values).max()):
            wave = np.zeros_like(wave)
        found = self._plain(mean, wave, self._wanted)
        if self._bands:
            _, power = self._signal.periodogram(wave, self._rate_hz, "hann", detrend=False, scaling="density")
            width_hz = self._rate_hz / len(wave)
            for name, lines in self._lines.items():
                found[f"band/{name}"] = float(np.sqrt(power[lines].sum() * width_hz))
        if self._filter is not None:
            envelope = np.abs(self._signal.hilbert(self._signal.sosfiltfilt(self._filter, wave)))
            level = float(envelope.mean())
            about = self._plain(level, envelope - level, ("mean", "rms", "kurtosis"))
            found |= {f"envelope/{name}": value for name, value in about.items()}
        return {name: float(f"{value:.{DIGITS}g}") for name, value in found.items()}

    def _plain(self, mean: float, wave: Wave, wanted: Sequence[Feature]) -> dict[str, float]:
        np = self._np
        squares = wave * wave
        power = float(squares.mean())
        rms, peak = power**0.5, float(np.abs(wave).max())
        found: dict[str, float] = {
            "mean": mean, "rms": rms, "peak": peak, "peak_to_peak": float(wave.max() - wave.min()),
        }  # fmt: skip
        if power > 0:
            found["crest_factor"] = peak / rms
            found["kurtosis"] = float((squares * squares).mean()) / power**2
            found["skewness"] = float((squares * wave).mean()) / power**1.5
        return {name: found[name] for name in wanted if name in found}
