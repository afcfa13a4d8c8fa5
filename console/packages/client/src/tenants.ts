/** What who runs a hub sees of its tenants: how they are, nothing of their data. */
import { type Http } from "./http";
import { type FleetAccount, type FleetMatch } from "./sites";

/** `limit` null: there is none. */
export interface Use {
  used: number;
  limit: number | null;
}

/** `state` is that of its plant at the hub: "unknown" when the hub has not told yet. `since_s` is null where the operator's
 * file does not say. `uses` by limit: sites, connections, disk_bytes, subscriptions. */
export interface Tenant {
  name: string;
  place: string;
  state: "up" | "down" | "unknown";
  since_s: number | null;
  alarms: string[];
  sites: number;
  sites_locked_out: number;
  uses: Record<string, Use>;
}

export interface TenantList {
  hub: { name: string; version: string | null; alarms: Record<string, unknown>[] };
  operator: string;
  trust_serial: number;
  tenants: Tenant[];
  time_ns: number;
}

/** `state`: "up" answered, "silent" did not, "unknown": the tenant's plant did not answer, then `name` is null. */
export interface TenantSite {
  tenant: string;
  name: string | null;
  place: string | null;
  state: "up" | "silent" | "unknown";
  reached_ns: number | null;
  version: string | null;
  uplink: string | null;
  behind_messages: number | null;
  connectors: number | null;
  alarms: string[];
}

export interface ProviderEvent {
  id: string;
  time_ns: number | null;
  type: string;
  source: string;
  data: unknown;
}

export class Tenants {
  constructor(private readonly http: Http) {}

  list = (): Promise<TenantList> => this.http.json("/api/v1/provider/tenants");

  /** As of `time_ns`: of many sites some time ago. */
  sites = (): Promise<{ sites: TenantSite[]; time_ns: number }> => this.http.json("/api/v1/provider/sites");

  /** Sites are called `tenant/site`, and have the facts that their status tells. */
  query = (filter: string | null, select: string[] = []): Promise<{ nodes: FleetMatch[]; summary: FleetAccount }> =>
    this.http.json("/api/v1/provider/query", "POST", { filter, select });

  /** Newest first. */
  async events(start: string): Promise<ProviderEvent[]> {
    return (await this.http.json<{ events: ProviderEvent[] }>(`/api/v1/provider/events?start=${encodeURIComponent(start)}`)).events;
  }
}
