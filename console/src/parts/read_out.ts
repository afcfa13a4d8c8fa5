/** What stands under the cursor: the time, and each line's value there. */
import { exactText, numberText, plain } from "../format";
import { stateText } from "./band";
import { type Line } from "./chart";

const [GAP_PX, NAME_MAX] = [14, 40];

interface Row {
  label: string;
  unit: string;
  color: string;
}

export class ReadOut {
  private readonly box = document.createElement("div");
  private readonly time = document.createElement("b");
  private readonly values: HTMLElement[];

  constructor(private readonly over: HTMLElement, private readonly rows: Row[], private readonly isHertz: boolean) {
    this.box.className = "read";
    this.box.hidden = true;
    this.box.append(this.time);
    this.values = rows.map(({ label, color }) => {
      const [row, sign, value] = ["div", "i", "span"].map((name) => document.createElement(name));
      sign.style.background = color;
      const name = document.createElement("small");
      name.className = "foreign";
      name.textContent = plain(label.slice(label.lastIndexOf("/", label.indexOf(":")) + 1), NAME_MAX);
      row.append(sign, name, value);
      this.box.append(row);
      return value;
    });
    over.append(this.box);
  }

  /** `found` are the indices of the samples; `ms` undefined: the cursor is elsewhere. */
  show(lines: Line[], found: number[], ms: number | undefined, left: number): void {
    this.box.hidden = ms === undefined;
    if (ms === undefined) return;
    this.time.textContent = this.isHertz ? `${numberText(Number(ms.toPrecision(5)))} Hz` : exactText(ms);
    this.values.forEach((value, index) => (value.textContent = textOf(lines[index], found[index], this.rows[index].unit)));
    const isRight = left > this.over.clientWidth / 2;
    this.box.style.transform = `translate(${isRight ? left - GAP_PX - this.box.offsetWidth : left + GAP_PX}px, ${GAP_PX}px)`;
  }
}

function textOf(line: Line | undefined, at: number, unit: string): string {
  if (line === undefined || at < 0) return "–";
  if (line.states !== undefined) return stateText(line.states[at] ?? "–");
  const [value, low] = [line.values[at], line.low?.[at]];
  if (value === null) return "–";
  const text = typeof low === "number" && low !== value ? `${numberText(low)} … ${numberText(value)}` : numberText(value);
  return `${text} ${unit}`.trimEnd();
}
