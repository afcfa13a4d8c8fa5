"""What the boxes of a site share of its configuration: one that works no longer changes nothing."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from millstream.bus import Credentials
from millstream.bus._credentials import inbox_prefix
from millstream.edge._config_state import Held, SiteState
from millstream.edge._shared_config import STATE, SharedShelf
from millstream.kernel import DecodeError, FencedError, Unreachable
from millstream.protocols.site_config import encode_revision, make_revision


class Bucket:
    """A stream that keeps the newest message of each subject, and a link whose answers may be lost."""

    replicas = 3

    def __init__(self) -> None:
        self.messages: dict[str, tuple[int, bytes]] = {}
        self.seq = 0
        self.loses_answer = self.loses_request = False
        self.purged: list[dict[str, Any]] = []

    async def request(self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", **_: Any) -> Any:
        answer = (
            self._api(subject, payload) if subject.startswith("$JS.") else self._store(subject, payload, header_lines)
        )
        return (1, b"", b"", None, msgspec.json.encode(answer))

    def _api(self, subject: str, payload: bytes) -> dict[str, Any]:
        asked = msgspec.json.decode(payload)
        if "STREAM.INFO" in subject:
            return {"state": {"subjects": {name: 1 for name in self.messages if ".revision." in name}}}
        if "PURGE" in subject:
            self.purged.append(asked)
            return {"purged": 1}
        found = self.messages.get(asked["last_by_subj"])
        if found is None:
            return {"error": {"code": 404, "err_code": 10037, "description": "no message found"}}
        data = base64.b64encode(found[1]).decode()
        return {"message": {"subject": STATE, "seq": found[0], "data": data, "time": "2026-01-01T00:00:00Z"}}

    def _store(self, subject: str, payload: bytes, lines: bytes) -> dict[str, Any]:
        if self.loses_request:
            raise Unreachable("no answer in time")
        last = self.messages.get(subject, (0, b""))[0]
        if lines and int(lines.split(b":")[1]) != last:
            return {"error": {"code": 400, "err_code": 10071, "description": "wrong last sequence"}}
        self.seq += 1
        self.messages[subject] = (self.seq, payload)
        if self.loses_answer:
            raise Unreachable("no answer in time")
        return {"seq": self.seq}


def shelf_of(bucket: Any) -> SharedShelf:
    return SharedShelf(bucket, "e1")


async def test_the_box_that_takes_over_finds_the_phase_and_the_one_before_is_fenced() -> None:
    bucket = Bucket()
    first, second = shelf_of(bucket), shelf_of(bucket)
    assert await first.load() == SiteState()
    await first.save(SiteState(seen=1))
    assert (await second.load()).seen == 1
    await second.save(SiteState(seen=2))
    for _ in range(2):
        with pytest.raises(FencedError):
            await first.save(SiteState(seen=3))
    assert (await shelf_of(bucket).load()).seen == 2


async def test_a_chain_of_trust_takes_the_place_of_the_one_that_was_read_and_of_no_other() -> None:
    bucket = Bucket()
    first, second = shelf_of(bucket), shelf_of(bucket)
    assert (await first.chain(), await second.chain()) == (None, None)
    await first.keep_chain(b"newer")
    with pytest.raises(FencedError):
        await second.keep_chain(b"older")
    assert await second.chain() == b"newer"
    await second.keep_chain(b"newest")
    assert await first.chain() == b"newest"


@pytest.mark.parametrize("lost", ["loses_answer", "loses_request"])
async def test_a_change_that_had_no_answer_is_made_again_whether_it_was_stored_or_not(lost: str) -> None:
    bucket = Bucket()
    shelf = shelf_of(bucket)
    await shelf.load()
    await shelf.save(SiteState(seen=1))
    setattr(bucket, lost, True)
    with pytest.raises(Unreachable):
        await shelf.save(SiteState(seen=2))
    setattr(bucket, lost, False)
    await shelf.save(SiteState(seen=2, boots=1))
    assert (await shelf_of(bucket).load()).boots == 1


async def test_a_kept_revision_is_what_it_was_and_only_older_ones_than_the_own_state_are_removed() -> None:
    bucket = Bucket()
    shelf = shelf_of(bucket)
    made = make_revision(
        "e1", "connectors: []\n", revision=3, based_on=2, author="ann", comment="", time_ns=1
    )  # fmt: skip
    held = Held.of(made)
    await shelf.keep(encode_revision(made), held)
    assert await shelf.document(held) == "connectors: []\n"
    with pytest.raises(DecodeError):
        await shelf.document(msgspec.structs.replace(held, digest="sha256:" + "0" * 64))
    await shelf.load()
    await shelf.save(SiteState(healthy=held))
    await shelf.clean(SiteState(healthy=held))
    assert bucket.purged == []
    await shelf.clean(SiteState())
    (purged,) = bucket.purged
    assert purged["seq"] == bucket.seq


def test_a_state_that_cannot_be_read_is_told() -> None:
    from millstream.edge._shared_config import _decode

    with pytest.raises(DecodeError, match="taken anew"):
        _decode(b"{}")


def test_replies_of_the_hub_reach_a_box_by_the_name_of_its_site() -> None:
    login = Credentials("node", "password")
    assert inbox_prefix(login, {"server_name": "e1-a", "domain": "e1", "cluster": "e1"}) == "_INBOX.e1"
    assert inbox_prefix(login, {"server_name": "e1", "domain": "e1"}) == "_INBOX.e1"
    assert inbox_prefix(login, {"server_name": "h1-a", "domain": "hub", "cluster": "h1"}) == "_INBOX.hub"
