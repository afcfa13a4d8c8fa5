"""``write``: a value to a machine. The only command that moves anything."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from millstream.cli._look import parsed_value
from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import OK, note, print_json, print_table, report_usage
from millstream.protocols.write_request import WriteAnswer


def write(
    path: str | None = None,
    value: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    null: Annotated[bool, Parameter(negative="")] = False,
    valid: str = "10s",
    who: str | None = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    list: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Write one value to a machine, through its edge.

    Only tags with a `write` section in the edge's file are written, within its bounds and pace. Who wrote what, and
    what became of it, is stored as an event. Exit status 0: the machine took it.

    Examples:

        millstream write --list
        millstream write acme/plant1/press:setpoint 21.5 --yes
        millstream write acme/plant1/press:recipe '"M6"' --who "Ada, shift 2" --json --yes
        millstream write acme/plant1/ahu:damper --null --yes

    Parameters
    ----------
    path
        The tag, such as acme/plant1/press:setpoint.
    value
        In the tag's unit: a number, true, false, or any JSON; other text is taken as text.
    null
        Write a null instead of a value: BACnet gives the priority back, OPC UA empties the value.
    valid
        How long the request may wait before it is too late for it.
    who
        Name for the audit; left out: user and host.
    yes
        Write without asking.
    list
        Show what may be written instead.
    json
        Print one object.
    """
    if list:
        return run(_list(target, is_json=json))
    if path is None or (value is None) != null:
        return report_usage("write needs a tag and either a value or --null", "millstream write --list", is_json=json)
    if not yes and not _is_sure(path, "null" if value is None else value):
        return report_usage("nothing was written", "repeat it with --yes", is_json=json)

    async def work() -> int:
        """Write and tell."""
        async with target.connect() as plant:
            given = None if value is None else parsed_value(value)
            answer = await plant.write(path, given, valid=valid, who=who)
        if json:
            print_json(msgspec.to_builtins(answer))
        else:
            note(f"written; {answer.reason or _told(answer)}")
        return OK

    return run(work())


def _told(answer: WriteAnswer) -> str:
    """What the machine made of it, for a person."""
    if answer.answer:
        return f"the machine answers {answer.answer!r}"
    if answer.answer is not None:
        return "carried out"
    return "not read back" if answer.read_back is None else f"the machine shows {answer.read_back!r}"


async def _list(target: Target, *, is_json: bool) -> int:
    async with target.connect() as plant:
        found = await plant.writable()
    if is_json:
        print_json({node: msgspec.to_builtins(tags) for node, tags in found.items()})
        return OK
    rows = [
        (t.tag, t.unit, t.minimum, t.maximum, "yes" if t.allow_null else "", f"{t.interval_s:g}s", node)
        for node, tags in found.items()
        for t in tags
    ]
    if not rows:
        note("nothing may be written: no tag has a 'write' section in its edge's file")
        return OK
    print_table(
        ("tag", "unit", "minimum", "maximum", "null", "interval", "edge"),
        rows,
        right=("minimum", "maximum", "interval"),
    )
    return OK


def _is_sure(path: str, value: str) -> bool:
    """Ask a person; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    note(f"write {value} to {path} at the machine? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
