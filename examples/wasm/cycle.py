"""How long the press takes for a part, and an alarm when one takes too long."""

import msgspec

from millstream.flow import Emit, EmitEvent, Flow, Input, SetTimer

SECOND = 1_000_000_000
TOO_LONG = 30 * SECOND


class Press(msgspec.Struct):
    part_ns: int = 0  # when the newest part was made


def step(press, event):
    if event.is_timer:
        return press, [EmitEvent(f"{event.key}:late", "com.acme.part.late", {"after_s": 30}, event.time_ns)]
    effects = [SetTimer("late", event.time_ns + TOO_LONG)]
    if press.part_ns:
        seconds = (event.time_ns - press.part_ns) / SECOND
        effects.append(Emit(f"{event.key}:cycle_time", seconds, event.time_ns, kind="kpi", unit="s"))
    return Press(event.time_ns), effects


cycle = Flow(
    name="cycle",
    inputs=(Input("acme/plant1/**:parts", kind="count"),),
    step=step,
    initial=Press,
    state_type=Press,
    outputs=("kpi", "event"),
)
