"""What an edge is asked of its configuration, as bytes."""

from __future__ import annotations

import pytest

from millstream.protocols.site_config import (
    WAIT_S_MAX,
    RevisionWait,
    decode_ask,
    encode_look,
    encode_wait,
    payload_mark,
)


@pytest.mark.parametrize(
    ("payload", "ask"),
    [
        (b"", None),
        (b"look", ""),  # of a hub that knows no marks
        (b"look 0123456789abcdef", "0123456789abcdef"),
        (b"look 0123456789abcdeg", ""),
        (b"settle 7 2500", RevisionWait(7, 2.5)),
        (b"settle 7 999999", RevisionWait(7, WAIT_S_MAX)),
        (b"settle 7", ""),
        (b"settle -7 2500", ""),
        (b"\xff\x00", ""),
    ],
)
def test_what_is_asked_is_understood_or_taken_as_a_look(payload: bytes, ask: object) -> None:
    assert decode_ask(payload) == ask


def test_what_is_sent_is_understood() -> None:
    assert decode_ask(encode_look(b"{}")) == payload_mark(b"{}") != payload_mark(b"{ }")
    assert decode_ask(encode_wait(RevisionWait(3, 1.5))) == RevisionWait(3, 1.5)
