"""``quality list|pareto|say|correct``: scrap and rework, their reasons, and what people say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from millstream.cli._asked import ask_and_tell
from millstream.cli._listed import note_doubt, print_listed
from millstream.cli._lots import print_lots
from millstream.cli._options import DEFAULT, Json, Start, Target, Wait, Who, run
from millstream.cli._output import OK, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from millstream.client import Plant

Kind = Literal["scrap", "rework", "good"]


def list_(
    *patterns: str, start: Start = "-1d", end: Start = "now", json: Json = False, target: Target = DEFAULT
) -> int:
    """List scrap and rework of machines, as it was counted and as people have put it right.

    Examples:

        millstream quality list acme/plant1/press --start -8h
        millstream quality list --json | jq 'select(.reason == null)'

    Parameters
    ----------
    patterns
        Places or patterns; left out: everything.
    start
        Begin: 2026-01-31T06:00:00Z, or back from now: -8h.
    end
        End, not included.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Oldest first."""
        async with target.connect() as plant:
            found = await plant.quality.listed(*patterns, start=start, end=end)
        if json:
            print_listed(found)
        else:
            note_doubt(found)
            print_lots(found.rows)
        return OK

    return run(work())


def pareto(
    *patterns: str, start: Start = "-7d", end: Start = "now", by: Literal["reason", "branch"] = "reason",
    json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Show which reasons cost the most parts, the most first.

    Examples:

        millstream quality pareto acme/plant1/press --start -7d
        millstream quality pareto acme/plant1 --by branch --json

    Parameters
    ----------
    patterns
        Places or patterns; left out: everything.
    start
        Begin: 2026-01-31T06:00:00Z, or back from now: -7d.
    end
        End, not included.
    by
        The reason, or the top of its branch in the tree of reasons that was imported as context.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Scrap and rework by reason."""
        import msgspec

        from millstream.shop import reject_pareto

        async with target.connect() as plant:
            found = await plant.quality.listed(*patterns, start=start, end=end)
            rows = reject_pareto(found.rows, await plant.context.reason_parents() if by == "branch" else None)
        note_doubt(found)
        for row in rows if json else ():
            print_json(msgspec.to_builtins(row))
        if not json:
            told = [(row.reason, f"{row.count:g}", f"{row.share:.0%}", f"{row.cumulative:.0%}") for row in rows]
            print_table((by, "parts", "share", "sum"), told, right=("parts", "share", "sum"))
        return OK

    return run(work())


def say(
    path: str, count: float, kind: Kind | None = None, /, *, reason: str = "", start: Start = "-1h",
    end: Start = "now", instead_of: str = "", why: str = "", who: Who = None, wait: Wait = "10s", json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Say how many parts of a time were scrap, rework or good after all.

    Parts that were counted without a reason are meant first; what goes beyond them was seen by no counter and is added.
    Figures that it touches are given again.

    Examples:

        millstream quality say acme/plant1/press:quality 12 scrap --reason scratches
        millstream quality say acme/plant1/press:quality 3 rework --reason burrs --start -8h --end -7h
        millstream quality say acme/plant1/press:quality 2 good --start -8h --instead-of scratches

    Parameters
    ----------
    path
        As `list` shows it.
    count
        How many, in all.
    kind
        What they were; left out: what the reason was imported as.
    reason
        The reason; where reasons were imported, one of them.
    start
        Begin of the time in which they were made.
    end
        Its end, a day later at most.
    instead_of
        Parts are meant that were counted with this reason.
    why
        A remark, for the audit.
    json
        Print one object.
    """

    async def ask(plant: Plant) -> str:
        """Say it."""
        return await plant.quality.say(
            path, count, await plant.context.reject_kind(reason, kind or ""), start=start, end=end, reason=reason,
            instead_of=instead_of, why=why, who=who,
        )  # fmt: skip

    return _told(target, path, ask, wait, json)


def correct(
    path: str, lot: str, /, *, count: float | None = None, kind: Kind | None = None, reason: str = "", why: str = "",
    who: Who = None, wait: Wait = "10s", json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Put right what somebody said of parts, or take it back.

    Examples:

        millstream quality correct acme/plant1/press:quality 5f0c6a52 --count 10 --why "counted again"
        millstream quality correct acme/plant1/press:quality 5f0c6a52 --reason dents
        millstream quality correct acme/plant1/press:quality 5f0c6a52 --count 0

    Parameters
    ----------
    path
        As `list` shows it.
    lot
        As `list` shows it.
    count
        How many they were; 0 takes it back. What is left out stays as it was.
    kind
        What they were.
    reason
        The reason; where reasons were imported, one of them.
    why
        A remark, for the audit.
    json
        Print one object.
    """

    async def ask(plant: Plant) -> str:
        """Put it right."""
        await plant.context.reject_kind(reason)
        return await plant.quality.correct(path, lot, count=count, kind=kind, reason=reason, why=why, who=who)

    return _told(target, path, ask, wait, json)


def _told(
    target: Target, path: str, ask: Callable[[Plant], Awaitable[str]], wait: str, is_json: bool
) -> int:  # fmt: skip
    async def outcome(plant: Plant, id: str, timeout_s: float) -> Any:
        """What became of it."""
        return await plant.quality.outcome(path, id, timeout_s=timeout_s)

    return ask_and_tell(target, path, ask, outcome, wait, name="lot", is_json=is_json)
