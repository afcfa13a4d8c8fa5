"""Devices that answer short, late, wrongly or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from cases.loopback import served
from modbus_kit import PEERS, framed, opened, process, raw_device, tag, values

from millstream.kernel import ProtocolViolation, Unreachable
from millstream.sdk import Write


def registers_of(request: bytes) -> tuple[int, int]:
    """Start and count of a read request."""
    start, count = struct.unpack(">HH", request[8:12])
    return start, count


def answer_registers(request: bytes, count: int | None = None) -> bytes:
    """Each register holds its own number; `count` of them instead of those asked for."""
    start, asked = registers_of(request)
    number = asked if count is None else count
    return framed(request, struct.pack(f">BB{number}H", request[7], 2 * number, *range(start, start + number)))


async def test_an_answer_with_too_few_registers_gives_bad_quality_and_no_shifted_value() -> None:
    """The library takes a short answer for a good one."""

    async def answer(request: bytes) -> bytes:
        return answer_registers(request, 1)

    async with raw_device(answer) as port, opened(port) as session:
        assert await values(session, "holding:5", "holding:7:uint32", "holding:6") == [
            (5, "Good"),
            (None, "BadDecodingError"),
            (6, "Good"),
        ]


async def test_an_answer_with_too_many_registers_is_not_used() -> None:
    async def answer(request: bytes) -> bytes:
        return answer_registers(request, registers_of(request)[1] + 1)

    async with raw_device(answer) as port, opened(port) as session:
        assert await values(session, "holding:5") == [(None, "BadDecodingError")]


async def test_an_answer_with_too_few_bits_is_not_used() -> None:
    async def answer(request: bytes) -> bytes:
        return framed(request, bytes((request[7], 1, 0xFF)))

    async with raw_device(answer) as port, opened(port) as session:
        assert await values(session, "coil:0:bool[9]", "coil:20:bool[8]") == [
            (None, "BadDecodingError"),
            ([True] * 8, "Good"),
        ]


@pytest.mark.needs("jsmodbus")
async def test_jsmodbus_answers_short_past_its_end_and_the_good_neighbours_stay_good() -> None:
    async with process("node", "jsmodbus_server.js", cwd=PEERS) as (_, ready), opened(ready["port"]) as session:
        for _ in range(2):
            assert await values(session, "holding:8", "holding:9:uint32", "holding:0", "holding:12", "coil:2") == [
                (1008, "Good"),
                (None, "BadDecodingError"),
                (1000, "Good"),
                (None, "BadDecodingError"),
                (True, "Good"),
            ]


async def test_a_refused_block_is_split_once_and_the_split_is_remembered() -> None:
    requests: list[tuple[int, int]] = []

    async def answer(request: bytes) -> bytes:
        start, count = registers_of(request)
        requests.append((start, count))
        return framed(request, b"\x83\x02") if start <= 2 < start + count else answer_registers(request)

    addresses = [f"holding:{number}" for number in range(4)]
    async with raw_device(answer) as port, opened(port) as session:
        expected = [(0, "Good"), (1, "Good"), (None, "BadNodeIdUnknown"), (3, "Good")]
        assert await values(session, *addresses) == expected
        assert requests == [(0, 4), (0, 2), (2, 2), (2, 1), (3, 1)]
        requests.clear()
        assert await values(session, *addresses) == expected
        assert requests == [(0, 2), (2, 1), (3, 1)]


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        (1, "BadNotReadable"),
        (2, "BadNodeIdUnknown"),
        (3, "BadOutOfRange"),
        (4, "BadDeviceFailure"),
        (6, "BadDataUnavailable"),
        (10, "BadNoCommunication"),
        (11, "BadNoCommunication"),
        (99, "Bad"),
    ],
)
async def test_an_exception_of_the_device_is_a_quality_not_an_error(code: int, quality: str) -> None:
    async def answer(request: bytes) -> bytes:
        return framed(request, bytes((request[7] | 0x80, code)))

    async with raw_device(answer) as port, opened(port) as session:
        assert await values(session, "holding:5") == [(None, quality)]
        (result,) = await session.write([Write(tag("holding:5"), 1)])
        assert result.quality.is_bad
        assert str(code) in (result.reason or "")


@pytest.mark.parametrize(
    "pdu", [b"\x04\x02\0\1", b"\x03\x04\0\1", b"\x2b\x0e\x01"], ids=["function", "bytes", "strange"]
)
async def test_an_answer_of_another_kind_is_a_violation_with_its_frame(pdu: bytes) -> None:
    async def answer(request: bytes) -> bytes:
        return framed(request, pdu)

    async with raw_device(answer) as port, opened(port) as session:
        with pytest.raises(ProtocolViolation) as caught:
            await values(session, "holding:5")
        assert caught.value.frame.endswith(pdu)
        with pytest.raises(Unreachable):
            await values(session, "holding:5")


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 5000, bytes(64)])
async def test_garbage_is_a_violation_at_once_and_kept_up_to_a_bound(garbage: bytes) -> None:
    async def answer(request: bytes) -> bytes:
        return garbage

    async with raw_device(answer) as port, opened(port, timeout="300s") as session, asyncio.timeout(60):
        with pytest.raises(ProtocolViolation) as caught:
            await values(session, "holding:5")
        assert garbage.startswith(caught.value.frame)
        assert 0 < len(caught.value.frame) <= 260


async def test_a_late_answer_is_a_lost_link_and_is_never_taken_for_the_next_one() -> None:
    may_answer = asyncio.Event()

    async def answer(request: bytes) -> bytes:
        await may_answer.wait()
        return answer_registers(request)

    async with raw_device(answer) as port:
        async with opened(port, timeout="50ms") as session:
            with pytest.raises(Unreachable, match="no answer within"):
                await values(session, "holding:5")
            may_answer.set()
            with pytest.raises(Unreachable):
                await values(session, "holding:6")
        async with opened(port) as session:
            assert await values(session, "holding:6") == [(6, "Good")]


async def test_an_answer_to_another_transaction_is_passed_over() -> None:
    async def answer(request: bytes) -> bytes:
        stale = b"\x7f\xff" + answer_registers(request, 1)[2:-2] + b"\xde\xad"
        return stale + answer_registers(request)

    async with raw_device(answer) as port, opened(port) as session:
        assert await values(session, "holding:5") == [(5, "Good")]


async def test_an_answer_in_single_bytes_is_put_together() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(12)
        seen.append(request)
        for byte in answer_registers(request):
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async with served(serve) as port, opened(port) as session:
        assert await values(session, "holding:5:uint16[3]") == [([5, 6, 7], "Good")]
    assert len(seen) == 1


async def test_a_device_that_closes_the_connection_is_noticed_at_once_and_not_opened_twice() -> None:
    connections = 0

    async def answer(request: bytes) -> None:
        nonlocal connections
        connections += 1

    async with raw_device(answer) as port, opened(port, timeout="300s") as session, asyncio.timeout(60):
        for _ in range(3):
            with pytest.raises(Unreachable):
                await values(session, "holding:5")
        assert connections == 1


async def test_a_write_on_a_lost_link_fails_and_so_do_those_behind_it() -> None:
    async def answer(request: bytes) -> bytes | None:
        return None if request[8:10] == b"\0\6" else request

    async with raw_device(answer) as port, opened(port) as session:
        results = await session.write([Write(tag(f"holding:{number}"), 1) for number in (5, 6, 7)])
        assert [result.quality.label for result in results] == ["Good", "BadNoCommunication", "BadNoCommunication"]


async def test_a_dead_device_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="cannot be reached"):
            async with opened(taken.getsockname()[1]):
                pass


async def test_requests_never_overlap_on_the_wire() -> None:
    under_way = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way
        while request := await reader.read(512):
            under_way = max(under_way, len(request) // 12)
            await asyncio.sleep(0.001)
            writer.write(answer_registers(request[:12]))

    async with served(serve) as port, opened(port) as session:
        found = await asyncio.gather(*(values(session, f"holding:{number}") for number in range(20)))
    assert [value for ((value, _),) in found] == list(range(20))
    assert under_way == 1
