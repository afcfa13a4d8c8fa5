"""``top``: watch a node live in the terminal."""

from __future__ import annotations

from importlib.util import find_spec

from millstream.cli._options import DEFAULT, Target, run
from millstream.cli._output import OK
from millstream.kernel import PlantError, SystemClock


def top(*, target: Target = DEFAULT) -> int:
    """Watch a node live in the terminal.

    Keys: q ends, s sorts by the next column, / filters, Escape shows all.

    Examples:

        millstream top
        millstream top --node ./data
    """
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
