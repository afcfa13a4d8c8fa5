"""Configurations of sites over HTTP: what each should run and runs, check, put, go back, who set what."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.api._browser import read_json
from millstream.api._command_acts import check_site_of, seen_sites
from millstream.api._desk import ENGINEERS, ActDesk, asked, posted, whole_number
from millstream.api._request import FORBIDDEN, json_response
from millstream.kernel import AuthError
from millstream.protocols.site_config import DOCUMENT_BYTES_MAX

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from millstream.api._door import Actor
    from millstream.client import SiteRevision

REVISION_MAX = 10**9 - 1
BODY_BYTES_MAX = DOCUMENT_BYTES_MAX + (1 << 20)


class CheckRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether a site could run this, and what it would change."""

    edge: str
    document: str


class PutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Make it the newest revision of a site. `based_on` is the revision that it was made from, 0 for none."""

    edge: str
    document: str
    based_on: int
    comment: str = ""
    healthy_within_ms: int = 60_000


class BackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Make an older revision of a site its newest once more."""

    edge: str
    to: int
    comment: str = ""


class ConfigActs:
    """The routes, behind a desk."""

    def __init__(self, desk: ActDesk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """Of sites."""
        from starlette.routing import Route

        return [
            Route("/api/v1/configs", self._sites, methods=["GET"]),
            Route("/api/v1/configs/schema", self._schema, methods=["GET"]),
            Route("/api/v1/configs/check", self._check, methods=["POST"]),
            Route("/api/v1/configs/put", self._put, methods=["POST"]),
            Route("/api/v1/configs/rollback", self._rollback, methods=["POST"]),
            Route("/api/v1/configs/{edge}", self._site, methods=["GET"]),
            Route("/api/v1/configs/{edge}/diff", self._diff, methods=["GET"]),
            Route("/api/v1/configs/{edge}/blame", self._blame, methods=["GET"]),
        ]

    async def _reading(self, request: Request) -> Actor:
        return await self._desk.acting(request, "see configurations", ENGINEERS)

    async def _sites(self, request: Request) -> Response:
        from millstream.client import site_state

        actor, found = await self._reading(request), []
        async with self._desk.plant(actor) as plant:
            sites = await seen_sites(plant, actor)
            async for edge, newest, report in plant.configs.reports():
                if edge in sites:
                    found.append({**site_state(edge, newest, report), "path": sites[edge]})
        return json_response({"sites": found})

    async def _site(self, request: Request) -> Response:
        """Its revisions, newest first, one document, and what the site says."""
        actor, edge = await self._reading(request), request.path_params["edge"]
        number = _revision_of(request, "revision")
        async with self._desk.plant(actor) as plant:
            path = await check_site_of(plant, actor, edge)
            history = await plant.configs.history(edge)
            chosen = await plant.configs.get(edge, number) if number else (history[-1] if history else None)
            report = await plant.configs.report(edge)
        return json_response({
            "edge": edge, "path": path, "history": [_shown(each) for each in reversed(history)],
            "revision": chosen.revision.revision if chosen else 0, "document": chosen.text if chosen else "",
            "report": report, "needs_signature": _needs_signature(actor, report),
        })  # fmt: skip

    async def _schema(self, request: Request) -> Response:
        await self._reading(request)
        return json_response(msgspec.Raw(await asyncio.to_thread(_schema_json)))

    async def _check(self, request: Request) -> Response:
        from millstream.config import DocumentRefused, diff_documents

        actor = await self._reading(request)
        wanted = await read_json(request, CheckRequest, BODY_BYTES_MAX)
        findings: list[dict[str, object]] = []
        async with self._desk.plant(actor) as plant:
            await check_site_of(plant, actor, wanted.edge)
            try:
                await plant.configs.check(wanted.edge, wanted.document)
            except DocumentRefused as error:
                findings = [finding.as_dict() for finding in error.findings]
            newest = await plant.configs.get(wanted.edge)
        changes = []
        if not any(finding["code"] == "MS-2416" for finding in findings):  # of what is no YAML there are no paths
            changes = await asyncio.to_thread(diff_documents, newest.text if newest else "", wanted.document)
        return json_response({"findings": findings, "changes": [change.as_dict() for change in changes]})

    async def _put(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "configure a site", ENGINEERS)
        wanted = await read_json(request, PutRequest, BODY_BYTES_MAX)
        async with self._desk.plant(actor) as plant:
            await check_site_of(plant, actor, wanted.edge)
            check_signature(actor, wanted.edge)
            stored = await plant.configs.put(
                wanted.edge, wanted.document, based_on=wanted.based_on, comment=wanted.comment, author=actor.who,
                healthy_within_ms=wanted.healthy_within_ms,
            )  # fmt: skip
        return json_response({"id": wanted.edge, "is_taken": True, "revision": stored.as_dict()})

    async def _rollback(self, request: Request) -> Response:
        actor = await self._desk.acting(request, "configure a site", ENGINEERS)
        wanted = await read_json(request, BackRequest)
        async with self._desk.plant(actor) as plant:
            await check_site_of(plant, actor, wanted.edge)
            check_signature(actor, wanted.edge)
            stored = await plant.configs.rollback(wanted.edge, wanted.to, comment=wanted.comment, author=actor.who)
        return json_response({"id": wanted.edge, "is_taken": True, "revision": stored.as_dict()})

    async def _diff(self, request: Request) -> Response:
        from millstream.config import diff_documents

        actor, edge = await self._reading(request), request.path_params["edge"]
        old, new = _revision_of(request, "old"), _revision_of(request, "new")
        async with self._desk.plant(actor) as plant:
            await check_site_of(plant, actor, edge)
            before = await plant.configs.get(edge, old) if old else None
            after = await plant.configs.get(edge, new or None)
        texts = [each.text if each else "" for each in (before, after)]
        changes = await asyncio.to_thread(diff_documents, *texts)
        return json_response({"old": texts[0], "new": texts[1], "changes": [change.as_dict() for change in changes]})

    async def _blame(self, request: Request) -> Response:
        from millstream.config import blame

        actor, edge = await self._reading(request), request.path_params["edge"]
        async with self._desk.plant(actor) as plant:
            await check_site_of(plant, actor, edge)
            history = await plant.configs.history(edge)
        rows = await asyncio.to_thread(blame, [(each.revision, each.text) for each in history])
        return json_response({"blame": [
            {"path": row.path, "value": row.value, "revision": row.by.revision, "author": row.by.author,
             "time_ns": row.by.time_ns, "comment": row.by.comment}
            for row in rows
        ]})  # fmt: skip


def check_signature(actor: Actor, edge: str) -> None:
    """Raise AuthError at a hub with tenants: its sites run what an author has signed, and a session is no author
    (ADR 11)."""
    if actor.tenant is not None:
        raise AuthError(
            "sites of a tenant run what somebody signed, and a session signs nothing", where=edge, code=FORBIDDEN,
            expected="credentials of an engineer, of `millstream user add`",
            next_step=f"millstream config put {edge} {edge}.yaml --sign NAME.creds",
        )  # fmt: skip


def _needs_signature(actor: Actor, report: Any) -> bool:
    return actor.tenant is not None or bool((report or {}).get("demands_signatures"))


def _revision_of(request: Request, name: str) -> int:
    return whole_number(request.query_params.get(name) or "0", name, REVISION_MAX)


def _shown(each: SiteRevision) -> dict[str, object]:
    raw = each.revision.as_dict()
    signed_by = raw.pop("signature", None)
    return {**raw, "is_signed": signed_by is not None}


@cache
def _schema_json() -> bytes:
    """Of what may come from afar. What is installed does not change while the hub runs."""
    from millstream.config import MANAGED_SECTIONS, InstalledConnectors, json_schema

    schema = json_schema("edge", InstalledConnectors())
    schema["properties"] = {name: schema["properties"][name] for name in MANAGED_SECTIONS}
    schema["required"] = []
    return msgspec.json.encode(schema)


CONFIG_PATHS: dict[str, Any] = {
    "/api/v1/configs": asked("configs", "What each site should run and runs (engineers)"),
    "/api/v1/configs/schema": asked("config_schema", "JSON Schema of a site's document"),
    "/api/v1/configs/{edge}": asked("config", "Revisions of a site and one document", optional=("revision",),
                                    in_path=("edge",)),
    "/api/v1/configs/{edge}/diff": asked("config_diff", "What differs between two revisions", optional=("old", "new"),
                                         in_path=("edge",)),
    "/api/v1/configs/{edge}/blame": asked("config_blame", "Who set each value", in_path=("edge",)),
    "/api/v1/configs/check": posted("check_config", "All that is wrong in a document, and what it changes",
                                    CheckRequest),
    "/api/v1/configs/put": posted("put_config", "Make a document the newest of a site (engineers)", PutRequest),
    "/api/v1/configs/rollback": posted("rollback_config", "Make an older revision the newest once more", BackRequest),
}  # fmt: skip
"""For the OpenAPI description."""
