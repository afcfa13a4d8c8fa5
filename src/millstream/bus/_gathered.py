"""Answers in several parts, all of a connection's on one subscription: of each new one, and of its end, a hub's server
tells every site that is linked to it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter

from millstream.bus._transport import BatchCallback
from millstream.protocols.nats_wire import WireMessage

_subject_of = itemgetter(1)


class Gathered:
    """`open` a reply subject for each request, and `close` it."""

    def __init__(self, subscribe: Callable[[str, BatchCallback], int]) -> None:
        self._subscribe = subscribe
        self._takers: dict[bytes, BatchCallback] = {}
        self._count = 0

    def open(self, inbox: str, callback: BatchCallback) -> str:
        """A subject below the connection's `inbox`; what comes there goes to `callback`."""
        if not self._count:
            self._subscribe(f"{inbox}.g.*", self._take)
        self._count += 1
        reply = f"{inbox}.g.{self._count}"
        self._takers[reply.encode("ascii")] = callback
        return reply

    def close(self, reply: str) -> None:
        """What still comes there is nobody's."""
        del self._takers[reply.encode("ascii")]

    def _take(self, messages: list[WireMessage]) -> None:
        for subject, group in groupby(messages, _subject_of):
            taker = self._takers.get(subject)
            if taker is not None:
                taker(list(group))
