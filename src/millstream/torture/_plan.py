"""Which faults come when: a pure function of the seed, the time and the kinds that are allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from millstream.kernel import Chance, seeded

KINDS = ("kill", "pause", "cut", "blackhole", "delay", "throttle", "drop", "duplicate", "clock", "full")
"""kill: -9 of a process. pause: it stands still. cut, blackhole, delay, throttle: the links, by a proxy. drop: packets
are lost (nftables). duplicate: devices send again. clock: their clocks jump. full: the edge's bound is reached."""
PROCESSES = ("edge", "edge-server", "edge-worker", "hub", "hub-server", "hub-worker")
LINKS = ("uplink", "devices")
HEAD_S = 0.5
GAP_S = (0.3, 2.2)  # between the beginnings of two faults; a fault may outlast several others
LENGTHS_S = {
    "kill": (0.0, 0.0), "pause": (0.3, 3.0), "cut": (0.2, 4.0), "blackhole": (0.5, 5.0), "delay": (1.0, 5.0),
    "throttle": (1.0, 5.0), "drop": (1.0, 5.0), "duplicate": (0.0, 0.0), "clock": (0.5, 4.0), "full": (2.0, 5.0),
}  # fmt: skip
CLOCK_OFFSETS_S = (-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: when it begins (seconds from the start), how long it lasts, what it strikes, how hard (a share for
    `drop`, seconds for `delay` and `clock`, bytes a second for `throttle`, parts for `duplicate`)."""

    kind: str
    at_s: float
    for_s: float = 0.0
    target: str = ""
    amount: float = 0.0

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.at_s + self.for_s


def make_plan(seed: int, for_s: float, kinds: Sequence[str]) -> list[Fault]:
    """Faults in order of their beginning; all are over at `for_s`. Each kind comes once before any comes again, as
    far as the time goes."""
    chance = seeded(f"plan {seed}")
    plan: list[Fault] = []
    bag: list[str] = []
    at_s = HEAD_S
    while at_s < for_s and kinds:
        if not bag:
            bag = [kind for kind in KINDS if kind in kinds]
        kind = bag.pop(int(chance.random() * len(bag)))
        plan.append(_fault(chance, kind, round(at_s, 3), for_s))
        at_s += _between(chance, *GAP_S)
    return plan


def _fault(chance: Chance, kind: str, at_s: float, until_s: float) -> Fault:
    low, high = LENGTHS_S[kind]
    for_s = round(min(_between(chance, low, high), max(0.0, until_s - at_s)), 3)
    target, amount = _AIMS[kind](chance)
    return Fault(kind, at_s, for_s, target, round(amount, 4))


def _between(chance: Chance, low: float, high: float) -> float:
    return low + (high - low) * chance.random()


def _one(chance: Chance, choices: Sequence[str]) -> str:
    return choices[int(chance.random() * len(choices))]


_Aim = Callable[[Chance], tuple[str, float]]
_AIMS: dict[str, _Aim] = {
    "kill": lambda c: (_one(c, PROCESSES), 0.0),
    "pause": lambda c: (_one(c, PROCESSES), 0.0),
    "cut": lambda c: (_one(c, LINKS), 0.0),
    "blackhole": lambda c: (_one(c, LINKS), 0.0),
    "delay": lambda c: (_one(c, LINKS), _between(c, 0.05, 0.8)),
    "throttle": lambda c: (_one(c, LINKS), _between(c, 4_000, 60_000)),
    "drop": lambda c: (_one(c, LINKS), _between(c, 0.05, 0.6)),
    "duplicate": lambda c: ("devices", float(1 + int(c.random() * 60))),
    "clock": lambda c: ("devices", CLOCK_OFFSETS_S[int(c.random() * len(CLOCK_OFFSETS_S))]),
    "full": lambda _: ("edge", 0.0),
}
