"""Commands to edges, through their hub: durable, once, and told how they ended."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from millstream.bus._link import Link
from millstream.client._below import places_asked
from millstream.client._fleet_data import Whom, raise_reported
from millstream.client._flows import ask_node
from millstream.client._times import Span, to_span_ns
from millstream.client._writes import me
from millstream.kernel import NotFoundError, PlantError, Unreachable
from millstream.protocols.below import COMMAND, COMMAND_FILE, COMMANDS, below_subject
from millstream.protocols.command import FINAL
from millstream.protocols.command_file import FILE_BYTES_MAX, STATUS

ANSWER_TIMEOUT_S = 60.0  # a command to two thousand nodes is stored two thousand times
LOOK_INTERVAL_S = 0.2


class NodeCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command at one node. Times are UTC ns; `progress` is 0 to 1 while it says so."""

    id: str
    node: str
    type: str
    who: str
    state: str
    created_ns: int
    changed_ns: int
    expires_ns: int
    args: dict[str, Any] = {}
    priority: int = 5
    where: str | None = None
    code: str | None = None
    reason: str | None = None
    result: Any = None
    cancel_who: str | None = None
    progress: float | None = None
    text: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in FINAL


def _nodes(raw: object) -> Sequence[NodeCommand]:
    return msgspec.convert(raw, list[NodeCommand])


