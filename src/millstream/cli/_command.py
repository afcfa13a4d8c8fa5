"""``command send|list|show|cancel|fetch``: what edges shall do, once each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from millstream.cli._look import parsed_value
from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, duration, json_text, note, print_json, print_table, report_usage
from millstream.kernel import PlantError, SystemClock

if TYPE_CHECKING:
    from millstream.client import NodeCommand

GOOD = ("done", "skipped")


def send(
    type: str,
    /,
    *,
    to: Annotated[list[str] | None, Parameter(negative="")] = None,
    everywhere: Annotated[bool, Parameter(name="--all", negative="")] = False,
    where: str | None = None,
    arg: Annotated[list[str] | None, Parameter(negative="")] = None,
    args: str | None = None,
    expires: str = "1h",
    priority: int = 5,
    key: str | None = None,
    who: str | None = None,
    wait: str | None = None,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Tell edges to do something, each once.

    Those that are away get it when they are back. Exit status 6: with --wait it was not done everywhere.

    Examples:

        millstream command send restart_connector --to plant1 --arg connector=boiler --wait 1min
        millstream command send diagnostics --all --where 'labels.zone == "south"' --wait 30s --json

    Parameters
    ----------
    type
        write, restart_connector, diagnostics, support_bundle, update, or what an edge's packages offer: `millstream
        fleet query --select commands`.
    to
        Names of edges, with commas.
    everywhere
        All edges of the hub.
    where
        Only where this filter (CEL, as in `fleet query`) fits, looked at by each edge when it takes the command.
    arg
        One argument, name=value; the value is taken as JSON where it is that, else as text. May be repeated.
    args
        All arguments as one JSON object.
    expires
        An edge that gets it later does not begin.
    priority
        0 to 9; of what waits at an edge, the higher begins first.
    key
        The same key again is the same command: for programs that ask again.
    who
        Name for the audit; left out: user and host.
    wait
        Wait so long until it is over everywhere.
    json
        Print one object a node.
    """
    try:
        arguments = _arguments(arg, args)
    except ValueError as error:
        return report_usage(str(error), "millstream command send TYPE --to EDGE --arg name=value", is_json=json)
    if (to is None) == (not everywhere):
        return report_usage("name the edges", "either --to EDGE,... or --all", is_json=json)
    sending = {
        "nodes": None if everywhere else _names(to), "where": where, "expires": expires, "priority": priority,
        "key": key, "who": who,
    }  # fmt: skip
    return run(_send(target, type, arguments, sending, wait, is_json=json))


async def _send(
    target: Target, type: str, arguments: dict[str, Any], sending: dict[str, Any], wait: str | None, *, is_json: bool
) -> int:
    """Store it; wait if asked to."""
    from millstream.client import to_span_ns

    async with target.connect() as plant:
        id = await plant.commands.send(type, arguments, **sending)
        if wait is not None:
            found = await plant.commands.wait(id, timeout_s=to_span_ns(wait) / 1e9)
        else:
            found = await plant.commands.show(id)
    _show(found, is_json=is_json)
    if not is_json and wait is None:
        note(f"stored as {id}: `millstream command show {id}` tells what becomes of it")
    return OK if wait is None or all(command.state in GOOD for command in found) else CHECK_FAILED


def list_(
    *,
    is_open: Annotated[bool, Parameter(name="--open", negative="")] = False,
    limit: int = 100,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """List commands, the newest last.

    Examples:

        millstream command list --open
        millstream command list --json | jq 'select(.state == "failed")'

    Parameters
    ----------
    is_open
        Only those that are not over.
    limit
        At most so many.
    json
        Print one object a line.
    """

    async def work() -> int:
        """One row a command and node."""
        async with target.connect() as plant:
            _show(await plant.commands.list(is_open=is_open, limit=limit), is_json=json)
        return OK

    return run(work())


def show(id: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show one command at each of its edges, with its result.

    Examples:

        millstream command show 3f2a90d1c4b5e6f7
        millstream command show 3f2a90d1c4b5e6f7 --json | jq .result

    Parameters
    ----------
    id
        As `send` printed it.
    json
        Print one object a line.
    """

    async def work() -> int:
        """One row a node, then the results."""
        async with target.connect() as plant:
            found = await plant.commands.show(id)
        _show(found, is_json=json)
        for command in found:
            if not json and command.result is not None:
                note(f"{command.node}: {json_text(command.result)}")
        return OK

    return run(work())


def cancel(
    id: str,
    /,
    *,
    of: Annotated[list[str] | None, Parameter(negative="")] = None,
    who: str | None = None,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Cancel a command where it has not begun.

    Where it runs it is stopped, if its type allows that. Exit status 6 when it was over already at one of its edges.

    Examples:

        millstream command cancel 3f2a90d1c4b5e6f7
        millstream command cancel 3f2a90d1c4b5e6f7 --of plant1 --json

    Parameters
    ----------
    id
        As `send` printed it.
    of
        Only at these edges.
    who
        Name for the audit; left out: user and host.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Ask for it, and tell how it stands."""
        async with target.connect() as plant:
            found = await plant.commands.cancel(id, nodes=None if of is None else _names(of), who=who)
        _show(found, is_json=json)
        return CHECK_FAILED if any(c.is_over and c.state != "cancelled" for c in found) else OK

    return run(work())


def fetch(id: str, /, *, of: str, file: Path | None = None, json: Json = False, target: Target = DEFAULT) -> int:
    """Fetch the file that a command has left at an edge.

    It is compared with the checksum that the edge told. An existing file is not overwritten.

    Examples:

        millstream command fetch 3f2a90d1c4b5e6f7 --of plant1
        millstream command fetch 3f2a90d1c4b5e6f7 --of plant1 --file bundle.zip --json

    Parameters
    ----------
    id
        As `send` printed it.
    of
        The edge.
    file
        Where to put it; left out: <edge>-<id>.zip here.
    json
        Print one object.
    """

    async def work() -> int:
        """Fetch and write."""
        async with target.connect() as plant:
            content = await plant.commands.fetch(id, of)
        path = file or Path(f"{of}-{id}.zip")
        try:
            with path.open("xb") as out:
                out.write(content)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PlantError("cannot write the file", where=str(path), got=reason) from error
        if json:
            print_json({"file": str(path), "bytes": len(content)})
        else:
            note(f"{len(content)} bytes in {path}")
        return OK

    return run(work())


def _arguments(single: Sequence[str] | None, whole: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if whole is not None:
        try:
            found = msgspec.json.decode(whole, type=dict)
        except msgspec.DecodeError as error:
            raise ValueError(f"--args is no JSON object: {error}") from error
    for text in single or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ValueError(f"not an argument: {text[:60]!r}, expected name=value")
        found[name] = parsed_value(value)
    return found


def _names(given: Sequence[str] | None) -> list[str]:
    return [name.strip() for text in given or () for name in text.split(",") if name.strip()]


def _show(found: Sequence[NodeCommand], *, is_json: bool) -> None:
    if is_json:
        for command in found:
            print_json(msgspec.to_builtins(command))
        return
    now_ns = SystemClock().now_ns()
    rows = [
        (
            c.id, c.node, c.type, c.state if c.progress is None else f"{c.state} {c.progress:.0%}", c.who,
            duration((now_ns - c.created_ns) / 1e9), " ".join(t for t in (c.reason or c.text, c.code) if t),
        )
        for c in found
    ]  # fmt: skip
    print_table(("id", "edge", "type", "state", "who", "age", "reason"), rows, right=("age",))
