/** Pixels in which lines are drawn, all of them at once, and which a canvas then takes as one picture. Told each line as a path, a
 * canvas without a graphics card takes fifty times longer: it looks for where each of a thousand strokes meets each other. Pure. */

const OPAQUE = 255;
const OPAQUE_WORD = 0xff << 24;
const TURN = 1; // in slopes: from here on the two ends of a corner leave a notch between them

/** Lengths of dashes and gaps in turn, an even number of them. */
interface Dash {
  lengths: number[];
  sum: number;
}

export class Raster {
  /** RGBA, row by row, not premultiplied: what an `ImageData` holds. */
  readonly bytes: Uint8ClampedArray<ArrayBuffer>;
  private readonly words: Uint32Array;
  private rgb = 0;

  constructor(readonly width: number, readonly height: number) {
    this.bytes = new Uint8ClampedArray(4 * width * height);
    this.words = new Uint32Array(this.bytes.buffer);
  }

  clear(): void {
    this.words.fill(0);
  }

  /** Of all that is drawn from now on: `#rrggbb`. */
  set color(text: string) {
    const hex = parseInt(text.slice(1), 16);
    this.rgb = ((hex & 0xff) << 16) | (hex & 0xff00) | (hex >> 16);
  }

  /** Whole pixels of one column, from `top` to before `bottom`. */
  fill(x: number, top: number, bottom: number, alpha: number): void {
    const end = Math.min(this.height, bottom) * this.width + x;
    for (let at = Math.max(0, top) * this.width + x; at < end; at += this.width) this.blend(at, alpha);
  }

  /** A line through `points` (x and y in turn, from left to right); one that is dashed is so along its length. */
  stroke(points: number[], thick: number, lengths: number[]): void {
    const dash = { lengths, sum: lengths.reduce((sum, px) => sum + px, 0) };
    let [passed, slope] = [0, NaN];
    if (points.length === 2) this.dot(points[0], points[1], thick);
    for (let at = 2; at < points.length; at += 2) {
      const [x0, y0, x1, y1] = [points[at - 2], points[at - 1], points[at], points[at + 1]];
      const next = (y1 - y0) / Math.max(1e-9, x1 - x0);
      if (Math.abs(next - slope) > TURN && isOn(dash, passed)) this.dot(x0, y0, thick);
      this.segment(x0, y0, x1, y1, thick, dash, passed);
      passed += Math.hypot(x1 - x0, y1 - y0);
      slope = next;
    }
  }

  private segment(x0: number, y0: number, x1: number, y1: number, thick: number, dash: Dash, passed: number): void {
    const [dx, dy] = [x1 - x0, y1 - y0];
    const long = Math.hypot(dx, dy);
    if (dx > Math.abs(dy)) {
      const half = (thick * long) / dx / 2;
      const last = Math.min(this.width, Math.ceil(x1 - 0.5));
      for (let x = Math.max(0, Math.ceil(x0 - 0.5)); x < last; x++) {
        const share = (x + 0.5 - x0) / dx;
        if (isOn(dash, passed + share * long)) this.upright(x, y0 + share * dy - half, y0 + share * dy + half);
      }
    } else if (dy !== 0) {
      const half = (thick * long) / Math.abs(dy) / 2;
      const last = Math.min(this.height, Math.ceil(Math.max(y0, y1) - 0.5));
      for (let y = Math.max(0, Math.ceil(Math.min(y0, y1) - 0.5)); y < last; y++) {
        const share = (y + 0.5 - y0) / dy;
        if (isOn(dash, passed + share * long)) this.flat(y, x0 + share * dx - half, x0 + share * dx + half, 1);
      }
    }
  }

  private dot(x: number, y: number, thick: number): void {
    for (let row = Math.max(0, Math.floor(y - thick / 2)); row < Math.min(this.height, y + thick / 2); row++) {
      const share = Math.min(row + 1, y + thick / 2) - Math.max(row, y - thick / 2);
      this.flat(row, x - thick / 2, x + thick / 2, share);
    }
  }

  /** Part of a column: a pixel that is met by half is half as dense. */
  upright(x: number, top: number, bottom: number): void {
    this.run(x, this.width, this.height, top, bottom, 1);
  }

  private flat(y: number, left: number, right: number, share: number): void {
    this.run(y * this.width, 1, this.width, left, right, share);
  }

  /** Of `count` pixels that begin at one and are so far apart, those from one place to another. */
  private run(begin: number, step: number, count: number, from: number, to: number, share: number): void {
    const first = Math.max(0, Math.floor(from));
    const end = Math.min(count, Math.ceil(to));
    const whole = share === 1 ? Math.min(end, Math.floor(to)) : first;
    let at = first;
    if (at < from && at < end) this.blend(begin + step * at, Math.round(OPAQUE * share * (Math.min(++at, to) - from)));
    const word = this.rgb | OPAQUE_WORD;
    for (; at < whole; at++) this.words[begin + step * at] = word;
    for (; at < end; at++) this.blend(begin + step * at, Math.round(OPAQUE * share * (Math.min(at + 1, to) - at)));
  }

  /** Over what is there: Porter and Duff's. */
  private blend(at: number, alpha: number): void {
    const under = this.words[at];
    const covered = under >>> 24;
    if (alpha >= OPAQUE || covered === 0) {
      this.words[at] = (alpha << 24) | this.rgb;
      return;
    }
    const rest = (covered * (OPAQUE - alpha)) / OPAQUE;
    const sum = alpha + rest;
    const mixed = (shift: number): number => Math.round((((this.rgb >> shift) & 0xff) * alpha + ((under >> shift) & 0xff) * rest) / sum) << shift;
    this.words[at] = (Math.round(sum) << 24) | mixed(16) | mixed(8) | mixed(0);
  }
}

/** Whether a dash, and not the gap behind it, is there so far along a line. */
function isOn({ lengths, sum }: Dash, passed: number): boolean {
  let rest = sum === 0 ? 0 : passed % sum;
  let part = 0;
  while (part < lengths.length && rest >= lengths[part]) rest -= lengths[part++];
  return part % 2 === 0;
}
