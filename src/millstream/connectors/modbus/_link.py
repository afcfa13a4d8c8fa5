"""One connection to Modbus devices: one request in flight, own deadlines, and nothing that opens it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

from millstream.connectors.modbus._config import ModbusConfig
from millstream.connectors.modbus._line import DAMAGED_IN_A_ROW_MAX, Line
from millstream.kernel import Clock, ProtocolViolation, Unreachable
from millstream.protocols.modbus_plan import answer_fault
from millstream.protocols.modbus_rtu import State, silence_s

FRAME_BYTES_MAX = 260  # MODBUS Messaging on TCP/IP 1.0b, 3.1.3; of a broken frame no more is kept
RECEIVED_BYTES_MAX = 1 << 20
_NEXT_STEP = "check cable, address and port; many devices take one client"
_PARITIES = {"none": "N", "even": "E", "odd": "O"}

try:
    import termios

    _PORT_ERRORS: tuple[type[Exception], ...] = (ValueError, termios.error)  # what pyserial lets through on opening
except ImportError:  # no POSIX
    _PORT_ERRORS = (ValueError,)

Client = AsyncModbusTcpClient | AsyncModbusSerialClient

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # what it says there is raised here as an error


class NoAnswer(Unreachable):
    """A request was not answered in time; the link may still be good for others."""


class DamagedAnswer(ProtocolViolation):
    """An answer on a serial line has a wrong check sum or is cut off; the next one may be good."""


class Link:
    """The library's client, without its retries, its reconnecting and its deadlines.

    Those would start a second connection beside the supervisor's, and its way of waiting can swallow a cancellation.
    """

    def __init__(self, config: ModbusConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._is_serial = config.transport == "serial"
        self.where = config.serial_port or "" if self._is_serial else f"{config.host}:{config.port}"
        self._header = bytes(8)
        self._line = None if config.transport == "tcp" else Line()
        self._pause_s = max(config.request_pause, silence_s(config.baud_rate) if self._is_serial else 0.0)
        self._client = self._serial_client() if self._is_serial else self._tcp_client()
        self._client.ctx.max_buffer_size = RECEIVED_BYTES_MAX  # beyond it bytes vanish unseen
        self._client.ctx.comm_params.timeout_connect = None  # type: ignore[assignment]  # waits for ever: see `ask`

    def _tcp_client(self) -> AsyncModbusTcpClient:
        return AsyncModbusTcpClient(
            self._config.host,
            port=self._config.port,
            framer=FramerType.SOCKET if self._line is None else FramerType.RTU,
            reconnect_delay=0,
            retries=0,
            trace_packet=self._see_packet,
            trace_connect=self._see_connect,
        )

    def _serial_client(self) -> AsyncModbusSerialClient:
        return AsyncModbusSerialClient(
            self.where,
            framer=FramerType.RTU,
            baudrate=self._config.baud_rate,
            parity=_PARITIES[self._config.parity],
            stopbits=self._config.stop_bits,
            handle_local_echo=self._config.local_echo,
            reconnect_delay=0,
            retries=0,
            trace_packet=self._see_packet,
            trace_connect=self._see_connect,
        )

    @property
    def client(self) -> Client:
        """For `ask` only: it makes the request."""
        return self._client

    async def open(self) -> None:
        """Connect. Raises Unreachable."""
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                is_open = await self._client.connect()
        except _PORT_ERRORS as error:
            raise self._no_port(f"serial port does not take these settings: {error}") from error
        except TimeoutError as error:
            raise self._unreachable(f"no connection within {self._config.connect_timeout:g} s") from error
        if not is_open and self._is_serial:
            raise self._no_port("serial port cannot be opened")
        if not is_open:
            raise self._unreachable("device cannot be reached")
        for _ in range(2 if self._is_serial else 0):
            await asyncio.sleep(0)  # the library opens the port at once, but begins to read it in two steps after that

    def _no_port(self, what: str) -> Unreachable:
        step = "check its name and settings, the right to use it (group dialout), and that no other program holds it"
        return Unreachable(what, where=self.where, next_step=step, code="MS-0122")

    def close(self) -> None:
        """Close, once and for all."""
        self._client.close()

    async def ask(self, request: Callable[[Client], Awaitable[ModbusPDU]]) -> ModbusPDU:
        """The answer, also when it is an exception of the device.

        Raises NoAnswer without an answer in time (a late one is passed over by its transaction number, or, on a serial
        line, waited out), and DamagedAnswer. Raises Unreachable for a lost link and ProtocolViolation for an answer
        that is none, or for too many damaged ones in a row; then the link is closed.
        """
        await self._wait_before()
        try:
            async with asyncio.timeout(self._config.timeout):
                answer = await request(self._client)
        except TimeoutError as error:
            fault = self._late()
            if not isinstance(fault, NoAnswer | DamagedAnswer):
                self.close()
            raise fault from error
        except ModbusException as error:
            self.close()
            raise self._unreachable(f"link is closed: {error.string}") from error
        except DamagedAnswer:
            raise
        except (Unreachable, ProtocolViolation):
            self.close()
            raise
        if self._line is not None:
            self._line.answered()
        return answer

    async def _wait_before(self) -> None:
        """The pause between two requests, and until a line in doubt has come to rest, but no longer than `timeout`."""
        if self._pause_s:
            await self._clock.sleep(self._pause_s)
        if self._line is None:
            return
        end_ns = self._clock.monotonic_ns() + int(self._config.timeout * 1e9)
        while (now_ns := self._clock.monotonic_ns()) < end_ns and (rest_s := self._line.rest_s(now_ns)) > 0:
            await self._clock.sleep(rest_s)

    def _late(self) -> NoAnswer | ProtocolViolation:
        received = b"" if self._line is None else self._line.gave_up(self._clock.monotonic_ns())
        if received:
            return self._damaged(received, "it is cut off")
        return NoAnswer(f"no answer within {self._config.timeout:g} s", where=self.where, next_step=_NEXT_STEP)

    def _damaged(self, received: bytes, why: str) -> ProtocolViolation:
        assert self._line is not None
        frame = received[:FRAME_BYTES_MAX]
        if self._line.damaged():
            return ProtocolViolation(
                f"{DAMAGED_IN_A_ROW_MAX} damaged answers in a row",
                where=self.where,
                frame=frame,
                next_step="check baud rate, parity and stop bits, termination and shield of the line",
                code="MS-0121",
            )
        return DamagedAnswer(f"answer is damaged: {why}", where=self.where, frame=frame, code="MS-0121")

    def _unreachable(self, what: str) -> Unreachable:
        return Unreachable(what, where=self.where, next_step=_NEXT_STEP)

    def _see_packet(self, is_sent: bool, data: bytes) -> bytes:
        """Look at each frame before the library does, which waits for ever on some and fails the loop on others."""
        if self._line is not None:
            return self._see_frame(self._line, is_sent, data)
        if is_sent:
            self._header = data[:8]
            return data
        fault = answer_fault(data, self._header)
        if fault is None:
            return data
        frame = data[:FRAME_BYTES_MAX]
        self._fail(ProtocolViolation(f"answer is no Modbus frame: {fault}", where=self.where, frame=frame))
        return b""

    def _see_frame(self, line: Line, is_sent: bool, data: bytes) -> bytes:
        """Give the library nothing but the answer: it drops what lies behind a foreign frame, and says nothing of a
        wrong check sum."""
        if is_sent:
            line.sent(data)
            return data
        finding = line.received(data, self._clock.monotonic_ns())
        if finding.state is State.DAMAGED:
            self._fail(self._damaged(line.gave_up(self._clock.monotonic_ns()), "its check sum is wrong"))
        return finding.frame

    def _see_connect(self, is_connected: bool) -> None:
        if not is_connected:
            self._fail(self._unreachable("device closed the connection"))

    def _fail(self, error: Exception) -> None:
        waiting = self._client.ctx.response_future
        if not waiting.done():
            waiting.set_exception(error)
            waiting.exception()  # seen: between two requests nobody waits for it
