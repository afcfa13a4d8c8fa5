"""Samples in time made to samples in angle, and what lies at which order (K. R. Fyfe and E. D. S. Munck, "Analysis of
computed order tracking", Mechanical Systems and Signal Processing 11, 1997)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from millstream.kernel import needs_extra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Wave = npt.NDArray[np.float64]

REVOLUTIONS_MIN = 4  # the lines of fewer lie so far apart that neighbouring orders run into each other
SAMPLES_SHARE = 0.4  # of the sampling rate: a cubic spline follows up to there
LINES_BESIDE = 2  # of the spectrum on each side of an order: what a Hann window spreads
DIGITS = 6


class AngleSpectrum:
    """The RMS at wanted orders of windows of `size` values, evenly spaced at `rate_hz`."""

    def __init__(self, orders: Mapping[str, float], *, rate_hz: float, size: int) -> None:
        """Raises ConfigError (MS-0106) without numpy and scipy."""
        with needs_extra("a flow of type orders", "predict"):
            import numpy as np
            import scipy.fft
            import scipy.interpolate
            import scipy.signal
        self._np, self._fft, self._spline = np, scipy.fft, scipy.interpolate.CubicSpline
        self._orders, self._rate_hz, self._size = orders, rate_hz, size
        self._taper: Wave = scipy.signal.get_window("hann", size)
        self._power = 2 / (size * float((self._taper**2).sum()))
        self._times: Wave = np.arange(size) / rate_hz

    def of(self, samples: bytes, speeds: Sequence[tuple[float, float]]) -> tuple[float, dict[str, float]] | None:
        """The mean speed in Hz and the RMS at each order that can be seen. `samples` are float64, little-endian;
        `speeds` are (seconds since the first sample, Hz), and hold before the first and after the last of them. None
        when there are too few revolutions."""
        np = self._np
        values: Wave = np.frombuffer(samples, dtype="<f8")
        speed = np.maximum(np.interp(self._times, [at for at, _ in speeds], [hz for _, hz in speeds]), 0.0)
        angle = np.concatenate(([0.0], np.cumsum((speed[1:] + speed[:-1]) / 2) / self._rate_hz))
        whole = int(angle[-1])
        if whole < REVOLUTIONS_MIN:
            return None
        turning = np.concatenate(([True], np.diff(angle) > 0))  # a spline needs angles that go on
        evenly = np.arange(self._size) * (whole / self._size)
        wave = self._spline(angle[turning], values[turning])(evenly)
        wave = wave - wave.mean()
        power = np.abs(self._fft.rfft(wave * self._taper)) ** 2 * self._power
        fastest = float(speed.max())
        found = {}
        for name, order in self._orders.items():
            line = round(order * whole)
            if order * fastest <= SAMPLES_SHARE * self._rate_hz and 0 < line < len(power):
                found[name] = _short(float(power[max(line - LINES_BESIDE, 1) : line + LINES_BESIDE + 1].sum()) ** 0.5)
        return _short(float(angle[-1] / self._times[-1])), found


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
