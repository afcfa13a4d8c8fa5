"""An edge's part in a live query: is it meant, does the filter fit, and the few facts that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from millstream.bus import RawConnection
from millstream.kernel import DecodeError, PlantError
from millstream.protocols.fleet_filter import FleetFilter
from millstream.protocols.fleet_query import (
    ANSWER_PREFIX,
    QUERY_SUBJECT,
    FleetAnswer,
    FleetQuery,
    decode_query,
    encode_answer,
    pick,
    query_subject,
)
from millstream.protocols.nats_wire import WireMessage


class FleetDesk:
    """Answers live queries of the fleet for one edge."""

    def __init__(
        self, name: str, facts: Callable[[], Mapping[str, Any]], connection: RawConnection,
        named: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:  # fmt: skip
        """`named` are facts that only those get who name them: no filter sees them, and ``*`` leaves them out."""
        self._named = named or {}
        self._name = name
        self._facts = facts
        self._connection = connection
        self.malformed_count = 0

    def open(self) -> Callable[[], None]:
        """Listen, also after each reconnect, until the returned function is called."""
        sids = [self._connection.subscribe(s, self._take) for s in (QUERY_SUBJECT, query_subject(self._name))]

        def close() -> None:
            """Listen no more."""
            for sid in sids:
                self._connection.unsubscribe(sid)

        return close

    def _take(self, messages: list[WireMessage]) -> None:
        for message in messages:
            try:
                query = decode_query(message[4])
            except DecodeError:
                self.malformed_count += 1  # without an id there is nobody to tell
                continue
            if query.nodes is not None and self._name not in query.nodes:
                continue
            answer = self.answer(query)
            try:
                self._connection.publish(f"{ANSWER_PREFIX}{self._name}.{query.id}", encode_answer(answer))
            except PlantError:
                return  # the own server is away; the asker counts this node as silent

    def answer(self, query: FleetQuery) -> FleetAnswer:
        """What this edge says to a query; never raises for what is in it."""
        facts = self._facts()
        if query.filter is not None:
            try:
                verdict = FleetFilter.parse(query.filter).judge(facts)
            except PlantError as error:
                return FleetAnswer("error", None, str(error)[:400], error.code)
            if verdict.outcome != "match":
                code = "MS-2206" if verdict.outcome == "error" else None
                return FleetAnswer(verdict.outcome, None, verdict.reason, code)
        wanted = {select.partition(".")[0] for select in query.select}
        named = {name: look() for name, look in self._named.items() if name in wanted}
        return FleetAnswer("match", pick({**facts, **named}, query.select))

    async def answer_request(self, payload: bytes) -> object:
        """The same for one who asks this edge alone. Raises DecodeError."""
        return self.answer(decode_query(payload))
