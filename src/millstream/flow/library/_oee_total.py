"""OEE of lines, areas and sites as tags, from what the flow `oee` tells of each machine; live, and put right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from millstream.flow._model import SECOND_NS, Effect, Emit, EmitEvent, Event, Flow, Input, SetTimer, TimePolicy
from millstream.flow.library._calendar_windows import DAY_NS, figure_quality, late_input
from millstream.flow.library._oee_total_kept import Head, Kept, Place, name_of, span_of, with_place
from millstream.flow.library._type import FlowConfig, FlowType, OutputName, nanoseconds
from millstream.model import AssetPath
from millstream.protocols.cloudevents import parse_time_ns
from millstream.protocols.uns_subject import UnsAddress
from millstream.sdk import Duration
from millstream.shop import OeeWindow, oee_total, read_window

MACHINE_TYPE = "millstream.oee"
TOTAL_TYPE = "millstream.oee.total"  # another one: who adds up machines does not take a line for one
PLACES_AT_ONCE = 40  # that one step gives; the rest follow
PARTS_MAX = 50  # of a place, in its event: those that lost most
NEVER_NS = 2**63
FIGURES = (
    "oee", "availability", "performance", "quality", "scrap_ratio", "rework_ratio", "first_pass_yield", "known",
)  # fmt: skip
OF_PART = ("machines", "oee", "availability", "performance", "quality", "known", "busy_s", "losses_s", "is_sure")
SHOW, GIVE, MORE = "show", "give", "more"
LIVE = ""  # the name of a window that runs


class OeeTotalConfig(FlowConfig):
    """Of which places, and how often."""

    levels: tuple[int, ...] = Field(min_length=1, max_length=8)
    """The places so many levels from the top: `[3, 2]` for `acme/plant1/line1` and `acme/plant1`. All machines below
    the topmost of them are added up by one key of the flow."""
    of: OutputName = "oee"
    """The `output` of the flow `oee`, whose events are the inputs."""
    every: Duration = 1.0
    """Live figures are given so often at most, with what machines tell of their running windows (`explain` of the flow
    `oee`); 0s: not at all."""
    wait: Duration = 10.0
    """So long after its end a window is given: by then its machines have told of it. What comes later corrects it."""
    explain: Duration = 60.0
    """How often it is told what the live figures are made of, with them at most; 0s: only once the window is over."""
    known: float = Field(default=0.95, ge=0, le=1)
    """Figures are uncertain when less than this share of the time is told and known."""
    keep: Duration = Field(default=172_800.0, le=172_800)
    """So long after its end a window is corrected, two days at most; what comes later is an event."""
    output: OutputName = "oee"
    """Name of the results at each place: `oee/shift/availability` and so on, as at a machine."""

    @model_validator(mode="after")
    def _fits(self) -> OeeTotalConfig:
        if len(set(self.levels)) < len(self.levels) or not all(1 <= each <= 12 for each in self.levels):
            raise ValueError("levels are 1 to 12, each once")
        if nanoseconds(self.keep) < DAY_NS:
            raise ValueError("keep is a day at least: a window of a day could not be put right")
        if "{" in self.output or "{" in self.of:
            raise ValueError("output and of are plain names")
        return self


class _Total:
    """The step."""

    def __init__(self, config: OeeTotalConfig) -> None:
        self._config = config
        self._levels = sorted(config.levels)
        self._every_ns, self._wait_ns = nanoseconds(config.every), nanoseconds(config.wait)
        self._keep_ns, self._explain_ns = nanoseconds(config.keep), nanoseconds(config.explain)
        self._apart_ns = self._every_ns or SECOND_NS  # of what is given and given again

    def key(self, address: UnsAddress) -> str:
        """The topmost of the places."""
        return str(AssetPath(address.asset.levels[: self._levels[0]]))

    def __call__(self, head: Head, event: Event) -> tuple[Head, Sequence[Effect]]:
        assert event.pieces is not None
        kept = Kept(head, event.pieces)
        if event.is_timer:
            now_ns = head.newest_ns = max(head.newest_ns, event.time_ns)
            effects = self._next(kept, now_ns)
        else:
            effects = self._take(kept, event)
        kept.store()
        return head, effects

    # -- taking in ----------------------------------------------------------------------------------------------------

    def _take(self, kept: Kept, event: Event) -> Sequence[Effect]:
        """One window of a machine."""
        machine, _, name = event.source.partition(":")
        places = self._places_of(machine)
        if event.type != MACHINE_TYPE or name.rpartition("/")[0] != self._config.of or not places:
            return ()
        window = read_window(machine, event.value)
        head = kept.head
        head.newest_ns = max(head.newest_ns, event.time_ns)
        if window.told.window == "live":
            return self._take_live(kept, window, places[0])
        if window.end_ns <= head.gone_ns:
            return [late_input(f"{places[0]}:{self._config.output}/late", event)]
        name = name_of(window)
        if not kept.put_window(name, window, places[0]):
            return ()
        head.due[name] = with_place(head.due.get(name, []), places[0])
        return self._next(kept, head.newest_ns)

    def _take_live(self, kept: Kept, window: OeeWindow, place: str) -> Sequence[Effect]:
        until_ns = parse_time_ns(window.told.until) if window.told.until else window.end_ns + DAY_NS
        if not kept.put_live(window, until_ns, place) or not self._every_ns:
            return ()
        head = kept.head
        head.dirty = with_place(head.dirty, place)
        head.shown_ns = head.shown_ns or head.newest_ns  # the first of all is not given alone
        return self._next(kept, head.newest_ns)

    def _places_of(self, below: str) -> list[str]:
        """The places above a machine, or above a place; the nearest first."""
        steps = below.split("/")
        return ["/".join(steps[:level]) for level in reversed(self._levels) if level < len(steps)]

    def _with_those_above(self, places: Iterable[str]) -> list[str]:
        """The lowest first."""
        return sorted({above for place in places for above in (place, *self._places_of(place))}, key=_rank)

    # -- giving -------------------------------------------------------------------------------------------------------

    def _next(self, kept: Kept, now_ns: int) -> Sequence[Effect]:
        """What is due of all places, in steps that a unit holds; no round begins before the one before it is over."""
        head = kept.head
        is_over = not head.rounds
        if is_over and head.dirty and now_ns >= head.shown_ns + self._every_ns:
            head.shown_ns = now_ns
            head.rounds.append((LIVE, head.dirty, ""))
            head.dirty = []
        if is_over and self._over_ns(head) <= now_ns:
            head.given_ns = now_ns
            due = [name for name in head.due if span_of(name)[1] + self._wait_ns <= now_ns]
            head.rounds += [(name, head.due.pop(name), "") for name in sorted(due, key=span_of)]
        effects = self._step(kept)
        if not head.rounds and not head.due:  # nothing goes that is still to be given
            kept.forget(now_ns - self._keep_ns)
        if head.rounds or (head.is_forgetting and not head.due):
            return [*effects, SetTimer(MORE, now_ns + 1)]
        if head.dirty:
            effects.append(SetTimer(SHOW, head.shown_ns + self._every_ns))
        if head.due:
            effects.append(SetTimer(GIVE, self._over_ns(head)))
        return effects

    def _step(self, kept: Kept) -> list[Effect]:
        """So many places of the rounds that have begun."""
        effects: list[Effect] = []
        rounds, left = kept.head.rounds, PLACES_AT_ONCE
        while rounds and left:
            name, named, last = rounds.pop(0)
            every = self._with_those_above(kept.lowest(named))
            places = [place for place in every if not last or _rank(place) > _rank(last)]
            for place in places[:left]:
                effects += self._shown(kept, place) if name == LIVE else self._given(kept, name, place)
            if places[left:]:
                rounds.insert(0, (name, named, places[left - 1]))
            left -= len(places[:left])
        return effects

    def _over_ns(self, head: Head) -> int:
        """When windows that are over are given: once their machines have told of them, and not more often than live
        figures."""
        if not head.due:
            return NEVER_NS
        return max(min(span_of(name)[1] for name in head.due) + self._wait_ns, head.given_ns + self._apart_ns)

    def _shown(self, kept: Kept, place: str) -> Iterator[Effect]:
        """The running windows of a place together."""
        windows = {name: [each] for name, each in kept.running(place, kept.head.newest_ns)}
        if not windows:
            return
        start_ns = min(each[0].start_ns for each in windows.values())
        end_ns = max(each[0].end_ns for each in windows.values())
        missing = kept.missing(place, windows, start_ns, end_ns)
        found = self._total(windows, start_ns, end_ns, missing)
        before = kept.place(place)
        tags = list(self._tags(place, "live", found, end_ns, 0))
        told = [(tag.value, int(tag.quality)) for tag in tags]
        known = before.told if len(before.told) == len(told) else [(None, -1)] * len(told)
        explained_ns = before.explained_ns
        if self._explain_ns and end_ns >= explained_ns + self._explain_ns:
            explained_ns = end_ns
        kept.put_place(place, Place(told, explained_ns))
        yield from (tag for tag, new, old in zip(tags, told, known, strict=True) if new != old)
        if explained_ns == end_ns:
            yield self._event(place, "live", {"revision": 0, **found}, windows, (start_ns, end_ns))

    def _given(self, kept: Kept, name: str, place: str) -> Sequence[Effect]:
        """A window that is over, unless it was given as it is."""
        start_ns, end_ns = span_of(name)
        windows = {machine: [each] for machine, each in kept.told(name, place)}
        if not windows:
            return ()
        missing = kept.missing(place, windows, start_ns, end_ns, kind=name.partition(" ")[0])
        found = self._total(windows, start_ns, end_ns, missing)
        revision = kept.given_again(name, place, found)
        if revision is None:
            return ()
        kind = name.partition(" ")[0]
        event = self._event(place, kind, {"revision": revision, **found}, windows, (start_ns, end_ns))
        return [*self._tags(place, kind, found, end_ns, revision), event]

    # -- figures ------------------------------------------------------------------------------------------------------

    def _total(
        self, windows: Mapping[str, Sequence[OeeWindow]], start_ns: int, end_ns: int, missing: Sequence[str] = ()
    ) -> dict[str, Any]:
        return oee_total(windows, start_ns, end_ns, missing=missing, known_min=self._config.known)

    def _tags(self, place: str, kind: str, found: Mapping[str, Any], time_ns: int, revision: int) -> Iterator[Emit]:
        if not found["planned_s"]:
            return
        for name in FIGURES:
            if name not in found:
                continue
            quality = figure_quality(found[name], is_sure=found["is_sure"] or name == "known")
            path = f"{place}:{self._config.output}/{kind}/{name}"
            yield Emit(path, found[name], time_ns, "kpi", quality=quality, revision=revision)

    def _event(
        self, place: str, kind: str, found: Mapping[str, Any], windows: Mapping[str, Sequence[OeeWindow]],
        span: tuple[int, int],
    ) -> EmitEvent:  # fmt: skip
        """All it is made of, with the places right below it, or its machines: those that lost most."""
        below: dict[str, dict[str, Sequence[OeeWindow]]] = {}
        for machine, each in windows.items():
            steps = [machine, *self._places_of(machine)]
            below.setdefault(steps[steps.index(place) - 1], {})[machine] = each
        parts = [{"path": path, **self._total(each, *span)} for path, each in below.items()]
        parts.sort(key=lambda part: (sum(part["losses_s"].values()), part["path"]), reverse=True)
        data = {
            "window": kind, **found, "parts_count": len(parts),
            "parts": [{name: part[name] for name in ("path", *OF_PART)} for part in parts[:PARTS_MAX]],
        }  # fmt: skip
        return EmitEvent(f"{place}:{self._config.output}/{kind}", TOTAL_TYPE, data, span[1])


def _rank(place: str) -> tuple[int, str]:
    """The lowest places first."""
    return -place.count("/"), place


def _build(
    name: str, inputs: tuple[Input, ...], config: OeeTotalConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    step = _Total(config)
    return Flow(
        name, inputs, step, Head, Head, step.key, None, ("kpi", "event"), time, version, piece_type=Kept.PIECE
    )  # fmt: skip


OEE_TOTAL = FlowType(
    "oee_total", OeeTotalConfig, _build,
    "Adds up OEE of machines to that of their line, area and site, as tags beside those of the machines: live, and of "
    "each shift, hour and day that `oee` tells of (inputs of kind `event`, such as `**:oee/*`). Times are added, never "
    "ratios, as `millstream oee` adds them. When a machine's window is corrected, so are those of its places. With "
    "each window comes an event that has all it was made of, and which machines lost most. A machine that tells "
    "nothing of a window is a doubt, and the figures are uncertain then.",
)  # fmt: skip
