"""What is read when asked for, and nulls that are written."""

from __future__ import annotations

import pytest
from opcua_kit import Process, connector_for

from millstream.model import Value
from millstream.sdk import Tag, Write

VALUES: tuple[Value, ...] = ("M6", 7, 2**63, -0.5, True, [1.5, 2.0], [[1, 2], [3, 4]])


async def test_a_null_empties_a_node_that_then_takes_any_type(structures: Process) -> None:
    note = Tag("note", "nsu=urn:structures;s=note")
    for value in VALUES:
        async with connector_for(structures.endpoint).open() as session:
            (result,) = await session.write([Write(note, None)])
            assert (result.quality.label, result.reason) == ("Good", None)
            (sample,) = await session.read([note])
            assert (sample.value, sample.quality.label) == (None, "BadDataUnavailable")
            (result,) = await session.write([Write(note, value)])
            assert (result.quality.label, result.written) == ("Good", value)
            (sample,) = await session.read([note])
            assert (sample.value, sample.quality.label) == (value, "Good")


@pytest.mark.needs("node-opcua")
async def test_a_read_gives_one_sample_a_tag_and_a_refused_null_changes_nothing(counter: Process) -> None:
    tags = [
        Tag("pressure", "nsu=urn:counter;path=/Objects/boiler/pressure"),
        Tag("missing", "nsu=urn:counter;s=missing"),
        Tag("nowhere", "nsu=urn:counter;path=/Objects/boiler/nothing"),
        Tag("call", "nsu=urn:counter;s=fill", options={"mode": "method"}),
        Tag("alarms", "i=2253", options={"mode": "events"}),
        Tag("again", "nsu=urn:counter;s=pressure"),
    ]
    async with connector_for(counter.endpoint).open() as session:
        written, refused = await session.write([Write(tags[0], 1.0), Write(tags[0], None)])
        assert written.quality.is_good
        assert (refused.quality.label, bool(refused.reason)) == ("BadTypeMismatch", True)  # this server has no null
        samples = await session.read(tags)
        assert [(s.tag, s.value, s.quality.label) for s in samples] == [
            ("pressure", 1.0, "Good"), ("missing", None, "BadNodeIdUnknown"), ("nowhere", None, "BadNoMatch"),
            ("call", None, "BadNotReadable"), ("alarms", None, "BadNotReadable"), ("again", 1.0, "Good"),
        ]  # fmt: skip
