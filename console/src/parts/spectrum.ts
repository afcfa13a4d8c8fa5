/** The spectrum of evenly sampled values. Pure. */

const SAMPLES_MIN = 64;
const SAMPLES_MAX = 1 << 16;
const JITTER_MAX = 0.5; // of the distance of two samples: the same bound as the flow `waveform` has

/** `hz` and the amplitude there; or why there is none. */
export type Spectrum = { hz: number[]; amplitude: number[]; count: number } | "few" | "uneven";

/** Of the newest samples, as many as a power of two. Hann window; a sine of amplitude 1 gives 1 at its frequency. */
export function spectrumOf(times: number[], values: (number | null)[]): Spectrum {
  const count = Math.min(SAMPLES_MAX, 2 ** Math.floor(Math.log2(Math.max(1, times.length))));
  if (count < SAMPLES_MIN) return "few";
  const first = times.length - count;
  const stepMs = (times[times.length - 1] - times[first]) / (count - 1);
  const real = new Float64Array(count);
  let mean = 0;
  for (let n = 0; n < count; n++) {
    const value = values[first + n];
    if (value === null || Math.abs(times[first + n] - times[first] - n * stepMs) > JITTER_MAX * stepMs) return "uneven";
    real[n] = value;
    mean += value / count;
  }
  for (let n = 0; n < count; n++) real[n] = (real[n] - mean) * (1 - Math.cos((2 * Math.PI * n) / count));
  const imaginary = new Float64Array(count);
  transform(real, imaginary);
  const lines = Array.from({ length: count / 2 - 1 }, (_, n) => n + 1);
  return {
    count,
    hz: lines.map((n) => (n * 1000) / (count * stepMs)),
    amplitude: lines.map((n) => (2 * Math.hypot(real[n], imaginary[n])) / count),
  };
}

/** Cooley and Tukey's, in place; the length is a power of two. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  const count = real.length;
  for (let n = 1, other = 0; n < count; n++) {
    let bit = count >> 1;
    for (; other & bit; bit >>= 1) other ^= bit;
    other ^= bit;
    if (n < other) {
      [real[n], real[other]] = [real[other], real[n]];
      [imaginary[n], imaginary[other]] = [imaginary[other], imaginary[n]];
    }
  }
  for (let size = 2; size <= count; size *= 2) {
    const half = size / 2;
    for (let n = 0; n < half; n++) {
      const angle = (-2 * Math.PI * n) / size;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let low = n; low < count; low += size) {
        const high = low + half;
        const re = real[high] * cos - imaginary[high] * sin;
        const im = real[high] * sin + imaginary[high] * cos;
        real[high] = real[low] - re;
        imaginary[high] = imaginary[low] - im;
        real[low] += re;
        imaginary[low] += im;
      }
    }
  }
}
