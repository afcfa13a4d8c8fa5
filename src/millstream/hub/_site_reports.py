"""What sites say of the revisions that were released to them.

A site is asked once, and answers when the revision has come to its end there: healthy, refused or rolled back. One that
takes longer answers after `WAIT_S` how far it is, and is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from millstream.bus import RawConnection
from millstream.kernel import Clock, Unreachable
from millstream.protocols.site_config import RevisionWait, encode_wait

WAIT_S = 5.0
ANSWER_S = 2.0  # for the way there and back
ASK_INTERVAL_S = 1.0  # of a site that answered, or does not
ASKED_AT_ONCE_MAX = 500  # about half of what may wait for answers on one connection; the others in their turn
GATHER_S = 0.1  # what comes together is one step of the roll-out

Report = Mapping[str, object]


class SiteReports:
    """Its tasks run in `group`."""

    def __init__(self, connection: RawConnection, clock: Clock, group: asyncio.TaskGroup) -> None:
        self._connection = connection
        self._clock = clock
        self._group = group
        self._asking: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._asked_ns: dict[str, int] = {}
        self._found: dict[str, tuple[int, Report | None]] = {}
        self._news = asyncio.Event()

    def of(self, wanted: Mapping[str, int]) -> dict[str, Report | None]:
        """Edge -> its newest report since it was asked for this revision (`wanted`: edge -> revision); None: it is
        away, or has not answered yet."""
        known = {edge: self._found.get(edge, (0, None)) for edge in wanted}
        return {edge: report if found == wanted[edge] else None for edge, (found, report) in known.items()}

    def ask(self, wanted: Mapping[str, int], wait_s: float) -> None:
        """Ask those that are not being asked. The others are forgotten by `keep`."""
        now_ns = self._clock.monotonic_ns()
        for edge, revision in sorted(wanted.items(), key=lambda item: self._asked_ns.get(item[0], 0)):
            revision_asked, task = self._asking.get(edge, (revision, None))
            if revision_asked != revision and task is not None:
                task.cancel()
                del self._asking[edge]
            elif task is not None or now_ns - self._asked_ns.get(edge, -(10**18)) < ASK_INTERVAL_S * 1e9:
                continue
            if len(self._asking) < ASKED_AT_ONCE_MAX:
                self._asked_ns[edge] = now_ns
                wait = RevisionWait(revision, min(WAIT_S, wait_s))
                asking = self._group.create_task(self._ask(edge, wait), name=f"ask {edge}")
                self._asking[edge] = revision, asking

    def keep(self, edges: set[str]) -> None:
        """Forget the others."""
        self._asked_ns = {edge: asked_ns for edge, asked_ns in self._asked_ns.items() if edge in edges}
        self._found = {edge: found for edge, found in self._found.items() if edge in edges}
        for edge in self._asking.keys() - edges:
            self._asking.pop(edge)[1].cancel()

    async def wait(self, timeout_s: float) -> None:
        """Until somebody has answered, and those that answer with it; or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return
        await self._clock.sleep(GATHER_S)
        self._news.clear()

    async def _ask(self, edge: str, wait: RevisionWait) -> None:
        report: Report | None = None
        try:
            answer = await self._connection.request(
                f"millstream.node.{edge}.config", encode_wait(wait), timeout_s=wait.wait_s + ANSWER_S
            )
            report = msgspec.json.decode(answer[4], type=dict[str, object])
        except (Unreachable, msgspec.DecodeError):
            pass
        self._found[edge] = wait.revision, report
        self._asking.pop(edge, None)
        if report is not None:
            self._news.set()
