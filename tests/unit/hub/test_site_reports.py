"""What sites say of a revision: each is asked once, and again when it has no end to tell or cannot be reached."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from millstream.hub._site_reports import ASKED_AT_ONCE_MAX, SiteReports
from millstream.kernel import Unreachable
from millstream.sdk.testing import LoopClock, run_virtual


class _Edges:
    """Answers after `after_s` seconds, unless it is `away`."""

    def __init__(self, after_s: float = 0.5) -> None:
        self.after_s = after_s
        self.away = False
        self.asked: list[tuple[str, bytes]] = []

    async def request(self, subject: str, payload: bytes, *, timeout_s: float) -> tuple[int, bytes, bytes, None, bytes]:
        self.asked.append((subject, payload))
        if self.away:
            raise Unreachable("nobody answers")
        await asyncio.sleep(self.after_s)
        return 1, b"", b"", None, msgspec.json.encode({"phase": "settled"})


async def _with(edges: _Edges, use: Any) -> None:
    connection: Any = edges
    async with asyncio.TaskGroup() as group:
        await use(SiteReports(connection, LoopClock(), group))


def test_a_site_is_asked_once_for_a_revision_and_its_answer_ends_the_wait() -> None:
    edges = _Edges()

    async def use(reports: SiteReports) -> None:
        reports.ask({"e1": 3}, 60.0)
        reports.ask({"e1": 3}, 60.0)
        assert reports.of({"e1": 3}) == {"e1": None}
        await reports.wait(10.0)
        assert asyncio.get_running_loop().time() < 1.0
        assert reports.of({"e1": 3}) == {"e1": {"phase": "settled"}}
        assert edges.asked == [("millstream.node.e1.config", b"settle 3 5000")]
        assert reports.of({"e1": 4}) == {"e1": None}  # what it said of another revision does not count
        await asyncio.sleep(1.0)
        reports.ask({"e1": 4}, 0.4)
        await asyncio.sleep(0)
        assert edges.asked[-1] == ("millstream.node.e1.config", b"settle 4 400")

    run_virtual(_with(edges, use))


def test_one_that_is_away_is_asked_again_each_second_and_is_away_until_it_answers() -> None:
    edges = _Edges()
    edges.away = True

    async def use(reports: SiteReports) -> None:
        for _ in range(5):
            reports.ask({"e1": 1}, 60.0)
            await reports.wait(1.0)
            assert reports.of({"e1": 1}) == {"e1": None}
        assert len(edges.asked) == 5
        edges.away = False
        reports.ask({"e1": 1}, 60.0)
        await reports.wait(1.0)
        assert reports.of({"e1": 1}) == {"e1": {"phase": "settled"}}

    run_virtual(_with(edges, use))


def test_of_many_so_many_are_asked_at_once_and_the_others_when_it_is_their_turn() -> None:
    edges = _Edges()
    wanted = {f"e{number}": 1 for number in range(ASKED_AT_ONCE_MAX + 20)}

    async def use(reports: SiteReports) -> None:
        reports.ask(wanted, 60.0)
        await asyncio.sleep(0.1)
        assert len(edges.asked) == ASKED_AT_ONCE_MAX
        await reports.wait(2.0)
        reports.ask(wanted, 60.0)
        await asyncio.sleep(0.1)
        assert {subject for subject, _ in edges.asked} == {f"millstream.node.{edge}.config" for edge in wanted}
        reports.keep(set())

    run_virtual(_with(edges, use))
