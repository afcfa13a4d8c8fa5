/** The one client of this page: who is logged in, how the link is, and what time it is at the hub. */
import { Client, MillstreamError, type LinkState, type Session } from "@millstream/client";
import { signal } from "@preact/signals";
import { takeToken } from "../router";

export const POLL_S = 2;
const RETRY_MS = 3000;
const CLOCK_TOLERANCE_MS = 60_000;

export const linkState = signal<LinkState>("connecting");
/** undefined: not known yet; null: nobody. */
export const session = signal<Session | null | undefined>(undefined);
export const problem = signal<string>("");
export const now = signal(Date.now());
/** How much this device's clock is wrong, in ms; 0 while that does not matter. */
export const clockError = signal(0);
/** Counts how often the link came up, so that what was missed is asked for. */
export const connections = signal(0);

export const client = new Client({
  onState: (state) => {
    linkState.value = state;
    if (state === "connected" || state === "polling") connections.value++;
    if (state === "logged out") session.value = null;
  },
});

setInterval(tick, 1000);
function tick(): void {
  now.value = client.now();
  const wrong = client.http.clockOffsetMs;
  clockError.value = Math.abs(wrong) > CLOCK_TOLERANCE_MS ? wrong : 0;
}

/** Begin: with the token of the address, else with the session that this browser has. */
export async function begin(): Promise<void> {
  const token = takeToken();
  try {
    if (token !== undefined) await client.logIn({ token });
    await enter();
  } catch (error) {
    fail(error);
  }
}

/** Somebody has logged in. Throws MillstreamError. */
export async function enter(): Promise<void> {
  await client.connect();
  session.value = client.session ?? null;
  problem.value = "";
  tick();
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
