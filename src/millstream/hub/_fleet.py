"""Live query of the fleet: asked once, answered by every edge at the same time, gathered and accounted for here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from millstream.bus import RawConnection
from millstream.historian import Reply, RequestHandler
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.kernel import Clock, DecodeError, PlantError
from millstream.model import AssetPath
from millstream.protocols.below import sites_below
from millstream.protocols.fleet_filter import FleetFilter
from millstream.protocols.fleet_query import (
    QUERY_SUBJECT,
    FleetMatch,
    FleetQuery,
    FleetQuestion,
    FleetSummary,
    decode_answer,
    decode_question,
    query_subject,
)
from millstream.protocols.nats_wire import WireMessage

QUERIES_AT_ONCE_MAX = 16
LATE_S = 0.25  # once all that are reachable have answered, so long for those that perhaps just came back
STATUS, ERROR = "Ms-Status", "Ms-Error"


@dataclass(slots=True)
class _Round:
    """One query under way. `open` are the edges that have not answered."""

    expected: Collection[str]
    open: set[str]
    arrived: asyncio.Queue[tuple[str, bytes]] = field(default_factory=asyncio.Queue)  # one an edge at most

    def take(self, edge: str, message: WireMessage) -> None:
        """The first answer of each edge counts."""
        if edge in self.open:
            self.open.discard(edge)
            self.arrived.put_nowait((edge, message[4]))


class FleetDesk:
    """Asks the edges and gathers what they answer."""

    def __init__(
        self, connection: RawConnection, answers: EdgeAnswers, places: Callable[[], Mapping[str, str]], *, clock: Clock
    ) -> None:
        """`places` gives each configured edge's path."""
        self._connection = connection
        self._answers = answers
        self._places = places
        self._clock = clock
        self._rounds_count = 0

    def answer(self, payload: bytes) -> AsyncGenerator[Reply, None]:
        """The replies to one question, as they come, and the account at the end."""
        return self._answer(payload, None)

    def below(self, root: AssetPath | None) -> RequestHandler:
        """Who answers somebody who may ask the edges below a path only: no other hears the question, and what is there
        else is not told."""
        return lambda payload: self._answer(payload, sites_below(self._places(), root))

    async def _answer(self, payload: bytes, within: Collection[str] | None) -> AsyncGenerator[Reply, None]:
        try:
            question = decode_question(payload)
            if question.filter is not None:
                FleetFilter.parse(question.filter)  # what no node can read is told at once
            if self._rounds_count >= QUERIES_AT_ONCE_MAX:
                raise PlantError(
                    "too many live queries at once", expected=f"at most {QUERIES_AT_ONCE_MAX}",
                    next_step="ask again in a moment", code="MS-2205",
                )  # fmt: skip
        except PlantError as error:
            yield Reply(b"", ((ERROR, msgspec.json.encode(error.as_dict()).decode()), (STATUS, "done")))
            return
        async for reply in self._ask(question, within):
            yield reply

    async def _ask(self, question: FleetQuestion, within: Collection[str] | None) -> AsyncGenerator[Reply, None]:
        begun_ns = self._clock.monotonic_ns()
        known = [edge for edge in self._answers.edges() if within is None or edge in within]
        expected = tuple(known) if question.nodes is None else question.nodes
        if within is not None:
            expected = tuple(edge for edge in expected if edge in known)
        query = FleetQuery(secrets.token_hex(8), question.filter, question.select, question.nodes)
        under_way = _Round(expected, set(expected) & set(known))
        self._rounds_count += 1
        tally = _Tally()
        try:
            with self._answers.taking(query.id, under_way.take):
                for subject in (QUERY_SUBJECT,) if within is None else map(query_subject, expected):
                    self._connection.publish(subject, msgspec.json.encode(query))
                async for edge, payload in self._arrivals(under_way, question.deadline_s):
                    if (match := tally.add(edge, payload)) is not None:
                        yield Reply(msgspec.json.encode(match))
        except PlantError as error:  # the own server is away
            yield Reply(b"", ((ERROR, msgspec.json.encode(error.as_dict()).decode()), (STATUS, "done")))
            return
        finally:
            self._rounds_count -= 1
        summary = self._summary(under_way, tally, (self._clock.monotonic_ns() - begun_ns) / 1e6)
        yield Reply(msgspec.json.encode(summary), ((STATUS, "done"),))

    async def _arrivals(self, query: _Round, deadline_s: float) -> AsyncGenerator[tuple[str, bytes], None]:
        """Answers until all are there, until only the unreachable lack and had their moment, or until the deadline."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + deadline_s
        there = self._answers.there(query.open)
        while query.open or not query.arrived.empty():
            wait_s = min(end_s - loop.time(), LATE_S if there.isdisjoint(query.open) else deadline_s)
            if wait_s <= 0 and query.arrived.empty():
                return
            try:
                async with asyncio.timeout(max(0.0, wait_s)):
                    arrived = await query.arrived.get()
            except TimeoutError:
                return
            yield arrived

    def _summary(self, query: _Round, tally: _Tally, took_ms: float) -> FleetSummary:
        reached = self._answers.reached()
        lacking = sorted(set(query.expected) - tally.answered)
        silent = sorted(self._answers.there(lacking))
        return FleetSummary(
            expected=len(set(query.expected)),
            answered=len(tally.answered),
            matching=tally.matching,
            absent=sorted(tally.absent),
            failed=sorted(tally.failed),
            silent=silent,
            missing={edge: reached.get(edge) for edge in lacking if edge not in silent},
            unreadable=sorted(tally.unreadable),
            took_ms=round(took_ms, 1),
        )


@dataclass(slots=True)
class _Tally:
    """What has come."""

    matching: int = 0
    answered: set[str] = field(default_factory=set)
    absent: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add(self, edge: str, payload: bytes) -> FleetMatch | None:
        """One answer; what is worth passing on."""
        self.answered.add(edge)
        try:
            answer = decode_answer(payload)
        except DecodeError as error:
            self.unreadable.append(edge)
            return FleetMatch(edge, "error", None, str(error), error.code)
        if answer.state == "match":
            self.matching += 1
            return FleetMatch(edge, "match", answer.facts or {})
        if answer.state == "error":
            self.failed.append(edge)
            return FleetMatch(edge, "error", None, answer.reason, answer.code)
        if answer.state == "absent":
            self.absent.append(edge)
        return None
