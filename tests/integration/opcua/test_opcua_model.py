"""A server that is started anew with other node ids, or changes them while it runs, is followed by browse names."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from asyncua import Server, ua
from loop_server import loop_server
from opcua_kit import Process, connector_for, read_until

from millstream.kernel import NotFoundError, free_port
from millstream.model import Sample
from millstream.sdk import Tag, Write

URI = "urn:boiler"


@asynccontextmanager
async def boiler_server(port: int, value: float, *others: str, suffix: str = "") -> AsyncIterator[tuple[Server, int]]:
    """A boiler whose namespace comes after `others`, and whose node ids end with `suffix`."""
    async with loop_server(port) as (server, _):
        for other in others:
            await server.register_namespace(other)
        index = await server.register_namespace(URI)
        boiler = await server.nodes.objects.add_object(
            ua.NodeId(f"boiler{suffix}", index), ua.QualifiedName("Boiler", index)
        )
        temperature = await boiler.add_variable(
            ua.NodeId(f"temperature{suffix}", index), ua.QualifiedName("Temperature", index), ua.Variant(value)
        )
        await temperature.set_writable()
        yield server, index


async def test_a_restarted_server_with_new_node_ids_and_a_shifted_namespace_is_followed() -> None:
    port = free_port()
    connector = connector_for(f"opc.tcp://127.0.0.1:{port}")
    tags = [
        Tag("by names", f"nsu={URI};path=/Objects/Boiler/Temperature", 0.1, 0.1),
        Tag("by names and uris", f"/Objects/nsu={URI};Boiler/nsu={URI};Temperature", 0.1, 0.1),
        Tag("by id", f"nsu={URI};s=temperature", 0.1, 0.1),
    ]
    async with boiler_server(port, 1.5), connector.open() as session:
        before, _ = await read_until(session, tags, lambda s: len(s) == 3)
        root = f"nsu={URI};path=/Objects/Boiler"
        assert [info.name async for info in session.browse(root)] == ["Temperature"]
        with pytest.raises(NotFoundError):
            _ = [info async for info in session.browse(f"nsu={URI};path=/Objects/Kettle")]
    async with boiler_server(port, 2.5, "urn:new", "urn:newer", suffix=".v2"), connector.open() as session:
        after, _ = await read_until(session, tags, lambda s: len(s) == 3)
        results = await session.write([Write(tags[0], 7.5), Write(tags[2], 7.5)])
    assert {sample.tag: sample.value for sample in before} == dict.fromkeys((tag.key for tag in tags), 1.5)
    found = {sample.tag: (sample.value, sample.quality.label) for sample in after}
    assert found["by names"] == found["by names and uris"] == (2.5, "Good")
    assert found["by id"] == (None, "BadNodeIdUnknown")
    assert [result.quality.label for result in results] == ["Good", "BadNodeIdUnknown"]


async def test_a_path_that_leads_nowhere_or_to_two_nodes_is_a_bad_tag_beside_the_good_ones() -> None:
    port = free_port()
    async with boiler_server(port, 1.5) as (server, index):
        for number in (1, 2):
            await server.nodes.objects.add_variable(
                ua.NodeId(f"twin{number}", index), ua.QualifiedName("Twin", index), number
            )
        places = {"good": "Boiler/Temperature", "missing": "Boiler/Pressure", "twin": "Twin"}
        tags = [Tag(key, f"nsu={URI};path=/Objects/{place}", 0.1, 0.1) for key, place in places.items()]
        tags.append(Tag("elsewhere", "nsu=urn:unknown;path=/Objects/Boiler", 0.1, 0.1))
        async with connector_for(f"opc.tcp://127.0.0.1:{port}").open() as session:
            samples, _ = await read_until(session, tags, lambda s: len(s) == 4)
    assert {sample.tag: sample.quality.label for sample in samples} == {
        "good": "Good",
        "missing": "BadNoMatch",
        "twin": "BadTooManyMatches",
        "elsewhere": "BadNodeIdUnknown",
    }


@pytest.mark.needs("node-opcua")
async def test_nodes_that_are_replaced_while_the_server_runs_are_followed_by_its_events(
    counter: Process,
) -> None:
    tags = [
        Tag("by names", "nsu=urn:counter;path=/Objects/boiler/temperature", 0.05, 0.1),
        Tag("by id", "nsu=urn:counter;s=temperature_1", 0.05, 0.1),
    ]
    awaited = [{"by names": 1, "by id": 1}, {"by names": 2, "by id": None}, {"by names": 3, "by id": 3}]
    samples: list[Sample] = []
    async with (
        asyncio.timeout(90),
        connector_for(counter.endpoint, bad_tag_retry="1h").open() as session,
        aclosing(session.stream(tags, None)) as stream,
    ):
        async for batch in stream:
            samples += batch.samples
            latest = {sample.tag: sample.value for sample in samples}
            if latest == awaited[0]:
                awaited.pop(0)
                if not awaited:
                    break
                counter.send(signal.SIGUSR2)
    good = {key: [s.value for s in samples if s.tag == key and s.quality.is_good] for key in ("by names", "by id")}
    assert good == {"by names": [1, 2, 3], "by id": [1, 3]}
    assert [s.quality.label for s in samples if s.tag == "by id" and s.quality.is_bad] == ["BadNodeIdInvalid"]
