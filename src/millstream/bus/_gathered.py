"""Answers in several parts, all of a connection's on one subscription: of each new one, and of its end, a hub's server
tells every site that is linked to it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import Generic, TypeVar

from millstream.bus._transport import BatchCallback
from millstream.protocols.nats_wire import WireMessage

T = TypeVar("T")
_subject_of = itemgetter(1)


class Gathered(Generic[T]):
    """Who takes what comes to which reply subject: `open` one for each request, and `close` it. The owner subscribes
    `root.*` once."""

    def __init__(self) -> None:
        self._takers: dict[bytes, Callable[[T], None]] = {}
        self._count = 0

    def open(self, root: str, taker: Callable[[T], None]) -> str:
        """A subject right below `root`; what comes there is `taker`'s."""
        self._count += 1
        reply = f"{root}.{self._count}"
        self._takers[reply.encode("ascii")] = taker
        return reply

    def close(self, reply: str) -> None:
        """What still comes there is nobody's."""
        del self._takers[reply.encode("ascii")]

    def give(self, subject: bytes, what: T) -> None:
        """Something came to `subject`."""
        taker = self._takers.get(subject)
        if taker is not None:
            taker(what)


class GatheredBatches:
    """Those of a connection that delivers messages in batches."""

    def __init__(self, subscribe: Callable[[str, BatchCallback], int]) -> None:
        self._subscribe = subscribe
        self._is_subscribed = False
        self._gathered: Gathered[list[WireMessage]] = Gathered()
        self.close = self._gathered.close

    def open(self, inbox: str, callback: BatchCallback) -> str:
        """A subject below the connection's `inbox`; what comes there goes to `callback`."""
        if not self._is_subscribed:
            self._subscribe(f"{inbox}.g.*", self._take)
            self._is_subscribed = True
        return self._gathered.open(f"{inbox}.g", callback)

    def _take(self, messages: list[WireMessage]) -> None:
        for subject, group in groupby(messages, _subject_of):
            self._gathered.give(subject, list(group))
