"""What no free simulator gives, against bytes built from the specification."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

import pytest
from cases.logix_stand_in import (
    LOGIX_STRING,
    MULTIPLE,
    READ,
    READ_PART,
    RECIPE,
    RECIPE_TEMPLATE,
    Item,
    Listener,
    StandIn,
    atomic,
    standing_in,
    text,
)
from cip_kit import opened, tag, values

from millstream.kernel import NotFoundError, ProtocolViolation, Unreachable
from millstream.sdk import Write

SEEDS_COUNT = 300
DRIVERS = pytest.mark.parametrize("driver", ["pylogix", "pycomm3"])


def plant() -> StandIn:
    """One tag of each kind."""
    return StandIn(
        {
            "Step": atomic(0xC4, "i", 7),
            "Speed": atomic(0xCA, "f", 2.5),
            "Profile": atomic(0xC4, "i", *range(20)),
            "Flags": atomic(0xD3, "I", 0, 1 << 8, 1),
            "Name": Item(LOGIX_STRING, text("kiln 3 é"), 88, 0x8FCE),
            "Recipe": Item(RECIPE, struct.pack("<if", 4, 1.5), 8, 0x8000 | RECIPE_TEMPLATE),
            "Recipe.Step": atomic(0xC4, "i", 4),
        }
    )


async def read_for_ever(port: int, driver: str) -> None:
    """Until it raises."""
    async with opened(port, driver=driver, timeout="2s") as session:
        while True:
            await values(session, "Step", "Speed")


async def test_logix_strings_packed_booleans_and_members_are_read_in_a_batch_and_alone() -> None:
    async with standing_in(plant()) as port, opened(port) as session:
        for _ in range(2):
            assert await values(session, "Step", "Name", "Flags[40]", "Flags[39]", "Flags[64]", "Recipe.Step") == [
                (7, "Good"), ("kiln 3 é", "Good"), (True, "Good"), (False, "Good"), (True, "Good"), (4, "Good"),
            ]  # fmt: skip
        assert await values(session, "Name", "Profile[18]{2}", "Flags[38]{4}") == [
            ("kiln 3 é", "Good"), ([18, 19], "Good"), ([False, False, True, False], "Good"),
        ]  # fmt: skip


async def test_a_whole_structure_is_a_type_mismatch_of_that_tag_and_is_not_asked_for_again() -> None:
    device = plant()
    async with standing_in(device) as port, opened(port, status_interval=0) as session:
        assert await values(session, "Recipe", "Step") == [(None, "BadTypeMismatch"), (7, "Good")]
        device.requests.clear()
        assert await values(session, "Recipe") == [(None, "BadTypeMismatch")]
        assert device.requests == []


async def test_bits_words_and_text_are_written() -> None:
    async with standing_in(plant()) as port, opened(port) as session:
        written = {"Step.3": True, "Flags[65]": True, "Name": "öfen", "Speed": 3, "Profile[0]{2}": [5, 6]}
        results = await session.write([Write(tag(address), value) for address, value in written.items()])
        assert [result.quality.label for result in results] == ["Good"] * 5
        assert await values(session, "Step", "Flags[64]{3}", "Name", "Speed", "Profile[0]{3}") == [
            (15, "Good"), ([True, True, False], "Good"), ("öfen", "Good"), (3.0, "Good"), ([5, 6, 2], "Good"),
        ]  # fmt: skip
        results = await session.write([Write(tag("Name"), "x" * 83), Write(tag("Recipe"), 1)])
        assert [result.quality.label for result in results] == ["BadOutOfRange", "BadTypeMismatch"]


async def test_a_tag_whose_type_has_changed_is_never_read_as_what_it_was() -> None:
    device = plant()
    async with standing_in(device) as port, opened(port) as session:
        assert await values(session, "Step", "Profile[0]{2}") == [(7, "Good"), ([0, 1], "Good")]
        device.tags["Step"] = atomic(0xCA, "f", 2.5)
        device.tags["Profile"] = atomic(0xCA, "f", 1.5, 2.5)
        assert await values(session, "Step", "Profile[0]{2}") == [(2.5, "Good"), ([1.5, 2.5], "Good")]
        device.tags["Step"] = atomic(0xC3, "h", 9)
        assert await values(session, "Step") == [(9, "Good")]


async def test_a_type_that_the_library_cannot_read_spoils_only_its_own_tag() -> None:
    device = plant()
    device.tags["Odd"] = Item(struct.pack("<H", 0xE7), b"\1\2", 2)
    device.tags["Word"] = atomic(0xD2, "H", 5)
    async with standing_in(device) as port, opened(port) as session:
        for _ in range(2):
            found = await values(session, "Step", "Odd", "Speed", "Word")
            assert [label for _, label in found] == ["Good", "BadDecodingError", "Good", "BadDecodingError"]


async def test_a_device_that_takes_no_batches_is_asked_for_each_tag_alone() -> None:
    device = plant()
    device.takes_batches = False
    async with standing_in(device) as port, opened(port, status_interval=0) as session:
        for _ in range(2):
            device.requests.clear()
            assert await values(session, "Step", "Speed", "No") == [
                (7, "Good"), (2.5, "Good"), (None, "BadNodeIdUnknown"),
            ]  # fmt: skip
        assert MULTIPLE not in device.requests


@DRIVERS
async def test_a_refused_route_names_the_slot(driver: str) -> None:
    device = plant()
    device.forward_open_status = bytes.fromhex("01 01 1203")
    async with standing_in(device) as port:
        with pytest.raises(Unreachable, match=r"route 1/3.*wrong slot") as caught:
            async with opened(port, slot=3, driver=driver):
                pass
        assert caught.value.code == "MS-1302"


@DRIVERS
@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({}, "0100 2002 2401"),
        ({"slot": 3}, "0103 2002 2401"),
        ({"route": "1/2/2/192.168.5.10/1/0"}, "0102 12 0c" + b"192.168.5.10".hex() + "0100 2002 2401"),
    ],
)
async def test_the_route_goes_out_as_the_specification_writes_it(
    driver: str, config: dict[str, object], path: str
) -> None:
    """Volume 1, C-1.4.1: a port segment is the port and a slot, or the port with a length and an address."""
    device = plant()
    async with standing_in(device) as port, opened(port, driver=driver, **config) as session:
        assert await values(session, "Step") == [(7, "Good")]
        assert device.opened_paths[0] == bytes.fromhex(path)


async def test_a_micro800_is_reached_without_a_route_and_asked_for_one_tag_at_a_time() -> None:
    device = plant()
    async with standing_in(device) as port, opened(port, micro800=True) as session:
        assert await values(session, "Step", "Speed", "No") == [(7, "Good"), (2.5, "Good"), (None, "BadNodeIdUnknown")]
        assert MULTIPLE not in device.requests
        assert device.opened_paths[0] == bytes.fromhex("2002 2401")


@DRIVERS
async def test_a_device_that_answers_nonsense_does_not_crash_stall_or_pass_for_a_good_one(driver: str) -> None:
    """Each reply, in most runs after the opening, has bytes changed, is cut or goes on; 300 seeds a driver."""
    answered_count = 0
    async with asyncio.timeout(120), standing_in(device := plant()) as port:
        for seed in range(SEEDS_COUNT):
            device.mutate = Mutation(seed) if seed % 4 == 0 else None
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(contextlib.suppress(Unreachable, ProtocolViolation))
                session = await stack.enter_async_context(opened(port, driver=driver, status_interval=f"{seed % 2}s"))
                device.mutate = Mutation(seed)
                for _ in range(2):
                    found = await values(session, "Step", "Name", "Flags[40]", "Profile[0]{9}", "No")
                    assert len(found) == 5
                    assert all((value is None) == label.startswith("Bad") for value, label in found)
                    answered_count += 1
                with contextlib.suppress(NotFoundError):
                    assert all([isinstance(node.name, str) async for node in session.browse()])
                (result,) = await session.write([Write(tag("Step"), 3)])
                assert result.reason or result.quality.is_good
    assert answered_count > SEEDS_COUNT // 10  # not all end at once


class Mutation:
    """Changes each reply in a way that the seed decides. The header's length keeps true, else it only waits."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self, reply: bytes) -> bytes:
        """One reply."""
        changed = bytearray(reply)
        kind = self._chance.randrange(4)
        if kind == 0 and len(changed) > 40:
            del changed[self._chance.randrange(30, len(changed)) :]
        elif kind == 1:
            changed += self._chance.randbytes(self._chance.randrange(1, 40))
        else:
            for _ in range(self._chance.randrange(1, 4)):
                changed[self._chance.randrange(24, len(changed))] = self._chance.randrange(256)
        struct.pack_into("<H", changed, 2, len(changed) - 24)
        return bytes(changed)


