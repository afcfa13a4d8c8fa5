"""Why the machines of a line wait: starved by what stands before them, blocked by what stands behind them. Pure.

A machine waits when its state counts as idle. Whoever waits passes the waiting on, so the cause is looked for along the
line, past other machines that wait, up to one that stands for reasons of its own. Of two causes the older one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from millstream.shop._oee import Category

Way = Literal["starved", "blocked"]
_RUNS_OR_UNKNOWN = (Category.PRODUCTION, Category.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Standing:
    """A machine's category, and since when (UTC ns)."""

    category: Category
    since_ns: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a machine waits, and which machine is the cause."""

    way: Way
    cause: str


def waits(standings: Mapping[str, Standing], feeds: Iterable[tuple[str, str]]) -> dict[str, Wait]:
    """Of the machines that wait, those of which the cause is known. `feeds` are (from, to); a circle does no harm."""
    before: dict[str, list[str]] = {}
    behind: dict[str, list[str]] = {}
    for source, target in feeds:
        before.setdefault(target, []).append(source)
        behind.setdefault(source, []).append(target)
    found = {}
    for machine, standing in standings.items():
        if standing.category is Category.IDLE:
            wait = _wait(machine, standings, before, behind)
            if wait is not None:
                found[machine] = wait
    return found


def _wait(
    machine: str, standings: Mapping[str, Standing], before: Mapping[str, Sequence[str]],
    behind: Mapping[str, Sequence[str]],
) -> Wait | None:  # fmt: skip
    up, first = _causes(machine, standings, before)
    down, _ = _causes(machine, standings, behind)
    causes: list[tuple[int, Way, str]] = [
        *((standings[each].since_ns, "starved", each) for each in up),
        *((standings[each].since_ns, "blocked", each) for each in down),
    ]  # fmt: skip
    if causes:
        _, way, cause = min(causes, key=lambda each: (each[0], each[1] != "starved", each[2]))
        return Wait(way, cause)
    # nobody stands, and the line's head has had nothing to do for longer: what comes behind it gets nothing
    is_older = first is not None and standings[first].since_ns <= standings[machine].since_ns
    return Wait("starved", first) if first is not None and is_older else None


def _causes(
    machine: str, standings: Mapping[str, Standing], near: Mapping[str, Sequence[str]]
) -> tuple[list[str], str | None]:
    """The nearest machines in one direction that stand for reasons of their own, and the furthest one that waits."""
    seen, rest, causes = {machine}, [machine], []
    furthest: str | None = None
    while rest:
        for each in near.get(rest.pop(0), ()):
            standing = standings.get(each)
            if each in seen or standing is None or standing.category in _RUNS_OR_UNKNOWN:
                continue
            seen.add(each)
            if standing.category is Category.IDLE:
                rest.append(each)
                furthest = each
            else:
                causes.append(each)
    return causes, furthest
