"""``twin show|list|history``: assets as they are, as they were at a time, and what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Start, Target, run
from millstream.cli._output import OK, json_text, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping


def show(
    path: str, /, *, at: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None, json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Show the twin of an asset: its values, state, order, alarms, what is desired, and whether it is well.

    Examples:

        millstream twin show acme/plant1/press
        millstream twin show acme/plant1/press --at -8h --json | jq .health

    Parameters
    ----------
    path
        The asset; where the flow has another output than `twin`, the path of that.
    at
        As it was then: 2026-01-31T06:00:00Z, or back from now: -8h; left out: as it is.
    json
        Print one object.
    """

    async def work() -> int:
        """Ask and tell."""
        async with target.connect() as plant:
            twin = await plant.twins.show(path, at)
        if json:
            print_json(twin)
            return OK
        print_table(("what", "is"), [(name, json_text(twin[name])) for name in WHOLE])
        print_table(("alarm", "state", "priority", "since", "message"), [_alarm(each) for each in twin["alarms"]])
        rows = [(n, json_text(d["desired"]), json_text(d["reported"]), d["is_met"]) for n, d in twin["desired"].items()]
        print_table(("desired", "is to be", "is", "met"), rows)
        print_table(
            ("tag", "value", "quality", "time"),
            [(name, json_text(tag["value"]), tag["quality"], tag["time"]) for name, tag in twin["tags"].items()],
        )
        return OK

    return run(work())


def list_(
    *patterns: str, name: str = "twin", ill: bool = False, json: Json = False, target: Target = DEFAULT
) -> int:  # fmt: skip
    """List the twins of assets: state, order, alarms, and whether they are well.

    Examples:

        millstream twin list acme/plant1
        millstream twin list --ill --json | jq .path

    Parameters
    ----------
    patterns
        Places or patterns; left out: everything.
    name
        What the flow calls its twins, when that is not `twin`.
    ill
        Only those that are not well.
    json
        Print one whole twin a line.
    """

    async def work() -> int:
        """By path."""
        async with target.connect() as plant:
            twins = [t for t in await plant.twins.list(*patterns, name=name) if not ill or not t["health"]["is_well"]]
        for twin in twins if json else ():
            print_json(twin)
        if not json:
            print_table(("asset", "at", "state", "order", "alarms", "well"), [_row(twin) for twin in twins])
        return OK

    return run(work())


def history(
    path: str, field: str, /, *, start: Start = "-1d", end: Start = "now", json: Json = False, target: Target = DEFAULT
) -> int:  # fmt: skip
    """Show each change of one field of a twin.

    Examples:

        millstream twin history acme/plant1/press state/value --start -8h
        millstream twin history acme/plant1/press tags/spindle/speed/value --json
        millstream twin history acme/plant1/press health/is_well

    Parameters
    ----------
    path
        The asset; where the flow has another output than `twin`, the path of that.
    field
        The way to it, as `twin show --json` prints it.
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
            rows = await plant.twins.history(path, field, start=start, end=end)
        for row in rows if json else ():
            print_json(row)
        if not json:
            print_table(("from", field), [(row["at"], json_text(row["value"])) for row in rows])
        return OK

    return run(work())


WHOLE = ("path", "at", "revision", "template", "state", "order", "health")


def _row(twin: Mapping[str, Any]) -> tuple[object, ...]:
    state, order = twin["state"], twin["order"]
    return (
        twin["path"], twin["at"][:19], state and state["value"], order and order["order"], len(twin["alarms"]),
        "yes" if twin["health"]["is_well"] else "no",
    )  # fmt: skip


def _alarm(alarm: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(alarm.get(each) for each in ("name", "state", "priority", "since", "message"))
