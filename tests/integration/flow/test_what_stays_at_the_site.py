"""Fast samples stay at the site; what flows make of them is at the hub, and the samples for whoever asks."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
from flow_site import client_of, until

from millstream.bus import NatsServer, StreamApi
from millstream.client import connect
from millstream.config import InstalledConnectors, UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.sdk import SecretRef

SECONDS = 8
FILE = {
    "edge": {"name": "e1", "path": "acme/p1", "data_dir": "edge"},
    "hub": {"name": "hub", "data_dir": "hub"},
    "streams": {"integrity": {"max_bytes": "64MiB"}, "site": {"max_bytes": "64MiB"}, "flow_max_bytes": "64MiB"},
    "historian": None,
    "connectors": [
        {
            "name": "sensor", "type": "replay", "path": "mill", "durability": "site",
            "config": {
                "file": "force.npy", "rate_hz": 1000, "speed": "max", "start_time": "2026-01-02T06:00:00Z",
                "block_duration": "100ms",
            },
            "tags": [{"name": "force", "address": "0"}],
        }
    ],
    "flows": [
        {
            "name": "features", "type": "waveform", "inputs": ["acme/p1/mill:force"],
            "config": {"rate_hz": 1000, "window": "1s", "features": ["rms"]},
        }
    ],
}  # fmt: skip


async def subjects(server: NatsServer, stream: str) -> dict[str, int]:
    """Messages by subject."""
    async with client_of(server) as connection:
        raw = await StreamApi(connection).request(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
    return dict(raw["state"].get("subjects") or {})


async def test_samples_stay_at_the_site_and_their_features_reach_the_hub(tmp_path: Path) -> None:
    np.save(tmp_path / "force.npy", np.sin(np.arange(SECONDS * 1000) / 7.0))
    path = tmp_path / "up.yaml"
    path.write_text(json.dumps(FILE), encoding="utf-8")
    config, findings = load_up(path, InstalledConnectors())
    assert config is not None, [str(f) for f in findings]
    async with HubNode(config.hub_config()) as hub:
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        secret = SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1")
        uplink = UplinkConfig(url=f"nats://127.0.0.1:{listener.port}", secret=secret)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(hub.run())
            rms = "uns.v1.acme.p1.mill._kpi.force.rms"
            for turn in ("first", "after a restart"):
                async with EdgeNode(config.edge_config(uplink), connectors=InstalledConnectors()) as edge:

                    async def has_features() -> bool:
                        return (await subjects(hub.server, "H_INTEGRITY")).get(rms, 0) >= SECONDS - 1

                    await until(has_features, f"features at the hub, {turn}", tell=lambda: hub.ledger())
                    await until(lambda edge=edge: is_level(edge), "nothing waits for the hub")
                    at_site = await subjects(edge.server, "E_e1_S")
                    assert at_site["uns.v1.acme.p1.mill._tag.force"] == 10 * SECONDS, turn
                    async with connect(tmp_path / "hub") as plant:
                        asked = plant.fleet.data("acme/p1/mill:force", start="2026-01-02T06:00:00Z")
                        assert (await asked.table()).num_rows == 1000 * SECONDS, turn
                        assert asked.summary.is_whole
            for stream in ("H_INTEGRITY", "H_THROUGHPUT", "H_LOCAL"):
                assert not [s for s in await subjects(hub.server, stream) if "._tag.force" in s], stream
            assert "E_e1_S" not in {source["origin"] for source in hub.sources.sources()}
            running.cancel()


def is_level(edge: EdgeNode) -> bool:
    """Whether the hub has all that it is to have."""
    uplink = edge.status()["uplink"]
    assert isinstance(uplink, dict)
    return uplink["state"] in ("idle", "flowing") and not uplink["behind_messages"]
