"""Stored messages to rows: the fast way must say the same as one message at a time, whatever comes in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.historian._columns import KIND_NONE, to_columns, to_value
from millstream.historian._decode import Decoded, StreamDecoder, origin_of
from millstream.historian._tags import TagDictionary
from millstream.kernel import DecodeError
from millstream.model import Block
from millstream.protocols.ledger import LedgerRecord, LedgerVerifier, encode_record
from millstream.protocols.uns_payload import ARROW_TYPE, decode_sample, encode_block, encode_sample
from millstream.sdk import Received

SUBJECT = "uns.v1.acme.p1._tag.speed"
T0 = 1_700_000_000_000_000_000


def received(payload: bytes, seq: int = 1, *, subject: str = SUBJECT, headers: bytes | None = None) -> Received:
    return Received(subject, payload, headers, seq, T0 + seq)


def decode(messages: list[Received]) -> tuple[Decoded, LedgerVerifier, TagDictionary]:
    tags, ledger = TagDictionary(), LedgerVerifier()
    decoder = StreamDecoder("H_INTEGRITY", 7, tags=tags, ledger=ledger, now_ns=lambda: 5)
    return decoder.decode(messages), ledger, tags


def values_of(decoded: Decoded) -> list[Any]:
    rows = decoded.rows
    return [
        to_value(int(k), None if k == KIND_NONE else float(v), rows.whole.get(i), rows.text.get(i))
        for i, (k, v) in enumerate(zip(rows.kind, rows.value, strict=True))
    ]


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return type(left) is type(right) and bool(left == right)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20), st.binary(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(anything, min_size=1, max_size=12))
def test_values_of_any_type_come_back_exactly(values: list[Any]) -> None:
    messages = [
        received(
            encode_sample(v, quality=0x80000000 if v is None else 0, source_time_ns=T0 + i, ingest_time_ns=1), i + 1
        )
        for i, v in enumerate(values)
    ]
    decoded, _, _ = decode(messages)
    assert not decoded.bad
    assert all(map(same, values_of(decoded), values))
    assert decoded.rows.time_ns.tolist() == [T0 + i for i in range(len(values))]
    decoded.rows.arrow()


payloads = st.one_of(
    st.builds(lambda v: encode_sample(v, quality=0, source_time_ns=T0, ingest_time_ns=1), st.floats() | st.integers()),
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"",
            b" ",
            b"{}",
            b'{"timestamp_ms":1,"value":1}{"timestamp_ms":2,"value":2}',
            b'{"timestamp_ms":',
            b'1,"value":2}',
            b'{"timestamp_ms":1,"value":1}\n{"timestamp_ms":2,"value":2}',
            b'{"timestamp_ms":1,"value":{}',
            b'{"timestamp_ms":1,\n"value":5}',
            b'{"timestamp_ms":1,"value":null}',
            b'{"timestamp_ms":1,"value":null,"quality":1073741824}',
            b'{"timestamp_ms":1,"value":null,"quality":2147483648}',
            b'{"timestamp_ms":1,"value":1,"quality":-1}',
            b'{"timestamp_ms":1,"value":1,"quality":99999999999999999999}',
            b'{"timestamp_ms":1e999,"value":1}',
            b'{"timestamp_ms":99999999999999999999999,"value":1}',
            b'{"timestamp_ms":1,"value":{"$float":"x"}}',
            b'{"timestamp_ms":1,"value":{"$float":"NaN"}}',
            b'"}',
            b'{"a":"}',
            b'{"}',
            b"[" * 5000,
            b'{"timestamp_ms":1,"value":"\xff"}',
            b'{"timestamp_ms":1,"value":"\\ud800"}',
        ]
    ),
)


@given(st.lists(payloads, min_size=1, max_size=10))
def test_a_poison_payload_costs_its_neighbours_nothing(raw: list[bytes]) -> None:
    """Above all: no payload may shift another one's value, or smuggle a second sample in."""
    decoded, ledger, _ = decode([received(p, i + 1) for i, p in enumerate(raw)])
    expected, refused = [], 0
    for payload in raw:
        try:
            record = decode_sample(payload)
            if not -(2**63) < record.time_ns < 2**63 or not 1678 <= 1970 + record.time_ns / 31556952e9 < 2261.9:
                raise DecodeError("time")
            expected.append(record.value)
        except DecodeError:
            refused += 1
    assert len(decoded.bad) == refused
    assert all(map(same, values_of(decoded), expected))
    assert len(decoded.rows) == len(expected)
    assert {d.payload for d in decoded.bad} <= set(raw)
    assert ledger.accounts["H_INTEGRITY"].messages == len(raw)  # a refused message is counted all the same


