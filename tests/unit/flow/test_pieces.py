"""Pieces of a key's state: stored with it, restored with it, and untouched by a step that raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from millstream.flow import (
    Emit,
    Event,
    Flow,
    FlowCore,
    Input,
    KeyStore,
    TimePolicy,
    decode_commit,
    encode_commit,
    verify,
)
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received

T0 = 1_767_225_600_000_000_000


class Head(msgspec.Struct, array_like=True):
    events: int = 0


class Sum(msgspec.Struct, array_like=True):
    total: int = 0


def add(head: Head, event: Event) -> tuple[Head | None, Sequence[Any]]:
    """Sums by the last digit, each in a piece; 13 raises behind a change, 99 forgets all."""
    assert event.pieces is not None
    name = str(event.value % 10)
    piece = event.pieces.get(name) or Sum()
    piece.total += event.value
    event.pieces.put(name, piece)
    if event.value == 13:
        raise ValueError("unlucky")
    if event.value == 99:
        for digit in range(10):
            event.pieces.put(str(digit), None)
        return None, ()
    return Head(head.events + 1), [Emit(f"{event.key}:sum/{name}", piece.total, event.time_ns)]


def flow() -> Flow[Head]:
    return Flow(
        "sums", (Input("acme/**:n"),), add, Head, Head, piece_type=Sum, time=TimePolicy(idle_ns=None)
    )  # fmt: skip


def message(seq: int, value: int, machine: str = "m") -> Received:
    payload = encode_sample(value, quality=0, source_time_ns=T0 + seq, ingest_time_ns=T0 + seq)
    return Received(f"uns.v1.acme.{machine}._tag.n", payload, None, seq, T0 + seq)


def core(store: KeyStore) -> FlowCore[Head]:
    return FlowCore(flow(), store, created={"IN": "made"})


def said(messages: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(m.subject.rpartition(".")[2], decode_sample(m.payload).value) for m in messages]


def test_only_what_a_step_has_put_is_in_the_record_and_all_comes_back() -> None:
    store = KeyStore()
    first = core(store)
    first.begin()
    commits = []
    for seq, value in enumerate((1, 2, 11, 13, 21), 1):
        first.feed("IN", message(seq, value))
        unit = first.take()
        commits.append((seq, encode_commit(unit.commit)))
        first.committed(seq)
        names = [key for key, _ in unit.commit.entries]
        assert len(names) == (0 if value == 13 else 2), "the head and one piece; of a step that raised nothing"
    assert (first.keys_count, len(store)) == (1, 3)
    other = KeyStore()
    second = core(other)
    second.restore((seq, decode_commit(raw)) for seq, raw in commits)
    second.begin()
    second.feed("IN", message(6, 31))
    assert said(second.take().messages) == [("1", 1 + 11 + 21 + 31)]
    assert second.keys_count == 1
    second.feed("IN", message(7, 99))
    unit = second.take()
    assert {raw for _, raw in unit.commit.entries} == {None}
    assert (second.keys_count, len(other)) == (0, 0)


def test_pieces_move_out_of_memory_like_keys_and_are_cycled_with_them(tmp_path: Any) -> None:
    store = KeyStore(tmp_path / "scratch", hot_max=8)
    running = core(store)
    running.begin()
    for seq in range(1, 400):
        running.feed("IN", message(seq, seq % 10 + 100, f"m{seq % 7}"))
        running.take()
        running.committed(seq)
    assert running.keys_count == 7
    assert len(store) == 7 + 70
    running.begin_cycle()
    found: set[str] = set()
    while running.is_cycling:
        found |= {key for key, raw in running.take().commit.entries if raw is not None}
    assert len(found) == 77
    store.close()


def test_it_comes_to_the_same_wherever_it_is_killed() -> None:
    items = [message(seq, value) for seq, value in enumerate((1, 2, 3, 13, 11, 99, 21, 1, 5), 1)]
    outcome, problems = verify(flow, items)
    assert problems == []
    assert said(outcome.messages)[-2:] == [("1", 22), ("5", 5)]
    assert len(outcome.rejected) == 1
