"""The hub's record of commands: a list reads the end of it only, and a command to many nodes is stored side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.bus import (
    NatsServer,
    RawConnection,
    ServerSettings,
    StreamApi,
    StreamBounds,
    ensure_stream,
    local_stream,
)
from millstream.hub._command_book import LOOK_FIRST, STREAM, SUBJECT, CommandBook, Record
from millstream.hub._command_service import CHANGING, STORED_AT_ONCE, TELLING, CommandService, _each
from millstream.hub._commands import Dispatcher
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.kernel import SystemClock, Unreachable
from millstream.protocols.command import Command
from millstream.sdk import Log

DEADLINE_S = 60.0
NODES = {f"e{number:03}": f"acme/p{number:03}" for number in range(200)}
HISTORY = 1500


class Quiet:
    def info(self, event: str, **fields: object) -> None:
        """Nothing."""

    warning = error = info


class Store:
    """A hub's commands without edges behind them."""

    def __init__(self, server: NatsServer, connection: RawConnection, book: CommandBook) -> None:
        self.server = server
        self.connection = connection
        self.book = book
        clock, log = SystemClock(), Quiet()
        answers = EdgeAnswers(connection, list, dict, clock=clock)
        dispatcher = Dispatcher(connection, book, answers, lambda: NODES, clock=clock, log=_log(log))
        self.service = CommandService(connection, book, dispatcher, lambda: NODES, clock=clock)

    async def ask(self, action: str, *, at: Any = None, **fields: Any) -> dict[str, Any]:
        """One question and its answer."""
        actions = at or (CHANGING if action in CHANGING else TELLING)
        payload = msgspec.json.encode({"action": action, **fields})
        (reply,) = [part async for part in self.service.answering(actions)(payload)]
        return dict(msgspec.json.decode(reply.payload))

    async def sent_to_us(self) -> int:
        """How many messages the server has sent to this connection."""
        found = await self.server.monitor("/connz")
        return sum(int(one["out_msgs"]) for one in found["connections"] if one.get("name") == "commands")


def _log(log: Quiet) -> Log:
    return log


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[Store]:
    """A server with the streams that commands need."""
    async with NatsServer(ServerSettings("hub", domain="hub"), folder) as server, server.connect("commands") as link:
        await ensure_stream(StreamApi(link, patience_s=DEADLINE_S), local_stream(StreamBounds(64 << 20)))
        book = CommandBook(link, SystemClock())
        await book.load()
        yield Store(server, link, book)


async def test_commands_are_stored_side_by_side_and_listed_from_the_end(tmp_path: Path) -> None:
    async with store(tmp_path) as hub:
        first = await hub.ask("send", type="run", id="k1", who="ann", args={"a": 1})
        assert first["nodes"] == dict.fromkeys(NODES, "pending")
        assert hub.book.open_count == len(NODES)
        state = await StreamApi(hub.connection).state(STREAM)
        assert state.messages == len(NODES)

        again = await hub.ask("send", type="run", id="k1", who="ann", args={"a": 1})  # an answer that was lost
        assert again["nodes"] == first["nodes"]
        other = await hub.ask("send", type="run", id="k1", who="ann", args={"a": 2})
        assert other["error"]["code"] == "MS-2301"
        assert (await StreamApi(hub.connection).state(STREAM)).last_seq == state.last_seq  # nothing was stored anew

        await _fill(hub)
        before = await hub.sent_to_us()
        listed = (await hub.ask("list", limit=10))["commands"]
        assert [one["id"] for one in listed] == [f"h{number}" for number in range(HISTORY - 10, HISTORY)]
        assert 10 <= await hub.sent_to_us() - before <= LOOK_FIRST + 10  # of all that there is
        mine = (await hub.ask("list", limit=3, nodes=["e007"]))["commands"]
        assert [one["node"] for one in mine] == ["e007"] * 3
        assert [one["id"] for one in mine] == [f"h{number}" for number in range(HISTORY) if number % 200 == 7][-3:]
        assert len((await hub.ask("list", limit=1000))["commands"]) == 1000
        assert len((await hub.ask("list", is_open=True, limit=1000))["commands"]) == len(NODES)

        cancelled = await hub.ask("cancel", id="k1", who="ann")
        assert {one["cancel_who"] for one in cancelled["nodes"]} == {"ann"}
        for action, actions in (("send", TELLING), ("cancel", TELLING), ("list", CHANGING), ("show", CHANGING)):
            assert (await hub.ask(action, at=actions, id="k1", type="run"))["error"]["code"] == "MS-2300"


async def _fill(hub: Store) -> None:
    """A history of commands that are over, behind those that are open."""
    names, now_ns = list(NODES), time.time_ns()
    for number in range(HISTORY):
        command = Command(f"h{number}", "run", "ann", now_ns, now_ns + 10**9)
        record = Record(names[number % len(names)], command, "done", now_ns + number)
        hub.connection.publish(f"{SUBJECT}.{record.node}.{command.id}", msgspec.json.encode(record))
    end = time.monotonic() + DEADLINE_S
    while (await StreamApi(hub.connection).state(STREAM)).messages < len(NODES) + HISTORY:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_one_node_that_fails_stops_no_other_and_so_many_are_under_way_at_once() -> None:
    under_way, most, done = 0, 0, []

    async def work(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        if number == 3:
            raise Unreachable("no link", where="test")
        done.append(number)

    with pytest.raises(Unreachable, match="no link"):
        await _each(range(3 * STORED_AT_ONCE), work)
    assert sorted(done) == [number for number in range(3 * STORED_AT_ONCE) if number != 3]
    assert 1 < most <= STORED_AT_ONCE
