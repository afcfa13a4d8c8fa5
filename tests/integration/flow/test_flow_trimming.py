"""What flows said is forgotten when its stream fills: never what a restart needs, never what the hub has not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from flow_site import FLOW, ask, client_of, edge_of, flow_status, outputs, rows_of, until, write_site
from ramp import CATALOG

from millstream.bus import NatsServer, StreamApi
from millstream.config import UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.flow import decode_commit
from millstream.hub import HubNode
from millstream.model import AssetPath
from millstream.sdk import SecretRef
from millstream.worker import state_subject

LARGE = '''
from millstream.flow import Emit, Flow, Input


def count(state, event):
    """One more, with much text beside it."""
    text = Emit(f"{event.key}:text", "x" * 8000, event.time_ns, kind="state")
    return state + 1, [Emit(f"{event.key}:rows", state + 1, event.time_ns), text]


flow = Flow(name="rows", inputs=(Input("acme/**:row"),), step=count, initial=int, state_type=int,
            outputs=("count", "state"))
'''


async def first_seq(server: NatsServer, stream: str) -> int:
    async with client_of(server) as connection:
        return (await StreamApi(connection).state(stream)).first_seq


async def record_of(server: NatsServer, stream: str, place: str, node: str, version: int) -> tuple[int, int]:
    """Sequence of the newest state record, and from where on a restart reads."""
    subject = state_subject(AssetPath.parse(place), node, "rows", version, 0)
    async with client_of(server) as connection:
        found = await StreamApi(connection).last(stream, subject)
    assert found is not None, "the newest state record is gone"
    return found.seq, decode_commit(found.payload).restore_seq or found.seq


def shrunk(path: Path) -> Path:
    path.write_text(path.read_text().replace("flow_max_bytes: 64MiB", "flow_max_bytes: 16MiB"), encoding="utf-8")
    return path


async def test_an_edge_forgets_what_no_restart_needs_and_an_ended_version_holds_nothing_back(tmp_path: Path) -> None:
    log: list[str] = []
    quiet = {"name": "quiet", "type": "part_counter", "inputs": ["acme/**:nothing"]}  # it never has anything to say
    path = shrunk(write_site(tmp_path, flows=[FLOW, quiet], flow_file=LARGE, rows=4000, batch_rows=20, pause="20ms"))
    seen: list[int] = []

    async def is_trimmed(version: int, above: int) -> bool:
        seq = await first_seq(edge.server, "E_e1_F")
        _, needed = await record_of(edge.server, "E_e1_F", "acme/p1", "e1", version)
        assert seq <= needed, "a restart would not find its state"
        seen.append(seq)
        return seq > above

    def tell() -> object:
        return seen[-1:], flow_status(edge), log

    async with edge_of(path, log) as edge:
        await until(lambda: flow_status(edge)["state"] == "running", "version 1")
        await until(lambda: is_trimmed(1, 500), "the stream is trimmed", tell=tell)
        before, _ = await record_of(edge.server, "E_e1_F", "acme/p1", "e1", 1)
        await ask(edge, "replay")
        await until(lambda: {i["version"] for i in flow_status(edge)["instances"]} == {2}, "its worker knows")
        await until(lambda: flow_status(edge)["state"] == "running", "version 2 has caught up")
        await until(lambda: is_trimmed(2, before), "what version 1 needed is gone", tell=tell)
    async with edge_of(path, log) as edge:

        async def is_done() -> bool:
            return rows_of(await outputs(edge.server))[-1:] == [4000]

        await until(is_done, "all rows", tell=tell)
        rows = rows_of(await outputs(edge.server))
        assert rows == list(range(rows[0], 4001))
        assert rows[0] > 1
        marks = [mark for _, _, mark, _ in await outputs(edge.server)]
        # How many of version 1 are there still, if any, is a matter of how long version 2 took to catch up.
        assert marks == sorted(marks)
        assert marks[-1] == "rows/2/0"


FILE = """
edge: {{name: e1, path: acme/p1, data_dir: edge}}
hub: {{name: hub, data_dir: hub}}
streams: {{integrity: {{max_bytes: 128MiB}}, flow_max_bytes: 16MiB}}
historian: null
connectors:
  - {{name: ramp, type: ramp, config: {{rows: 1500, batch_rows: 20}}, tags: [{{name: row, path: m0, address: a}}]}}
flows: {flows}
hub_flows: {flows}
"""


async def test_neither_edge_nor_hub_forgets_what_the_hub_has_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LARGE, encoding="utf-8")
    path = tmp_path / "up.yaml"
    path.write_text(FILE.format(flows=json.dumps([FLOW])), encoding="utf-8")
    config, findings = load_up(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    hub_config = config.hub_config()
    small = hub_config.streams.model_copy(update={"flow_max_bytes": 16 << 20})
    async with HubNode(hub_config.model_copy(update={"streams": small})) as hub, asyncio.TaskGroup() as group:
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        secret = SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1")
        uplink = UplinkConfig(url=f"nats://127.0.0.1:{listener.port}", secret=secret)
        async with EdgeNode(config.edge_config(uplink), connectors=CATALOG) as edge:
            full: list[Any] = []

            def is_full() -> bool:
                streams: Any = edge.status()["streams"]
                full[:] = [s for s in streams if s["name"] == "E_e1_F"]
                return bool(full) and full[0]["bytes"] > 7 << 20

            await until(is_full, "the edge's stream fills", tell=lambda: full)
            assert await first_seq(edge.server, "E_e1_F") == 1, "the hub has nothing of it yet"
            running = group.create_task(hub.run())

            trimmed: list[int] = []

            async def is_trimmed() -> bool:
                seqs = [await first_seq(edge.server, "E_e1_F"), await first_seq(hub.server, "H_FLOW")]
                trimmed[:] = [*seqs, len(rows_of(await outputs(hub.server, "H_INTEGRITY")))]
                return min(seqs) > 1 and len(rows_of(await outputs(hub.server, "H_INTEGRITY"))) >= 3000

            await until(
                is_trimmed, "both are trimmed, and the hub has all rows of both flows",
                tell=lambda: (trimmed, hub.sources.sources()),
            )  # fmt: skip
            _, needed = await record_of(hub.server, "H_FLOW", "hub", "hub", 1)
            assert await first_seq(hub.server, "H_FLOW") <= needed
            # Both flows are called rows/1/0; each said every number once.
            assert sorted(rows_of(await outputs(hub.server, "H_INTEGRITY"))) == sorted([*range(1, 1501)] * 2)
        running.cancel()
