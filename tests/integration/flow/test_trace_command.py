"""`millstream trace`: the way of one message, from an edge's and from a hub's side."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flow_site import CATALOG, FLOW, FLOW_FILE, edge_of, flow_status, until, write_site
from flow_site import command as run_command

from millstream.client import connect
from millstream.config import UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.kernel import DecodeError, NotFoundError
from millstream.sdk import SecretRef

ROWS = 60
SECOND_FLOW = {"name": "changes", "type": "change_of_state", "inputs": [{"pattern": "acme/**:rows", "kind": "count"}]}


def wheres(found: Any) -> list[str]:
    return [station["where"] for station in found["stations"]]


async def test_an_edge_shows_where_a_value_came_from_and_what_was_made_of_it(tmp_path: Path) -> None:
    path = write_site(tmp_path, flows=[FLOW, SECOND_FLOW], rows=ROWS)
    path.write_text(path.read_text() + "tracing: {every: 0s}\n")
    async with edge_of(path) as edge:
        address = {"url": edge.server.url, "user": edge.server.user, "password": edge.server.password}
        async with connect(**address) as plant:  # type: ignore[arg-type]
            seen: list[Any] = []

            async def is_done() -> bool:
                with suppress(NotFoundError):
                    seen[:] = [(await plant.trace("acme/p1/m0:row")).as_dict()]
                is_last = bool(seen) and f"= {ROWS - 1}" in seen[0]["stations"][0]["what"]
                return is_last and len(wheres(seen[0])) == 7

            await until(is_done, "the last row, and what two flows made of it", tell=lambda: (seen, flow_status(edge)))
            of_row = seen[0]
            row = f"E_e1_I:{of_row['seq']}"
            made = [where for where in wheres(of_row) if where.startswith("E_e1_F:")]
            assert wheres(of_row) == ["source", "edge", row, "flow rows", made[0], "flow changes", made[1]]
            times = [s["time_ns"] for s in of_row["stations"] if s["time_ns"] is not None][
                1:
            ]  # the source's is its own
            assert times == sorted(times)
            assert of_row["is_complete"] is True
            of_count = (await plant.trace("acme/p1/m0:rows", kind="count")).as_dict()
            assert wheres(of_count) == wheres(of_row), "the same way, from its middle"
            assert of_count["trace_id"] == of_row["trace_id"] is not None
            assert of_count["traceparent"] != of_row["traceparent"]
            for what in (row, of_row["trace_id"], of_row["traceparent"]):
                found = await plant.trace(what)
                assert (found.stream, found.seq) == ("E_e1_I", of_row["seq"])
            with pytest.raises(NotFoundError, match="no message of this trace"):
                await plant.trace("0" * 31 + "1")
            with pytest.raises(NotFoundError, match="no such message"):
                await plant.trace("E_e1_I:999999")
            with pytest.raises(DecodeError, match="not one message"):
                await plant.trace("acme/**:row")


FILE = """
edge: {{name: e1, path: acme/p1, data_dir: edge}}
hub: {{name: hub, data_dir: hub}}
connectors:
  - {{name: ramp, type: ramp, config: {{rows: 60}}, tags: [{{name: row, path: m0, address: a}}]}}
flows: {flows}
hub_flows: {hub_flows}
tracing: {{every: never}}
"""


async def test_a_hub_shows_the_whole_way_of_a_message_that_carries_no_trace(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FLOW_FILE, encoding="utf-8")
    path = tmp_path / "up.yaml"
    path.write_text(FILE.format(flows=json.dumps([FLOW]), hub_flows=json.dumps([SECOND_FLOW])), encoding="utf-8")
    config, findings = load_up(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    node = ("--node", str(tmp_path / "hub"))
    async with HubNode(config.hub_config()) as hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        secret = SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1")
        uplink = UplinkConfig(url=f"nats://127.0.0.1:{listener.port}", secret=secret)
        async with EdgeNode(config.edge_config(uplink), connectors=CATALOG):
            seen: list[Any] = []

            async def is_whole() -> bool:
                status, found, err = await run_command("trace", "acme/p1/m0:rows", "--kind", "event", *node)
                seen[:] = [found, err]
                return status == 0 and {"source", "historian of hub"} <= set(wheres(found))

            await until(is_whole, "the last change is in the history", tell=lambda: seen)
            found = seen[0]
            assert found["traceparent"] is None
            steps = [where.partition(":")[0] for where in wheres(found)]
            edge_way = ["source", "edge", "E_e1_I", "H_INTEGRITY", "flow rows", "E_e1_F", "H_INTEGRITY"]
            assert steps == [*edge_way, "flow changes", "H_FLOW", "H_INTEGRITY", "historian of hub"]
        running.cancel()
