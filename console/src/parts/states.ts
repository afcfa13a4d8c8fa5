/** What a machine's state means, after the categories of the OEE flow (docs/how-to/oee.md). */
export type MachineState = "running" | "setup" | "delay" | "idle" | "down" | "planned" | "unknown";
const STATES: ReadonlyMap<string, MachineState> = new Map(
  (
    [
      ["running", "Execute Completing Production ACTIVE"],
      ["setup", "Setup Starting Resetting Clearing"],
      ["delay", "Delay Holding Held Unholding FEED_HOLD INTERRUPTED OPTIONAL_STOP PROGRAM_STOPPED WAIT"],
      ["idle", "Idle Complete Suspending Suspended Unsuspending READY PROGRAM_COMPLETED"],
      ["down", "Down Stopping Stopped Aborting Aborted STOPPED ALARM"],
      ["planned", "Planned Maintenance"],
    ] as [MachineState, string][]
  ).flatMap(([state, names]) => names.split(" ").map((name) => [name, state])),
);

export function machineState(value: unknown): MachineState {
  return STATES.get(String(value)) ?? "unknown";
}
