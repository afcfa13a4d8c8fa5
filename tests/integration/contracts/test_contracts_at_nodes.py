"""Contracts at real nodes: what breaks one is kept with the reason, its neighbours go on, and it comes back once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from plant_with_contracts import (
    CONTRACT,
    PRESSURE,
    TEMPERATURE,
    WAVE,
    Mouth,
    edge_node,
    enforced,
    hub_node,
    letters,
    say,
    until,
    uplink_to,
    values,
)

import millstream
from millstream.client import Contract, ContractBroken
from millstream.kernel import PlantError
from millstream.model import BAD_NO_COMMUNICATION, Block, Sample
from millstream.protocols.uns_payload import decode_block

NOW = 1_790_000_000_000_000_000
NUMBER = Contract("press-temperature", "tag", ("acme/*/press:temperature",), {"type": "number", "maximum": 900})


async def test_a_wrong_value_is_quarantined_repaired_and_stored_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "contracts.yaml"
    file.write_text(CONTRACT, encoding="utf-8")
    mouth = Mouth()
    async with edge_node(tmp_path, mouth) as node, millstream.connect(tmp_path / "edge") as plant:
        published = await say(capfd, tmp_path / "edge", "contract", "publish", str(file))
        assert published[:2] == (0, [{"name": "press-temperature", "version": 1, "verdict": "new"}])
        await until(lambda: enforced(node) == {"press-temperature": 1}, "the contract")
        for n in range(20):
            odd = "hot" if n in (7, 8) else 20.0 + n
            mouth.say(Sample(TEMPERATURE, odd, source_time_ns=NOW + n), Sample(PRESSURE, n, source_time_ns=NOW + n))
        first, second = await letters(plant, 2)
        assert (first.source, first.code, first.contract, first.path) == (
            "plc", "MS-0330", "press-temperature/1", TEMPERATURE
        )  # fmt: skip
        assert '"hot" is not of type "number"' in first.reason
        await until(lambda: len(mouth.said) == 20 and _received(node) == 40, "all samples")
        stored = await _stored(plant, TEMPERATURE, 19)
        assert [v for v, _ in stored] == [20.0 + n for n in range(7)] + [None] + [29.0 + n for n in range(11)]
        assert [v for v, _ in await _stored(plant, PRESSURE, 20)] == list(range(20))
        assert (await plant.ledger(recounted=True)).is_clean

        # Repaired: with the right value in the place of the wrong one, stored once however often it is tried.
        letter = tmp_path / "letter.json"
        status, _, _ = await say(capfd, tmp_path / "edge", "deadletter", "replay", first.id)
        assert status == 1, "it still breaks the contract"
        letter.write_text(json.dumps(json.loads(first.payload) | {"value": 27.0}), encoding="utf-8")
        replay = ("deadletter", "replay", first.id, "--file", str(letter))
        status, said, _ = await say(capfd, tmp_path / "edge", *replay, "--keep")
        again = await say(capfd, tmp_path / "edge", *replay)
        assert (status, again[0]) == (0, 0)
        assert said == again[1]
        assert (await say(capfd, tmp_path / "edge", *replay))[0] == 3
        assert (await values(plant, TEMPERATURE)).count((27.0, NOW + 7)) == 1
        assert [x.id for x in await letters(plant, 1)] == [second.id]
        assert (await plant.ledger(recounted=True)).is_clean


async def test_a_block_that_breaks_a_contract_is_quarantined_as_a_block(tmp_path: Path) -> None:
    mouth = Mouth()
    wave = Contract("wave", "tag", (WAVE,), {"type": "number", "minimum": -1, "maximum": 1}, columns=("float32",))
    times = np.arange(5, dtype=np.int64) + NOW
    async with edge_node(tmp_path, mouth) as node, millstream.connect(tmp_path / "edge") as plant:
        await plant.publish_contract(wave)
        await until(lambda: enforced(node) == {"wave": 1}, "the contract")
        mouth.say(Block(WAVE, times, np.array([0, 0.5, 1, -1, 0], np.float32)))
        mouth.say(Block(WAVE, times, np.array([0, 0.5, 1.5, -1, 0], np.float32)))
        mouth.say(Block(WAVE, times, np.array([0, 0.5, 1, -1, 0], np.float64)))
        out_of_range, wrong_type = await letters(plant, 2)
        assert "row 2 of 5: 1.5 is greater than the maximum of 1" in out_of_range.reason
        assert "value column is float64, expected float32" in wrong_type.reason
        assert decode_block(out_of_range.payload).values.tolist() == [0, 0.5, 1.5, -1, 0]  # type: ignore[union-attr]


async def test_a_bad_quality_promises_nothing_and_a_version_can_end_the_contract(tmp_path: Path) -> None:
    mouth = Mouth()
    async with edge_node(tmp_path, mouth) as node, millstream.connect(tmp_path / "edge") as plant:
        await plant.publish_contract(NUMBER)
        await until(lambda: enforced(node) == {"press-temperature": 1}, "the contract")
        mouth.say(Sample(TEMPERATURE, "broken wire", BAD_NO_COMMUNICATION, NOW))
        mouth.say(Sample(TEMPERATURE, "hot", source_time_ns=NOW + 1))
        await letters(plant, 1)
        verdict, stored = await plant.publish_contract(Contract(**_fields(NUMBER), is_enforced=False))
        assert (verdict, stored.version) == ("additive", 2)
        await until(lambda: enforced(node) == {}, "the end of the contract")
        mouth.say(Sample(TEMPERATURE, "hot", source_time_ns=NOW + 2))
        assert [v for v, _ in await _stored(plant, TEMPERATURE, 3)] == ["broken wire", None, "hot"]
        assert len(await letters(plant, 1)) == 1


async def test_what_the_sdk_publishes_against_a_contract_is_refused_and_kept(tmp_path: Path) -> None:
    orders = Contract(
        "orders", "event", ("acme/plant1:**",), {"type": "object", "required": ["order"]}, event_type="com.acme.order.*"
    )  # fmt: skip
    async with edge_node(tmp_path, Mouth()), millstream.connect(tmp_path / "edge") as plant:
        await plant.publish_contract(NUMBER)
        await plant.publish_contract(orders)
        with pytest.raises(ContractBroken, match="is not of type") as caught:
            await plant.publish(TEMPERATURE, "hot")
        assert caught.value.code == "MS-0330"
        with pytest.raises(ContractBroken, match="required property"):
            await plant.event("acme/plant1", "com.acme.order.begun", {"ordr": 7})
        await plant.event("acme/plant1", "com.acme.order.begun", {"order": 7})
        await plant.event("acme/plant1", "com.acme.shift.begun", {})
        await plant.publish(TEMPERATURE, 20.5)
        value, event = await letters(plant, 2)
        assert (value.source, value.contract, event.contract) == ("sdk", "press-temperature/1", "orders/1")
        assert (await plant.get(TEMPERATURE)).value == 20.5
        await plant.replay(event, payload=b'{"order": 8}')
        async with millstream.connect(tmp_path / "edge") as other:
            assert len(await letters(other, 1)) == 1
        frames = [f async for f in plant._streams.since("E_e1_I", event.subject or "", 0)]
        assert (frames[-1].payload, frames[-1].headers["ce-type"]) == (b'{"order": 8}', "com.acme.order.begun")


async def test_the_hub_is_the_origin_and_an_edge_that_is_cut_off_enforces_its_copy(tmp_path: Path) -> None:
    mouth = Mouth()
    async with hub_node(tmp_path) as hub:
        uplink = uplink_to(hub, tmp_path)
        async with millstream.connect(tmp_path / "hub") as plant:
            await plant.publish_contract(NUMBER)
        async with edge_node(tmp_path, mouth, uplink) as node:
            await until(lambda: enforced(node) == {"press-temperature": 1}, "the hub's contract")
            async with millstream.connect(tmp_path / "hub") as plant:
                await plant.publish_contract(Contract(**_fields(NUMBER) | {"schema": {"type": "number"}}))
            await until(lambda: enforced(node) == {"press-temperature": 2}, "the next version")
            async with millstream.connect(tmp_path / "edge") as plant:
                with pytest.raises(PlantError, match="publish it at the hub"):
                    await plant.publish_contract(NUMBER)
    async with edge_node(tmp_path, mouth, uplink) as node, millstream.connect(tmp_path / "edge") as plant:
        assert enforced(node) == {"press-temperature": 2}
        mouth.say(Sample(TEMPERATURE, "hot", source_time_ns=NOW))
        assert (await letters(plant, 1))[0].contract == "press-temperature/2"


async def test_a_breaking_change_is_told_with_who_reads_it_and_not_published(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "contracts.yaml", tmp_path / "edge"
    async with edge_node(tmp_path, Mouth()) as node:
        file.write_text(CONTRACT, encoding="utf-8")
        assert (await say(capfd, folder, "contract", "publish", str(file)))[0] == 0
        assert (await say(capfd, folder, "contract", "publish", str(file)))[1][0]["verdict"] == "same"
        file.write_text(CONTRACT.replace("maximum: 900", "maximum: 800"), encoding="utf-8")
        status, (review,), _ = await say(capfd, folder, "contract", "check", str(file))
        assert (status, review["verdict"], review["version"]) == (6, "breaking", 2)
        assert review["changes"] == [{"kind": "breaking", "where": "schema", "what": "the upper bound is tighter"}]
        assert (await say(capfd, folder, "contract", "publish", str(file)))[0] == 6
        assert [c["version"] for c in (await say(capfd, folder, "contract", "list"))[1]] == [1]
        assert (await say(capfd, folder, "contract", "publish", str(file), "--breaking"))[0] == 0
        status, (difference,), _ = await say(capfd, folder, "contract", "diff", "press-temperature")
        assert (difference["old"], difference["verdict"]) == ("press-temperature/1", "breaking")
        status, (shown,), _ = await say(capfd, folder, "contract", "show", "press-temperature/1")
        assert shown["schema"]["maximum"] == 900
        assert (await say(capfd, folder, "contract", "show", "press-temperatur"))[0] == 3
        await until(lambda: enforced(node) == {"press-temperature": 2}, "the new version")


def _fields(contract: Contract) -> dict[str, object]:
    return {"name": contract.name, "kind": contract.kind, "paths": contract.paths, "schema": contract.schema}


def _received(node: object) -> int:
    return int(node.status()["connectors"][0]["samples_received"])  # type: ignore[attr-defined]


async def _stored(plant: millstream.client.Plant, path: str, count: int) -> list[tuple[object, int | None]]:
    async with asyncio.timeout(60):
        while len(found := await values(plant, path)) < count:
            await asyncio.sleep(0.02)
    return found


async def test_an_edge_that_comes_to_another_hub_takes_that_hubs_contracts(tmp_path: Path) -> None:
    async with edge_node(tmp_path, Mouth()) as node, millstream.connect(tmp_path / "edge") as plant:
        for name in ("mine", "own"):
            await plant.publish_contract(Contract(**_fields(NUMBER) | {"name": name}))
        await until(lambda: set(enforced(node)) == {"mine", "own"}, "its own contracts")
    async with hub_node(tmp_path) as hub, millstream.connect(tmp_path / "hub") as plant:
        await plant.publish_contract(NUMBER)
        async with edge_node(tmp_path, Mouth(), uplink_to(hub, tmp_path)) as node:
            await until(lambda: enforced(node) == {"press-temperature": 1}, "the hub's contracts")
