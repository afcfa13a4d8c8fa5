"""Peers that misbehave: garbage, silence, lies, values that cannot be read."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
from asyncua import Server, ua
from loop_server import loop_server
from opcua_kit import Process, connector_for, read_until, tags_of

from millstream.connectors.opcua import OpcUaConfig, OpcUaConnector
from millstream.kernel import PlantError, ProtocolViolation, Unreachable
from millstream.model import BAD_DATA_UNAVAILABLE, Value
from millstream.sdk import ConnectorTools, Tag, Write

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_peer(serve: Serve) -> AsyncIterator[str]:
    """A raw TCP server; gives its endpoint."""
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[object]] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        with suppress(OSError, asyncio.CancelledError):
            await serve(reader, writer)

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def open_fails(endpoint: str, within_s: float = 60.0) -> PlantError:
    """The error with which opening ends."""
    connector = connector_for(endpoint, request_timeout="1s")
    async with asyncio.timeout(within_s):
        with pytest.raises(PlantError) as caught:
            async with connector.open():
                pass
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 64,
        b"ACKF" + struct.pack("<I", 2**31),
        b"ACKF" + struct.pack("<I", 12) + b"\x01\x02\x03\x04",
        b"MSGF" + struct.pack("<I", 40) + b"\xff" * 32,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_garbage_is_a_protocol_violation_that_keeps_the_frame(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await reader.read()

    async with tcp_peer(serve) as endpoint:
        error = await open_fails(endpoint)
    assert isinstance(error, ProtocolViolation)
    assert error.frame == answer
    assert error.next_step


async def test_a_peer_that_says_nothing_or_hangs_up_is_unreachable() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for serve in (say_nothing, hang_up):
        async with tcp_peer(serve) as endpoint:
            assert isinstance(await open_fails(endpoint), Unreachable)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert isinstance(await open_fails(f"opc.tcp://127.0.0.1:{unused.getsockname()[1]}"), Unreachable)


async def test_garbage_in_the_middle_of_a_session_ends_it_with_the_frame(plant: Process) -> None:
    poison = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", plant.ready["port"])

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)

        async def inject() -> None:
            await poison.wait()
            writer.write(b"\xde\xad\xbe\xef" * 16)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, up_writer))
                group.create_task(pump(up_reader, writer))
                group.create_task(inject())
        except* OSError:
            pass
        finally:
            up_writer.transport.abort()

    async with (
        tcp_peer(relay) as endpoint,
        connector_for(endpoint).open() as session,
        aclosing(session.stream(tags_of(plant.ready["tags"]), None)) as stream,
    ):
        await anext(stream)
        poison.set()
        with pytest.raises(ProtocolViolation) as caught:  # noqa: PT012 (each step may raise it)
            async with asyncio.timeout(60):
                async for _ in stream:
                    pass
        assert caught.value.frame.startswith(b"\xde\xad\xbe\xef")


@asynccontextmanager
async def own_server() -> AsyncIterator[tuple[Server, int, str]]:
    """A server, its namespace urn:test, its endpoint."""
    async with loop_server() as (server, endpoint):
        yield server, await server.register_namespace("urn:test"), endpoint


async def test_odd_values_become_values_or_bad_samples() -> None:
    async with own_server() as (server, index, endpoint):
        objects = server.nodes.objects
        grid = [[1, 2, 3], [4, 5, 6]]
        values = {
            "nan": (float("nan"), ua.VariantType.Double),
            "minus_infinity": (float("-inf"), ua.VariantType.Float),
            "huge": ("ß" * 1_000_000, ua.VariantType.String),
            "grid": (grid, ua.VariantType.Int32),
            "empty": ("", ua.VariantType.String),
            "range": (ua.Range(1.0, 2.0), ua.VariantType.ExtensionObject),
        }
        for name, (value, kind) in values.items():
            node = ua.NodeId(name, index)
            await objects.add_variable(node, ua.QualifiedName(name, index), ua.Variant(value, kind))
        await objects.add_variable(ua.NodeId("null", index), ua.QualifiedName("null", index), ua.Variant())
        tags = [Tag(name, f"nsu=urn:test;s={name}", 0.1, 0.1) for name in (*values, "null")]
        async with connector_for(endpoint).open() as session:
            samples, _ = await read_until(session, tags, lambda s: len({x.tag for x in s}) == len(tags))
    found = {sample.tag: sample for sample in samples}
    assert str(found["nan"].value) == "nan"
    assert found["minus_infinity"].value == float("-inf")
    assert found["huge"].value == "ß" * 1_000_000
    assert found["grid"].value == grid
    assert found["empty"].value == ""
    assert found["range"].value == {"Low": 1.0, "High": 2.0}
    assert (found["null"].value, found["null"].quality) == (None, BAD_DATA_UNAVAILABLE)


async def test_a_node_that_appears_later_is_found_by_the_retry() -> None:
    async with own_server() as (server, index, endpoint):
        tags = [Tag("late", "nsu=urn:test;s=late", 0.1, 0.1)]
        async with connector_for(endpoint, bad_tag_retry="200ms").open() as session:
            async with aclosing(session.stream(tags, None)) as stream:
                first = await anext(stream)
                assert [sample.quality.label for sample in first.samples] == ["BadNodeIdUnknown"]
                await server.nodes.objects.add_variable(
                    ua.NodeId("late", index), ua.QualifiedName("late", index), ua.Variant(7, ua.VariantType.Int32)
                )
                async with asyncio.timeout(60):
                    second = await anext(stream)
            assert [sample.value for sample in second.samples] == [7]


async def test_writes_and_browsing_run_beside_a_stream() -> None:
    async with own_server() as (server, index, endpoint):
        node = await server.nodes.objects.add_variable(
            ua.NodeId("setpoint", index), ua.QualifiedName("setpoint", index), ua.Variant(1.0, ua.VariantType.Double)
        )
        await node.set_writable()
        tag = Tag("setpoint", "nsu=urn:test;s=setpoint", 0.05, 0.05)
        async with connector_for(endpoint).open() as session, aclosing(session.stream([tag], None)) as stream:
            assert [sample.value for sample in (await anext(stream)).samples] == [1.0]
            results = await session.write([Write(tag, 2.5)])
            assert results[0].quality.is_good
            async with asyncio.timeout(60):
                assert [sample.value for sample in (await anext(stream)).samples] == [2.5]
            names = [info.name async for info in session.browse()]
            assert "setpoint" in names


async def test_a_subscription_that_the_server_forgets_is_noticed() -> None:
    async with own_server() as (server, index, endpoint):
        await server.nodes.objects.add_variable(ua.NodeId("still", index), ua.QualifiedName("still", index), 1)
        tag = Tag("still", "nsu=urn:test;s=still", 0.05, 0.05)
        connector = connector_for(
            endpoint, subscription={"keep_alive_interval": "200ms"}, request_timeout="500ms", check_interval="200ms"
        )
        async with connector.open() as session, aclosing(session.stream([tag], None)) as stream:
            await anext(stream)
            service = server.iserver.subscription_service
            await service.delete_subscriptions(list(service.subscriptions))
            async with asyncio.timeout(60):
                with pytest.raises(Unreachable):
                    await anext(stream)


async def test_the_servers_own_structures_become_mappings(structures: Process) -> None:
    tags = [Tag(name, f"nsu=urn:structures;s={name}", 0.1, 0.1) for name in ("fixed", "phase")]
    async with connector_for(structures.endpoint).open() as session:
        samples, _ = await read_until(session, tags, lambda s: len(s) >= 2)
    async with connector_for(structures.endpoint, load_structures=False).open() as session:
        again, _ = await read_until(session, tags, lambda s: len(s) >= 2)
    expected = {"fixed": {"Number": 7, "Wear": 0.25, "Names": ["a", "b"]}, "phase": 1}
    assert {sample.tag: sample.value for sample in samples} == expected
    assert {sample.tag: sample.value for sample in again} == expected  # once learned, known in this process


async def test_structures_and_arrays_of_them_are_written_whole_or_refused_with_the_field(structures: Process) -> None:
    tool, tools = (Tag(name, f"nsu=urn:structures;s={name}", 0.1, 0.1) for name in ("tool", "tools"))
    one: dict[str, Value] = {"Number": 8, "Wear": 0.5, "Names": ["c"]}
    wrong: dict[str, Value] = {
        "Number: 4294967296 does not fit": {**one, "Number": 2**32},
        "Wear: expected a number": {**one, "Wear": "worn"},
        "Names: expected a list": {**one, "Names": "c"},
        "wrong: Names": {"Number": 8, "Wear": 0.5},
        "wrong: Colour": {**one, "Colour": 1},
        "expected a mapping": 7,
    }
    async with connector_for(structures.endpoint).open() as session:
        for said, value in wrong.items():
            (result,) = await session.write([Write(tool, value)])
            assert result.quality.is_bad
            assert said in (result.reason or "")
        two: list[Value] = [one, {**one, "Number": 9}]
        results = await session.write([Write(tool, one), Write(tools, two), Write(tools, one)])
        assert [result.quality.is_good for result in results] == [True, True, False]
        samples, _ = await read_until(session, [tool, tools], lambda s: len(s) >= 2)
    assert {sample.tag: sample.value for sample in samples} == {"tool": one, "tools": two}


class Heard:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, str(fields.get("error", ""))))

    warning = error = info


async def test_a_server_that_does_not_run_is_told_once_and_told_again_when_it_runs() -> None:
    heard = Heard()
    async with own_server() as (server, index, endpoint):
        state = server.get_node(ua.ObjectIds.Server_ServerStatus_State)
        node = await server.nodes.objects.add_variable(ua.NodeId("n", index), ua.QualifiedName("n", index), 1)
        config = OpcUaConfig.model_validate({"endpoint": endpoint, "security": {"policy": "none"}})
        connector = OpcUaConnector(config, ConnectorTools(log=heard))
        tag, numbers = Tag("n", "nsu=urn:test;s=n", 0.05, 0.05), itertools.count(2)
        async with connector.open() as session, aclosing(session.stream([tag], None)) as stream, asyncio.timeout(60):
            for value, upto in ((ua.ServerState.Suspended, 1), (ua.ServerState.Running, 2)):
                await server.write_attribute_value(state.nodeid, ua.DataValue(ua.Variant(value, ua.VariantType.Int32)))
                while len(heard.lines) < upto:
                    await node.write_value(ua.Variant(next(numbers), ua.VariantType.Int64))
                    await anext(stream)
    (stopped, words), (again, _) = heard.lines
    assert (stopped, again) == ("opcua_server_does_not_run", "opcua_server_runs_again")
    assert "Suspended" in words
    assert "MS-1106" in words


async def test_a_server_whose_values_do_not_change_is_not_taken_for_a_dead_one() -> None:
    limits = {"request_timeout": "500ms", "subscription": {"keep_alive_interval": "200ms"}}
    async with own_server() as (server, index, endpoint):
        name = ua.QualifiedName("still", index)
        await server.nodes.objects.add_variable(ua.NodeId("still", index), name, ua.Variant(1.5))
        tags = tags_of(["nsu=urn:test;s=still"], sampling_interval_s=0.1, publishing_interval_s=0.0)
        async with (
            connector_for(endpoint, **limits).open() as session,
            aclosing(session.stream(tags, None)) as stream,
        ):
            assert [sample.value for sample in (await anext(stream)).samples] == [1.5]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):  # without keep-alives it would be given up after 1.1 s
                    await anext(stream)
