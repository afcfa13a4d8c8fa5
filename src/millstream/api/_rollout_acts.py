"""Roll-outs over HTTP: one document for several sites, stage by stage, watched by the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from millstream.api._browser import read_json
from millstream.api._config_acts import BODY_BYTES_MAX, check_signature
from millstream.api._desk import ENGINEERS, ActDesk, asked, check_whole, posted
from millstream.api._request import json_response
from millstream.kernel import DecodeError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor
    from millstream.client import Rollout

LISTED_MAX = 50  # the newest


class RolloutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Give a document to these sites, in this order; each stage waits until the one before is healthy."""

    sites: list[str]
    document: str
    stages: tuple[str, ...] = ("1", "all")
    name: str | None = None
    comment: str = ""
    site_timeout_s: float = 600.0
    failures_max: int = 0
    passes_away: bool = False


class RolloutAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something is asked of a roll-out. `rollback` cancels it and gives its sites what they had before."""

    name: str
    action: Literal["stop", "resume", "cancel", "rollback"]


class RolloutActs:
    """The routes, behind a desk."""

    def __init__(self, desk: ActDesk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """List, start, ask."""
        from starlette.routing import Route

        return [
            Route("/api/v1/rollouts", self._list, methods=["GET"]),
            Route("/api/v1/rollouts/start", self._start, methods=["POST"]),
            Route("/api/v1/rollouts/ask", self._ask, methods=["POST"]),
        ]

    async def _acting(self, request: Request, what: str) -> Actor:
        actor = await self._desk.acting(request, what, ENGINEERS)
        check_whole(actor, "roll-outs")
        return actor

    async def _list(self, request: Request) -> Response:
        actor = await self._acting(request, "see roll-outs")
        async with self._desk.plant(actor) as plant:
            found = await plant.configs.rollouts.list()
        return json_response({"rollouts": [_shown(each) for each in found[::-1][:LISTED_MAX]]})

    async def _start(self, request: Request) -> Response:
        from millstream.config import SiteFile

        actor = await self._acting(request, "roll a configuration out")
        wanted = await read_json(request, RolloutRequest, BODY_BYTES_MAX)
        if len(set(wanted.sites)) != len(wanted.sites):
            raise DecodeError("a site is named twice", where="sites", code="MS-2125")
        async with self._desk.plant(actor) as plant:
            check_signature(actor, ", ".join(wanted.sites)[:80])
            files = [SiteFile.of(edge, wanted.document) for edge in wanted.sites]
            rollout = await plant.configs.rollouts.start(
                await plant.configs.plan(files), stages=wanted.stages, name=wanted.name, comment=wanted.comment,
                author=actor.who, site_timeout_s=wanted.site_timeout_s, failures_max=wanted.failures_max,
                passes_away=wanted.passes_away, overwrite=True,
            )  # fmt: skip
        return json_response({"id": rollout.name, "is_taken": True, "rollout": _shown(rollout)})

    async def _ask(self, request: Request) -> Response:
        actor = await self._acting(request, "steer a roll-out")
        wanted = await read_json(request, RolloutAsk)
        async with self._desk.plant(actor) as plant:
            rollouts, done = plant.configs.rollouts, dict[str, str]()
            if wanted.action == "rollback":
                check_signature(actor, wanted.name)
                done = await rollouts.rollback(wanted.name, author=actor.who)
            else:
                steps = {"stop": rollouts.stop, "resume": rollouts.resume, "cancel": rollouts.cancel}
                await steps[wanted.action](wanted.name, author=actor.who)
            found = await rollouts.get(wanted.name)
        return json_response({"id": wanted.name, "is_taken": True, "rollout": _shown(found), "done": done})


def _shown(rollout: Rollout) -> Mapping[str, Any]:
    return {**msgspec.to_builtins(rollout), "stage": rollout.stage, "counts": rollout.counts()}


ROLLOUT_PATHS: dict[str, Any] = {
    "/api/v1/rollouts": asked("rollouts", "Roll-outs, the newest first (engineers of the whole plant)"),
    "/api/v1/rollouts/start": posted("start_rollout", "One document to several sites, by stages", RolloutRequest),
    "/api/v1/rollouts/ask": posted("ask_rollout", "Stop, resume, cancel or take back a roll-out", RolloutAsk),
}
"""For the OpenAPI description."""
