"""Signs of life between the instances of a flow: plain messages, of which nothing is kept.

An instance says twice a second what it has and how that goes on; on the question of a newcomer at once. Nothing relies
on them but speed: which of two instances may commit is decided by the fence in the stream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from millstream.bus import RawConnection
from millstream.kernel import Unreachable
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.uns_subject import escape_token

BEAT_INTERVAL_S = 0.5
BEATS_MISSED_MAX = 4  # and two steps of the longest kind; then an instance counts as gone
LISTEN_S = 0.3  # a newcomer waits so long for the others before it takes what nobody has


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """`number` counts up while the instance lives; `held` are partitions of `version`. `report` is for people."""

    instance: str
    number: int
    version: int
    held: list[int]
    is_gone: bool = False
    report: dict[str, Any] = {}


def silence_ns(step_timeout_s: float) -> int:
    """How long an instance may say nothing before it counts as gone: a long step holds its beats back."""
    return round((BEAT_INTERVAL_S * BEATS_MISSED_MAX + 2 * step_timeout_s) * 1e9)


def beat_subject(flow: str) -> str:
    """All beats of a flow."""
    return f"flow.beat.{escape_token(flow)}"


def ask_subject(flow: str) -> str:
    """Where a newcomer asks for them."""
    return f"flow.ask.{escape_token(flow)}"


class BeatListener:
    """Hears the beats of one flow while the connection lives."""

    def __init__(self, connection: RawConnection, flow: str, take: Callable[[Beat], None]) -> None:
        self._connection = connection
        self._take = take
        self._ask = ask_subject(flow)
        self._sid = connection.subscribe(beat_subject(flow), self._on_batch)

    def ask(self) -> None:
        """Have all instances say something now."""
        with contextlib.suppress(Unreachable):
            self._connection.publish(self._ask, b"")

    def close(self) -> None:
        """Hear no more."""
        self._connection.unsubscribe(self._sid)

    def _on_batch(self, messages: list[WireMessage]) -> None:
        for message in messages:
            with contextlib.suppress(msgspec.DecodeError):
                self._take(msgspec.json.decode(message[4], type=Beat))


def send_gone(connection: RawConnection, flow: str, instance: str) -> None:
    """Of an instance whose process has surely ended: the others need not wait for its silence."""
    send_beat(connection, flow, Beat(instance=instance, number=0, version=0, held=[], is_gone=True))


def send_beat(connection: RawConnection, flow: str, beat: Beat) -> None:
    """Say it once; a lost link is no matter."""
    with contextlib.suppress(Unreachable):
        connection.publish(beat_subject(flow), msgspec.json.encode(beat))
