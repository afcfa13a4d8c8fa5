"""A device in another subnet is found through its BBMD."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from bacnet_kit import opened, tag
from cases.bacnet_peer import BacnetDevice, bbmd, cov_device
from pydantic import ValidationError

from millstream.connectors.bacnet import BacnetConfig
from millstream.kernel import Unreachable

THROUGH = {"host": "", "bind": "127.0.0.3/32:0", "device_id": 999}
NAK = bytes.fromhex("810000060030")  # Result: Register-Foreign-Device NAK, annex J.2.1


async def foreign_count(peer: BacnetDevice) -> int:
    """Registrations that the BBMD has now."""
    peer.signal(signal.SIGUSR1)
    assert peer.process is not None
    assert peer.process.stdout is not None
    async with asyncio.timeout(60):
        return int(json.loads(await peer.process.stdout.readline())["foreign"])


@asynccontextmanager
async def answering(reply: bytes | None) -> AsyncIterator[int]:
    """A port that answers each datagram so; None: never."""

    class Echo(asyncio.DatagramProtocol):
        """One answer for all."""

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            if reply is not None:
                self.transport.sendto(reply, address)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, ("127.0.0.5", 0))
    try:
        yield int(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


async def test_a_device_is_found_through_a_bbmd_and_the_registration_is_taken_back() -> None:
    async with cov_device(0.05) as device, bbmd(device.port) as peer:
        way = {**THROUGH, "bbmd": f"{peer.address}:{peer.port}"}
        async with opened(device, **way) as session, aclosing(session.stream([tag("ai:1")], None)) as stream:
            async with asyncio.timeout(60):
                (sample, *_) = (await anext(stream)).samples
            assert sample.value == 20.5
            assert await foreign_count(peer) == 1
        async with asyncio.timeout(60):
            while await foreign_count(peer):
                await asyncio.sleep(0.05)
        with pytest.raises(Unreachable, match="no device 998") as caught:
            async with opened(device, **{**way, "device_id": 998, "find_timeout": "500ms"}):
                pass
        assert caught.value.code == "MS-1402"
        with pytest.raises(Unreachable):  # without it nobody hears the question
            async with opened(device, **{**THROUGH, "find_timeout": "300ms"}):
                pass


@pytest.mark.parametrize(("reply", "words"), [(NAK, "refuses foreign devices"), (None, "does not answer")])
async def test_a_bbmd_that_refuses_or_is_none_is_told(reply: bytes | None, words: str) -> None:
    async with answering(reply) as port:
        with pytest.raises(Unreachable, match=words) as caught:
            async with opened(
                BacnetDevice((), port=47808), **{**THROUGH, "bbmd": f"127.0.0.5:{port}", "find_timeout": "1s"}
            ):
                pass
    assert caught.value.code == "MS-1407"


@pytest.mark.parametrize("wrong", ["bbmd.example", "192.0.2.1:0", "192.0.2.1:99999", "192.0.2.1:x"])
def test_a_bbmd_without_an_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        BacnetConfig.model_validate({"device_id": 1, "bbmd": wrong})
