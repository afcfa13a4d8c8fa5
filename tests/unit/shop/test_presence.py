"""Who was at a machine: by place, by time, and in each stop."""

from __future__ import annotations

from typing import Any

from millstream.protocols.cloudevents import format_time
from millstream.shop import by_person, pareto, present_data, read_presences

HOUR = 3600 * 10**9


def fact(
    place: str, operator: str, start: float, end: float | None = None, name: str = ""
) -> tuple[str, dict[str, Any]]:
    data: dict[str, Any] = {"operator": operator, "name": name, "start": format_time(int(start * HOUR))}
    if end is not None:
        data["end"] = format_time(int(end * HOUR))
    return f"{place}:operator/{operator}/{int(start * 3600)}", data


def stop(path: str, start: float, end: float) -> dict[str, Any]:
    times = {"start": format_time(int(start * HOUR)), "end": format_time(int(end * HOUR))}
    return {"path": f"{path}:downtime", **times, "duration_s": (end - start) * 3600, "reason": "jam"}


def told(facts: list[Any], place: str, start: float, end: float) -> list[tuple[str, float]]:
    levels = place.split("/")
    rows = present_data(read_presences(facts), levels, int(start * HOUR), int(end * HOUR))
    return [(row["operator"], row["seconds"] / 3600) for row in rows]


def test_a_person_at_a_line_is_at_each_of_its_machines_and_at_no_other() -> None:
    facts = [
        fact("acme/p1/line1", "ada", 1, 3),
        fact("acme/p1/line1/press", "bob", 2, 4),
        fact("acme/p1", "eve", 9, 10),
    ]
    assert told(facts, "acme/p1/line1/press", 0, 5) == [("ada", 2), ("bob", 2)]
    assert told(facts, "acme/p1/line1/saw", 2.5, 5) == [("ada", 0.5)]
    assert told(facts, "acme/p1/line10/press", 0, 5) == []


def test_a_person_without_an_end_is_there_until_they_begin_elsewhere() -> None:
    facts = [fact("acme/p1/press", "ada", 1), fact("acme/p1/saw", "ada", 3), fact("acme/p1/saw", "bob", 4)]
    assert told(facts, "acme/p1/press", 0, 6) == [("ada", 2)]
    assert told(facts, "acme/p1/saw", 0, 6) == [("ada", 3), ("bob", 2)]


def test_what_is_no_presence_is_left_out() -> None:
    facts = [("acme/p1/press:operator/x/1", {"operator": "x"}), ("acme/p1/press:operator/y/1", {"start": "soon"})]
    assert read_presences(facts) == []


def test_stops_are_cut_by_who_was_there_and_the_rest_is_nobodys() -> None:
    facts = [
        fact("acme/p1/press", "7", 1, 2, name="Ada"), fact("acme/p1/press", "7", 1.5, 2.5, name="Ada"),
        fact("acme/p1/press", "bob", 2, 3),
    ]  # fmt: skip
    stops = [
        stop("acme/p1/press", 0.5, 3.5),
        stop("acme/p1/saw", 1, 2),
        {"path": "acme/p1/press:downtime", "start": "x"},
    ]
    found = by_person(stops, read_presences(facts))
    hours = [(row.reason, row.seconds / 3600, row.count) for row in pareto(found)]
    assert hours == [("(nobody)", 2.0, 2), ("Ada", 1.5, 1), ("bob", 1.0, 1)]
    assert all(each["path"] == "acme/p1/press:downtime" for each in found[:2])
