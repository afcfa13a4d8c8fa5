"""``events``: what happened to servers, links and streams of the hub."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import OK, note, print_json, print_text, shown
from millstream.kernel import NotFoundError
from millstream.protocols.cloudevents import CloudEvent, format_time
from millstream.protocols.server_advisory import EVENT_TYPE


def events(
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    start: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-1d",
    type: str = f"{EVENT_TYPE}.*",
    alarms: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Show what happened to the hub's servers, links and streams.

    At a hub of tenants, without --tenant, it is what its provider sees: of all tenants, and the audit of none.
    A code such as MS-2610 is explained by `millstream explain`.

    Examples:

        millstream events --start -1h
        millstream events --follow --alarms
        millstream events --json | jq -r 'select(.data.severity == "alarm") | .data.text'

    Parameters
    ----------
    follow
        Show what happens from now on, until Ctrl-C.
    start
        Begin: 2026-01-31T06:00:00Z, or back from now: -15min.
    type
        Other events than those of servers; a final star stands for any ending.
    alarms
        Only what somebody should look at.
    json
        Print one event a line.
    """

    async def work() -> int:
        """Print as they come."""
        from millstream.client import PROVIDER

        async with replace(target, tenant=target.tenant or PROVIDER).connect() as plant:
            provider, since = plant.fleet.provider, None if follow else start
            found: AsyncGenerator[CloudEvent, None] = (
                provider.events(type=type, start=since) if provider.is_asked else plant.events(type=type, start=since)
            )
            try:
                async with aclosing(found):
                    async for event in found:
                        if not alarms or _data(event).get("severity") in ("alarm", "warning"):
                            _print(event, is_json=json)
            except NotFoundError:  # no event of any kind is in the history
                note("nothing happened")
        return OK

    return run(work())


def _data(event: CloudEvent) -> dict[str, Any]:
    return event.data if isinstance(event.data, dict) else {}


def _print(event: CloudEvent, *, is_json: bool) -> None:
    time = format_time(event.time_ns) if event.time_ns is not None else None
    if is_json:
        print_json({"time": time, "type": event.type, "source": event.source, "id": event.id, "data": event.data})
        return
    data, what = _data(event), event.type.removeprefix(f"{EVENT_TYPE}.")
    code = f" [{data['code']}]" if data.get("code") else ""
    text = ": ".join(shown(data[name]) for name in ("tenant", "text") if data.get(name))
    print_text(f"{(time or '')[:19]:<20}{data.get('severity', ''):<9}{what:<16}{text}{code}")
