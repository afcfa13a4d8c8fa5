/** The connection with NATS: it makes its key here, renews its credentials before they expire and comes back by itself. */
import { type NatsConnection } from "@nats-io/nats-core";
import { type KeyPair } from "@nats-io/nkeys";
import { MillstreamError, type Http } from "./http";
import { credentials, type NatsLogin, type Session } from "./session";

/** "polling": the hub has no WebSocket listener for pages; values are asked for again and again. */
export type LinkState = "connecting" | "connected" | "reconnecting" | "polling" | "logged out" | "closed";

const RETRY_MS = 1000;
const RETRY_MS_MAX = 15_000;
const SWAP_MS_MAX = 3000;

export class Link {
  state: LinkState = "connecting";
  session?: Session;
  private key?: KeyPair;
  private readonly waiting = new Set<(connection: NatsConnection) => void>();
  private connection?: NatsConnection;
  private renewal?: ReturnType<typeof setTimeout>;
  private isClosed = false;
  private isSwapping = false;

  constructor(
    private readonly http: Http,
    private readonly onState: (state: LinkState) => void,
  ) {}

  get nats(): NatsLogin | undefined {
    return this.session?.nats ?? undefined;
  }

  /** The connection; throws while there is none. */
  get open(): NatsConnection {
    if (this.connection === undefined) throw new MillstreamError("not connected", 0);
    return this.connection;
  }

  /** Now, or as soon as there is a connection; the function takes that back. */
  whenOpen(act: (connection: NatsConnection) => void): () => void {
    if (this.connection === undefined) this.waiting.add(act);
    else act(this.connection);
    return () => this.waiting.delete(act);
  }

  /** Throws MillstreamError when nobody is logged in, or the hub does not answer. */
  async start(): Promise<void> {
    const { newKey, openWire } = await import("./wire");
    this.key ??= newKey();
    await this.fetch(this.key);
    if (!this.nats || this.session?.websocket_port === null) return this.tell("polling");
    this.connection = await openWire(this.address(), this.key, () => this.nats);
    for (const act of this.waiting) act(this.connection);
    this.waiting.clear();
    this.tell("connected");
    void this.watch(this.connection);
    this.plan();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.renewal);
    await this.connection?.close();
    this.tell("closed");
  }

  private async fetch(key: KeyPair): Promise<void> {
    this.session = await credentials(this.http, key.getPublicKey());
  }

  /** The next credentials, at the moment that the hub names; what cannot be had now is asked for again. */
  private plan(waitMs?: number): void {
    clearTimeout(this.renewal);
    const refresh = this.nats?.refresh_s;
    if (this.isClosed || (refresh === undefined && waitMs === undefined)) return;
    const due = waitMs ?? (refresh as number) * 1000 - (Date.now() + this.http.clockOffsetMs);
    this.renewal = setTimeout(() => void this.renew(waitMs ?? RETRY_MS), Math.max(0, due));
  }

  private async renew(waitMs: number): Promise<void> {
    try {
      await this.fetch(this.key as KeyPair); // only what has begun is renewed
      this.plan();
      if (this.nats?.jwt) await this.swap();
    } catch (error) {
      if (error instanceof MillstreamError && error.needsLogin) {
        await this.connection?.close();
        return this.tell("logged out");
      }
      this.plan(Math.min(waitMs * 2, RETRY_MS_MAX));
    }
  }

  /** Come back at once with the new credentials; nobody has to hear of that unless it takes long. */
  private async swap(): Promise<void> {
    this.isSwapping = true;
    setTimeout(() => {
      if (this.isSwapping && this.state === "connected") this.tell("reconnecting");
      this.isSwapping = false;
    }, SWAP_MS_MAX);
    await this.connection?.reconnect();
  }

  private async watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === "reconnect") {
        this.isSwapping = false;
        this.tell("connected");
      } else if (status.type === "disconnect" && !this.isSwapping) {
        this.tell("reconnecting");
        // The credentials may be what was wrong: a hub that has started again knows others.
        this.plan(RETRY_MS);
      }
    }
  }

  private address(): string {
    const url = new URL(this.http.base || location.href);
    const scheme = url.protocol === "https:" ? "wss" : "ws";
    return `${scheme}://${url.hostname}:${this.session?.websocket_port}`;
  }

  private tell(state: LinkState): void {
    if (this.isClosed && state !== "closed") return;
    this.state = state;
    this.onState(state);
  }
}
