"""Two servers of one plant: the better one is followed, and none of the values that both have is lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime

import pytest
from asyncua import Server, ua
from loop_server import loop_server
from opcua_kit import connector_for

from millstream.connectors.opcua import OpcUaConnector
from millstream.kernel import Unreachable, free_port
from millstream.model import Sample
from millstream.sdk import Position, Tag
from millstream.sim.opcua_plant import RingHistory

URI = "urn:pair"
TAG = Tag("counter", f"nsu={URI};s=counter", 0.02, 0.05)


class Pair:
    """Two servers that show the same counter; each has the whole history."""

    def __init__(self) -> None:
        self.ports = [free_port(), free_port()]
        self.servers: list[Server] = []
        self.count = 0
        self._history = RingHistory()
        self._stacks: list[AsyncExitStack] = []

    async def __aenter__(self) -> Pair:
        for port in self.ports:
            stack = AsyncExitStack()
            server, _ = await stack.enter_async_context(loop_server(port))
            index = await server.register_namespace(URI)
            self.node = ua.NodeId("counter", index)
            counter = await server.nodes.objects.add_variable(self.node, ua.QualifiedName("counter", index), 0)
            for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
                await counter.set_attr_bit(attribute, ua.AccessLevel.HistoryRead)
            server.iserver.history_manager.set_storage(self._history)
            self.servers.append(server)
            self._stacks.append(stack)
        return self

    async def __aexit__(self, *_: object) -> None:
        for number in range(len(self._stacks)):
            await self.stop(number)

    async def stop(self, number: int) -> None:
        """End one of them."""
        await self._stacks[number].aclose()
        self.servers[number] = None

    async def count_on(self, times: int) -> None:
        """New values, the same at the same time in both."""
        for _ in range(times):
            self.count += 1
            moment = datetime.now(UTC)
            value = ua.DataValue(ua.Variant(self.count, ua.VariantType.Int64), SourceTimestamp=moment)
            self._history.add(self.node, moment, self.count, ua.VariantType.Int64)
            for server in self.servers:
                if server is not None:
                    await server.write_attribute_value(self.node, value)
            await asyncio.sleep(0.001)  # values of one instant would be one value

    async def set_level(self, number: int, level: int) -> None:
        """How well a server says that it serves."""
        node = ua.NodeId(ua.ObjectIds.Server_ServiceLevel)
        await self.servers[number].write_attribute_value(node, ua.DataValue(ua.Variant(level, ua.VariantType.Byte)))


async def follow(
    connector: OpcUaConnector, samples: list[Sample], position: Position | None, pair: Pair
) -> tuple[Position | None, str]:
    """Until all that was counted is there; gives the position and the server that was followed."""
    async with connector.open() as session, aclosing(session.stream([TAG], position)) as stream:
        async for batch in stream:
            samples += batch.samples
            position = batch.position or position
            if samples and samples[-1].value == pair.count:
                return position, session.link.where
    raise AssertionError("the stream has ended")


async def test_the_better_server_is_followed_and_left_without_losing_or_repeating_a_value() -> None:
    samples: list[Sample] = []
    async with asyncio.timeout(90), Pair() as pair:
        first, second = (f"opc.tcp://127.0.0.1:{port}" for port in pair.ports)
        connector = connector_for(first, endpoints=[second])
        await pair.set_level(0, 100)
        await pair.count_on(5)
        position, where = await follow(connector, samples, None, pair)
        assert where == second

        async with connector.open() as session, aclosing(session.stream([TAG], position)) as stream:
            await pair.count_on(5)
            batch = await anext(stream)
            samples += batch.samples
            position = batch.position
            await pair.set_level(1, 50)
            with pytest.raises(Unreachable, match="service level"):  # noqa: PT012 (which step raises it is not said)
                async for batch in stream:
                    samples += batch.samples
                    position = batch.position or position
        await pair.count_on(20)
        position, where = await follow(connector, samples, position, pair)
        assert where == first

        await pair.stop(0)
        await pair.count_on(20)
        position, where = await follow(connector, samples, position, pair)
        assert where == second

        await pair.stop(1)
        with pytest.raises(Unreachable):
            await follow(connector, samples, position, pair)
    values = [sample.value for sample in samples]
    assert values == list(range(values[0], pair.count + 1))
