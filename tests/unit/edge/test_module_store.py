"""Modules at an edge: fetched chunk by chunk over links that break, proven, and kept within bounds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.bus import StreamApi
from millstream.edge._log import LineLog
from millstream.edge._modules import UNUSED_BYTES_MAX, ModuleStore
from millstream.kernel import AuthError, DecodeError, NotFoundError, PlantError, SystemClock, Unreachable
from millstream.protocols.module import (
    CHUNK_BYTES,
    MODULE_BYTES_MAX,
    Manifest,
    chunks_subject,
    encode_info,
    info_subject,
    module_digest,
)
from millstream.sdk import Received

DATA = os.urandom(5 * CHUNK_BYTES + 100)
DIGEST = module_digest(DATA)


class FakeHub(StreamApi):
    """A bucket; `breaks_at` are answers (counted from 1) that never come. `asked` are the sequences asked for."""

    def __init__(self, data: bytes = DATA, *, digest: str = DIGEST, nuid: str = "one", **more: Any) -> None:
        manifest = Manifest(
            digest=digest, size_bytes=len(data), kind="wasm", file="m.wasm", author="ada", time_ns=1, **more
        )
        self.chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        self.info = encode_info((manifest,), nuid, len(self.chunks), "2026-01-01T00:00:00Z")
        self.subject, self.asked, self.breaks_at = chunks_subject(nuid), list[int](), set[int]()

    async def last(self, stream: str, subject: str) -> Received | None:
        """What the bucket says of the module."""
        assert subject == info_subject(DIGEST)
        return Received(subject, self.info, None, 1000, 1)

    async def next(self, stream: str, seq: int, subject_filter: str, *, timeout_s: float = 5.0) -> Received | None:
        """Chunks stand at every third sequence: other uploads lie between."""
        assert subject_filter == self.subject
        self.asked.append(seq)
        if len(self.asked) in self.breaks_at:
            raise Unreachable("the link is cut")
        index = -(-(seq - 1) // 3)
        if index >= len(self.chunks):
            return None
        return Received(subject_filter, self.chunks[index], None, 3 * index + 1, 1)


class NoWait(SystemClock):
    """Time passes at once."""

    async def sleep(self, delay_s: float) -> None:
        """Not at all."""


def nobody_asks(manifest: Manifest) -> None:
    """Any module is taken."""


def store(folder: Path) -> ModuleStore:
    return ModuleStore(folder, NoWait(), LineLog("test", lambda level, line: None))


async def test_a_fetch_that_is_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.breaks_at = {3, 5}
    with pytest.raises(Unreachable):
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert not store(tmp_path).has(DIGEST)
    with pytest.raises(Unreachable):  # killed and started again in between: nothing but the disk remembers
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert hub.asked == [1, 2, 5, 5, 8, 8, 11, 14]
    assert store(tmp_path).path(DIGEST).read_bytes() == DATA
    assert [path.name for path in (tmp_path / "modules").iterdir()] == [DIGEST.removeprefix("sha256:")]
    asked = len(hub.asked)
    await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert len(hub.asked) == asked, "what is there is not fetched again"


@pytest.mark.parametrize("damage", ["changed", "shorter", "no note", "longer"])
async def test_a_part_that_a_power_failure_damaged_is_found_and_fetched_anew(tmp_path: Path, damage: str) -> None:
    hub = FakeHub()
    hub.breaks_at = {4}
    with pytest.raises(Unreachable):
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    part = store(tmp_path).path(DIGEST).with_suffix(".part")
    raw = part.read_bytes()
    assert raw == DATA[: 3 * CHUNK_BYTES]
    if damage == "no note":
        part.with_suffix(".note").unlink()
    else:
        part.write_bytes({"changed": bytes(len(raw)), "shorter": raw[:-1], "longer": raw + b"x"}[damage])
    await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert store(tmp_path).path(DIGEST).read_bytes() == DATA


async def test_a_module_that_was_pushed_again_meanwhile_begins_anew(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.breaks_at = {3}
    with pytest.raises(Unreachable):
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    again = FakeHub(nuid="two")
    await store(tmp_path).fetch(DIGEST, again, nobody_asks)
    assert again.asked[0] == 1
    assert store(tmp_path).has(DIGEST)


@pytest.mark.attack("a module whose bytes were changed at the hub", layer="edge: digest")
async def test_other_bytes_under_a_digest_are_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    hub = FakeHub(bytes([DATA[0] ^ 1]) + DATA[1:])
    with pytest.raises(DecodeError) as caught:
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert caught.value.code == "MS-2441"
    assert list((tmp_path / "modules").iterdir()) == []


@pytest.mark.attack("a module that is larger than it says, or than a module may be", layer="edge: bounds")
async def test_more_than_was_said_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.chunks[-1] += b"more"
    with pytest.raises(DecodeError) as caught:
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert caught.value.code == "MS-2441"
    raw = msgspec.json.decode(hub.info)
    for change in (
        {"size": MODULE_BYTES_MAX + 1}, {"chunks": 0}, {"nuid": "a.>"}, {"name": "sha256:" + "0" * 64},
        {"metadata": {}}, {"metadata": {"millstream": "{}"}},
        {"metadata": {"millstream": raw["metadata"]["millstream"].replace(str(len(DATA)), str(MODULE_BYTES_MAX + 1))}},
    ):  # fmt: skip
        hub.info = msgspec.json.encode({**raw, **change})
        with pytest.raises(DecodeError) as caught:
            await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
        assert caught.value.code == "MS-2441", change


async def test_one_author_who_may_is_enough(tmp_path: Path) -> None:
    hub = FakeHub()
    raw = msgspec.json.decode(hub.info)
    mine = msgspec.json.decode(raw["metadata"]["millstream"])
    raw["metadata"]["millstream-more"] = msgspec.json.encode([{**mine, "author": "bob"}]).decode()
    hub.info = msgspec.json.encode(raw)
    asked: list[str] = []

    def bob_only(manifest: Manifest) -> None:
        asked.append(manifest.author)
        if manifest.author != "bob":
            raise AuthError("no author here")

    await store(tmp_path).fetch(DIGEST, hub, bob_only)
    assert (asked, store(tmp_path).has(DIGEST)) == (["ada", "bob"], True)


async def test_nothing_is_fetched_of_what_nobody_vouches_for(tmp_path: Path) -> None:
    def refuse(manifest: Manifest) -> None:
        raise AuthError("nobody signed it")

    hub = FakeHub()
    with pytest.raises(AuthError) as caught:
        await store(tmp_path).fetch(DIGEST, hub, refuse)
    assert (caught.value.code, hub.asked) == ("MS-2443", [])


async def test_a_module_that_is_not_there_or_only_in_part_is_told(tmp_path: Path) -> None:
    hub = FakeHub()
    del hub.chunks[3:]
    with pytest.raises(NotFoundError, match="only a part") as caught:
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert caught.value.code == "MS-2440"
    assert hub.asked == [1, 2, 5, 8, 8, 8], "asked again before it counts as missing"
    hub.info = msgspec.json.encode({**msgspec.json.decode(hub.info), "deleted": True})
    with pytest.raises(NotFoundError, match="no such module"):
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)


async def test_a_disk_without_room_is_told_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    hub = FakeHub()
    with pytest.raises(PlantError) as caught:
        await store(tmp_path).fetch(DIGEST, hub, nobody_asks)
    assert (caught.value.code, hub.asked) == ("MS-2442", [])


def test_what_is_needed_stays_and_the_rest_is_bounded_those_used_last_first(tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    names = [f"{i:064x}" for i in range(5)]
    for age, name in enumerate(names):
        with (folder / name).open("wb") as file:
            file.truncate(UNUSED_BYTES_MAX // 2)
        os.utime(folder / name, (1000 - age, 1000 - age))
    (folder / f"{names[0]}.part").write_bytes(b"x")
    (folder / ("f" * 64 + ".part")).write_bytes(b"x")
    store(tmp_path).clean([f"sha256:{names[0]}", f"sha256:{names[4]}"])
    assert {path.name for path in folder.iterdir()} == {names[0], names[4], names[1], names[2], f"{names[0]}.part"}


def test_of_other_modules_and_parts_the_newest_stay(tmp_path: Path) -> None:
    modules = store(tmp_path)
    modules.folder.mkdir(parents=True)
    for age_s, name in enumerate(["d.part", "c", "b.part", "a.part", "own.part"]):
        for path in (modules.folder / name, (modules.folder / name).with_suffix(".note")):
            path.write_bytes(b"")
            os.utime(path, (1000 - age_s, 1000 - age_s))
    assert modules.drop_others("sha256:own", 2) == ["b", "a"]
    assert {path.stem for path in modules.folder.iterdir()} == {"own", "c", "d"}
    assert modules.has_part("sha256:own")
