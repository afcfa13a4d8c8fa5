"""What of the sites' subscriptions is told and who is hung up on: bounded, and once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from millstream.bus import RawConnection
from millstream.hub._listening import (
    RESTS_COUNT_MAX,
    SUBSCRIPTIONS_COUNT_MAX,
    TOLD_COUNT_MAX,
    WIDER_AGAIN_S,
    WIDER_COUNT_MAX,
    LinkInfo,
    Listening,
    ListeningBook,
    Who,
)
from millstream.protocols.nats_jwt import read_token
from millstream.sdk.testing import LoopClock
from millstream.trust import (
    HubTenant,
    Limits,
    add_site,
    add_tenant,
    edge_token,
    make_bundle,
    make_trust,
    new_key,
    read_bundle,
)

NOW_S = 1_790_000_000


def acme() -> tuple[HubTenant, Who]:
    """A tenant with two sites, and the box of the first."""
    trust = make_trust("op", "nats://x:1", NOW_S)
    tenant = add_tenant(trust, "acme", None, Limits(), NOW_S)
    for name in ("p1", "p2"):
        add_site(tenant, name, None, {}, NOW_S + 9, NOW_S)
    key = new_key("user").public
    token = edge_token(tenant.plant_public, tenant.roles["edge"], "p1", "acme/p1", key, NOW_S)
    return read_bundle(make_bundle(trust, NOW_S), NOW_S).tenants["acme"], Who(read_token(token), "p1")


TENANT, WHO = acme()
TENANTS = {TENANT.plant_public: TENANT}


def link(*subscriptions: str, id: int = 1) -> LinkInfo:
    """A link with these."""
    return LinkInfo(id, TENANT.plant_public, "10.0.0.7", len(subscriptions), list(subscriptions))


def looked(book: ListeningBook, *links: LinkInfo, now_s: float = 0) -> list[tuple[str, bool]]:
    """What is found, and whether the link is cut for it."""
    book.count(links)
    return [(found.subject, found.is_cut) for found in book.judge(links, TENANTS, int(now_s * 1e9))]


def test_what_a_site_may_hear_is_not_told_what_is_wider_once_and_the_rest_is_cut() -> None:
    book = ListeningBook()
    book.connected(1, WHO)
    own = ("$JS.p1.API.>", "millstream.node.p1.write", "_INBOX.p1.x.*", "$LDS.abc", "millstream.node.p2.write")
    assert looked(book, link(*own)) == []  # of single subjects the server says itself what it refuses
    assert looked(book, link(*own, ">")) == [(">", False)]
    assert looked(book, link(*own, ">")) == []
    assert looked(book, link(*own, ">", "millstream.node.p2.>", "$KV.>")) == [
        ("$KV.>", True),
        ("millstream.node.p2.>", True),
    ]


def test_a_wider_one_is_told_again_after_an_hour_and_not_at_each_return() -> None:
    book = ListeningBook()
    for id, at_s in ((1, 0), (2, 10), (3, WIDER_AGAIN_S - 1)):
        book.connected(id, WHO)
        assert looked(book, link(">", id=id), now_s=at_s) == ([(">", False)] if id == 1 else [])
    book.connected(4, WHO)
    assert looked(book, link(">", id=4), now_s=WIDER_AGAIN_S + 1) == [(">", False)]


def test_a_flood_is_some_events_and_no_memory() -> None:
    book = ListeningBook()
    book.connected(1, WHO)
    for look in range(3):
        found = looked(book, link(*(f"x.{look}.{i}.>" for i in range(1000)), id=1))
        assert [subject for subject, _ in found][-1] == f"and {1000 - TOLD_COUNT_MAX} more"
        assert len(found) == TOLD_COUNT_MAX + 1
    for look in range(5):
        looked(book, link(*(f"*.{look}.{i}.>" for i in range(1000)), id=1))
    assert len(book.wider) == WIDER_COUNT_MAX
    looked(book)
    assert book.judged == {}


def test_a_list_that_is_too_long_is_not_asked_for() -> None:
    book = ListeningBook()
    many = LinkInfo(1, TENANT.plant_public, "10.0.0.7", SUBSCRIPTIONS_COUNT_MAX + 1)
    assert [(found.link, found.is_cut) for found in book.count([many, link(">", id=2)])] == [(many, True)]


class Server:
    """The system account of a server with these links."""

    def __init__(self, *links: LinkInfo) -> None:
        self.links, self.asked, self.cut = list(links), list[dict[str, object]](), list[int]()
        self.info, self.inbox = {"server_id": "NA"}, "_INBOX.x"

    async def wait_connected(self) -> None:
        """At once."""

    async def request(self, subject: str, payload: bytes) -> tuple[int, bytes, None, None, bytes]:
        """A list of links."""
        assert subject == "$SYS.REQ.SERVER.NA.LEAFZ"
        self.asked.append(msgspec.json.decode(payload))
        found = [one for one in self.links if self.asked[-1].get("account", one.account) == one.account]
        return 1, b"", None, None, msgspec.json.encode({"data": {"leafs": found or None}})

    def publish(self, subject: str, payload: bytes, *, reply: str) -> None:
        """What is hung up on."""
        assert (subject, bool(reply)) == ("$SYS.REQ.SERVER.NA.KICK", True)
        self.cut.append(msgspec.json.decode(payload)["cid"])


async def test_lists_are_asked_for_when_a_number_changed_else_now_and_then() -> None:
    server, told = Server(), list[Any]()
    clock = LoopClock()
    listening = Listening(cast("RawConnection", server), lambda: {"acme": TENANT}, _never, told.append, clock)
    await listening.look()
    assert server.asked == [{}]
    server.links = [link("millstream.node.p1.>")]
    for _ in range(2 + RESTS_COUNT_MAX):
        await listening.look()
    assert server.asked.count({"subscriptions": True}) == 2
    server.links = [link("$KV.>"), LinkInfo(2, "AOTHER", "10.0.0.8", SUBSCRIPTIONS_COUNT_MAX + 1), link("live.>", id=3)]
    await listening.look()
    assert server.asked[-1] == {"subscriptions": True, "account": TENANT.plant_public}
    assert (server.cut, [one.subject for one in told]) == ([2, 1, 3], ["", "$KV.>", "live.>"])


def _never(tenant: str, data: Mapping[str, object]) -> None:
    raise AssertionError(f"nobody is known, and {tenant} is told of {data}")


def test_who_was_not_heard_to_connect_may_be_any_site_and_nobody_else() -> None:
    book = ListeningBook()
    assert looked(book, link("millstream.node.p2.>", "_INBOX.join-p1.>", "millstream.node.p3.>", "live.>", ">")) == [
        ("live.>", True), ("millstream.node.p3.>", True), (">", False),
    ]  # fmt: skip
    book.connected(1, WHO)
    book.gone(1)
    assert book.who == {}
