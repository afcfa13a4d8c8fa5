"""One device on one UDP socket of our own, through the protocol stack of bacpypes3.

The stack's ways that are stopped here: it takes requests from anybody and would let them write its own device object;
it shares a port that is taken, and tries for ever to bind an address that is not there; its errors are no exceptions
in Python's sense and pass every `except Exception`; what it cannot decode it only logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from bacpypes3.apdu import (
    AbortPDU,
    AbortReason,
    ComplexAckPDU,
    ConfirmedCOVNotificationRequest,
    ConfirmedRequestPDU,
    ErrorRejectAbortNack,
    IAmRequest,
    RejectPDU,
    SimpleAckPDU,
    UnconfirmedCOVNotificationRequest,
    WhoIsRequest,
)
from bacpypes3.app import Application
from bacpypes3.comm import ServiceAccessPoint, bind
from bacpypes3.ipv4 import IPv4DatagramServer
from bacpypes3.ipv4.bvll import BVLLCodec
from bacpypes3.ipv4.service import BIPNormal, UDPMultiplexer
from bacpypes3.local.device import DeviceObject
from bacpypes3.pdu import Address, GlobalBroadcast, IPv4Address

from millstream.connectors.bacnet._config import APDU_BYTES_MAX, BacnetConfig
from millstream.connectors.bacnet._foreign import ForeignLayer
from millstream.kernel import PlantError, Unreachable
from millstream.protocols.bacnet_multiple import SERVICE as MULTIPLE
from millstream.protocols.bacnet_plan import INSTANCE_MAX, Trouble, abort_trouble, error_trouble, reject_trouble

NEXT_STEP = "check cable, address and port; BACnet/IP is UDP, so a firewall drops it without a word"
BROKEN_COUNT_MAX = 100  # frames kept until the next batch takes them
BROKEN_BYTES_MAX = 1500  # of each
GRACE_S = 1.0  # the stack's own timers come first
_NO_RESPONSE = int(AbortReason.noResponse)

logging.getLogger("bacpypes3").setLevel(logging.CRITICAL)  # what it says there is raised here as an error


class Refused(PlantError):
    """The device answers a request with an error, a reject or an abort. `error_code` is set for an error."""

    default_code = "MS-1403"

    def __init__(self, what: str, where: str, trouble: Trouble, error_code: int | None) -> None:
        super().__init__(what, where=where)
        self.trouble = trouble
        self.error_code = error_code


class _Server(IPv4DatagramServer):  # type: ignore[misc]  # untyped library
    """The stack's socket: frames of others than the device are not looked at, what cannot be decoded is kept."""

    def __init__(self, address: IPv4Address, link: BacnetLink) -> None:
        super().__init__(address)
        self._link = link

    async def confirmation(self, pdu: Any) -> None:
        """One datagram."""
        if pdu.pduSource.addrTuple == self.local_address or not self._link.is_of_device(pdu.pduSource.addrTuple):
            return
        try:
            await self.response(pdu)
        except Exception as error:  # noqa: BLE001 - the decoders of the library raise what happens to come
            self._link.keep_broken(bytes(pdu.pduData), f"{type(error).__name__}: {error}")


class _LinkLayer(BIPNormal):  # type: ignore[misc]  # untyped library
    """BACnet/IP over that socket."""

    def __init__(self, address: IPv4Address, link: BacnetLink) -> None:
        super().__init__()
        self.codec, self.multiplexer = BVLLCodec(), UDPMultiplexer()
        self.server = _Server(address, link)
        bind(self, self.codec, self.multiplexer.annexJ)
        bind(self.multiplexer, self.server)

    def close(self) -> None:
        """Close the sockets."""
        self.server.close()


class _Client(Application):  # type: ignore[misc]  # untyped library
    """Asks, and takes notifications; serves nobody."""

    on_notification: Callable[[Any], bool] | None = None
    on_i_am: Callable[[Any], None] | None = None

    async def indication(self, apdu: Any) -> None:
        """A request of another station."""
        if isinstance(apdu, IAmRequest):
            if self.on_i_am is not None:
                self.on_i_am(apdu)
        elif isinstance(apdu, UnconfirmedCOVNotificationRequest | ConfirmedCOVNotificationRequest):
            is_taken = self.on_notification is not None and self.on_notification(apdu)
            # Without room it is not acknowledged, and the device sends it again.
            if is_taken and isinstance(apdu, ConfirmedCOVNotificationRequest):
                await self.response(SimpleAckPDU(context=apdu))
        elif isinstance(apdu, ConfirmedRequestPDU):
            await self.response(RejectPDU(reason="unrecognizedService", context=apdu))

    async def confirmation(self, apdu: Any) -> None:
        """An answer. The stack takes a second one, or one to a cancelled request, for a fault of its own."""
        with contextlib.suppress(asyncio.InvalidStateError):
            await super().confirmation(apdu)


