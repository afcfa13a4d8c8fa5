"""Values that no plant should give, from every protocol at once into a real edge.

Each is stored as what it is, or as one sample of bad quality with its raw bytes in a dead letter; it is counted; the
tag beside it and the other connectors go on.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asyncua import ua
from bad_devices import NAMES, site_with_devices
from bad_site import Seen, Site, eventually

HUGE = 2_000_000  # more than a server takes in one message
NOT_UTF8 = b"\xff\xfe\xc3("


def odd_of(found: Mapping[str, Sequence[Seen]], name: str = "odd") -> dict[str, list[tuple[Any, str]]]:
    """What each device's odd tag has stored, without what stood there at the start."""
    first = {"opcua": 1, "modbus": 1}
    return {n: [(s.value, s.quality) for s in found.get(f"{n}:{name}", [])[first.get(n, 0) :]] for n in NAMES}


def counted(site: Site, field: str) -> dict[str, int]:
    """A counter of each device's connector."""
    return {name: site.connector(name)[field] for name in NAMES}


def is_quiet(site: Site) -> bool:
    """No connector lost its link over it, and nobody was alarmed."""
    return site.alarms() == [] and all(site.connector(n)["opens"] == 1 and not site.complaints(n) for n in NAMES)


async def test_nan_and_infinities_are_stored_as_what_they_are(tmp_path: Path) -> None:
    async with site_with_devices(tmp_path) as (site, devices):
        for turn, number in enumerate((math.inf, -math.inf, math.nan), start=2):
            await devices.write("odd", number, ua.VariantType.Double)
            devices.registers[0:4] = struct.pack(">f", number)
            devices.shdr.send(f"2026-01-01T00:00:00Z|odd|{number}\n".encode())
            await devices.publish("odd", f'{{"v": "{number}"}}'.encode())
            await devices.say_good(site, turn)
        found = odd_of(await site.samples())
        assert {name: str(stored) for name, stored in found.items()} == dict.fromkeys(
            NAMES, "[(inf, 'Good'), (-inf, 'Good'), (nan, 'Good')]"
        )
        assert counted(site, "samples_bad") == {"opcua": 1, "modbus": 0, "shdr": 0, "mqtt": 0}  # 1: its empty start
        assert await site.letters() == []
        assert is_quiet(site)


async def test_nan_that_is_no_json_is_a_bad_sample_and_a_dead_letter(tmp_path: Path) -> None:
    async with site_with_devices(tmp_path) as (site, devices):
        await devices.publish("odd", b'{"v": nan}')
        await devices.say_good(site, 2)
        assert odd_of(await site.samples())["mqtt"] == [(None, "BadTypeMismatch")]
        assert (counted(site, "samples_bad")["mqtt"], counted(site, "frames_quarantined")["mqtt"]) == (1, 1)
        (letter,) = await site.letters()
        assert (letter.source, letter.payload) == ("mqtt", b'{"v": nan}')
        assert "not JSON" in letter.reason
        assert is_quiet(site)


async def test_a_value_of_the_wrong_type_is_a_bad_sample_or_keeps_its_own_type(tmp_path: Path) -> None:
    async with site_with_devices(tmp_path) as (site, devices):
        await devices.write("odd", "broken", ua.VariantType.String)
        devices.shdr.send(b"2026-01-01T00:00:00Z|odd|broken\n")
        await devices.publish("odd", b'{"v": "broken"}', b'{"v": {"deep": [1]}}', b"[1, 2]")
        await devices.say_good(site, 2)
        assert odd_of(await site.samples()) == {
            "opcua": [("broken", "Good")],  # the server says which type each value has
            "modbus": [],  # any two registers are a number
            "shdr": [(None, "BadTypeMismatch")],
            "mqtt": [(None, "BadTypeMismatch")] * 2 + [(None, "BadDataUnavailable")],
        }
        assert counted(site, "samples_bad") == {"opcua": 1, "modbus": 0, "shdr": 1, "mqtt": 3}
        assert counted(site, "frames_quarantined") == {"opcua": 0, "modbus": 0, "shdr": 0, "mqtt": 2}
        assert [letter.payload for letter in await site.letters()] == [b'{"v": "broken"}', b'{"v": {"deep": [1]}}']
        assert is_quiet(site)


async def test_a_huge_text_is_a_bad_sample_and_is_kept_whole_in_dead_letters(tmp_path: Path) -> None:
    text = "ß" * (HUGE // 2)
    async with site_with_devices(tmp_path, odd_type="text") as (site, devices):
        await devices.write("odd", text, ua.VariantType.String)
        devices.shdr.send(f"2026-01-01T00:00:00Z|odd|{text}\n".encode())
        await devices.publish("odd", b'{"v": "' + b"x" * 900_000 + b'"}')
        await devices.say_good(site, 2)
        found = odd_of(await site.samples())
        assert found["opcua"] == [(None, "BadOutOfRange")]
        assert found["shdr"] == []  # a line without an end that can be seen belongs to no tag
        assert found["mqtt"] == [("x" * 900_000, "Good")]
        assert (counted(site, "samples_dead")["opcua"], counted(site, "frames_quarantined")["shdr"]) == (1, 1)
        letters = await site.letters()
        kept = b"".join(letter.payload for letter in letters if letter.source == "opcua")
        assert kept.decode() == text
        assert {letter.code for letter in letters if letter.source == "opcua"} == {"MS-0308"}
        (line,) = [letter for letter in letters if letter.source == "shdr"]
        assert "longer than" in line.reason
        assert is_quiet(site)


async def test_text_that_is_not_utf8_is_a_bad_sample_or_a_dead_letter(tmp_path: Path) -> None:
    async with site_with_devices(tmp_path, odd_type="text") as (site, devices):
        await devices.write("odd", NOT_UTF8, ua.VariantType.String)
        devices.registers[4:12] = NOT_UTF8.ljust(8, b"\0")
        devices.shdr.send(b"2026-01-01T00:00:00Z|odd|" + NOT_UTF8 + b"\n")
        await devices.publish("odd", b'{"v": "' + NOT_UTF8 + b'"}')
        await devices.say_good(site, 2)
        found = await eventually(site, lambda f: len(f["modbus:text"]) > 1, "the text of the registers")
        assert odd_of(found, "text")["modbus"] == [(None, "BadDecodingError")]
        found_odd = odd_of(found)
        assert found_odd["opcua"] == [(None, "BadDecodingError")]
        assert found_odd["mqtt"] == [(None, "BadTypeMismatch")]
        assert counted(site, "frames_quarantined") == {"opcua": 1, "modbus": 0, "shdr": 1, "mqtt": 1}
        letters = {letter.source: letter for letter in await site.letters()}
        assert NOT_UTF8 in letters["shdr"].payload
        assert "not UTF-8" in letters["shdr"].reason
        assert NOT_UTF8 in letters["mqtt"].payload
        assert is_quiet(site)
