"""``top``: watch a node live in the terminal."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import OK, print_json
from millstream.kernel import PlantError, SystemClock

PERIOD_S = 1.0


def top(*, count: int | None = None, json: Json = False, target: Target = DEFAULT) -> int:
    """Watch a node live in the terminal.

    Keys: q ends, s sorts by the next column, / filters, Escape shows all.

    Examples:

        millstream top --node ./data
        millstream top --json --count 3 | jq '.connectors[] | {connector, rate_hz, age_s}'

    Parameters
    ----------
    count
        With --json: end after so many looks.
    json
        Print one object a second instead of a screen.
    """
    if json:
        run(_print(target, count))
        return OK
    require_textual()
    run(_watch(target))
    return OK


def require_textual() -> None:
    """Raises PlantError with the command that installs it."""
    if find_spec("textual") is None:
        raise PlantError(
            "`millstream top` needs textual, which is not installed",
            next_step="run `pip install millstream[top]`", code="MS-0685",
        )  # fmt: skip


async def _watch(target: Target) -> None:
    from millstream.cli._top_app import TopApp

    async with target.connect() as plant:
        await TopApp(plant.status, SystemClock()).run_async()


async def _print(target: Target, count: int | None) -> None:
    """What the screen shows, with all that the nodes say of streams, uplinks and alarms."""
    from millstream.cli._top_rows import Rates, connector_rows

    clock, rates, looks = SystemClock(), Rates(), 0
    async with target.connect() as plant:
        while count is None or looks < count:
            if looks:
                await clock.sleep(PERIOD_S)
            nodes = await plant.status()
            now_ns = clock.now_ns()
            kept = ("role", "name", "uplink", "streams", "alarms", "rss_mb", "cpu_s")
            rows = connector_rows(nodes, rates, now_ns)
            print_json(
                {
                    "time_ns": now_ns,
                    "connectors": [asdict(row) for row in rows],
                    "nodes": [{name: node.get(name) for name in kept} for node in nodes],
                }
            )
            looks += 1
