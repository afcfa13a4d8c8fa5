/** How urgent something is; ISA-18.2 calls it priority. */
export type Severity = "critical" | "high" | "medium" | "low" | "info";
