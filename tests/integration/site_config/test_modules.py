"""Modules of flows from the hub: named by digest, fetched, run, taken back, and there without a hub."""

from __future__ import annotations

import asyncio
import base64
import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from site_kit import WAIT_S, Site, document, growing, healthy, raw_put, report_where, site

from millstream.bus import Credentials, connect_nats
from millstream.client import Plant, connect
from millstream.kernel import ConfigError, NotFoundError, PlantError
from millstream.protocols.module import encode_info, info_subject
from millstream.protocols.site_config import encode_revision, make_revision

WHEEL_FLOW = """
from millstream.flow import Emit, Flow, Input


def step(state, event):
    return state + 1, [Emit(f"{event.key}:out_of_a_wheel", state + 1, event.time_ns)]


flow = Flow(name="w", inputs=(Input("acme/plant1/log:count"),), step=step, initial=int, state_type=int)
"""
ODD = Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm"


def flow_of(digest: str, name: str = "rows", **more: Any) -> dict[str, Any]:
    """A flow that counts the lines of the growing file."""
    return {"name": name, "type": "wasm", "module": digest, "inputs": ["acme/plant1/log:count"], **more}


def make_wheel(folder: Path) -> bytes:
    """A pure wheel with one flow."""
    path = folder / "w.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("acme_rows/__init__.py", WHEEL_FLOW)
        file.writestr("acme_rows-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        file.writestr("acme_rows-1.0.dist-info/METADATA", "Name: acme-rows\nVersion: 1.0\nRequires-Dist: msgspec\n")
    return path.read_bytes()


async def counted(plant: Plant, above: int, name: str = "rows") -> int:
    """A flow's newest count, once it is above another."""
    found: Any = None
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    found = (await plant.get(f"acme/plant1/log:{name}", kind="count")).value
                except NotFoundError:
                    found = None
                if found is not None and found > above:
                    return int(found)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"the newest count is {found}, {await plant.flows()}") from None


def modules_of(made: Site) -> set[str]:
    """The digests that the edge has."""
    return {f"sha256:{path.name}" for path in (made.data / "modules").iterdir()}


async def store_info(made: Site, subject: str, payload: bytes) -> None:
    """Write into the bucket past all checks."""
    node = json.loads((made.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    client = await connect_nats(node["nats_url"], Credentials(node["user"], node["password"]))
    try:
        await client.jetstream().publish(subject, payload, headers={"Nats-Rollup": "sub"})
    finally:
        await client.close()


async def as_others_see_it(made: Site) -> dict[str, bytes]:
    """The bucket, by NATS' own client."""
    node = json.loads((made.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    client = await connect_nats(node["nats_url"], Credentials(node["user"], node["password"]))
    try:
        bucket = await client.jetstream().object_store("modules")
        return {info.name: (await bucket.get(info.name)).data or b"" for info in await bucket.list()}
    finally:
        await client.close()


async def test_a_module_is_rolled_out_taken_back_and_runs_without_a_hub(tmp_path: Path) -> None:
    odd = ODD.read_bytes()
    async with site(tmp_path) as made, connect(made.folder / "hub") as plant, growing(made):
        code = plant.configs.code
        log = made.log_entry()
        with pytest.raises(ConfigError) as caught:
            await plant.configs.put("e1", document(log, flows=[flow_of("sha256:" + "0" * 64)]))
        assert caught.value.code == "MS-2440"

        first = await code.push(odd, "odd.wasm", author="ada")
        assert await code.push(odd, "odd.wasm", author="ada") == first, "the same again changes nothing"
        broken = await code.push(b"\0asm\1\0\0\0", "broken.wasm", author="ada")
        assert await as_others_see_it(made) == {first.digest: odd, broken.digest: b"\0asm\1\0\0\0"}

        await plant.configs.put("e1", document(log, flows=[flow_of(first.digest)]))
        await healthy(plant, 1)
        seen = await counted(plant, 0)
        assert modules_of(made) == {first.digest}
        assert await code.users(first.digest) == ["e1"]
        with pytest.raises(ConfigError, match="names this module"):
            await code.remove(first.digest)

        # One that no flow can be made of is taken back by itself, with its reason, and the old one goes on.
        text = document(log, flows=[flow_of(broken.digest)])
        await plant.configs.put("e1", text, based_on=1, healthy_within_ms=600_000)
        report = await report_where(plant, lambda r: (r["failure"] or {}).get("revision") == 2)
        assert report["failure"]["code"] == "MS-2408"
        assert "MS-0710" in report["failure"]["reason"]
        await healthy(plant, 1)
        seen = await counted(plant, seen)

        # A flow out of a wheel comes the same way, and goes.
        wheel = await code.push(make_wheel(tmp_path), "acme_rows-1.0-py3-none-any.whl", author="ada")
        rows = {"name": "wheel", "python": "acme_rows:flow", "module": wheel.digest}
        await plant.configs.put("e1", document(log, flows=[flow_of(first.digest), rows]), based_on=2)
        await healthy(plant, 3)
        await counted(plant, 0, "out_of_a_wheel")
        assert modules_of(made) == {first.digest, broken.digest, wheel.digest}

        # What the bucket has is another module, or none.
        other = odd[:-1] + bytes([odd[-1] ^ 1])
        await code.push(other, "other.wasm", author="eve")
        [found] = [m for m in await code.modules() if m.author == "eve"]
        nuid = (await _info(made, found.digest))["nuid"]
        lie = msgspec.structs.replace(first, digest="sha256:" + "1" * 64)
        await store_info(made, info_subject(lie.digest), encode_info((lie,), nuid, 1, "2026-01-01T00:00:00Z"))
        await _refused(made, plant, 4, flow_of(lie.digest), "MS-2441")
        await _refused(made, plant, 5, flow_of("sha256:" + "2" * 64), "MS-2440")

        # Without its hub, after a restart: what it has is enough.
        assert made.edge is not None
        assert made.hub is not None
        await made.edge.stop()
        await made.hub.stop()
        await made.start_edge()
        async with connect(made.data) as edge:
            await counted(edge, seen)


async def _info(made: Site, digest: str) -> dict[str, Any]:
    node = json.loads((made.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    client = await connect_nats(node["nats_url"], Credentials(node["user"], node["password"]))
    try:
        message = await client.jetstream().get_last_msg("OBJ_modules", info_subject(digest))
        found: dict[str, Any] = json.loads(message.data or b"")
        return found
    finally:
        await client.close()


async def _refused(made: Site, plant: Plant, number: int, flow: dict[str, Any], code: str) -> None:
    """Put past the checks of the client, the edge refuses it."""
    text = document(made.log_entry(), flows=[flow])
    revision = make_revision(
        "e1", text, revision=number, based_on=number - 1, author="eve", comment="", time_ns=1, kind="put"
    )
    await raw_put(made, "e1", encode_revision(revision))
    report = await report_where(plant, lambda r: (r["failure"] or {}).get("revision") == number)
    assert (report["failure"]["code"], report["healthy_revision"], report["phase"]) == (code, 3, "settled")


def test_a_digest_is_a_name_in_the_bucket_as_nats_makes_it() -> None:
    digest = "sha256:" + "ab" * 32
    assert info_subject(digest) == "$O.modules.M." + base64.urlsafe_b64encode(digest.encode()).decode()
    assert issubclass(NotFoundError, PlantError)
