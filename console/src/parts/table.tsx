/** A table with a name, whose columns are text or numbers. On a narrow screen each row is a card with the heads before its
 * cells; the roles stand there so that it stays a table to a screen reader. */
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
  empty?: ComponentChildren;
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const NOTHING = /^0(\/s)?$/;

/** Nothing is the usual case of what is counted: it steps back, so that what is not nothing is seen. */
function cellOf<Row>({ head, isNumber, isShort, cell }: Column<Row>, row: Row): preact.JSX.Element {
  const shown = cell(row);
  const name = isNumber ? ((typeof shown === "string" && NOTHING.test(shown)) ? "number zero" : "number") : isShort ? "foreign short" : "foreign";
  return <td key={head} role="cell" data-head={capital(head)} class={name}>{shown}</td>;
}

export function Table<Row>({ caption, columns, rows, keyOf, empty }: TableProps<Row>): preact.JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table role="table">
        <caption>{caption}</caption>
        <thead role="rowgroup">
          <tr role="row">{columns.map((one) => <th key={one.head} role="columnheader" scope="col" class={one.isNumber ? "number" : ""}>{capital(one.head)}</th>)}</tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr key={keyOf(row)} role="row">
              {columns.map((one) => cellOf(one, row))}
            </tr>
          ))}
          {rows.length === 0 && empty && <tr role="row"><td role="cell" colSpan={columns.length} class="muted">{empty}</td></tr>}
        </tbody>
      </table>
    </div>
  );
}
