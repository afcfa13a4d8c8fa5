"""Which machines of a line are starved or blocked, and by which machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._type import FlowConfig, FlowType, OutputName
from millstream.model import AssetPath
from millstream.protocols.uns_subject import UnsAddress
from millstream.shop import CATEGORIES, Category, Standing, waits

MACHINES_MAX = 500  # of one line
FEEDS_MAX = 2000
NOTHING = "none"


class LineConfig(FlowConfig):
    """Which machines belong to a line, and how they stand to each other."""

    levels: int = Field(ge=1, le=12)
    """A line is the place that many levels from the top: 3 for `acme/plant1/line1`."""
    of: str = "state"
    """The tag with the state of each machine below it."""
    order: tuple[str, ...] = Field(default=(), max_length=MACHINES_MAX)
    """The machines of a line as their names below it, in the order in which parts go through; left out: by the
    relations `feeds` of the context."""
    states: Mapping[str, Literal["production", "setup", "delay", "idle", "down", "planned", "unknown"]] = Field(
        default_factory=dict
    )
    """What a state counts as, where it differs from the usual. A machine waits while it is `idle`."""
    output: OutputName = "line"
    """At each machine `<output>/waits` is `starved`, `blocked` or `none`, `<output>/cause` the machine it is for."""

    @model_validator(mode="after")
    def _plain(self) -> LineConfig:
        if len(set(self.order)) < len(self.order):
            raise ValueError("a machine twice in the order")
        if "{" in self.output:
            raise ValueError("output is a plain name")
        return self


class Line(msgspec.Struct, array_like=True):
    """The category of each machine and since when (UTC ns), which feeds which, and what was told of each."""

    machines: dict[str, tuple[int, str]] = {}
    feeds: list[tuple[str, str]] = []
    told: dict[str, tuple[str, str]] = {}


class _Step:
    def __init__(self, config: LineConfig) -> None:
        self._config = config
        self._categories = {**CATEGORIES, **{name: Category(value) for name, value in config.states.items()}}

    def key(self, address: UnsAddress) -> str:
        """The line."""
        return str(AssetPath(address.asset.levels[: self._config.levels]))

    def __call__(self, line: Line, event: Event) -> tuple[Line, Sequence[Effect]]:
        machine, _, name = event.source.partition(":")
        if event.kind == "context":
            changed = _relate(line, machine, name, event.value)
        else:
            changed = name == self._config.of and self._take(line, machine, event)
        return line, self._told(line, event.key, event.time_ns) if changed else ()

    def _take(self, line: Line, machine: str, event: Event) -> bool:
        is_bad = event.value is None or event.quality.is_bad
        category = Category.UNKNOWN if is_bad else self._categories.get(str(event.value), Category.UNKNOWN)
        known = line.machines.get(machine)
        if known is not None and known[1] == category.value:
            return False
        if known is None and len(line.machines) >= MACHINES_MAX:
            raise ValueError(f"a line has at most {MACHINES_MAX} machines")
        line.machines[machine] = (event.time_ns, category.value)
        return True

    def _told(self, line: Line, key: str, time_ns: int) -> Sequence[Effect]:
        standings = {name: Standing(Category(value), since) for name, (since, value) in line.machines.items()}
        order = [f"{key}/{name}" for name in self._config.order]
        feeds = list(pairwise(order)) if order else line.feeds
        found = waits(standings, feeds)
        effects: list[Effect] = []
        for machine in line.machines:
            wait = found.get(machine)
            told = (wait.way, wait.cause) if wait is not None else (NOTHING, "")
            if told == line.told.get(machine, (NOTHING, "")):
                continue
            line.told[machine] = told
            path = f"{machine}:{self._config.output}"
            # the cause first: whoever takes the other as a reason knows it then
            effects += [
                Emit(f"{path}/cause", told[1], time_ns, "state"), Emit(f"{path}/waits", told[0], time_ns, "state"),
            ]  # fmt: skip
        return effects


def _relate(line: Line, machine: str, name: str, data: Any) -> bool:
    """Take a relation of the context: `press:relation/feeds/acme.plant1.line1.washer`. Whether it is news."""
    if not name.startswith("relation/feeds/") or not isinstance(data, Mapping):
        return False
    removed = data.get("removed")
    target = str(data.get("to") or name.removeprefix("relation/feeds/").replace(".", "/"))
    feed = (machine, target)
    if (feed in line.feeds) != bool(removed):
        return False
    if removed:
        line.feeds.remove(feed)
    elif len(line.feeds) >= FEEDS_MAX:
        raise ValueError(f"a line has at most {FEEDS_MAX} relations")
    else:
        line.feeds.append(feed)
    return True


def _build(name: str, inputs: tuple[Input, ...], config: LineConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    step = _Step(config)
    return in_order(Flow(name, inputs, step, Line, Line, step.key, None, ("state",), time, version))


LINE = FlowType(
    "line", LineConfig, _build,
    "Says of each machine of a line that waits whether it is starved (what stands before it does not deliver) or "
    "blocked (what stands behind it does not take), and which machine is the cause, also past others that wait. The "
    "order of the machines comes from the relations `feeds` of the context. Give it a `lateness`: it looks at all "
    "machines of a line at one time.",
)  # fmt: skip
