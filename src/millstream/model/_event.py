"""Events: what happened, where samples say what holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from millstream.model._sample import Value

EventKind = Literal["event", "alarm"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened at a source, or one change of an alarm's state.

    `tag` is the tag's key, as in `Sample`. `id` names the event at its `source` (a URI), so that whoever gets it twice
    can tell; `type` says what sort it is. `data` holds its fields. `time_ns` is UTC, None when the source has no clock.
    """

    tag: str
    type: str
    id: str
    source: str
    data: Mapping[str, Value] = field(default_factory=dict)
    time_ns: int | None = None
    kind: EventKind = "event"
