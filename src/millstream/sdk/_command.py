"""What a command of one's own must be. Registered in the entry point group ``millstream.commands``::

    [project.entry-points."millstream.commands"]
    zero_scale = "acme_commands:ZeroScale"

The class is made once, without arguments, when an edge starts. Its arguments are checked against `schema` before
anything begins; what it returns (JSON) is told as the result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from millstream.kernel import Clock
from millstream.sdk._contract import Log

Progress = Callable[[float, str], Awaitable[None]]
"""Tell how far it is: 0 to 1, and a word for people. At most one a second is kept."""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What a command may use. `id` is the command's: whoever keeps a note of it elsewhere can tell a repetition."""

    id: str
    who: str
    node: str
    data_dir: Path
    progress: Progress
    clock: Clock
    log: Log


class CommandType(Protocol):
    """One kind of command that an edge can carry out.

    `schema` is the JSON Schema of its arguments, an object. `time_limit_s` bounds a run; one that takes longer is
    cancelled, and its outcome is unknown. `is_cancellable`: a person may cancel it while it runs.
    """

    @property
    def description(self) -> str:
        """For people, one line."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON Schema of the arguments."""
        ...

    @property
    def time_limit_s(self) -> float:
        """Longest run."""
        ...

    @property
    def is_cancellable(self) -> bool:
        """Whether it may be cancelled while it runs."""
        ...

    async def run(self, args: Mapping[str, Any], context: CommandContext) -> Any:
        """Have the effect; returns the result. Raises PlantError when it failed. It is never run twice."""
        ...
