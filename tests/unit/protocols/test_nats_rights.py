"""What a token lets its bearer hear, and how a subscription lies to that."""

from __future__ import annotations

import pytest

from millstream.protocols.nats_jwt import Token
from millstream.protocols.nats_rights import Hearing, covers, hearing_of, overlaps, scopes_of

TEMPLATE = {"sub": {"allow": ["$JS.{{tag(site)}}.API.>", "_INBOX.{{subject()}}.>", "of.{{name()}}", "up.{{tag(no)}}"]}}
ACCOUNT = Token("", {"nats": {"signing_keys": ["APLAIN", {"kind": "user_scope", "key": "ASCOPE", "template": TEMPLATE},
                                               {"key": "ABROKEN"}]}})  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "other", "is_covered", "is_overlapping"),
    [
        ("a.>", "a.b", True, True), ("a.>", "a", False, False), ("a.>", "a.>", True, True), (">", "a.*", True, True),
        ("a.*", "a.b", True, True), ("a.*", "a.>", False, True), ("a.*.c", "a.b.*", False, True),
        ("a.b", "a.*", False, True), ("a.b.>", ">", False, True), ("a.b.>", "a.>", False, True),
        ("a.b.>", "a.c.>", False, False), ("a.b", "a.b.c", False, False), ("a.*.>", "a.>", False, True),
        ("a.b", "a.b", True, True), ("a.*", "b.*", False, False), ("a.b.>", "a.*", False, False),
        ("a.*", "a.*.c", False, False),
    ],
)  # fmt: skip
def test_subscriptions_cover_and_overlap_as_their_subjects_do(
    pattern: str, other: str, is_covered: bool, is_overlapping: bool
) -> None:
    assert covers(pattern, other) is is_covered
    assert overlaps(pattern, other) is is_overlapping
    assert overlaps(other, pattern) is is_overlapping


def test_a_subscription_lies_within_beside_or_around_what_may_be_heard() -> None:
    hearing = Hearing(("node.p1.>", "fleet.query"), denied=("node.p1.secret.>",))
    fits = {pattern: hearing.judge(pattern) for pattern in (
        "node.p1.write.>", "node.p1.>", "node.>", ">", "*.query", "node.p2.>", "node.*.x.>", "node.p1.secret.*", "x.>",
    )}  # fmt: skip
    assert fits == {
        "node.p1.write.>": "within", "node.p1.>": "wider", "node.>": "wider", ">": "wider", "*.query": "wider",
        "node.p2.>": "apart", "node.*.x.>": "wider", "node.p1.secret.*": "apart", "x.>": "apart",
    }  # fmt: skip
    assert Hearing(()).judge("anything.>") == "within"


def test_the_template_of_the_key_that_signed_is_filled_with_the_bearers_values() -> None:
    user = {
        "sub": "UKEY",
        "name": "ann",
        "iss": "ASCOPE",
        "nats": {"tags": ["site:p1", "site:p2"], "sub": {"allow": [">"]}},
    }
    found = hearing_of(scopes_of(ACCOUNT), Token("", user))
    assert found.allowed == ("$JS.p1.API.>", "$JS.p2.API.>", "_INBOX.UKEY.>", "of.ann")
    by_itself = hearing_of(scopes_of(ACCOUNT), Token("", {**user, "iss": "APLAIN"}))
    assert by_itself.allowed == (">",)


def test_tokens_of_an_odd_form_give_no_templates() -> None:
    for nats in ({}, {"signing_keys": 5}, {"signing_keys": [{"key": "A", "template": []}]}):
        assert scopes_of(Token("", {"nats": nats})) == {}
