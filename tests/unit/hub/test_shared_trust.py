"""The operator's file between the boxes of one hub, and the accounts of their servers: the newest wins, everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from millstream.bus import ClusterSettings, LeafListener, RawConnection, ServerSettings, ServerTrust
from millstream.bus._scout import render_scout
from millstream.hub._accounts import CLAIMS_SUBJECT, Accounts
from millstream.hub._shared_trust import PART_BYTES, SharedTrust
from millstream.hub._told_changes import BucketMark, Told, ToldChanges
from millstream.hub._trust import TrustFile
from millstream.kernel import AuthError, SystemClock, Unreachable
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.nats_wire import WireMessage
from millstream.trust import (
    Limits,
    Trust,
    add_tenant,
    make_bundle,
    make_trust,
    note_change,
    open_bundle,
    read_bundle,
    seal_bundle,
)

SECRET = "what the members share"
NOW_S = 1_700_000_000


class Wire:
    """What the members' servers carry between them."""

    def __init__(self) -> None:
        self.listeners: list[tuple[str, Callable[[list[WireMessage]], None]]] = []
        self.said: list[tuple[str, bytes]] = []
        self.is_cut = False


class Link(RawConnection):
    """One member's connection, without a socket."""

    def __init__(self, wire: Wire, server: str = "") -> None:
        super().__init__("nats://nowhere:1")
        self.inbox = f"_INBOX.{server}"
        self._wire = wire

    def subscribe(self, subject: str, callback: Callable[[list[WireMessage]], None]) -> int:
        self._wire.listeners.append((subject, callback))
        return len(self._wire.listeners)

    def unsubscribe(self, sid: int) -> None:
        self._wire.listeners[sid - 1] = ("", lambda _: None)

    def publish(self, subject: str, payload: bytes, *, reply: str = "", header_lines: bytes = b"") -> None:
        if self._wire.is_cut:
            raise Unreachable("not connected", where="test")
        self._wire.said.append((subject, payload))
        for wanted, callback in list(self._wire.listeners):
            if wanted == subject:
                callback([(1, subject.encode(), reply.encode() or None, None, payload)])

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> WireMessage:
        answers: list[WireMessage] = []
        sid = self.subscribe("reply", answers.extend)
        self.publish(subject, payload, reply="reply")
        self.unsubscribe(sid)
        if not answers:
            raise Unreachable("nobody answers", where=subject)
        return answers[0]


def operator(*tenants: str) -> Trust:
    """With tenants."""
    trust = make_trust("op", "nats://a:1", NOW_S)
    for name in tenants:
        add_tenant(trust, name, None, Limits(), NOW_S)
    return trust


def next_file(trust: Trust, before: str | None = None) -> str:
    """What the operator signs next."""
    trust.serial += 1
    return make_bundle(trust, NOW_S, before)


class Member:
    """A box with a trust file of its own."""

    def __init__(self, folder: Path, name: str, wire: Wire, text: str, secret: str = SECRET) -> None:
        (folder / name / "secrets").mkdir(parents=True)
        self.path = folder / f"{name}.trust"
        self.path.write_text(text, encoding="ascii")
        self.refused: list[str | None] = []
        self.file = TrustFile(self.path, folder / name, SystemClock(), self.refused.append, is_shared=True)
        self.file.load()
        self.shared = SharedTrust(Link(wire), self.file, ("h1", name), secret, SystemClock(), self.refused.append)
        self.shared.listen()


@contextlib.asynccontextmanager
async def running(*members: Member) -> AsyncIterator[None]:
    """While in the scope."""
    tasks = [asyncio.ensure_future(member.shared.run()) for member in members]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(check: Callable[[], bool]) -> None:
    """Poll until true."""
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.01)


async def test_a_file_that_one_member_takes_is_with_all_and_an_older_one_undoes_nothing(tmp_path: Path) -> None:
    trust, wire = operator("acme"), Wire()
    first = next_file(trust)
    members = [Member(tmp_path, name, wire, first) for name in "abc"]
    second = next_file(trust, first)
    async with running(*members):
        members[1].path.write_text(second, encoding="ascii")
        assert members[1].file.look()
        members[1].shared.tell()
        await until(lambda: all(member.file.trust.serial == trust.serial for member in members))
        assert members[2].file.text() == second
    back = Member(tmp_path, "d", wire, first)
    assert not back.file.offer(first)
    assert back.file.offer(second)
    again = TrustFile(back.path, tmp_path / "d", SystemClock(), back.refused.append, is_shared=True)
    again.load()  # its own file is the old one still, which is no surprise
    assert (again.trust.serial, back.refused) == (trust.serial, [])


