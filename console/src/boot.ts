/** What the first picture needs is asked for before the rest of the program is read, which takes a slow panel longer than
 * the hub needs to answer. A file of its own, without imports. */
import { type Begun } from "@millstream/client";

declare global {
  /** By "method path", for `Client`. */
  var begun: Map<string, Promise<Begun>> | undefined;
}

/** As `loadFirst` asks for it. */
export const FIRST_PATH = "/api/v1/tree?place=&open=12&limit=60&values=true";
const JSON_TYPE = "application/json";

function begin(method: string, path: string, request: RequestInit = {}): void {
  const askedMs = Date.now();
  const headers = { Accept: JSON_TYPE, ...request.headers };
  const answer = fetch(path, { method, credentials: "same-origin", cache: "no-store", ...request, headers })
    .then((answer) => ({ answer, askedMs, answeredMs: Date.now() }));
  answer.catch(() => undefined); // whoever takes it is told
  globalThis.begun?.set(`${method} ${path}`, answer);
}

/** With the token of the address, else with the session that this browser has. Both questions at once: the log-in gives
 * a cookie, which the other need not wait for. */
export function beginAll(hash: string): void {
  globalThis.begun = new Map();
  const token = /^#token=([A-Za-z0-9_-]+)$/.exec(hash)?.[1];
  if (token === undefined) begin("GET", "/api/v1/session");
  else begin("POST", "/api/v1/login", { body: JSON.stringify({ token }), headers: { "Content-Type": JSON_TYPE } });
  begin("GET", FIRST_PATH, token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } });
}

beginAll(location.hash);

/** The first look into what this browser keeps (language, appearance) waits for another process: better now, while the
 * files of the page are on their way, than between them and the first picture. */
setTimeout(() => {
  try {
    localStorage.getItem("millstream.language");
  } catch {
    return; // a browser that keeps nothing is no fault
  }
});
