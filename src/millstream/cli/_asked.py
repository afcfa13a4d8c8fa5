"""What the commands that say something of a machine's time or parts have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.cli._options import Target, run
from millstream.cli._output import OK, note, print_json
from millstream.kernel import parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from millstream.client import Plant


def ask_and_tell(
    target: Target, path: str, ask: Callable[[Plant], Awaitable[str]],
    outcome: Callable[[Plant, str, float], Awaitable[Any]], wait: str, *, name: str, is_json: bool,
) -> int:  # fmt: skip
    """Ask it, wait for what comes of it (0s: not at all), and tell that, as `name` in JSON."""

    async def work() -> int:
        """Say it, wait, tell."""
        timeout_s = parse_duration_s(wait)
        async with target.connect() as plant:
            id = await ask(plant)
            found = await outcome(plant, id, timeout_s) if timeout_s else None
        if is_json:
            print_json({"path": path, "id": id, name: found})
        else:
            note(f"{path}: {'done' if found else 'stored; it is taken as soon as its edge can'}")
        return OK

    return run(work())
