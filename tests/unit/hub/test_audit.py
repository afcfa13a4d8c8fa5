"""Reading the server's words about who was refused, and gathering a flood of them."""

from __future__ import annotations

import msgspec

from millstream.hub._audit import KINDS_COUNT_MAX, SAME_FOR_S, Refusals, describe_refusal, read_violation
from millstream.protocols.nats_jwt import KeyPair, sign_claims

ACCOUNT, USER = "A" + "C" * 55, "U" + "D" * 55


def test_a_clients_violation_names_account_and_key() -> None:
    line = (
        f'[9] 2026/11/21 14:38:19.779378 [ERR] 10.0.0.7:57928 - cid:38 - "v2:python3:x" - '
        f'"{ACCOUNT}/acme people/jwt:{USER}" - Publish Violation - Subject "uns.v1.x"'
    )
    found = read_violation(line, 5)
    assert found is not None
    assert (found.connection, found.host, found.what, found.subject) == ("38", "10.0.0.7", "publish", "uns.v1.x")
    assert (found.account, found.key, found.time_ns) == (ACCOUNT, USER, 5)


def test_a_leafs_violation_names_the_connection() -> None:
    line = '[6] 2026/11/21 14:36:12.6 [ERR] [::1]:60236 - lid:40 - Publish Violation on "a.b" - Check other side'
    found = read_violation(line, 5)
    assert found is not None
    assert (found.connection, found.host, found.subject, found.account) == ("40", "[::1]", "a.b", "")


def test_other_lines_are_none() -> None:
    for line in ("", "[1] 2026 [INF] Server is ready", '[ERR] x - Publish Violation "', "\x00" * 100):
        assert read_violation(line, 1) is None


def test_an_advisory_that_is_none_is_not_read() -> None:
    for payload in (b"", b"[]", b"{}", b'{"client": 1}', b"\xff", b'{"client": null}'):
        assert describe_refusal(payload) is None
    found = describe_refusal(msgspec.json.encode({"client": {"id": 4, "host": "h", "jwt": "x.y.z"}, "reason": "No"}))
    assert found is not None
    assert found[0] == ""
    assert (found[1]["token"], found[1]["reason"]) == ("unreadable", "no")


def test_a_hostile_token_in_an_advisory_is_only_told_of() -> None:
    key = KeyPair.make("account", b"\x01" * 32)
    for claims in ({"sub": 1, "exp": "x"}, {"nats": 5, "name": ["x"] * 100}, {"nats": {"issuer_account": {}}}):
        payload = msgspec.json.encode({"client": {"id": 1, "jwt": sign_claims(claims, key, 1)}})
        assert describe_refusal(payload) is not None
    deep = msgspec.json.encode({"client": {"id": 1, "jwt": f"e30.{'W1tb' * 20000}.e30"}})
    found = describe_refusal(deep)
    assert found is not None
    assert found[1]["token"] == "unreadable"


def test_equal_refusals_are_one_event_with_a_count_and_kinds_are_bounded() -> None:
    refusals = Refusals()
    for at in range(100):
        refusals.add("acme", {"host": "h", "reason": "r"}, at)
    assert refusals.take(0) == []
    told = refusals.take(int(SAME_FOR_S * 1e9) + 100)
    assert [(tenant, what, data["count"]) for tenant, what, data in told] == [("acme", "login", 100)]
    for number in range(3 * KINDS_COUNT_MAX):
        refusals.add("acme", {"host": str(number)}, 0)
    told = refusals.take(int(1e12))
    assert len(told) == KINDS_COUNT_MAX + 1
    assert sum(data["count"] for _, _, data in told) == 3 * KINDS_COUNT_MAX
