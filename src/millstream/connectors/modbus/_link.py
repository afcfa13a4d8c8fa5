"""One connection to a Modbus TCP device: one request in flight, own deadlines, and nothing that opens it again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ModbusPDU

from millstream.connectors.modbus._config import ModbusConfig
from millstream.kernel import Clock, ProtocolViolation, Unreachable
from millstream.protocols.modbus_plan import answer_fault

FRAME_BYTES_MAX = 260  # MODBUS Messaging on TCP/IP 1.0b, 3.1.3; of a broken frame no more is kept
RECEIVED_BYTES_MAX = 1 << 20
_NEXT_STEP = "check cable, address and port; many devices take one client"

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # what it says there is raised here as an error


class NoAnswer(Unreachable):
    """A request was not answered in time; the link may still be good for others."""


class Link:
    """The library's client, without its retries, its reconnecting and its deadlines.

    Those would start a second connection beside the supervisor's, and its way of waiting can swallow a cancellation.
    """

    def __init__(self, config: ModbusConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.where = f"{config.host}:{config.port}"
        self._header = bytes(8)
        self._client = AsyncModbusTcpClient(
            config.host,
            port=config.port,
            reconnect_delay=0,
            retries=0,
            trace_packet=self._see_packet,
            trace_connect=self._see_connect,
        )
        self._client.ctx.max_buffer_size = RECEIVED_BYTES_MAX  # beyond it bytes vanish unseen
        self._client.ctx.comm_params.timeout_connect = None  # type: ignore[assignment]  # waits for ever: see `ask`

    @property
    def client(self) -> AsyncModbusTcpClient:
        """For `ask` only: it makes the request."""
        return self._client

    async def open(self) -> None:
        """Connect. Raises Unreachable."""
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                is_open = await self._client.connect()
        except TimeoutError as error:
            raise self._unreachable(f"no connection within {self._config.connect_timeout:g} s") from error
        if not is_open:
            raise self._unreachable("device cannot be reached")

    def close(self) -> None:
        """Close, once and for all."""
        self._client.close()

    async def ask(self, request: Callable[[AsyncModbusTcpClient], Awaitable[ModbusPDU]]) -> ModbusPDU:
        """The answer, also when it is an exception of the device.

        Raises NoAnswer without an answer in time (a late one is passed over by its transaction number). Raises
        Unreachable for a lost link and ProtocolViolation for an answer that is none; then the link is closed.
        """
        if self._config.request_pause:
            await self._clock.sleep(self._config.request_pause)
        try:
            async with asyncio.timeout(self._config.timeout):
                return await request(self._client)
        except TimeoutError as error:
            raise NoAnswer(
                f"no answer within {self._config.timeout:g} s", where=self.where, next_step=_NEXT_STEP
            ) from error
        except ModbusException as error:
            self.close()
            raise self._unreachable(f"link is closed: {error.string}") from error
        except (Unreachable, ProtocolViolation):
            self.close()
            raise

    def _unreachable(self, what: str) -> Unreachable:
        return Unreachable(what, where=self.where, next_step=_NEXT_STEP)

    def _see_packet(self, is_sent: bool, data: bytes) -> bytes:
        """Look at each frame before the library does, which waits for ever on some and fails the loop on others."""
        if is_sent:
            self._header = data[:8]
            return data
        fault = answer_fault(data, self._header)
        if fault is None:
            return data
        frame = data[:FRAME_BYTES_MAX]
        self._fail(ProtocolViolation(f"answer is no Modbus frame: {fault}", where=self.where, frame=frame))
        return b""

    def _see_connect(self, is_connected: bool) -> None:
        if not is_connected:
            self._fail(self._unreachable("device closed the connection"))

    def _fail(self, error: Exception) -> None:
        waiting = self._client.ctx.response_future
        if not waiting.done():
            waiting.set_exception(error)
            waiting.exception()  # seen: between two requests nobody waits for it
