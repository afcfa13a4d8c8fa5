/** Logging in and out, and what a session is. */
import { type Http } from "./http";

/** How one can log in here. */
export interface Ways {
  password: boolean;
  token: boolean;
  oidc: string[];
}

/** How to reach NATS, for some minutes (`jwt`) or as long as the hub's process lives (`user`, `password`). */
export interface NatsLogin {
  jwt?: string;
  user?: string;
  password?: string;
  expires_s?: number;
  refresh_s?: number;
  inbox_prefix: string;
  api_prefix: string;
  live_subjects: string[];
  history_subjects: string[];
}

/** In the place of a tenant: somebody of who runs the hub, who sees how all tenants are (`Client.tenants`) and nothing of
 * their data, and gets no NATS credentials. */
export const PROVIDER = "provider";

export interface Session {
  tenant: string | null;
  user: string | null;
  role: string;
  via: string;
  place: string | null;
  paths: string[];
  /** The edge that serves its own site; null at a hub. */
  site?: string | null;
  expires_s: number;
  websocket_port: number | null;
  nats?: NatsLogin | null;
  /** For a program that asked for it instead of a cookie. */
  token?: string;
}

/** A person of a tenant, or the token of a hub with one plant. */
export type LoginForm =
  | { token: string }
  | { tenant: string; user: string; password: string; code?: string; as_cookie?: boolean };

export const waysToLogIn = (http: Http): Promise<Ways> => http.json("/api/v1/login");
export const logIn = (http: Http, form: LoginForm): Promise<Session> => http.json("/api/v1/login", "POST", form);
export const logOut = (http: Http): Promise<unknown> => http.json("/api/v1/session", "DELETE");
export const currentSession = (http: Http): Promise<Session> => http.json("/api/v1/session");
export const credentials = (http: Http, publicKey: string): Promise<Session> =>
  http.json("/api/v1/session/credentials", "POST", { public_key: publicKey });
