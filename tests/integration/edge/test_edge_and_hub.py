"""An edge and its hub on one machine, from one file, with a real recording."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil

from millstream.config import InstalledConnectors, UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.sdk import SecretRef

FILE = """
edge: {{name: e1, path: acme/plant1, data_dir: edge}}
hub: {{name: hub, data_dir: hub}}
streams: {{integrity: {{max_bytes: 64MiB}}, throughput: {{max_bytes: 64MiB}}}}
connectors:
  - name: recording
    type: replay
    path: machining/mazak1
    config: {{file: {recording}, speed: max}}
    tags:
      - {{name: axes/x/position, address: Xabs, unit: mm}}
      - {{name: axes/c/speed, address: Srpm, unit: rpm, deadband: {{absolute: 10}}}}
      - {{name: controller/execution, address: execution}}
"""


async def until(condition: Callable[[], bool], deadline_s: float = 60.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.05)


async def test_a_recording_reaches_the_hub_whole_through_a_link_that_is_cut(tmp_path: Path) -> None:
    recording = files("millstream.sim") / "data" / "mazak01.txt.gz"
    path = tmp_path / "up.yaml"
    path.write_text(FILE.format(recording=recording), encoding="utf-8")
    config, findings = load_up(path, InstalledConnectors())
    assert config is not None, [str(f) for f in findings]
    before_mb = psutil.Process().memory_info().rss / 1e6
    async with HubNode(config.hub_config()) as hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        uplink = UplinkConfig(
            url=f"nats://127.0.0.1:{listener.port}",
            secret=SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1"),
        )
        async with EdgeNode(config.edge_config(uplink)) as edge:
            await until(lambda: _connector(edge)["state"] == "ended")
            hub.server.restart("test: the hub goes away in the middle")
            stored = _connector(edge)["samples_stored"]
            assert stored > 1000
            await until(lambda: (hub.ledger().get("E_e1_I") or {}).get("samples") == stored)
            account = hub.ledger()["E_e1_I"]
            assert (account["gaps"], account["repeats"], account["out_of_order"]) == (0, 0, 0)
            grown_mb = psutil.Process().memory_info().rss / 1e6 - before_mb  # both halves run in this process
            assert grown_mb < 300
        running.cancel()


def _connector(edge: EdgeNode) -> dict[str, Any]:
    return edge.status()["connectors"][0]  # type: ignore[index, no-any-return]
