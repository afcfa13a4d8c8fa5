"""The proof: what the machines made, by their own synced ledgers, against what a sink holds. Pure; no path under test.

For each sink and machine: what was acknowledged is in the sink, what is in the sink was attempted, each number stands
as often as it was sent at most (once where duplicates have to be removed), first appearances are in order, and number,
time and weight together have the hash of the truth. For a flow: its outputs are those of a reference run.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from millstream.sim.producer_ledger import MachineTruth, Part

EXAMPLES_MAX = 5  # of each fault, for a person to look at


class Output(NamedTuple):
    """One sample that a flow made."""

    value: object
    time_ns: int


@dataclass(slots=True)
class Account:
    """One sink's account of one machine or of one output of a flow. All but `where` and `examples` are counts."""

    where: str
    expected: int = 0
    stored: int = 0
    lost: int = 0
    duplicated: int = 0
    invented: int = 0
    out_of_order: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Nothing is wrong."""
        return not (self.lost or self.duplicated or self.invented or self.out_of_order or self.wrong)

    def note(self, what: str, cases: Iterable[object]) -> None:
        """Keep some cases of a fault."""
        self.examples += [f"{what} {case}" for case, _ in zip(cases, range(EXAMPLES_MAX), strict=False)]

    def as_dict(self) -> dict[str, object]:
        """For the report; without what is zero."""
        counts = {
            name: getattr(self, name)
            for name in ("lost", "duplicated", "invented", "out_of_order", "wrong", "examples")
        }
        return {
            "where": self.where,
            "expected": self.expected,
            "stored": self.stored,
            **{name: value for name, value in counts.items() if value},
        }


def check_parts(
    where: str, truth: MachineTruth, numbers: Sequence[Output], weights: Sequence[Output], *, allow_resends: bool
) -> Account:
    """`numbers` and `weights` are the samples of the machine's two tags, in the sink's order.

    A device that sends a part again under QoS 1 stores it again: with `allow_resends` a number may stand as often as
    it was sent. Weights follow the numbers one by one, since one message carries both.
    """
    made = {part.n: part for part in truth.made}
    account = Account(where, len(truth.made), len(numbers))
    seen = Counter(int(str(o.value)) if _is_number(o.value) else -1 for o in numbers)
    lost = sorted(truth.acked - set(seen))
    account.lost = len(lost)
    account.note("lost", lost)
    invented = sorted(n for n in seen if n not in made)
    account.invented = sum(seen[n] for n in invented)
    account.note("invented", invented)
    allowed = truth.sends if allow_resends else {}
    surplus = {n: count - max(1, allowed.get(n, 1)) for n, count in seen.items() if n in made}
    account.duplicated = sum(count for count in surplus.values() if count > 0)
    account.note("duplicated", sorted(n for n, count in surplus.items() if count > 0))
    _check_order(account, numbers)
    _check_values(account, made, numbers, weights)
    return account


def _check_order(account: Account, numbers: Sequence[Output]) -> None:
    first = list(dict.fromkeys(str(o.value) for o in numbers))
    back = [b for a, b in itertools.pairwise(first) if a.isdigit() and b.isdigit() and int(b) < int(a)]
    account.out_of_order = len(back)
    account.note("out of order", back)


def _check_values(
    account: Account, made: Mapping[int, Part], numbers: Sequence[Output], weights: Sequence[Output]
) -> None:
    by_time = [(o.value, o.time_ns) for o in weights]
    expected = [(made[n].grams, made[n].time_ns) for o in numbers if (n := _number(o.value)) in made]
    stored = [(n, o.time_ns) for o in numbers if (n := _number(o.value)) in made]
    truth = [(n, made[n].time_ns) for n, _ in stored]
    if _hash(stored) == _hash(truth) and _hash(by_time) == _hash(expected):
        return
    wrong = [n for (n, time_ns), (_, true_ns) in zip(stored, truth, strict=True) if time_ns != true_ns]
    differing: Counter[object] = Counter(expected)
    differing.subtract(Counter(by_time))
    mismatched = [pair for pair, count in differing.items() if count]
    account.wrong = max(1, len(wrong) + len(mismatched))
    account.note("time of", wrong)
    account.note("weight", mismatched)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(value: object) -> int:
    return int(str(value)) if _is_number(value) else -1


def _hash(rows: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()


def check_outputs(where: str, expected: Sequence[Output], stored: Sequence[Output]) -> Account:
    """A flow's output against the reference run: the same values with the same times in the same order."""
    account = Account(where, len(expected), len(stored))
    if list(expected) == list(stored):
        return account
    missing, surplus = Counter(expected), Counter(stored)
    missing.subtract(Counter(stored))
    surplus.subtract(Counter(expected))
    lost = [o for o, count in missing.items() for _ in range(count) if count > 0]
    extra = [o for o, count in surplus.items() for _ in range(count) if count > 0]
    repeated = [o for o in extra if o in set(expected)]
    account.lost, account.duplicated = len(lost), len(repeated)
    account.invented = len(extra) - len(repeated)
    account.out_of_order = 0 if lost or extra else 1
    account.note("lost", lost)
    account.note("duplicated", repeated)
    account.note("invented", [o for o in extra if o not in set(expected)])
    return account


def check_tail(where: str, whole: Sequence[Output], tail: Sequence[Output]) -> Account:
    """What the edge still holds is the end of what the hub holds: forwarding lost, doubled and swapped nothing."""
    account = Account(where, len(tail), len(whole))
    if len(tail) > len(whole):
        account.lost = len(tail) - len(whole)
    elif tail and list(whole[-len(tail) :]) != list(tail):
        account.wrong = sum(1 for a, b in zip(whole[-len(tail) :], tail, strict=True) if a != b)
    return account


def check_gaps(where: str, produced: int, numbers: Sequence[object]) -> tuple[Account, int]:
    """A source that cannot rewind counts its own lines 1, 2, 3 ...; `numbers` is what is stored of that count, in
    order, None for a sample of bad quality. Each hole has to be marked by such a sample between its two ends.

    Returns the account, in which an unmarked hole is a loss, and how many lines are missing in marked holes.
    """
    account = Account(where, produced, sum(1 for n in numbers if n is not None))
    last, is_marked, gaps = 0, True, 0
    for number in numbers:
        if number is None:
            is_marked = True
            continue
        n = _line(number)
        if n is None:
            account.invented += 1
            account.note("not a line", [number])
            continue
        if n <= last:
            account.duplicated += 1
            account.note("again", [n])
        elif n > last + 1:
            gaps += n - last - 1
            if not is_marked:
                account.lost += n - last - 1
                account.note("unmarked", [f"{last + 1} to {n - 1}"])
        last, is_marked = max(last, n), False
    if last > produced:
        account.invented = last - produced
    elif last < produced:
        gaps += produced - last
        if not is_marked:
            account.lost += produced - last
            account.note("unmarked", [f"{last + 1} to {produced}"])
    return account, gaps


def _line(value: object) -> int | None:
    """A whole number from 1 on; an adapter's numbers may come as floats."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value != int(value):
        return None
    return int(value)
