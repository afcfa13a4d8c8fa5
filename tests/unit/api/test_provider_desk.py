"""What who runs the hub is told: one look for all who ask at once, and of the audit only what is its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millstream.api._provider import LOOK_KEPT_S, Look, is_for_provider, told_of
from millstream.kernel import Unreachable
from millstream.protocols.cloudevents import CloudEvent
from millstream.sdk.testing import VirtualClock


async def test_all_who_ask_at_once_share_one_look_and_a_later_one_is_new() -> None:
    clock, looks = VirtualClock(), list[int]()

    async def load() -> dict[str, Any]:
        looks.append(1)
        await asyncio.sleep(0)
        return {"tenants": len(looks)}

    look = Look(clock, load)
    found = await asyncio.gather(*(look.get() for _ in range(20)))
    assert [one["tenants"] for one in found] == [1] * 20
    await clock.advance(LOOK_KEPT_S + 0.1)
    assert (await look.get())["tenants"] == 2
    assert len(looks) == 2


@pytest.mark.parametrize(("took_s", "kept_s"), [(0.1, 5.0), (2.0, 20.0), (30.0, 60.0)])
async def test_what_takes_long_is_looked_at_more_rarely(took_s: float, kept_s: float) -> None:
    clock, looks = VirtualClock(), list[int]()

    async def load() -> dict[str, Any]:
        looks.append(1)
        await clock.advance(took_s)
        return {}

    look = Look(clock, load)
    first = await look.get()
    await clock.advance(kept_s - 0.1)
    assert await look.get() is first
    await clock.advance(0.2)
    await look.get()
    assert len(looks) == 2


async def test_a_look_that_failed_is_not_kept() -> None:
    answers: list[Any] = [Unreachable("away"), {"tenants": 1}]

    async def load() -> dict[str, Any]:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return dict(answer)

    look = Look(VirtualClock(), load)
    with pytest.raises(Unreachable):
        await look.get()
    assert (await look.get())["tenants"] == 1


@pytest.mark.parametrize(
    ("type", "data", "is_told"),
    [
        ("millstream.server.leaf_lost", {"tenant": "acme"}, True),
        ("millstream.server.limit_near", {}, True),
        ("millstream.audit.session.opened", {"name": "pat", "tenant": "provider"}, True),
        ("millstream.audit.login_user.added", {"name": "kim", "tenant": "provider"}, True),
        ("millstream.audit.operator.tenant_added", {"tenant": "", "subject": "acme"}, True),
        ("millstream.audit.trust.refused", {"reason": "older"}, True),
        # told to the provider while the tenant's plant was not up
        ("millstream.audit.session.opened", {"name": "ann"}, False),
        ("millstream.audit.session.refused", {"name": "ann", "tenant": "acme"}, False),
        ("millstream.audit.login_user.added", {"name": "ann"}, False),
        ("millstream.audit.operator.user_added", {"tenant": "acme", "subject": "ann"}, False),
        ("millstream.audit.permission.refused", {"name": "ann"}, False),
        ("millstream.audit.session.opened", "provider", False),
        ("com.example.anything", {"tenant": "provider"}, False),
    ],
)
def test_of_the_audit_the_provider_is_told_its_own_only(type: str, data: Any, is_told: bool) -> None:
    assert is_for_provider(CloudEvent("1", "/h1", type, data, 1)) is is_told


def test_a_plant_that_is_down_or_not_told_of_says_so_and_of_its_alarms_only_the_codes() -> None:
    alarm = {"code": "MS-0611", "message": "acme/plant1/press:recipe is full"}
    assert told_of({"is_up": True, "alarms": [alarm]}) == {"state": "up", "alarms": ["MS-0611"]}
    assert told_of({"is_up": False}) == {"state": "down", "alarms": []}
    assert told_of(None) == {"state": "unknown", "alarms": []}
