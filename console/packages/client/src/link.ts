/** The connection with NATS: it makes its key here, renews its credentials before they expire and comes back by itself. */
import { jwtAuthenticator, usernamePasswordAuthenticator, wsconnect, type NatsConnection } from "@nats-io/nats-core";
import { createUser, type KeyPair } from "@nats-io/nkeys";
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
  private readonly key: KeyPair = createUser();
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

  get isOpen(): boolean {
    return this.connection !== undefined;
  }

  /** Throws MillstreamError when nobody is logged in, or the hub does not answer. */
  async start(): Promise<void> {
    await this.fetch();
    if (!this.nats || this.session?.websocket_port === null) return this.tell("polling");
    this.connection = await wsconnect({
      servers: this.address(),
      authenticator: [
        jwtAuthenticator(() => this.nats?.jwt ?? "", this.key.getSeed()),
        usernamePasswordAuthenticator(() => this.nats?.user ?? "", () => this.nats?.password ?? ""),
      ].slice(this.nats.jwt ? 0 : 1, this.nats.jwt ? 1 : 2),
      inboxPrefix: this.nats.inbox_prefix,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RETRY_MS,
      reconnectJitter: RETRY_MS,
      pingInterval: 5000,
      maxPingOut: 2,
      ignoreAuthErrorAbort: true,
      ignoreClusterUpdates: true,
      waitOnFirstConnect: false,
    });
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

  private async fetch(): Promise<void> {
    this.session = await credentials(this.http, this.key.getPublicKey());
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
      await this.fetch();
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
