"""cpppo's simulated controller: a server of another make."""

from __future__ import annotations

import asyncio

import pytest
from cases.cpppo_peer import Relay, controller
from cases.loopback import joined
from cip_kit import Heard, opened, tag, values

from millstream.kernel import NotFoundError, Unreachable
from millstream.sdk import Write

pytestmark = pytest.mark.needs("cpppo")

TAGS = (
    "Step=DINT",
    "Mixer.Speed=REAL",
    "Profile=DINT[100]",
    "Valves=BOOL[40]",
    "Name=SSTRING",
    "Program:Main.Count=INT",
)


async def test_every_kind_of_address_is_read_with_a_wrong_name_beside_good_ones() -> None:
    async with controller(*TAGS) as plc, opened(plc.port) as session:
        written = await session.write(
            [
                Write(tag("Step"), 0x25),
                Write(tag("Mixer.Speed"), 2.5),
                Write(tag("Profile[98]"), -7),
                Write(tag("Valves[39]"), True),
                Write(tag("Program:Main.Count"), 12),
            ]
        )
        assert [result.quality.label for result in written] == ["Good"] * 5
        expected = [
            (0x25, "Good"), (True, "Good"), (False, "Good"), (2.5, "Good"), (None, "BadNodeIdUnknown"), (-7, "Good"),
            ([0, -7, 0], "Good"), (True, "Good"), ([False, True], "Good"), (12, "Good"), (None, "BadOutOfRange"),
            (None, "BadOutOfRange"), ("", "Good"),
        ]  # fmt: skip
        for _ in range(2):  # the second time their types are known
            assert await values(
                session, "Step", "Step.0", "Step.1", "Mixer.Speed", "NoSuchTag", "Profile[98]", "Profile[97]{3}",
                "Valves[39]", "Valves[38]{2}", "Program:Main.Count", "Profile[100]", "Profile[95]{10}", "Name",
            ) == expected  # fmt: skip


async def test_many_tags_share_a_message_and_wrong_names_cost_none_of_their_own() -> None:
    async with (
        controller(*TAGS) as plc,
        joined(Relay(plc.port)) as relay,
        opened(relay.port, status_interval=0) as session,
    ):
        addresses = [f"Profile[{i}]" for i in range(100)] + ["NoSuchTag", "Nor.This", "Step"]
        first = await values(session, *addresses)
        before = relay.requests_count
        assert await values(session, *addresses) == first
        assert relay.requests_count - before == 1
        assert [label for _, label in first].count("Good") == 101


async def test_a_short_string_in_a_batch_is_its_text_and_not_its_length() -> None:
    """The library's batch gives the length byte of an SSTRING as the value."""
    async with controller("Step=DINT", "Name=SSTRING") as plc, opened(plc.port) as session:
        assert await values(session, "Step", "Name") == [(0, "Good"), ("", "Good")]
        (result,) = await session.write([Write(tag("Name"), "kiln")])
        assert result.quality.is_bad


async def test_a_value_that_does_not_fit_is_refused_before_it_goes_out_and_the_others_are_written() -> None:
    async with controller(*TAGS) as plc, opened(plc.port) as session:
        results = await session.write(
            [
                Write(tag("Step"), "x"),
                Write(tag("Step"), 2**31),
                Write(tag("Step"), 1.5),
                Write(tag("Step"), True),
                Write(tag("Mixer.Speed"), 1e39),
                Write(tag("Valves[0]"), 1),
                Write(tag("Profile[0]{3}"), [1, 2]),
                Write(tag("NoSuchTag"), 1),
                Write(tag("Profile[100]"), 1),
                Write(tag("Profile[1]{3}"), [4, 5, 6]),
            ]
        )
        assert [result.quality.label for result in results] == [
            "BadTypeMismatch", "BadOutOfRange", "BadTypeMismatch", "BadTypeMismatch", "BadOutOfRange",
            "BadTypeMismatch", "BadTypeMismatch", "BadNodeIdUnknown", "BadOutOfRange", "Good",
        ]  # fmt: skip
        assert all(result.reason for result in results[:-1])
        assert await values(session, "Step", "Profile[0]{5}") == [(0, "Good"), ([0, 4, 5, 6, 0], "Good")]


async def test_a_write_that_ends_the_connection_fails_those_after_it_and_the_next_session_works() -> None:
    """This controller answers a write of one bit by ending the session; what the library holds then is used no more."""
    async with controller(*TAGS) as plc:
        async with opened(plc.port) as session:
            results = await session.write([Write(tag("Step.3"), True), Write(tag("Step"), 1)])
            assert [result.quality.label for result in results] == ["BadNoCommunication"] * 2
            with pytest.raises(Unreachable):
                await values(session, "Step")
        async with opened(plc.port) as session:
            assert await values(session, "Step") == [(0, "Good")]


async def test_a_restarted_controller_is_read_again_by_a_new_session() -> None:
    async with controller(*TAGS) as plc:
        async with opened(plc.port) as session:
            assert await values(session, "Step") == [(0, "Good")]
            await plc.stop()
            with pytest.raises(Unreachable):
                await values(session, "Step")
        with pytest.raises(Unreachable):
            async with opened(plc.port):
                pass
        await plc.start()
        async with opened(plc.port) as session:
            assert await values(session, "Step") == [(0, "Good")]


async def test_silence_is_a_lost_link_after_the_timeout() -> None:
    async with (
        controller(*TAGS) as plc,
        joined(Relay(plc.port)) as relay,
        opened(relay.port, timeout="300ms") as session,
    ):
        relay.is_silent = True
        async with asyncio.timeout(30):
            with pytest.raises(Unreachable, match="no answer within"):
                await values(session, "Step")


async def test_a_read_that_is_cancelled_frees_its_thread_at_once() -> None:
    async with controller(*TAGS) as plc, joined(Relay(plc.port)) as relay:
        async with asyncio.timeout(30):
            async with opened(relay.port, timeout="10min", status_interval=0) as session:
                relay.is_silent = True
                reading = asyncio.ensure_future(values(session, "Step"))
                seen = relay.requests_count
                while relay.requests_count == seen:
                    await asyncio.sleep(0.005)
                reading.cancel()
                await asyncio.wait([reading])
                assert reading.cancelled()


@pytest.mark.parametrize(
    ("status", "label", "codes"),
    [
        (0x3060, "Good", []), (0x3070, "UncertainLastUsableValue", ["MS-1303"]),
        (0x0C50, "UncertainLastUsableValue", ["MS-1304"]), (0x0030, "Good", []),
    ],
)  # fmt: skip
async def test_values_of_a_controller_that_does_not_run_are_uncertain(
    status: int, label: str, codes: list[str]
) -> None:
    heard = Heard()
    async with controller(*TAGS, status=status) as plc, opened(plc.port, log=heard, status_interval="1us") as session:
        for _ in range(2):
            assert await values(session, "Step", "NoSuchTag") == [(0, label), (None, "BadNodeIdUnknown")]
    assert heard.codes == codes  # said once


async def test_a_device_without_a_tag_list_says_so_when_it_is_browsed() -> None:
    async with controller(*TAGS) as plc, opened(plc.port) as session:
        with pytest.raises(NotFoundError) as caught:
            async for _ in session.browse():
                pass
        assert caught.value.code == "MS-1305"


async def test_the_driver_that_needs_a_tag_list_says_so_when_there_is_none() -> None:
    async with controller(*TAGS) as plc:
        with pytest.raises(Unreachable) as caught:
            async with opened(plc.port, driver="pycomm3"):
                pass
        assert caught.value.code == "MS-1305"
