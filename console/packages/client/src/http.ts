/** The HTTP API of a hub. A browser sends its session by cookie; a program may give a token. */

/** What a hub says when it refuses, or that it cannot be reached (`status` 0). */
export class MillstreamError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string = "",
    readonly hint: string = "",
  ) {
    super(message);
  }

  /** The hub did not answer: whether it has done what was asked is not known. */
  get isUnknown(): boolean {
    return this.status === 0;
  }

  /** Whoever asks has to log in. */
  get needsLogin(): boolean {
    return this.status === 401;
  }
}

/** A question that was asked before this was loaded. Times are Unix ms by this machine's clock. */
export interface Begun {
  answer: Response;
  askedMs: number;
  answeredMs: number;
}

export class Http {
  /** How far this machine's clock is behind the hub's, in ms; positive: the hub is ahead. */
  clockOffsetMs = 0;
  /** Called when the hub says that nobody is logged in (any more). */
  onNeedsLogin: () => void = () => undefined;

  constructor(
    readonly base: string,
    private readonly token?: string,
    /** By "method path"; each is the answer to one question. */
    private readonly begun: Map<string, Promise<Begun>> = new Map(),
  ) {}

  async json<T>(path: string, method = "GET", body?: unknown): Promise<T> {
    return (await (await this.send(path, method, "application/json", body)).json()) as T;
  }

  async text(path: string): Promise<string> {
    return (await this.send(path, "GET", "application/json")).text();
  }

  async bytes(path: string, accept: string, body?: unknown): Promise<Uint8Array> {
    const answer = await this.send(path, body === undefined ? "GET" : "POST", accept, body);
    return new Uint8Array(await answer.arrayBuffer());
  }

  private async send(path: string, method: string, accept: string, body?: unknown): Promise<Response> {
    const headers: Record<string, string> = { Accept: accept };
    if (this.token !== undefined) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const key = `${method} ${path}`;
    const begun = this.begun.get(key);
    this.begun.delete(key);
    const { answer, askedMs, answeredMs } = await (begun ?? this.ask(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }))
      .catch((error: unknown) => { throw new MillstreamError(`the hub does not answer: ${String(error)}`, 0); });
    this.learnClock(answer, (askedMs + answeredMs) / 2);
    if (answer.status === 401) this.onNeedsLogin();
    if (!answer.ok) throw await refusal(answer);
    return answer;
  }

  private async ask(path: string, request: RequestInit): Promise<Begun> {
    const askedMs = Date.now();
    const answer = await fetch(this.base + path, { ...request, credentials: "same-origin", cache: "no-store" });
    return { answer, askedMs, answeredMs: Date.now() };
  }

  private learnClock(answer: Response, atMs: number): void {
    const theirs = Date.parse(answer.headers.get("date") ?? "");
    // The header has whole seconds: its middle, against the middle of the request.
    if (Number.isFinite(theirs)) this.clockOffsetMs = theirs + 500 - atMs;
  }
}

async function refusal(answer: Response): Promise<MillstreamError> {
  try {
    const raw = (await answer.json()) as Record<string, unknown>;
    const text = [raw.message, raw.where, raw.got].filter((part) => typeof part === "string").join(": ");
    const expected = typeof raw.expected === "string" && answer.status === 403 ? ` (${raw.expected})` : "";
    return new MillstreamError((text || answer.statusText) + expected, answer.status, String(raw.code ?? ""), String(raw.hint ?? ""));
  } catch {
    return new MillstreamError(answer.statusText || `status ${answer.status}`, answer.status);
  }
}
