"""Which messages begin a trace."""

from __future__ import annotations

import pytest
from edge_fakes import Script, rig

from millstream.edge._tracing import Tracer
from millstream.protocols.trace_context import TRACEPARENT, parse_traceparent, traceparent_in
from millstream.sdk import Message
from millstream.sdk.testing import run_virtual

SECOND = 1_000_000_000
NOW_NS = 1_800_000_000 * SECOND


def messages(count: int) -> list[Message]:
    return [Message("s", str(n).encode()) for n in range(count)]


def traced(found: list[Message]) -> list[int]:
    """Which of them have a valid header."""
    return [n for n, m in enumerate(found) if parse_traceparent(dict(m.headers).get(TRACEPARENT, "")) is not None]


def test_the_first_message_after_each_interval_carries_one() -> None:
    tracer = Tracer(SECOND, b"seed")
    assert traced(list(tracer.stamp(messages(3), 0, NOW_NS))) == [0]
    assert traced(list(tracer.stamp(messages(3), SECOND - 1, NOW_NS))) == []
    assert traced(list(tracer.stamp((), SECOND, NOW_NS))) == []
    assert traced(list(tracer.stamp(messages(3), SECOND, NOW_NS))) == [0]


def test_without_an_interval_each_message_has_one_of_its_own() -> None:
    found = list(Tracer(0, b"seed").stamp(messages(50), 0, NOW_NS))
    assert traced(found) == list(range(50))
    assert len({m.headers for m in found}) == 50
    assert [m.payload for m in found] == [m.payload for m in messages(50)]


def test_a_message_that_came_with_one_keeps_it() -> None:
    own = Message("s", b"", headers=((TRACEPARENT, "00-" + "a" * 32 + "-" + "b" * 16 + "-01"), ("ce-id", "1")))
    assert list(Tracer(0, b"seed").stamp([own], 0, NOW_NS)) == [own]


@pytest.mark.parametrize(("every_ns", "share"), [(None, 0), (0, 30), (SECOND, 1)])
def test_a_connector_stores_what_the_file_says(every_ns: int | None, share: int) -> None:
    tracer = None if every_ns is None else Tracer(every_ns, b"seed")
    made = rig(Script(rows_count=30, batch_rows=1, has_positions=False), tracer=tracer)
    run_virtual(made.supervisor.run())
    assert made.values == list(range(30))
    found = [traceparent_in(m.headers) for m in made.stream.messages if "._tag." in m.subject]
    assert sum(parse_traceparent(each) is not None for each in found) == share
