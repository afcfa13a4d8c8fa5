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

export function commandsFor(site: NewSite, tenant: string | null, hubName: string): SiteCommands {
  const place = shell(site.place);
  if (tenant === null) {
    return {
      operator: [`edges: [..., {name: ${site.name}, path: "${site.place}"}]  # hub.yaml`, "millstream hub -c hub.yaml"],
      box: [`scp HUB:${hubName}/secrets/edges/${site.name} ${site.name}.secret`, `millstream edge -c ${site.name}.yaml`],
    };
  }
  const labels = labelsOf(site).map((one) => ` --label ${one}`).join("");
  return {
    operator: [`millstream site add ${site.name} --tenant ${tenant} --place ${place}${labels} --expires 24h`],
    box: [`millstream edge join ${site.name}.join`, "millstream edge -c edge.yaml"],
  };
}

const labelsOf = (site: NewSite): string[] => site.labels.split(/\s+/).filter(Boolean);

/** One word for a shell. */
export const shell = (text: string): string => (/^[\w./=@:+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
