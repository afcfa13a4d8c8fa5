"""A live twin of each asset: its newest values with quality and time, state, order and alarms, what is desired beside
what is reported, and whether it is well. Derived from what is stored, so after a kill it comes to the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy, key_of_asset
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds
from millstream.model import Quality
from millstream.protocols.cloudevents import format_time
from millstream.protocols.twin import TWIN_TYPE
from millstream.sdk import Duration
from millstream.shop import OrderSpan, order_at, put_order, read_order

TAGS_MAX = 300  # of one asset
ALARMS_MAX = 100
TIMER = "twin"
STALE = "stale"
PRIORITIES = ("low", "medium", "high", "critical")


class TwinConfig(FlowConfig):
    """What a twin shows."""

    state: str = "state"
    """The tag with the state of the asset, such as `state` or `downtime/state`."""
    desired: str = Field(default="desired", min_length=1, max_length=64, pattern=r"^[^/:{}]+$")
    """What is stored below this name is what a tag should be: `desired/speed` for `speed`."""
    tolerance: float = Field(default=0.0, ge=0)
    """A number that differs from the desired one by no more than this is as desired."""
    every: Duration = Field(default=1.0, gt=0)
    """How often a twin that changes is told, at most."""
    stale: Duration | None = None
    """A tag of which nothing came for so long is stale, also where the whole asset is silent."""
    output: OutputName = "twin"
    """Name of the twin, an event at the same place."""

    @model_validator(mode="after")
    def _plain(self) -> TwinConfig:
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Value(msgspec.Struct, array_like=True, frozen=True):
    """The newest value of a tag, UTC ns."""

    time_ns: int
    value: Any
    quality: int = 0
    unit: str | None = None


class Twin(msgspec.Struct, array_like=True):
    """Values by tag, desired ones apart; since when the state is what it is; orders; the active alarms by name; what
    the context says of the asset; up to where the twin was told, its newest time and how often it was told; when
    tags were last found to be stale."""

    tags: dict[str, Value] = {}
    desired: dict[str, Value] = {}
    since_ns: int = 0
    orders: list[OrderSpan] = []
    alarms: dict[str, dict[str, Any]] = {}
    asset: dict[str, Any] = {}
    shown_ns: int = 0
    newest_ns: int = 0
    revision: int = 0
    left_out: int = 0
    stale_ns: int = 0


class _Step:
    def __init__(self, config: TwinConfig) -> None:
        self._config, self._desired = config, f"{config.desired}/"
        self._every_ns = nanoseconds(config.every)
        self._stale_ns = nanoseconds(config.stale) if config.stale is not None else None

    def __call__(self, twin: Twin, event: Event) -> tuple[Twin, Sequence[Effect]]:
        if event.is_timer:
            return twin, self._on_timer(twin, event)
        if not self._take(twin, event):
            return twin, ()
        twin.newest_ns = max(twin.newest_ns, event.time_ns)
        due_ns = twin.shown_ns + self._every_ns
        if twin.newest_ns < due_ns:
            return twin, (SetTimer(TIMER, due_ns),)
        return twin, self._tell(twin, event.key, event.time_ns)

    def _on_timer(self, twin: Twin, event: Event) -> Sequence[Effect]:
        if event.timer == TIMER:
            return self._tell(twin, event.key, event.time_ns)
        before = self._stale_tags(twin)
        known_ns, twin.stale_ns = twin.stale_ns, max(twin.stale_ns, event.time_ns)
        if self._stale_tags(twin) != before:
            return self._tell(twin, event.key, event.time_ns)
        twin.stale_ns = known_ns  # it has been heard of meanwhile
        return self._stale_timer(twin)

    def _stale_timer(self, twin: Twin) -> Sequence[Effect]:
        """When the next tag will not have been heard of for too long, also where the whole machine is silent."""
        if self._stale_ns is None:
            return ()
        ends = [value.time_ns for value in twin.tags.values() if not self._is_stale(twin, value)]
        if not ends:
            return ()
        return (SetTimer(STALE, max(min(ends) + self._stale_ns + 1, _now(twin) + self._every_ns)),)

    def _take(self, twin: Twin, event: Event) -> bool:
        """Whether it is news."""
        name = event.source[len(event.key) + 1 :]
        if event.kind == "alarm":
            return _take_alarm(twin, name, event.value)
        if event.kind == "context":
            return _take_context(twin, name, event.value)
        if event.kind in ("event", "cmd", "ack"):
            return False
        values = twin.tags
        if name.startswith(self._desired):
            values, name = twin.desired, name.removeprefix(self._desired)
        known = values.get(name)
        if known is None and len(values) >= TAGS_MAX:
            twin.left_out += 1
            return False
        if known is not None and event.time_ns < known.time_ns:
            return False  # it never goes backwards
        values[name] = Value(event.time_ns, event.value, int(event.quality), event.unit)
        if name == self._config.state and (known is None or known.value != event.value):
            twin.since_ns = event.time_ns
        return True

    def _tell(self, twin: Twin, key: str, time_ns: int) -> Sequence[Effect]:
        twin.shown_ns = max(twin.newest_ns, time_ns)
        twin.revision += 1
        told = EmitEvent(f"{key}:{self._config.output}", TWIN_TYPE, self._document(twin), _now(twin))
        return (told, *self._stale_timer(twin))

    def _document(self, twin: Twin) -> dict[str, Any]:
        now_ns = _now(twin)
        state, order = twin.tags.get(self._config.state), order_at(twin.orders, now_ns)
        desired = {name: self._wanted(twin, name, value) for name, value in sorted(twin.desired.items())}
        return {
            "at": format_time(now_ns), "revision": twin.revision, "template": twin.asset.get("template"),
            "state": None if state is None else {
                "value": state.value, "quality": Quality(state.quality).label, "since": format_time(twin.since_ns),
            },
            "order": None if order is None else {
                "order": order.name, "product": order.product or None, "start": format_time(order.start_ns),
            },
            "health": self._health(twin, desired), "alarms": [{"name": n, **a} for n, a in sorted(twin.alarms.items())],
            "desired": desired,
            "tags": {name: self._shown(twin, value) for name, value in sorted(twin.tags.items())},
        }  # fmt: skip

    def _shown(self, twin: Twin, value: Value) -> dict[str, Any]:
        shown = {"value": value.value, "quality": Quality(value.quality).label, "time": format_time(value.time_ns)}
        if value.unit:
            shown["unit"] = value.unit
        if self._is_stale(twin, value):
            shown["is_stale"] = True
        return shown

    def _is_stale(self, twin: Twin, value: Value) -> bool:
        return self._stale_ns is not None and _now(twin) - value.time_ns > self._stale_ns

    def _stale_tags(self, twin: Twin) -> list[str]:
        return [name for name, value in sorted(twin.tags.items()) if self._is_stale(twin, value)]

    def _wanted(self, twin: Twin, name: str, wanted: Value) -> dict[str, Any]:
        """What is wanted beside what is reported."""
        reported = twin.tags.get(name)
        is_known = reported is not None and reported.value is not None and not Quality(reported.quality).is_bad
        is_met: bool | None = None
        difference = None
        if reported is not None and is_known:
            if _is_number(wanted.value) and _is_number(reported.value):
                difference = reported.value - wanted.value
                is_met = abs(difference) <= self._config.tolerance
            else:
                is_met = reported.value == wanted.value
        return {
            "desired": wanted.value, "since": format_time(wanted.time_ns),
            "reported": None if reported is None else reported.value, "difference": difference, "is_met": is_met,
        }  # fmt: skip

    def _health(self, twin: Twin, desired: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        bad = [name for name, value in sorted(twin.tags.items()) if Quality(value.quality).is_bad]
        stale = self._stale_tags(twin)
        worst = max((PRIORITIES.index(a["priority"]) for a in twin.alarms.values()), default=-1)
        differs = [name for name, each in desired.items() if each["is_met"] is False]
        return {
            "is_well": not (bad or stale or twin.alarms or differs), "alarms": len(twin.alarms),
            "highest_priority": PRIORITIES[worst] if worst >= 0 else None, "bad_tags": bad, "stale_tags": stale,
            "not_as_desired": differs, "values_left_out": twin.left_out,
        }  # fmt: skip


def _now(twin: Twin) -> int:
    """The newest time that it holds, or when it was found that some tag is silent."""
    return max(twin.newest_ns, twin.stale_ns)


def _take_alarm(twin: Twin, name: str, note: Any) -> bool:
    if not isinstance(note, Mapping) or note.get("priority") not in PRIORITIES:
        return False
    if not note.get("is_active"):
        return twin.alarms.pop(name, None) is not None
    if name not in twin.alarms and len(twin.alarms) >= ALARMS_MAX:
        twin.left_out += 1
        return False
    told = {each: note.get(each) for each in ("state", "priority", "since", "value", "message")}
    is_new = twin.alarms.get(name) != told
    twin.alarms[name] = told
    return is_new


def _take_context(twin: Twin, name: str, data: Any) -> bool:
    if name == "asset" and isinstance(data, Mapping):
        asset = {} if data.get("removed") else {each: data.get(each) for each in ("template", "description")}
        is_new, twin.asset = asset != twin.asset, asset
        return is_new
    if name.startswith("order/"):
        name = name.removeprefix("order/")
        return put_order(twin.orders, name, read_order(name, data)) is not None
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _build(name: str, inputs: tuple[Input, ...], config: TwinConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    return Flow(name, inputs, _Step(config), Twin, Twin, key_of_asset, None, ("event",), time, version)


TWIN = FlowType(
    "twin", TwinConfig, _build,
    "Keeps a live twin of each asset: the newest value of each tag with its quality and time, state, current order, "
    "active alarms, what is desired beside what is reported, and whether all is well. Told as one event "
    "(`millstream.twin`) when something has changed; `millstream twin show` shows it, also as it was at a time. A "
    "value that is older than the one it has changes nothing.",
)  # fmt: skip
