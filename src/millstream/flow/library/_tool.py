"""A tool in its cut: what its loads usually are, how worn it is, and that it broke, told at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import Field, model_validator

from millstream.flow._model import STATE_BYTES_MAX, Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow._order import in_order
from millstream.flow.library._alarm_life import TIMER, AlarmLife, AlarmLifeConfig, KeptAlarm, asks, life_asked
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._type import FlowType, OutputName, nanoseconds, number
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import (
    CELL_BYTES,
    CutLimits,
    CutProfile,
    CutSignature,
    judge_load,
    learn_cuts,
    load_ratio,
    takes_as_long,
)

LOADS_MAX = 4
CONTEXT_MAX = 4
TOOLS_MAX = 128
WEARS_MAX = 3  # of the newest cuts, whose median is the wear: one hard blank is no wear
LEARN_MAX = 20
BINS_MAX = 128
OPERATIONS_MAX = 200
AIR_DOWN, AIR_UP = 0.1, 0.01  # how far the load in the air follows: what is low is sooner believed
EARLY_SHARE = 0.2  # of a cut so far outside of its envelope
DIGITS = 6
ALARMS = ("broken", "worn", "deviates")
TOOL, LIFE, CUTTING = "~tool", "~life", "~cutting"
LOST, STOPPED = "load lost", "it ended as the load went"
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class ToolConfig(AlarmLifeConfig):
    """Where the loads and what is machined come from, and how far off is too far."""

    loads: Names
    """Short names of the loads: force, torque, power or vibration, best a feature of `waveform`:
    `{force: force/rms}`. 1 to 4."""
    tool: str
    """The tag that names the tool."""
    operation: dict[str, str] = Field(default={}, max_length=CONTEXT_MAX)
    """Tags that together with the tool say what is cut: `{program: program, block: block, override: feed_override}`.
    Each combination has a signature of its own."""
    life: str | None = None
    """A tag whose value is another when this tool is replaced by a fresh one: its serial number, or how often it was
    changed."""
    cutting: str | None = None
    """A tag that is true, or not 0, during a cut. What the controller says is better than a load."""
    cut_above: float | None = None
    """Without `cutting`: it cuts while the first load is above this."""
    cut_pause: Duration = Field(default=0.5, gt=0)
    """With `cut_above` a cut ends when the load was below for so long."""
    gap: Duration = Field(default=0.25, gt=0)
    """So far apart two values of a load may be within a cut; with more between them nothing is said of the cut."""
    learn: int = Field(default=5, ge=2, le=LEARN_MAX)
    """From so many good cuts the signature is learnt; at least two thirds of them have to be alike."""
    bins: int = Field(default=32, ge=4, le=BINS_MAX)
    """Into at most so many stretches the time of a cut is divided."""
    resolution: Duration = Field(default=0.1, gt=0)
    """How long a stretch is at least."""
    operations: int = Field(default=24, ge=1, le=OPERATIONS_MAX)
    """So many combinations of tool and operation are known at a time; then the one that was cut longest ago goes."""
    lost: float = Field(default=0.4, ge=0, lt=1)
    """Broken: the load is below this share of the least that the signature has there."""
    confirm: int = Field(default=1, ge=1, le=20)
    """So many values one after the other have to be as low. A second one of features of 50 ms is 50 ms later."""
    shock: float = Field(default=2.5, gt=1)
    """Broken: the load is above this many times the most that the signature has there."""
    tolerance: float = Field(default=0.2, gt=0)
    """The envelope is so much wider than what was learnt, as a share of the mean load."""
    worn: float = Field(default=1.4, gt=1)
    """Worn: the load over whole cuts has grown to so many times what was learnt."""
    output: OutputName = "tool"
    """At the same place: alarms `<output>/broken`, `<output>/worn` and `<output>/deviates`, each cut as an event
    `<output>/cut`, `<output>/state`, and for each tool `<output>/<tool>/wear`, 1 when fresh."""

    @model_validator(mode="after")
    def _fits(self) -> ToolConfig:
        if len(self.loads) > LOADS_MAX:
            raise ValueError(f"at most {LOADS_MAX} loads")
        if (self.cutting is None) == (self.cut_above is None):
            raise ValueError("either cutting or cut_above says when it cuts")
        if "{" in self.output:
            raise ValueError("output is a plain name")
        tags = [*self.loads.values(), *self.tags.values()]
        if len(set(tags)) < len(tags):
            raise ValueError("two names for one tag")
        size = self.operations * self.bins * len(self.loads) * CELL_BYTES * self.learn
        if size > STATE_BYTES_MAX * 3 // 4:
            raise ValueError(
                f"operations x bins x loads x learn x {CELL_BYTES} bytes is {size}; "
                f"at most {STATE_BYTES_MAX * 3 // 4} are kept for a machine"
            )
        return self

    @property
    def tags(self) -> dict[str, str]:
        """What tells of tool and operation, by short name."""
        given = {TOOL: self.tool, LIFE: self.life, CUTTING: self.cutting}
        return {name: tag for name, tag in given.items() if tag} | {f"~~{k}": v for k, v in self.operation.items()}


class Operation(msgspec.Struct, array_like=True):
    """One combination of tool and operation: cuts that it learns from, then the signature."""

    learnt: list[CutProfile] = []
    signature: CutSignature | None = None


class ToolLife(msgspec.Struct, array_like=True):
    """A tool since it was fresh: what told so, its cuts and their time, the newest wears by operation."""

    id: str = ""
    cuts: int = 0
    cut_ns: int = 0
    wears: dict[str, list[float]] = {}

    def wear(self, operation: str) -> float:
        """Of the newest cuts of an operation, at least 1."""
        newest = sorted(self.wears.get(operation, ()))
        return max(newest[len(newest) // 2], 1.0) if newest else 1.0


class Cut(msgspec.Struct, array_like=True):
    """The cut that is under way. `unknown` is why nothing can be said of it, `broken` what was seen and when."""

    start_ns: int
    tool: str
    operation: str
    profile: CutProfile
    newest_ns: list[int]
    low: list[int]
    unknown: str = ""
    broken: str = ""
    broken_ns: int = 0
    judged: int = 0
    outside: int = 0
    quiet_ns: int = 0


class Spindle(msgspec.Struct, array_like=True):
    """All of one machine."""

    operations: dict[str, Operation] = {}
    lives: dict[str, ToolLife] = {}
    context: dict[str, str] = {}
    air: list[float | None] = []
    cut: Cut | None = None
    ended_ns: int = 0
    said: str = ""
    alarms: dict[str, KeptAlarm] = {}


@dataclass(frozen=True, slots=True)
class _Moment:
    """Where and when something is said."""

    key: str
    time_ns: int


class _Watch:
    """The step."""

    def __init__(self, config: ToolConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._loads = {name: index for index, name in enumerate(config.loads)}
        self._names = list(config.loads)
        self._limits = CutLimits(config.lost, config.shock, config.tolerance)
        self._gap_ns, self._pause_ns = nanoseconds(config.gap), nanoseconds(config.cut_pause)
        self._width_ns = nanoseconds(config.resolution)
        self._lives = {name: AlarmLife(name, self._path, config, of=config.tool) for name in ALARMS}

    def _path(self, key: str, name: str) -> str:
        return f"{key}:{self._config.output}/{name}"

    def __call__(self, state: Spindle, event: Event) -> tuple[Spindle, Sequence[Effect]]:
        if event.is_timer:
            return state, self._lives[event.timer.removeprefix(TIMER)].on_timer(state.alarms, event.key, event.time_ns)
        if event.kind == "ack":
            return state, life_asked(self._lives, self._config.output, event).asked(state.alarms, event)
        name = self._inputs.name(event)
        if name is None:
            return state, ()
        load = self._loads.get(name)
        if load is not None:
            return state, self._heard(state, event, load)
        text = _text(event)
        if name == CUTTING:
            return state, self._told_cutting(state, event, text)
        return state, self._told(state, event, name, text)

    # -- what is cut --------------------------------------------------------------------------------------------------

    def _told(self, state: Spindle, event: Event, name: str, text: str) -> list[Effect]:
        """The tool or a part of the operation."""
        before, state.context[name] = state.context.get(name, ""), text
        if text == before:
            return []
        now, effects = _Moment(event.key, event.time_ns), list[Effect]()
        if text and before and name in (TOOL, LIFE):  # whatever broke is out of the spindle
            effects += self._alarm(state, now, "broken", "")
            effects += self._alarm(state, now, "worn", "")
        cut = state.cut
        if cut is not None and name != LIFE:
            if event.time_ns > cut.start_ns and before:
                effects += self._doubt(state, now, f"{name.strip('~')} changed within the cut")
            elif cut.unknown.startswith("no ") or event.time_ns <= cut.start_ns:  # told late, and true at its start
                effects += self._begin(state, now, cut.start_ns)
        return effects

    def _told_cutting(self, state: Spindle, event: Event, text: str) -> list[Effect]:
        now, cut = _Moment(event.key, event.time_ns), state.cut
        if not text:
            return [] if cut is None else self._doubt(state, now, "whether it cuts is not known")
        is_cutting = text not in ("0", "false", "False")
        if is_cutting and cut is None:
            return self._begin(state, now, event.time_ns)
        if is_cutting or cut is None:
            return []
        if cut.broken.startswith(LOST) and cut.broken_ns >= event.time_ns - self._gap_ns:
            cut.unknown, cut.broken = STOPPED, ""  # on purpose: the loads are only heard of sooner than the tag
        return self._end(state, now)

    def _begin(self, state: Spindle, now: _Moment, start_ns: int) -> list[Effect]:
        """A cut, or the same one under another name."""
        tool, why = state.context.get(TOOL, ""), ""
        parts = [(name, state.context.get(f"~~{name}", "")) for name in self._config.operation]
        if not tool:
            why = "no tool is known"
        for name, text in parts:
            if not text and not why:
                why = f"no {name} is known"
        key = "\n".join([tool, *(text for _, text in parts)])
        found = state.operations.get(key)
        signature = found.signature if found is not None else None
        count = len(self._names)
        air = [0.0 if value is None else value for value in state.air] or [0.0] * count
        width_ns = self._width_ns if signature is None else signature.width_ns
        state.cut = Cut(
            start_ns, tool, key, CutProfile(width_ns, count, air=air), [start_ns] * count, [0] * count, unknown=why
        )
        says = "unknown" if why else "learning" if signature is None else "watching"
        return self._say(state, now, says)

    # -- loads --------------------------------------------------------------------------------------------------------

    def _heard(self, state: Spindle, event: Event, load: int) -> list[Effect]:
        now, cut = _Moment(event.key, event.time_ns), state.cut
        value = None if event.value is None or event.quality.is_bad else number(event.value)
        if value is None and event.value is not None and not event.quality.is_bad:
            raise ValueError(f"not a number: {event.value!r:.60}")
        above = self._config.cut_above
        effects: list[Effect] = []
        if cut is None and load == 0 and above is not None and value is not None and value > above:
            effects += self._begin(state, now, event.time_ns)
            cut = state.cut
        if cut is None:
            if value is not None and event.time_ns > state.ended_ns:
                self._in_air(state, load, float(value))
            return effects
        if event.time_ns < cut.start_ns:
            return effects
        if value is None:
            return [*effects, *self._doubt(state, now, f"{self._names[load]} was bad")]
        effects += self._in_cut(state, cut, now, load, float(value))
        if load == 0 and above is not None:
            if value > above:
                cut.quiet_ns = 0
            else:
                cut.quiet_ns = cut.quiet_ns or event.time_ns
                if event.time_ns - cut.quiet_ns >= self._pause_ns:
                    effects += self._end(state, _Moment(event.key, cut.quiet_ns))
        return effects

    def _in_air(self, state: Spindle, load: int, value: float) -> None:
        if not state.air:
            state.air = [None] * len(self._names)
        was = state.air[load]
        state.air[load] = value if was is None else was + (value - was) * (AIR_UP if value > was else AIR_DOWN)

    def _in_cut(self, state: Spindle, cut: Cut, now: _Moment, load: int, value: float) -> list[Effect]:
        since_ns, cut.newest_ns[load] = now.time_ns - cut.newest_ns[load], now.time_ns
        effects: list[Effect] = []
        if since_ns > self._gap_ns:
            effects += self._doubt(state, now, f"{self._names[load]} was missing for {since_ns / 1e9:.3g} s")
        if cut.quiet_ns == 0:
            offset_ns = max(now.time_ns - cut.start_ns - 1, 0)  # a feature stands at the end of what it is of
            cut.profile.add(offset_ns, load, value, self._bins(state, cut))
        found = state.operations.get(cut.operation)
        if cut.unknown or cut.broken or found is None or found.signature is None:
            return effects
        return self._judged(state, cut, found.signature, (now, load, value))

    def _doubt(self, state: Spindle, now: _Moment, why: str) -> list[Effect]:
        """Nothing is said of this cut any more; the first reason stays."""
        cut = state.cut
        if cut is None or cut.unknown or cut.broken:
            return []
        cut.unknown = why
        return self._say(state, now, "unknown")

    def _bins(self, state: Spindle, cut: Cut) -> int:
        """A cut that is compared keeps the width of its signature, as long as it can be that."""
        found = state.operations.get(cut.operation)
        return self._config.bins if found is None or found.signature is None else 2 * self._config.bins

    def _judged(
        self, state: Spindle, cut: Cut, signature: CutSignature, heard: tuple[_Moment, int, float]
    ) -> list[Effect]:
        now, load, value = heard
        wear = self._life(state, cut.tool).wear(cut.operation)
        offset_ns = max(now.time_ns - cut.start_ns - 1, 0)
        seen = judge_load(signature, offset_ns, (load, value), self._limits, wear)
        if seen is None:
            return []
        cut.judged += 1
        cut.outside += seen != "inside"
        cut.low[load] = cut.low[load] + 1 if seen == "lost" else 0
        if seen != "shock" and cut.low[load] < self._config.confirm:
            return []
        what = LOST if seen == "lost" else "shock"
        cut.broken, cut.broken_ns = f"{what}: {self._names[load]} {value:.4g}", now.time_ns
        said = f"tool {cut.tool}: {cut.broken}, {offset_ns / 1e9:.2f} s into the cut"
        return self._alarm(state, now, "broken", said)

    # -- the end of a cut ---------------------------------------------------------------------------------------------

    def _end(self, state: Spindle, now: _Moment) -> list[Effect]:
        cut = state.cut
        assert cut is not None
        state.cut, state.ended_ns = None, now.time_ns
        cut.profile.took_ns = max(now.time_ns - cut.start_ns, 1)
        for load, newest_ns in enumerate(cut.newest_ns):
            if now.time_ns - newest_ns > self._gap_ns:
                cut.unknown = cut.unknown or f"{self._names[load]} was missing at the end"
        life = self._life(state, cut.tool) if cut.tool else ToolLife()
        if cut.tool:
            life.cuts += 1
            life.cut_ns += cut.profile.took_ns
        effects: list[Effect] = []
        result, more = self._result(state, cut, life, effects, now)
        effects += self._settled(state, now, cut, result)
        data = {
            "tool": cut.tool or None, "operation": self._operation(cut), "result": result,
            "from": format_time(cut.start_ns), "seconds": round(cut.profile.took_ns / 1e9, 3), **more,
            "loads": {name: _short(cut.profile.level(load)) for name, load in self._loads.items()},
            "tool_cuts": life.cuts, "tool_seconds": round(life.cut_ns / 1e9, 3),
        }  # fmt: skip
        effects.append(EmitEvent(self._path(now.key, "cut"), "millstream.tool.cut", data, now.time_ns))
        return [*effects, *self._say(state, now, "idle")]

    def _result(
        self, state: Spindle, cut: Cut, life: ToolLife, effects: list[Effect], now: _Moment
    ) -> tuple[str, dict[str, Any]]:
        """What the cut was, and why; its wear is remembered."""
        if cut.broken:
            return "broken", {"why": cut.broken, "at": format_time(cut.broken_ns)}
        if cut.unknown:
            return "unknown", {"why": cut.unknown}
        found = state.operations.get(cut.operation)
        if found is None or found.signature is None:
            return self._learnt(state, cut, effects, now)
        state.operations[cut.operation] = state.operations.pop(cut.operation)  # the one used last goes last
        if not takes_as_long(found.signature, cut.profile.took_ns):
            return "unknown", {"why": f"the cut usually takes {found.signature.took_ns / 1e9:.4g} s"}
        ratio = load_ratio(found.signature, cut.profile)
        if ratio is None:
            return "unknown", {"why": "too little of the cut was heard"}
        wears = [*life.wears.get(cut.operation, ()), ratio][-WEARS_MAX:]
        life.wears.pop(cut.operation, None)
        life.wears[cut.operation] = wears
        if len(life.wears) > self._config.operations:
            del life.wears[next(iter(life.wears))]
        share = cut.outside / cut.judged if cut.judged else 0.0
        more = {"wear": _short(ratio), "outside": _short(share)}
        name = _ODD.sub("_", cut.tool)[:40]
        effects.append(Emit(self._path(now.key, f"{name}/wear"), _short(ratio), now.time_ns, "kpi"))
        return ("deviates" if share > EARLY_SHARE else "good"), more

    def _learnt(self, state: Spindle, cut: Cut, effects: list[Effect], now: _Moment) -> tuple[str, dict[str, Any]]:
        found = state.operations.pop(cut.operation, None) or Operation()
        state.operations[cut.operation] = found
        found.learnt.append(cut.profile)
        while len(state.operations) > self._config.operations:
            oldest = next(iter(state.operations))
            del state.operations[oldest]
            tool, *parts = oldest.split("\n")
            data = {"tool": tool, "operation": dict(zip(self._config.operation, parts, strict=True))}
            effects.append(EmitEvent(self._path(now.key, "forgotten"), "millstream.tool.forgotten", data, now.time_ns))
        if len(found.learnt) >= self._config.learn:
            found.signature, found.learnt = learn_cuts(found.learnt)
            if found.signature is not None:
                told: dict[str, Any] = {
                    "tool": cut.tool, "operation": self._operation(cut), "cuts": len(found.learnt),
                    "seconds": round(found.signature.took_ns / 1e9, 3),
                    "loads": {name: _short(found.signature.level[load]) for name, load in self._loads.items()},
                }  # fmt: skip
                found.learnt = []
                effects.append(EmitEvent(self._path(now.key, "learnt"), "millstream.tool.learnt", told, now.time_ns))
                return "learning", {}
        return "learning", {"why": f"{len(found.learnt)} of {self._config.learn} cuts alike"}

    def _settled(self, state: Spindle, now: _Moment, cut: Cut, result: str) -> list[Effect]:
        """Alarms after a cut: what is known of it, and nothing when nothing is."""
        if result == "unknown":
            return self._alarm(state, now, "broken", "") if cut.unknown == STOPPED else []
        if result not in ("good", "deviates"):
            return []
        wears = self._life(state, cut.tool).wears[cut.operation]
        wear = self._life(state, cut.tool).wear(cut.operation)
        is_worn = len(wears) == WEARS_MAX and wear >= self._config.worn
        share = f"{cut.outside} of {cut.judged} values outside of the envelope"
        worn = f"tool {cut.tool}: load {wear:.2f} of the learnt"
        return [
            *self._alarm(state, now, "broken", ""),
            *(self._alarm(state, now, "worn", worn) if is_worn else ()),  # until it is replaced: no tool heals
            *self._alarm(state, now, "deviates", f"tool {cut.tool}: {share}" if result == "deviates" else ""),
        ]

    # -- small things -------------------------------------------------------------------------------------------------

    def _alarm(self, state: Spindle, now: _Moment, name: str, said: str) -> list[Effect]:
        """An empty text: it does not hold."""
        life = self._lives[name]
        return life.observe(state.alarms, now.key, now.time_ns, holds=bool(said), value=said or None)

    def _say(self, state: Spindle, now: _Moment, what: str) -> list[Effect]:
        if what == state.said:
            return []
        state.said = what
        return [Emit(self._path(now.key, "state"), what, now.time_ns, "state")]

    def _life(self, state: Spindle, tool: str) -> ToolLife:
        found, told = state.lives.get(tool), state.context.get(LIFE, "")
        if found is None or (told and told != found.id and tool == state.context.get(TOOL)):
            state.lives.pop(tool, None)
            found = state.lives[tool] = ToolLife(told)
            if len(state.lives) > TOOLS_MAX:
                del state.lives[next(iter(state.lives))]
        return found

    def _operation(self, cut: Cut) -> dict[str, str]:
        return dict(zip(self._config.operation, cut.operation.split("\n")[1:], strict=True))


def _text(event: Event) -> str:
    """Of a tag that names something; empty when it is not known."""
    value = event.value
    if value is None or event.quality.is_bad:
        return ""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return str(whole).strip().replace("\n", " ")[:100]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _build(name: str, inputs: tuple[Input, ...], config: ToolConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    found = Inputs({**config.loads, **config.tags}, None)
    whole = (*inputs, *asks(inputs, config.output, None))
    said = ("alarm", "event", "kpi", "state")
    return in_order(Flow(name, whole, _Watch(config, found), Spindle, Spindle, found.key, None, said, time, version))


TOOL_MONITOR = FlowType(
    "tool", ToolConfig, _build,
    "Watches tools while they cut: it learns what the loads of each tool and operation are along a good cut, raises "
    "`broken` at the value in which a load is lost or leaps, follows by how much the load of a tool grows over its "
    "life, and raises `worn` and `deviates` at the end of a cut. Of a cut with a gap, a bad value, an unknown tool or "
    "another length it says that it does not know, and why.",
)  # fmt: skip
