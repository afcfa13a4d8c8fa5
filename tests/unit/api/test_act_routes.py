"""Who may do what over HTTP: by role, by path, and at a hub with tenants; before anything is asked of the plant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pyarrow as pa
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from millstream.api._act_routes import ACT_PATHS, act_routes
from millstream.api._browser import check_site
from millstream.api._desk import ActDesk
from millstream.api._door import Actor
from millstream.api._refusals import plant_error
from millstream.client import DeadLetter, NodeCommand, NotWritten
from millstream.kernel import ConfigError, NotFoundError, PlantError, SystemClock
from millstream.protocols.write_request import WritableTag, WriteAnswer

ASKS: list[tuple[str, str, dict[str, Any], str]] = [
    ("GET", "/api/v1/dead-letters", {}, "viewer"),
    ("GET", "/api/v1/dead-letters/H_DLQ:1", {}, "viewer"),
    ("GET", "/api/v1/trace?what=acme/plant1:x", {}, "viewer"),
    ("GET", "/api/v1/writable", {}, "viewer"),
    ("GET", "/api/v1/contracts?tag=acme/plant1/press:x", {}, "viewer"),
    ("GET", "/api/v1/context?path=acme/plant1/press&what=order", {}, "viewer"),
    ("GET", "/api/v1/context?path=&what=reason", {}, "viewer"),
    ("GET", "/api/v1/commands", {}, "viewer"),
    ("GET", "/api/v1/commands/c1", {}, "viewer"),
    ("GET", "/api/v1/twin?path=acme/plant1/press", {}, "viewer"),
    ("GET", "/api/v1/twin/history?path=acme/plant1/press&field=state", {}, "viewer"),
    ("GET", "/api/v1/twins", {}, "viewer"),
    ("POST", "/api/v1/fleet/query", {"filter": "1 == 1"}, "viewer"),
    ("GET", "/api/v1/fleet/data?tag=acme/plant1/press:x&start=0&end=1", {}, "viewer"),
    ("POST", "/api/v1/dead-letters/replay", {"id": "H_DLQ:1"}, "engineer"),
    ("POST", "/api/v1/dead-letters/drop", {"id": "H_DLQ:1", "why": "a test"}, "engineer"),
    ("GET", "/api/v1/commands/c1/file?node=plant1", {}, "engineer"),
    ("GET", "/api/v1/configs", {}, "engineer"),
    ("GET", "/api/v1/configs/schema", {}, "engineer"),
    ("GET", "/api/v1/configs/plant1", {}, "engineer"),
    ("GET", "/api/v1/configs/plant1/diff", {}, "engineer"),
    ("GET", "/api/v1/configs/plant1/blame", {}, "engineer"),
    ("POST", "/api/v1/configs/check", {"edge": "plant1", "document": ""}, "engineer"),
    ("POST", "/api/v1/configs/put", {"edge": "plant1", "document": "", "based_on": 0}, "engineer"),
    ("POST", "/api/v1/configs/rollback", {"edge": "plant1", "to": 1}, "engineer"),
    ("GET", "/api/v1/rollouts", {}, "engineer"),
    ("POST", "/api/v1/rollouts/start", {"sites": ["plant1"], "document": ""}, "engineer"),
    ("POST", "/api/v1/rollouts/ask", {"name": "r1", "action": "stop"}, "engineer"),
    ("POST", "/api/v1/write", {"path": "acme/plant1/press:x", "value": 1}, "commander"),
    ("POST", "/api/v1/commands/send", {"type": "diagnostics", "nodes": ["plant1"]}, "commander"),
    ("POST", "/api/v1/commands/cancel", {"id": "c1"}, "commander"),
]
RANK = ["viewer", "engineer", "commander"]
REFUSED = [(method, path, ask, role) for method, path, ask, least in ASKS for role in RANK[: RANK.index(least)]]
INNER, OUTER = "acme/plant1", "acme/plant2"


def letter(id: str, place: str | None) -> DeadLetter:
    """One of a place, or of none that is known."""
    subject = None if place is None else f"uns.v1.{place.replace('/', '.')}._tag.x"
    return DeadLetter(id, "source", "a reason", "MS-0300", 1, b"x", subject)


def command(node: str) -> NodeCommand:
    """The same at a node."""
    return NodeCommand("c1", node, "diagnostics", "ben", "done", 1, 2, 3)


class FakePlant:
    """Two sites, a letter and a command of each; notes what is asked."""

    def __init__(self) -> None:
        self.opened = 0
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: PlantError | None = None
        self.letters = SimpleNamespace(replay=self._note, drop=self._note)
        self.commands = SimpleNamespace(list=self._commands, show=self._show, send=self._send, cancel=self._cancel)
        self.configs = SimpleNamespace(sites=self._sites, put=self._note, rollouts=None)
        self.fleet = SimpleNamespace(query=self._query, data=self._data)
        self.silent: list[str] = []
        self.context = SimpleNamespace(list=self._facts)
        self.twins = SimpleNamespace(show=self._twin, history=self._twins, list=self._twins)

    def act_from(self, origin: str) -> None:
        """See Plant."""
        assert origin == "10.0.0.9"

    @asynccontextmanager
    async def open(self, tenant: str | None) -> AsyncIterator[FakePlant]:
        """As the hub opens one."""
        self.opened += 1
        yield self

    async def dead_letters(self, *, limit: int) -> tuple[list[DeadLetter], int]:
        """Of here, elsewhere and nowhere."""
        return [letter("H_DLQ:1", INNER), letter("H_DLQ:2", OUTER), letter("H_DLQ:3", None)], 3

    async def dead_letter(self, id: str) -> DeadLetter:
        """One of them."""
        for one in (await self.dead_letters(limit=9))[0]:
            if one.id == id:
                return one
        raise NotFoundError("no such dead letter")

    async def writable(self) -> dict[str, list[WritableTag]]:
        """One at each."""
        return {"e": [WritableTag(f"{INNER}/press:x", 1.0), WritableTag(f"{OUTER}/press:x", 1.0)]}

    async def write(self, *what: Any, **more: Any) -> WriteAnswer:
        """Notes it."""
        await self._note(*what, **more)
        return WriteAnswer("w1", "done", 1, read_back=1)

    async def _note(self, *what: Any, **more: Any) -> Any:
        self.asked.append((*what, more))
        if self.refusal is not None:
            raise self.refusal
        return SimpleNamespace(stream="H_LOCAL", last_seq=7)

    async def _facts(self, *places: str, what: str | None) -> list[Any]:
        self.asked.append((*places, {"what": what}))
        return []

    async def _twin(self, *what: Any) -> dict[str, Any]:
        self.asked.append(what)
        return {"path": what[0], "revision": 7}

    async def _twins(self, *what: Any, **more: Any) -> list[dict[str, Any]]:
        self.asked.append((*what, more))
        return [{"revision": 7}]

    async def _sites(self) -> dict[str, str]:
        return {"plant1": INNER, "plant2": OUTER, "whole": "acme"}

    async def _commands(self, *, is_open: bool, limit: int) -> Sequence[NodeCommand]:
        return [command("plant1"), command("plant2")]

    async def _show(self, id: str) -> Sequence[NodeCommand]:
        return [command("plant1"), command("plant2")]

    async def _send(self, *what: Any, **more: Any) -> str:
        await self._note(*what, **more)
        return "c1"

    async def _cancel(self, *what: Any, **more: Any) -> Sequence[NodeCommand]:
        await self._note(*what, **more)
        return []

    def _query(self, filter: str | None, **more: Any) -> Any:
        self.asked.append((filter, more))
        return SimpleNamespace(all=self._answers)

    def _data(self, *what: Any, **more: Any) -> Any:
        self.asked.append((*what, more))
        return SimpleNamespace(
            table=self._table, summary=SimpleNamespace(is_whole=not self.silent, missing=self.silent)
        )

    async def _table(self) -> pa.Table:
        rows = 0 if self.silent else 2
        return pa.table({"timestamp": [1, 2][:rows], "value": [3.5, 4.5][:rows], "quality": [0, 0][:rows]})

    async def _answers(self) -> Any:
        return SimpleNamespace(nodes=[], summary={})


class Site:
    """An application whose door lets one person in."""

    def __init__(self, role: str, paths: tuple[str, ...] = (), tenant: str | None = None) -> None:
        self.plant, self.refusals = FakePlant(), list[str]()
        actor = Actor("ann", role, tenant, paths, "10.0.0.9", self.refusals.append)

        async def admit(request: Request) -> Any:
            check_site(request)
            return SimpleNamespace(actor=actor)

        door = cast("Any", SimpleNamespace(admit=admit))
        routes = act_routes(ActDesk(door, cast("Any", self.plant.open), SystemClock()))
        self.app = Starlette(routes=routes, exception_handlers={PlantError: plant_error})

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
        """One question of a page of this hub."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://plant.example") as client:
            return await client.request(method, path, json=body if method == "POST" else None, **more)


