"""Modbus RTU: behind a gateway that passes bytes on, and on a serial line; noise, half answers, late ones."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cases.loopback import joined
from cases.rtu_peer import RtuLine, TcpGateway, Terminal, framed
from modbus_kit import PEERS, process, tag, values
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

import peers
from millstream.connectors.modbus import ModbusConfig, ModbusConnector
from millstream.connectors.modbus._line import DAMAGED_IN_A_ROW_MAX
from millstream.connectors.modbus._session import ModbusSession
from millstream.kernel import ProtocolViolation, Unreachable
from millstream.sdk import ConnectorTools, Write


class Notes:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        """Keep it."""
        self.lines.append(f"{event} {fields}")

    warning = error = info


def unit(first: int) -> Any:
    """A unit whose registers hold `first` plus their number, and which takes writes."""

    def answer(pdu: bytes) -> bytes:
        start, count = struct.unpack(">HH", pdu[1:5])
        if pdu[0] != 3:
            return pdu[:5]
        if start >= 1000:
            return b"\x83\x02"
        return bytes((3, 2 * count)) + struct.pack(f">{count}H", *(first + start + i for i in range(count)))

    return answer


def line() -> RtuLine:
    """Units 1 and 2."""
    return RtuLine({1: unit(100), 2: unit(200)})


@asynccontextmanager
async def session_with(
    end: TcpGateway | Terminal, log: Notes | None = None, **config: Any
) -> AsyncIterator[ModbusSession]:
    """Joined and opened."""
    async with joined(end):
        if isinstance(end, TcpGateway):
            place = {"transport": "rtu_over_tcp", "host": "127.0.0.1", "port": end.port}
        else:
            place = {"transport": "serial", "serial_port": str(end.path), "parity": "none"}
        settings = ModbusConfig(**{**place, "timeout": "10s", "connect_timeout": "10s", **config})
        async with ModbusConnector(settings, ConnectorTools(log=log or Notes(), tags=TAGS)).open() as session:
            yield session


TAGS = [tag("holding:5"), tag("holding:5", unit_id=2)]


async def read(session: ModbusSession) -> list[tuple[Any, str]]:
    """Of both units."""
    return [(sample.value, sample.quality.label) for sample in await session.read(TAGS)]


BOTH = [(105, "Good"), (205, "Good")]


@pytest.fixture(params=["gateway", "serial line"])
def end(request: pytest.FixtureRequest, tmp_path: Path) -> TcpGateway | Terminal:
    """Both ways to a line."""
    return TcpGateway(line()) if request.param == "gateway" else Terminal(tmp_path / "line", line())


async def test_the_rtu_server_of_pymodbus_is_read_and_written() -> None:
    units = [
        SimDevice(n, SimData(0, values=[100 * n + i for i in range(10)], datatype=DataType.REGISTERS)) for n in (1, 2)
    ]
    server = ModbusTcpServer(units, framer=FramerType.RTU, address=("127.0.0.1", 0))
    await server.listen()
    try:
        port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        config = ModbusConfig(transport="rtu_over_tcp", host="127.0.0.1", port=port)
        async with ModbusConnector(config, ConnectorTools(tags=TAGS)).open() as session:
            assert await read(session) == BOTH
            results = await session.write(
                [Write(tag("holding:5"), 7), Write(tag("holding:6:uint16[2]", unit_id=2), [8, 9])]
            )
            assert [result.quality.label for result in results] == ["Good", "Good"]
            found = await session.read([*TAGS, tag("holding:6", unit_id=2), tag("holding:50")])
            assert [sample.value for sample in found] == [7, 205, 8, None]
    finally:
        await server.shutdown()


@pytest.mark.needs("modbus-tk")
async def test_a_foreign_device_on_a_serial_line_is_read_written_and_found_again_after_a_restart(
    tmp_path: Path,
) -> None:
    """modbus_tk has one end of the line, Millstream the other; bytes are passed between the two."""
    ours, theirs = Crossing(tmp_path / "ours", line()), Crossing(tmp_path / "theirs", line())
    ours.other, theirs.other = theirs, ours
    device = (str(peers.venv_python("modbus-tk")), "modbus_tk_line.py", str(theirs.path))
    async with joined(theirs), session_with(ours, timeout="2s", baud_rate=9600) as session:
        async with process(*device, cwd=PEERS):
            assert await read(session) == BOTH
            (result,) = await session.write([Write(tag("coil:3", unit_id=2), True)])
            assert result.quality.is_good
            assert [s.value for s in await session.read([tag("coil:3"), tag("coil:3", unit_id=2)])] == [False, True]
            assert await values(session, "holding:10") == [(None, "BadNodeIdUnknown")]
        with pytest.raises(Unreachable, match="no answer"):
            await read(session)
        settings = ModbusConfig(transport="serial", serial_port=str(ours.path), parity="none", timeout="2s")  # type: ignore[arg-type]
        async with process(*device, cwd=PEERS), ModbusConnector(settings, ConnectorTools(tags=TAGS)).open() as again:
            assert await read(again) == BOTH


class Crossing(Terminal):
    """Passes on to another terminal what it hears."""

    other: Terminal | None = None

    async def _answer(self, data: bytes) -> None:
        assert self.other is not None
        self.other.say(data)


async def test_several_units_share_a_line_with_the_fewest_requests(end: TcpGateway | Terminal) -> None:
    async with session_with(end) as session:
        tags = [tag(f"holding:{i}", unit_id=n) for i in range(20) for n in (1, 2)]
        samples = await session.read(tags)
        assert [sample.value for sample in samples] == [100 * n + i for i in range(20) for n in (1, 2)]
        assert len(end.line.requests) == 2, "one a unit is the least possible"


async def test_a_wrong_check_sum_costs_one_scan_of_one_unit_and_is_counted(end: TcpGateway | Terminal) -> None:
    log = Notes()
    spoil_next = 0

    async def spoil(answer: bytes) -> bytes:
        nonlocal spoil_next
        spoil_next -= 1
        return answer[:-1] + bytes((answer[-1] ^ 0x10,)) if spoil_next >= 0 else answer

    end.line.mangle = spoil
    async with session_with(end, log) as session:
        assert await read(session) == BOTH
        spoil_next = 1
        assert await read(session) == [(None, "BadCommunicationError"), (205, "Good")]
        assert await read(session) == BOTH
        spoil_next = 2
        assert await read(session) == [(None, "BadCommunicationError")] * 2
        assert await read(session) == BOTH
        spoil_next = 1
        (result,) = await session.write([Write(tag("holding:5"), 7)])
        assert result.quality.label == "BadCommunicationError"
        assert result.reason == "unit 1 gave a damaged answer; it may have taken the value"
    assert next(text for text in log.lines if "MS-0121" in text).startswith("answer damaged on the line")
    assert "answers are whole again {'damaged_count': 2}" in log.lines


async def test_an_answer_that_is_cut_off_is_damaged_and_not_taken_for_silence(end: TcpGateway | Terminal) -> None:
    cut_next = True

    async def cut(answer: bytes) -> bytes:
        nonlocal cut_next
        cut_next, was = False, cut_next
        return answer[:-2] if was else answer

    end.line.mangle = cut
    async with session_with(end, timeout="1s") as session:
        assert await read(session) == [(None, "BadCommunicationError"), (205, "Good")]
        assert await read(session) == BOTH


async def test_bytes_of_a_driver_that_is_switched_on_and_answers_in_pieces_do_no_harm(
    end: TcpGateway | Terminal,
) -> None:
    async def noisy(answer: bytes) -> bytes:
        return b"\xff\0" + answer

    end.line.mangle = noisy
    async with session_with(end) as session:
        for _ in range(3):
            assert await read(session) == BOTH


async def test_a_line_that_damages_everything_ends_the_session_with_a_word_about_its_settings() -> None:
    async def spoil(answer: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in answer)

    end = TcpGateway(line())
    end.line.mangle = spoil
    async with session_with(end) as session:
        for _ in range(DAMAGED_IN_A_ROW_MAX - 1):
            assert await values(session, "holding:5") == [(None, "BadCommunicationError")]
        with pytest.raises(ProtocolViolation, match="check baud rate") as caught:
            await values(session, "holding:5")
        assert caught.value.code == "MS-0121"
        assert caught.value.frame
        with pytest.raises(Unreachable):
            await read(session)
    assert len(end.line.requests) == DAMAGED_IN_A_ROW_MAX


async def test_a_late_answer_is_not_taken_for_the_answer_to_the_next_request(end: TcpGateway | Terminal) -> None:
    """RTU has no transaction number: the late answer of unit 1 comes just before that of unit 2."""
    held: list[bytes] = []
    hold_next = 1

    async def late(answer: bytes) -> bytes:
        nonlocal hold_next
        hold_next -= 1
        if hold_next >= 0:
            held.append(answer)
            return b""
        early, held[:] = b"".join(held), []
        return early + answer

    end.line.mangle = late
    async with session_with(end, timeout="500ms") as session:
        assert await read(session) == [(None, "BadNoCommunication"), (205, "Good")]
        async with asyncio.timeout(60):
            while (found := await read(session)) != BOTH:
                assert found == [(None, "BadNoCommunication"), (205, "Good")]
                await asyncio.sleep(0.05)


async def test_after_a_timeout_nothing_is_sent_until_the_late_answer_is_over(tmp_path: Path) -> None:
    """The late answer to the first write would say of the second, which is refused, that it was done."""
    end = Terminal(tmp_path / "line", line())

    async def late(answer: bytes) -> bytes:
        if len(end.line.requests) > 1:
            await asyncio.sleep(0.2)  # as long as a slow device takes
            return framed(1, b"\x86\x03")
        asyncio.get_running_loop().call_later(0.55, end.say, answer)
        return b""

    end.line.mangle = late
    async with session_with(end, timeout="500ms") as session:
        results = await session.write([Write(tag("holding:5"), value) for value in (1, 2)])
        assert [result.quality.label for result in results] == ["BadNoCommunication", "BadOutOfRange"]


async def test_an_adapter_that_hears_itself_is_told_so(tmp_path: Path) -> None:
    end = Terminal(tmp_path / "line", line(), has_echo=True)
    async with session_with(end, local_echo=True) as session:
        for _ in range(3):
            assert await read(session) == BOTH
        (result,) = await session.write([Write(tag("holding:5"), 7)])
        assert result.quality.is_good


async def test_a_plug_that_is_pulled_is_a_lost_link_and_back_in_it_is_found(tmp_path: Path) -> None:
    end = Terminal(tmp_path / "line", line())
    async with session_with(end) as session:
        assert await read(session) == BOTH
        await end.cut()
        with pytest.raises(Unreachable):
            await read(session)
    async with session_with(end) as session:
        assert await read(session) == BOTH


@pytest.mark.parametrize("parity", ["none", "even"])
async def test_a_port_that_cannot_be_used_has_a_word_of_its_own(tmp_path: Path, parity: str) -> None:
    """It is missing, or refuses the parity: pyserial then raises what is no OSError."""
    end = Terminal(tmp_path / "line", line())
    async with joined(end):
        port = end.path if parity == "even" else tmp_path / "none"
        config = ModbusConfig(transport="serial", serial_port=str(port), parity=parity)  # type: ignore[arg-type]
        with pytest.raises(Unreachable) as caught:
            async with ModbusConnector(config, ConnectorTools()).open():
                pass
    assert caught.value.code == "MS-0122"


async def test_a_port_that_is_opened_and_left_at_once_leaves_nothing(end: TcpGateway | Terminal) -> None:
    """The library begins to read a serial port only after it says that it is open, and fails when it is closed then."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    for _ in range(3):
        async with session_with(end):
            pass
        await asyncio.sleep(0.01)  # what was put off to the loop's next turns
    assert not faults


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"transport": "serial"}, "needs 'serial_port'"),
        ({"transport": "rtu_over_tcp"}, "needs 'host'"),
        ({}, "needs 'host'"),
        ({"host": "plc", "parity": "mark"}, "even"),
    ],
)
def test_a_transport_without_its_place_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModbusConfig(**config)
