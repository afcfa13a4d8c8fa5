/** A table with a name, whose columns are text or numbers. */
import { type ComponentChildren } from "preact";

export interface Column<Row> {
  head: string;
  isNumber?: boolean;
  /** In one line, cut where it is long. */
  isShort?: boolean;
  cell: (row: Row) => ComponentChildren;
}

interface TableProps<Row> {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  keyOf: (row: Row) => string;
  empty?: string;
}

export function Table<Row>({ caption, columns, rows, keyOf, empty }: TableProps<Row>): preact.JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <caption>{caption}</caption>
        <thead>
          <tr>{columns.map((one) => <th key={one.head} scope="col" class={one.isNumber ? "number" : ""}>{one.head}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              {columns.map((one) => <td key={one.head} class={one.isNumber ? "number" : one.isShort ? "foreign short" : "foreign"}>{one.cell(row)}</td>)}
            </tr>
          ))}
          {rows.length === 0 && empty && <tr><td colSpan={columns.length} class="muted">{empty}</td></tr>}
        </tbody>
      </table>
    </div>
  );
}
