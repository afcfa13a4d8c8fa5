"""``downtime list|pareto|split|merge|reason`` and ``why``: stops, their reasons, and what a figure is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from millstream.cli._asked import ask_and_tell
from millstream.cli._listed import note_doubt, print_listed
from millstream.cli._lots import print_lots
from millstream.cli._options import DEFAULT, Json, Start, Target, Wait, Who, run
from millstream.cli._output import OK, duration, json_text, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millstream.client import Plant
    from millstream.shop import StopAction


def list_(
    *patterns: str, start: Start = "-1d", end: Start = "now", lasts: str | None = None, json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """List the stops of machines, as people have put them right last.

    Examples:

        millstream downtime list acme/plant1/press --start -8h
        millstream downtime list --lasts 5min --json | jq 'select(.reason == null)'

    Parameters
    ----------
    patterns
        Places or patterns; left out: everything.
    start
        Begin: 2026-01-31T06:00:00Z, or back from now: -8h.
    end
        End, not included.
    lasts
        Only stops that last so long at least.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Oldest first."""
        async with target.connect() as plant:
            found = await plant.downtime.listed(*patterns, start=start, end=end, lasts=lasts)
        if json:
            print_listed(found)
        else:
            note_doubt(found)
            print_table(
                ("stop", "start", "lasts", "state", "category", "reason", "by", "who"), [_row(s) for s in found.rows]
            )
        return OK

    return run(work())


def pareto(
    *patterns: str, start: Start = "-7d", end: Start = "now", by: Literal["reason", "branch", "person"] = "reason",
    json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Show which reasons cost the most time, the longest first.

    Or the branches of the tree of reasons, with `--by branch`, or who was there meanwhile, with `--by person`.

    Examples:

        millstream downtime pareto acme/plant1/press --start -7d
        millstream downtime pareto acme/plant1 --start 2026-01-01 --end 2026-02-01 --json
        millstream downtime pareto acme/plant1 --by branch
        millstream downtime pareto acme/plant1 --by person

    Parameters
    ----------
    patterns
        Places or patterns; left out: everything.
    start
        Begin: 2026-01-31T06:00:00Z, or back from now: -7d.
    end
        End, not included.
    by
        The reason, the top of its branch in the tree of reasons that was imported as context, or the person who was at
        the machine, as operators were told as context.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Stops that are over, by reason or person."""
        import msgspec

        from millstream.shop import by_person
        from millstream.shop import pareto as by_reason

        async with target.connect() as plant:
            found = await plant.downtime.listed(*patterns, start=start, end=end)
            parents = await plant.context.reason_parents() if by == "branch" else None
            stops = by_person(found.rows, await plant.downtime.people()) if by == "person" else found.rows
            rows = by_reason(stops, parents)
        note_doubt(found)
        for row in rows if json else ():
            print_json(msgspec.to_builtins(row))
        if not json:
            told = [(r.reason, r.count, duration(r.seconds), f"{r.share:.0%}", f"{r.cumulative:.0%}") for r in rows]
            print_table((by, "stops", "time", "share", "sum"), told, right=("stops", "time", "share", "sum"))
        return OK

    return run(work())