async def test_a_member_that_starts_has_the_newest_before_it_goes_on_and_waits_for_nobody_for_ever(
    tmp_path: Path,
) -> None:
    trust, wire = operator("acme", *(f"t{number}" for number in range(60))), Wire()
    first = next_file(trust)
    second = next_file(trust, first)
    there, back = Member(tmp_path, "a", wire, second), Member(tmp_path, "b", wire, first)
    assert len(seal_bundle(second, SECRET)) > 2 * PART_BYTES  # it comes in parts
    async with running(there):
        assert await back.shared.settle(1, 60.0)
        assert back.file.trust.serial == trust.serial
        assert not await back.shared.settle(2, 0.01)


async def test_a_file_that_another_secret_sealed_or_another_operator_signed_is_told_and_not_taken(
    tmp_path: Path,
) -> None:
    trust, wire = operator("acme"), Wire()
    first = next_file(trust)
    own = Member(tmp_path, "a", wire, first)
    stranger = Member(tmp_path, "b", wire, next_file(trust, first), secret="another")
    async with running(own, stranger):
        await until(lambda: bool(own.refused))
    assert "MS-2112" in str(own.refused)
    assert own.file.trust.serial == trust.serial - 1
    evil = operator("acme")
    evil.serial = 1000
    with pytest.raises(AuthError):
        own.file.offer(make_bundle(evil, NOW_S))
    with pytest.raises(AuthError):
        open_bundle(b"short", SECRET)


async def test_two_files_of_one_number_are_told_at_both_members_and_what_was_first_stays(tmp_path: Path) -> None:
    trust, wire = operator("acme"), Wire()
    first = next_file(trust)
    copy = msgspec.json.decode(msgspec.json.encode(trust), type=Trust)  # a key store that was copied
    for store, who in ((trust, "ann"), (copy, "bob")):
        note_change(store, who, "site_added", "acme", who, {}, NOW_S)
    ann, bob = next_file(trust, first), next_file(copy, first)
    a, b, c = Member(tmp_path, "a", wire, ann), Member(tmp_path, "b", wire, bob), Member(tmp_path, "c", wire, ann)
    async with running(a, b, c):
        await until(lambda: all(len(member.refused) == 1 for member in (a, c)) and len(b.refused) == 2)
        for member in (a, b, c):
            assert "two different files under one number" in str(member.refused)
        assert (a.file.text(), b.file.text()) == (ann, bob)
        a.path.write_text(bob + "\n", encoding="ascii")  # by hand neither
        assert not a.file.look()
        assert "say in one key store" in str(a.refused[-1])
        note_change(trust, "ann", "site_added", "acme", "bob", {}, NOW_S)
        healed = next_file(trust, ann)
        a.path.write_text(healed, encoding="ascii")
        assert a.file.look()
        await until(lambda: b.file.text() == healed)


def test_what_is_signed_within_one_second_has_an_order() -> None:
    trust = operator("acme")
    tenant = trust.tenants["acme"]
    before, issued = None, []
    for number in range(3):
        tenant.revoked[f"U{number}"] = NOW_S
        before = next_file(trust, before)
        issued.append(read_token(read_bundle(before, NOW_S).tenants["acme"].plant_token).issued_s)
    assert issued == [NOW_S, NOW_S + 1, NOW_S + 2]


def test_what_the_boxes_of_a_hub_keep_of_a_tenant_counts_together() -> None:
    trust = operator("acme")
    for boxes in (1, 3):
        trust.more_urls = ["nats://b:1"] * (boxes - 1)
        token = read_token(read_bundle(next_file(trust), NOW_S).tenants["acme"].plant_token)
        assert token.nats["limits"]["disk_storage"] == boxes * ((50 << 30) + (4 << 30))


class Servers:
    """The servers of a cluster, as they take what is pushed."""

    def __init__(self, wire: Wire, *names: str) -> None:
        self.has: dict[str, str] = {}
        self._names, self._wire = names, wire
        wire.listeners.append((CLAIMS_SUBJECT, self._take))

    def _take(self, messages: list[WireMessage]) -> None:
        for message in messages:
            token = read_token(message[4].decode())
            self.has[token.subject] = token.text
            for name in self._names:
                answer = json.dumps({"server": {"name": name}, "data": {"code": 200}}).encode()
                Link(self._wire).publish((message[2] or b"").decode(), answer)