@DRIVERS
async def test_a_device_that_closes_in_the_middle_of_a_frame_is_a_lost_link(driver: str) -> None:
    """Both libraries take a receive of nothing for more to come, and would spin on it for ever."""
    for closes_after in (10, 40, 100, 150, 200):
        device = plant()
        device.closes_after_bytes = closes_after
        async with asyncio.timeout(30), standing_in(device) as port:
            with pytest.raises(Unreachable):
                await read_for_ever(port, driver)


async def test_an_answer_without_an_end_is_cut_off() -> None:
    device = plant()

    def endless(request: bytes) -> bytes | None:
        """Always more to come."""
        if request[0] in (READ, READ_PART):
            return bytes([request[0] | 0x80, 0, 6, 0]) + struct.pack("<Hi", 0xC4, 1)
        return None

    device.override = endless
    async with asyncio.timeout(60), standing_in(device) as port, opened(port) as session:
        with pytest.raises(ProtocolViolation, match="does not come to an end"):
            await values(session, "Profile[0]{20}")


@pytest.mark.parametrize(
    "reply", [b"", b"\x8a", b"\x8a\0\0\0", b"\x8a\0\0\0\2\0\xff\xff\xff\xff", b"\x8a\0\0\0\2\0\6\0\6\0"]
)
async def test_a_batch_of_nonsense_is_bad_quality_or_a_violation(reply: bytes) -> None:
    device = plant()
    device.override = lambda request: reply if request[0] == MULTIPLE else None
    async with asyncio.timeout(30), standing_in(device) as port:
        try:
            async with opened(port, status_interval=0) as session:
                found = await values(session, "Step", "No")
        except ProtocolViolation:
            return
        assert found == [(7, "Good"), (None, "BadNodeIdUnknown")]  # asked for alone then


