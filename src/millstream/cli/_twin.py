"""``twin show``: an asset as it is, or as it was at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
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


WHOLE = ("path", "at", "revision", "template", "state", "order", "health")


def _alarm(alarm: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(alarm.get(each) for each in ("name", "state", "priority", "since", "message"))
