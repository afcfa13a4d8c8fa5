"""Headers are read as nats-py reads them, in less time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from millstream.bus._client import HealingClient

NAMES = st.sampled_from([b"Nats-Stream", b" Nats-Sequence ", b"a b", b"\xc3\xa4", b"", b"Status", b"ce-id\t"])
VALUES = st.one_of(
    st.binary(max_size=12), st.sampled_from([b" H_INTEGRITY", b"\t7 ", b"a: b", "\u00e4".encode(), b"\xff"])
)
LINES = st.one_of(st.tuples(NAMES, st.just(b":"), VALUES).map(b"".join), st.binary(max_size=12))


@given(st.lists(LINES, max_size=6).map(b"\r\n".join))
def test_a_header_block_says_the_same(raw: bytes) -> None:
    assert HealingClient._parse_header_lines(raw) == Client._parse_header_lines(raw)