@pytest.mark.parametrize(("method", "path", "ask", "role"), REFUSED)
async def test_a_role_that_may_not_is_told_so_before_the_plant_is_asked(
    method: str, path: str, ask: dict[str, Any], role: str
) -> None:
    site = Site(role)
    answer = await site.ask(method, path, ask)
    assert (answer.status_code, answer.json()["code"], answer.json()["got"]) == (403, "MS-2126", role)
    assert (site.plant.opened, len(site.refusals)) == (0, 1)


def test_each_route_has_its_least_role_here_and_stands_in_the_description() -> None:
    site = Site("commander")
    told = {route.path for route in site.app.routes if hasattr(route, "path")}  # type: ignore[attr-defined]
    assert told == set(ACT_PATHS)
    shapes = {path.replace("/H_DLQ:1", "/{id}").replace("/c1", "/{id}").partition("?")[0] for _, path, _, _ in ASKS}
    shapes = {shape.replace("configs/plant1", "configs/{edge}") for shape in shapes}
    older = {"/api/v1/alarms/ask", "/api/v1/downtime", "/api/v1/downtime/ask", "/api/v1/why"}  # test_acts.py
    older |= {"/api/v1/oee", "/api/v1/quality", "/api/v1/quality/ask"}
    assert shapes == told - older


