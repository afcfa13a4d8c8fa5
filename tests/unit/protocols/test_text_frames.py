"""Text frames: however the bytes are chunked, whatever they are."""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.kernel import ConfigError
from millstream.protocols.text_frames import FrameReader, Framing, Piece

LINES = Framing()
STX = Framing(start=b"\x02", ends=(b"\x03",))
CHECKED = Framing(start=b"\x02", ends=(b"\x03",), has_check=True)
FIXED = Framing(size_bytes=4)
FIXED_STX = Framing(start=b"\x02", size_bytes=4)
LONG_END = Framing(ends=(b"\r\nOK\r\n", b"ERR"), frame_bytes_max=16)
FRAMINGS = [
    LINES, STX, CHECKED, FIXED, FIXED_STX, LONG_END, Framing(frame_bytes_max=8),
    Framing(b"\x02", (b"\x03",), frame_bytes_max=8),
    Framing(b"\x02\x02", (b"\x03",), has_check=True, frame_bytes_max=8),
]  # fmt: skip


def read(framing: Framing, *chunks: bytes) -> list[Piece]:
    """Everything that the chunks complete."""
    reader = FrameReader(framing)
    return [piece for chunk in chunks for piece in reader.feed(chunk)]


def good(*frames: bytes) -> list[Piece]:
    """Frames without fault."""
    return [Piece(frame) for frame in frames]


def checked(content: bytes) -> bytes:
    """With its check byte."""
    return b"\x02" + content + b"\x03" + bytes((reduce(xor, content + b"\x03"),))


@pytest.mark.parametrize(
    ("framing", "sent", "pieces"),
    [
        (LINES, b"a\r\nb\rc\nd", good(b"a", b"b", b"c")),
        (LINES, b"\r\n\r\n\n", []),
        (STX, b"\x02a\x03\r\n\x02b\x03", good(b"a", b"b")),
        (STX, b"\x02\x03", good(b"")),
        (STX, b"noise\x02a\x03", [Piece(b"noise", "bytes outside of a frame"), Piece(b"a")]),
        (STX, b"\x02lost\x02a\x03", [Piece(b"lost", "frame has no end"), Piece(b"a")]),
        (CHECKED, checked(b"12.5"), good(b"12.5")),
        (CHECKED, b"\x0212.5\x03\0" + checked(b"1"), [Piece(b"12.5", "check byte is wrong"), Piece(b"1")]),
        (CHECKED, b"\x02lost" + checked(b"1"), [Piece(b"lost", "frame has no end"), Piece(b"1")]),
        (CHECKED, checked(b"\x01") + checked(b"2"), good(b"\x01", b"2")),
        (FIXED, b"abcdefghij", good(b"abcd", b"efgh")),
        (FIXED_STX, b"x\x02abcd\x02efgh", [Piece(b"x", "bytes outside of a frame"), *good(b"abcd", b"efgh")]),
        (LONG_END, b"a\r\nOK\r\nbERR", good(b"a", b"b")),
    ],
)
def test_frames_are_cut_alike_in_one_piece_and_byte_by_byte(framing: Framing, sent: bytes, pieces: list[Piece]) -> None:
    assert read(framing, sent) == pieces
    assert read(framing, *(bytes((byte,)) for byte in sent)) == pieces


def test_a_frame_without_an_end_is_dropped_but_for_its_beginning_and_the_next_one_is_read() -> None:
    framing = Framing(frame_bytes_max=8)
    assert read(framing, b"a" * 1000, b"a" * 1000 + b"\nb\n") == [
        Piece(b"a" * 8, "frame is longer than 8 bytes"),
        Piece(b"b"),
    ]
    assert read(framing, b"12345678\n123456789\nx\n") == [
        Piece(b"12345678"), Piece(b"12345678", "frame is longer than 8 bytes"), Piece(b"x"),
    ]  # fmt: skip


def test_bytes_without_a_start_are_given_back_in_bounded_parts() -> None:
    pieces = read(Framing(start=b"\x02", ends=(b"\x03",), frame_bytes_max=8), *[b"abcdef"] * 100, b"\x02x\x03")
    assert pieces[-1] == Piece(b"x")
    assert all(len(piece.data) <= 8 for piece in pieces)


def test_half_a_frame_at_the_end_of_the_link_is_junk_and_the_next_link_begins_anew() -> None:
    reader = FrameReader(STX)
    assert reader.feed(b"\x02ab") == []
    assert reader.rest() == [Piece(b"ab", "frame is cut off")]
    assert reader.rest() == []
    assert reader.feed(b"\x02c\x03") == good(b"c")
    lines = FrameReader(LINES)
    lines.feed(b"a\n \r")
    assert lines.rest() == []


@pytest.mark.parametrize(
    "settings_",
    [
        {"ends": ()},
        {"ends": (b"",)},
        {"size_bytes": 4, "has_check": True},
        {"frame_bytes_max": 0},
        {"frame_bytes_max": 1 << 20},
        {"size_bytes": 1 << 20},
    ],
)
def test_frames_that_cannot_be_told_apart_are_refused(settings_: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as caught:
        Framing(**settings_)  # type: ignore[arg-type]
    assert caught.value.code == "MS-1900"


noise = st.lists(
    st.one_of(
        st.sampled_from([b"\x02", b"\x03", b"\r", b"\n", b"\r\n", b"\r\nOK\r\n", b"ERR", b"OK", b"\0"]),
        st.binary(max_size=12),
    ),
    max_size=40,
).map(b"".join)


@settings(max_examples=1000)
@given(st.sampled_from(FRAMINGS), noise, st.lists(st.integers(1, 30), min_size=1, max_size=10))
def test_any_bytes_give_the_same_frames_however_they_are_chunked_and_little_is_kept(
    framing: Framing, sent: bytes, sizes: list[int]
) -> None:
    """1,000 random streams of control characters and bytes."""
    whole, reader = FrameReader(framing), FrameReader(framing)
    expected = [piece for piece in whole.feed(sent) if piece.reason is None]
    found: list[Piece] = []
    at = turn = 0
    while at < len(sent):
        size = sizes[turn % len(sizes)]
        found += reader.feed(sent[at : at + size])
        at, turn = at + size, turn + 1
        assert reader.kept_bytes <= max(framing.frame_bytes_max, framing.size_bytes) + 8
    assert [piece for piece in found if piece.reason is None] == expected
    assert all(len(piece.data) <= max(framing.frame_bytes_max, framing.size_bytes) for piece in found)
    for piece in (*found, *reader.rest()):
        assert piece.data in sent


@settings(max_examples=300)
@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: not set(b) & {2, 3, 10, 13}), max_size=20))
def test_whatever_is_framed_is_read_back(contents: list[bytes]) -> None:
    """300 random lists of frames."""
    assert read(STX, b"".join(b"\x02" + content + b"\x03" for content in contents)) == good(*contents)
    assert read(CHECKED, b"".join(checked(content) for content in contents)) == good(*contents)
    assert read(LINES, b"".join(content + b"\r\n" for content in contents)) == good(*contents)
