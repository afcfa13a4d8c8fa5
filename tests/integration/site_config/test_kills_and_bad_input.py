"""A site that is killed at any step of a change, is away for long, or is given what no site should take."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from site_kit import (
    Site,
    counts_at_hub,
    counts_of_both_classes,
    document,
    growing,
    healthy,
    raw_put,
    report_where,
    site,
    status_of,
)

from millstream.bus import Credentials, RawConnection
from millstream.client import Plant, connect
from millstream.config import DocumentRefused
from millstream.edge._config_state import Failure, Held, SiteState
from millstream.edge._config_store import ConfigStore
from millstream.kernel import ConfigError, NotFoundError, PlantError, Unreachable, free_port
from millstream.protocols.site_config import Revision, encode_revision, make_revision

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


async def interrupted(made: Site, plant: Plant, revision: Revision, phase: str, healthy_held: Held) -> None:
    """The edge was killed in that phase of that revision: what it then has on its disk is all that there is."""
    assert made.edge is not None
    await made.edge.kill()
    store = ConfigStore(made.data, made.name)
    held = Held.of(revision)
    state = store.load()
    assert state.healthy == healthy_held
    store.keep(encode_revision(revision), held)
    failure = Failure(held.revision, "MS-2408", "not healthy after 2s", 1, is_rolled_back=True)
    interrupted = msgspec.structs.replace(
        state, phase=phase, seen=held.revision, seen_digest=held.digest, candidate=held,  # type: ignore[arg-type]
        must_be_up=("log", "boiler"), failure=failure if phase == "rolling_back" else None,
    )  # fmt: skip
    store.save(interrupted)
    await made.start_edge()


def state_of(made: Site) -> SiteState:
    return ConfigStore(made.data, made.name).load()


async def test_a_kill_at_each_step_ends_in_the_new_or_the_last_healthy_one(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        await plant.configs.put("e1", document(made.log_entry(), made.boiler_entry()))
        await healthy(plant, 1)
        number = 1
        async with growing(made):
            for phase in ("stored", "applying"):
                before = state_of(made).healthy
                entry = made.log_entry(sampling_interval=f"{number}s")
                text = document(entry, made.boiler_entry())
                revision = await plant.configs.put("e1", text, based_on=number)
                number += 1
                await interrupted(made, plant, revision, phase, before)
                report = await healthy(plant, number)
                assert (report["revision"], report["failure"]) == (number, None), phase
            before = state_of(made).healthy
            for phase in ("watching", "rolling_back"):
                text = document(made.log_entry(), made.boiler_entry(port=free_port()))
                revision = await plant.configs.put("e1", text, based_on=number, healthy_within_ms=2000)
                number += 1
                await interrupted(made, plant, revision, phase, before)
                report = await report_where(plant, lambda r: r["failure"] is not None and r["phase"] == "settled")
                assert (report["revision"], report["failure"]["revision"]) == (before.revision, number), phase
        assert await counts_at_hub(made) == list(range(made.lines))
        assert state_of(made).candidate is None
        assert len(list((made.data / "config").glob("r*.json"))) == 1  # what nothing refers to is removed


async def test_real_kills_while_configurations_come_lose_and_double_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        await plant.configs.put("e1", document(made.log_entry()))
        await healthy(plant, 1)
        async with growing(made):
            for number in range(1, 4):
                tags = [{"name": "count", "address": "n"}, {"name": "twice", "address": "twice"}][: 1 + number % 2]
                durability = ("integrity", "throughput")[number % 2]  # what it reads is stored in another stream then
                text = document(made.log_entry(tags=tags, durability=durability))
                await plant.configs.put("e1", text, based_on=number)
                await report_where(plant, lambda r, n=number: r["seen"] > n)  # type: ignore[misc]
                assert made.edge is not None
                await made.edge.kill()
                await made.start_edge()
            await healthy(plant, 4)
        assert await counts_of_both_classes(made) == list(range(made.lines))
        accounts = (await plant.ledger(recounted=True)).accounts
        for name in ("E_e1_I", "E_e1_T"):
            account = accounts[name]
            assert (account.gaps, account.repeats, account.out_of_order) == (0, 0, 0), name


async def test_a_configuration_that_ends_the_node_is_given_up_at_the_third_start(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        await plant.configs.put("e1", document(made.log_entry()))
        await healthy(plant, 1)
        before = state_of(made).healthy
        text = document(made.log_entry(), made.boiler_entry())
        revision = await plant.configs.put("e1", text, based_on=1, healthy_within_ms=600_000)
        await interrupted(made, plant, revision, "applying", before)
        state = msgspec.structs.replace(state_of(made), boots=2, phase="watching", candidate=Held.of(revision))
        assert made.edge is not None
        await made.edge.kill()
        ConfigStore(made.data, made.name).keep(encode_revision(revision), Held.of(revision))
        ConfigStore(made.data, made.name).save(
            msgspec.structs.replace(state, healthy=before, seen=2, seen_digest=revision.digest)
        )
        await made.start_edge()
        report = await report_where(plant, lambda r: r["failure"] is not None and r["phase"] == "settled")
        assert (report["revision"], report["failure"]["code"]) == (1, "MS-2410")


async def revisions_told(plant: Plant) -> set[int]:
    """The revisions that events tell of, once the history has one."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(NotFoundError):  # it is stored before the history has read it
                events = plant.events("acme/plant1/**", type="millstream.config.*", start="-1h")
                if told := {event.data["revision"] async for event in events}:
                    return told
            await asyncio.sleep(0.1)


