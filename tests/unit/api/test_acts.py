"""Acting from a page: who may, where, from which page; and that the hub says who it was, never the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from millstream.api._acts import Acts
from millstream.api._browser import check_site
from millstream.api._desk import ActDesk
from millstream.api._door import Actor
from millstream.api._refusals import plant_error
from millstream.client import AlarmRow, Listed
from millstream.kernel import NotFoundError, PlantError, SystemClock
from millstream.protocols.alarm import AlarmNote

ALARM = "acme/plant1/press:alarm/hi"
STOP = "acme/plant1/press:downtime"
ACKNOWLEDGE = {"path": ALARM, "action": "acknowledge", "occurrence": 3}
REASON = {"path": STOP, "action": "reason", "at": "-10min", "reason": "bearing"}
PARTS = {"path": "acme/plant1/press:quality", "count": 12, "kind": "scrap", "reason": "scratches"}
ASKS = [("/api/v1/alarms/ask", ACKNOWLEDGE), ("/api/v1/downtime/ask", REASON), ("/api/v1/quality/ask", PARTS)]


class FakePlant:
    """Notes what is asked of it, and does what `outcome` says."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.opened: list[str | None] = []
        self.refusal: PlantError | None = None
        self.alarms = SimpleNamespace(list=self._rows, ask=self._ask, outcome=self._outcome)
        self.downtime = SimpleNamespace(listed=self._stops, ask=self._ask, outcome=self._outcome, why=self._why)
        self.quality = SimpleNamespace(listed=self._lots, say=self._ask, correct=self._ask, outcome=self._outcome)
        self.oee = SimpleNamespace(total=self._total)
        self.context = SimpleNamespace(category_of=self._category, reject_kind=self._category)

    def act_from(self, origin: str) -> None:
        """See Plant."""
        assert origin == "10.0.0.9"

    @asynccontextmanager
    async def open(self, tenant: str | None) -> AsyncIterator[FakePlant]:
        """As the hub opens a tenant's."""
        self.opened.append(tenant)
        yield self

    async def _rows(self, *patterns: str, is_all: bool) -> list[AlarmRow]:
        return [AlarmRow(ALARM, 1, "watch", AlarmNote("raised", "unacknowledged", "high", count=5))]

    async def _ask(self, *what: Any, **more: Any) -> str:
        self.asked.append((*what, more))
        return str(more["id"])

    async def _outcome(self, what: Any, id: str, *, timeout_s: float) -> Any:
        if self.refusal is not None:
            raise self.refusal
        return None

    async def _stops(self, *patterns: str, start: int, end: int) -> Listed:
        return Listed([{"path": STOP, "start": "2026-01-01T06:00:00Z", "duration_s": 60.0, "reason": "bearing"}])

    async def _lots(self, *patterns: str, start: int, end: int) -> Listed:
        rows = [{"path": PARTS["path"], "kind": "scrap", "count": 12.0, "reason": "scratches"}]
        return Listed(rows, 1_790_000_000_000_000_000, "no historian answers")

    async def _why(self, path: str, at: int) -> dict[str, Any]:
        return {"path": path, "value": 0.5}

    async def _total(self, place: str, *, start: int, end: int, levels: int | None) -> dict[str, Any]:
        return {"oee": 0.5, "place": place, "hours": (end - start) // (3600 * 10**9), "levels": levels}

    async def _category(self, reason: str, category: str) -> str:
        if reason == "unheard of":
            raise NotFoundError("no such reason", got=reason)
        return category


class Site:
    """An application whose door lets one person in."""

    def __init__(self, role: str = "engineer", paths: tuple[str, ...] = (), tenant: str | None = "acme") -> None:
        self.plant, self.refusals = FakePlant(), list[str]()
        actor = Actor("ann", role, tenant, paths, "10.0.0.9", self.refusals.append)

        async def admit(request: Request) -> Any:
            check_site(request)
            return SimpleNamespace(actor=actor)

        door = cast("Any", SimpleNamespace(admit=admit))
        routes = Acts(ActDesk(door, cast("Any", self.plant.open), SystemClock())).routes()
        self.app = Starlette(routes=routes, exception_handlers={PlantError: plant_error})

    def client(self) -> httpx.AsyncClient:
        """Of a page of this hub."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="https://plant.example")


@pytest.mark.parametrize(("address", "ask"), ASKS)
@pytest.mark.parametrize("role", ["viewer", "", "Engineer"])
async def test_who_only_looks_is_refused_before_the_plant_is_asked_and_the_audit_hears_of_it(
    address: str, ask: dict[str, Any], role: str
) -> None:
    site = Site(role)
    async with site.client() as client:
        answer = await client.post(address, json=ask)
    assert (answer.status_code, answer.json()["code"]) == (403, "MS-2126")
    assert answer.json()["expected"] == "commander or engineer"
    assert site.plant.opened == []
    assert len(site.refusals) == 1


@pytest.mark.parametrize(("address", "ask"), ASKS)
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Origin": "https://plant.example:8443"}],
)  # fmt: skip
async def test_a_page_of_another_site_can_ask_for_nothing(
    address: str, ask: dict[str, Any], headers: dict[str, str]
) -> None:
    site = Site()
    async with site.client() as client:
        assert (await client.post(address, json=ask, headers=headers)).status_code == 403
        form = {"Content-Type": "text/plain"}  # what a form of another site could send
        assert (await client.post(address, content=b"{}", headers=form)).status_code == 400
    assert site.plant.opened == []


@pytest.mark.parametrize("role", ["engineer", "commander"])
async def test_an_acknowledgement_is_of_the_session_and_for_the_occurrence_that_was_seen(role: str) -> None:
    site = Site(role)
    async with site.client() as client:
        answer = await client.post("/api/v1/alarms/ask", json=ACKNOWLEDGE | {"id": "once"})
        assert answer.json() == {"id": "once", "is_taken": False, "alarm": None}
        forged = await client.post("/api/v1/alarms/ask", json=ACKNOWLEDGE | {"who": "ben"})
        assert forged.status_code == 400
    ((row, action, more),) = site.plant.asked
    assert (row.note.count, action, more["who"], more["id"]) == (3, "acknowledge", "ann", "once")
    assert site.plant.opened == ["acme"]


async def test_what_an_alarm_or_a_stop_does_not_allow_is_told_as_that() -> None:
    site = Site()
    async with site.client() as client:
        for code, (address, ask) in zip(("MS-2703", "MS-2721", "MS-2723"), ASKS, strict=True):
            site.plant.refusal = PlantError("does not allow this now", got="not latched", code=code)
            answer = await client.post(address, json=ask)
            assert (answer.status_code, answer.json()["code"]) == (409, code)
        for code in ("MS-0582", "MS-2300"):  # malformed, by a node's word
            site.plant.refusal = PlantError("a span of time is above zero", got="0.0", code=code)
            assert (await client.post(ASKS[0][0], json=ACKNOWLEDGE)).status_code == 400
        other = await client.post("/api/v1/alarms/ask", json=ACKNOWLEDGE | {"path": "acme/plant1/press:alarm/no"})
        assert other.status_code == 404
        unknown = await client.post("/api/v1/downtime/ask", json=REASON | {"reason": "unheard of"})
        assert unknown.status_code == 404
        unknown = await client.post("/api/v1/quality/ask", json=PARTS | {"reason": "unheard of"})
        assert unknown.status_code == 404


@pytest.mark.parametrize("path", ["acme/plant2/press:alarm/hi", "acme:alarm/hi", "acme/plant10/press:alarm/hi"])
async def test_who_has_some_paths_acts_and_looks_below_them_only(path: str) -> None:
    site = Site(paths=("acme/plant1",))
    async with site.client() as client:
        for address, ask in ASKS:
            assert (await client.post(address, json=ask | {"path": path})).status_code == 403
        assert (await client.get("/api/v1/why", params={"tag": path})).status_code == 403
        place = path.partition(":")[0]
        for listed in ("/api/v1/downtime", "/api/v1/quality", "/api/v1/oee"):
            assert (await client.get(listed, params={"path": place})).status_code == 403
        assert site.plant.opened == []
        assert (await client.post("/api/v1/downtime/ask", json=REASON)).status_code == 200


@pytest.mark.parametrize("path", ["acme/*", "acme/**", "*", ""])
async def test_a_name_that_would_be_a_pattern_is_refused(path: str) -> None:
    site = Site(paths=("acme/*",))
    async with site.client() as client:
        for listed in ("/api/v1/downtime", "/api/v1/oee"):
            assert (await client.get(listed, params={"path": path})).status_code == 400
        answer = await client.post("/api/v1/alarms/ask", json=ACKNOWLEDGE | {"path": f"{path}:alarm/*"})
        assert answer.status_code == 400
    assert site.plant.opened == []


async def test_a_viewer_may_see_stops_and_what_a_figure_is_made_of() -> None:
    async with Site("viewer").client() as client:
        found = (await client.get("/api/v1/downtime", params={"path": "acme/plant1", "start": "-8h"})).json()
        assert [stop["reason"] for stop in found["stops"]] == ["bearing"]
        assert (found["since"], found["doubt"]) == (None, None)
        assert [(row["reason"], row["seconds"], row["share"]) for row in found["pareto"]] == [("bearing", 60.0, 1.0)]
        lots = (await client.get("/api/v1/quality", params={"path": "acme/plant1"})).json()
        assert (lots["rejects"][0]["count"], lots["pareto"][0]["reason"]) == (12.0, "scratches")
        assert (lots["since"], lots["doubt"]) == ("2026-09-21T14:13:20Z", "no historian answers")
        assert (await client.get("/api/v1/why", params={"tag": "acme/plant1/press:oee/shift/oee"})).json()[
            "value"
        ] == 0.5
        asked = {"path": "acme/plant1", "start": "-8h"}
        found = (await client.get("/api/v1/oee", params={**asked, "levels": "3"})).json()
        assert found == {"oee": 0.5, "place": "acme/plant1", "hours": 8, "levels": 3}
        assert (await client.get("/api/v1/oee", params=asked)).json()["levels"] is None
        for wrong in ("0", "13", "x", "-1", "9" * 5000):
            assert (await client.get("/api/v1/oee", params={**asked, "levels": wrong})).status_code == 400


async def test_what_is_said_of_parts_is_of_the_session_and_is_put_right_by_its_lot() -> None:
    site = Site()
    async with site.client() as client:
        said = await client.post("/api/v1/quality/ask", json=PARTS | {"start": "-2h", "id": "once"})
        assert said.json() == {"id": "once", "is_taken": False, "lot": None}
        again = {"path": PARTS["path"], "lot": "once", "count": 0}
        assert (await client.post("/api/v1/quality/ask", json=again)).status_code == 200
        assert (await client.post("/api/v1/quality/ask", json=PARTS | {"who": "ben"})).status_code == 400
    (path, count, kind, first), (_, lot, second) = site.plant.asked
    assert (path, count, kind, first["who"], first["reason"]) == (PARTS["path"], 12.0, "scrap", "ann", "scratches")
    assert (first["end"] - first["start"], lot, second["count"]) == (7200 * 10**9, "once", 0)
