"""What the devices say they produced against what the historian holds: pure arithmetic, no path under test in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millstream.client import LedgerRow
from millstream.protocols.ledger import OriginAccount


@dataclass(frozen=True, slots=True)
class TagAccount:
    """One tag's account. `lost`, `duplicated` and `out_of_order` are counts of samples."""

    tag: str
    produced: int
    stored: int
    lost: int
    duplicated: int
    out_of_order: int


def account_counter(tag: str, produced: int, values: Sequence[int]) -> TagAccount:
    """A tag whose device writes 1, 2, 3 ... `produced`; `values` are the good rows in source-time order.

    A number that the device never wrote counts as duplicated: it is a row too many.
    """
    seen = {v for v in values if 1 <= v <= produced}
    backwards = sum(1 for a, b in itertools.pairwise(values) if b < a)
    return TagAccount(tag, produced, len(values), produced - len(seen), len(values) - len(seen), backwards)


def account_rows(tag: str, produced: int, stored: int) -> TagAccount:
    """A tag of which only the number of samples is known on both sides."""
    return TagAccount(tag, produced, stored, max(0, produced - stored), max(0, stored - produced), 0)


def account_waveform(tag: str, expected: Sequence[float], stored: Sequence[float]) -> TagAccount:
    """A recorded channel: each value of the file must stand in the history, in the file's order."""
    if list(expected) == list(stored):
        return TagAccount(tag, len(expected), len(stored), 0, 0, 0)
    by_count = account_rows(tag, len(expected), len(stored))
    wrong = sum(1 for a, b in zip(expected, stored, strict=False) if a != b)
    return TagAccount(tag, len(expected), len(stored), by_count.lost, by_count.duplicated, wrong)


def totals(accounts: Sequence[TagAccount], origins: Sequence[OriginAccount]) -> dict[str, int]:
    """The counts of a whole run: what the devices miss in the historian, and what the hub's recount finds."""
    return {
        "samples_produced": sum(a.produced for a in accounts),
        "lost": sum(a.lost for a in accounts) + sum(o.gaps for o in origins),
        "duplicated": sum(a.duplicated for a in accounts) + sum(o.repeats for o in origins),
        "out_of_order": sum(a.out_of_order for a in accounts) + sum(o.out_of_order for o in origins),
    }


def samples_at_edge(status: Mapping[str, Any], records: Sequence[LedgerRow]) -> int:
    """What the edge stored: its publishers count what they take from the connectors, and each flow, which is a process
    of its own, tells its total in its newest record beside what it said."""
    of_flows = (row for row in records if row.publisher.startswith("flow-"))
    return sum(int(p["samples_stored"]) for p in status["publishers"]) + sum(row.total_samples for row in of_flows)


def samples_at_hub(origins: Iterable[OriginAccount]) -> int:
    """What the hub recounted of that. The facts of orders and machines were stored beside it by who told them (a guest,
    who keeps no record); they are events, and no rows of a history."""
    return sum(origin.samples - origin.guests for origin in origins)


def exit_status(result: Mapping[str, Any]) -> int:
    """0 only when nothing was lost and nothing came twice."""
    return 0 if result["lost"] == 0 and result["duplicated"] == 0 else 1