@pytest.mark.parametrize(("method", "path", "ask", "least"), [ask for ask in ASKS if ask[0] == "POST"])
async def test_a_page_of_another_site_can_ask_for_nothing(
    method: str, path: str, ask: dict[str, Any], least: str
) -> None:
    site = Site("commander")
    assert (await site.ask(method, path, ask, headers={"Origin": "https://evil.example"})).status_code == 403
    assert site.plant.opened == 0


async def test_who_has_some_paths_sees_and_touches_what_lies_below_them_only() -> None:
    site = Site("commander", (INNER,))
    found = (await site.ask("GET", "/api/v1/dead-letters")).json()
    assert ([one["id"] for one in found["letters"]], found["total"]) == (["H_DLQ:1"], 1)
    assert [one["node"] for one in (await site.ask("GET", "/api/v1/commands")).json()["commands"]] == ["plant1"]
    assert [one["tag"] for one in (await site.ask("GET", "/api/v1/writable")).json()["writable"]] == [
        f"{INNER}/press:x"
    ]
    refused = [
        ("GET", "/api/v1/dead-letters/H_DLQ:2", {}, 404),
        ("POST", "/api/v1/dead-letters/replay", {"id": "H_DLQ:2"}, 404),
        ("POST", "/api/v1/dead-letters/replay", {"id": "H_DLQ:1", "path": f"{OUTER}/press:x"}, 403),
        ("POST", "/api/v1/dead-letters/drop", {"id": "H_DLQ:3", "why": "mine"}, 404),
        ("POST", "/api/v1/write", {"path": f"{OUTER}/press:x", "value": 1}, 403),
        ("POST", "/api/v1/commands/send", {"type": "diagnostics", "nodes": ["plant1", "plant2"]}, 404),
        ("POST", "/api/v1/commands/send", {"type": "diagnostics", "nodes": ["whole"]}, 404),
        ("GET", "/api/v1/commands/c1/file?node=plant2", {}, 404),
        ("POST", "/api/v1/fleet/query", {"nodes": ["plant2"]}, 404),
        ("GET", "/api/v1/configs/plant2", {}, 404),
        ("POST", "/api/v1/configs/put", {"edge": "plant2", "document": "", "based_on": 0}, 404),
        ("GET", "/api/v1/trace?what=acme/plant1:x", {}, 403),
        ("GET", "/api/v1/rollouts", {}, 403),
        ("GET", f"/api/v1/contracts?tag={OUTER}/press:x", {}, 403),
        ("GET", f"/api/v1/context?path={OUTER}/press", {}, 403),
    ]  # fmt: skip
    for method, path, ask, status in refused:
        assert (await site.ask(method, path, ask)).status_code == status, path
    assert site.plant.asked == []
    assert (await site.ask("POST", "/api/v1/fleet/query", {})).status_code == 200
    assert site.plant.asked[-1][1]["nodes"] == ["plant1"], "not all, and not the site that is larger than the path"
    assert (await site.ask("POST", "/api/v1/commands/cancel", {"id": "c1"})).status_code == 200
    assert site.plant.asked[-1] == ("c1", {"nodes": ["plant1"], "who": "ann"})


async def test_of_no_place_what_is_known_of_all_that_one_sees_is_listed() -> None:
    for paths, places in (((), ["**"]), ((INNER,), [INNER])):
        site = Site("viewer", paths=paths)
        answer = await site.ask("GET", "/api/v1/context?path=&what=reason")
        assert (answer.status_code, answer.json()) == (200, {"facts": []})
        assert site.plant.asked[-1] == (*places, {"what": "reason"})


