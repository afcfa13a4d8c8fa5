"""PLCs that refuse, lie, stop in the middle or are none; each has its own word."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest
from s7_kit import (
    DISCONNECT,
    RUNS,
    SILENCE,
    Answer,
    Notes,
    acknowledged,
    framed,
    item,
    items_asked,
    opened,
    raw_plc,
    served,
    tag,
    told,
    values,
)

from millstream.connectors.s7 import S7Config, S7Connector
from millstream.kernel import AuthError, ConfigError, PlantError, ProtocolViolation, Unreachable
from millstream.sdk import ConnectorTools, Tag, Write


async def counts(request: bytes) -> bytes:
    """Each byte of memory holds the lower half of its own address."""
    asked = items_asked(request)
    data = b"".join(
        item(bytes((start + i) & 0xFF for i in range(size)), is_last=number == len(asked))
        for number, (_, _, start, size) in enumerate(asked, 1)
    )
    return framed(acknowledged(request, data))


def refuses(code: int) -> Answer:
    """A PLC that answers each item with the same return code."""

    async def read(request: bytes) -> bytes:
        return framed(acknowledged(request, struct.pack(">BBH", code, 0, 4) * request[11]))

    return read


async def nothing(request: bytes) -> bytes | None:
    """A PLC that closes the connection at the first request."""
    return None


async def test_a_wrong_rack_or_slot_is_said_as_such() -> None:
    """A PLC disconnects, or closes, when the slot holds no CPU."""
    for confirm in (DISCONNECT, b""):
        async with raw_plc(nothing, confirm=confirm) as port:
            with pytest.raises(Unreachable, match="rack 0, slot 5: the PLC refuses") as caught:
                async with opened(port, slot=5):
                    pass
            assert caught.value.code == "MS-1201"


async def test_rack_slot_and_kind_of_connection_are_asked_for_on_the_wire() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readexactly(22))

    async with served(serve) as port:
        with pytest.raises(Unreachable):
            async with opened(port, rack=1, slot=3, connection_type="op"):
                pass
    assert bytes.fromhex("c202") + bytes((2, 1 << 5 | 3)) in seen[0]


async def test_a_port_where_nobody_speaks_s7_is_said_as_such() -> None:
    async with raw_plc(nothing, confirm=SILENCE) as port:
        with pytest.raises(Unreachable, match="nobody speaks S7"):
            async with opened(port, connect_timeout="200ms"):
                pass
    async with raw_plc(nothing, confirm=b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        with pytest.raises(ProtocolViolation, match="does not speak S7"):
            async with opened(port):
                pass


async def test_a_name_that_does_not_exist_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="name cannot be resolved"):
        async with opened(102, host="256.1.1.1"):
            pass


async def test_refused_put_and_get_is_said_as_such_and_not_asked_again_at_once() -> None:
    async def read(request: bytes) -> bytes:
        return framed(acknowledged(request, b"", error=0x8104))

    async with raw_plc(read) as port, opened(port) as session:
        with pytest.raises(Unreachable, match="PUT/GET") as caught:
            await values(session, "DB1.DBW0")
    assert caught.value.code == "MS-1207"
    assert caught.value.retry_after_s >= 10


async def test_any_other_refusal_of_a_request_carries_its_number() -> None:
    async def read(request: bytes) -> bytes:
        return framed(acknowledged(request, b"", error=0x8500))

    async with raw_plc(read) as port, opened(port) as session:
        with pytest.raises(Unreachable, match="0x8500") as caught:
            await values(session, "DB1.DBW0")
    assert caught.value.code == "MS-1208"


async def test_an_optimised_block_is_said_as_such_and_not_cut_into_pieces() -> None:
    """Not even its first byte can be read."""
    asked: list[int] = []

    async def read(request: bytes) -> bytes:
        items = items_asked(request)
        asked.append(len(items))
        parts = [item(bytes(size)) if db == 2 else b"\5\0\0\4" for _, db, _, size in items]
        return framed(acknowledged(request, b"".join(parts)))

    log = Notes()
    async with raw_plc(read) as port, opened(port, log) as session:
        addresses = [f"DB1.DBW{2 * i}" for i in range(20)]
        for _ in range(2):
            found = await values(session, *addresses, "DB2.DBW0")
            assert [label for _, label in found] == ["BadNotReadable"] * 20 + ["Good"]
    assert asked == [2, 1, 2]
    assert len(log.having("MS-1204")) == 1
    assert log.having("Optimized block access")


@pytest.mark.parametrize(
    ("code", "label", "error_code"),
    [
        (0x0A, "BadNodeIdUnknown", "MS-1202"),
        (0x03, "BadUserAccessDenied", "MS-1205"),
        (0x01, "BadDeviceFailure", "MS-1206"),
        (0x06, "BadTypeMismatch", "MS-1206"),
        (0x44, "Bad", "MS-1206"),
    ],
)
async def test_each_return_code_has_its_quality_and_its_word(code: int, label: str, error_code: str) -> None:
    log = Notes()
    async with raw_plc(refuses(code)) as port, opened(port, log) as session:
        assert await values(session, "DB1.DBW0", "DB1.DBW2") == [(None, label)] * 2
        (result,) = await session.write([Write(tag("DB1.DBW0"), 1)])
        assert result.quality.label == label
    assert len(log.having(error_code)) == 1


async def test_a_block_that_appears_is_read_and_told() -> None:
    """As after a download of the program."""
    is_there = False

    async def read(request: bytes) -> bytes:
        return await counts(request) if is_there else framed(acknowledged(request, b"\x0a\0\0\4"))

    log = Notes()
    async with raw_plc(read) as port, opened(port, log) as session:
        assert await values(session, "DB1.DBW0") == [(None, "BadNodeIdUnknown")]
        is_there = True
        assert await values(session, "DB1.DBW0") == [(1, "Good")]
    assert log.having("can be read again")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer[:-1],
        lambda answer: answer + b"\0\0",
        lambda answer: answer[:4] + b"\x7f" + answer[5:],
        lambda answer: b"\x33" + answer[1:],
        lambda answer: answer[:12] + b"\x05" + answer[13:],
        lambda answer: b"",
    ],
    ids=["cut off", "too long", "another request's", "another protocol's", "another function's", "empty"],
)
async def test_an_answer_that_is_none_ends_the_link_and_is_kept(spoil: Callable[[bytes], bytes]) -> None:
    """None of its bytes may become a value, nor may the next answer be taken for its rest."""

    spoiled: list[bytes] = []

    async def read(request: bytes) -> bytes:
        spoiled.append(spoil((await counts(request))[7:]))
        return framed(spoiled[-1])

    async with raw_plc(read) as port, opened(port) as session:
        with pytest.raises(ProtocolViolation) as caught:
            await values(session, "DB1.DBW0", "DB1.DBW100")
        assert caught.value.frame == spoiled[-1]
        with pytest.raises(Unreachable):
            await values(session, "DB1.DBW0")


async def test_a_plc_that_stops_in_the_middle_of_an_answer_is_lost_after_the_timeout() -> None:
    async def read(request: bytes) -> bytes:
        return (await counts(request))[:-1]

    async with raw_plc(read) as port, opened(port, timeout="300ms") as session:
        with pytest.raises(Unreachable, match="answer within"):
            await values(session, "DB1.DBW0")


async def test_a_plc_that_sends_a_byte_now_and_then_cannot_hold_the_session() -> None:
    """Each byte comes before the library's own timeout, which counts from the last one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(22)
        writer.write(bytes.fromhex("030003e8"))
        while True:
            writer.write(b"\0")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with served(serve) as port:
        with pytest.raises(Unreachable, match="no whole answer within"):
            async with opened(port, connect_timeout="500ms", timeout="200ms"):
                pass


