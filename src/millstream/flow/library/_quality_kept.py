"""What the flow `quality` keeps of a machine: totals and what is open for each event, and minutes and what people said
in pieces, which are opened when they are touched."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping

import msgspec

from millstream.flow._model import Pieces
from millstream.flow.library._inputs import Latest
from millstream.shop import Claim, Counted, end_of_minute, minute_of

MINUTE_NS, HOUR_NS, DAY_NS = 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
IDS_MAX = 16  # ids of what was asked, and rejects that wait for their reason
CLAIMS_MAX = 500  # of what people said within what is kept
CLAIMS = "said"


class Open(msgspec.Struct, frozen=True, array_like=True):
    """A reject that has no reason yet: when, by which counter, and how many parts."""

    time_ns: int
    name: str
    count: float


class Minute(msgspec.Struct, array_like=True):
    """What was counted in a minute by kind and reason, counters that began anew in it; the amount by kind as it was
    told last, whether it was uncertain, and how often; and lots as they were told last."""

    parts: list[tuple[str, str, float]] = []
    unsure: list[str] = []
    told: dict[str, tuple[float, bool, int]] = {}
    lots: list[tuple[str, str, float, int]] = []

    def counted(self) -> Counted:
        """By kind and reason."""
        return {(kind, reason): count for kind, reason, count in self.parts}

    def add(self, kind: str, reason: str, count: float) -> None:
        """Count parts."""
        counted = self.counted()
        counted[kind, reason] = counted.get((kind, reason), 0.0) + count
        self.parts = [(*key, count) for key, count in counted.items() if count]


class Piece(msgspec.Struct, array_like=True):
    """Minutes of an hour by their beginning (UTC ns), or what people said."""

    minutes: dict[int, Minute] = {}
    claims: list[Claim] = []


class Machine(msgspec.Struct, array_like=True):
    """Newest values by name, the newest total of each counter with its time, rejects without a reason yet, ids of what
    was asked; hours with minutes, hours of which people said something, and from where on something may be said."""

    values: dict[str, Latest] = {}
    totals: dict[str, tuple[int, float]] = {}
    open: list[Open] = []
    ids: list[str] = []
    hours: list[int] = []
    said: list[int] = []
    gone_ns: int = 0


class Kept:
    """A machine with its pieces, while one event is taken."""

    def __init__(self, machine: Machine, pieces: Pieces) -> None:
        self.machine, self._pieces = machine, pieces

    def pass_time(self, now_ns: int, keep_ns: int) -> None:
        """Let go what nobody may put right any more, hour by hour."""
        gone = (now_ns - keep_ns) // HOUR_NS
        machine = self.machine
        if not gone * HOUR_NS > machine.gone_ns:
            return
        machine.gone_ns = gone * HOUR_NS
        for hour in [each for each in machine.hours if each < gone]:
            self._pieces.put(_name(hour), None)
            machine.hours.remove(hour)
        if machine.said and machine.said[0] < gone:
            self._keep_claims([each for each in self.claims.values() if each.end_ns > machine.gone_ns])

    # -- minutes ------------------------------------------------------------------------------------------------------

    def minute(self, at_ns: int) -> tuple[Piece, Minute]:
        """One minute, in the piece with which it is put."""
        piece = self._piece(_name(at_ns // HOUR_NS))
        return piece, piece.minutes.setdefault(at_ns, Minute())

    def put(self, at_ns: int, piece: Piece) -> None:
        """Keep the piece of a minute."""
        hour = at_ns // HOUR_NS
        self._pieces.put(_name(hour), piece)
        if hour not in self.machine.hours:
            insort(self.machine.hours, hour)

    def minutes(self, start_ns: int, end_ns: int) -> Mapping[int, Minute]:
        """Those with parts, or that were told, in [start_ns, end_ns)."""
        return {
            at: minute
            for hour in self.machine.hours if start_ns // HOUR_NS <= hour <= end_ns // HOUR_NS
            for at, minute in self._piece(_name(hour)).minutes.items() if start_ns <= at < end_ns
        }  # fmt: skip

    # -- what people said ---------------------------------------------------------------------------------------------

    @property
    def claims(self) -> dict[str, Claim]:
        """By id."""
        return {each.id: each for each in self._piece(CLAIMS).claims}

    def claims_near(self, start_ns: int, end_ns: int) -> list[Claim]:
        """None where nobody has said anything of these hours; else all."""
        first, last = minute_of(start_ns) // HOUR_NS, (end_of_minute(end_ns) - 1) // HOUR_NS
        return self._piece(CLAIMS).claims if any(first <= hour <= last for hour in self.machine.said) else []

    def has_room(self, claim: Claim) -> bool:
        """False when too many are kept."""
        claims = self.claims
        return claim.id in claims or len(claims) < CLAIMS_MAX

    def put_claim(self, claim: Claim) -> None:
        """Keep what somebody said, or how it was put right."""
        self._keep_claims([*({**self.claims, claim.id: claim}).values()])

    def _keep_claims(self, claims: list[Claim]) -> None:
        self._pieces.put(CLAIMS, Piece(claims=claims) if claims else None)
        self.machine.said = sorted({
            hour for each in claims
            for hour in range(minute_of(each.start_ns) // HOUR_NS, (end_of_minute(each.end_ns) - 1) // HOUR_NS + 1)
        })  # fmt: skip

    def _piece(self, name: str) -> Piece:
        found: Piece | None = self._pieces.get(name)
        return found if found is not None else Piece()


def _name(hour: int) -> str:
    return f"m{hour}"
