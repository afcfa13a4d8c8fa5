/** A page of your own: log in, show the newest values below your paths, and keep them fresh. */
import { Client } from "@millstream/client";

const place = (id: string): HTMLElement => document.getElementById(id) as HTMLElement;
const lines = new Map<string, HTMLElement>();
const client = new Client({ onState: (state) => (place("state").textContent = state) });

function show(path: string, value: unknown): void {
  const line = lines.get(path) ?? place("values").appendChild(document.createElement("li"));
  lines.set(path, line);
  line.textContent = `${path} = ${String(value)}`;
}

place("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(event.target as HTMLFormElement)) as Record<string, string>;
  await client.logIn({ tenant: form.tenant, user: form.user, password: form.password });
  await client.connect();
  for (const reading of await client.history.last("*")) show(reading.path, reading.value);
  for (const subject of client.session?.nats?.live_subjects ?? []) {
    client.live(subject.replace("live.", ""), (readings) => readings.forEach((one) => show(one.path, one.value)));
  }
});
