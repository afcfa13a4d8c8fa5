"""What OEE keeps of a machine: little that each event needs, and beside it pieces an hour, which are opened when a
window is worked out or something comes late. So an event costs the same after a minute and after two days."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from millstream.flow._model import Pieces
from millstream.flow.library._calendar_windows import HOUR_NS, MINUTE_NS, Given
from millstream.shop import OrderSpan

STATES_MAX = 10_000  # changes of state that a machine may have within what is corrected; the oldest hours go first
HOURS_MAX = 100  # with parts: two days, the longest window and some; the oldest go first
TAIL_MAX = 50  # changes since the live figures were last worked out; behind that they are worked out anew
GIVEN, ORDERS, HOURS = "given", "orders", "hours"

Change = tuple[int, str]
OrderTimes = tuple[str, int, int]
OrderMade = tuple[str, float, float, float]


class Bucket(msgspec.Struct, array_like=True):
    """What was made in the minute that begins at `start_ns`, and how often a counter ran backwards in it; scrap and
    rework as they were told last, and those of them that are not sure; beside these what marks totals that are not: `@`
    where one was not known and where it was again, `!` where it was not sure."""

    start_ns: int
    produced: float = 0.0
    good: float = 0.0
    rejected: float = 0.0
    ideal_ns: float = 0.0
    resets: int = 0
    inspected: float = 0.0
    scrap: float = 0.0
    rework: float = 0.0
    unsure: list[str] = []


@dataclass(frozen=True, slots=True)
class Odd:
    """Minutes with parts of which nobody knows how long one should take, counters that ran backwards, and marks of
    those that were not known: one that was known again within the same time has two, and is none. `apart`: parts that
    were produced beyond good and rejected ones, where all three are counted."""

    without: int = 0
    resets: int = 0
    unknown: frozenset[str] = frozenset()
    apart: float = 0.0

    def __add__(self, other: Odd) -> Odd:
        return Odd(
            self.without + other.without,
            self.resets + other.resets,
            self.unknown ^ other.unknown,
            self.apart + other.apart,
        )


class Piece(msgspec.Struct, array_like=True):
    """Changes of state of an hour, or its minutes with parts, or windows that were given, or orders, or which hours
    there are: how many changes of state each has, and those with parts."""

    states: list[Change] = []
    buckets: list[Bucket] = []
    given: dict[str, Given] = {}
    orders: list[OrderSpan] = []
    changes: list[tuple[int, int]] = []
    minutes: list[int] = []


class Live(msgspec.Struct, array_like=True):
    """The running window as far as it is worked out: states up to `at_ns`, where the newest run of one state begins,
    and minutes before `minute_ns`. `tail` are the changes from there on, with the one before them; `told` are the
    figures with their quality as they were given last. By order, where that is told of a running window: its product,
    ns of production and of set-up; its product, parts, rejected ones and ideal ns."""

    start_ns: int
    at_ns: int
    minute_ns: int
    tail: list[Change] = []
    spent_ns: dict[str, int] = {}
    states_ns: dict[str, int] = {}
    small_stops: int = 0
    small_stops_ns: int = 0
    failures: int = 0
    produced: float = 0.0
    rejected: float = 0.0
    ideal_ns: float = 0.0
    without: int = 0
    told: list[tuple[float | None, int]] | None = None
    resets: int = 0
    scrap: float = 0.0
    rework: float = 0.0
    inspected: float = 0.0
    unknown: list[str] = []
    apart: float = 0.0
    order_times: dict[str, OrderTimes] = {}
    order_made: dict[str, OrderMade] = {}


class Machine(msgspec.Struct, array_like=True):
    """The newest change and where its run of one state begins; the newest minute with parts; the newest total by name
    with its time; the ideal cycle; up to where each kind of window was given, from where on corrections are possible,
    windows that are still to be corrected; up to where live figures were shown, and the running window; when it was
    told last what that is made of; since when totals are not known, by name."""

    newest: Change | None = None
    begun_ns: int = 0
    bucket: Bucket | None = None
    totals: dict[str, tuple[int, float]] = {}
    cycle_ns: float = 0.0
    done: dict[str, int] = {}
    gone_ns: int = 0
    restate: list[str] = []
    shown_ns: int = 0
    live: Live | None = None
    explained_ns: int = 0
    unknown: dict[str, int] = {}


class Kept:
    """A machine with its pieces, while one event is taken; `store` ends that."""

    def __init__(self, machine: Machine, pieces: Pieces, small_states: Collection[str], small_ns: int) -> None:
        self.machine, self._pieces = machine, pieces
        self._small_states, self._small_ns = small_states, small_ns
        self._given: dict[str, Given] | None = None
        self._hours: Piece | None = None
        self._has_other_hours = False

    def store(self) -> None:
        """Windows that were looked at may have been given anew."""
        if self._given is not None:
            self._pieces.put(GIVEN, Piece(given=self._given))
        if self._has_other_hours:
            self._pieces.put(HOURS, self._hours)

    @property
    def hours(self) -> Piece:
        """Which hours there are; few events ask for that."""
        if self._hours is None:
            self._hours = self._piece(HOURS)
        return self._hours

    # -- what windows need (`Kept` of `_calendar_windows`) ------------------------------------------------------------

    @property
    def given(self) -> dict[str, Given]:
        """Windows that were given."""
        if self._given is None:
            self._given = self._piece(GIVEN).given
        return self._given

    @given.setter
    def given(self, given: dict[str, Given]) -> None:
        """Others are kept from now on."""
        self._given = given

    @property
    def done(self) -> dict[str, int]:
        """Up to where each kind of window was given."""
        return self.machine.done

    @done.setter
    def done(self, done: dict[str, int]) -> None:
        """Others are kept from now on."""
        self.machine.done = done

    @property
    def gone_ns(self) -> int:
        """From where on corrections are possible."""
        return self.machine.gone_ns

    @gone_ns.setter
    def gone_ns(self, gone_ns: int) -> None:
        """Others are kept from now on."""
        self.machine.gone_ns = gone_ns

    @property
    def restate(self) -> list[str]:
        """Windows that are still to be corrected."""
        return self.machine.restate

    @restate.setter
    def restate(self, restate: list[str]) -> None:
        """Others are kept from now on."""
        self.machine.restate = restate

    @property
    def shown_ns(self) -> int:
        """Up to where live figures were shown."""
        return self.machine.shown_ns

    @shown_ns.setter
    def shown_ns(self, shown_ns: int) -> None:
        """Others are kept from now on."""
        self.machine.shown_ns = shown_ns

    @property
    def newest_ns(self) -> int:
        """When the newest state came, or the newest minute with parts began."""
        newest, bucket = self.machine.newest, self.machine.bucket
        return max(newest[0] if newest is not None else 0, bucket.start_ns if bucket is not None else 0)

    # -- states -------------------------------------------------------------------------------------------------------

    def put_state(self, time_ns: int, state: str) -> tuple[int, int]:
        """Keep a change of state, also one that is told late; the time of which figures may have changed."""
        machine, newest = self.machine, self.machine.newest
        self._insert(time_ns, state)
        if newest is not None and time_ns <= newest[0]:
            return self._put_late(time_ns)
        machine.newest = (time_ns, state)
        if newest is not None and newest[1] == state:  # it is kept too: another one may still come in between
            return time_ns, time_ns + 1
        is_small = (
            newest is not None and newest[1] in self._small_states and time_ns - machine.begun_ns < self._small_ns
        )
        touched_ns = machine.begun_ns if is_small else time_ns  # windows that it ended in took it for a long stop
        machine.begun_ns = time_ns
        if machine.live is not None:
            machine.live.tail.append((time_ns, state))
            if len(machine.live.tail) > TAIL_MAX:
                machine.live = None
        return touched_ns, max(*machine.done.values(), time_ns + 1) if machine.done else time_ns + 1

    def _put_late(self, time_ns: int) -> tuple[int, int]:
        machine = self.machine
        assert machine.newest is not None
        machine.live = None
        last = self._piece(f"s{self.hours.changes[-1][0]}").states[-1]
        machine.newest = last
        machine.begun_ns = self.transitions(last[0], last[0] + 1)[-1][0]
        runs = self.transitions(time_ns - 1, time_ns + 1)
        before = bisect_right(runs, time_ns - 1, key=_time_of) - 1
        behind = bisect_right(runs, time_ns, key=_time_of)
        # what lies behind the new run is another stop now, and may have become a small one
        end_ns = self._end_of(runs[behind][0]) if behind < len(runs) else self._end_of(time_ns)
        return runs[before][0] if before >= 0 else time_ns, max(end_ns, time_ns + 1)

    def _end_of(self, time_ns: int) -> int:
        """Where the run ends that lasts at this time; for the newest one, up to where windows were given."""
        after = [at for at, _ in self.transitions(time_ns, time_ns + 1) if at > time_ns]
        return after[0] if after else max(self.machine.done.values(), default=time_ns)

    def _insert(self, time_ns: int, state: str) -> None:
        hour = time_ns // HOUR_NS
        piece = self._piece(f"s{hour}")
        states = piece.states
        at = bisect_right(states, time_ns, key=_time_of)
        if at and states[at - 1][0] == time_ns:  # the same moment again: what came last counts
            states[at - 1] = (time_ns, state)
        else:
            states.insert(at, (time_ns, state))
        self._pieces.put(f"s{hour}", piece)
        changes = self.hours.changes
        index = bisect_left(changes, hour, key=_time_of)
        if index == len(changes) or changes[index][0] != hour:
            changes.insert(index, (hour, 0))
        changes[index] = (hour, len(states))
        self._has_other_hours = True
        self._bound_states()

    def _bound_states(self) -> None:
        changes = self.hours.changes
        if sum(count for _, count in changes) <= STATES_MAX:
            return
        if len(changes) > 1:
            self._drop_states(1)
        else:
            piece = self._piece(f"s{changes[0][0]}")
            del piece.states[: STATES_MAX // 10]
            changes[0] = (changes[0][0], len(piece.states))
            self._pieces.put(f"s{changes[0][0]}", piece)
        first_ns = self._piece(f"s{changes[0][0]}").states[0][0]
        self.machine.gone_ns = max(self.machine.gone_ns, first_ns)
        self.machine.live = None

    def _drop_states(self, count: int) -> None:
        for hour, _ in self.hours.changes[:count]:
            self._pieces.put(f"s{hour}", None)
        del self.hours.changes[:count]
        self._has_other_hours |= count > 0

    def transitions(self, start_ns: int, end_ns: int) -> list[Change]:
        """Changes from one state to another in [start_ns, end_ns), with what is needed to judge those at its borders:
        the run that lasts into it from its beginning on, the one before that, and the next one behind."""
        hours = [hour for hour, _ in self.hours.changes]
        first = last = max(bisect_right(hours, start_ns // HOUR_NS) - 1, 0)
        found: list[Change] = []
        while last < len(hours) and not (found and found[-1][0] >= end_ns):
            _add_runs(found, self._piece(f"s{hours[last]}").states)
            last += 1
        while first and bisect_right(found, start_ns, key=_time_of) < 2:
            first -= 1
            earlier: list[Change] = []
            _add_runs(earlier, self._piece(f"s{hours[first]}").states)
            _add_runs(earlier, found)
            found = earlier
        return found

    # -- parts --------------------------------------------------------------------------------------------------------

    def bucket_at(self, start_ns: int) -> Bucket:
        """The bucket of a minute, to add parts to."""
        newest = self.machine.bucket
        if newest is None or start_ns > newest.start_ns:
            if newest is not None:
                self._put_bucket(newest)
            newest = self.machine.bucket = Bucket(start_ns)
        if start_ns == newest.start_ns:
            return newest
        self.machine.live = None
        bucket = Bucket(start_ns)
        return self._put_bucket(bucket)

    def _put_bucket(self, bucket: Bucket) -> Bucket:
        """Into the piece of its hour; the one that stands there already, if any."""
        machine, hour = self.machine, bucket.start_ns // HOUR_NS
        piece = self._piece(f"b{hour}")
        self._pieces.put(f"b{hour}", piece)
        at = bisect_left(piece.buckets, bucket.start_ns, key=_start_of)
        if at < len(piece.buckets) and piece.buckets[at].start_ns == bucket.start_ns:
            return piece.buckets[at]
        piece.buckets.insert(at, bucket)
        minutes = self.hours.minutes
        index = bisect_left(minutes, hour)
        if index == len(minutes) or minutes[index] != hour:
            minutes.insert(index, hour)
            self._has_other_hours = True
        if len(minutes) > HOURS_MAX:
            self._drop_minutes(1)
            machine.gone_ns = max(machine.gone_ns, minutes[0] * HOUR_NS)
            machine.live = None
        return bucket

    def _drop_minutes(self, count: int) -> None:
        for hour in self.hours.minutes[:count]:
            self._pieces.put(f"b{hour}", None)
        del self.hours.minutes[:count]
        self._has_other_hours |= count > 0

    def buckets(self, start_ns: int, end_ns: int) -> list[Bucket]:
        """Minutes with parts that begin in [start_ns, end_ns); the one that holds `start_ns` too."""
        start_ns -= start_ns % MINUTE_NS
        newest = self.machine.bucket
        if newest is None or newest.start_ns < start_ns:
            return []
        found = self._older_buckets(start_ns, end_ns) if newest.start_ns > start_ns else []
        return [*found, newest] if newest.start_ns < end_ns else found

    def _older_buckets(self, start_ns: int, end_ns: int) -> list[Bucket]:
        hours = self.hours.minutes
        found: list[Bucket] = []
        for hour in hours[bisect_left(hours, start_ns // HOUR_NS) : bisect_left(hours, -(-end_ns // HOUR_NS))]:
            buckets = self._piece(f"b{hour}").buckets
            found += buckets[
                bisect_left(buckets, start_ns, key=_start_of) : bisect_left(buckets, end_ns, key=_start_of)
            ]
        return found

    # -- orders, and the end ------------------------------------------------------------------------------------------

    @property
    def orders(self) -> Sequence[OrderSpan]:
        """What was told of orders."""
        return self._piece(ORDERS).orders

    @orders.setter
    def orders(self, orders: Sequence[OrderSpan]) -> None:
        """Others are kept from now on."""
        self._pieces.put(ORDERS, Piece(orders=list(orders)))
        self.machine.live = None

    def forget(self, gone_ns: int) -> None:
        """Let go what no correction may reach any more; the hour with the state that lasts into the rest stays."""
        hours = [hour for hour, _ in self.hours.changes]
        self._drop_states(max(0, bisect_right(hours, gone_ns // HOUR_NS) - 2))
        self._drop_minutes(bisect_left(self.hours.minutes, (gone_ns - MINUTE_NS) // HOUR_NS))

    def _piece(self, name: str) -> Piece:
        found: Piece | None = self._pieces.get(name)
        return found if found is not None else Piece()


def _add_runs(found: list[Change], changes: Sequence[Change]) -> None:
    """Without those that say the same state again."""
    state = found[-1][1] if found else None
    for each in changes:
        if each[1] != state:
            found.append(each)
            state = each[1]


def _time_of(change: tuple[int, object]) -> int:
    return change[0]


def _start_of(bucket: Bucket) -> int:
    return bucket.start_ns
