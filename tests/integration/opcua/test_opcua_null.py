"""What is read when asked for, and nulls that are written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opcua_kit import Process, StartPlant, connector_for

from millstream.model import Value
from millstream.sdk import Tag, Write

VALUES: tuple[Value, ...] = ("M6", 7, 2**63, -0.5, True, [1.5, 2.0], [[1, 2], [3, 4]])


async def test_a_null_empties_a_node_that_then_takes_any_type() -> None:
    process = Process([sys.executable, str(Path(__file__).with_name("structure_server.py"))], {})
    note = Tag("note", "nsu=urn:structures;s=note")
    try:
        process.start()
        for value in VALUES:
            async with connector_for(process.endpoint).open() as session:
                (result,) = await session.write([Write(note, None)])
                assert (result.quality.label, result.reason) == ("Good", None)
                (sample,) = await session.read([note])
                assert (sample.value, sample.quality.label) == (None, "BadDataUnavailable")
                (result,) = await session.write([Write(note, value)])
                assert (result.quality.label, result.written) == ("Good", value)
                (sample,) = await session.read([note])
                assert (sample.value, sample.quality.label) == (value, "Good")
    finally:
        process.end()


@pytest.mark.needs("node-opcua")
async def test_a_read_gives_one_sample_a_tag_and_a_refused_null_changes_nothing(
    start_node_server: StartPlant,
) -> None:
    tags = [
        Tag("pressure", "nsu=urn:counter;path=/Objects/boiler/pressure"),
        Tag("missing", "nsu=urn:counter;s=missing"),
        Tag("nowhere", "nsu=urn:counter;path=/Objects/boiler/nothing"),
        Tag("call", "nsu=urn:counter;s=fill", options={"mode": "method"}),
        Tag("alarms", "i=2253", options={"mode": "events"}),
        Tag("again", "nsu=urn:counter;s=pressure"),
    ]
    async with connector_for(start_node_server("plain", "counter").endpoint).open() as session:
        (refused,) = await session.write([Write(tags[0], None)])
        assert (refused.quality.label, refused.reason) == (
            "BadTypeMismatch",
            "BadTypeMismatch",
        )  # this server has no null
        samples = await session.read(tags)
        assert [(s.tag, s.value, s.quality.label) for s in samples] == [
            ("pressure", 1.0, "Good"), ("missing", None, "BadNodeIdUnknown"), ("nowhere", None, "BadNoMatch"),
            ("call", None, "BadNotReadable"), ("alarms", None, "BadNotReadable"), ("again", 1.0, "Good"),
        ]  # fmt: skip
