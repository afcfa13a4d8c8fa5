"""Whether what a step gives may be said."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.flow._codec import EVENT_KINDS
from millstream.flow._model import Emit, EmitEvent
from millstream.flow._sources import StepFailedError


def check_output(effect: Emit | EmitEvent, outputs: Sequence[str], where: str) -> None:
    """Raises StepFailedError for a kind that the flow does not declare, and for the wrong form of one."""
    if effect.kind not in outputs:
        raise StepFailedError(
            "step emits what the flow does not declare", where=where, expected=", ".join(outputs), got=effect.kind
        )
    if (effect.kind in EVENT_KINDS) != isinstance(effect, EmitEvent):
        raise StepFailedError(
            "wrong form of output", where=where, expected="EmitEvent for events and alarms, Emit for samples",
            got=f"{type(effect).__name__} of kind {effect.kind}",
        )  # fmt: skip
