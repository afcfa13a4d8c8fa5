"""A flow at the hub, over what an edge's flow says; exact although the hub loses its newest data with its server."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from flow_site import FLOW, FLOW_FILE, kill_now, outputs, rows_of, until
from ramp import CATALOG

from millstream.config import UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.kernel import NotFoundError, Unreachable
from millstream.sdk import SecretRef

FILE = """
edge: {{name: e1, path: acme/p1, data_dir: edge}}
hub: {{name: hub, data_dir: hub}}
streams: {{integrity: {{max_bytes: 64MiB}}, flow_max_bytes: 64MiB}}
historian: null
connectors:
  - {{name: ramp, type: ramp, config: {{rows: {rows}, pause: 40ms}}, tags: [{{name: row, path: m0, address: a}}]}}
flows: {flows}
hub_flows: {hub_flows}
"""

SUMS = '''
from millstream.flow import Emit, Flow, Input


def add(state, event):
    """The sum of all that the edge's flow has said."""
    return state + event.value, [Emit(f"{event.key}:sum", state + event.value, event.time_ns, kind="kpi")]


flow = Flow(
    name="sums", inputs=(Input("acme/**:rows", "count"),), step=add, initial=int, state_type=int, outputs=("kpi",),
)
'''
ROWS = 600


async def sums(hub: HubNode) -> list[int]:
    with suppress(NotFoundError, Unreachable):
        return [value for subject, value, _, _ in await outputs(hub.server, "H_FLOW") if "_kpi.sum" in subject]
    return []


async def test_a_flow_at_the_hub_takes_each_output_of_the_edge_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FLOW_FILE, encoding="utf-8")
    (tmp_path / "sums.py").write_text(SUMS, encoding="utf-8")
    path = tmp_path / "up.yaml"
    flow: dict[str, Any] = {"name": "sums", "python": "sums.py:flow"}
    path.write_text(FILE.format(rows=ROWS, flows=json.dumps([FLOW]), hub_flows=json.dumps([flow])), encoding="utf-8")
    config, findings = load_up(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    hub = HubNode(config.hub_config())
    async with hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        uplink = UplinkConfig(
            url=f"nats://127.0.0.1:{listener.port}",
            secret=SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1"),
        )
        async with EdgeNode(config.edge_config(uplink), connectors=CATALOG) as edge:

            async def has(count: int) -> bool:
                return len(await sums(hub)) >= count

            for target in (60, 200, 350):
                await until(lambda target=target: has(target), f"{target} sums")  # type: ignore[misc]
                worker = (await hub.status())["flows"][0]["workers"][0]["pid"]
                for pid in (hub.server.pid, *([worker] if target == 200 else [])):
                    kill_now(pid)
            await until(lambda: has(ROWS), "all sums")
            assert await sums(hub) == [n * (n + 1) // 2 for n in range(1, ROWS + 1)]
            assert rows_of(await outputs(edge.server)) == list(range(1, ROWS + 1))
            found = [o for o in await outputs(hub.server, "H_FLOW") if "_kpi.sum" in o[0]]
            assert all(origin.startswith("E_e1_F@") for _, _, _, origin in found)
        running.cancel()
