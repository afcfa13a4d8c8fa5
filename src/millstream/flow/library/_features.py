"""What one window of a waveform tells: level, peaks, how impulsive it is, what lies in which band, its envelope.

The only place that loads scipy, and only when a flow needs it. The envelope is the size of the analytic signal of a
band, made from one side of the spectrum (R. B. Randall and J. Antoni, "Rolling element bearing diagnostics - a
tutorial", Mechanical Systems and Signal Processing 25, 2011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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
        size: int, envelope_bands: Mapping[str, Limits] | None = None,
    ) -> None:  # fmt: skip
        """Raises ConfigError (MS-0106) without numpy and scipy."""
        with needs_extra("a flow of type waveform", "predict"):
            import numpy as np
            import scipy.fft
            import scipy.signal
        self._np, self._fft = np, scipy.fft
        self._wanted = wanted
        frequencies = np.fft.rfftfreq(size, 1 / rate_hz)
        self._lines, self._envelope_lines = (
            {
                name: slice(*np.searchsorted(frequencies, (band.low_hz, band.high_hz)).tolist())
                for name, band in asked.items()
            }
            for asked in (bands, envelope_bands or {})
        )
        self._taper: Wave = scipy.signal.get_window("hann", size)
        # Each line stands for its other side too. At 0 Hz, which has none, there is nothing: the mean was taken off.
        self._power = 2 / (size * float((self._taper**2).sum()))
        self._one_side: Wave | None = None
        if envelope is not None:
            edges = (envelope.low_hz, envelope.high_hz)
            filter_ = scipy.signal.butter(FILTER_ORDER, edges, "bandpass", fs=rate_hz, output="sos")
            _, gain = scipy.signal.sosfreqz(filter_, frequencies, fs=rate_hz)
            self._one_side = np.zeros(size)  # forwards and backwards, so without delay; twice what is positive
            self._one_side[: len(frequencies)] = 2 * np.abs(gain) ** 2

    def empty_bands(self) -> list[str]:
        """Bands that are narrower than the spectrum resolves."""
        return [
            name
            for asked in (self._lines, self._envelope_lines)
            for name, lines in asked.items()
            if lines.start == lines.stop
        ]

    def of(self, samples: bytes) -> dict[str, float]:
        """By name: the wanted ones, `band/<name>`, `envelope/...`; without those that have no value here, as the crest
        factor of silence. `samples` are float64, little-endian."""
        np = self._np
        values: Wave = np.frombuffer(samples, dtype="<f8")
        mean = self._mean(values)
        wave = values - mean
        peak = self._peak(wave)
        if peak <= SILENCE * (abs(mean) + peak) and peak <= SILENCE * self._peak(values):  # the first is cheap to know
            peak, wave = 0.0, np.zeros_like(wave)
        found = self._plain(mean, wave, peak, self._wanted)
        if self._lines:
            found |= {f"band/{name}": value for name, value in self._in_bands(wave, self._lines)}
        if self._one_side is not None:
            envelope = np.abs(self._fft.ifft(self._fft.fft(wave) * self._one_side))
            level = self._mean(envelope)
            beat = envelope - level
            about = self._plain(level, beat, 0.0, ("mean", "rms", "kurtosis"))
            found |= {f"envelope/{name}": value for name, value in about.items()}
            beats = self._in_bands(beat, self._envelope_lines)
            found |= {f"envelope/band/{name}": value for name, value in beats}
        return {name: float(f"{value:.{DIGITS}g}") for name, value in found.items()}

    def _in_bands(self, wave: Wave, asked: Mapping[str, slice]) -> list[tuple[str, float]]:
        if not asked:
            return []
        np = self._np
        spectrum = np.fft.rfft(wave * self._taper)
        found = []
        for name, lines in asked.items():
            of_band = spectrum[lines]
            found.append((name, (float(np.vdot(of_band, of_band).real) * self._power) ** 0.5))
        return found

    def _plain(self, mean: float, wave: Wave, peak: float, wanted: Sequence[Feature]) -> dict[str, float]:
        squares = wave * wave
        power = self._mean(squares)
        found: dict[str, float] = {"mean": mean, "rms": power**0.5, "peak": peak}
        if "peak_to_peak" in wanted:
            found["peak_to_peak"] = float(wave.max() - wave.min())
        if power > 0:
            if "crest_factor" in wanted:
                found["crest_factor"] = found["peak"] / found["rms"]
            if "kurtosis" in wanted:
                found["kurtosis"] = self._mean(squares * squares) / power**2
            if "skewness" in wanted:
                found["skewness"] = self._mean(squares * wave) / power**1.5
        return {name: found[name] for name in wanted if name in found}

    def _mean(self, values: Wave) -> float:
        """As `ndarray.mean` works it out, without the time that it takes to ask what is to be done."""
        return float(self._np.add.reduce(values)) / len(values)

    def _peak(self, values: Wave) -> float:
        return float(self._np.maximum.reduce(self._np.abs(values)))
