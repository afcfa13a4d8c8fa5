"""One of each, by what it says: an order, a serial number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from millstream.flow._codec import EVENT_KINDS
from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, OutputPath, nanoseconds
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration

FORGET = "forget"


class DedupConfig(FlowConfig):
    """What is the same."""

    key: str = ""
    """Where the business key is in the value or the event's data, such as `serial` or `order.number`; empty: the value
    itself."""
    scope: Literal["tag", "all"] = "all"
    """Within which a key is unique: one tag, or all inputs."""
    forget_after: Duration = 86400.0
    """So long after the first one the same key is new again."""
    report: bool = False
    """Make an event of each repeat (`millstream.duplicate`)."""
    output: OutputName = "{name}/unique"
    """Name of the result, at the place of the input; `{name}` stands for the input's name."""


class Seen(msgspec.Struct, array_like=True):
    """When a key came first (UTC ns), and how often since."""

    first_ns: int = 0
    repeats: int = 0


class _Once:
    def __init__(self, config: DedupConfig, kinds: Sequence[str]) -> None:
        self._config, self._path = config, OutputPath(config.output)
        self._forget_ns = nanoseconds(config.forget_after)
        self._levels = tuple(config.key.split(".")) if config.key else ()

    def group(self, event: Event) -> str:
        """For `Flow.regroup`. No value has no key. Raises ValueError when the key is not there."""
        value = event.value
        if value is None:
            return ""
        for level in self._levels:
            if not isinstance(value, dict) or level not in value:
                raise ValueError(f"no {self._config.key} in {value!r:.80}")
            value = value[level]
        if value is None or isinstance(value, dict | list):
            raise ValueError(f"not a key: {value!r:.80}")
        return f"{event.source}={value}" if self._config.scope == "tag" else f"={value}"

    def __call__(self, seen: Seen, event: Event) -> tuple[Seen | None, Sequence[Effect]]:
        if event.is_timer or not event.key:
            return None, ()
        path = self._path(event.source)
        if seen.first_ns:
            seen.repeats += 1
            if not self._config.report:
                return seen, ()
            data = {
                "key": event.key.partition("=")[2], "first": format_time(seen.first_ns), "repeats": seen.repeats,
                "source": event.source,
            }  # fmt: skip
            return seen, (EmitEvent(path, "millstream.duplicate", data, event.time_ns),)
        seen.first_ns = event.time_ns
        forget = SetTimer(FORGET, event.time_ns + self._forget_ns)
        if event.kind in EVENT_KINDS:
            return seen, (forget, EmitEvent(path, event.type, event.value, event.time_ns, event.kind))
        return seen, (forget, Emit(path, event.value, event.time_ns, event.kind, event.quality, event.unit))


def _build(name: str, inputs: tuple[Input, ...], config: DedupConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    kinds = dict.fromkeys(i.kind for i in inputs)
    if config.report:
        kinds["event"] = None
    step = _Once(config, tuple(kinds))
    return Flow(
        name, inputs, step, Seen, Seen, OutputPath("{name}").key, step.group, tuple(kinds), time, version
    )  # fmt: skip


DEDUP = FlowType(
    "dedup", DedupConfig, _build,
    "Passes on the first sample or event of each business key (an order, a serial number), also when repeats come from "
    "other machines. Keys are forgotten after a time. What has no key goes into quarantine.",
)  # fmt: skip