async def _pass_up(asap: Any, apdu: Any) -> None:
    """An answer on its way up. Those of many properties stay octets: what the stack makes of them costs the most."""
    if isinstance(apdu, ComplexAckPDU) and apdu.apduService == MULTIPLE:
        await ServiceAccessPoint.sap_response(asap, apdu)
    else:
        await type(asap).sap_response(asap, apdu)


class BacnetLink:
    """Opened once. Requests are answered, refused (`Refused`) or lost (Unreachable)."""

    def __init__(self, config: BacnetConfig) -> None:
        self._config = config
        self._app: Any = None
        self._layer: _LinkLayer | ForeignLayer | None = None
        self._own_tuple: tuple[str, int] = ("", 0)
        self._peer_tuple: tuple[str, int] | None = None
        self._broken: list[tuple[bytes, str]] = []
        self.device: Address | None = None
        self.where = config.where

    async def open(self) -> None:
        """Bind, and find the device's address. Raises Unreachable."""
        peer = await self._resolve() if self._config.host else None
        bbmd = self._config.bbmd_tuple
        own = self._own_address(peer or bbmd)
        self._probe_port(own)
        device = DeviceObject(objectIdentifier=("device", INSTANCE_MAX), objectName="millstream", vendorIdentifier=0)
        device.apduTimeout = max(1, int(self._config.timeout * 1000))
        device.numberOfApduRetries = self._config.retries
        device.maxApduLengthAccepted = APDU_BYTES_MAX
        self._app = _Client.from_object_list([device])
        self._app.asap.sap_response = partial(_pass_up, self._app.asap)
        self._layer = _LinkLayer(own, self) if bbmd is None else ForeignLayer(_Server(own, self))
        self._app.nsap.bind(self._layer, address=own)
        await asyncio.wait(self._layer.server._transport_tasks)
        if bbmd is not None and isinstance(self._layer, ForeignLayer):
            await self._layer.join(bbmd, self._config.bbmd_lifetime, self._config.find_timeout)
        if peer is not None:
            self._peer_tuple = peer
            self.device = Address(f"{peer[0]}:{peer[1]}")
        else:
            await self._find(own)

    async def _resolve(self) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._config.find_timeout):
                found = await loop.getaddrinfo(
                    self._config.host, self._config.port, family=socket.AF_INET, type=socket.SOCK_DGRAM
                )
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"name cannot be resolved: {error}", where=self.where, next_step=NEXT_STEP) from error
        return str(found[0][4][0]), self._config.port

    def _own_address(self, peer: tuple[str, int] | None) -> IPv4Address:
        if self._config.bind:
            return IPv4Address(self._config.bind if ":" in self._config.bind else f"{self._config.bind}:0")
        assert peer is not None  # the configuration has one of both
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(peer)  # sends nothing; the system picks the interface
            except OSError as error:
                raise self._lost(f"no way to the device: {error.strerror or error}") from error
            return IPv4Address(f"{probe.getsockname()[0]}/32:0")

    def _probe_port(self, own: IPv4Address) -> None:
        """The stack would share a port that is taken, and wait for ever for an address that is not there."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(own.addrTuple)
            except OSError as error:
                raise Unreachable(
                    f"own address {own} cannot be used: {error.strerror or error}",
                    where=self.where,
                    next_step="correct `bind`; one connector or program at a time has a port",
                    code="MS-1404",
                ) from error
        self._own_tuple = own.addrTuple

    async def _find(self, own: IPv4Address) -> None:
        number = self._config.device_id
        assert number is not None  # the configuration has one of both
        found: asyncio.Future[Address] = asyncio.get_running_loop().create_future()

        def see(apdu: Any) -> None:
            """Anybody's I-Am; the first of this number counts."""
            if int(apdu.iAmDeviceIdentifier[1]) == number and not found.done():
                found.set_result(apdu.pduSource)

        self._app.on_i_am = see
        # To the port of the devices, which is another one than ours where both are on one machine.
        network = f"the network of the BBMD {self._config.bbmd}"
        target: Any = GlobalBroadcast()
        if not self._config.bbmd:
            found_network = ipaddress.IPv4Interface(self._config.bind.partition(":")[0]).network
            network = str(found_network)
            if own.addrTuple[1] != self._config.port:
                target = Address(f"{found_network.broadcast_address}:{self._config.port}")
        try:
            self._app.request(
                WhoIsRequest(
                    destination=target, deviceInstanceRangeLowLimit=number, deviceInstanceRangeHighLimit=number
                )
            )
            async with asyncio.timeout(self._config.find_timeout):
                self.device = await found
            if self.device.is_localstation:  # behind a router the datagrams come from that
                self._peer_tuple = self.device.addrTuple
        except TimeoutError as error:
            raise Unreachable(
                f"no device {number} answers on {network}",
                where=self.where,
                next_step="check `device_id` and `bind`; give `host` for a device in another subnet",
                code="MS-1402",
            ) from error
        finally:
            self._app.on_i_am = None

    async def ask_number(self) -> int | None:
        """The device's number by Who-Is to its address; None when it keeps silent or answers to all instead."""
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def see(apdu: Any) -> None:
            """Only the device itself gets this far."""
            if not found.done():
                found.set_result(int(apdu.iAmDeviceIdentifier[1]))

        self._app.on_i_am = see
        try:
            self._app.request(WhoIsRequest(destination=self.device))
            async with asyncio.timeout(self._config.timeout):
                return await found
        except TimeoutError:
            return None
        finally:
            self._app.on_i_am = None

    def is_of_device(self, source: tuple[str, int]) -> bool:
        """While the device is being looked for anybody may speak, later only where it was found."""
        return self._peer_tuple is None or source in (self._peer_tuple, self._config.bbmd_tuple)

    def keep_broken(self, frame: bytes, reason: str) -> None:
        """A datagram that is no BACnet."""
        if len(self._broken) < BROKEN_COUNT_MAX:
            self._broken.append((frame[:BROKEN_BYTES_MAX], reason))

    @property
    def has_broken(self) -> bool:
        """Something was kept."""
        return bool(self._broken)

    def take_broken(self) -> list[tuple[bytes, str]]:
        """What was kept since the last call."""
        taken, self._broken = self._broken, []
        return taken

    def listen(self, take: Callable[[Any], bool]) -> None:
        """Give each COV notification to `take`, which says whether it had room."""
        self._app.on_notification = take

    async def ask_raw(self, service: int, octets: bytes) -> bytes:
        """The octets of the answer to a service request of `octets`. Raises as `ask`."""
        request = ConfirmedRequestPDU(service_choice=service)
        request.put_data(octets)
        answer = await self.ask(request)
        return bytes(answer.pduData)

    async def ask(self, request: Any) -> Any:
        """The device's answer. Raises Refused, and Unreachable after the last try."""
        request.pduDestination = self.device
        limit_s = self._config.timeout * (self._config.retries + 1) + GRACE_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._app.request(request)
        except TimeoutError as error:
            raise self._lost(f"no answer within {limit_s:g} s") from error
        except ErrorRejectAbortNack as refusal:
            raise self._translate(refusal) from refusal

    def _translate(self, refusal: ErrorRejectAbortNack) -> PlantError:
        reason = int(refusal.reason)
        if isinstance(refusal, AbortPDU):
            if reason == _NO_RESPONSE:
                return self._lost(
                    f"no answer within {self._config.timeout:g} s, asked {self._config.retries + 1} times"
                )
            return Refused(f"request aborted: {refusal}", self.where, abort_trouble(reason), None)
        if isinstance(refusal, RejectPDU):
            return Refused(f"request rejected: {refusal}", self.where, reject_trouble(reason), None)
        return Refused(f"request refused: {refusal}", self.where, error_trouble(reason), reason)

    def _lost(self, what: str) -> Unreachable:
        return Unreachable(what, where=self.where, next_step=NEXT_STEP)

    async def close(self) -> None:
        """Close the sockets, also those that are only being opened; when cancelled, all the same."""
        if self._layer is None:
            return
        tasks = list(self._layer.server._transport_tasks)
        is_cancelled = False
        if isinstance(self._layer, ForeignLayer):
            await self._layer.leave()
        while tasks and not all(task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:
                is_cancelled = True
        with contextlib.suppress(OSError):
            self._layer.close()
        await asyncio.sleep(0)  # the sockets are closed in the next turn of the loop, and the port is free then
        if is_cancelled:
            raise asyncio.CancelledError
