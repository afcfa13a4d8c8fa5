/** One way in: log in, look at the plant, follow it. */
import { type Msg, type NatsConnection, type Subscription } from "@nats-io/nats-core";
import { Acts } from "./acts";
import { History } from "./history";
import { Http, MillstreamError, type Begun } from "./http";
import { Letters } from "./letters";
import { Link, type LinkState } from "./link";
import { ARROW_TYPE, decodeJson, decodeMessage, parseJson, type Reading } from "./payload";
import { People } from "./people";
import * as sessions from "./session";
import { Sites } from "./sites";
import { fromSubject } from "./subject";
import { Tenants } from "./tenants";

export interface ClientOptions {
  /** Where the hub's HTTP API is; left out: where this page comes from. */
  url?: string;
  /** For a program: the bearer token instead of a cookie. */
  token?: string;
  onState?: (state: LinkState) => void;
  /** What a page asked before it had loaded this, by "method path": used once instead of asking. */
  begun?: Map<string, Promise<Begun>>;
}

const OPEN_BRACE = "{".charCodeAt(0);
const REQUEST_MS = 4000;
const DISCOVERY_QUIET_MS = 400;
const ANSWERS_MAX = 2000;

export class Client {
  readonly http: Http;
  readonly history: History;
  readonly acts: Acts;
  readonly letters: Letters;
  readonly sites: Sites;
  readonly people: People;
  readonly tenants: Tenants;
  private readonly link: Link;

  constructor(options: ClientOptions = {}) {
    this.http = new Http((options.url ?? "").replace(/\/$/, ""), options.token, options.begun);
    this.history = new History(this.http);
    this.acts = new Acts(this.http);
    this.letters = new Letters(this.http);
    this.sites = new Sites(this.http);
    this.people = new People(this.http);
    this.tenants = new Tenants(this.http);
    this.link = new Link(this.http, options.onState ?? (() => undefined));
  }

  // -- who asks ------------------------------------------------------------------------------------------------------

  ways = (): Promise<sessions.Ways> => sessions.waysToLogIn(this.http);
  logIn = (form: sessions.LoginForm): Promise<sessions.Session> => sessions.logIn(this.http, form);
  logOut = (): Promise<unknown> => sessions.logOut(this.http);
  currentSession = (): Promise<sessions.Session> => sessions.currentSession(this.http);

  /** Connect with NATS. Throws MillstreamError (`needsLogin`) when nobody is logged in. */
  connect = (): Promise<void> => this.link.start();
  close = (): Promise<void> => this.link.close();

  get session(): sessions.Session | undefined {
    return this.link.session;
  }

  get state(): LinkState {
    return this.link.state;
  }

  /** The hub's time, whatever this machine's clock says. Unix ms. */
  now(): number {
    return Date.now() + this.http.clockOffsetMs;
  }

  /** NATS itself, for what is not here. Throws while there is no connection. */
  get nats(): NatsConnection {
    return this.link.open;
  }

  // -- live ----------------------------------------------------------------------------------------------------------

  /** Hear what is stored from now on below a subject of the namespace, such as `uns.v1.acme.>`; the function ends it.
   * Before there is a connection it waits for one; while there is no WebSocket listener it hears nothing. */
  live(subject: string, hear: (readings: Reading[]) => void, refused?: (error: Error) => void): () => void {
    return this.liveMessages(subject, (message) => readLive(message, hear), refused);
  }

  /** The same, each message as it came: who shows few of many decodes only those, with `readLive`. */
  liveMessages(subject: string, hear: (message: Msg) => void, refused?: (error: Error) => void): () => void {
    let subscription: Subscription | undefined;
    const forget = this.link.whenOpen((nats) => {
      subscription = nats.subscribe(`live.${subject}`, {
        callback: (error, message) => (error === null ? hear(message) : refused?.(error)),
      });
    });
    return () => {
      forget();
      subscription?.unsubscribe();
    };
  }

  // -- questions to nodes --------------------------------------------------------------------------------------------

  /** Ask a service, such as `millstream.node.plant1.status`. Throws MillstreamError. */
  async ask<T>(subject: string, body: unknown = undefined, timeoutMs = REQUEST_MS): Promise<T> {
    let text: string;
    try {
      const payload = body === undefined ? "" : JSON.stringify(body);
      text = (await this.nats.request(subject, payload, { timeout: timeoutMs })).string();
    } catch (error) {
      throw new MillstreamError(`${subject}: ${(error as Error).message}`, 0);
    }
    return parseJson(text) as T;
  }

