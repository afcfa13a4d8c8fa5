/** Bytes as people look at them. Pure. */
const ROW_BYTES = 16;

/** Offset, hex and letters, as many rows as fit; of the rest it is said elsewhere that there is one. */
export function hexRows(bytes: Uint8Array, rowsMax = 64): string[] {
  const rows: string[] = [];
  for (let at = 0; at < bytes.length && rows.length < rowsMax; at += ROW_BYTES) {
    const part = [...bytes.slice(at, at + ROW_BYTES)];
    const hex = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    rows.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(3 * ROW_BYTES)} ${text}`);
  }
  return rows;
}

/** The text of bytes that are one; undefined for others. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** What somebody begins with who puts a letter right: its own JSON, else a sample to fill in. */
export function draftOf(bytes: Uint8Array, timeMs: number): string {
  const text = textOf(bytes);
  try {
    const found: unknown = JSON.parse(text ?? "");
    if (found !== null && typeof found === "object") return JSON.stringify(found, null, 2);
  } catch {
    // no JSON: begin anew
  }
  return JSON.stringify({ value: null, timestamp_ms: Math.round(timeMs) }, null, 2);
}

/** Why a text cannot be a sample; empty when it may be one. The hub looks again. */
export function faultOf(text: string): string {
  try {
    const found: unknown = JSON.parse(text);
    return found !== null && typeof found === "object" && !Array.isArray(found) ? "" : "{ … }";
  } catch (error) {
    return (error as Error).message;
  }
}
