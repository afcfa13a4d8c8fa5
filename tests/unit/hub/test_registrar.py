"""Letting boxes in: a join file made this instant is known at the hub's next look at what the operator says."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec

from millstream.bus import RawConnection
from millstream.hub._registrar import LOOKS_AWAITED, Registrar
from millstream.kernel import SystemClock, Unreachable
from millstream.trust import HubSite, HubTenant, make_request, new_key

BEARER, BOX = new_key("user"), new_key("user")
BEFORE = HubTenant(
    name="acme", place="acme", plant_public="", people_public="", plant_token="", people_token="", hub_token="",
    disk_bytes=1, roles={}, sites={},
)  # fmt: skip
SITE = HubSite(place="acme/cologne", tokens=[BEARER.public])


class _Clock(SystemClock):
    def __init__(self) -> None:
        self.slept_count = 0

    async def sleep(self, seconds: float) -> None:
        self.slept_count += 1


class _NoStore:
    """Whoever gets as far as the store was let through."""

    replicas = 1

    async def request(self, *_: Any, **__: Any) -> Any:
        raise Unreachable("the store was asked", where="test")


async def _ask(clock: _Clock, *, known_after: int, site: HubSite = SITE) -> tuple[str, list[str]]:
    """What the answer says, and what the audit heard."""
    heard: list[str] = []

    async def audit(what: str, outcome: str, data: dict[str, object]) -> None:
        heard.append(outcome)

    def tenant() -> HubTenant:
        return BEFORE if clock.slept_count < known_after else msgspec.structs.replace(BEFORE, sites={"cologne": site})

    registrar = Registrar(cast("RawConnection", _NoStore()), tenant, str, clock, audit)
    request = make_request(BOX, "cologne", BEARER.public)
    answer = await registrar.answer(f"millstream.join.cologne.{BEARER.public}", request)
    return json.loads(answer)["error"]["message"], heard


async def test_a_file_made_this_instant_waits_for_the_next_look_at_what_the_operator_says() -> None:
    assert await _ask(_Clock(), known_after=3) == ("the store was asked", [])


async def test_one_that_nobody_made_is_refused_and_told_once() -> None:
    clock = _Clock()
    assert await _ask(clock, known_after=10**9) == ("this join file opens nothing here", ["refused"])
    assert clock.slept_count == LOOKS_AWAITED


async def test_a_site_that_is_locked_out_is_refused_at_once() -> None:
    clock = _Clock()
    locked = msgspec.structs.replace(SITE, is_revoked=True)
    assert await _ask(clock, known_after=0, site=locked) == ("this join file opens nothing here", ["refused"])
    assert clock.slept_count == 0