async def test_a_read_that_is_given_up_ends_at_once_and_takes_the_link_with_it() -> None:
    asked = asyncio.Event()

    async def read(request: bytes) -> bytes:
        asked.set()
        return SILENCE

    async with raw_plc(read) as port, opened(port, timeout="60s") as session:
        reading = asyncio.ensure_future(values(session, "DB1.DBW0"))
        await asyncio.wait_for(asked.wait(), 60)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(reading, 10)
        with pytest.raises(Unreachable):
            await asyncio.wait_for(values(session, "DB1.DBW0"), 10)


async def test_a_cpu_that_does_not_tell_its_mode_is_asked_once_and_its_values_are_good() -> None:
    questions: list[bytes] = []

    async def state(request: bytes) -> bytes:
        questions.append(request)
        return framed(told(request, b"", error=0xD401))

    log = Notes()
    async with raw_plc(counts, state=state) as port, opened(port, log, state_interval="1us") as session:
        for _ in range(3):
            assert await values(session, "DB1.DBW2") == [(0x0203, "Good")]
    assert len(questions) == len(log.having("does not tell its mode")) == 1


async def test_nonsense_in_place_of_the_mode_ends_the_link() -> None:
    async def state(request: bytes) -> bytes:
        return framed(b"\x99" * 20)

    async with raw_plc(counts, state=state) as port, opened(port) as session:
        with pytest.raises(ProtocolViolation):
            await values(session, "DB1.DBW2")