async def test_pylogix_lists_the_tags() -> None:
    device = plant()
    del device.tags["Recipe"], device.tags["Recipe.Step"], device.tags["Name"]
    async with standing_in(device) as port, opened(port) as session:
        nodes = [node async for node in session.browse()]
        assert [(node.address, node.data_type) for node in nodes] == [
            ("Step", "DINT"), ("Speed", "REAL"), ("Profile[0]{20}", "DINT"), ("Flags[0]{3}", "DWORD"),
        ]  # fmt: skip
        assert [node.name async for node in session.browse("Profile")] == ["Profile"]


async def test_pycomm3_uploads_the_tags_reads_structures_and_lists_their_members() -> None:
    device = plant()
    del device.tags["Recipe.Step"], device.tags["Name"]
    async with standing_in(device) as port, opened(port, driver="pycomm3") as session:
        assert await values(session, "Step", "Recipe", "No", "Profile[18]{2}", "Step.1") == [
            (7, "Good"), ({"Step": 4, "Target": 1.5}, "Good"), (None, "BadNodeIdUnknown"), ([18, 19], "Good"),
            (True, "Good"),
        ]  # fmt: skip
        nodes = [(node.address, node.data_type) async for node in session.browse()]
        assert nodes[0] == ("Step", "DINT")
        assert ("Recipe.Target", "REAL") in nodes
        results = await session.write([Write(tag("Step"), 9), Write(tag("Step"), "x"), Write(tag("No"), 1)])
        assert [result.quality.label for result in results] == ["Good", "BadTypeMismatch", "BadNodeIdUnknown"]
        assert await values(session, "Step") == [(9, "Good")]


@DRIVERS
async def test_after_a_lost_link_the_library_opens_no_other_one_by_itself(driver: str) -> None:
    """pycomm3 keeps `connected` after a failure, pylogix connects anew: what it had learned may be wrong then."""
    listener = Listener(plant())
    await listener.join()
    try:
        async with opened(listener.port, driver=driver) as session:
            assert await values(session, "Step") == [(7, "Good")]
            await listener.cut()
            with pytest.raises(Unreachable):
                await values(session, "Step")
            await listener.join()
            for _ in range(3):
                with pytest.raises(Unreachable):
                    await values(session, "Step")
            (result,) = await session.write([Write(tag("Step"), 1)])
            assert result.quality.label == "BadNoCommunication"
            assert len(listener.device.opened_paths) == 1
        async with opened(listener.port, driver=driver) as session:
            assert await values(session, "Step") == [(7, "Good")]
    finally:
        await listener.cut()


@DRIVERS
async def test_an_opening_that_hangs_ends_as_soon_as_it_is_cancelled(driver: str) -> None:
    """A full backlog: the connection is neither taken nor refused."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))

        async def open_it() -> None:
            """Never gets in."""
            async with opened(port, driver=driver, connect_timeout="10min"):
                pass

        opening = asyncio.ensure_future(open_it())
        await asyncio.wait([opening], timeout=0.3)
        assert not opening.done()
        async with asyncio.timeout(30):
            opening.cancel()
            await asyncio.wait([opening])
        assert opening.cancelled()
