/** What speaks NATS, in a file of its own: a page shows what is stored before it has loaded this. */
import { jwtAuthenticator, usernamePasswordAuthenticator, wsconnect, type NatsConnection } from "@nats-io/nats-core";
import { createUser, type KeyPair } from "@nats-io/nkeys";
import { type NatsLogin } from "./session";

const RETRY_MS = 1000;

export const newKey = (): KeyPair => createUser();

/** Throws when the server is not there or refuses. `login` is asked again for each attempt. */
export function openWire(address: string, key: KeyPair, login: () => NatsLogin | undefined): Promise<NatsConnection> {
  const isToken = login()?.jwt !== undefined;
  return wsconnect({
    servers: address,
    authenticator: isToken
      ? jwtAuthenticator(() => login()?.jwt ?? "", key.getSeed())
      : usernamePasswordAuthenticator(() => login()?.user ?? "", () => login()?.password ?? ""),
    inboxPrefix: login()?.inbox_prefix,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RETRY_MS,
    reconnectJitter: RETRY_MS,
    pingInterval: 5000,
    maxPingOut: 2,
    ignoreAuthErrorAbort: true,
    ignoreClusterUpdates: true,
    waitOnFirstConnect: false,
  });
}
