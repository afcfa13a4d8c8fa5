"""Which statement answers which question, in the words of any database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from millstream.historian._query import AsOf, Count, Events, Query, Range, Window

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dialect(Generic[T]):
    """How a database is asked, by question. Each takes the question and what the database's engine gives beside it."""

    events: Callable[..., T]
    range: Callable[..., T]
    asof: Callable[..., T]
    count: Callable[..., T]
    window: Callable[..., T]

    def render(self, query: Query, *given: object) -> T:
        """The statement. Names and newest samples are answered without one."""
        if isinstance(query, Events):
            return self.events(query, *given)
        if isinstance(query, Range):
            return self.range(query, *given)
        if isinstance(query, AsOf):
            return self.asof(query, *given)
        if isinstance(query, Count):
            return self.count(query, *given)
        assert isinstance(query, Window)
        return self.window(query, *given)