async def test_a_password_goes_out_once_and_a_wrong_one_stops_the_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLC_PASSWORD", "kiln")

    async def accepts(request: bytes) -> bytes:
        if request[15] & 0x0F == 4:
            return framed(told(request, RUNS))
        answer = bytearray(told(request, b"", error=1))
        answer[15:17] = request[15:17]
        answer[20:22] = b"\0\0"
        return framed(bytes(answer))

    async def refuses_it(request: bytes) -> bytes:
        return framed(told(request, b"", error=0xD602))

    secret = {"env": "PLC_PASSWORD"}
    async with raw_plc(counts, state=accepts) as port, opened(port, password=secret) as session:
        assert await values(session, "DB1.DBW2") == [(0x0203, "Good")]
    async with raw_plc(counts, state=refuses_it) as port:
        with pytest.raises(AuthError, match=r"refuses the password.*MS-0201"):
            async with opened(port, password=secret):
                pass
        monkeypatch.setenv("PLC_PASSWORD", "longer than eight")
        with pytest.raises(AuthError, match="one to eight") as caught:
            async with opened(port, password=secret):
                pass
        assert "longer than eight" not in str(caught.value)


async def test_a_plc_that_wants_a_password_stops_the_connector() -> None:
    async def read(request: bytes) -> bytes:
        return framed(acknowledged(request, b"", error=0xD241))

    async with raw_plc(read) as port, opened(port) as session:
        with pytest.raises(AuthError, match="wants a password"):
            await values(session, "DB1.DBW0")


async def test_a_cpu_that_does_not_list_its_blocks_says_so() -> None:
    async def state(request: bytes) -> bytes:
        return framed(told(request, b"", error=0x8104))

    async with raw_plc(counts, state=state) as port, opened(port) as session:
        with pytest.raises(PlantError, match="does not list its blocks") as caught:
            [node async for node in session.browse()]
        assert caught.value.code == "MS-0501"


async def test_a_tag_of_the_wrong_notation_or_with_options_is_refused_offline() -> None:
    connector = S7Connector(S7Config(host="plc"), ConnectorTools())
    for wrong in (Tag("t", "DB1"), Tag("t", "DB1.DBW0", options={"unit_id": 1})):
        with pytest.raises(ConfigError) as caught:
            connector.check_tag(wrong)
        assert caught.value.code == "MS-1200"


def test_an_unknown_character_set_is_refused() -> None:
    for name in ("klingon", "base64"):
        with pytest.raises(ValueError, match="unknown character set"):
            S7Config(host="plc", string_encoding=name)