async def test_what_a_site_holds_comes_as_arrow_that_says_whether_it_is_whole() -> None:
    site = Site("viewer", paths=(INNER,))
    asked = "/api/v1/fleet/data?start=0&end=1000000000&tag="
    found = await site.ask("GET", f"{asked}{INNER}/press:x")
    table = pa.ipc.open_stream(found.content).read_all()
    assert (found.status_code, table["value"].to_pylist()) == (200, [3.5, 4.5])
    assert table.schema.metadata[b"truncated"] == b"false"
    assert site.plant.asked[-1][0] == f"{INNER}/press:x"
    site.plant.silent = ["plant1"]
    refused = await site.ask("GET", f"{asked}{INNER}/press:x")
    assert (refused.status_code, refused.json()["got"]) == (503, "plant1")
    for other in (f"{OUTER}/press:x", "acme/**:x"):
        assert (await site.ask("GET", f"{asked}{other}")).status_code in (400, 403)
    assert len(site.plant.asked) == 2


async def test_what_is_asked_is_of_the_session_whatever_the_body_says() -> None:
    site = Site("commander")
    await site.ask("POST", "/api/v1/write", {"path": f"{INNER}/press:x", "value": 3, "id": "once"})
    assert site.plant.asked[-1] == (f"{INNER}/press:x", 3, {"valid": "10s", "id": "once", "who": "ann"})
    forged = {"path": f"{INNER}/press:x", "value": 3, "who": "ben"}
    assert (await site.ask("POST", "/api/v1/write", forged)).status_code == 400
    await site.ask("POST", "/api/v1/dead-letters/drop", {"id": "H_DLQ:3", "why": "noise"})
    assert site.plant.asked[-1] == ("H_DLQ:3", {"who": "ann", "why": "noise"})
    assert (await site.ask("POST", "/api/v1/dead-letters/drop", {"id": "H_DLQ:3", "why": " "})).status_code == 400
    await site.ask("POST", "/api/v1/commands/send", {"type": "diagnostics", "nodes": ["plant1"], "key": "k1"})
    assert (site.plant.asked[-1][-1]["key"], site.plant.asked[-1][-1]["who"]) == ("k1", "ann")


async def test_sites_of_a_tenant_take_nothing_that_nobody_signed() -> None:
    site = Site("commander", tenant="acme")
    for path, ask in (
        ("/api/v1/configs/put", {"edge": "plant1", "document": "", "based_on": 0}),
        ("/api/v1/configs/rollback", {"edge": "plant1", "to": 1}),
        ("/api/v1/rollouts/start", {"sites": ["plant1"], "document": ""}),
        ("/api/v1/rollouts/ask", {"name": "r1", "action": "rollback"}),
    ):
        answer = await Site.ask(site, "POST", path, ask)
        assert answer.status_code == 403, path
        assert "--sign" in answer.json()["hint"]
    assert site.plant.asked == []


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (NotWritten(WriteAnswer("w1", "failed", 1, "MS-2005", "interlock"), "acme:x"), 409),
        (NotFoundError("no such tag"), 404),
        (ConfigError("cannot be"), 400),
        (PlantError("somebody was faster", code="MS-2406"), 409),
        (PlantError("something else"), 503),
    ],
)
async def test_what_a_machine_or_a_site_does_not_take_is_told_as_that(refusal: PlantError, status: int) -> None:
    site = Site("commander")
    site.plant.refusal = refusal
    answer = await site.ask("POST", "/api/v1/write", {"path": f"{INNER}/press:x", "value": 3})
    assert (answer.status_code, answer.json()["message"]) == (status, refusal.what)


@pytest.mark.parametrize("path", ["acme/*:x", "", "acme", "acme/plant1/press:*"])
async def test_a_pattern_is_never_written(path: str) -> None:
    site = Site("commander")
    assert (await site.ask("POST", "/api/v1/write", {"path": path, "value": 3})).status_code == 400
    assert site.plant.opened == 0


async def test_twins_are_seen_below_the_paths_of_who_asks_and_nowhere_else() -> None:
    site = Site("viewer", (INNER,))
    for path in (f"{OUTER}/press", f"{OUTER}/press:twin", "acme", "acme/plant10"):
        for address in ("twin", "twin/history", "twins"):
            answer = await site.ask("GET", f"/api/v1/{address}?path={path}&field=state")
            assert answer.status_code == 403, (address, path)
    assert (await site.ask("GET", "/api/v1/twins?path=acme/*")).status_code == 400
    assert site.plant.opened == 0
    assert (await site.ask("GET", "/api/v1/twins")).json() == {"twins": [{"revision": 7}]}
    twin = await site.ask("GET", f"/api/v1/twin?path={INNER}/press&at=1970-01-01T00:00:01Z")
    assert twin.json() == {"path": f"{INNER}/press", "revision": 7}
    await site.ask("GET", f"/api/v1/twin/history?path={INNER}/press&field=state/value&start=1&end=2")
    listed, shown, history = site.plant.asked
    assert listed == (INNER, {"name": "twin"}), "without a path: what they may see"
    assert shown == (f"{INNER}/press", 10**9)
    assert history == (f"{INNER}/press", "state/value", {"start": 1, "end": 2})
