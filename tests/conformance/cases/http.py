"""HTTP: polled from a scripted server, and posted to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import millstream.connectors.http as package
from cases import http_peer
from cases.http_peer import HttpPeer
from cases.loopback import joined
from millstream.connectors.http import HttpConnector
from millstream.kernel import free_port
from millstream.sdk import Tag
from millstream.sdk.testing import ConformanceCase, ExpectedValue, NotApplicable, Peer

LONG = "x" * 65_536
EXTREMES: dict[str, Any] = {
    "int_max": 2**63 - 1,
    "int_min": -(2**63),
    "uint_max": 2**64 - 1,
    "float_max": 1.7976931348623157e308,
    "empty": "",
    "long": LONG,
    "list": [1, [2.5]],
    "truth": True,
    "object": {"a b": "ü"},
}
TAGS = (Tag("n", "$.n"), Tag("speed", "axes#$.x.speed"))
POSTED_TAGS = (Tag("n", "$.n"), Tag("speed", "$.x.speed"))


@dataclass
class PolledPeer(HttpPeer):
    """Counts."""

    count: int = 0
    is_poisoned: bool = False

    def reply(self, path: str, _headers: dict[str, str], _body: bytes) -> bytes:
        """What the meter says."""
        self.count += 1
        if self.is_poisoned:
            self.is_poisoned = False
            return http_peer.ok(b'{"n": 1')
        if path == "/api/axes":
            return http_peer.ok(json.dumps({"x": {"speed": self.count / 2}}).encode())
        return http_peer.ok(json.dumps({"n": self.count, "time": 1_700_000_000 + self.count, **EXTREMES}).encode())

    async def poison(self) -> None:
        """The next answer breaks off."""
        self.is_poisoned = True

    async def flood(self, limit_bytes: int) -> int:
        """Nothing comes that was not asked for."""
        raise NotApplicable("the runtime asks for each value, so nothing can pile up")


class PollCase(ConformanceCase):
    """A server that is asked."""

    connector = HttpConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A meter."""
        extremes = [ExpectedValue(Tag(name, f"$.{name}"), value) for name, value in EXTREMES.items()]
        peer = PolledPeer({}, TAGS, Tag("bad", "axes#$.no_such_member"), extremes)
        peer.answer = peer.reply
        async with joined(peer):
            peer.config = {
                "mode": "poll", "url": f"http://127.0.0.1:{peer.port}/api/", "timestamp_path": "$.time",
                "timestamp_unit": "s",
            }  # fmt: skip
            yield peer


@dataclass
class PostingPeer(Peer):
    """Posts, and does not wait for an answer: nobody acknowledges here."""

    port: int = 0
    count: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def post(self, body: bytes) -> None:
        """If anybody listens."""
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(_request(body))
            await writer.drain()
            writer.close()

    async def produce(self) -> None:
        """One more event."""
        self.count += 1
        await self.post(json.dumps({"n": self.count, "x": {"speed": self.count / 2}, **EXTREMES}).encode())

    async def poison(self) -> None:
        """Half an event."""
        await self.post(b'{"n": 1')

    async def break_link(self) -> None:
        """The connector is the server."""
        raise NotApplicable("others connect to the connector, so it has no link that it could lose")

    async def flood(self, limit_bytes: int) -> int:
        """Post one after the other without waiting for answers, until nothing more is taken."""
        body = json.dumps({"n": 1, "pad": "x" * 500_000}).encode()
        taken = 0
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while taken < limit_bytes:
                writer.write(_request(body))
                async with asyncio.timeout(1.0):
                    await writer.drain()
                taken += len(body)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
        return taken


def _request(body: bytes) -> bytes:
    head = f"POST /in HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer hello\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class WebhookCase(ConformanceCase):
    """A listener that is posted to."""

    connector = HttpConnector
    folder: ClassVar[Path] = Path(package.__file__).parent

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A sender."""
        port = free_port()
        extremes = [ExpectedValue(Tag(name, f"$.{name}"), value) for name, value in EXTREMES.items()]
        config = {"mode": "webhook", "port": port, "path": "/in", "answer_timeout": "2s"}
        yield PostingPeer(config, POSTED_TAGS, None, extremes, port=port)


CASES = (PollCase(), WebhookCase())
