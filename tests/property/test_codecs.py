"""Round trips of the codecs for every value, and typed errors for every malformed input."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.model import BAD, GOOD, AssetPath, Block, Quality, TagPath
from millstream.protocols.uns_payload import (
    decode_block,
    decode_sample,
    decode_value,
    encode_block,
    encode_sample,
    encode_value,
)
from millstream.protocols.uns_subject import (
    UnsAddress,
    decode_subject,
    encode_subject,
    escape_token,
    from_umh,
    to_umh,
    unescape_token,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=True), text, st.binary(max_size=40)
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(text, v, max_size=4), max_leaves=8)
times = st.integers(-(2**62), 2**62)


def same(a: Any, b: Any) -> bool:
    """Equality that treats NaN as equal and 1 as different from True and 1.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


@given(values)
def test_every_value_survives_json(value: Any) -> None:
    assert same(decode_value(encode_value(value)), value)


@given(values, st.integers(0, 2**32 - 1), st.none() | times, st.integers(0, 2**62), st.none() | text)
def test_every_sample_survives_json(
    value: Any, quality: int, source: int | None, ingest: int, unit: str | None
) -> None:
    payload = encode_sample(value, quality=quality, source_time_ns=source, ingest_time_ns=ingest, unit=unit)
    record = decode_sample(payload)
    assert same(record.value, value)
    assert (record.quality, record.timestamp_ns, record.ingest_ns, record.unit) == (quality, source, ingest, unit)
    assert record.time_ns == (source if source is not None else ingest or record.timestamp_ms * 1_000_000)


@given(st.integers(0, 2**32 - 1), st.none() | times)
def test_a_missing_value_survives_with_any_quality_that_is_not_good(quality: int, source: int | None) -> None:
    def encode() -> bytes:
        return encode_sample(None, quality=quality, source_time_ns=source, ingest_time_ns=1)

    forged = msgspec.json.encode({"timestamp_ms": 1, "value": None, "quality": quality})
    column = Block("t", np.array([1, 2]), [None, 1.5], np.array([quality, 0], np.uint32))
    if Quality(quality).allows_null:
        record = decode_sample(encode())
        assert (record.value, record.quality) == (None, quality)
        back = decode_block(encode_block(column, ingest_time_ns=1))
        assert list(back.values) == [None, 1.5]
        assert decode_sample(forged).quality == quality
        return
    for refused in (encode, lambda: decode_sample(forged), lambda: encode_block(column, ingest_time_ns=1)):
        with pytest.raises(DecodeError, match="good quality"):
            refused()


def test_a_foreign_block_with_a_missing_good_value_is_refused() -> None:
    import pyarrow as pa

    def block(value_text: str | None, encoding: str) -> bytes:
        columns = [pa.array([1], pa.timestamp("ns", "UTC")), pa.array([value_text], pa.string())]
        batch = pa.record_batch(columns, names=["timestamp", "value"])
        batch = batch.replace_schema_metadata({"value_encoding": encoding})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue().to_pybytes())

    for payload in (block(None, "json"), block("null", "json"), block(None, "plain")):
        with pytest.raises(DecodeError, match="good quality") as caught:
            decode_block(payload)
        assert caught.value.code == "MS-0303"
    assert list(decode_block(block("1", "json")).values) == [1]


def test_a_sample_is_what_umh_consumers_read() -> None:
    payload = encode_sample(21.5, quality=GOOD, source_time_ns=1_700_000_000_123_456_789, ingest_time_ns=0)
    assert payload.startswith(b'{"timestamp_ms":1700000000123,"value":21.5')


@given(st.lists(st.tuples(times, values | st.none(), st.integers(2**30, 2**32 - 1)), min_size=1, max_size=20))
def test_every_block_survives_arrow(rows: list[tuple[int, Any, int]]) -> None:
    block = Block(
        "t", np.array([r[0] for r in rows], np.int64), [r[1] for r in rows], np.array([r[2] for r in rows], np.uint32)
    )
    back = decode_block(encode_block(block, ingest_time_ns=7, unit="mm"))
    assert back.time_ns.tolist() == [r[0] for r in rows]
    assert all(
        same(a, b)
        for a, b in zip(list(back.values), [r[1] for r in rows], strict=True)
        if not isinstance(a, np.generic)
    )
    assert back.quality is not None
    assert back.quality.tolist() == [r[2] for r in rows]
    assert (back.ingest_ns, back.unit) == (7, "mm")


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=50))
def test_a_waveform_keeps_its_bits(numbers: list[float]) -> None:
    array = np.array(numbers)
    back = decode_block(encode_block(Block("t", np.arange(len(numbers)), array), ingest_time_ns=1))
    assert isinstance(back.values, np.ndarray)
    assert back.values.tobytes() == array.tobytes()
    assert back.quality is None