def split(
    path: str, /, *, at: Start, why: str = "", who: Who = None, wait: Wait = "10s", json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Cut a stop in two, each with a reason of its own.

    Examples:

        millstream downtime split acme/plant1/press:downtime --at 2026-01-31T06:35:00Z
        millstream downtime split acme/plant1/press:downtime --at 2026-01-31T06:35:00Z --who "Ada, shift 2" --json

    Parameters
    ----------
    path
        As `list` shows it.
    at
        Where to cut.
    why
        A remark, for the audit.
    """
    return _ask(target, path, "split", at, wait, json, why=why, who=who)


def merge(
    path: str, /, *, at: Start, why: str = "", who: Who = None, wait: Wait = "10s", json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Join a stop to the one right before it, whose reason then counts for both.

    Examples:

        millstream downtime merge acme/plant1/press:downtime --at 2026-01-31T06:40:00Z
        millstream downtime merge acme/plant1/press:downtime --at 2026-01-31T06:40:00Z --why "one fault" --json

    Parameters
    ----------
    path
        As `list` shows it.
    at
        A time in the later one.
    why
        A remark, for the audit.
    """
    return _ask(target, path, "merge", at, wait, json, why=why, who=who)


def reason(
    path: str, reason: str, /, *, at: Start, category: str = "", why: str = "", who: Who = None, wait: Wait = "10s",
    json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Say why a machine stood; figures that it touches are given again.

    Examples:

        millstream downtime reason acme/plant1/press:downtime bearing --at 2026-01-31T06:20:00Z
        millstream downtime reason acme/plant1/press:downtime meeting --at -20min --category planned --json

    Parameters
    ----------
    path
        As `list` shows it.
    reason
        The reason; where reasons were imported, one of them.
    at
        A time in the stop.
    category
        What it counts as: setup, delay, idle, down, planned; left out: what the reason or the state does.
    why
        A remark, for the audit.
    """
    return _ask(target, path, "reason", at, wait, json, reason=reason, category=category, why=why, who=who)


def why(path: str, /, *, at: Start = "now", json: Json = False, target: Target = DEFAULT) -> int:
    """Show what a figure of OEE or energy is made of: its times, parts, losses, orders, doubts and stops.

    Examples:

        millstream why acme/plant1/press:oee/shift/oee
        millstream why acme/plant1/line1:oee/live/oee
        millstream why acme/plant1/press:oee/day/availability --at 2026-01-31T12:00:00Z --json | jq .stops
        millstream why acme/plant1/press:energy/shift/idle

    Parameters
    ----------
    path
        The figure.
    at
        A time in its window; left out: the newest window.
    json
        Print one object.
    """

    async def work() -> int:
        """Ask and tell."""
        async with target.connect() as plant:
            found = await plant.downtime.why(path, at)
        if json:
            print_json(found)
            return OK
        stops = found["stops"]
        apart = ("stops", "rejects", "operators")
        parts = found["parts"] if isinstance(found.get("parts"), list) else []  # of energy it is how many were made
        rows = [(n, json_text(value)) for n, value in found.items() if n not in apart and value is not parts]
        print_table(("what", "is"), rows)
        if parts:
            columns = ("place", "oee", "availability", "performance", "quality", "known", "lost")
            print_table(columns, [_part(part) for part in parts])
        print_table(("stop", "start", "lasts", "state", "category", "reason", "by", "who"), [_row(s) for s in stops])
        print_lots(found["rejects"])
        there = [(p["operator"], p["name"], p["start"][:19], duration(p["seconds"])) for p in found["operators"]]
        print_table(("operator", "name", "from", "was there"), there)
        return OK

    return run(work())


def _ask(
    target: Target, path: str, action: StopAction, at: str, wait: str, is_json: bool, *, reason: str = "",
    category: str = "", why: str = "", who: str | None = None,
) -> int:  # fmt: skip
    async def ask(plant: Plant) -> str:
        """Say it."""
        counts_as = await plant.context.category_of(reason, category)
        return await plant.downtime.ask(path, action, at, reason=reason, category=counts_as, why=why, who=who)

    async def outcome(plant: Plant, id: str, timeout_s: float) -> Any:
        """What became of it."""
        return await plant.downtime.outcome(path, id, timeout_s=timeout_s)

    return ask_and_tell(target, path, ask, outcome, wait, name="stop", is_json=is_json)


def _part(part: Mapping[str, Any]) -> tuple[object, ...]:
    names = ("oee", "availability", "performance", "quality", "known")
    shares = ("" if part.get(name) is None else f"{part[name]:.1%}" for name in names)
    return (part["path"], *shares, duration(sum(part["losses_s"].values())))


def _row(stop: Mapping[str, Any]) -> tuple[object, ...]:
    lasts = "still" if stop.get("duration_s") is None else duration(stop["duration_s"])
    return (
        stop["path"], stop["start"][:19], lasts, stop["state"], stop["category"], stop.get("reason"), stop.get("by"),
        stop.get("who"),
    )  # fmt: skip
