"""Questions and commands to edges over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.api._browser import read_json
from millstream.api._desk import COMMANDERS, ENGINEERS, ActDesk, asked, posted, sees_path, tag_of, whole_number
from millstream.api._parameters import parse_time_ns
from millstream.api._render import render
from millstream.api._request import json_response
from millstream.kernel import DecodeError, NotFoundError, Unreachable
from millstream.protocols.command import ARGS_BYTES_MAX
from millstream.protocols.uns_payload import ARROW_TYPE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor
    from millstream.client import NodeCommand, Plant

COMMANDS_COUNT_MAX = 500  # of one list
DEADLINE_S_MAX = 15.0
DATA_BYTES_MAX = 16 << 20  # of one look at what a site holds: half a million samples


class QueryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A filter (CEL) and the facts to answer with; `nodes` left out: all that the person sees."""

    filter: str | None = None
    select: list[str] = []
    nodes: list[str] | None = None
    deadline_s: float = 2.0


class SendRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A command; the same `key` again is the same command."""

    type: str
    nodes: list[str]
    args: dict[str, Any] = {}
    where: str | None = None
    expires: str = "1h"
    priority: int = 5
    key: str | None = None


class CancelRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Cancel a command at `nodes`; left out: at all of its nodes that the person sees."""

    id: str
    nodes: list[str] | None = None


