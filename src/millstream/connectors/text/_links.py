"""Ways to a device: a connection to it, connections from it, a serial port. Each puts what comes into the inbox."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from millstream.connectors.text._config import TextConfig
from millstream.connectors.text._inbox import Inbox
from millstream.kernel import Unreachable

if TYPE_CHECKING:
    import serial

LINES_COUNT_MAX = 16  # devices that may be connected to one port at a time
UNSENT_BYTES_MAX = 4096  # commands that a device does not take are dropped beyond this
READ_BYTES = 4096
_PARITIES = {"none": "N", "even": "E", "odd": "O"}
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))  # a dead device is noticed in a minute


@contextlib.asynccontextmanager
async def opened(config: TextConfig) -> AsyncIterator[Inbox]:
    """Connected, or listening with a device there; everything is closed on exit. Raises Unreachable."""
    inbox = Inbox()
    opening = {"tcp": _connected, "listen": _listening, "serial": _plugged}[config.transport]
    try:
        async with opening(config, inbox):
            yield inbox
    finally:
        inbox.close()


@contextlib.asynccontextmanager
async def _connected(config: TextConfig, inbox: Inbox) -> AsyncIterator[None]:
    where = f"{config.host}:{config.port}"
    step = "check cable, address and port; many devices take one client"
    try:
        async with asyncio.timeout(config.connect_timeout):
            await asyncio.get_running_loop().create_connection(lambda: _Socket(inbox, where), config.host, config.port)
    except TimeoutError as error:
        raise Unreachable(f"no connection within {config.connect_timeout:g} s", where=where, next_step=step) from error
    except OSError as error:
        raise Unreachable(f"device cannot be reached: {error}", where=where, next_step=step) from error
    yield


@contextlib.asynccontextmanager
async def _listening(config: TextConfig, inbox: Inbox) -> AsyncIterator[None]:
    where = f"{config.host}:{config.port}"
    networks = [ipaddress.ip_network(text) for text in config.allowed]

    def may_join(address: str) -> bool:
        found = ipaddress.ip_address(address.partition("%")[0])
        is_allowed = not networks or any(found in network for network in networks)
        return is_allowed and len(inbox.lines) < LINES_COUNT_MAX

    try:
        # Not yet serving: cancelled in its last step, the loop would leave a server behind that nobody knows.
        server = await asyncio.get_running_loop().create_server(
            lambda: _Socket(inbox, where, may_join), config.host, config.port, start_serving=False
        )
    except OSError as error:
        raise _cannot_listen(error, where) from error
    try:
        await _first_device(server, inbox, config.connect_timeout, where)
        yield
    finally:
        server.close()


async def _first_device(server: asyncio.Server, inbox: Inbox, timeout_s: float, where: str) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await server.start_serving()
            await inbox.wait_for_a_line()
    except TimeoutError as error:
        raise Unreachable(f"no device has connected within {timeout_s:g} s", where=where, code="MS-1902") from error
    except OSError as error:
        raise _cannot_listen(error, where) from error


def _cannot_listen(error: OSError, where: str) -> Unreachable:
    return Unreachable(f"cannot listen: {error.strerror}", where=where, code="MS-1901")


class _Socket(asyncio.Protocol):
    """One connection."""

    def __init__(self, inbox: Inbox, where: str, may_join: Callable[[str], bool] | None = None) -> None:
        self._inbox = inbox
        self._where = where
        self._may_join = may_join
        self._transport: asyncio.Transport | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join, when it may."""
        assert isinstance(transport, asyncio.Transport)
        self.peer = str(transport.get_extra_info("peername")[0])
        if self._may_join is not None and not self._may_join(self.peer):
            transport.abort()
            return
        self._transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._inbox.joined(self)

    def data_received(self, data: bytes) -> None:
        """Into the inbox."""
        self._inbox.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The device closed it, or the network did."""
        reason = f"link is lost: {exc}" if exc is not None else "device closed the connection"
        self._inbox.left(self, Unreachable(reason, where=self._where))

    def write(self, data: bytes) -> bool:
        """See `Line`."""
        if self._transport is None or self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            return False
        self._transport.write(data)
        return True

    def pause(self) -> None:
        """See `Line`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """See `Line`."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """See `Line`."""
        if self._transport is not None:
            self._transport.abort()


@contextlib.asynccontextmanager
async def _plugged(config: TextConfig, inbox: Inbox) -> AsyncIterator[None]:
    import serial

    name = config.serial_port or ""
    try:
        port = serial.Serial(
            name,
            config.baud_rate,
            config.data_bits,
            _PARITIES[config.parity],
            config.stop_bits,
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
    except _port_errors() as error:
        raise Unreachable(
            f"serial port cannot be opened: {error}",
            where=name,
            next_step="check its name, settings and the right to use it (group dialout); end other programs on it",
            code="MS-0122",
        ) from error
    line = _Port(inbox, name, port)
    line.resume()
    inbox.joined(line)
    yield


def _port_errors() -> tuple[type[Exception], ...]:
    """What pyserial lets through; a refused setting is no OSError to the operating system's module."""
    try:
        import termios
    except ImportError:
        return (OSError, ValueError)
    return (OSError, ValueError, termios.error)


class _Port:
    """A serial port; what is not read from it stays with the operating system, and then with the device."""

    def __init__(self, inbox: Inbox, name: str, port: serial.Serial) -> None:
        self._inbox = inbox
        self._port = port
        self._loop = asyncio.get_running_loop()
        self.peer = name

    def write(self, data: bytes) -> bool:
        """See `Line`."""
        try:
            return bool(self._port.write(data) == len(data))
        except BlockingIOError:
            return False
        except _port_errors() as error:
            self._lose(error)
            return False

    def pause(self) -> None:
        """See `Line`."""
        self._loop.remove_reader(self._port.fileno())

    def resume(self) -> None:
        """See `Line`."""
        self._loop.add_reader(self._port.fileno(), self._read)

    def close(self) -> None:
        """See `Line`."""
        if self._port.is_open:
            self.pause()
            self._port.close()

    def _read(self) -> None:
        try:
            data = self._port.read(READ_BYTES)
        except _port_errors() as error:
            self._lose(error)
            return
        if data:
            self._inbox.received(self, data)

    def _lose(self, error: Exception) -> None:
        self.close()
        self._inbox.left(self, Unreachable(f"serial port is lost: {error}", where=self.peer))
