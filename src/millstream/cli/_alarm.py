"""``alarm list|ack|reset|shelve|unshelve|remove|restore|comment|history``: what somebody has to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, Who, run
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_table, report_usage
from millstream.kernel import NotFoundError, PlantError, parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream.client import AlarmRow
    from millstream.protocols.alarm import Action

ORDER = ("critical", "high", "medium", "low")
Wait = Annotated[str, Parameter(help="How long to wait for the alarm's flow to take it; 0s: not at all.")]
Why = Annotated[str, Parameter(help="The reason, for the audit.")]


def list_(
    *patterns: str,
    all: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """List the alarms that are not normal, the most urgent first.

    Examples:

        millstream alarm list
        millstream alarm list acme/plant1 --json | jq 'select(.state == "unacknowledged")'

    Parameters
    ----------
    patterns
        Paths or patterns; left out: everything.
    all
        Those that are normal, too.
    json
        Print one object a line.
    """

    async def work() -> int:
        """The newest event of each."""
        async with target.connect() as plant:
            found = await plant.alarms.list(*patterns, is_all=all)
        rows = sorted(found, key=_urgency)
        if json:
            for row in rows:
                print_json(row.as_dict())
        elif rows:
            columns = ("alarm", "state", "priority", "since", "value", "limit", "count", "message")
            print_table(columns, [_listed(row) for row in rows], right=("value", "limit", "count"))
        else:
            note("no alarm")
        return OK

    return run(work())


def history(
    *patterns: str,
    start: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-1d",
    end: Annotated[str, Parameter(allow_leading_hyphen=True)] = "now",
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Show what happened to alarms: raised, acknowledged, shelved, by whom and why.

    Examples:

        millstream alarm history acme/plant1/press --start -8h
        millstream alarm history --json | jq 'select(.change == "shelved") | [.path, .who, .why]'

    Parameters
    ----------
    patterns
        Paths or patterns; left out: everything.
    start
        Begin: 2026-01-31T06:00:00Z, or back from now: -15min.
    end
        End, not included.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Oldest first."""
        async with target.connect() as plant:
            rows = await plant.alarms.history(*patterns, start=start, end=end)
        if json:
            for row in rows:
                print_json(row.as_dict())
        else:
            told = [
                (r.as_dict()["time"][:19], r.path, r.note.change, r.note.state, r.note.who, r.note.why) for r in rows
            ]
            print_table(("time", "alarm", "change", "state", "who", "why"), told)
        return OK

    return run(work())


def ack(
    *patterns: str, why: Why = "", who: Who = None, wait: Wait = "10s", json: Json = False, target: Target = DEFAULT
) -> int:
    """Acknowledge alarms, as they stand now: a newer occurrence stays unacknowledged.

    Examples:

        millstream alarm ack acme/plant1/press:alarm/hihi --why "seen, oil is ordered"
        millstream alarm ack acme/plant1 --json

    Parameters
    ----------
    patterns
        Paths or patterns of alarms; all of them that are not acknowledged.
    """
    return _ask(patterns, "acknowledge", why, who, wait, json, target, states=("unacknowledged", "returned", "latched"))


def reset(
    *patterns: str, why: Why = "", who: Who = None, wait: Wait = "10s", json: Json = False, target: Target = DEFAULT
) -> int:
    """Reset latched alarms whose condition has gone and that are acknowledged.

    Examples:

        millstream alarm reset acme/plant1/press:alarm/guard
        millstream alarm reset acme/plant1 --why "guards are closed" --json

    Parameters
    ----------
    patterns
        Paths or patterns of alarms.
    """
    return _ask(patterns, "reset", why, who, wait, json, target, states=("latched_acknowledged",))


