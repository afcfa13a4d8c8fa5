"""A foreign device: this edge, registered with a BBMD so that broadcasts of another subnet reach it and its own go
there (ASHRAE 135-2020, annex J.5.2). Devices are found by that; what is asked of them goes there directly."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from bacpypes3.comm import bind
from bacpypes3.ipv4.bvll import BVLLCodec
from bacpypes3.ipv4.service import BIPForeign, UDPMultiplexer
from bacpypes3.pdu import IPv4Address

from millstream.kernel import Unreachable

CODE = "MS-1407"
POLL_S = 0.02  # the stack tells a refusal to nobody


class ForeignLayer(BIPForeign):  # type: ignore[misc]  # untyped library
    """BACnet/IP over a socket, by way of a BBMD."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        self.codec, self.multiplexer, self.server = BVLLCodec(), UDPMultiplexer(), server
        bind(self, self.codec, self.multiplexer.annexJ)
        bind(self.multiplexer, server)

    async def join(self, bbmd: tuple[str, int], lifetime_s: float, timeout_s: float) -> None:
        """Register; the stack renews it. Raises Unreachable (MS-1407)."""
        where = f"{bbmd[0]}:{bbmd[1]}"
        self.register(IPv4Address(where), max(1, int(lifetime_s)))
        try:
            async with asyncio.timeout(timeout_s):
                while not self._registration_event.is_set():
                    if self.bbmdRegistrationStatus > 0:
                        raise Unreachable(
                            "the BBMD refuses foreign devices", where=where,
                            got=f"result 0x{int(self.bbmdRegistrationStatus):04x}",
                            next_step="allow foreign device registration in the BBMD, or name another one", code=CODE,
                        )  # fmt: skip
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise Unreachable(
                f"the BBMD does not answer within {timeout_s:g} s", where=where, next_step="correct `bbmd`", code=CODE
            ) from error

    async def leave(self) -> None:
        """Take the registration back, and stop renewing it."""
        bbmd, self.bbmdRegistrationStatus = self.bbmdAddress, -2
        self._stop_tracking_registration()
        if bbmd is not None:
            with contextlib.suppress(OSError):
                await self._stop_registration(bbmd)

    def close(self) -> None:
        """Close the sockets."""
        self.server.close()