class CommandActs:
    """The routes, behind a desk."""

    def __init__(self, desk: ActDesk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """The live query, and commands."""
        from starlette.routing import Route

        return [
            Route("/api/v1/fleet/query", self._query, methods=["POST"]),
            Route("/api/v1/fleet/data", self._data, methods=["GET"]),
            Route("/api/v1/commands", self._list, methods=["GET"]),
            Route("/api/v1/commands/send", self._send, methods=["POST"]),
            Route("/api/v1/commands/cancel", self._cancel, methods=["POST"]),
            Route("/api/v1/commands/{id}", self._show, methods=["GET"]),
            Route("/api/v1/commands/{id}/file", self._file, methods=["GET"]),
        ]

    async def _query(self, request: Request) -> Response:
        actor = await self._desk.looking(request)
        wanted = await read_json(request, QueryRequest)
        if not 0 < wanted.deadline_s <= DEADLINE_S_MAX:
            raise DecodeError(
                "not a deadline", where="deadline_s", expected=f"up to {DEADLINE_S_MAX:g}", code="MS-2125"
            )
        async with self._desk.plant(actor) as plant:
            nodes = await _named(plant, actor, wanted.nodes)
            run = plant.fleet.query(wanted.filter, select=wanted.select, nodes=nodes, deadline=wanted.deadline_s)
            found = await run.all()
        return json_response({
            "nodes": msgspec.to_builtins(found.nodes), "summary": msgspec.to_builtins(found.summary),
        })  # fmt: skip

    async def _data(self, request: Request) -> Response:
        """Samples of one tag as its edge holds them, those too that the link does not carry: Arrow, whose metadata says
        `truncated` when an edge was cut or silent."""
        from starlette.responses import Response

        actor, wanted = await self._desk.looking(request), request.query_params
        tag, now_ns = tag_of(actor, wanted.get("tag", "")), self._desk.clock.now_ns()
        start_ns, end_ns = (parse_time_ns(wanted.get(name, ""), now_ns) for name in ("start", "end"))
        async with self._desk.plant(actor) as plant:
            run = plant.fleet.data(
                str(tag), start=start_ns, end=end_ns, kind=wanted.get("kind", "tag"), bytes_max=DATA_BYTES_MAX
            )
            table = await run.table()
        is_whole = run.summary is not None and run.summary.is_whole
        if not is_whole and table.num_rows == 0:
            silent = ", ".join(run.summary.missing) if run.summary else ""
            raise Unreachable("its site did not answer", where=str(tag), got=silent or "nothing")
        told = {**(table.schema.metadata or {}), b"truncated": b"false" if is_whole else b"true"}
        return Response(render(table.replace_schema_metadata(told), ARROW_TYPE), media_type=ARROW_TYPE)

    async def _list(self, request: Request) -> Response:
        actor, wanted = await self._desk.looking(request), request.query_params
        limit = whole_number(wanted.get("limit", "100"), "limit", COMMANDS_COUNT_MAX)
        async with self._desk.plant(actor) as plant:
            found = await plant.commands.list(is_open=wanted.get("open") == "1", limit=max(1, limit))
            found = await _of_seen(plant, actor, found)
        return json_response({"commands": _shown(found[::-1])})

    async def _show(self, request: Request) -> Response:
        actor = await self._desk.looking(request)
        async with self._desk.plant(actor) as plant:
            found = await _seen(plant, actor, request.path_params["id"])
        return json_response({"commands": _shown(found)})

    async def _send(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "send commands", COMMANDERS)
        wanted = await read_json(request, SendRequest, 4 * ARGS_BYTES_MAX)
        if not wanted.nodes:
            raise DecodeError("no site is named", where="nodes", expected="names of sites", code="MS-2125")
        async with self._desk.plant(actor) as plant:
            nodes = await _named(plant, actor, wanted.nodes)
            id = await plant.commands.send(
                wanted.type, wanted.args, nodes=nodes, where=wanted.where, expires=wanted.expires,
                priority=wanted.priority, key=wanted.key, who=actor.who,
            )  # fmt: skip
            found = await plant.commands.show(id)
        return json_response({"id": id, "is_taken": True, "commands": _shown(found)})

    async def _cancel(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "cancel commands", COMMANDERS)
        wanted = await read_json(request, CancelRequest)
        async with self._desk.plant(actor) as plant:
            theirs = [one.node for one in await _seen(plant, actor, wanted.id)]
            nodes = theirs if wanted.nodes is None else [node for node in wanted.nodes if node in theirs]
            found = await plant.commands.cancel(wanted.id, nodes=nodes, who=actor.who)
        return json_response({"id": wanted.id, "is_taken": True, "commands": _shown(found)})

    async def _file(self, request: Request) -> Response:
        """Of a command that left one, such as a support bundle."""
        from starlette.responses import Response

        actor = await self._desk.acting(request, "fetch what a command has left", ENGINEERS)
        id, node = request.path_params["id"], request.query_params.get("node", "")
        async with self._desk.plant(actor) as plant:
            if node not in {one.node for one in await _seen(plant, actor, id)}:
                raise NotFoundError("no such command at this site", got=f"{id} of {node}"[:120], code="MS-2312")
            content = await plant.commands.fetch(id, node)
        name = f'attachment; filename="{node}-{id}.zip"'
        return Response(
            content, media_type="application/zip", headers={"Content-Disposition": name, "Cache-Control": "no-store"}
        )


async def seen_sites(plant: Plant, actor: Actor) -> dict[str, str]:
    """Site -> its path, of those that lie where the person may with all they have."""
    return {edge: path for edge, path in (await plant.configs.sites()).items() if sees_path(actor, path)}


async def check_site_of(plant: Plant, actor: Actor, edge: str) -> str:
    """The path of a site that the person sees. Raises NotFoundError."""
    sites = await seen_sites(plant, actor)
    if edge not in sites:
        raise NotFoundError("no such site", got=repr(edge)[:80], code="MS-2415")
    return sites[edge]


async def _named(plant: Plant, actor: Actor, nodes: Sequence[str] | None) -> list[str] | None:
    """What to ask: None is all, for who sees all. Raises NotFoundError for what the person does not see."""
    if nodes is None and not actor.paths:
        return None
    sites = await seen_sites(plant, actor)
    for node in nodes or ():
        if node not in sites:
            raise NotFoundError("no such site", got=repr(node)[:80], code="MS-2415")
    return list(sites) if nodes is None else list(nodes)


async def _of_seen(plant: Plant, actor: Actor, found: Sequence[NodeCommand]) -> list[NodeCommand]:
    """Those of sites that the person sees. Who sees all is not asked which they are: a page lists commands often."""
    if not actor.paths:
        return list(found)
    sites = await seen_sites(plant, actor)
    return [one for one in found if one.node in sites]


async def _seen(plant: Plant, actor: Actor, id: str) -> list[NodeCommand]:
    """A command at the nodes that the person sees. Raises NotFoundError."""
    found = await _of_seen(plant, actor, await plant.commands.show(id))
    if not found:
        raise NotFoundError("no such command", got=id[:80], code="MS-2311")
    return found


def _shown(found: Sequence[NodeCommand]) -> list[dict[str, Any]]:
    return [{**msgspec.to_builtins(one), "is_over": one.is_over} for one in found]


COMMAND_ROUTES: dict[str, Any] = {
    "/api/v1/fleet/query": posted("fleet_query", "Ask the sites now; who is missing is said", QueryRequest),
    "/api/v1/fleet/data": asked("fleet_data", "Samples of one tag as its site holds them, as Arrow", "tag", "start",
                                "end", optional=("kind",)),
    "/api/v1/commands": asked("commands", "Commands, the newest first", optional=("open", "limit")),
    "/api/v1/commands/{id}": asked("command", "One command at each of its sites", in_path=("id",)),
    "/api/v1/commands/{id}/file": asked("command_file", "The file that it has left at a site (engineers)", "node",
                                        in_path=("id",)),
    "/api/v1/commands/send": posted("send_command", "Tell sites to do something, each once (commanders)", SendRequest),
    "/api/v1/commands/cancel": posted("cancel_command", "Cancel what has not begun (commanders)", CancelRequest),
}  # fmt: skip
"""For the OpenAPI description."""