class Commands:
    """The commands of a hub. Made by `Plant.commands`."""

    def __init__(self, link: Link, whom: Whom) -> None:
        self._link = link
        self._whom = whom
        self.origin = ""
        """The address of the person for whom a program asks, for the audit."""

    async def send(
        self, type: str, args: Mapping[str, Any] | None = None, *, nodes: Sequence[str] | None = None,
        where: str | None = None, expires: Span = "1h", priority: int = 5, key: str | None = None,
        who: str | None = None,
    ) -> str:  # fmt: skip
        """Ask for a command at `nodes` (None: all edges), each if it fits the CEL filter `where`; returns its id once
        it is stored. An edge that is away gets it when it is back, before it `expires`. The same `key` again is the
        same command: send it again when an answer was lost. Raises PlantError, NotFoundError, Unreachable."""
        key = key or secrets.token_hex(8)
        ask: dict[str, Any] = {
            "action": "send", "type": type, "args": dict(args or {}), "who": who or me(),
            "nodes": None if nodes is None else list(nodes), "where": where,
            "expires_in_ns": to_span_ns(expires), "priority": priority, "id": key,
        }  # fmt: skip
        try:
            return str((await self._ask(ask))["id"])
        except Unreachable as error:
            raise Unreachable(
                "it is not known whether the command is stored", where=error.where, got=error.what,
                next_step=f"send it again with the key {key}: it is stored once", code=error.code,
            ) from error  # fmt: skip

    async def show(self, id: str, *, nodes: Sequence[str] | None = None) -> Sequence[NodeCommand]:
        """One command at each of its nodes. Raises NotFoundError."""
        answer = await self._ask({"action": "show", "id": id, "nodes": None if nodes is None else list(nodes)})
        return _nodes(answer["nodes"])

    async def list(self, *, is_open: bool = False, limit: int = 100) -> Sequence[NodeCommand]:
        """The newest, newest last; with `is_open` those that are not over."""
        answer = await self._ask({"action": "list", "is_open": is_open, "limit": limit})
        return _nodes(answer["commands"])

    async def cancel(
        self, id: str, *, nodes: Sequence[str] | None = None, who: str | None = None
    ) -> Sequence[NodeCommand]:
        """Ask that it does not begin, or ends where it can; what is over stays as it is. Raises NotFoundError."""
        ask = {"action": "cancel", "id": id, "nodes": None if nodes is None else list(nodes), "who": who or me()}
        return _nodes((await self._ask(ask))["nodes"])

    async def fetch(self, id: str, node: str) -> bytes:
        """The file that a command has left at a node, such as a support bundle. Raises NotFoundError, and PlantError
        when it is not what the node told."""
        (command,) = await self.show(id, nodes=[node])
        question = msgspec.json.encode({"id": id, "node": node})
        pieces, size = [], 0
        if places_asked(self._link):
            subject = below_subject(COMMAND_FILE, (await self._where([node]))[node])
        else:
            subject = f"millstream.node.{await self._hub()}.command_file"
        asked = self._link.request_many(subject, question, timeout_s=ANSWER_TIMEOUT_S)
        async with aclosing(asked) as replies:
            async for reply in replies:
                raise_reported(reply)
                pieces.append(reply.payload)
                size += len(reply.payload)
                if reply.headers.get(STATUS) == "done" or size > FILE_BYTES_MAX:
                    break
        content = b"".join(pieces)
        told = command.result.get("sha256") if isinstance(command.result, dict) else None
        if hashlib.sha256(content).hexdigest() != told:
            raise PlantError("the file is not the one that the command told of", where=node, got=id, code="MS-2312")
        return content

    async def wait(self, id: str, *, timeout_s: float = 60.0) -> Sequence[NodeCommand]:
        """Until it is over at every node. Raises Unreachable when it is not by then."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self.show(id)
                    if all(command.is_over for command in found):
                        return found
                    await asyncio.sleep(LOOK_INTERVAL_S)
        except TimeoutError as error:
            raise Unreachable(
                "the command is not over yet", where=id, expected=f"{timeout_s:g}s",
                next_step=f"look again with `millstream command show {id}`",
            ) from error  # fmt: skip

    async def _ask(self, ask: Mapping[str, Any]) -> Mapping[str, Any]:
        what = COMMANDS if ask["action"] in ("list", "show", "nodes") else COMMAND  # fewer may send than may look
        if not places_asked(self._link):
            return await self._ask_at(f"millstream.node.{await self._hub()}.{what}", ask)
        parts: list[Mapping[str, Any]] = []
        lacks: list[NotFoundError] = []
        for place, part in await self._parts(ask):
            try:
                parts.append(await self._ask_at(below_subject(what, place), part))
            except NotFoundError as error:  # below another path, perhaps
                lacks.append(error)
        if not parts:
            raise lacks[0]
        return _joined(parts, limit=int(ask.get("limit") or 0))

    async def _ask_at(self, subject: str, ask: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.origin and ask["action"] in ("send", "cancel"):
            ask = {**ask, "origin": self.origin}
        payload = msgspec.json.encode({key: value for key, value in ask.items() if value is not None})
        return await ask_node(self._link, subject, payload, timeout_s=ANSWER_TIMEOUT_S)

    async def _parts(self, ask: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """What to ask below each of the paths: what is sent to nodes by name goes where each of them is. Raises
        NotFoundError for one that is nowhere, before anything is sent."""
        places = places_asked(self._link)
        if ask["action"] != "send" or ask["nodes"] is None:
            return [(place, ask) for place in places]
        where = await self._where(ask["nodes"])
        found: dict[str, list[str]] = {}
        for node, place in where.items():
            found.setdefault(place, []).append(node)
        return [(place, {**ask, "nodes": nodes}) for place, nodes in found.items()]

    async def _where(self, nodes: Sequence[str]) -> Mapping[str, str]:
        """Node -> the place below which it is asked. Raises NotFoundError."""
        known: dict[str, str] = {}
        for place in places_asked(self._link):
            told = await self._ask_at(below_subject(COMMANDS, place), {"action": "nodes"})
            known |= dict.fromkeys(told["nodes"], place)
        for node in nodes:
            if node not in known:
                raise NotFoundError("no such edge below your paths", got=repr(node)[:80], code="MS-2311")
        return {node: known[node] for node in nodes}

    async def _hub(self) -> str:
        role, name = await self._whom()
        if role != "hub":
            raise NotFoundError(
                "commands are kept by a hub", where=name, next_step="name the hub with --node or --url", code="MS-2309"
            )
        return name


def _joined(parts: Sequence[Mapping[str, Any]], *, limit: int) -> Mapping[str, Any]:
    """The answers below several paths as one."""
    if "commands" in parts[0]:
        found = sorted((one for part in parts for one in part["commands"]), key=lambda one: int(one["changed_ns"]))
        return {"commands": found[-limit:]}
    nodes = [part["nodes"] for part in parts]
    if isinstance(nodes[0], dict):
        return {**parts[0], "nodes": {node: state for one in nodes for node, state in one.items()}}
    return {**parts[0], "nodes": [record for one in nodes for record in one]}