@given(st.binary(max_size=200))
def test_malformed_bytes_are_a_typed_error(raw: bytes) -> None:
    for decode in (decode_sample, decode_block, decode_value):
        try:
            decode(raw)
        except DecodeError as error:
            assert error.what  # noqa: PT017  (either outcome is fine, other errors are not)


@given(st.binary(max_size=60), st.integers(0, 400))
def test_a_damaged_block_never_raises_anything_else(noise: bytes, at: int) -> None:
    good = encode_block(Block("t", np.arange(20), np.arange(20.0)), ingest_time_ns=1)
    damaged = good[:at] + noise + good[at + len(noise) :]
    try:
        decode_block(damaged)
    except DecodeError as error:
        assert error.code == "MS-0303"  # noqa: PT017


@pytest.mark.parametrize(
    ("payload", "part"),
    [
        (b"", "not a JSON sample"),
        (b"\xff\xfe", "not a JSON sample"),
        (b'{"value":1}', "timestamp_ms"),
        (b'{"timestamp_ms":1}', "value"),
        (b'{"timestamp_ms":"x","value":1}', "int"),
        (b'{"timestamp_ms":1,"value":null}', "good quality"),
        (b'{"timestamp_ms":1,"value":1,"quality":-1}', "StatusCode"),
        (b'{"timestamp_ms":1,"value":{"$float":"inf"}}', "special form"),
        (b'{"timestamp_ms":1,"value":{"$bytes":"%"}}', "special form"),
        (b"[" * 100_000, "not a JSON sample"),
    ],
)
def test_the_reason_is_told(payload: bytes, part: str) -> None:
    with pytest.raises(DecodeError, match=part):
        decode_sample(payload)


def test_a_value_may_be_missing_when_the_quality_is_bad() -> None:
    record = decode_sample(encode_sample(None, quality=BAD, source_time_ns=None, ingest_time_ns=5_000_000))
    assert record.value is None
    assert record.time_ns == 5_000_000


@given(names)
def test_tokens_are_reversible_and_safe(name: str) -> None:
    token = escape_token(name)
    assert unescape_token(token) == name
    assert not set(token) & set(" .*>/\t\r\n$+#")
    assert not token.startswith("_")
    assert token.isascii()


@given(names, names)
def test_two_names_never_share_a_token(a: str, b: str) -> None:
    assert (escape_token(a) == escape_token(b)) == (a == b)


paths = st.builds(AssetPath, st.lists(names, min_size=1, max_size=7).map(tuple))
addresses = st.builds(
    UnsAddress,
    paths,
    st.sampled_from(["_tag", "_historian", "_event", "_x-1"]),
    st.lists(names, min_size=1, max_size=3).map(tuple),
)


@given(addresses)
def test_subjects_and_umh_topics_are_reversible(address: UnsAddress) -> None:
    try:
        subject = encode_subject(address)
    except DecodeError as error:
        assert "too long" in error.what  # noqa: PT017
        return
    assert decode_subject(subject) == address
    assert from_umh(to_umh(subject)) == subject
    assert to_umh(subject).startswith("umh.v1.")


@given(st.lists(st.sampled_from(["acme", "_tag", "_historian", "x", "=2E", "a=", "", "_", "*", ">"]), max_size=6))
def test_a_foreign_subject_is_taken_apart_or_refused(tokens: list[str]) -> None:
    subject = "uns.v1." + ".".join(tokens)
    try:
        address = decode_subject(subject)
    except DecodeError:
        return
    assert encode_subject(address) == subject


@given(paths, st.lists(names, min_size=1, max_size=3))
def test_tag_paths_have_one_text_form(asset: AssetPath, tag: list[str]) -> None:
    path = TagPath(asset, tuple(tag))
    assert TagPath.parse(str(path)) == path


@pytest.mark.parametrize("bad", ["", "a", "a//b:c", ":x", "a:", "a:b//c", "a\x00:b", "x" * 200 + ":y"])
def test_a_wrong_tag_path_is_refused_with_its_reason(bad: str) -> None:
    with pytest.raises(DecodeError) as caught:
        TagPath.parse(bad)
    assert caught.value.code == "MS-0301"
