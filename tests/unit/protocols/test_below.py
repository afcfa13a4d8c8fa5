"""Questions below a path: where they are asked, and what lies there."""

from __future__ import annotations

import msgspec
import pytest

from millstream.kernel import DecodeError
from millstream.protocols.below import EVERYWHERE, FLEET, asked_below, below_subject, lies_below, place_subject
from millstream.protocols.config_desk import ASK_BYTES_MAX, ConfigAsk, decode_ask, encode_ask
from millstream.protocols.site_config import PAYLOAD_BYTES_MAX


@pytest.mark.parametrize("path", ["acme", "acme/cologne", "acme/Süd 1/Linie.7"])
def test_a_path_comes_back_from_the_subject_that_asks_below_it(path: str) -> None:
    root = asked_below(FLEET, below_subject(FLEET, place_subject(path)))
    assert root is not None
    assert (str(root), lies_below(root, path), lies_below(root, f"{path}/more")) == (path, True, True)
    for elsewhere in ("acme2/cologne", "beta", f"{path}2"):
        assert not lies_below(root, elsewhere)


def test_everywhere_has_a_subject_of_its_own() -> None:
    root = asked_below(FLEET, below_subject(FLEET, EVERYWHERE))
    assert (root, lies_below(root, "acme/cologne")) == (None, True)


@pytest.mark.parametrize("place", ["", "uns", "uns.v1.", "acme.cologne", "uns.v1.acme..x", "uns.v1.=FF", "uns.v2.acme"])
def test_what_is_no_path_is_told(place: str) -> None:
    with pytest.raises(DecodeError):
        asked_below(FLEET, below_subject(FLEET, place))


def test_a_revision_stands_behind_its_question_byte_by_byte() -> None:
    ask = ConfigAsk("put", "east", last_seq=7)
    assert decode_ask(encode_ask(ask, b"{\n\n}")) == (ask, b"{\n\n}")
    assert decode_ask(msgspec.json.encode(ConfigAsk("sites"))) == (ConfigAsk("sites"), b"")


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b'{"action":"purge"}', b'{"action":"put","edge":1}', b"\xff\n", b'{"action":"sites","x":1}',
     b" " * ASK_BYTES_MAX + b"  {}", b'{"action":"put"}\n' + b"x" * (PAYLOAD_BYTES_MAX + 1), b"[" * 5000],
    ids=range(10),
)  # fmt: skip
def test_malformed_and_huge_questions_are_told(payload: bytes) -> None:
    with pytest.raises(DecodeError) as told:
        decode_ask(payload)
    assert told.value.code == "MS-2418"
