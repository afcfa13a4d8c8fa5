"""What the audit says of an act: one shape, bounded, without secrets."""

from __future__ import annotations

import json

import pytest

from millstream.config import put_told
from millstream.protocols.audit import HIDDEN, ITEMS_COUNT_MAX, act_data, origin_told, shown_value
from millstream.protocols.site_config import Revision, make_revision


def test_an_act_has_who_from_before_and_after_also_when_there_is_none() -> None:
    assert act_data("ann@box3", "", None, {"role": "viewer"}, why=None) == {
        "who": "ann@box3", "from": "box3", "before": None, "after": {"role": "viewer"},
    }  # fmt: skip
    assert act_data("ann", "10.0.0.7", {}, None)["from"] == "10.0.0.7"


@pytest.mark.parametrize(
    "name",
    ["password", "api_token", "connectors[plc].password", "uplink.credentials", "signing_seed", "totp", "secret.value"],
)
def test_a_secret_is_hidden_by_its_name_wherever_it_stands(name: str) -> None:
    hidden = json.dumps(act_data("ann", "", {name: "hunter2"}, {"a": {name: ["hunter2"]}}, more={name: "hunter2"}))
    assert "hunter2" not in hidden
    assert hidden.count(HIDDEN) == 3


def test_that_there_is_a_secret_is_none() -> None:
    assert shown_value({"second_factor": True, "new_password": True, "key": "UABC", "tokens": 3}) == {
        "second_factor": True, "new_password": True, "key": "UABC", "tokens": 3,
    }  # fmt: skip


def test_what_is_too_much_is_cut_and_said_so() -> None:
    many = {str(number): number for number in range(ITEMS_COUNT_MAX + 5)}
    assert shown_value(many)["..."] == "5 more"
    assert shown_value(list(many))[-1] == "... 5 more"
    assert len(shown_value("x" * 10_000)) == 400
    deep: dict[str, object] = {}
    for _ in range(50):
        deep = {"a": deep}
    assert len(json.dumps(shown_value(deep))) < 100


@pytest.mark.parametrize("info", [None, b"", b"no json", b"[]", b'{"host": 7}', b"{}"])
def test_who_asks_is_not_made_up(info: bytes | None) -> None:
    assert origin_told(info) == ""
    assert origin_told(b'{"acc": "A", "host": "10.0.0.9"}') == "10.0.0.9"


def _revision(number: int, text: str) -> tuple[Revision, str]:
    made = make_revision(
        "east", text, revision=number, based_on=number - 1, author="ann", comment="why", time_ns=1
    )  # fmt: skip
    return made, text


def test_a_configuration_is_told_value_by_value() -> None:
    old, new = _revision(1, "a: {b: 1, c: 2}\n"), _revision(2, "a: {b: 1, c: 3}\npassword: hunter2\n")
    told = put_told(old, new, "acme/east", "10.0.0.7")
    assert told["before"]["values"] == {"a.c": "2"}
    assert told["after"]["values"] == {"a.c": "3", "password": HIDDEN}
    assert (told["before"]["revision"], told["after"]["revision"], told["comment"]) == (1, 2, "why")
    assert put_told(None, old, "acme/east", "")["before"] is None
    unread = put_told(old, _revision(2, "a: [\n"), "acme/east", "")
    assert unread["after"]["values"] == {}
