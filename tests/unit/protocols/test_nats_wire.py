"""The NATS protocol codec: any chunking, any payload bytes, malformed input refused. Vectors are from docs.nats.io."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError, ProtocolViolation
from millstream.protocols.nats_wire import (
    Control,
    WireMessage,
    WireParser,
    encode_connect,
    encode_header_lines,
    encode_hpub,
    encode_pub,
    parse_ack_subject,
    parse_headers,
    parse_info,
    subject_bytes,
)

INFO = b'INFO {"server_id":"Zk0GQ3JBSrg3oyxCRRlE09","version":"2.15.1","headers":true,"max_payload":1048576}\r\n'
STREAM = (
    INFO
    + b"+OK\r\nPING\r\nMSG FOO.BAR 9 11\r\nHello World\r\n"
    + b"MSG FOO.BAR 9 GREETING.34 11\r\nHello World\r\n"
    + b"HMSG FOO.BAR 9 34 45\r\nNATS/1.0\r\nFoodGroup: vegetable\r\n\r\nHello World\r\n"
    + b"HMSG FOO.BAR 9 BAZ.69 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    + b"MSG a 10 0\r\n\r\n"
    + b"-ERR 'Authorization Violation'\r\nPONG\r\n"
)
MESSAGES: list[WireMessage] = [
    (9, b"FOO.BAR", b"", None, b"Hello World"),
    (9, b"FOO.BAR", b"GREETING.34", None, b"Hello World"),
    (9, b"FOO.BAR", b"", b"NATS/1.0\r\nFoodGroup: vegetable\r\n\r\n", b"Hello World"),
    (9, b"FOO.BAR", b"BAZ.69", b"NATS/1.0\r\n\r\n", b""),
    (10, b"a", b"", None, b""),
]


def parse(chunks: list[bytes]) -> tuple[list[WireMessage], list[Control]]:
    parser = WireParser()
    messages: list[WireMessage] = []
    controls: list[Control] = []
    for chunk in chunks:
        more = parser.feed(chunk)
        messages += more[0]
        controls += more[1]
    return messages, controls


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_chunking_gives_the_same_messages(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    messages, controls = parse([STREAM[a:b] for a, b in pairwise(edges)])
    assert messages == MESSAGES
    assert [c.verb for c in controls] == ["INFO", "+OK", "PING", "-ERR", "PONG"]
    assert controls[3].text == b"Authorization Violation"


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(1, 40))
def test_payloads_are_taken_by_length_whatever_is_in_them(payloads: list[bytes], size: int) -> None:
    wire = b"".join(b"MSG s 1 r %d\r\n%b\r\n" % (len(p), p) for p in payloads)
    messages, _ = parse([wire[i : i + size] for i in range(0, len(wire), size)])
    assert [m[4] for m in messages] == payloads


_kinds = st.sampled_from(["plain", "one line", "two lines", "no reply", "other subscription", "status", "ping"])


@given(st.lists(st.tuples(_kinds, st.integers(1, 9), st.binary(max_size=12)), max_size=12), st.integers(1, 400))
def test_runs_and_what_stands_between_them_come_out_in_order(groups: list[tuple[str, int, bytes]], size: int) -> None:
    blocks = {"one line": b"NATS/1.0\r\nA: b\r\n\r\n", "two lines": b"NATS/1.0\r\nA: b\r\nC: d\r\n\r\n"}
    wire, expected, pings = b"", [], 0
    for kind, count, payload in groups:
        for _ in range(count):
            block = blocks.get(kind)
            sid, reply = (2 if kind == "other subscription" else 1), (b"" if kind == "no reply" else b"r")
            if kind == "ping":
                wire, pings = wire + b"PING\r\n", pings + 1
                continue
            if kind == "status":
                block, reply, payload = b"NATS/1.0 409 Batch Completed\r\nX: 0\r\n\r\n", b"", b""
            if block is None:
                wire += b"MSG s %d %b %d\r\n%b\r\n" % (sid, reply, len(payload), payload)
            else:
                total = len(block) + len(payload)
                wire += b"HMSG s %d %b %d %d\r\n%b%b\r\n" % (sid, reply, len(block), total, block, payload)
            expected.append((sid, b"s", reply, block, payload))
    messages, controls = parse([wire[i : i + size] for i in range(0, len(wire), size)])
    assert messages == expected
    assert len(controls) == pings


def test_a_payload_that_looks_like_the_protocol_is_a_payload() -> None:
    payload = b"PING\r\nMSG x 1 3\r\nabc\r\n-ERR 'no'\r\n"
    messages, controls = parse([b"MSG s 1 %d\r\n%b\r\nPONG\r\n" % (len(payload), payload)])
    assert [m[4] for m in messages] == [payload]
    assert controls == [Control("PONG")]


@pytest.mark.parametrize(
    "wire",
    [
        b"NONSENSE\r\n",
        b"MSG s 1 x\r\n",
        b"MSG s 1 -5\r\n",
        b"MSG s 1 99999999999\r\n",
        b"HMSG s 1 a 5\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_protocol_is_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        WireParser().feed(wire)


def test_encoders_write_what_the_documentation_shows() -> None:
    assert encode_pub(b"FOO", b"", b"Hello NATS!").split() == b"PUB FOO 11\r\nHello NATS!".split()
    assert encode_pub(b"FRONT.DOOR", b"JOKE.22", b"Knock Knock") == b"PUB FRONT.DOOR JOKE.22 11\r\nKnock Knock\r\n"
    lines = encode_header_lines([("Bar", "Baz")])
    assert (
        encode_hpub(b"FOO", b"", lines, b"Hello NATS!")
        == b"HPUB FOO  22 33\r\nNATS/1.0\r\nBar: Baz\r\n\r\nHello NATS!\r\n"
    )
    assert encode_connect({"verbose": False}) == b'CONNECT {"verbose":false}\r\n'


def test_header_blocks_give_values_and_in_line_status() -> None:
    block = parse_headers(b"NATS/1.0 503 No Responders\r\n\r\n")
    assert (block.status, block.description, block.values) == (503, "No Responders", {})
    block = parse_headers(b"NATS/1.0\r\nNats-Sequence: 7\r\nX:y: z\r\n\r\n")
    assert (block.status, block.get("nats-sequence"), block.get("X")) == (0, "7", "y: z")
    assert parse_headers(None).values == {}


@pytest.mark.parametrize("block", [b"HTTP/1.1\r\n\r\n", b"NATS/1.0 abc\r\n\r\n", b"NATS/1.0\r\nnocolon\r\n\r\n"])
def test_malformed_header_blocks_are_refused(block: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_headers(block)


def test_both_forms_of_the_jetstream_reply_subject_are_read() -> None:
    first = parse_ack_subject(b"$JS.ACK.S.C.1.42.40.1700000000123456789.5")
    second = parse_ack_subject(b"$JS.ACK.hub.ACCHASH.S.C.1.42.40.1700000000123456789.5.rnd")
    assert first == second == (42, 40, 1700000000123456789, 5)
    for reply in (b"", b"_INBOX.x", b"$JS.ACK.a.b.c.d.e.f.g"):
        with pytest.raises(ProtocolViolation):
            parse_ack_subject(reply)


@pytest.mark.parametrize("subject", ["", "a b", "a..b", ".a", "a.", "a.*", "a.>", "a\r\nPUB x 0", "a\x00"])
def test_only_literal_subjects_go_on_the_wire(subject: str) -> None:
    with pytest.raises(DecodeError):
        subject_bytes(subject)


@pytest.mark.parametrize("header", [("", "x"), ("a b", "x"), ("a:b", "x"), ("a", "x\r\nEvil: y")])
def test_a_header_cannot_break_out_of_its_line(header: tuple[str, str]) -> None:
    with pytest.raises(DecodeError):
        encode_header_lines([header])


@pytest.mark.parametrize("text", [b"", b"[1]", b"{"])
def test_an_info_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_info(text)
