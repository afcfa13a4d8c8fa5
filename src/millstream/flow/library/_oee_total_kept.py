"""What `oee_total` keeps of a place: little that each event needs, and beside it a piece for each machine and for each
of its windows, so that an event costs the same with ten machines and with a thousand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from millstream.flow._model import Pieces
from millstream.flow.library._calendar_windows import HOUR_NS, Given
from millstream.shop import OeeTold, OeeWindow

MACHINES_MAX = 5000  # below one key; a site with more has a flow for each of its areas
WINDOWS_MAX = 200  # that are kept: the hours, shifts and days of two days are 60, where all have one calendar
DROPPED_MAX = 500  # pieces in one step
NAMED_MAX = 30  # places that are named; of more all are looked at, and what has not changed is not given
ALL = "**"
ROSTER, INDEX = "roster", "index"


Round = tuple[str, list[str], str]
"""A window (without a name: the running ones), its lowest places, and the one that was given last."""


class Head(msgspec.Struct, array_like=True):
    """Of a key: the newest time that was told (UTC ns), when live figures and windows were given, from where on
    corrections are possible, the lowest places of which live figures are due, and those of windows; whether there is
    more to let go; what is given in steps. `["**"]` stands for all places."""

    newest_ns: int = 0
    shown_ns: int = 0
    given_ns: int = 0
    gone_ns: int = 0
    dirty: list[str] = []
    due: dict[str, list[str]] = {}
    is_forgetting: bool = False
    rounds: list[Round] = []


def with_place(places: list[str], place: str) -> list[str]:
    """A place more, unless all are meant."""
    if place in places or places == [ALL]:
        return places
    return [*places, place] if len(places) < NAMED_MAX else [ALL]


class Place(msgspec.Struct, array_like=True):
    """Live figures with their quality as they were given last, and when it was told what they are made of."""

    told: list[tuple[float | None, int]] = []
    explained_ns: int = 0


class _Machine(msgspec.Struct, array_like=True):
    """Its running window, up to where it was told and where it ends; since when and up to when it has told anything."""

    since_ns: int
    seen_ns: int
    start_ns: int = 0
    end_ns: int = 0
    until_ns: int = 0
    told: OeeTold | None = None


class _Piece(msgspec.Struct, array_like=True, omit_defaults=True):
    """A machine, or a window of one, or a place, or which windows were given of which places, or which machines there
    are by their lowest place, or which windows are kept."""

    machine: _Machine | None = None
    told: OeeTold | None = None
    place: Place | None = None
    given: dict[str, Given] = {}
    roster: dict[str, list[str]] = {}
    index: list[str] = []


def name_of(window: OeeWindow) -> str:
    """Of a window, the same for all machines."""
    return f"{window.told.window} {window.start_ns} {window.end_ns}"


def span_of(name: str) -> tuple[int, int]:
    """From when to when a window of this name lasts."""
    _, start, end = name.split(" ")
    return int(start), int(end)


class Kept:
    """A key with its pieces, while one event is taken; `store` ends that."""

    PIECE: ClassVar[Any] = _Piece

    def __init__(self, head: Head, pieces: Pieces) -> None:
        self.head, self._pieces = head, pieces
        self._changed: dict[str, _Piece] = {}

    def store(self) -> None:
        """Keep what has changed."""
        for name, piece in self._changed.items():
            self._pieces.put(name, piece)

    # -- what machines tell -------------------------------------------------------------------------------------------

    def put_live(self, window: OeeWindow, until_ns: int, place: str) -> bool:
        """Keep the running window of a machine; False when a newer one is known."""
        machine = self._machine(window, place)
        if window.end_ns < machine.end_ns:
            return False
        machine.start_ns, machine.end_ns, machine.until_ns = window.start_ns, window.end_ns, until_ns
        machine.told = window.told
        return True

    def put_window(self, name: str, window: OeeWindow, place: str) -> bool:
        """Keep a window that is over; False when a newer revision is known."""
        self._machine(window, place)
        piece = f"w {name} {window.machine}"
        before = self._get(piece).told
        if before is not None and before.revision > window.told.revision:
            return False
        index = self._get(INDEX)
        if name not in index.index:
            if len(index.index) >= WINDOWS_MAX:
                raise ValueError(
                    f"machines below one place tell of more than {WINDOWS_MAX} windows: their shifts differ; "
                    "take `levels` further down, or windows by hour"
                )
            index.index.append(name)
            self._put(INDEX, index)
        self._put(piece, _Piece(told=window.told))
        return True

    def _machine(self, window: OeeWindow, place: str) -> _Machine:
        name = f"m {window.machine}"
        piece = self._get(name)
        if piece.machine is None:
            roster = self._get(ROSTER)
            if sum(len(each) for each in roster.roster.values()) >= MACHINES_MAX:
                raise ValueError(f"below one place at most {MACHINES_MAX} machines are added up")
            machines = roster.roster.setdefault(place, [])
            machines.append(window.machine)
            machines.sort()
            self._put(ROSTER, roster)
            piece.machine = _Machine(window.start_ns, window.end_ns)
        machine = piece.machine
        machine.since_ns = min(machine.since_ns, window.start_ns)
        machine.seen_ns = max(machine.seen_ns, window.end_ns)
        self._put(name, piece)
        return machine

    # -- what places are made of --------------------------------------------------------------------------------------

    def lowest(self, places: Sequence[str]) -> Sequence[str]:
        """Those that are named, or all."""
        return list(self._get(ROSTER).roster) if ALL in places else places

    def machines(self, place: str) -> list[str]:
        """All below a place, by name."""
        roster = self._get(ROSTER).roster
        lines = [each for each in roster if each == place or each.startswith(f"{place}/")]
        return sorted(machine for line in lines for machine in roster[line])

    def running(self, place: str, now_ns: int) -> Iterator[tuple[str, OeeWindow]]:
        """The running window of each machine that has one."""
        for name in self.machines(place):
            machine = self._get(f"m {name}").machine
            if machine is not None and machine.told is not None and now_ns < machine.until_ns:
                yield name, OeeWindow(name, machine.start_ns, machine.end_ns, machine.told)

    def told(self, name: str, place: str) -> Iterator[tuple[str, OeeWindow]]:
        """One window of each machine that has told of it."""
        start_ns, end_ns = span_of(name)
        for machine in self.machines(place):
            told = self._get(f"w {name} {machine}").told
            if told is not None:
                yield machine, OeeWindow(machine, start_ns, end_ns, told)

    def missing(
        self, place: str, windows: Mapping[str, object], start_ns: int, end_ns: int, *, kind: str = ""
    ) -> Sequence[str]:
        """Machines that were there by then and tell nothing of this time; of windows, in none of this kind."""
        names = self.machines(place)
        if len(names) == len(windows):
            return ()
        overlapping = [
            each for each in self._get(INDEX).index
            if each.startswith(f"{kind} ") and span_of(each)[0] < end_ns and start_ns < span_of(each)[1]
        ] if kind else ()  # fmt: skip
        return [
            name for name in names if name not in windows and self._is_missing(name, start_ns, end_ns, overlapping)
        ]  # fmt: skip

    def _is_missing(self, name: str, start_ns: int, end_ns: int, overlapping: Sequence[str]) -> bool:
        machine = self._get(f"m {name}").machine
        if machine is None or machine.since_ns >= end_ns:
            return False
        if not overlapping:
            return machine.seen_ns <= start_ns
        return all(self._get(f"w {each} {name}").told is None for each in overlapping)

    # -- what was given -----------------------------------------------------------------------------------------------

    def place(self, place: str) -> Place:
        """Its live figures as they were given last."""
        return self._get(f"p {place}").place or Place()

    def put_place(self, place: str, told: Place) -> None:
        """They are given."""
        self._put(f"p {place}", _Piece(place=told))

    def given_again(self, name: str, place: str, found: Mapping[str, Any]) -> int | None:
        """The revision with which a window is given; None: it was given as it is."""
        piece = self._get(f"g {name}")
        before, digest = piece.given.get(place), zlib.crc32(msgspec.json.encode(found))
        if before is not None and before.digest == digest:
            return None
        revision = before.revision + 1 if before is not None else 0
        piece.given[place] = Given(span_of(name)[1], revision, digest)
        self._put(f"g {name}", piece)
        return revision

    def forget(self, gone_ns: int) -> None:
        """Let windows go that no correction may reach any more, and machines that have told nothing since: once an
        hour, and as many as one step may."""
        if not self.head.is_forgetting and gone_ns < self.head.gone_ns + HOUR_NS:
            return
        if not self.head.is_forgetting:
            self.head.gone_ns = gone_ns
        names = [*self._forgotten_windows(), *self._forgotten_machines()]
        for name in names[:DROPPED_MAX]:
            self._pieces.put(name, None)
        self.head.is_forgetting = len(names) > DROPPED_MAX
        if not self.head.is_forgetting:
            self._shorten()

    def _forgotten_windows(self) -> Iterator[str]:
        every = [machine for machines in self._get(ROSTER).roster.values() for machine in machines]
        for name in self._get(INDEX).index:
            if span_of(name)[1] <= self.head.gone_ns:
                pieces = [*(f"w {name} {machine}" for machine in every), f"g {name}"]
                yield from (piece for piece in pieces if self._pieces.get(piece) is not None)

    def _forgotten_machines(self) -> Iterator[str]:
        for machines in self._get(ROSTER).roster.values():
            yield from (f"m {each}" for each in machines if 0 < self._seen_ns(each) <= self.head.gone_ns)

    def _shorten(self) -> None:
        """Names of what was let go."""
        roster, index = self._get(ROSTER).roster, self._get(INDEX).index
        self._put(INDEX, _Piece(index=[each for each in index if span_of(each)[1] > self.head.gone_ns]))
        left = {place: [each for each in machines if self._seen_ns(each)] for place, machines in roster.items()}
        self._put(ROSTER, _Piece(roster={place: machines for place, machines in left.items() if machines}))

    def _seen_ns(self, name: str) -> int:
        machine = self._get(f"m {name}").machine
        return machine.seen_ns if machine is not None else 0

    def _get(self, name: str) -> _Piece:
        piece = self._changed.get(name)
        if piece is None:
            found: _Piece | None = self._pieces.get(name)
            piece = found if found is not None else _Piece()
        return piece

    def _put(self, name: str, piece: _Piece) -> None:
        self._changed[name] = piece
