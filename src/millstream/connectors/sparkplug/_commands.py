"""Commands of host applications, on their way to the edge's write desk: it has the list of what may be written."""

from __future__ import annotations

import asyncio

from millstream.protocols.sparkplug_node import Command
from millstream.protocols.write_request import WHO_CHARS_MAX, WriteRequest, is_writable_value
from millstream.sdk import ConnectorTools

LIFETIME_S = 5.0  # who has sent a command is not there to be told that it took longer
AT_ONCE_MAX = 16


class Commands:
    """Carries out at most AT_ONCE_MAX at a time. Sparkplug has no answer: what became of one is the desk's audit."""

    def __init__(self, tools: ConnectorTools, who: str) -> None:
        self._tools = tools
        self._who = who[:WHO_CHARS_MAX]
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    def take(self, tag: str | None, command: Command) -> str | None:
        """Begin to write; why not, when it is not begun. `tag` is the path of the metric's tag."""
        write, clock = self._tools.write, self._tools.clock
        if tag is None or write is None:
            return "no tag of this edge stands behind it"
        value = command.value
        if not is_writable_value(value):
            return f"value cannot be written: {value!r}"[:100]
        if len(self._tasks) >= AT_ONCE_MAX:
            return "too many commands are under way"
        facts = self._tools.facts.get(tag)
        allowed_s = facts.write_lifetime_s if facts is not None else None
        lifetime_s = min(LIFETIME_S, allowed_s if allowed_s is not None else LIFETIME_S)
        self._count += 1
        now_ns = clock.now_ns()
        request = WriteRequest(
            f"sparkplug {now_ns} {self._count}", tag, value, now_ns + int(lifetime_s * 1e9), self._who
        )

        async def carry_out() -> None:
            await write(request)

        task = asyncio.get_running_loop().create_task(carry_out(), name=f"command {request.id}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._tools.log.warning("command was not carried out", task=task.get_name(), error=str(error))

    async def close(self) -> None:
        """What is under way is given up; the desk's audit says of it that its outcome is unknown."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