def test_dead_letters_carry_raw_bytes_reason_code_and_source() -> None:
    decoded, _, _ = decode([received(b"\x00garbage", 4)])
    (letter,) = decoded.bad
    assert (letter.payload, letter.code, letter.source, letter.subject) == (
        b"\x00garbage",
        "MS-0302",
        "H_INTEGRITY:7:4",
        SUBJECT,
    )
    assert "not a JSON sample" in letter.reason


def test_a_time_beyond_64_bit_nanoseconds_is_refused_and_its_neighbour_kept() -> None:
    far = b'{"timestamp_ms":99999999999999999,"value":1}'
    decoded, _, _ = decode(
        [received(far, 1), received(encode_sample(2.0, quality=0, source_time_ns=T0, ingest_time_ns=1), 2)]
    )
    assert [d.code for d in decoded.bad] == ["MS-0321"]
    assert values_of(decoded) == [2.0]


def test_a_subject_outside_the_grammar_is_refused() -> None:
    decoded, _, _ = decode([received(b"{}", 1, subject="uns.v1.acme..x")])
    assert [d.code for d in decoded.bad] == ["MS-0301"]


def arrow(values: Any, quality: Any = None) -> bytes:
    n = len(values)
    return encode_block(Block("t", np.arange(T0, T0 + n), values, quality), ingest_time_ns=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1.5, np.nan, np.inf]), [1.5, math.nan, math.inf]),
        (np.array([2**63 - 1, -(2**63), 0]), [2**63 - 1, -(2**63), 0]),
        (np.array([2**64 - 1, 5], np.uint64), [2**64 - 1, 5]),
        (np.array([True, False]), [True, False]),
        (["a", None, "b" * 70_000], ["a", None, "b" * 70_000]),
        ([1, "x", None, b"z", [1.5]], [1, "x", None, b"z", [1.5]]),
        (np.array([1, 2], np.int8), [1, 2]),
        (np.array([0.5], np.float16), [0.5]),
        (np.array([], np.float64), []),
    ],
)
def test_blocks_of_every_type_come_back_exactly(values: Any, expected: list[Any]) -> None:
    quality = (
        None
        if isinstance(values, np.ndarray)
        else np.array([0x80000000 if v is None else 0 for v in values], np.uint32)
    )
    headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\nMs-Count: {len(values)}\r\n\r\n".encode()
    decoded, ledger, _ = decode([received(arrow(values, quality), headers=headers)])
    assert not decoded.bad
    assert all(map(same, values_of(decoded), expected))
    assert ledger.accounts["H_INTEGRITY"].samples == len(expected)