async def test_accounts_are_as_the_newest_file_says_whoever_pushes_what_and_when(tmp_path: Path) -> None:
    trust, wire = operator("acme"), Wire()
    old_text = next_file(trust)
    trust.tenants["acme"].revoked["UX"] = NOW_S
    old, new = read_bundle(old_text, NOW_S), read_bundle(next_file(trust, old_text), NOW_S)
    servers = Servers(wire, "h1-a", "h1-b")
    fresh, stale = Accounts(tmp_path / "a", lambda: new, "h1-a"), Accounts(tmp_path / "b", lambda: old, "h1-b")
    link = Link(wire, "h1-a")
    public, token = new.tenants["acme"].plant_public, new.tenants["acme"].plant_token

    fresh.store()
    assert (tmp_path / "a" / f"{public}.jwt").read_text(encoding="ascii") == token
    assert fresh.due() == {}  # nothing is pushed at a start: its own server has it
    fresh.listen(link)
    stale.store()
    stale.listen(link)
    assert stale.due() == {}

    await Accounts(tmp_path / "c", lambda: old, "h1-b").push(link)  # a member that is behind says what it knows
    assert servers.has[public] == old.tenants["acme"].plant_token
    assert public in fresh.due()
    await fresh.push(link)
    assert servers.has[public] == token
    assert (fresh.due(), stale.due()) == ({}, {})  # who is behind does not push it back

    Accounts(tmp_path / "a", lambda: old, "h1-a").store()  # nor does it overwrite what its server has
    assert (tmp_path / "a" / f"{public}.jwt").read_text(encoding="ascii") == token


async def test_a_push_that_fails_is_due_still(tmp_path: Path) -> None:
    trust, wire = operator("acme"), Wire()
    bundle = read_bundle(next_file(trust), NOW_S)
    accounts = Accounts(tmp_path, lambda: bundle, "h1-a")
    wire.is_cut = True
    with pytest.raises(Unreachable):
        await accounts.push(Link(wire))
    assert len(accounts.due()) == 3
    wire.is_cut = False
    servers = Servers(wire, "h1-a")
    await accounts.push(Link(wire))
    assert len(servers.has) == 3


class Bucket(Link):
    """Which acts are told."""

    def __init__(self, kept: int | None) -> None:
        super().__init__(Wire())
        self.kept = kept
        self.by_another: int | None = None

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> WireMessage:
        if "DIRECT.GET" in subject:
            if self.kept is None:
                return (1, b"", None, b"NATS/1.0 404 Message Not Found\r\n\r\n", b"")
            head = (
                b"NATS/1.0\r\nNats-Stream: KV_cluster\r\nNats-Subject: $KV.cluster.told\r\nNats-Sequence: 1\r\n"
                b"Nats-Time-Stamp: 2026-01-01T00:00:00Z\r\n\r\n"
            )
            return (1, b"", None, head, msgspec.json.encode(Told(self.kept)))
        assert header_lines.startswith(b"Nats-Expected-Last-Subject-Sequence: ")
        if self.by_another is not None:
            self.kept, self.by_another = self.by_another, None
            refused = {"error": {"code": 400, "err_code": 10071, "description": "wrong last sequence"}}
            return (1, b"", None, None, json.dumps(refused).encode())
        self.kept = msgspec.json.decode(payload, type=Told).serial
        return (1, b"", None, None, b'{"seq": 1}')


@pytest.mark.parametrize(("kept", "expected"), [(None, []), (1, [1]), (2, [])])
async def test_the_member_that_leads_goes_on_behind_the_acts_that_are_told(
    kept: int | None, expected: list[int]
) -> None:
    trust = read_bundle(next_file(operator("acme")), NOW_S)
    bucket, told = Bucket(kept), list[int]()

    async def tell(before: int) -> None:
        told.append(before)

    changes = ToldChanges(BucketMark(bucket), lambda: trust, tell)
    await changes.begin()
    task = asyncio.ensure_future(changes.run(SystemClock()))
    try:
        await until(lambda: bucket.kept == trust.serial and told == expected)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_member_that_leads_no_longer_does_not_note_what_is_behind_the_next_one() -> None:
    trust = read_bundle(next_file(operator("acme")), NOW_S)
    bucket, told = Bucket(0), list[int]()

    async def tell(before: int) -> None:
        told.append(before)
        bucket.by_another = trust.serial + 5

    changes = ToldChanges(BucketMark(bucket), lambda: trust, tell)
    await changes.begin()
    await changes._look()
    await changes._look()
    assert (bucket.kept, told) == (trust.serial + 5, [0])


def test_a_scout_has_the_routes_and_accounts_of_its_member_and_no_door() -> None:
    cluster = ClusterSettings("h1", "a", {"a": "10.0.0.1:1", "b": "10.0.0.2:2", "c": "10.0.0.3:3"}, SECRET)
    settings = ServerSettings(
        "h1", host="0.0.0.0", leaf_listener=LeafListener("0.0.0.0", 7422), websocket_port=80, cluster=cluster,
        trust=ServerTrust("op", "SYS", "token", "/accounts"),
    )  # fmt: skip
    config = json.loads(render_scout(settings, 4999))
    assert (config["host"], config["port"], config["server_name"]) == ("127.0.0.1", 4999, "h1-a-scout")
    assert len(config["cluster"]["routes"]) == 2
    assert config["operator"] == "op"
    assert not {"leafnodes", "websocket", "mqtt", "jetstream", "http"} & config.keys()
