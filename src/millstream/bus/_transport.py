"""What publishers and the reader need of a connection: our own protocol client has it, and the nats-py fallback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from millstream.kernel import Unreachable
from millstream.protocols.nats_wire import WireMessage

BatchCallback = Callable[[list[WireMessage]], None]


class NobodyAnswers(Unreachable):
    """The servers know at once that nobody listens there; otherwise one learns it by waiting in vain."""


class Transport(Protocol):
    """A connection that heals itself. `connects` counts the logins, so a change of it means that the link was lost.
    `replicas` is how many servers keep each stream that is made over it."""

    inbox: str
    connects: int
    replicas: int

    @property
    def is_connected(self) -> bool:
        """Logged in, and not known to be lost."""
        ...

    @property
    def max_payload(self) -> int:
        """Bytes of headers and payload that the server takes in one message."""
        ...

    async def wait_connected(self) -> None:
        """Returns at once while connected, else when it is again."""
        ...

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at each loss of the link, until the returned function is called."""
        ...

    def write(self, data: bytes) -> None:
        """Queue whole PUB and HPUB commands. Raises Unreachable."""
        ...

    async def drained(self) -> None:
        """Wait while too much is queued; returns at once when the link is lost."""
        ...

    def publish(self, subject: str, payload: bytes, *, reply: str = "", header_lines: bytes = b"") -> None:
        """One message without an answer. Raises Unreachable."""
        ...

    def subscribe(self, subject: str, callback: BatchCallback) -> int:
        """Deliver messages of `subject` in batches, also after each reconnect; the id for `unsubscribe`."""
        ...

    def unsubscribe(self, sid: int) -> None:
        """Stop delivery at once."""
        ...

    def gather(self, callback: BatchCallback) -> str:
        """A reply subject for a request with several answers, which `callback` gets until `let_go` of it."""
        ...

    def let_go(self, reply: str) -> None:
        """Of a subject that `gather` gave."""
        ...

    def start_request(self) -> tuple[bytes, asyncio.Future[WireMessage]]:
        """A reply subject and the future of its first message; the caller writes the command that carries it."""
        ...

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> WireMessage:
        """One request, one answer. Raises Unreachable."""
        ...
