/** The least and the greatest of any stretch of values, without looking at each: of sixteen it is kept what theirs are, of
 * sixteen such sixteens again, and so on. Values that come at the end are looked at once. Pure. */

export type Values = (number | null)[];

const SHIFT = 4;
const SIZE = 1 << SHIFT;

/** Of each whole group of those below; infinite where a group has no value. */
interface Level {
  least: number[];
  greatest: number[];
}

const known = new WeakMap<Values, Peaks>();

/** Kept as long as the values. Such as change other than by more at their end have to be another list. */
export function peaksOf(values: Values): Peaks {
  let found = known.get(values);
  if (found === undefined) known.set(values, (found = new Peaks(values)));
  found.grow();
  return found;
}

export class Peaks {
  /** What was found last; `least` is greater than `greatest` where there was no value. */
  least = Infinity;
  greatest = -Infinity;
  /** The values, side by side in memory: each number of a list of values is an object of its own. NaN, which is neither less nor
   * greater than any, where there is none. */
  private floor = new Float64Array(SIZE);
  private count = 0;
  private readonly levels: Level[] = [];

  constructor(private readonly values: Values) {}

  /** What has come at the end since. */
  grow(): void {
    const { length } = this.values;
    if (length > this.floor.length) {
      const larger = new Float64Array(Math.max(length, 2 * this.count));
      larger.set(this.floor.subarray(0, this.count));
      this.floor = larger;
    }
    for (; this.count < length; this.count++) this.floor[this.count] = this.values[this.count] ?? NaN;
    let below = length;
    for (let at = 0; below >= SIZE; at++) {
      const level = (this.levels[at] ??= { least: [], greatest: [] });
      for (let group = level.least.length; (group + 1) << SHIFT <= below; group++) {
        this.forget();
        this.see(at - 1, group << SHIFT, (group + 1) << SHIFT);
        level.least.push(this.least);
        level.greatest.push(this.greatest);
      }
      below = level.least.length;
    }
  }

  /** Looks at the values from `first` to before `end`. */
  look(first: number, end: number): void {
    this.forget();
    for (let at = -1; first < end; at++) {
      const [head, tail] = [((first + SIZE - 1) >> SHIFT) << SHIFT, (end >> SHIFT) << SHIFT];
      if (head >= tail || this.levels[at + 1] === undefined) return this.see(at, first, end);
      this.see(at, first, head);
      this.see(at, tail, end);
      [first, end] = [head >> SHIFT, tail >> SHIFT];
    }
  }

  private forget(): void {
    [this.least, this.greatest] = [Infinity, -Infinity];
  }

  /** Values (-1), or the groups of a level. */
  private see(at: number, first: number, end: number): void {
    const lows = at < 0 ? this.floor : this.levels[at].least;
    const highs = at < 0 ? this.floor : this.levels[at].greatest;
    let { least, greatest } = this;
    for (let one = first; one < end; one++) {
      if (lows[one] < least) least = lows[one];
      if (highs[one] > greatest) greatest = highs[one];
    }
    [this.least, this.greatest] = [least, greatest];
  }
}