async def test_a_site_that_was_away_takes_the_newest_and_not_each_step(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        await report_where(plant, lambda r: r["revision"] == 0)
        assert made.edge is not None
        await made.edge.stop()
        for number in range(5):
            entry = made.log_entry(sampling_interval=f"{number + 1}s")
            await plant.configs.put("e1", document(entry), based_on=number)
        await made.start_edge()
        await healthy(plant, 5)
        async with growing(made):  # what is told is stored with the next data
            assert await revisions_told(plant) == {5}
        # Without its hub it starts with what it has kept.
        assert made.hub is not None
        await made.hub.stop()
        await made.edge.stop()
        await made.start_edge()
        assert state_of(made).to_run.revision == 5
        async with connect(node=made.data) as here:
            node = await status_of(here)
            assert (node["configuration"]["revision"], [c["name"] for c in node["connectors"]]) == (5, ["log"])


def revision(number: int, text: str, **more: Any) -> Revision:
    return make_revision(
        more.pop("edge", "e1"), text, revision=number, based_on=0, author="eve", comment="", time_ns=1, **more
    )


@pytest.mark.attack("a configuration that is oversized, malformed, another site's or a bomb, in the hub's bucket",
                    layer="edge: bounds, codec, checks of a document")  # fmt: skip
@pytest.mark.attack("a configuration that reads files outside of the folders that its site allows (../../etc, /etc)",
                    layer="edge: names of files")  # fmt: skip
@pytest.mark.attack("a configuration that changes the edge's own sections: its name, server, uplink",
                    layer="edge: managed sections")  # fmt: skip
async def test_what_no_site_should_take_is_refused_with_its_code_and_an_event(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        good = document(made.log_entry())
        first = await plant.configs.put("e1", good)
        await healthy(plant, 1)
        secret = made.boiler_entry()
        broker = {
            "source": "broker", "host": "127.0.0.1", "user": "u", "secret": {"file": "gone"}, "client_id": "c",
            "auto_map": [{"filter": "a/#", "path": "acme/plant1/a"}],
        }  # fmt: skip
        mqtt = {"name": "m", "type": "mqtt", "config": broker}
        stolen = made.log_entry(config={**made.log_entry()["config"], "folder": "../../etc"})
        outside = made.log_entry(config={**made.log_entry()["config"], "folder": "/etc"})
        lost = revision(10, document(mqtt))
        attempts = [
            (b"", "MS-2402"),
            (b"{}", "MS-2402"),
            (b" " * 1_000_000, "MS-2401"),
            (encode_revision(revision(2, good, edge="e2")), "MS-2403"),
            (encode_revision(revision(1, document())), "MS-2407"),
            (encode_revision(revision(3, "connectors: [")), "MS-2416"),
            (encode_revision(revision(4, BOMB)), "MS-2416"),
            (encode_revision(revision(5, "conectors: []\n")), "MS-2400"),
            (encode_revision(revision(6, "edge: {name: e2}\n")), "MS-2405"),
            (encode_revision(revision(7, document(stolen))), "MS-2417"),
            (encode_revision(revision(8, document(outside))), "MS-2417"),
            (encode_revision(revision(9, document({**secret, "type": "mobdus"}))), "MS-2400"),
            (encode_revision(lost), "MS-2400"),
            (encode_revision(first), "MS-2404"),
        ]
        for payload, code in attempts:
            before = state_of(made).refused_payload
            await raw_put(made, "e1", payload)
            await report_where(plant, lambda _, before=before: state_of(made).refused_payload != before)  # type: ignore[misc]
            report = await report_where(plant, lambda r, code=code: r["failure"] and r["failure"]["code"] == code)  # type: ignore[misc]
            assert (report["revision"], report["phase"]) == (1, "settled")
            if payload == encode_revision(lost):
                assert "secret cannot be read" in report["failure"]["reason"]
        assert len({hashlib.sha256(payload).hexdigest() for payload, _ in attempts}) == len(attempts)
        told: list[str] = []
        async with asyncio.timeout(60):
            while len(told) < len(attempts):
                found = plant.events("acme/plant1/**", type="millstream.config.refused", start="-1h")
                told = [event.data["code"] async for event in found]
        assert told == [code for _, code in attempts]
        events = plant.events("acme/plant1/**", type="millstream.audit.config.refused", start="-1h")
        mistakes = ("MS-2400", "MS-2407")  # an honest author's, or a hub's that was restored
        assert [event.data["code"] async for event in events] == [code for code in told if code not in mistakes]
        # The next one of an honest author gets a number that was not used, and counts.
        newest = await plant.configs.get("e1")
        assert newest is not None
        text = document(made.log_entry(sampling_interval="2s"))
        stored = await plant.configs.put("e1", text, based_on=newest.revision.revision)
        assert stored.revision == 11
        await healthy(plant, 11)


async def test_two_editors_never_overwrite_one_another_silently(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        configs = plant.configs
        await configs.put("e1", document(made.log_entry()), author="ada")
        for text, based_on in ((document(), 0), (document(), None), (document(), 7)):
            with pytest.raises(PlantError) as caught:
                await configs.put("e1", text, based_on=based_on, author="bob")
            assert caught.value.code == "MS-2406"
        again = await configs.put("e1", document(made.log_entry()), based_on=1)
        assert again.revision == 1  # the same once more is no revision
        refused = {
            "edge: {name: e1}\n": "MS-2405", "conectors: []\n": "MS-2400", "{": "MS-2416", BOMB: "MS-2416",
            document(made.log_entry(config={"folder": "a/../../b"})): "MS-2417",
        }  # fmt: skip
        for text, code in refused.items():
            with pytest.raises(DocumentRefused) as wrong:
                await configs.put("e1", text, based_on=1)
            assert (wrong.value.code, wrong.value.findings[0].line > 0) == (code, True)
        with pytest.raises(NotFoundError, match="MS-2415"):
            await configs.put("e2", document())
        with pytest.raises(ConfigError, match="MS-2417"):
            await configs.put("../e1", document())
        with pytest.raises(ConfigError, match="MS-2401"):
            await configs.put("e1", document() + "#" * (9 << 20), based_on=1)


async def test_an_edge_reads_its_own_key_at_the_hub_and_nothing_else(tmp_path: Path) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        await plant.configs.put("e1", document(made.log_entry()))
        await healthy(plant, 1)
        await raw_put(made, "e2", encode_revision(revision(1, document(), edge="e2")))
        node = json.loads((made.data / "node.json").read_text(encoding="utf-8"))
        credentials = Credentials(node["user"], node["password"])
        async with RawConnection(node["nats_url"], credentials=credentials) as edge:
            own = await edge.request("$JS.hub.API.DIRECT.GET.KV_config.$KV.config.e1", b"")
            assert b'"edge":"e1"' in own[4]
            attempts = {
                "$JS.hub.API.DIRECT.GET.KV_config.$KV.config.e2": b"",
                "$JS.hub.API.DIRECT.GET.KV_config": b'{"seq":2}',
                "$JS.hub.API.STREAM.MSG.GET.KV_config": b'{"seq":2}',
                "$JS.hub.API.CONSUMER.CREATE.KV_config": b'{"stream_name":"KV_config","config":{"ack_policy":"none"}}',
                "$JS.hub.API.STREAM.PURGE.KV_config": b"",
                "$JS.hub.API.DIRECT.GET.KV_rollouts": b'{"seq":1}',
                "$KV.config.e1": encode_revision(revision(9, document())),
                "millstream.node.e2.config": b"look",
            }
            for subject, payload in attempts.items():
                with pytest.raises(Unreachable):
                    await edge.request(subject, payload, timeout_s=1.0)
        assert len(await plant.configs.history("e1")) == 1
