"""What a crash left in the stream without a record is not stored again when the source gives it again."""

from __future__ import annotations

import numpy as np
from edge_fakes import POSITION, Script, rig
from hypothesis import given
from hypothesis import strategies as st

from millstream.bus import MemoryStream
from millstream.edge._progress import Mark, Progress, encode_progress
from millstream.edge._repeats import Repeats
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample
from millstream.sdk import Position, Received
from millstream.sdk.testing import run_virtual

SUBJECT = "uns.v1.acme.p1._tag.t0"
values = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none(), st.lists(st.integers()))


def stored(value: object, time_ns: int | None, quality: int = 0) -> Received:
    payload = encode_sample(value, quality=quality, source_time_ns=time_ns, ingest_time_ns=7)  # type: ignore[arg-type]
    return Received(SUBJECT, payload, None, 1, 0)


@given(values, st.one_of(st.none(), st.integers(0, 2**62)))
def test_a_stored_sample_is_known_once_for_each_time_that_it_is_stored(value: object, time_ns: int | None) -> None:
    quality = 0x80000000 if value is None else 0
    repeats = Repeats([stored(value, time_ns, quality)] * 2)
    taken = [repeats.take(SUBJECT, value, quality, time_ns) for _ in range(3)]  # type: ignore[arg-type]
    assert taken == [True, True, False]
    assert not repeats


def test_samples_of_a_stored_block_are_known_one_by_one() -> None:
    block = Block("t", np.array([1, 2, 3]), np.array([1.5, 2.5, 3.5]))
    headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\n\r\n".encode()
    repeats = Repeats([Received(SUBJECT, encode_block(block, ingest_time_ns=7), headers, 1, 0)])
    assert [repeats.take(SUBJECT, v, 0, t) for t, v in ((2, 2.5), (3, 9.0), (1, 1.5), (3, 3.5))] == [
        True, False, True, True
    ]  # fmt: skip


def test_other_values_times_qualities_and_subjects_are_new() -> None:
    repeats = Repeats([stored(1, 5)])
    assert not repeats.take(SUBJECT, 2, 0, 5)
    assert not repeats.take(SUBJECT, 1, 0, 6)
    assert not repeats.take(SUBJECT, 1, 0x40000000, 5)
    assert not repeats.take(SUBJECT + "x", 1, 0, 5)
    assert repeats.take(SUBJECT, 1, 0, 5)


def test_nothing_is_expected_for_ever() -> None:
    repeats = Repeats([stored(1, None)])
    for row in range(20_000):
        repeats.take(SUBJECT, "other", 0, row)
    assert not repeats.take(SUBJECT, 1, 0, None)


def test_the_front_of_a_torn_batch_is_stored_once_though_the_source_gives_it_again() -> None:
    stream = MemoryStream()
    stream.append(POSITION, encode_progress(Progress(Mark(Position(b"0")))))
    for row in range(5):  # rows 0 to 4 are there, the position behind them is not
        stream.append(SUBJECT, encode_sample(row, quality=0, source_time_ns=None, ingest_time_ns=row))
    made = rig(Script(rows_count=20), stream=stream)
    run_virtual(made.supervisor.run())
    assert made.values == list(range(20))
    assert made.supervisor.status()["samples_stored"] == 20
