"""What a tenant uses of its limits, as who runs the hub is shown it."""

from __future__ import annotations

import pytest

from millstream.hub._account_limits import AccountUse
from millstream.hub._tenant_uses import Use, uses_of
from millstream.trust import HubTenant, Limits, add_tenant, make_bundle, make_trust, read_bundle

NOW_S = 1_700_000_000
LIMITS = Limits(sites=20, connections=100, subscriptions=5000, disk_bytes=10 << 30)


def tenant(boxes: int = 1) -> HubTenant:
    """Of a hub with so many boxes."""
    trust = make_trust("op", "nats://127.0.0.1:1", NOW_S)
    trust.more_urls = [f"nats://127.0.0.1:{number}" for number in range(2, boxes + 1)]
    add_tenant(trust, "acme", None, LIMITS, NOW_S)
    return read_bundle(make_bundle(trust, NOW_S), NOW_S).tenants["acme"]


@pytest.mark.parametrize("boxes", [1, 3])
def test_what_is_stored_counts_for_each_box_and_of_plant_and_people_whichever_has_more(boxes: int) -> None:
    acme = tenant(boxes)
    found = uses_of(acme, {
        acme.plant_public: AccountUse(12, 7, boxes * (2 << 30), 0, 300),
        acme.people_public: AccountUse(40, 0, 0, 0, 90),
        "somebody else": AccountUse(99, 99, 99, 99, 99),
    })  # fmt: skip
    assert found == {
        "sites": Use(7, 20), "connections": Use(40, 100), "disk_bytes": Use(2 << 30, 10 << 30),
        "subscriptions": Use(300, 5000),
    }  # fmt: skip


def test_a_tenant_of_whom_the_servers_say_nothing_uses_nothing_and_says_since_when_it_is_there() -> None:
    acme = tenant()
    assert [use.used for use in uses_of(acme, {}).values()] == [0, 0, 0, 0]
    assert acme.created_s == NOW_S
