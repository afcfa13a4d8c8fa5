"""What flows say at an edge stands at the hub, in the hub's ledger."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from flow_site import FLOW, FLOW_FILE, outputs, rows_of, until
from ramp import CATALOG

from millstream.config import UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.sdk import SecretRef

FILE = """
edge: {{name: e1, path: acme/p1, data_dir: edge}}
hub: {{name: hub, data_dir: hub}}
streams: {{integrity: {{max_bytes: 64MiB}}, flow_max_bytes: 64MiB}}
historian: null
connectors:
  - {{name: ramp, type: ramp, config: {{rows: 500}}, tags: [{{name: row, path: m0, address: a}}]}}
flows: {flows}
hub_flows: {hub_flows}
"""


def account(hub: HubNode, origin: str) -> dict[str, Any]:
    return hub.ledger().get(origin) or {}


async def test_outputs_of_a_flow_are_sourced_and_counted_by_the_hub(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FLOW_FILE, encoding="utf-8")
    path = tmp_path / "up.yaml"
    path.write_text(FILE.format(flows=json.dumps([FLOW]), hub_flows=json.dumps([])), encoding="utf-8")
    config, findings = load_up(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    async with HubNode(config.hub_config()) as hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        uplink = UplinkConfig(
            url=f"nats://127.0.0.1:{listener.port}",
            secret=SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1"),
        )
        async with EdgeNode(config.edge_config(uplink), connectors=CATALOG):
            await until(lambda: account(hub, "E_e1_F").get("messages", 0) >= 500, "500 outputs at the hub")
            assert account(hub, "E_e1_F")["is_clean"], account(hub, "E_e1_F")
            assert rows_of(await outputs(hub.server, "H_INTEGRITY")) == list(range(1, 501))
        running.cancel()
