"""Scales, scanners and worse: polled, listening, at a serial line; junk, silence, half frames, too many bytes."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cases.text_peer import Dialer, Listener, Plugged

from millstream.connectors.text import TextConfig, TextConnector
from millstream.connectors.text._inbox import WAITING_BYTES_MAX
from millstream.connectors.text._session import TextSession
from millstream.kernel import ConfigError, Unreachable, free_port
from millstream.sdk import Batch, ConnectorTools, Tag, Write

SCALE = {
    "start": "\x02",
    "ends": ["\x03"],
    "parse": "pattern",
    "patterns": [r"^(?P<state>ST|US),(?P<weight>[+-] *[0-9.]+) *(?P<unit>kg)?$", r"^ERR(?P<error>[0-9]+)$"],
}
STABLE = b"\x02ST,+  12.50kg\x03"


def tags(*addresses: str) -> list[Tag]:
    """Named by their addresses."""
    return [Tag(address, address) for address in addresses]


@asynccontextmanager
async def opened(device: Listener | Dialer | Plugged, **config: Any) -> AsyncIterator[TextSession]:
    """A session with a device, joined here."""
    if isinstance(device, Plugged):
        place: dict[str, Any] = {"transport": "serial", "serial_port": str(device.path)}
    else:
        place = {"transport": "listen" if isinstance(device, Dialer) else "tcp", "host": "127.0.0.1"}
    await device.join()
    try:
        if not isinstance(device, Plugged):
            place["port"] = device.port
        settings = TextConfig(**{**place, "connect_timeout": "10s", **config})
        async with TextConnector(settings, ConnectorTools()).open() as session:
            yield session
    finally:
        await device.cut()


async def said(
    session: TextSession, *addresses: str, count: int
) -> tuple[list[tuple[str, Any, str]], list[tuple[bytes, str]]]:
    """Until `count` samples and bad frames have come: the samples, and the frames."""
    samples: list[tuple[str, Any, str]] = []
    frames: list[tuple[bytes, str]] = []
    async with asyncio.timeout(60), aclosing(session.stream(tags(*addresses), None)) as stream:
        while len(samples) + len(frames) < count:
            batch = await anext(stream)
            samples += [(sample.tag, sample.value, sample.quality.label) for sample in batch.samples]
            frames += batch.frames_bad
    return samples, frames


@pytest.mark.parametrize("kind", ["tcp", "serial"])
async def test_a_scale_that_is_asked_answers_between_stx_and_etx(kind: str, tmp_path: Path) -> None:
    device = Listener() if kind == "tcp" else Plugged(tmp_path / "line")
    device.on_command = lambda data: STABLE * data.count(b"SI\r\n")
    async with opened(device, **SCALE, poll="SI\r\n", poll_interval="20ms", silence_max="60s") as session:
        samples, frames = await said(session, "weight:float", "state", "unit", "error:int", count=6)
    assert samples[:6] == [("weight:float", 12.5, "Good"), ("state", "ST", "Good"), ("unit", "kg", "Good")] * 2
    assert not frames
    assert device.heard.startswith(b"SI\r\nSI\r\n")


async def test_a_scale_that_does_not_answer_is_lost_after_five_polls() -> None:
    device = Listener()
    async with opened(device, **SCALE, poll="SI\r\n", poll_interval="20ms") as session:
        with pytest.raises(Unreachable, match="has said nothing") as caught:
            await said(session, "weight", count=1)
        assert caught.value.code == "MS-0210"


async def test_what_is_no_frame_or_matches_no_pattern_goes_to_the_dead_letters_with_its_reason() -> None:
    device = Listener()
    async with opened(device, **SCALE, encoding="ascii") as session:
        await device.tell(b"noise" + STABLE + b"\x02?\x03\x02ERR7\x03\x02\xff\x03\x02lost" + STABLE)
        samples, frames = await said(session, "weight:float", "error:int", count=7)
    assert samples == [
        ("weight:float", 12.5, "Good"), ("error:int", 7, "Good"), ("weight:float", 12.5, "Good"),
    ]  # fmt: skip
    assert sorted(frames) == [
        (b"?", "no pattern matches [MS-0300]"),
        (b"lost", "frame has no end"),
        (b"noise", "bytes outside of a frame"),
        (b"\xff", "text is not ascii"),
    ]


async def test_a_field_that_is_none_of_its_type_is_bad_beside_good_ones() -> None:
    device = Listener()
    async with opened(device, parse="columns", separator=";", decimal_comma=True) as session:
        await device.tell(b"12,5;x;;ok\r\n")
        samples, frames = await said(session, "1:float", "2:int", "3", "4", "5", "4:bool", count=6)
    assert samples == [
        ("1:float", 12.5, "Good"), ("2:int", None, "BadDecodingError"), ("3", None, "BadDataUnavailable"),
        ("4", "ok", "Good"), ("5", None, "BadNodeIdUnknown"), ("4:bool", None, "BadDecodingError"),
    ]  # fmt: skip
    assert not frames


async def test_a_device_that_sends_json_is_read_by_paths_and_other_objects_give_no_samples() -> None:
    device = Listener()
    async with opened(device, parse="json") as session:
        await device.tell(b'{"kind": "hello"}\n{"result": [{"width": 1.5}], "ok": true, "lot": null}\n[1]\n')
        samples, frames = await said(session, "result.0.width", "ok", "lot", count=4)
    assert samples == [("result.0.width", 1.5, "Good"), ("ok", True, "Good"), ("lot", None, "BadDataUnavailable")]
    assert frames == [(b"[1]", "not a JSON object, got list [MS-0300]")]


async def test_scanners_connect_and_go_and_only_the_last_one_ends_the_session() -> None:
    port = free_port()
    first, second = Dialer(port=port), Dialer(port=port)
    async with opened(first) as session, contextlib.AsyncExitStack() as stack:
        await second.join()
        stack.push_async_callback(second.cut)
        async with asyncio.timeout(60), aclosing(session.stream(tags("$frame", "$peer"), None)) as stream:
            while not (first.writers and second.writers):
                await asyncio.sleep(0.01)
            await first.tell(b"40123")
            await second.tell(b"ABC\r")
            assert values(await anext(stream)) == ["ABC", "127.0.0.1"]
            await first.tell(b"45678\r")
            assert values(await anext(stream)) == ["4012345678", "127.0.0.1"], "one's bytes never mix with the other's"
            await first.tell(b"half")
            await first.cut()
            assert (await anext(stream)).frames_bad == [(b"half", "frame is cut off")]
            await second.tell(b"DEF\r")
            assert values(await anext(stream)) == ["DEF", "127.0.0.1"]
            await second.cut()
            with pytest.raises(Unreachable, match="closed the connection"):
                await anext(stream)


def values(batch: Batch) -> list[Any]:
    """Of its samples."""
    return [sample.value for sample in batch.samples]


async def test_who_is_not_allowed_cannot_connect() -> None:
    device = Dialer(port=free_port())
    with pytest.raises(Unreachable, match="no device has connected") as caught:
        async with opened(device, allowed=["192.0.2.0/28", "::1"], connect_timeout="300ms"):
            pass
    assert caught.value.code == "MS-1902"
    async with opened(device, allowed=["127.0.0.0/8"]) as session:
        await device.tell(b"x\n")
        await said(session, "$frame", count=1)


async def test_a_port_that_is_taken_is_said_as_such() -> None:
    device = Listener()
    await device.join()
    try:
        config = TextConfig(transport="listen", host="127.0.0.1", port=device.port)
        with pytest.raises(Unreachable, match="cannot listen") as caught:
            async with TextConnector(config, ConnectorTools()).open():
                pass
        assert caught.value.code == "MS-1901"
    finally:
        await device.cut()


async def test_a_device_that_goes_takes_half_a_frame_to_the_dead_letters_and_is_found_again() -> None:
    device = Listener()
    async with (
        opened(device) as session,
        asyncio.timeout(60),
        aclosing(session.stream(tags("$frame"), None)) as stream,
    ):
        await device.tell(b"whole\nhalf")
        assert values(await anext(stream)) == ["whole"]
        await device.cut()
        assert (await anext(stream)).frames_bad == [(b"half", "frame is cut off")]
        with pytest.raises(Unreachable):
            await anext(stream)
    async with opened(device) as session:
        await device.tell(b"back\n")
        assert (await said(session, "$frame", count=1))[0] == [("$frame", "back", "Good")]


async def test_megabytes_without_an_end_are_one_dead_letter_and_the_next_frame_is_read() -> None:
    device = Listener()
    async with opened(device, frame_bytes_max=100) as session:

        async def shout() -> None:
            """More than any buffer between the two holds."""
            for _ in range(400):
                await device.tell(b"x" * 16_384)
                await asyncio.gather(*(writer.drain() for writer in device.writers))
            await device.tell(b"\nok\n")

        shouting = asyncio.ensure_future(shout())
        samples, frames = await said(session, "$frame", count=2)
        await shouting
        assert samples == [("$frame", "ok", "Good")]
        assert frames == [(b"x" * 100, "frame is longer than 100 bytes")]


async def test_what_nobody_reads_is_held_in_a_bounded_queue_and_not_lost() -> None:
    device = Listener()
    async with opened(device) as session:
        line = b"%08d\n"
        async with asyncio.timeout(60), aclosing(session.stream(tags("$frame:int"), None)) as stream:
            await device.tell(line % 0)
            assert values(await anext(stream)) == [0]
            await device.tell(b"".join(line % number for number in range(1, 200_000)))
            while session._inbox._waiting_bytes <= WAITING_BYTES_MAX:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # a queue without a bound would go on growing in this time
            assert session._inbox._waiting_bytes <= WAITING_BYTES_MAX + 256 * 1024, "one read of the loop above it"
            found: list[Any] = []
            while len(found) < 199_999:
                found += values(await anext(stream))
    assert found == list(range(1, 200_000))


async def test_a_device_that_was_silent_for_too_long_is_lost() -> None:
    device = Listener()
    async with opened(device, silence_max="100ms") as session:
        with pytest.raises(Unreachable, match="said nothing") as caught:
            await said(session, "$frame", count=1)
        assert caught.value.code == "MS-0210"


async def test_a_serial_port_that_is_missing_is_said_as_such_and_a_pulled_plug_is_a_lost_link(tmp_path: Path) -> None:
    config = TextConfig(transport="serial", serial_port=str(tmp_path / "none"))
    with pytest.raises(Unreachable, match="cannot be opened") as caught:
        async with TextConnector(config, ConnectorTools()).open():
            pass
    assert caught.value.code == "MS-0122"
    device = Plugged(tmp_path / "line")
    async with opened(device) as session:
        await device.tell(b"x\n")
        await said(session, "$frame", count=1)
        await device.cut()
        with pytest.raises(Unreachable, match="serial port is lost"):
            await said(session, "$frame", count=1)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "needs 'host' and 'port'"),
        ({"host": "scale"}, "needs 'host' and 'port'"),
        ({"transport": "serial"}, "needs 'serial_port'"),
        ({"transport": "listen", "port": 5}, "needs 'host'"),
        ({"parse": "pattern"}, "go together"),
        ({"patterns": ["(?P<a>x)"]}, "go together"),
        ({"parse": "pattern", "patterns": ["(x)"]}, "pattern cannot be used"),
        ({"parse": "columns", "separator": ""}, "need a 'separator'"),
        ({"ends": []}, "frames have no end"),
        ({"start": "€"}, "expected bytes"),
        ({"check": "xor", "size_bytes": 4}, "has no check byte"),
        ({"encoding": "klingon"}, "unknown character set"),
        ({"poll": "x", "poll_interval": 0}, "above 0"),
        ({"allowed": ["scanner"]}, "scanner"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(config: dict[str, Any], words: str) -> None:
    place = {} if "needs" in words and "separator" not in words else {"host": "192.0.2.1", "port": 4001}
    with pytest.raises(ValueError, match=words):
        TextConfig(**{**place, **config})


@pytest.mark.parametrize("kind", ["tcp", "serial"])
async def test_a_tag_with_a_command_is_written_and_shows_what_the_device_made_of_it(kind: str, tmp_path: Path) -> None:
    device = Listener() if kind == "tcp" else Plugged(tmp_path / "line")
    device.on_command = lambda data: data.replace(b"SP", b"IS")
    setpoint = Tag("setpoint", "2:float", options={"command": "SP,{value:.1f}\r\n"})
    async with opened(device, parse="columns") as session:
        results = await session.write(
            [
                Write(setpoint, "x"),
                Write(Tag("other", "2"), 5),
                Write(setpoint, math.inf),
                Write(setpoint, 7),
            ]
        )
        assert [result.quality.label for result in results] == [
            "BadTypeMismatch", "BadNotWritable", "BadOutOfRange", "Good",
        ]  # fmt: skip
        samples, _ = await said(session, "1", "2:float", count=2)
        assert samples == [("1", "IS", "Good"), ("2:float", 7.0, "Good")]
        assert bytes(device.heard) == b"SP,7.0\r\n"
        await device.cut()
        with contextlib.suppress(Unreachable):
            await said(session, "1", count=1)
        (result,) = await session.write([Write(setpoint, 8)])
        assert result.quality.label == "BadNoCommunication"


def test_a_tag_that_no_frame_can_have_is_refused_offline() -> None:
    plain = TextConnector(TextConfig(host="h", port=1), ConnectorTools())
    scale = TextConnector(TextConfig(host="h", port=1, **SCALE), ConnectorTools())  # type: ignore[arg-type]
    plain.check_tag(Tag("t", "$frame"))
    scale.check_tag(Tag("t", "error:int"))
    scale.check_tag(Tag("t", "weight", options={"command": "SP {value:.2f}"}))
    for connector, tag in (
        (plain, Tag("t", "weight")),
        (scale, Tag("t", "wieght")),
        (scale, Tag("t", "weight:double")),
        (scale, Tag("t", "weight", options={"unit": "kg"})),
        (scale, Tag("t", "weight", options={"command": "SP {weight}"})),
    ):
        with pytest.raises(ConfigError) as caught:
            connector.check_tag(tag)
        assert caught.value.code == "MS-1900"
