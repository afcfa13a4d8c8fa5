/** Who is let in at a hub with tenants, and what administrators do about it. */
import { type Asked } from "./acts";
import { type Http } from "./http";

export interface Person {
  name: string;
  role: string;
  paths: string[];
  second_factor: boolean;
  changed_s: number;
  changed_by: string;
}

export interface OpenSession {
  id: string;
  user: string;
  role: string;
  paths: string[];
  via: string;
  created_s: number;
  expires_s: number;
  is_this: boolean;
}

/** `users` is null for who is no administrator, `roles` what an administrator may give. */
export interface LetIn {
  tenant: string;
  place: string;
  is_admin: boolean;
  users: Person[] | null;
  roles: string[];
  sessions: OpenSession[];
  sites: { name: string; place: string; labels: Record<string, string>; is_revoked: boolean }[];
  trust_serial: number;
}

/** `password` and `second_factor_address` are told this once, where the hub made them. */
export interface PersonChanged extends Asked {
  user: Person;
  password: string | null;
  second_factor_address: string | null;
}

export class People {
  constructor(private readonly http: Http) {}

  show = (): Promise<LetIn> => this.http.json("/api/v1/admin");
  add = (ask: { name: string; role: string; paths: string[]; second_factor: boolean }): Promise<PersonChanged> =>
    this.http.json("/api/v1/admin/users/add", "POST", ask);
  newPassword = (name: string): Promise<PersonChanged> => this.http.json("/api/v1/admin/users/password", "POST", { name });
  secondFactor = (name: string, isWanted: boolean): Promise<PersonChanged> =>
    this.http.json("/api/v1/admin/users/second-factor", "POST", { name, is_wanted: isWanted });
  remove = (name: string): Promise<PersonChanged> => this.http.json("/api/v1/admin/users/remove", "POST", { name });
  endSession = (id: string): Promise<Asked> => this.http.json("/api/v1/admin/sessions/end", "POST", { id });
}
