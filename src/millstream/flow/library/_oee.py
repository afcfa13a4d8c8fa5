"""OEE of each machine by shift, hour and day, live and corrected, with all that a figure is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, model_validator

from millstream.flow._model import Effect, Emit, EmitEvent, Event, Flow, Input, TimePolicy
from millstream.flow.library._calendar_windows import (
    MINUTE_NS,
    CalendarWindows,
    Over,
    WindowsConfig,
    figure_quality,
)
from millstream.flow.library._inputs import Inputs, Names
from millstream.flow.library._oee_kept import Bucket, Kept, Live, Machine, Odd, OrderMade, OrderTimes, Piece
from millstream.flow.library._type import FlowType, OutputName, nanoseconds, number
from millstream.kernel import ConfigError
from millstream.protocols.cloudevents import format_time
from millstream.sdk import Duration
from millstream.shop import (
    CATEGORIES,
    SMALL_CATEGORIES,
    TOLERANCE,
    Category,
    Figures,
    Made,
    OrderSpan,
    added,
    clip,
    figures,
    order_doubts,
    order_spans,
    orders_at,
    put_order,
    read_order,
)

T = TypeVar("T", bound=tuple[Any, ...])

COUNTS = ("produced", "good", "rejected")
REJECTS = ("scrap", "rework")
PARTS_APART = 1.0  # three counters do not step in the same moment
PLANNED_MAX = 100  # windows of which the planned time is remembered


class OeeConfig(WindowsConfig):
    """Where states and counts come from, which time is planned, and over which windows."""

    names: Names
    """The tags below the place: `state` (as `machine_state` says it), totals that only grow: `produced`, `good`,
    `rejected` (two of the three, or `produced` alone; all three are held against one another), and `cycle`, the ideal
    seconds a part, where a tag tells it. Beside `produced` may stand what the flow `quality` says of each minute,
    `scrap: quality/scrap` and `rework: quality/rework`, and `inspected`, the total of parts that were looked at, when
    that is not each."""
    ideal_cycle: Duration | None = None
    """The ideal time of one part, when no tag tells it."""
    orders: bool = False
    """Take the ideal cycle from the order that ran (inputs of kind `context`), to the minute; where no order is told,
    from a tag or `ideal_cycle`."""
    order_max: Duration = 604_800.0
    """An order that has no end after this time is a doubt."""
    states: Mapping[str, Literal["production", "setup", "delay", "idle", "down", "planned", "unknown"]] = Field(
        default_factory=dict
    )
    """What a state counts as, where it differs from the usual (PackML, ISO 22400, MTConnect). One that nobody knows is
    unknown, and never downtime."""
    small_stop: Duration = 300.0
    """A delay or idle time shorter than this is a small stop."""
    explain: Duration = 0.0
    """How often it is told what the live figures are made of, with them at most (`millstream why`); 0s: only once the
    window is over."""
    startup: Duration = 0.0
    """Rejects so long after a set-up are told apart, as those of the start (reduced yield); 0s: they are not."""
    known: float = Field(default=0.95, ge=0, le=1)
    """Figures are uncertain when less than this share of the planned time is known."""
    output: OutputName = "oee"
    """Name of the results at the same place: `oee/shift/availability` and so on."""

    @model_validator(mode="after")
    def _fits(self) -> OeeConfig:
        unknown = set(self.names) - {"state", "cycle", "inspected", *COUNTS, *REJECTS}
        if unknown or "state" not in self.names:
            raise ValueError(
                "names are state, produced, good, rejected, scrap, rework, inspected and cycle; state is needed"
            )
        if {"inspected", *REJECTS} & set(self.names) and set(COUNTS) & set(self.names) != {"produced"}:
            raise ValueError("scrap, rework and inspected need produced, and stand in the place of good and rejected")
        if set(COUNTS) & set(self.names) == {"rejected"}:
            raise ValueError("give produced or good with rejected: the third follows")
        return self


class _Oee:
    """The step."""

    def __init__(self, config: OeeConfig, inputs: Inputs) -> None:
        self._config, self._inputs = config, inputs
        self._calendar = config.calendar()
        self._windows: CalendarWindows[Kept, Figures] = CalendarWindows(config, self, self._calendar)
        self._categories = {**CATEGORIES, **{name: Category(value) for name, value in config.states.items()}}
        self._cycle_ns = nanoseconds(config.ideal_cycle) if config.ideal_cycle is not None else 0
        self._small_ns, self._explain_ns = nanoseconds(config.small_stop), nanoseconds(config.explain)
        self._startup_ns = nanoseconds(config.startup)
        self._small_states = {name for name, category in self._categories.items() if category in SMALL_CATEGORIES}
        self._has_good_only = "good" in config.names and "rejected" not in config.names
        self._has_all = set(COUNTS) <= set(config.names)
        self._rejects = [kind for kind in REJECTS if kind in config.names]
        self._has_first_pass = "scrap" in config.names and "rework" in config.names
        self._planned: dict[tuple[int, int], Sequence[tuple[int, int]]] = {}

    def __call__(self, machine: Machine, event: Event) -> tuple[Machine, Sequence[Effect]]:
        assert event.pieces is not None
        kept = Kept(machine, event.pieces, self._small_states, self._small_ns)
        effects = self._take(kept, event)
        kept.store()
        return machine, effects

    def _take(self, kept: Kept, event: Event) -> Sequence[Effect]:
        if event.is_timer:
            return self._windows.on_timer(kept, event)
        if event.kind == "context":
            return self._take_order(kept, event)
        name = self._inputs.name(event)
        return self._windows.put(kept, name, event) if name is not None else ()

    # -- taking in ----------------------------------------------------------------------------------------------------

    def take(self, kept: Kept, name: str, event: Event) -> tuple[int, int] | None:
        """Keep one input; the time of which figures may have changed."""
        is_bad = event.value is None or event.quality.is_bad
        if name == "state":
            begun_ns, end_ns = kept.put_state(event.time_ns, "" if is_bad else str(event.value))
            return begun_ns, end_ns + self._startup_ns  # what begins anew is judged by the set-up before it
        if is_bad:
            return None if name in (*REJECTS, "cycle") else self._take_unknown(kept, name, event.time_ns)
        value = number(event.value)
        if value is None or value < 0:
            raise ValueError(f"not a number from 0 on: {event.value!r:.60}")
        if name == "cycle":
            kept.machine.cycle_ns = value * 1e9
            return None
        if name in REJECTS:
            return self._take_rejects(kept, name, event, value)
        return self._take_total(kept, name, event.time_ns, value, is_sure=not event.quality.is_uncertain)

    def _take_order(self, kept: Kept, event: Event) -> list[Effect]:
        """What was told about an order may be about any time: windows that were given are given again."""
        head = f"{event.key}:order/"
        if not self._config.orders or not event.source.startswith(head):
            return []
        name, orders = event.source.removeprefix(head), list(kept.orders)
        touched = put_order(orders, name, read_order(name, event.value))
        if touched is None:
            return []
        kept.orders = orders
        return self._windows.correct(kept, event.key, touched)

    @staticmethod
    def _take_unknown(kept: Kept, name: str, time_ns: int) -> tuple[int, int] | None:
        """From now on parts are made that are seen later, if ever: in which window is not known."""
        before = kept.machine.totals.get(name)
        if before is None or time_ns < before[0] or name in kept.machine.unknown:
            return None
        kept.machine.unknown[name] = time_ns
        start_ns = time_ns - time_ns % MINUTE_NS
        kept.bucket_at(start_ns).unsure.append(f"{name}@{time_ns}")
        return start_ns, start_ns + MINUTE_NS

    def _known_again(self, kept: Kept, name: str, start_ns: int, *, is_same: bool) -> int:
        """The mark of where it became unknown has its other half, or goes where no part was made meanwhile; from where
        on figures may have changed."""
        since_ns = kept.machine.unknown.pop(name, None)
        if since_ns is None or since_ns < kept.gone_ns:
            return start_ns
        mark, begun_ns = f"{name}@{since_ns}", since_ns - since_ns % MINUTE_NS
        begun = kept.bucket_at(begun_ns)
        if is_same or begun_ns == start_ns:
            begun.unsure = [each for each in begun.unsure if each != mark]
        else:
            kept.bucket_at(start_ns).unsure.append(mark)
        return min(begun_ns, start_ns)

    def _take_total(
        self, kept: Kept, name: str, time_ns: int, total: float, *, is_sure: bool = True
    ) -> tuple[int, int] | None:
        machine = kept.machine
        before = machine.totals.get(name)
        if before is not None and time_ns < before[0]:
            return None  # an older total: the newer one contains it
        machine.totals[name] = (time_ns, total)
        if before is None:
            return None
        is_anew = total < before[1]
        made = total if is_anew else total - before[1]
        start_ns = time_ns - time_ns % MINUTE_NS
        touched_ns = self._known_again(kept, name, start_ns, is_same=not made and not is_anew)
        if not made and not is_anew and is_sure:
            return (touched_ns, start_ns + MINUTE_NS) if touched_ns < start_ns else None
        bucket = kept.bucket_at(start_ns)
        mark = f"{name}!"
        if not is_sure and mark not in bucket.unsure:
            bucket.unsure.append(mark)
        bucket.resets += is_anew
        setattr(bucket, name, getattr(bucket, name) + made)
        if name == "produced" or "produced" not in self._config.names:
            bucket.ideal_ns += made * (machine.cycle_ns or self._cycle_ns)
        return touched_ns, start_ns + MINUTE_NS

    @staticmethod
    def _take_rejects(kept: Kept, kind: str, event: Event, amount: float) -> tuple[int, int]:
        """Of one minute, in the place of what was told of it before."""
        start_ns = event.time_ns
        if start_ns % MINUTE_NS:
            raise ValueError(f"{kind} is told by the minute, as the flow `quality` does it; {event.source} is not")
        bucket = kept.bucket_at(start_ns)
        setattr(bucket, kind, float(amount))
        others = [each for each in bucket.unsure if each != kind]
        bucket.unsure = sorted([*others, kind]) if event.quality.is_uncertain else others
        return start_ns, start_ns + MINUTE_NS

    # -- giving -------------------------------------------------------------------------------------------------------

    def forget(self, kept: Kept, gone_ns: int) -> None:
        """Let go what no correction may reach any more."""
        kept.forget(gone_ns)
        if self._config.orders:
            kept.orders = [each for each in kept.orders if not each.end_ns or each.end_ns > gone_ns]

    def said(self, key: str, over: Over[Figures]) -> list[Effect]:
        """A window that is over: its figures, and the event that has all they are made of."""
        data, end_ns = {"window": over.kind, "revision": over.revision, **over.told}, over.figures.end_ns
        event = EmitEvent(self.path(key, over.kind), "millstream.oee", data, end_ns)
        return [*self._tags(key, over.kind, over.figures, end_ns, over.revision), event]

    def shown(self, kept: Kept, key: str, window: tuple[int, int] | None, now_ns: int) -> Sequence[Effect]:
        """The running window so far, and at times all that it is made of."""
        if window is None:
            return []
        is_late = now_ns < kept.newest_ns  # something came late, and is shown for itself
        span = (window[0], now_ns)
        found = self.figures(kept, span) if is_late else self._live(kept, span, window[1])
        tags = self._tags(key, "live", found, now_ns, 0)
        if not is_late and self._config.live == "input":
            tags = _changed(kept.machine.live, tags)
        if not self._explain_ns or now_ns < kept.machine.explained_ns + self._explain_ns:
            return tags
        kept.machine.explained_ns = now_ns
        told = self._told(kept, found, None if is_late else window)
        data = {"window": "live", "revision": 0, "until": format_time(window[1]), **told}
        return [*tags, EmitEvent(self.path(key, "live"), "millstream.oee", data, now_ns)]

    def told(self, kept: Kept, found: Figures) -> dict[str, Any]:
        """All that figures are made of."""
        return self._told(kept, found, None)

    def _told(self, kept: Kept, found: Figures, running: tuple[int, int] | None) -> dict[str, Any]:
        """The same, of a window that runs with what is worked out of it."""
        told = _explained(found)
        if self._rejects or "inspected" in self._config.names:
            told |= {kind: getattr(found.made, kind) for kind in (*self._rejects, "inspected")}
            told |= self._reject_figures(found)
        if self._startup_ns:
            told |= self._start_ups(kept, found, told["losses_s"])
        return {**told, "orders": self._orders(kept, found, running)} if self._config.orders else told

    def _start_ups(self, kept: Kept, found: Figures, losses_s: Mapping[str, float]) -> dict[str, Any]:
        """The rejects of minutes soon after a set-up, and their share of the time that rejects cost."""
        begun_ns = found.start_ns - self._startup_ns
        minutes: dict[int, Bucket] = {}
        planned, was_setup = self._planned_in(found.start_ns, found.end_ns), False
        for time_ns, state in kept.transitions(begun_ns, found.end_ns):
            is_setup = self._categories.get(state) is Category.SETUP
            if was_setup and not is_setup:
                soon = clip(planned, time_ns - time_ns % MINUTE_NS, time_ns + self._startup_ns)
                minutes |= {bucket.start_ns: bucket for bucket in self._buckets(kept, soon)}
            was_setup = is_setup
        rejected = self._made(kept, [minutes[start_ns] for start_ns in sorted(minutes)])[0].rejected
        lost_s = losses_s.get("rejects", 0.0)
        start_s = lost_s * min(1.0, rejected / found.made.rejected) if found.made.rejected else 0.0
        parts = {"rejects": lost_s - start_s, "startup": start_s}
        return {"startup_rejected": rejected, "losses_s": {n: s for n, s in {**losses_s, **parts}.items() if s}}

    # -- figures ------------------------------------------------------------------------------------------------------

    def figures(self, kept: Kept, window: tuple[int, int]) -> Figures:
        """Of the planned time in a window."""
        planned = self._planned_in(*window)
        made, odd = self._made(kept, self._buckets(kept, planned))
        return figures(
            kept.transitions(*window), planned, made, window, categories=self._categories,
            small_stop_ns=self._small_ns,
            remarks=self._remarks(kept, odd, made, window),
        )  # fmt: skip

    def _live(self, kept: Kept, window: tuple[int, int], end_ns: int) -> Figures:
        """The same of a window that runs, which ends at `end_ns`: only what is new is worked out."""
        planned = self._planned_in(window[0], end_ns)
        live = kept.machine.live
        if live is None or live.start_ns != window[0]:
            live = kept.machine.live = Live(*(window[0],) * 3, tail=kept.transitions(window[0], window[1]))
        self._go_on(kept, live, planned)
        found = self._figures_of(live.tail, planned, (live.at_ns, window[1]))
        made, odd = self._made(kept, self._buckets(kept, clip(planned, live.minute_ns, window[1])))
        made += Made(live.produced, live.rejected, live.ideal_ns, live.scrap, live.rework, live.inspected)
        odd += Odd(live.without, live.resets, frozenset(live.unknown), live.apart)
        return Figures(
            window[0], window[1], sum(end - start for start, end in clip(planned, *window)),
            {category: ns + live.spent_ns.get(category.value, 0) for category, ns in found.spent_ns.items()}, made,
            live.small_stops + found.small_stops, live.small_stops_ns + found.small_stops_ns,
            live.failures + found.failures, added(live.states_ns, found.states_ns),
            self._remarks(kept, odd, made, window),
        )  # fmt: skip

    def _planned_in(self, start_ns: int, end_ns: int) -> Sequence[tuple[int, int]]:
        """The planned time of a window, which is the same for each machine."""
        planned = self._planned.get((start_ns, end_ns))
        if planned is None:
            if len(self._planned) >= PLANNED_MAX:
                self._planned.clear()
            planned = self._planned[start_ns, end_ns] = self._calendar.planned(start_ns, end_ns)
        return planned

    def _go_on(self, kept: Kept, live: Live, planned: Sequence[tuple[int, int]]) -> None:
        """Add what is over: runs of a state that have ended, and minutes before the newest."""
        begun_ns = live.tail[-1][0] if live.tail else 0
        are_orders_told = bool(self._explain_ns and self._config.orders)
        if begun_ns > live.at_ns:
            if are_orders_told:
                times = self._order_times(kept, live.tail, planned, (live.at_ns, begun_ns))
                live.order_times = _added(live.order_times, times)
            found = self._figures_of(live.tail, planned, (live.at_ns, begun_ns))
            live.spent_ns = added(live.spent_ns, {each.value: ns for each, ns in found.spent_ns.items() if ns})
            live.states_ns = added(live.states_ns, found.states_ns)
            live.small_stops += found.small_stops
            live.small_stops_ns += found.small_stops_ns
            live.failures += found.failures
            live.at_ns, live.tail = begun_ns, live.tail[-2:]
        newest = kept.machine.bucket
        if newest is None or newest.start_ns <= live.minute_ns:
            return
        minutes = clip(planned, live.minute_ns, newest.start_ns)
        if are_orders_told:
            live.order_made = _added(live.order_made, self._order_made(kept, minutes))
        made, odd = self._made(kept, self._buckets(kept, minutes))
        live.produced += made.produced
        live.rejected += made.rejected
        live.ideal_ns += made.ideal_ns
        live.scrap += made.scrap
        live.rework += made.rework
        live.inspected += made.inspected
        odd += Odd(live.without, live.resets, frozenset(live.unknown), live.apart)
        live.without, live.resets, live.unknown, live.apart = odd.without, odd.resets, sorted(odd.unknown), odd.apart
        live.minute_ns = newest.start_ns

    def _figures_of(
        self, transitions: Sequence[tuple[int, str]], planned: Sequence[tuple[int, int]], span: tuple[int, int]
    ) -> Figures:
        return figures(
            transitions, clip(planned, *span), Made(), span, categories=self._categories, small_stop_ns=self._small_ns
        )

    def _remarks(self, kept: Kept, odd: Odd, made: Made, window: tuple[int, int]) -> Sequence[str]:
        """What is not sure: counters that began anew, the ends of orders, and parts of which nobody knows how long one
        should take."""
        found = [f"a counter ran backwards or began anew ({odd.resets} times)"] if odd.resets else []
        found += [f"a counter was not known or not sure ({len(odd.unknown)} times)"] if odd.unknown else []
        if abs(odd.apart) > max(PARTS_APART, TOLERANCE * made.produced):
            more = "fewer" if odd.apart > 0 else "more"
            found.append(f"good and rejected parts are {abs(odd.apart):g} {more} than were produced")
        if self._config.orders:
            found += order_doubts(kept.orders, *window, nanoseconds(self._config.order_max))
            found += [f"parts were made without an order ({odd.without} min)"] if odd.without else []
        return found

    def _orders(self, kept: Kept, found: Figures, running: tuple[int, int] | None) -> list[dict[str, Any]]:
        """What was made for which order in a window, and how long the machine produced and was set up for it."""
        start_ns, end_ns = found.start_ns, found.end_ns
        live = kept.machine.live
        if running is None or live is None:
            planned = self._planned_in(start_ns, end_ns)
            times = self._order_times(kept, kept.transitions(start_ns, end_ns), planned, (start_ns, end_ns))
            made = self._order_made(kept, planned)
        else:
            planned = self._planned_in(*running)
            times = _added(live.order_times, self._order_times(kept, live.tail, planned, (live.at_ns, end_ns)))
            made = _added(live.order_made, self._order_made(kept, clip(planned, live.minute_ns, end_ns)))
        products = {name: part[0] for name, part in (*times.items(), *made.items())}
        return [
            {
                "order": name or None, "product": product or None,
                "produced": part[1], "rejected": part[2], "ideal_s": part[3] / 1e9, "production_s": spent[1] / 1e9,
                "setup_s": spent[2] / 1e9,
            }
            for name, product in products.items()
            for part, spent in [(made.get(name, ("", 0.0, 0.0, 0.0)), times.get(name, ("", 0, 0)))]
        ]  # fmt: skip

    def _order_times(
        self, kept: Kept, transitions: Sequence[tuple[int, str]], planned: Sequence[tuple[int, int]],
        span: tuple[int, int],
    ) -> dict[str, OrderTimes]:  # fmt: skip
        """Product, ns of production and of set-up of each order for which there are any."""
        times: dict[str, OrderTimes] = {}
        for order, start_ns, end_ns in order_spans(kept.orders, *span):
            spent = self._figures_of(transitions, planned, (start_ns, end_ns)).spent_ns
            production_ns, setup_ns = spent[Category.PRODUCTION], spent[Category.SETUP]
            if production_ns or setup_ns:
                times = _added(times, {order.name: (order.product, production_ns, setup_ns)})
        return times

    def _order_made(self, kept: Kept, planned: Sequence[tuple[int, int]]) -> dict[str, OrderMade]:
        """Product, parts, rejected ones and ideal ns of each order with parts, and of those without one."""
        made: dict[str, OrderMade] = {}
        for order, buckets in _by_order(kept.orders, self._buckets(kept, planned)):
            part = self._made_for(order, buckets)[0]
            name, product = (order.name, order.product) if order is not None else ("", "")
            made = _added(made, {name: (product, part.produced, part.rejected, part.ideal_ns)})
        return made

    @staticmethod
    def _buckets(kept: Kept, planned: Sequence[tuple[int, int]]) -> list[Bucket]:
        return [bucket for start_ns, end_ns in planned for bucket in kept.buckets(start_ns, end_ns)]

    def _made(self, kept: Kept, buckets: Sequence[Bucket]) -> tuple[Made, Odd]:
        """In these minutes, and what is odd about it."""
        made, odd = Made(), Odd()
        for order, minutes in _by_order(kept.orders if self._config.orders else (), buckets):
            more, odder = self._made_for(order, minutes)
            made, odd = made + more, odd + odder
        return made, odd

    def _made_for(self, order: OrderSpan | None, buckets: Sequence[Bucket]) -> tuple[Made, Odd]:
        """In minutes of one order; without one, the ideal time is that of a tag or of the file."""
        names = self._config.names
        produced = rejected = ideal_ns = scrap = rework = inspected = 0.0
        without, resets, apart = 0, 0, 0.0
        unknown: frozenset[str] = frozenset()
        for bucket in buckets:
            parts = bucket.produced if "produced" in names else bucket.good + bucket.rejected
            ideal = bucket.ideal_ns if order is None else parts * order.cycle_ns
            produced += parts
            ideal_ns += ideal
            rejected += parts - bucket.good if self._has_good_only else bucket.rejected
            scrap += bucket.scrap
            rework += bucket.rework
            inspected += bucket.inspected
            without += ideal <= 0 < bucket.produced + bucket.good
            resets += bucket.resets + sum(each in REJECTS for each in bucket.unsure)
            apart += bucket.produced - bucket.good - bucket.rejected if self._has_all else 0.0
            if bucket.unsure:
                unknown ^= _marks(bucket)
        seen = inspected if "inspected" in names else produced
        return Made(produced, rejected + scrap + rework, ideal_ns, scrap, rework, seen), Odd(
            without, resets, unknown, apart
        )

    def _reject_figures(self, found: Figures) -> dict[str, float | None]:
        """Those for which the parts are told apart; where nobody tells rework there is no figure of it, and no 0."""
        figures_of = {
            "scrap_ratio": (found.scrap_ratio, "scrap" in self._rejects),
            "rework_ratio": (found.rework_ratio, "rework" in self._rejects),
            "first_pass_yield": (found.first_pass_yield, self._has_first_pass),
        }
        return {name: value for name, (value, is_told) in figures_of.items() if is_told}

    def path(self, key: str, name: str) -> str:
        """Of a result."""
        return f"{key}:{self._config.output}/{name}"

    def _tags(self, key: str, kind: str, found: Figures, time_ns: int, revision: int) -> list[Emit]:
        if not found.planned_ns:
            return []
        is_sure = found.known >= self._config.known and not found.doubts()
        values = {
            "oee": found.oee, "availability": found.availability, "performance": found.performance,
            "quality": found.quality, **self._reject_figures(found), "known": found.known,
        }  # fmt: skip
        return [
            Emit(
                self.path(key, f"{kind}/{name}"), value, time_ns, "kpi",
                quality=figure_quality(value, is_sure=is_sure or name == "known"), revision=revision,
            )
            for name, value in values.items()
        ]  # fmt: skip


def _added(before: Mapping[str, T], more: Mapping[str, T]) -> dict[str, T]:
    """The sums by name, behind the product."""
    found = dict(before)
    for name, part in more.items():
        if name in found:
            found[name] = cast(T, (part[0], *(a + b for a, b in zip(found[name][1:], part[1:], strict=True))))
        else:
            found[name] = part
    return found


def _changed(live: Live | None, tags: list[Emit]) -> list[Emit]:
    """With each input only what is another figure than before."""
    if live is None or not tags:
        return tags
    told = [(each.value, int(each.quality)) for each in tags]
    before = live.told if live.told and len(live.told) == len(told) else [(None, -1)] * len(told)
    live.told = told
    return [each for each, new, old in zip(tags, told, before, strict=True) if new != old]


def _by_order(
    orders: Sequence[OrderSpan], buckets: Sequence[Bucket]
) -> Sequence[tuple[OrderSpan | None, Sequence[Bucket]]]:
    """Minutes in the order of time, in runs of the order that ran in their middle."""
    if not orders or not buckets:
        return [(None, buckets)] if buckets else []
    found: list[tuple[OrderSpan | None, list[Bucket]]] = []
    ran = orders_at(orders, [bucket.start_ns + MINUTE_NS // 2 for bucket in buckets])
    for order, bucket in zip(ran, buckets, strict=True):
        if not found or found[-1][0] is not order:
            found.append((order, []))
        found[-1][1].append(bucket)
    return found


def _marks(bucket: Bucket) -> frozenset[str]:
    """Of totals that were not known, or not sure in this minute."""
    of_minute = {f"{each}{bucket.start_ns}" for each in bucket.unsure if each.endswith("!")}
    return frozenset(of_minute | {each for each in bucket.unsure if "@" in each})


def _explained(found: Figures) -> dict[str, Any]:
    """All that a figure is made of; times in seconds."""
    return {
        "start": format_time(found.start_ns), "end": format_time(found.end_ns),
        "oee": found.oee, "availability": found.availability, "performance": found.performance,
        "quality": found.quality, "teep": found.teep, "known": found.known,
        "planned_s": found.planned_ns / 1e9, "busy_s": found.busy_ns / 1e9,
        "spent_s": {category.value: ns / 1e9 for category, ns in found.spent_ns.items() if ns},
        "states_s": {state or "?": ns / 1e9 for state, ns in found.states_ns.items()},
        "produced": found.made.produced, "rejected": found.made.rejected, "ideal_s": found.made.ideal_ns / 1e9,
        "losses_s": {name: ns / 1e9 for name, ns in found.losses_ns().items() if ns},
        "small_stops": found.small_stops, "failures": found.failures,
        "mttr_s": None if found.mttr_ns is None else found.mttr_ns / 1e9,
        "mtbf_s": None if found.mtbf_ns is None else found.mtbf_ns / 1e9,
        "doubts": found.doubts(),
    }  # fmt: skip


def _build(name: str, inputs: tuple[Input, ...], config: OeeConfig, *, version: int, time: TimePolicy) -> Flow[Any]:
    counts = [count for count in COUNTS if count in config.names]
    if counts and "cycle" not in config.names and not config.ideal_cycle and not config.orders:
        raise ConfigError(
            "parts are counted, and nobody says how long one should take",
            expected="`ideal_cycle`, a tag under the name `cycle`, or `orders`",
        )
    found = Inputs(config.names, None)
    return Flow(
        name, inputs, _Oee(config, found), Machine, Machine, found.key, None, ("kpi", "event"), time, version,
        piece_type=Piece,
    )  # fmt: skip


OEE = FlowType(
    "oee", OeeConfig, _build,
    "Works out availability, performance, quality and OEE of each machine after ISO 22400-2, by shift, hour and day, "
    "and live. What comes late corrects what was given: the result comes again with the next revision. With each "
    "window comes an event that has all it was made of: seconds by state, losses, parts, failures, and where the "
    "sources disagree. Time of which nobody knows what it was is left out, and the figures are uncertain then.",
)  # fmt: skip
