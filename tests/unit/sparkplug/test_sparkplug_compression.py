"""Compressed payloads: what is in them counts, and none of them grows beyond the bound of a payload."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from sparkplug_node import PaperNode, Plant, T, metric, values

from millstream.kernel import DecodeError
from millstream.protocols.sparkplug import PAYLOAD_BYTES_MAX, Metric, Payload
from millstream.protocols.sparkplug_compression import COMPRESSED, decode_whole
from millstream.protocols.sparkplug_host_model import BadMessage, RebirthRequest
from millstream.protocols.sparkplug_value import to_raw
from millstream.protocols.sparkplug_wire import encode_payload

INNER = Payload(1, (metric("n", 5),), 3)


def wrapped(body: bytes | None, algorithm: Any = None) -> bytes:
    """A payload that says of itself that it is compressed."""
    metrics = () if algorithm is None else (metric("algorithm", algorithm, T.STRING),)
    return encode_payload(Payload(None, metrics, None, COMPRESSED, body))


RAW = encode_payload(INNER)


@pytest.mark.parametrize(
    "message",
    [wrapped(zlib.compress(RAW)), wrapped(zlib.compress(RAW), "deflate"), wrapped(gzip.compress(RAW), "GZIP"), RAW],
    ids=["unnamed", "DEFLATE", "GZIP", "plain"],
)
def test_what_is_compressed_counts_as_if_it_were_not(message: bytes) -> None:
    assert decode_whole(message) == INNER


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (lambda: wrapped(zlib.compress(bytes(PAYLOAD_BYTES_MAX + 1))), "too large"),
        (
            lambda: wrapped(gzip.compress(bytes(200 << 20)), "GZIP"),
            "too large",
        ),  # only when it runs
        (wrapped(wrapped(zlib.compress(RAW))), "no DEFLATE"),
        (wrapped(zlib.compress(wrapped(zlib.compress(RAW)))), "holds a compressed one"),
        (wrapped(gzip.compress(RAW)), "no DEFLATE"),
        (wrapped(zlib.compress(RAW)[:-5]), "breaks off"),
        (wrapped(None), "breaks off"),
        (wrapped(zlib.compress(b"\xff\xff")), "protobuf"),
        (wrapped(zlib.compress(RAW), "BROTLI"), "not known"),
    ],
    ids=["bound", "bomb", "unpacked", "nested", "other", "half", "empty", "nonsense", "unknown"],
)
def test_what_cannot_be_expanded_is_refused(message: bytes | Callable[[], bytes], why: str) -> None:
    whole = message() if callable(message) else message
    with pytest.raises(DecodeError, match=why):
        decode_whole(whole)


def test_an_algorithm_that_is_no_text_is_refused() -> None:
    odd = Metric("algorithm", datatype=T.BOOLEAN, raw=to_raw(T.BOOLEAN, True))
    with pytest.raises(DecodeError, match="not known"):
        decode_whole(encode_payload(Payload(None, (odd,), None, COMPRESSED, zlib.compress(RAW))))


def test_a_node_that_compresses_is_followed_and_asked_again_when_it_cannot_be_read() -> None:
    node, plant = PaperNode(), Plant()

    def packed(message: tuple[str, bytes]) -> tuple[str, bytes]:
        topic, raw = message
        return topic, wrapped(zlib.compress(raw))

    plant.take(packed(node.nbirth(metric("n", 1))))
    assert values(plant.take(packed(node.send("NDATA", metric("n", 2))))) == {"g/n#n": 2}
    bad = plant.take((node.send("NDATA")[0], wrapped(b"?")), after_ms=20_000)
    assert [type(event) for event in bad] == [BadMessage, RebirthRequest]
