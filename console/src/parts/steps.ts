/** OEE as a waterfall. Pure. */

export interface Step {
  /** "planned", a loss as the flow names it, or "used". */
  name: string;
  seconds: number;
  fromShare: number;
  isLoss: boolean;
}

/** From the planned time down to what is left of it, one loss after the other. */
export function stepsOf(planned: number, losses: Record<string, number>): Step[] {
  let left = planned;
  const steps: Step[] = [{ name: "planned", seconds: planned, fromShare: 0, isLoss: false }];
  for (const [name, seconds] of Object.entries(losses)) {
    left -= seconds;
    steps.push({ name, seconds, fromShare: Math.max(0, left) / planned, isLoss: true });
  }
  return [...steps, { name: "used", seconds: Math.max(0, left), fromShare: 0, isLoss: false }];
}