  /** Ask a service that answers in parts, the last of which says "done". Throws MillstreamError. */
  async askMany(subject: string, body: unknown, timeoutMs = 10_000): Promise<AnswerPart[]> {
    const found: AnswerPart[] = [];
    try {
      const replies = await this.nats.requestMany(subject, JSON.stringify(body), {
        strategy: "timer", maxWait: timeoutMs, maxMessages: ANSWERS_MAX,
      });
      for await (const reply of replies) {
        const status = reply.headers?.get("Ms-Status") ?? "";
        found.push({ status, error: reply.headers?.get("Ms-Error") ?? "", text: reply.string() });
        if (status === "done") break;
      }
    } catch (error) {
      throw new MillstreamError(`${subject}: ${(error as Error).message}`, 0);
    }
    return found;
  }

  /** The status of each node that answers: of all that can be seen, or of some paths those of their sites. */
  async nodes(): Promise<NodeStatus[]> {
    const found = await Promise.allSettled((await this.statusSubjects()).map((s) => this.ask<NodeStatus>(s)));
    return found.flatMap((one) => (one.status === "fulfilled" && one.value.name ? [one.value] : []));
  }

  private async statusSubjects(): Promise<string[]> {
    const subjects = new Set<string>();
    const replies = await this.nats.requestMany("$SRV.INFO", "", {
      strategy: "stall", stall: DISCOVERY_QUIET_MS, maxWait: REQUEST_MS, maxMessages: ANSWERS_MAX,
    });
    for await (const reply of replies) {
      const service = parseJson(reply.string()) as { endpoints?: { subject?: string }[] };
      for (const { subject = "" } of service.endpoints ?? []) {
        if (/^millstream\.node\.[^.]+\.status$/.test(subject)) subjects.add(subject);
      }
    }
    return [...subjects].sort();
  }

  // -- streams -------------------------------------------------------------------------------------------------------

  /** The newest messages of a stream, at most `count`. */
  async newest(stream: string, count: number): Promise<StoredMessage[]> {
    const api = this.link.nats?.api_prefix ?? "$JS.API";
    const info = await this.ask<{ state?: { first_seq: number; last_seq: number } }>(`${api}.STREAM.INFO.${stream}`);
    const last = info.state?.last_seq ?? 0;
    const seq = Math.max(info.state?.first_seq ?? 1, last - count + 1);
    if (last === 0 || seq > last) return [];
    const body = JSON.stringify({ seq, batch: count, max_bytes: 4 << 20 });
    const found: StoredMessage[] = [];
    const replies = await this.nats.requestMany(`${api}.DIRECT.GET.${stream}`, body, {
      strategy: "sentinel", maxWait: REQUEST_MS, maxMessages: count + 1,
    });
    for await (const reply of replies) {
      const sequence = Number(reply.headers?.get("Nats-Sequence"));
      if (!sequence) continue;
      const names = reply.headers?.keys() ?? [];
      const headers = Object.fromEntries(names.map((name) => [name, reply.headers?.get(name) ?? ""]));
      found.push({ sequence, subject: headers["Nats-Subject"], timeMs: Date.parse(headers["Nats-Time-Stamp"]), headers, data: reply.data });
    }
    return found;
  }
}

/** The readings of a live message: one at once, a block of them a moment later. Who has its path and kind already gives them: then its subject is not taken apart again. */
export function readLive(
  message: Msg, hear: (readings: Reading[]) => void, known?: { path: string; kind: string },
): void {
  const address = known ?? fromSubject(message.subject);
  if (address === undefined) return;
  // No block begins so: headers are not taken apart for nothing.
  const type = message.data[0] === OPEN_BRACE ? "" : (message.headers?.get("Content-Type") ?? "");
  if (type !== ARROW_TYPE) hear([decodeJson(address.path, address.kind, message.data)]);
  else void decodeMessage(address.path, address.kind, message.data, type).then(hear);
}

export interface AnswerPart {
  status: string;
  error: string;
  text: string;
}

export interface StoredMessage {
  sequence: number;
  subject: string;
  timeMs: number;
  headers: Record<string, string>;
  data: Uint8Array;
}

/** What a node says of itself; docs of the fields: `millstream status --json`. */
export interface NodeStatus {
  role: "hub" | "edge";
  name: string;
  path?: string;
  version: string;
  started_ns: number;
  connectors?: Record<string, unknown>[];
  publishers?: Record<string, unknown>[];
  streams?: Record<string, unknown>[];
  sources?: Record<string, unknown>[];
  edges?: { name: string; path: string; reached_ns: number | null }[];
  ledger?: Record<string, Record<string, number | boolean>>;
  flows?: Record<string, unknown>[];
  uplink?: Record<string, unknown>;
  alarms?: Record<string, unknown>[];
  [more: string]: unknown;
}