def test_a_block_with_a_column_type_that_no_tag_has_is_refused() -> None:
    table = pa.table(
        {
            "timestamp": pa.array([T0], pa.timestamp("ns", "UTC")),
            "value": pa.array([1], pa.duration("s")),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\n\r\n".encode()
    decoded, _, _ = decode([received(sink.getvalue().to_pybytes(), headers=headers)])
    assert [d.code for d in decoded.bad] == ["MS-0303"]


def test_a_block_without_a_count_is_counted_by_its_rows() -> None:
    headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\n\r\n".encode()
    _, ledger, _ = decode([received(arrow(np.array([1.0, 2.0, 3.0])), headers=headers)])
    assert ledger.accounts["H_INTEGRITY"].samples == 3


def test_arrival_order_is_kept_where_samples_and_blocks_alternate() -> None:
    headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\n\r\n".encode()

    def one(v: float) -> bytes:
        return encode_sample(v, quality=0, source_time_ns=T0, ingest_time_ns=1)

    decoded, _, _ = decode(
        [
            received(one(0.0), 1),
            received(arrow(np.array([1.0, 2.0])), 2, headers=headers),
            received(one(3.0), 3),
        ]
    )
    by_order = dict(zip(decoded.rows.order.tolist(), values_of(decoded), strict=True))
    assert [by_order[i] for i in range(4)] == [0.0, 1.0, 2.0, 3.0]


def test_the_origin_is_read_from_the_servers_header_and_a_repeat_is_left_out() -> None:
    payload = encode_sample(1.0, quality=0, source_time_ns=T0, ingest_time_ns=1)
    headers = b"NATS/1.0\r\nNats-Stream-Source: E_a_I:xyz 41 > >\r\nMs-Other: 1\r\n\r\n"
    assert origin_of(headers) == ("E_a_I", 41)
    decoded, ledger, _ = decode([received(payload, 1, headers=headers), received(payload, 2, headers=headers)])
    assert (len(decoded.rows), decoded.repeats) == (1, 1)
    assert ledger.accounts["E_a_I"].repeats == 1


def test_a_header_value_cannot_pass_for_a_header() -> None:
    payload = encode_sample(1.0, quality=0, source_time_ns=T0, ingest_time_ns=1)
    headers = b"NATS/1.0\r\nX: Ms-Count: 5 Nats-Stream-Source: E_b 3\r\n\r\n"
    _, ledger, _ = decode([received(payload, 1, headers=headers)])
    assert ledger.accounts["H_INTEGRITY"].samples == 1


def test_ledger_records_and_descriptions_are_no_samples() -> None:
    record = encode_record(LedgerRecord(1, 1, 1, 1, 1, 1))
    decoded, ledger, tags = decode(
        [
            received(encode_sample(1.0, quality=0, source_time_ns=T0, ingest_time_ns=1), 1),
            received(record, 2, subject="uns.v1.acme.p1._ledger.edge1.main"),
            received(b'{"unit":"1/min"}', 3, subject="uns.v1.acme.p1._meta.speed"),
            received(b"{}", 4, subject="uns.v1.acme.p1._cmd.start"),
            received(b"not json", 5, subject="uns.v1.acme.p1._meta.speed"),
            received(b"not json", 6, subject="uns.v1.acme.p1._ledger.edge1.main"),
        ]
    )
    assert len(decoded.rows) == 1
    assert tags.find("acme/p1:speed")[0].description == '{"unit":"1/min"}'
    assert (decoded.others, len(decoded.bad)) == (1, 2)
    assert ledger.accounts["H_INTEGRITY"].is_clean


@given(st.lists(st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.floats(allow_nan=False), max_size=20))
def test_columns_keep_numbers_exactly(values: list[Any]) -> None:
    columns = to_columns(values)
    back = [
        to_value(int(k), float(v), columns.whole.get(i), columns.text.get(i))
        for i, (k, v) in enumerate(zip(columns.kind, columns.value, strict=True))
    ]
    assert all(map(same, back, values))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["E_a_I", "E_b_I", "record", "guest", "meta", ""]), st.integers(1, 25), st.integers(-9, 9)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_runs_are_taken_as_one_message_at_a_time_is(groups: list[tuple[str, int, int]]) -> None:
    """Origins that take turns, gaps, late and repeated messages, records and guests in between: the account is the
    same, and so are the rows."""
    messages: list[Received] = []
    at = {"E_a_I": 0, "E_b_I": 0}
    for kind, count, step in groups:
        origin = kind if kind in at else "E_a_I"
        at[origin] = max(0, at[origin] + (step if step % 3 == 0 else 0))
        for _ in range(count):
            at[origin] += 1
            seq = len(messages) + 1
            source = f"NATS/1.0\r\nNats-Stream-Source: {origin}:hash {at[origin]} > > subject x\r\n"
            headers = (source + ("Ms-Writer: me\r\n" if kind == "guest" else "") + "\r\n").encode()
            subject, payload = f"{SUBJECT}{seq % 3}", encode_sample(seq, quality=0, source_time_ns=T0, ingest_time_ns=1)
            if kind == "record":
                subject = "uns.v1.acme.p1._ledger.edge1.main"
                payload = encode_record(LedgerRecord(seq, 1, 1, at[origin], at[origin], seq))
            elif kind == "meta":
                subject, payload = "uns.v1.acme.p1._meta.speed", b"{}"
            messages.append(received(payload, seq, subject=subject, headers=headers if kind else None))
    whole, ledger, _ = decode(messages)
    alone = TagDictionary(), LedgerVerifier()
    decoder = StreamDecoder("H_INTEGRITY", 7, tags=alone[0], ledger=alone[1], now_ns=lambda: 5)
    parts = [decoder.decode([message]) for message in messages]
    assert values_of(whole) == [value for part in parts for value in values_of(part)]
    tags = {(value % 3, tag) for value, tag in zip(values_of(whole), whole.rows.tag_id.tolist(), strict=True)}
    assert len(tags) == len(dict(tags)) == len({tag for _, tag in tags})
    assert whole.rows.order.tolist() == list(range(len(whole.rows)))
    assert whole.repeats == sum(part.repeats for part in parts)
    assert whole.origins == set().union(*(part.origins for part in parts))
    assert ledger.accounts == alone[1].accounts
    assert {o: ledger.dump(o) for o in whole.origins} == {o: alone[1].dump(o) for o in whole.origins}
