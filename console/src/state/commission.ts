/** A site that is to be: whether its name and place can be, and what has to be done for it. Pure. */
import { type Word } from "../words";

export interface NewSite {
  name: string;
  place: string;
  /** `key=value`, with spaces between. */
  labels: string;
}

export interface SiteCommands {
  /** Where the operator's keys, or the hub's file, are. */
  operator: string[];
  /** On the box at the site. */
  box: string[];
}

/** Why it cannot be; undefined when it can. The hub and the operator judge again. */
export function siteFault(site: NewSite, root: string): Word | undefined {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/.test(site.name)) return "badSiteName";
  if (!/^[\p{L}\p{N}_. -]+(\/[\p{L}\p{N}_. -]+)*$/u.test(site.place)) return "badPlace";
  if (root !== "" && site.place !== root && !site.place.startsWith(`${root}/`)) return "placeOutside";
  if (labelsOf(site).some((one) => !/^[\w.-]+=[\w.-]+$/.test(one))) return "badLabels";
  return undefined;
}

export function commandsFor(site: NewSite, tenant: string | null): SiteCommands {
  const place = shell(site.place);
  if (tenant === null) {
    return {
      operator: [`edges: [..., {name: ${site.name}, path: "${site.place}", secret: {file: ${site.name}.secret}}]  # hub.yaml`, "millstream hub -c hub.yaml"],
      box: [`chmod 600 ${site.name}.secret`, `millstream edge -c ${site.name}.yaml`],
    };
  }
  const labels = labelsOf(site).map((one) => ` --label ${one}`).join("");
  return {
    operator: [`millstream site add ${site.name} --tenant ${tenant} --place ${place}${labels} --expires 24h`],
    box: [`millstream edge join ${site.name}.join`, "millstream edge -c edge.yaml"],
  };
}

/** The edge's file, which `millstream check` takes. A JSON string is one of YAML, too. */
export function edgeFile(site: NewSite, hubUrl: string): string {
  const labels = labelsOf(site).map((one) => `${JSON.stringify(one.slice(0, one.indexOf("=")))}: ${JSON.stringify(one.slice(one.indexOf("=") + 1))}`);
  const trust = hubUrl.startsWith("tls:") ? "  # ca_file: ca.pem  # where the hub's certificate is of an authority of your own\n" : "";
  return [
    `# The edge of site ${site.name}: \`millstream check ${site.name}.yaml\` checks it, \`millstream edge -c ${site.name}.yaml\` runs it.`,
    `edge:\n  name: ${JSON.stringify(site.name)}\n  path: ${JSON.stringify(site.place)}\n  data_dir: data`,
    ...(labels.length > 0 ? [`  labels: {${labels.join(", ")}}`] : []),
    `uplink:\n  url: ${JSON.stringify(hubUrl)}\n  secret: {file: ${site.name}.secret}\n${trust}connectors: []\n`,
  ].join("\n");
}

/** Where the box reaches the hub: a guess from where this page was reached. */
export function hubUrlFor(page: { protocol: string; hostname: string }, leafPort: unknown): string {
  return `${page.protocol === "https:" ? "tls" : "nats"}://${page.hostname}:${typeof leafPort === "number" ? leafPort : 7422}`;
}

export const hubUrlFits = (url: string): boolean => /^(nats|tls):\/\/([\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}$/.test(url);

/** A password of 24 random bytes. Made in the browser and kept by nobody. */
export function newSecret(): string {
  const text = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))));
  return text.replaceAll("+", "-").replaceAll("/", "_");
}

const labelsOf = (site: NewSite): string[] => site.labels.split(/\s+/).filter(Boolean);

/** One word for a shell. */
export const shell = (text: string): string => (/^[\w./=@:+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
