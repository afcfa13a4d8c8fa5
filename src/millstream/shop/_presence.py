"""Who was at a machine, as far as somebody told, and the stops in that time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.cloudevents import format_time, parse_time_ns

NOBODY = "(nobody)"


@dataclass(frozen=True, slots=True)
class Presence:
    """One person at one place, UTC ns; `end_ns` None: nobody has told the end. At a place means at what is below it."""

    operator: str
    name: str
    levels: tuple[str, ...]
    start_ns: int
    end_ns: int | None = None

    @property
    def title(self) -> str:
        """As people call them."""
        return self.name or self.operator


def read_presences(facts: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Presence]:
    """From operators' facts (path and data), by time. One without an end ends where the same person begins elsewhere.
    What is none is left out."""
    found: list[Presence] = []
    for path, data in facts:
        try:
            end = parse_time_ns(str(data["end"])) if data.get("end") else None
            levels, start_ns = TagPath.parse(path).asset.levels, parse_time_ns(str(data["start"]))
            found.append(Presence(str(data["operator"]), str(data.get("name", "")), tuple(levels), start_ns, end))
        except (DecodeError, KeyError):
            continue
    found.sort(key=lambda each: each.start_ns)
    later: dict[str, int] = {}
    for index in range(len(found) - 1, -1, -1):
        each = found[index]
        if each.end_ns is None:
            found[index] = replace(each, end_ns=later.get(each.operator))
        later[each.operator] = each.start_ns
    return found


def present(
    presences: Sequence[Presence], levels: Sequence[str], start_ns: int, end_ns: int
) -> list[tuple[Presence, int, int]]:  # fmt: skip
    """Who was at a machine, and from when to when within this time (UTC ns)."""
    found = []
    for each in presences:
        begins, ends = max(each.start_ns, start_ns), min(end_ns if each.end_ns is None else each.end_ns, end_ns)
        if begins < ends and tuple(levels[: len(each.levels)]) == each.levels:
            found.append((each, begins, ends))
    return found


def present_data(
    presences: Sequence[Presence], levels: Sequence[str], start_ns: int, end_ns: int
) -> list[dict[str, Any]]:  # fmt: skip
    """The same in JSON, with seconds."""
    return [
        {
            "operator": who.operator, "name": who.name, "start": format_time(begins), "end": format_time(ends),
            "seconds": (ends - begins) / 1e9,
        }
        for who, begins, ends in present(presences, levels, start_ns, end_ns)
    ]  # fmt: skip


def by_person(stops: Iterable[Mapping[str, Any]], presences: Sequence[Presence]) -> list[dict[str, Any]]:
    """Stops that are over (as `stop_data` tells them, each with its `path`), cut into the time of each person who was
    there, with the person as the reason. With two persons there it is time of both; the rest is nobody's."""
    found: list[dict[str, Any]] = []
    for stop in stops:
        if stop.get("duration_s") is None or not stop.get("end"):
            continue
        levels = TagPath.parse(str(stop["path"])).asset.levels
        start_ns, end_ns = parse_time_ns(str(stop["start"])), parse_time_ns(str(stop["end"]))
        spans: dict[str, list[tuple[int, int]]] = {}
        for who, begins, ends in present(presences, levels, start_ns, end_ns):
            spans.setdefault(who.title, []).append((begins, ends))
        covered_ns = _covered_ns([span for each in spans.values() for span in each])
        found += [{**stop, "reason": who, "duration_s": _covered_ns(each) / 1e9} for who, each in spans.items()]
        if covered_ns < end_ns - start_ns:
            found.append({**stop, "reason": NOBODY, "duration_s": (end_ns - start_ns - covered_ns) / 1e9})
    return found


def _covered_ns(spans: Sequence[tuple[int, int]]) -> int:
    """How long at least one of them lasts."""
    total = reached = 0
    for begins, ends in sorted(spans):
        total += max(0, ends - max(begins, reached))
        reached = max(reached, ends)
    return total
