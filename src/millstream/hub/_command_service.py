"""What clients ask of a hub's commands: send and cancel on one subject; list and show on another, for more."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from millstream.bus import RawConnection
from millstream.historian import Reply
from millstream.hub._command_book import OPEN_MAX, CommandBook, Record
from millstream.hub._command_events import hub_event
from millstream.hub._commands import Dispatcher
from millstream.kernel import Clock, NotFoundError, PlantError, StoreFullError, suggest
from millstream.model import AssetPath
from millstream.protocols.audit import act_data
from millstream.protocols.below import sites_below
from millstream.protocols.command import (
    FINAL,
    NODES_COUNT_MAX,
    Command,
    check_command,
    decoded,
    is_id,
    malformed,
)
from millstream.protocols.fleet_filter import FleetFilter

LISTED_MAX = 1000
STORED_AT_ONCE = 64  # records and events of one command to many nodes, under way beside one another
Action = Literal["send", "list", "show", "cancel", "nodes"]
CHANGING: frozenset[Action] = frozenset({"send", "cancel"})
TELLING: frozenset[Action] = frozenset({"list", "show", "nodes"})


class CommandAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One question. "nodes" tells the edges that may be named. `nodes` None means all edges; `id` of a "send" is the
    key: the same again is the same command. `origin` is the address of the page that a hub's own API answers."""

    action: Action
    id: str | None = None
    type: str = ""
    args: dict[str, Any] = {}
    who: str = ""
    nodes: tuple[str, ...] | None = None
    where: str | None = None
    expires_in_ns: int = 3600 * 10**9
    priority: int = 5
    is_open: bool = False
    limit: int = 100
    origin: str = ""


Item = TypeVar("Item")
_decoder = msgspec.json.Decoder(CommandAsk)


