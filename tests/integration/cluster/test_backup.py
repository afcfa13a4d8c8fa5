"""A hub that is gone comes back from a folder, and its edges bring the rest."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cluster_site import free_ports
from forward_site import client_of, running_edge, until, wait_all_at_hub

import warm
from millstream.bus import StreamApi
from millstream.config import HubConfig
from millstream.historian import Range
from millstream.hub import HubNode, load_manifest
from millstream.kernel import PlantError

SECRET = "of an edge, and kept apart from the backup"


async def _millstream(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *warm.command(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _values(hub: HubNode) -> list[int]:
    """Those of the edge in the history of the hub, in order."""
    assert hub.historian is not None
    table = await hub.historian.query(Range(tags=("acme/e1:n",), limit=10_000))
    return sorted(table.column("value").to_pylist())


async def _holds(hub: HubNode, count: int) -> bool:
    return len(await _values(hub)) >= count


async def _seals(hub: HubNode, day: int) -> bool:
    assert hub.historian is not None
    await hub.historian.seal(day)
    return day in await hub.historian.sealed_days()


def _document(folder: Path, leaf_port: int) -> dict[str, Any]:
    secret = folder / "edge.secret"
    secret.write_text(SECRET, encoding="utf-8")
    return {
        "hub": {"name": "h1", "data_dir": str(folder / "hub")},
        "server": {"leaf_port": leaf_port},
        "streams": {"max_bytes": "64MiB"},
        "edges": [{"name": "e1", "path": "acme/e1", "secret": {"file": str(secret)}}],
    }


@asynccontextmanager
async def _running(document: dict[str, Any]) -> AsyncIterator[HubNode]:
    async with HubNode(HubConfig.model_validate(document)) as hub:
        task = asyncio.ensure_future(hub.run())
        try:
            yield hub
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_hub_made_from_its_backup_takes_the_rest_from_its_edges(tmp_path: Path) -> None:
    document = _document(tmp_path, free_ports(1)[0])
    (tmp_path / "hub.yaml").write_text(json.dumps(document), encoding="utf-8")
    backup = tmp_path / "backup"
    async with running_edge(tmp_path, document["server"]["leaf_port"], SECRET) as edge:
        async with _running(document) as hub:
            await edge.send(500)
            await wait_all_at_hub(hub, edge)
            async with client_of(hub.server) as client:
                await client.request("$KV.config.e1", b"what the site should run")
                await client.request("uns.v1.acme.hub._tag.own", b'{"timestamp_ms":1,"value":1}')

                async def is_taken() -> bool:  # else a restored hub that takes it twice would not be seen
                    return await StreamApi(client).last("H_INTEGRITY", "uns.v1.acme.hub._tag.own") is not None

                await until(is_taken, "what the hub published itself in H_INTEGRITY")
                consumer = {"name": "reader", "durable_name": "reader", "ack_policy": "explicit"}
                body = {"stream_name": "H_INTEGRITY", "config": consumer, "action": "create"}
                await StreamApi(client).request("CONSUMER.CREATE.H_INTEGRITY.reader", body)
            await until(lambda: _holds(hub, 500), "the values in the history")
            await until(lambda: _seals(hub, 0), "what the hub published itself, of 1970, in a sealed day")
            code, out, err = await _millstream("backup", str(backup), "--node", str(tmp_path / "hub"), "--json")
            assert code == 0, err
            taken = json.loads(out)["streams"]
            assert taken["H_INTEGRITY"] >= 500
            assert taken["KV_config"] == 1
            history = json.loads(out)["history"]
            assert history["tables"]["readings"] >= 500
            positions = {key.split()[0]: seq for key, seq in history["positions"].items()}
            assert 500 <= positions["H_INTEGRITY"] <= taken["H_INTEGRITY"]  # the streams were taken after it
            assert not (tmp_path / "hub/historian/copy").exists()
            again, _, err = await _millstream("backup", str(backup), "--node", str(tmp_path / "hub"))
            assert (again != 0, "MS-2620" in err) == (True, True)
            await edge.send(500)  # the hub gets further than its backup
            await wait_all_at_hub(hub, edge)
            later = tmp_path / "later"
            code, _, err = await _millstream(
                "backup", str(later), "--node", str(tmp_path / "hub"), "--before", str(backup)
            )
            assert code == 0, err
            days = [path.relative_to(backup) for path in (backup / "history").rglob("1970-01-01.*.parquet")]
            assert len(days) == 2  # samples and rollup, which have not changed
            assert all((later / day).samefile(backup / day) for day in days)
            assert not (later / "history/hot.duckdb").samefile(backup / "history/hot.duckdb")
            assert load_manifest(later).history is not None
            refused, _, err = await _millstream("restore", str(backup), "-c", str(tmp_path / "hub.yaml"))
            assert (refused != 0, "MS-0603" in err) == (True, True)  # it runs
        refused, _, err = await _millstream("restore", str(backup), "-c", str(tmp_path / "hub.yaml"))
        assert (refused != 0, "MS-2621" in err) == (True, True)

        shutil.rmtree(tmp_path / "hub")
        code, out, err = await _millstream("restore", str(backup), "-c", str(tmp_path / "hub.yaml"), "--json")
        assert code == 0, err
        assert json.loads(out)["streams"] == taken
        assert json.loads(out)["history"] == history
        await edge.send(500)
        async with _running(document) as hub:
            await wait_all_at_hub(hub, edge)  # 1500, of which the backup had 500; none lost, none doubled
            account = hub.ledger()["E_e1_I"]
            assert (account["samples"], account["gaps"], account["repeats"]) == (1500, 0, 0)
            await until(lambda: _holds(hub, 1500), "all values in the history")
            assert await _values(hub) == list(range(1, 1501))
            async with client_of(hub.server) as client:
                found = await StreamApi(client).last("KV_config", "$KV.config.e1")
                assert found is not None
                assert found.payload == b"what the site should run"
                info = await StreamApi(client).request("CONSUMER.INFO.H_INTEGRITY.reader")
                assert info["name"] == "reader"
            # What is published here after the restore is not taken for what was here before.
            async with client_of(hub.server) as client:
                await client.request("uns.v1.acme.hub._tag.n", b'{"timestamp_ms":1,"value":1}')

                async def has_joined() -> bool:
                    return await StreamApi(client).last("H_INTEGRITY", "uns.v1.acme.hub._tag.n") is not None

                await until(has_joined, "in H_INTEGRITY")

    # The same backup, broken in ways that happen.
    assert load_manifest(backup).hub == "h1"
    snapshot = backup / "streams" / "H_INTEGRITY.snapshot"
    whole = snapshot.read_bytes()
    for broken, reason in (
        (whole[:-100], "cut or changed"), (whole[:50] + b"\x00" + whole[51:], "changed"), (None, "missing"),
    ):  # fmt: skip
        snapshot.unlink(missing_ok=True)
        if broken is not None:
            snapshot.write_bytes(broken)
        with pytest.raises(PlantError, match=reason) as refused_backup:
            load_manifest(backup)
        assert refused_backup.value.code == "MS-2620"
    snapshot.write_bytes(whole)
    manifest = backup / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"hub":"h1"', '"hub":"h2"'), encoding="utf-8")
    with pytest.raises(PlantError, match="list of contents was changed"):
        load_manifest(backup)
    manifest.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(PlantError, match="broken"):
        load_manifest(backup)
    manifest.unlink()
    with pytest.raises(PlantError, match="cut before its end"):
        load_manifest(backup)
