"""Stands for a plant: the facts that it knows, the totals of orders, and what was put aside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from millstream.client import KnownFact, OrderTotal
from millstream.kernel import SystemClock
from millstream.shop import Fact


class Quick(SystemClock):
    """Waits are short; the time is the machine's."""

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(min(delay_s, 0.01))


class FakePlant:
    """Facts are stored at once."""

    def __init__(self) -> None:
        self.context = self
        self.facts: dict[str, KnownFact] = {}
        self.totals: list[OrderTotal] = []
        self.aside: list[tuple[str, str]] = []

    async def list(self, *patterns: str, what: str | None = None) -> Sequence[KnownFact]:
        return [fact for fact in self.facts.values() if what in (None, fact.what)]

    async def put(self, facts: Sequence[Fact], *, who: str) -> int:
        for fact in facts:
            self.facts[fact.path] = KnownFact(fact.path, fact.what, 0, who, dict(fact.data))
            if fact.data.get("removed"):
                del self.facts[fact.path]
        return len(facts)

    async def orders_made(self, *patterns: str) -> Sequence[OrderTotal]:
        return self.totals

    async def put_aside(self, source: str, payload: bytes, reason: str, *, code: str) -> None:
        self.aside.append((source, reason))

    def knows(self, path: str, what: str, who: str = "ada", **data: Any) -> None:
        self.facts[path] = KnownFact(path, what, 0, who, data)

    def made(self, order: str, good: float, rejected: float, revision: int, asset: str = "acme/p1/press") -> None:
        self.totals = [t for t in self.totals if (t.asset, t.order) != (asset, order)]
        total = OrderTotal(asset, order, good + rejected, good, rejected, "2026-07-01T06:00:00Z", revision)
        self.totals.append(total)


@contextmanager
def web(answer: Any) -> Iterator[tuple[str, list[tuple[str, str, dict[str, str], bytes]]]]:
    """A server; `answer(path, count)` gives status, body and headers. Its address, and what came."""
    came: list[tuple[str, str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            came.append((self.command, self.path, dict(self.headers), body))
            status, text, more = answer(self.path, len(came))
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = respond

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", came
        finally:
            server.shutdown()
            thread.join()
