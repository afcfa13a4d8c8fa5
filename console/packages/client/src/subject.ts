/** Subjects of the namespace and the paths that people read: `acme/plant1/press:speed` is
 * `uns.v1.acme.plant1.press._tag.speed`. The escapes are those of docs/adr/0002. */

export type Kind = "tag" | "state" | "count" | "kpi" | "event" | "alarm";

export interface Address {
  path: string;
  asset: string;
  name: string;
  kind: string;
}

const PREFIX = "uns.v1.";
const KEPT = /[A-Za-z0-9_-]/;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function escapeToken(name: string): string {
  let token = "";
  for (const byte of encoder.encode(name)) {
    const letter = String.fromCharCode(byte);
    const isKept = byte < 128 && KEPT.test(letter) && !(token === "" && letter === "_");
    token += isKept ? letter : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return token;
}

/** Throws for what is not UTF-8 behind its escapes. */
export function unescapeToken(token: string): string {
  if (!token.includes("=")) return token;
  const bytes: number[] = [];
  for (let at = 0; at < token.length; at++) {
    if (token[at] === "=") {
      bytes.push(parseInt(token.slice(at + 1, at + 3), 16));
      at += 2;
    } else bytes.push(token.charCodeAt(at));
  }
  return decoder.decode(new Uint8Array(bytes));
}

/** A path's place as a subject: `acme/plant1` is `uns.v1.acme.plant1`. */
export function assetSubject(asset: string): string {
  return PREFIX + splitPath(asset).map(escapeToken).join(".");
}

/** The subject of a tag (or state, count, ...). */
export function toSubject(path: string, kind: string = "tag"): string {
  const { asset, name } = parsePath(path);
  return `${assetSubject(asset)}._${kind}.${splitPath(name).map(escapeToken).join(".")}`;
}

/** undefined for what is no subject of the namespace. */
export function fromSubject(subject: string): Address | undefined {
  const at = subject.indexOf(PREFIX);
  if (at !== 0 && subject.slice(0, at) !== "live.") return undefined;
  const tokens = subject.slice(at + PREFIX.length).split(".");
  const mark = tokens.findIndex((token) => token.startsWith("_"));
  if (mark < 1 || mark === tokens.length - 1) return undefined;
  try {
    const asset = tokens.slice(0, mark).map(unescapeToken).map(quote).join("/");
    const name = tokens.slice(mark + 1).map(unescapeToken).map(quote).join("/");
    return { path: `${asset}:${name}`, asset, name, kind: tokens[mark].slice(1) };
  } catch {
    return undefined;
  }
}

/** `acme/plant1:steam/pressure` is the name `steam/pressure` at `acme/plant1`. */
export function parsePath(path: string): { asset: string; name: string } {
  const at = path.indexOf(":");
  return at < 0 ? { asset: path, name: "" } : { asset: path.slice(0, at), name: path.slice(at + 1) };
}

/** The levels of a path, without their quotes. */
export function splitPath(path: string): string[] {
  return path.split("/").map(unquote);
}

function quote(level: string): string {
  return level.replaceAll("%", "%25").replaceAll("/", "%2F").replaceAll(":", "%3A");
}

function unquote(level: string): string {
  return level.replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%25", "%");
}
