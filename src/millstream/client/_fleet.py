"""The fleet as a developer sees it: which nodes fit a filter, and what they say of themselves."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.bus._link import Link
from millstream.client._below import subjects_below
from millstream.client._commands import Commands
from millstream.client._fleet_data import FleetDataRun, data_arrivals, raise_reported
from millstream.client._flows import ask_node
from millstream.client._node import NodeAddress
from millstream.client._paths import Where, to_names
from millstream.client._provider import Provider
from millstream.client._times import Span, Time, to_span_ns, to_time_ns
from millstream.kernel import Clock, DecodeError, NotFoundError
from millstream.protocols.below import FLEET
from millstream.protocols.fleet_data import BYTES_USUAL, DataQuestion, HistoryAsk, check_range
from millstream.protocols.fleet_filter import PROVIDER_ROOTS, ROOTS, FleetFilter
from millstream.protocols.fleet_query import (
    FleetAnswer,
    FleetMatch,
    FleetQuery,
    FleetQuestion,
    FleetSummary,
    check_select,
)

ANSWER_SLACK_S = 5.0  # behind the deadline, for the hub's account
Services = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class FleetResult:
    """All of one query: the nodes that fit or failed, and the account."""

    nodes: Sequence[FleetMatch]
    summary: FleetSummary


class FleetRun:
    """One live query: iterate it once for the nodes as they answer; `summary` is there after the last."""

    def __init__(self, arrivals: AsyncGenerator[FleetMatch | FleetSummary, None]) -> None:
        self._arrivals = arrivals
        self.summary: FleetSummary | None = None

    async def __aiter__(self) -> AsyncGenerator[FleetMatch, None]:
        async with aclosing(self._arrivals) as arrivals:
            async for arrived in arrivals:
                if isinstance(arrived, FleetSummary):
                    self.summary = arrived
                    return
                yield arrived

    async def all(self) -> FleetResult:
        """Wait for every node. Raises PlantError, Unreachable."""
        nodes = [node async for node in self]
        assert self.summary is not None
        return FleetResult(sorted(nodes, key=lambda node: node.node), self.summary)


class Fleet:
    """The nodes that report to the hub, or the one edge that the plant is seen from. Made by `Plant.fleet`."""

    def __init__(self, link: Link, address: NodeAddress, services: Services, clock: Clock) -> None:
        self._link = link
        self._address = address
        self._services = services
        self._clock = clock
        self.commands = Commands(link, self.whom)
        self.provider = Provider(link, address, clock)

    def query(
        self, filter: str | None = None, *, select: Sequence[str] = (), nodes: Sequence[str] | None = None,
        deadline: Span = 2.0,
    ) -> FleetRun:  # fmt: skip
        """Ask every node now: those that fit `filter` (CEL; None: all) answer with the facts that `select` names.

        Raises DecodeError for a filter that no node could read, before anything is sent.
        """
        if filter is not None:
            FleetFilter.parse(filter, PROVIDER_ROOTS if self.provider.is_asked else ROOTS)
        check_select(select)
        question = FleetQuestion(
            filter, tuple(select), None if nodes is None else tuple(nodes), to_span_ns(deadline) / 1e9
        )
        return FleetRun(self._arrivals(question))

    async def _arrivals(self, question: FleetQuestion) -> AsyncGenerator[FleetMatch | FleetSummary, None]:
        subjects = subjects_below(self._link, FLEET)
        if not subjects:
            role, name = await self.whom()
            if self.provider.is_asked:
                async for found in self.provider.matches(name, question):
                    yield found
                return
            if role == "edge":
                async for found in self._of_edge(name, question):
                    yield found
                return
            subjects = [f"millstream.node.{name}.fleet"]
        summaries: list[FleetSummary] = []
        for subject in subjects:
            async for found in self._of_hub(subject, question):
                if isinstance(found, FleetSummary):
                    summaries.append(found)
                else:
                    yield found
        yield _joined(summaries)

    async def _of_hub(self, subject: str, question: FleetQuestion) -> AsyncGenerator[FleetMatch | FleetSummary, None]:
        timeout_s = question.deadline_s + ANSWER_SLACK_S
        asked = self._link.request_many(subject, msgspec.json.encode(question), timeout_s=timeout_s)
        async with aclosing(asked) as replies:
            async for reply in replies:
                raise_reported(reply)
                if reply.headers.get("Ms-Status") == "done":
                    yield msgspec.json.decode(reply.payload, type=FleetSummary)
                    return
                yield msgspec.json.decode(reply.payload, type=FleetMatch)

    async def _of_edge(self, name: str, question: FleetQuestion) -> AsyncGenerator[FleetMatch | FleetSummary, None]:
        """An edge seen without its hub: a fleet of one."""
        query = FleetQuery(secrets.token_hex(8), question.filter, question.select)
        raw = await ask_node(
            self._link, f"millstream.node.{name}.facts", msgspec.json.encode(query), timeout_s=question.deadline_s
        )
        answer = msgspec.convert(dict(raw), FleetAnswer)
        if answer.state in ("match", "error"):
            yield FleetMatch(name, answer.state, answer.facts, answer.reason, answer.code)
        state = answer.state
        yield FleetSummary(
            1, 1, int(state == "match"), [name] if state == "absent" else [], [name] if state == "error" else [],
            [], {}, [], 0.0,
        )  # fmt: skip

    def data(
        self, *patterns: Where, last: Span | None = None, start: Time | None = None, end: Time = "now",
        kind: str = "tag", nodes: Sequence[str] | None = None, bytes_max: int = BYTES_USUAL, deadline: Span = 10.0,
        history: bool = False, every: Span | None = None, aggregate: str | Sequence[str] | None = None,
        quality: str | None = None,
    ) -> FleetDataRun:  # fmt: skip
        """The samples that the edges themselves hold: of the `last` span back from each edge's own clock, or from
        `start` (included) to `end` (not). Every edge below whose place the patterns can lie is asked; `bytes_max`
        bounds the answer of all, `deadline` the wait for one page. With `history` the edges' historians are asked
        instead of their streams; with `every` those give `aggregate` of windows. Raises DecodeError."""
        if not history and every is None and (aggregate is not None or quality is not None):
            raise DecodeError(
                "raw data has no aggregates and no filter", expected="history=True or every beside it", code="MS-0582"
            )
        asked = HistoryAsk(
            None if every is None else to_span_ns(every),
            tuple(to_names(aggregate) or ()),
            quality,  # type: ignore[arg-type]
        )
        now_ns = self._clock.now_ns()
        question = DataQuestion(
            tuple(str(pattern) for pattern in patterns), kind,
            to_span_ns(last) if last is not None else None if start is not None else 60 * 10**9,
            None if start is None else to_time_ns(start, now_ns), None if start is None else to_time_ns(end, now_ns),
            None if nodes is None else tuple(nodes), bytes_max, to_span_ns(deadline) / 1e9,
            asked if history or every is not None else None,
        )  # fmt: skip
        check_range(question)
        return FleetDataRun(data_arrivals(self._link, self.whom, question))

    async def whom(self) -> tuple[str, str]:
        """Role and name of the node to ask: the hub where there is one. Raises NotFoundError."""
        if self._address.name is not None and self._address.role in ("hub", "edge"):
            return self._address.role, self._address.name
        found = {
            (str(service["name"]).removeprefix("millstream-"), str(endpoint["subject"]).split(".")[2])
            for service in await self._services()
            for endpoint in service.get("endpoints") or ()
            if str(endpoint.get("subject", "")).endswith(".status")
        }
        for role in ("hub", "edge"):
            names = sorted(name for of, name in found if of == role)
            if names:
                return role, names[0]
        raise NotFoundError("no node answers here", where=self._link.url, next_step="start a hub", code="MS-0682")


def _joined(found: Sequence[FleetSummary]) -> FleetSummary:
    """The account of who was asked below several paths, which do not overlap."""
    if len(found) == 1:
        return found[0]

    def names(kind: str) -> list[str]:
        return [name for one in found for name in getattr(one, kind)]

    return FleetSummary(
        expected=sum(one.expected for one in found),
        answered=sum(one.answered for one in found),
        matching=sum(one.matching for one in found),
        absent=names("absent"),
        failed=names("failed"),
        silent=names("silent"),
        missing={name: since_ns for one in found for name, since_ns in one.missing.items()},
        unreadable=names("unreadable"),
        took_ms=sum(one.took_ms for one in found),
    )
