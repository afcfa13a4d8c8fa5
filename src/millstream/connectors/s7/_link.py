"""One connection to a PLC: the library's blocking client in a thread of its own, with deadlines from outside.

A thread cannot be cancelled; what it waits for can. So a call that is given up shuts the socket down, which ends the
thread's waiting at once, and with it the link: the rest of an answer must not be taken for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from snap7 import Client
from snap7.connection import ISOTCPConnection
from snap7.datatypes import S7Area, S7WordLen
from snap7.error import S7ConnectionError, S7Error, S7PacketLostError, S7StalePacketError, S7TimeoutError
from snap7.type import Block as BlockType

from millstream.connectors.s7._config import CONNECTION_TYPES, S7Config
from millstream.connectors.s7._faults import header_error
from millstream.kernel import AuthError, DecodeError, PlantError, ProtocolViolation, Unreachable
from millstream.protocols.s7_address import Area
from millstream.protocols.s7_plan import Block
from millstream.protocols.s7_values import Patch
from millstream.protocols.s7_wire import (
    Answer,
    Item,
    cpu_state,
    parse_answer,
    parse_items,
    parse_write_code,
    pdu_bytes_of,
)

LOCAL_TSAP = 0x0100
CODE_REFUSED = "MS-1201"
IDENTITY_CHARACTERS_MAX = 64
STATE_LIST = 0x0424  # the system status list that holds the CPU's mode
DATA_BLOCKS_COUNT_MAX = 65535
WRITE_OVERHEAD_BYTES = 28  # header 10, parameters 14, item 4
_BROKEN_ANSWERS = (  # how the library words what no PLC that merely refuses would send
    "PDU too short", "Invalid protocol ID", "Expected response PDU", "S7 response contains",
    "Parameter section extends", "Data section extends", "Max stale",
)  # fmt: skip
_NEXT_STEP = "check cable, address and port; 102 must be open between here and the PLC"

# What it says there is raised here as an error.
logging.getLogger("snap7").setLevel(logging.CRITICAL)
T = TypeVar("T")


class Link:
    """The library's client without its retries, its heartbeat and its reading of answers, which loses return codes."""

    def __init__(self, config: S7Config) -> None:
        self._config = config
        self.where = f"{config.host}:{config.port}"
        self.pdu_bytes = 0
        self._client = Client()
        self._connection: ISOTCPConnection | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()  # one call at a time, so that nothing queues up before the thread

    async def open(self) -> None:
        """Connect and agree on the PDU. Raises Unreachable, AuthError, ProtocolViolation, ConfigError (secret)."""
        config = self._config
        password = await asyncio.to_thread(config.password.resolve) if config.password is not None else None
        try:
            async with asyncio.timeout(config.connect_timeout):
                found = await asyncio.get_running_loop().getaddrinfo(
                    config.host, config.port, family=socket.AF_INET, type=socket.SOCK_STREAM
                )
        except (OSError, TimeoutError) as error:
            raise self._unreachable(f"name cannot be resolved: {error or 'no answer'}") from error
        address = found[0][4]
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="s7")
        await self._call(lambda: self._connect(str(address[0])), 2 * config.connect_timeout + config.timeout)
        if password is not None:
            await self._call(lambda: self._log_in(password), config.timeout)

    def close(self) -> None:
        """Give the socket and the thread back; also when a call is under way."""
        if self._executor is None:
            return
        if self._turn.locked():
            self._hang_up()
        self._executor.submit(self._disconnect)
        self._executor.shutdown(wait=False)
        self._executor = None

    async def read_blocks(self, requests: Sequence[tuple[Block, ...]]) -> list[list[Item]]:
        """The items of each request. Raises Unreachable, AuthError, ProtocolViolation; then the link is gone."""
        build = self._client.protocol.build_multi_read_request

        def exchange() -> list[tuple[bytes, bytes]]:
            made = (build([(b.area.value, b.db, b.start, b.size_bytes) for b in blocks]) for blocks in requests)
            return [(request, self._exchange(request)) for request in made]

        pairs = await self._call(exchange, self._config.timeout * max(1, len(requests)))
        return [
            self._parsed(frame, request, partial(parse_items, blocks=blocks))
            for (request, frame), blocks in zip(pairs, requests, strict=True)
        ]

    async def write(self, area: Area, db: int, patch: Patch) -> int:
        """Write, and give the PLC's return code. Raises as `read_blocks`."""
        is_bit = patch.bit is not None
        request = self._client.protocol.build_write_request(
            S7Area(area.value),
            db,
            patch.start * 8 + patch.bit if patch.bit is not None else patch.start,
            S7WordLen.BIT if is_bit else S7WordLen.BYTE,
            patch.data,
        )
        frame = await self._call(lambda: self._exchange(request), self._config.timeout)
        return self._parsed(frame, request, parse_write_code)

    async def cpu_state(self) -> tuple[bool, str] | None:
        """Whether the CPU runs, and its mode in words; None when it does not tell. Raises as `read_blocks`.

        Not by the library's `get_cpu_state`, which says "run" whatever the PLC answers.
        """

        def ask() -> tuple[bool, str]:
            found = self._client.read_szl(STATE_LIST, 0)
            return cpu_state(bytes(found.Data)[: found.Header.LengthDR])

        return await self._call(lambda: self._told(ask), self._config.timeout)

    async def identity(self) -> dict[str, str]:
        """Order number, module, station and serial number, as far as the CPU tells. Raises as `read_blocks`."""
        order = await self._call(lambda: self._told(self._client.get_order_code), self._config.timeout)
        info = await self._call(lambda: self._told(self._client.get_cpu_info), self._config.timeout)
        found = {} if order is None else {"order_number": order.OrderCode}
        if info is not None:
            found |= {"module": info.ModuleTypeName, "station": info.ASName, "serial": info.SerialNumber}
        return {name: _text(raw) for name, raw in found.items()}

    async def data_blocks(self) -> list[int] | None:
        """The numbers of the data blocks; None when the CPU does not list them. Raises as `read_blocks`."""

        def ask() -> list[int]:
            return self._client.list_blocks_of_type(BlockType.DB, DATA_BLOCKS_COUNT_MAX)

        return await self._call(lambda: self._told(ask), self._config.connect_timeout + self._config.timeout)

    async def data_block_bytes(self, number: int) -> int | None:
        """The size of a data block; None when the CPU does not tell. Raises as `read_blocks`."""
        return await self._call(
            lambda: self._told(lambda: int(self._client.get_block_info(BlockType.DB, number).MC7Size)),
            self._config.timeout,
        )

    async def _call(self, work: Callable[[], T], deadline_s: float) -> T:
        async with self._turn:
            if self._executor is None:
                raise self._unreachable("link is closed")
            future = asyncio.get_running_loop().run_in_executor(self._executor, work)
            try:
                async with asyncio.timeout(deadline_s):
                    return await future
            except TimeoutError as error:
                self._hang_up()
                raise self._unreachable(f"no whole answer within {deadline_s:g} s") from error
            except (asyncio.CancelledError, PlantError):
                self._hang_up()
                raise

    def _hang_up(self) -> None:
        connection = self._connection
        open_socket = connection.socket if connection is not None else None
        if open_socket is not None:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def _parsed(self, frame: bytes, request: bytes, read: Callable[[Answer], T]) -> T:
        try:
            answer = parse_answer(frame, request)
            if answer.error:
                self._hang_up()
                raise header_error(answer.error, self.where)
            return read(answer)
        except DecodeError as error:
            self._hang_up()
            raise ProtocolViolation(
                error.what, where=self.where, expected=error.expected, got=error.got, frame=frame
            ) from error

    # From here on: inside the thread.

    def _connect(self, address: str) -> None:
        config = self._config
        tsap = CONNECTION_TYPES[config.connection_type] << 8 | config.rack << 5 | config.slot
        connection = ISOTCPConnection(address, config.port, LOCAL_TSAP, tsap)
        self._connection = connection
        try:
            connection.connect(timeout=config.connect_timeout)
        except S7Error as error:
            raise self._not_connected(error) from error
        if connection.socket is not None:
            connection.socket.settimeout(config.timeout)
        request = self._client.protocol.build_setup_communication_request(pdu_length=config.pdu_bytes)
        self.pdu_bytes = min(self._parsed(self._exchange(request), request, pdu_bytes_of), config.pdu_bytes)
        self._client.connection = connection
        self._client.pdu_length = self.pdu_bytes
        self._client.connected = True

    def _not_connected(self, error: S7Error) -> PlantError:
        if str(error).startswith("TCP connection failed"):
            return self._unreachable(f"device cannot be reached: {error}")
        if isinstance(error, S7TimeoutError):
            return self._unreachable(f"port is open, but nobody speaks S7 within {self._config.connect_timeout:g} s")
        if "Invalid" in str(error):
            return ProtocolViolation("device does not speak S7", where=self.where, got=str(error))
        return Unreachable(
            "the PLC refuses the connection",
            where=f"{self.where}, rack {self._config.rack}, slot {self._config.slot}",
            got=str(error),
            next_step="check rack and slot (S7-1200/1500: 0 and 1, S7-300: 0 and 2), or close another tool",
            code=CODE_REFUSED,
        )

    def _log_in(self, password: str) -> None:
        try:
            self._client.set_session_password(password)
        except (S7ConnectionError, S7TimeoutError) as error:
            raise self._translated(error) from error
        except S7Error as error:
            raise AuthError("the PLC refuses the password", where=self.where, got=str(error)) from error
        except ValueError as error:
            raise AuthError(
                "a PLC's password has one to eight ASCII characters", where=self.where, next_step="correct the secret"
            ) from error

    def _exchange(self, request: bytes) -> bytes:
        connection = self._connection
        if connection is None:
            raise self._unreachable("link is closed")
        try:
            connection.send_data(request)
            return connection.receive_data()
        except S7Error as error:
            raise self._translated(error) from error

    def _told(self, ask: Callable[[], T]) -> T | None:
        """The library's answer; None when the PLC refuses the question or answers in a way that the library cannot
        read."""
        try:
            return ask()
        except (S7ConnectionError, S7TimeoutError, S7StalePacketError, S7PacketLostError) as error:
            raise self._translated(error) from error
        except S7Error as error:
            if str(error).startswith(_BROKEN_ANSWERS):
                raise ProtocolViolation("no S7 answer", where=self.where, got=str(error)) from error
            return None
        except (RuntimeError, ValueError, LookupError, struct.error, DecodeError):
            return None

    def _translated(self, error: S7Error) -> PlantError:
        if isinstance(error, S7TimeoutError):
            return self._unreachable(f"no answer within {self._config.timeout:g} s")
        if str(error).startswith(("Invalid", "Expected", "Stale", "Packet lost")):
            return ProtocolViolation("answer is no frame that was waited for", where=self.where, got=str(error))
        return self._unreachable(f"link is closed: {error}")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
        self._client.connection = None
        self._client.connected = False

    def _unreachable(self, what: str) -> Unreachable:
        return Unreachable(what, where=self.where, next_step=_NEXT_STEP)


def _text(raw: bytes) -> str:
    """A text of the CPU on one line of bounded length."""
    text = bytes(raw).partition(b"\0")[0].decode("latin-1")
    return "".join(c if c.isprintable() else " " for c in text)[:IDENTITY_CHARACTERS_MAX].strip()