def shelve(
    *patterns: str,
    shelf: Annotated[str, Parameter(name="--for")] = "1h",
    why: Why = "",
    who: Who = None,
    wait: Wait = "10s",
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Shelve alarms for a time: nobody is told of them until then.

    Examples:

        millstream alarm shelve acme/plant1/press:alarm/hi --for 2h --why "sensor is being exchanged"
        millstream alarm shelve acme/plant1/press --why "maintenance until noon" --json

    Parameters
    ----------
    patterns
        Paths or patterns of alarms, also of those that are normal.
    shelf
        How long, such as 30min.
    """
    return _ask(patterns, "shelve", why, who, wait, json, target, shelf=shelf)


def unshelve(
    *patterns: str, why: Why = "", who: Who = None, wait: Wait = "10s", json: Json = False, target: Target = DEFAULT
) -> int:
    """End a shelf before its time.

    Examples:

        millstream alarm unshelve acme/plant1/press:alarm/hi
        millstream alarm unshelve acme/plant1 --json

    Parameters
    ----------
    patterns
        Paths or patterns of alarms.
    """
    return _ask(patterns, "unshelve", why, who, wait, json, target, states=("shelved",))


def remove(
    *patterns: str, why: Why = "", who: Who = None, wait: Wait = "10s", json: Json = False, target: Target = DEFAULT
) -> int:
    """Take alarms out of service, until `restore`.

    Examples:

        millstream alarm remove acme/plant1/press:alarm/hi --why "pump 2 is dismounted"
        millstream alarm remove acme/plant1/pump2 --why "order 4711" --json

    Parameters
    ----------
    patterns
        Paths or patterns of alarms.
    """
    return _ask(patterns, "remove", why, who, wait, json, target)


def restore(
    *patterns: str, why: Why = "", who: Who = None, wait: Wait = "10s", json: Json = False, target: Target = DEFAULT
) -> int:
    """Put alarms back into service.

    Examples:

        millstream alarm restore acme/plant1/press:alarm/hi
        millstream alarm restore acme/plant1/pump2 --json

    Parameters
    ----------
    patterns
        Paths or patterns of alarms.
    """
    return _ask(patterns, "restore", why, who, wait, json, target, states=("out_of_service",))


def comment(
    pattern: str, why: str, /, *, who: Who = None, wait: Wait = "10s", json: Json = False, target: Target = DEFAULT
) -> int:
    """Say something about an alarm; it stands in its history.

    Examples:

        millstream alarm comment acme/plant1/press:alarm/hi "third time this week, always after the break"
        millstream alarm comment acme/plant1/press:alarm/hi "oil is ordered" --who "Ada, shift 2" --json

    Parameters
    ----------
    pattern
        Path of the alarm.
    why
        The comment.
    """
    return _ask((pattern,), "comment", why, who, wait, json, target)


def _ask(
    patterns: Sequence[str], action: Action, why: str, who: str | None, wait: str, json: bool, target: Target, *,
    states: Sequence[str] | None = None, shelf: str | None = None,
) -> int:  # fmt: skip
    """Ask it of every alarm that fits and is in one of the states. An alarm that was never raised is known, too, once
    something was asked of it."""
    if not patterns:
        return report_usage("name the alarms", "millstream alarm list", is_json=json)
    if action in ("shelve", "remove") and not why.strip():
        return report_usage(f"to {action} an alarm takes a reason", "repeat it with --why", is_json=json)

    async def work() -> int:
        """Ask, wait, tell."""
        timeout_s, status = parse_duration_s(wait), OK
        async with target.connect() as plant:
            rows = await plant.alarms.list(*patterns, is_all=True)
            chosen = [row for row in rows if states is None or row.note.state in states]
            if not chosen:
                raise NotFoundError(
                    f"no alarm to {action} here", got=", ".join(patterns),
                    expected=f"one that is {' or '.join(states)}" if states else "one that was raised before",
                    next_step="`millstream alarm list --all` shows them",
                )  # fmt: skip
            asked = [(row, await plant.alarms.ask(row, action, who=who, why=why, shelf=shelf)) for row in chosen]
            for row, id in asked:
                try:
                    found = await plant.alarms.outcome(row, id, timeout_s=timeout_s) if timeout_s else None
                except PlantError as error:
                    note(str(error))
                    status = CHECK_FAILED
                    continue
                if json:
                    print_json({"path": row.path, "id": id, "state": found.note.state if found else None})
                else:
                    note(f"{row.path}: {found.note.state if found else 'stored; it is taken as soon as its edge can'}")
        return status

    return run(work())


def _urgency(row: AlarmRow) -> tuple[bool, int, int]:
    priority = row.note.priority
    return not row.note.is_active, ORDER.index(priority) if priority in ORDER else len(ORDER), row.time_ns


def _listed(row: AlarmRow) -> tuple[object, ...]:
    told = row.note
    return (
        row.path,
        told.state,
        told.priority,
        (told.since or "")[:19],
        told.value,
        told.limit,
        told.count,
        told.message,
    )
