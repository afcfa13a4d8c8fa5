/** The one client of this page: who is logged in, how the link is, and what time it is at the hub. */
import { Client, MillstreamError, PROVIDER, type LinkState, type Session } from "@millstream/client";
import { computed, effect, signal } from "@preact/signals";
import { address, go, page, takeToken } from "../router";

export const POLL_S = 2;
/** Of who runs the hub, whose session has no link with NATS. */
export const PROVIDER_POLL_S = 10;
const RETRY_MS = 3000;
const PAINT_MS_MAX = 500;
const CLOCK_TOLERANCE_MS = 60_000;

export const linkState = signal<LinkState>("connecting");
/** undefined: not known yet; null: nobody. */
export const session = signal<Session | null | undefined>(undefined);
/** Somebody of who runs the hub of tenants. */
/** Who is logged in, or was until a moment ago: a log-in that ends leaves pages as they are, out of sight, with all that was
 * written in them. */
export const person = signal<Session | undefined>(undefined);
effect(() => {
  if (session.value) person.value = session.value;
});
export const isProvider = computed(() => person.value?.tenant === PROVIDER);
export const problem = signal<string>("");
export const now = signal(Date.now());
/** How much this device's clock is wrong, in ms; 0 while that does not matter. */
export const clockError = signal(0);
/** Counts how often the link came up, so that what was missed is asked for. */
export const connections = signal(0);

export const client = new Client({
  begun: globalThis.begun,
  onState: (state) => {
    linkState.value = state;
    if (state === "connected" || state === "polling") connections.value++;
    if (state === "logged out") session.value = null;
  },
});

client.http.onNeedsLogin = () => {
  if (!session.peek()) return; // it is the log-in that was refused
  linkState.value = "logged out";
  session.value = null;
};

setInterval(tick, 1000);
function tick(): void {
  now.value = client.now();
  const wrong = client.http.clockOffsetMs;
  clockError.value = Math.abs(wrong) > CLOCK_TOLERANCE_MS ? wrong : 0;
}

/** Of the address, until the hub has answered. */
let token: string | undefined;
/** What a page shows before it is connected. */
let showFirst: () => Promise<void> = () => Promise.resolve();

/** Begin: with the token of the address, else with the session that this browser has. `first` loads what is shown first. */
export async function begin(first = showFirst): Promise<void> {
  showFirst = first;
  token = takeToken() ?? token;
  try {
    // Both at once: most often there is a session; and what the page has begun itself needs none.
    const asked = token === undefined ? client.currentSession() : client.logIn({ token });
    const [found, isShown] = await Promise.all([asked, first().then(() => true, () => false)]);
    if (token !== undefined && !isShown) await first().catch(() => undefined);
    token = undefined;
    await connect(found);
  } catch (error) {
    fail(error);
  }
}

/** Whether somebody is logged in is known, and what `first` loads is there. */
export function sessionKnown(): Promise<void> {
  return new Promise((done) => {
    const end = session.subscribe((found) => {
      if (found === undefined) return;
      done();
      queueMicrotask(() => end());
    });
  });
}

/** Somebody has logged in. Throws MillstreamError. */
export async function enter(found: Session): Promise<void> {
  await showFirst().catch(() => undefined); // the link says what is wrong
  await connect(found);
}

/** Show what is there, and only then load and open what brings live values. */
async function connect(found: Session): Promise<void> {
  if (found.tenant === PROVIDER && page.peek() === "plant") go(address("admin"), false);
  session.value = found;
  tick();
  await painted();
  if (found.tenant === PROVIDER) {
    linkState.value = "polling";
    connections.value++;
  } else {
    await client.connect();
    session.value = client.session ?? null;
  }
  problem.value = "";
  tick();
}

/** A hidden page paints nothing: it is not waited for longer than that. */
function painted(): Promise<void> {
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, PAINT_MS_MAX);
  });
}

export async function leave(): Promise<void> {
  await client.logOut().catch(() => undefined);
  location.reload();
}

function fail(error: unknown): void {
  if (error instanceof MillstreamError && error.status !== 0 && error.status < 500) {
    session.value = null;
    return;
  }
  problem.value = String((error as Error).message);
  setTimeout(() => void begin(), RETRY_MS);
}