class CommandService:
    """Answers clients of one hub."""

    def __init__(
        self, connection: RawConnection, book: CommandBook, dispatcher: Dispatcher,
        places: Callable[[], Mapping[str, str]], *, clock: Clock,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._book = book
        self._dispatcher = dispatcher
        self._places = places
        self._clock = clock
        self._is_bounded = False

    def below(self, root: AssetPath | None) -> CommandService:
        """The same for somebody who may ask about the edges below a path only: there are no others."""
        places = self._places
        found = CommandService(
            self._connection, self._book, self._dispatcher, lambda: sites_below(places(), root), clock=self._clock
        )
        found._is_bounded = True
        return found

    def answering(
        self, actions: frozenset[Action], origin: str = ""
    ) -> Callable[[bytes], AsyncGenerator[Reply, None]]:  # fmt: skip
        """What answers on a subject where these may be asked for, from an address as the server tells it."""

        async def answer(payload: bytes) -> AsyncGenerator[Reply, None]:
            """One reply, JSON."""
            try:
                ask = decoded(_decoder, payload)
                if ask.action not in actions:
                    raise malformed(f"{' or '.join(sorted(actions))}, not {ask.action}")
                told = await self._answer(msgspec.structs.replace(ask, origin=origin) if origin else ask)
            except PlantError as error:
                told = {"error": error.as_dict()}
            yield Reply(msgspec.json.encode(told))

        return answer

    async def _answer(self, ask: CommandAsk) -> Mapping[str, Any]:
        if ask.action == "send":
            return await self._send(ask)
        if ask.action == "list":
            return {"commands": await self._list(ask)}
        if ask.action == "nodes":
            return {"nodes": sorted(self._places())}
        if ask.id is None or not is_id(ask.id):
            raise malformed("the id of a command")
        records = [record for record in await self._book.of_id(ask.id) if self._may_tell(record)]
        if ask.nodes is not None:
            records = [record for record in records if record.node in ask.nodes]
        if not records:
            raise NotFoundError(
                "no such command", got=ask.id, next_step="`millstream command list` shows them", code="MS-2309"
            )
        if ask.action == "show":
            return {"id": ask.id, "nodes": [self._shown(record) for record in records]}
        shown: dict[str, dict[str, Any]] = {}

        async def cancel(record: Record) -> None:
            shown[record.node] = self._shown(await self._cancel(record, ask))

        await _each(records, cancel)
        return {"id": ask.id, "nodes": [shown[record.node] for record in records]}

    async def _send(self, ask: CommandAsk) -> Mapping[str, Any]:
        now_ns = self._clock.now_ns()
        command = Command(
            ask.id or secrets.token_hex(8), ask.type, ask.who, now_ns, now_ns + ask.expires_in_ns, ask.args,
            ask.priority, ask.where,
        )  # fmt: skip
        check_command(command)
        if ask.where is not None:
            FleetFilter.parse(ask.where)
        nodes = self._nodes(ask.nodes)
        if self._book.open_count + len(nodes) > OPEN_MAX:
            raise StoreFullError(
                "too many commands are open", expected=f"at most {OPEN_MAX}", next_step="cancel some", code="MS-2307"
            )
        known = {} if ask.id is None else {record.node: record for record in await self._book.of_id(command.id)}
        states: dict[str, str] = {}
        await _each(nodes, lambda node: self._store(node, command, known.get(node), states, ask.origin))
        self._dispatcher.wake()
        return {"id": command.id, "nodes": {node: states[node] for node in nodes}, "expires_ns": command.expires_ns}

    async def _store(
        self, node: str, command: Command, record: Record | None, states: dict[str, str], origin: str
    ) -> None:
        """A command at one of its nodes; what is there already stays."""
        if record is None:
            now_ns = command.created_ns
            data = {"args": command.args, "where": command.where, "node": node, "expires_ns": command.expires_ns}
            told = act_data(command.who, origin, None, {"state": "pending", "args": command.args})
            await hub_event(self._connection, self._places()[node], command, "requested", now_ns, {**told, **data})
            record = await self._book.add(Record(node, command, "pending", now_ns))
        if not _is_same(record.command, command):
            raise PlantError(
                "this key is another command's", where=node, got=command.id,
                expected=f"{record.command.type}, asked for by {record.command.who}",
                next_step="use another key, or leave it out", code="MS-2301",
            )  # fmt: skip
        states[node] = record.state

    def _nodes(self, named: Sequence[str] | None) -> list[str]:
        known = self._places()
        if named is None:
            return list(known)
        for node in named:
            if node not in known:
                near = suggest(node, list(known))
                raise NotFoundError(
                    "no such edge at this hub", got=node[:64], next_step=f"did you mean {near!r}?" if near else None,
                    code="MS-2311",
                )  # fmt: skip
        if not 0 < len(named) <= NODES_COUNT_MAX:
            raise malformed("at least one node")
        return list(dict.fromkeys(named))

    async def _list(self, ask: CommandAsk) -> list[dict[str, Any]]:
        """The newest last."""
        limit = max(1, min(ask.limit, LISTED_MAX))
        if ask.is_open:
            records = [r for r in self._book.open_records() if ask.nodes is None or r.node in ask.nodes]
            records = [record for record in records if self._may_tell(record)]
        elif ask.nodes is None and self._is_bounded:
            records = [record for node in self._places() for record in await self._book.newest(limit, node)]
        elif ask.nodes is None:
            records = await self._book.newest(limit)
        else:
            records = [record for node in self._nodes(ask.nodes) for record in await self._book.newest(limit, node)]
        records.sort(key=lambda record: record.changed_ns)
        return [self._shown(record) for record in records[-limit:]]

    def _may_tell(self, record: Record) -> bool:
        return not self._is_bounded or record.node in self._places()

    async def _cancel(self, record: Record, ask: CommandAsk) -> Record:
        """Ask for it; what is over stays as it is."""
        if record.state in FINAL:
            return record
        who = ask.who[:128] or "unknown"
        changed = await self._book.change(record, record.state, cancel_who=who)
        place = self._places().get(record.node)
        if changed is not None and place is not None:  # what becomes of it is told by who ends it
            before = {"state": record.state, "cancel_who": record.cancel_who}
            told = act_data(who, ask.origin, before, {"state": changed.state, "cancel_who": who}, node=record.node)
            await hub_event(
                self._connection, place, record.command, "cancel_requested", self._clock.now_ns(), told, who=who
            )  # fmt: skip
        self._dispatcher.wake()
        return changed or record

    def _shown(self, record: Record) -> dict[str, Any]:
        command = record.command
        shown = {
            "id": command.id, "node": record.node, "type": command.type, "args": command.args, "who": command.who,
            "state": record.state, "created_ns": command.created_ns, "changed_ns": record.changed_ns,
            "expires_ns": command.expires_ns, "priority": command.priority, "where": command.where,
            "code": record.code, "reason": record.reason, "result": record.result, "cancel_who": record.cancel_who,
            **self._dispatcher.progress.get(record.key, {}),
        }  # fmt: skip
        return {name: value for name, value in shown.items() if value is not None}


async def _each(items: Iterable[Item], work: Callable[[Item], Awaitable[None]]) -> None:
    """All of them, some beside one another. One that fails stops no other; the first error is raised at the end."""
    gate, errors = asyncio.Semaphore(STORED_AT_ONCE), []

    async def one(item: Item) -> None:
        async with gate:
            try:
                await work(item)
            except PlantError as error:
                errors.append(error)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
    if errors:
        raise errors[0]


def _is_same(one: Command, other: Command) -> bool:
    return (one.type, one.args, one.where) == (other.type, other.args, other.where)
