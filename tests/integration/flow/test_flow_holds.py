"""A flow that does not run: nothing that it has still to read is trimmed away, and people are told what it holds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from flow_site import (
    CATALOG,
    FLOW,
    FLOW_FILE,
    ask,
    client_of,
    edge_of,
    flow_status,
    outputs,
    rows_of,
    until,
    write_site,
)

from millstream.bus import NatsServer, StreamApi
from millstream.config import UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.sdk import SecretRef

ROWS, SMALL, FILLERS = 400, "16MiB", 40
FILE = """
edge: {{name: e1, path: acme/p1, data_dir: edge}}
hub: {{name: hub, data_dir: hub}}
streams: {{integrity: {{max_bytes: 16MiB}}, flow_max_bytes: 16MiB}}
historian: null
connectors:
  - name: ramp
    type: ramp
    config: {{rows: 400, batch_rows: 4, pause: 80ms}}
    tags: [{{name: row, path: m0, address: a}}]
flows: {flows}
"""


async def first_seq(server: NatsServer, stream: str) -> int:
    async with client_of(server) as connection:
        return (await StreamApi(connection).state(stream)).first_seq


async def fill(server: NatsServer) -> None:
    """8 MB of what no flow reads."""
    async with client_of(server) as connection:
        for _ in range(FILLERS):
            payload = json.dumps({"value": "x" * 200_000, "quality": 0}).encode()
            await connection.request("uns.v1.acme.p1._state.filler", payload, timeout_s=20.0)


def alarm(edge: EdgeNode) -> str:
    alarms: Any = edge.status()["alarms"]
    return next((str(a["message"]) for a in alarms if a["code"] == "MS-0709"), "")


def stored(edge: EdgeNode) -> int:
    connectors: Any = edge.status()["connectors"]
    return int(connectors[0]["samples_stored"])


async def test_what_a_paused_flow_has_still_to_read_is_not_trimmed_and_the_alarm_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FLOW_FILE, encoding="utf-8")
    path = tmp_path / "up.yaml"
    path.write_text(FILE.format(flows=json.dumps([FLOW])), encoding="utf-8")
    config, findings = load_up(path, CATALOG)
    assert config is not None, [str(f) for f in findings]
    async with HubNode(config.hub_config()) as hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        secret = SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1")
        uplink = UplinkConfig(url=f"nats://127.0.0.1:{listener.port}", secret=secret)
        async with EdgeNode(config.edge_config(uplink), connectors=CATALOG) as edge:

            def tell() -> object:
                return flow_status(edge), edge.status()["streams"], edge.status()["uplink"]

            async def has_some() -> bool:
                return len(rows_of(await outputs(edge.server))) >= 20

            await until(has_some, "some rows", tell=tell)
            await ask(edge, "pause")
            await until(lambda: stored(edge) >= ROWS, "all rows are stored", tell=tell)
            assert len(rows_of(await outputs(edge.server))) < ROWS
            await fill(edge.server)

            async def is_trimmed() -> bool:
                return await first_seq(edge.server, "E_e1_I") > 1

            await until(is_trimmed, "what nobody needs is trimmed", tell=tell)
            await until(lambda: bool(alarm(edge)), "the alarm", tell=tell)
            text = alarm(edge)
            assert "flow rows is paused" in text
            assert "E_e1_I" in text
            assert "millstream flow resume rows" in text
            assert "E_e1_I" in {hold["stream"] for hold in flow_status(edge)["holds"]}
            await ask(edge, "resume")

            async def is_done() -> bool:
                return rows_of(await outputs(edge.server))[-1:] == [ROWS]

            await until(is_done, "all rows are counted", tell=tell)
            assert rows_of(await outputs(edge.server)) == list(range(1, ROWS + 1))
            await until(lambda: not alarm(edge), "the alarm is over", tell=tell)
            assert flow_status(edge)["holds"] == []
        running.cancel()


async def test_a_flow_that_nobody_runs_is_shown_as_such_and_says_what_it_holds(tmp_path: Path) -> None:
    def small(path: Path) -> Path:
        path.write_text(path.read_text().replace("integrity: {max_bytes: 64MiB}", "integrity: {max_bytes: 16MiB}"))
        return path

    async with edge_of(small(write_site(tmp_path, rows=20))) as edge:

        async def has_some() -> bool:
            return len(rows_of(await outputs(edge.server))) >= 20

        await until(has_some, "some rows", tell=lambda: flow_status(edge))
    path = small(write_site(tmp_path, flows=[{**FLOW, "instances": 0}], rows=220))
    async with edge_of(path) as edge:
        await until(lambda: flow_status(edge)["state"] == "no instance", "the state", tell=lambda: flow_status(edge))
        await until(lambda: stored(edge) >= 220, "all rows are stored")
        await fill(edge.server)
        await until(lambda: bool(alarm(edge)), "the alarm", tell=lambda: (flow_status(edge), edge.status()["streams"]))
        assert "millstream flow run -c FILE --flow rows" in alarm(edge)
        assert "instances: 1" in alarm(edge)
