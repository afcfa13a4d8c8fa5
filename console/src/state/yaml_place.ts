/** Where in a YAML document a cursor stands, by indentation. Pure; the hub parses properly when it checks. */
export type Step = string | number;

export interface Place {
  path: Step[];
  /** By the path of an item of a list, what its `type` says. */
  types: ReadonlyMap<string, string>;
}

interface Entry {
  indent: number;
  step: Step;
  items: number;
}

const LINE = /^(\s*)((?:-\s+)*)(?:-$)?(?:(["']?)([\w.-]+)\3\s*:(?:\s+(.*))?)?/;

export const keyOf = (path: Step[]): string => path.join("\u0000");

export function placeAt(text: string, offset: number): Place {
  const types = new Map<string, string>();
  const lines = text.split("\n");
  const before = text.slice(0, offset).split("\n");
  const line = before.length - 1;
  let path: Step[] = [];
  const stack: Entry[] = [];
  lines.forEach((one, at) => {
    const isBlank = one.trim() === "" || one.trim().startsWith("#");
    if (!isBlank) take(one, stack, types);
    if (at === line) {
      const column = isBlank ? before[line].length : Infinity;
      path = stack.filter((entry) => entry.indent < column).map((entry) => entry.step);
    }
  });
  return { path, types };
}

function take(line: string, stack: Entry[], types: Map<string, string>): void {
  const [, spaces, dashes, , key, value] = LINE.exec(line) ?? ["", "", "", "", undefined, undefined];
  let indent = spaces.length;
  for (const dash of dashes.match(/-\s+/g) ?? (line.trim() === "-" ? ["-"] : [])) {
    while (stack.length > 0 && (top(stack).indent > indent || (top(stack).indent === indent && typeof top(stack).step === "number"))) stack.pop();
    const parent = stack.at(-1);
    stack.push({ indent, step: parent === undefined ? 0 : parent.items++, items: 0 });
    indent += dash.length;
  }
  if (key === undefined) return;
  while (stack.length > 0 && top(stack).indent >= indent) stack.pop();
  if (key === "type" && value) types.set(keyOf(stack.map((entry) => entry.step)), value.replace(/\s+#.*$/, "").replace(/^["']|["']$/g, "").trim());
  stack.push({ indent, step: key, items: 0 });
}

const top = (stack: Entry[]): Entry => stack[stack.length - 1];

export function pathText(path: Step[]): string {
  return path.map((step, at) => (typeof step === "number" ? `[${step}]` : at === 0 ? step : `.${step}`)).join("");
}
