"""A device of another make, which has to be polled."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing

import pytest
from bacnet_kit import Heard, opened, tag, values
from cases.bacnet_peer import free_udp_port, node_device

from millstream.kernel import Unreachable
from millstream.sdk import Write

pytestmark = pytest.mark.needs("node-bacnet")

MANY = [f"av:{1000 + n}" for n in range(1, 301)]


async def test_values_carry_what_their_status_flags_say_with_wrong_names_beside_good_ones() -> None:
    async with node_device() as device, opened(device) as session:
        assert await values(
            session, "ai:1", "analog-input:2", "ai:3", "ao:1", "bo:1", "mv:1", "characterstring-value:1", "av:77",
            "ai:1.high-limit", "device:1234.system-status", "ai:1.object-name", "device:1234.object-list[2]",
        ) == [
            (21.5, "Good"), (-40.0, "Bad(0x808C0000)"), (3.0, "Uncertain(0x40910000)"), (50.0, "Good(0x00960000)"),
            (True, "Good"), (2, "Good"), ("größer als", "Good"), (None, "BadNodeIdUnknown"),
            (None, "BadNodeIdUnknown"), (0, "Good"), ("supply air", "Good"), ("analog-input:2", "Good"),
        ]  # fmt: skip


async def test_many_properties_share_a_request_within_what_the_device_takes() -> None:
    async with node_device() as device, opened(device) as session:
        for _ in range(2):
            before = await counters_of(session)
            found = await values(session, *MANY)
            assert found == [(float(n), "Good") for n in range(1, 301)]
            many, single = [b - a for a, b in zip(before, await counters_of(session), strict=True)]
            assert many <= 31  # 600 properties in answers of 480 bytes, and one request for the counters
            assert single == 0


async def counters_of(session: object) -> list[float]:
    """What the device was asked for: requests of many, requests of one."""
    return [value for value, _ in await values(session, "av:100", "av:101")]  # type: ignore[arg-type]


async def test_a_refused_request_is_split_and_the_split_is_remembered() -> None:
    heard = Heard()
    async with node_device("small") as device, opened(device, heard) as session:
        for _ in range(2):
            heard.events.clear()
            assert await values(session, *MANY[:20]) == [(float(n), "Good") for n in range(1, 21)]
        assert heard.events == []


async def test_a_device_that_reads_one_property_at_a_time_is_asked_so() -> None:
    heard = Heard()
    async with node_device("single") as device, opened(device, heard) as session:
        for _ in range(2):
            assert await values(session, "ai:1", "ai:2", "av:77") == [
                (21.5, "Good"), (-40.0, "Bad(0x808C0000)"), (None, "BadNodeIdUnknown"),
            ]  # fmt: skip
        assert heard.events == ["device reads one property a request only"]


async def test_refused_subscriptions_become_polling() -> None:
    heard = Heard()
    async with node_device() as device, opened(device, heard) as session:
        seen: list[object] = []
        async with (
            asyncio.timeout(60),
            aclosing(session.stream([tag("ai:1", 0.05), tag("bo:1", 0.05)], None)) as stream,
        ):
            async for batch in stream:
                seen += [sample.value for sample in batch.samples]
                if len(seen) >= 10:
                    break
        assert set(seen) == {21.5, True}
        assert heard.events == ["device has no subscriptions, polled instead"]


async def test_writes_carry_their_priority_and_null_relinquishes() -> None:
    async with node_device() as device, opened(device, priority=12) as session:
        results = await session.write([Write(tag("av:7"), 19), Write(tag("bo:1"), False), Write(tag("mv:1"), 3)])
        assert [result.quality.label for result in results] == ["Good"] * 3
        assert await values(session, "av:7", "bo:1", "mv:1", "av:102") == [
            (19.0, "Good"), (False, "Good"), (3, "Good"), (12.0, "Good"),
        ]  # fmt: skip
        (result,) = await session.write([Write(tag("av:7", priority=8), 25)])
        assert await values(session, "av:7") == [(25.0, "Good")]
        (result,) = await session.write([Write(tag("av:7", priority=8), None)])
        assert result.quality.is_good
        assert await values(session, "av:7", "av:102") == [(19.0, "Good"), (8.0, "Good")]  # what priority 12 holds
        await session.write([Write(tag("av:7"), None)])
        assert await values(session, "av:7") == [(0.0, "Good")]


async def test_a_value_that_does_not_fit_is_refused_with_the_reason_and_the_others_are_written() -> None:
    async with node_device() as device, opened(device) as session:
        results = await session.write(
            [
                Write(tag("av:7"), "warm"),
                Write(tag("av:7"), 1e39),
                Write(tag("mv:1"), 1.5),
                Write(tag("mv:1"), -1),
                Write(tag("mv:1"), 9),
                Write(tag("ai:1"), 1.0),
                Write(tag("av:77"), 1.0),
                Write(tag("characterstring-value:1"), "kälter"),
            ]
        )
        assert [result.quality.label for result in results] == [
            "BadTypeMismatch", "BadOutOfRange", "BadTypeMismatch", "BadOutOfRange", "BadOutOfRange", "BadNotWritable",
            "BadNodeIdUnknown", "Good",
        ]  # fmt: skip
        assert all(result.reason for result in results[:-1])
        assert await values(session, "characterstring-value:1") == [("kälter", "Good")]


@pytest.mark.parametrize("words", [(), ("unlisted",)])
async def test_the_objects_are_listed_with_names_and_units_in_one_piece_or_by_elements(words: tuple[str, ...]) -> None:
    async with node_device(*words) as device, opened(device) as session:
        nodes = {node.address: node async for node in session.browse()}
        first = nodes["analog-input:1"]
        assert (first.name, first.unit, first.description, first.is_writable) == (
            "supply air", "degC", "roof", False,
        )  # fmt: skip
        assert nodes["binary-output:1"].data_type == "bool"
        assert nodes["analog-value:7"].is_writable
        assert not any(address.startswith("device:") for address in nodes)
        assert [node.name async for node in session.browse("multi-state")] == ["mode"]


async def test_a_restarted_device_is_read_again_by_a_new_session() -> None:
    async with node_device() as device:
        async with opened(device, timeout="300ms", retries=1) as session:
            assert await values(session, "ai:1") == [(21.5, "Good")]
            await device.stop()
            with pytest.raises(Unreachable):
                await values(session, "ai:1")
            results = await session.write([Write(tag("av:7"), 1.0), Write(tag("av:7"), 2.0)])
            assert [result.quality.label for result in results] == ["BadNoCommunication"] * 2
        with pytest.raises(Unreachable):
            async with opened(device, timeout="200ms", retries=0):
                pass
        await device.start()
        async with opened(device) as session:
            assert await values(session, "ai:1") == [(21.5, "Good")]


async def test_another_device_at_the_address_is_not_read() -> None:
    async with node_device() as device:
        with pytest.raises(Unreachable) as caught:
            async with opened(device, device_id=1235):
                pass
        assert caught.value.code == "MS-1402"
        async with opened(device, device_id=1234) as session:
            assert await values(session, "ai:1") == [(21.5, "Good")]


async def test_a_port_that_is_taken_is_not_shared() -> None:
    """The stack sets SO_REUSEPORT, and each of two programs would get some of the answers."""
    async with node_device() as device:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.3", 0))
            with pytest.raises(Unreachable) as caught:
                async with opened(device, bind=f"127.0.0.3/8:{other.getsockname()[1]}"):
                    pass
        assert caught.value.code == "MS-1404"


async def test_an_own_address_that_is_not_there_is_said_at_once() -> None:
    """The stack would try to bind it for ever."""
    async with node_device() as device, asyncio.timeout(30):
        with pytest.raises(Unreachable) as caught:
            async with opened(device, bind="192.0.2.99/24"):
                pass
        assert caught.value.code == "MS-1404"


async def test_frames_of_a_stranger_are_not_looked_at_and_its_requests_not_answered() -> None:
    port = free_udp_port("127.0.0.3")
    async with node_device() as device, opened(device, bind=f"127.0.0.3/8:{port}", cov=False) as session:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.9", 0))
            stranger.setblocking(False)
            for frame in ("810a0008ffffffff", "810a001101040275" + "010c0c023fffff194d", "00" * 40, ""):
                stranger.sendto(bytes.fromhex(frame), ("127.0.0.3", port))
            async with asyncio.timeout(60), aclosing(session.stream([tag("ai:1", 0.05)], None)) as stream:
                for _ in range(3):
                    batch = await anext(stream)
                    assert not batch.frames_bad
                    assert [sample.value for sample in batch.samples] == [21.5]
            with pytest.raises(BlockingIOError):
                stranger.recv(1500)
