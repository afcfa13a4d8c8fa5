"""Who a device says it is: List Identity, without a session (CIP Networks Library volume 2, 2-4.2)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from millstream.kernel import DecodeError, ProtocolViolation, Unreachable
from millstream.protocols.cip_identity import LIST_IDENTITY, LIST_IDENTITY_REQUEST, REPLY_BYTES_MAX, decode_identity
from millstream.sdk import Discovered, DiscoveryTools, Place

HEADER_BYTES = 24
CLOSE_TIMEOUT_S = 1.0


async def find_identity(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The device at `place`. Raises Unreachable when nothing answers, ProtocolViolation when it is none."""
    await tools.turn("connection")
    try:
        async with asyncio.timeout(tools.timeout_s):
            reader, writer = await asyncio.open_connection(place.host, place.port)
    except (OSError, TimeoutError) as error:
        raise Unreachable("device cannot be reached", where=str(place)) from error
    try:
        await tools.turn("EtherNet/IP List Identity")
        async with asyncio.timeout(tools.timeout_s):
            writer.write(LIST_IDENTITY_REQUEST)
            data = await _reply(reader)
    except (OSError, TimeoutError) as error:
        raise Unreachable("device does not answer", where=str(place)) from error
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await writer.wait_closed()
    try:
        identity = decode_identity(data)
    except DecodeError as error:
        raise ProtocolViolation("no EtherNet/IP device", where=str(place), frame=data, got=error.got) from error
    facts = {
        "vendor_id": str(identity.vendor_id),
        "device_type": str(identity.device_type),
        "product_code": str(identity.product_code),
        "revision": identity.revision,
        "serial": identity.serial,
    }
    config = {"host": place.host, "port": place.port}
    return [Discovered(str(place), identity.product_name, config, facts)]


async def _reply(reader: asyncio.StreamReader) -> bytes:
    """One answer, or what there is of it: what is wrong is found out by decoding it."""
    try:
        head = await reader.readexactly(HEADER_BYTES)
        if int.from_bytes(head[:2], "little") != LIST_IDENTITY:
            return head
        length = int.from_bytes(head[2:4], "little")
        return head + await reader.readexactly(min(length, REPLY_BYTES_MAX))
    except asyncio.IncompleteReadError as error:
        return error.partial
