"""A flow with commands: it counts parts, and people may correct the count or begin anew. In an edge's file:

    flows:
      - name: tally
        python: "tally.py:tally"
        inputs: [{pattern: "acme/plant1/**:part"}]

Each command takes the path whose count is meant, and has its effect once:

    millstream command send tally.correct --to edge1 --arg path=acme/plant1/press --arg by=-2 --wait 1min
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.flow import Call, Effect, Emit, Event, Flow, FlowCommand, Input
from millstream.kernel import ConfigError


class Tally(msgspec.Struct):
    """The state of one machine."""

    parts: int = 0


def count(state: Tally, event: Event) -> tuple[Tally, Sequence[Effect]]:
    """One more."""
    state.parts += 1
    return state, [Emit(f"{event.key}:parts", state.parts, event.time_ns)]


def correct(state: Tally, call: Call) -> tuple[Tally, Sequence[Effect], object]:
    """What it raises is the answer, and then nothing has changed."""
    parts = state.parts + int(call.args["by"])
    if parts < 0:
        raise ConfigError("there are not so many parts", got=str(call.args["by"]), expected=f"at least -{state.parts}")
    return Tally(parts), [Emit(f"{call.key}:parts", parts, call.time_ns)], {"parts": parts}


def restart(state: Tally, call: Call) -> tuple[Tally, Sequence[Effect], object]:
    """Begin anew; says what there was."""
    return Tally(), [Emit(f"{call.key}:parts", 0, call.time_ns)], {"before": state.parts}


BY = {"type": "object", "required": ["by"], "additionalProperties": False, "properties": {"by": {"type": "integer"}}}
tally = Flow(
    name="tally", inputs=(Input("acme/plant1/**:part"),), step=count, initial=Tally, state_type=Tally,
    commands=(
        FlowCommand("correct", "Add to the count of parts, or take away.", correct, BY),
        FlowCommand("restart", "Begin to count anew.", restart),
    ),
)  # fmt: skip
