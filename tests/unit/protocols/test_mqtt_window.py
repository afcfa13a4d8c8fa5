"""Exactly once over QoS 1: a broker model that loses PUBACKs, and a receiver that is killed at any point."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.protocols.mqtt_window import MID_MAX, StoredPosition, Window, digest

IN_FLIGHT_MAX = 8


@dataclass
class Broker:
    """Keeps what is not acknowledged and sends it again, with DUP and its old packet identifier, in order."""

    waiting: deque[bytes] = field(default_factory=deque)
    in_flight: dict[int, bytes] = field(default_factory=dict)
    again: deque[int] = field(default_factory=deque)
    last_mid: int = 0
    takes_lowest: bool = False

    def connect(self) -> None:
        """A new link of the old session."""
        self.again = deque(self.in_flight)

    def send(self) -> tuple[int, bytes, bool] | None:
        """The next PUBLISH, if one may go out."""
        if self.again:
            mid = self.again.popleft()
            return mid, self.in_flight[mid], True
        if not self.waiting or len(self.in_flight) >= IN_FLIGHT_MAX:
            return None
        if self.takes_lowest:
            self.last_mid = next(mid for mid in range(1, 99) if mid not in self.in_flight)
        else:
            self.last_mid = self.last_mid % MID_MAX + 1
        self.in_flight[self.last_mid] = self.waiting.popleft()
        return self.last_mid, self.in_flight[self.last_mid], False

    def puback(self, mid: int) -> None:
        """It is taken."""
        self.in_flight.pop(mid, None)


@dataclass
class Receiver:
    """Stores in batches with their position; PUBACKs and pings are under way until the link breaks."""

    broker: Broker
    stored: list[bytes] = field(default_factory=list)
    position: bytes | None = None
    number: int = 0
    window: Window = field(default_factory=lambda: Window(IN_FLIGHT_MAX))
    batch: list[tuple[int, int, bytes, bool]] = field(default_factory=list)
    wire: deque[tuple[str, int]] = field(default_factory=deque)

    def connect(self) -> None:
        """A new process: it knows the stored position only."""
        self.broker.connect()
        self.window = Window(IN_FLIGHT_MAX)
        self.window.resume(self.position, is_session_present=True)
        self.batch, self.wire = [], deque()

    def receive(self) -> None:
        """One PUBLISH."""
        sent = self.broker.send()
        if sent is None:
            return
        mid, payload, is_duplicate = sent
        self.number += 1
        is_known = self.window.is_repeat(self.number, mid, digest("t", payload), is_duplicate=is_duplicate)
        self.batch.append((self.number, mid, payload, is_known))

    def store(self, *, is_killed: bool) -> None:
        """The batch and its position at once; then PUBACK and PINGREQ, unless killed in between."""
        if not self.batch:
            return
        up_to = self.batch[-1][0]
        self.stored += [payload for _, _, payload, is_known in self.batch if not is_known]
        self.position = self.window.position(up_to)
        batch, self.batch = self.batch, []
        if is_killed:
            return
        self.wire += [("puback", mid) for _, mid, _, _ in batch]
        self.wire.append(("ping", up_to))

    def deliver(self) -> None:
        """The broker takes one packet."""
        if not self.wire:
            return
        kind, number = self.wire.popleft()
        if kind == "puback":
            self.broker.puback(number)
        else:
            self.window.confirm(number)


def run(messages: list[bytes], seed: int, broker: Broker) -> list[bytes]:
    """What is stored at the end, with kills and lost links as chance will have it."""
    chance = random.Random(seed)
    broker.waiting.extend(messages)
    receiver = Receiver(broker)
    receiver.connect()
    for _ in range(20_000):
        step = chance.random()
        if step < 0.4:
            receiver.receive()
        elif step < 0.6:
            receiver.store(is_killed=False)
        elif step < 0.95:
            receiver.deliver()
        elif step < 0.97:
            receiver.store(is_killed=True)
            receiver.connect()
        else:
            receiver.connect()
        if not broker.waiting and not broker.in_flight:
            break
    return receiver.stored


@pytest.mark.parametrize("is_constant", [False, True])
@given(seed=st.integers(0, 2**32), first_mid=st.sampled_from([100, MID_MAX - 20]))
def test_each_message_is_stored_once_whatever_is_killed_when(seed: int, first_mid: int, is_constant: bool) -> None:
    """Also when all payloads are equal, and over the end of the packet identifiers."""
    messages = [b"same" if is_constant else b"%d" % n for n in range(60)]
    assert run(messages, seed, Broker(last_mid=first_mid)) == messages


@given(seed=st.integers(0, 2**32))
def test_a_broker_that_takes_the_lowest_identifier_gets_at_least_once(seed: int) -> None:
    stored = run([b"%d" % n for n in range(60)], seed, Broker(takes_lowest=True))
    assert list(dict.fromkeys(stored)) == [b"%d" % n for n in range(60)]
    assert len(run([b"same"] * 60, seed, Broker(takes_lowest=True))) >= 60


def test_a_confirmed_window_is_empty_so_that_positions_stay_small() -> None:
    window = Window(1000)
    for number in range(1, 501):
        assert not window.is_repeat(number, number, digest("t", b"x"), is_duplicate=False)
    assert len(entries(window.position(500))) == 500
    assert len(entries(window.position(100))) == 100
    window.confirm(500)
    assert len(window.position(500)) < 16
    assert len(window) == 0


def test_a_window_never_holds_more_than_its_bound() -> None:
    window = Window(20)
    for number in range(1, 101):
        window.is_repeat(number, number, digest("t", b"x"), is_duplicate=False)
    assert [mid for mid, _ in entries(window.position(100))] == list(range(81, 101))


def test_a_message_of_a_lost_session_is_no_repeat() -> None:
    window = Window(20)
    mark = digest("t", b"x")
    window.is_repeat(1, 7, mark, is_duplicate=False)
    position = window.position(1)
    for is_present, is_repeat in ((True, True), (False, False)):
        again = Window(20)
        again.resume(position, is_session_present=is_present)
        assert again.is_repeat(2, 7, mark, is_duplicate=True) is is_repeat


@pytest.mark.parametrize(("mid", "payload", "is_duplicate"), [(8, b"x", True), (7, b"y", True), (7, b"x", False)])
def test_another_message_is_no_repeat(mid: int, payload: bytes, is_duplicate: bool) -> None:
    window = Window(20)
    window.is_repeat(1, 7, digest("t", b"x"), is_duplicate=False)
    again = Window(20)
    again.resume(window.position(1), is_session_present=True)
    assert not again.is_repeat(2, mid, digest("t", payload), is_duplicate=is_duplicate)


@given(st.binary(max_size=64))
def test_a_position_of_somebody_else_is_no_position(raw: bytes) -> None:
    found = StoredPosition.decode(raw)
    assert found is None or found.encode() == raw
    assert StoredPosition.decode(b"17") is None


def entries(position: bytes) -> tuple[tuple[int, bytes], ...]:
    """Of a position."""
    found = StoredPosition.decode(position)
    assert found is not None
    return found.entries
