"""``trace``: the way of one message."""

from __future__ import annotations

from millstream.cli._look import Kind
from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import OK, note, print_json, print_table, shown
from millstream.protocols.cloudevents import format_time


def trace(
    what: str, /, *, kind: Kind = "tag", within: str = "60s", json: Json = False, target: Target = DEFAULT
) -> int:
    """Show what touched a message, and when.

    From the source's own clock over each stream and flow to the history, and what flows made of it. A hub shows the
    whole way, an edge its part.

    Examples:

        millstream trace acme/plant1/press:barrier
        millstream trace acme/plant1/press:parts --kind count --json | jq '.stations[].where'
        millstream trace E_edge1_I:4711

    Parameters
    ----------
    what
        The path of a tag (its newest message), STREAM:SEQUENCE, a trace id, or a whole traceparent.
    within
        How long after it flows are looked at for what they made of it.
    json
        Print one object.
    """

    async def work() -> int:
        """One row a station."""
        async with target.connect() as plant:
            found = await plant.trace(what, kind=kind, within=within)
        if json:
            print_json(found.as_dict())
            return OK
        rows = [(format_time(s.time_ns) if s.time_ns else "", s.where, shown(s.what)) for s in found.stations]
        print_table(("time", "where", "what"), rows)
        if found.traceparent:
            note(f"traceparent {found.traceparent}")
        for each in found.looked:
            note(f"looked for in {each}: it may have begun before")
        if not found.is_complete:
            note("more was stored since than was looked through: choose a shorter --within")
        return OK

    return run(work())
