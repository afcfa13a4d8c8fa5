"""What gmqtt needs around it: a store for what it has sent, an ear for its log, messages in its form."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from millstream.protocols.mqtt_publish import Publish


class Outbox:
    """gmqtt's store of what was sent with QoS 1: only what is unacknowledged counts, a link is never resumed."""

    def __init__(self, on_taken: Callable[[int], None]) -> None:
        self._mids: dict[int, None] = {}
        self._on_taken = on_taken

    @property
    def is_taken(self) -> bool:
        """The broker has acknowledged all."""
        return not self._mids

    @property
    def newest_mid(self) -> int:
        """Of the message that was sent last."""
        return next(reversed(self._mids))

    def push_message(self, mid: int, _packet: bytes) -> None:
        """Sent."""
        self._mids[mid] = None

    def remove_message_by_mid(self, mid: int) -> None:
        """PUBACK."""
        if mid in self._mids:
            del self._mids[mid]
            self._on_taken(mid)

    @property
    def is_empty(self) -> bool:
        """Nothing is to be sent again."""
        return True

    async def wait_empty(self) -> None:
        """At once, for the same reason."""

    def clear(self) -> None:
        """A new session."""
        self._mids.clear()

    def get_all(self) -> list[tuple[int, bytes]]:
        """Nothing is to be sent again."""
        return []


class Notes(logging.Handler):
    """gmqtt tells of a malformed packet only in its log, and goes on."""

    def __init__(self, on_violation: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._on_violation = on_violation

    def emit(self, record: logging.LogRecord) -> None:
        """A packet that could not be handled, or whose properties could not be read."""
        if record.levelno >= logging.CRITICAL:
            self._on_violation(record.getMessage())
        elif record.exc_info and "error handling package" in str(record.msg):
            self._on_violation(f"malformed packet: {record.exc_info[1]!r}")


def to_message(publish: Publish) -> Any:
    """As gmqtt takes it."""
    import gmqtt

    return gmqtt.Message(publish.topic, publish.payload, qos=publish.qos, retain=publish.is_retained)


def length_bytes(count: int) -> bytes:
    """The remaining length of a packet as it goes over the wire (MQTT 3.1.1, 2.2.3)."""
    found = bytearray()
    while True:
        count, digit = divmod(count, 128)
        found.append(digit | (0x80 if count else 0))
        if not count:
            return bytes(found)


def nothing(*_arguments: object) -> None:
    """Nobody listens."""
