"""A node in small: a real nats-server with the streams, the status service and the historian's subject of a node."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats.micro
import pyarrow as pa
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RePublish, StreamConfig, StreamSource

NATS_SERVER = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
USER, PASSWORD = "plant", "only-for-tests"
NOW_NS = 1_790_000_000_000_000_000


class FakeNode:
    """Use as ``async with fake_node(tmp_path) as node``. `queries` collects what the historian was asked."""

    def __init__(self, folder: Path, role: str, name: str) -> None:
        self.folder = folder
        self.role = role
        self.name = name
        self.queries: list[dict[str, Any]] = []
        self.history = pa.table(
            {
                "tag": ["acme/plant1/press:temperature"] * 2,
                "timestamp": pa.array([NOW_NS, NOW_NS + 1_000_000_000], pa.timestamp("ns", "UTC")),
                "value": [20.5, 21.0],
                "quality": pa.array([0, 0], pa.uint32()),
            }
        )
        self.error: dict[str, Any] | None = None
        self.status: dict[str, Any] = status_of(role, name)
        self.client = Client()
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    async def start(self) -> None:
        """Start the server, make the streams, answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await self._start_server("-1")
        await self.client.connect(self.url, user=USER, password=PASSWORD, reconnect_time_wait=0.1)  # type: ignore[arg-type]
        await self._make_streams()
        await self._answer()
        self.write_node_file(os.getpid())

    async def restart_server(self) -> None:
        """kill -9, then start again on the same store and port."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        await self._start_server(self.url.rpartition(":")[2])

    async def _start_server(self, port: str) -> None:
        domain = "hub" if self.role == "hub" else self.name
        config = self.folder / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{port}"\nserver_name: "{self.name}"\nports_file_dir: "{self.folder}"\n'
            f'jetstream {{ store_dir: "{self.folder}/js", domain: "{domain}", sync_interval: always }}\n'
            f'accounts {{ PLANT: {{ jetstream: enabled, users: [{{user: {USER}, password: "{PASSWORD}"}}] }} }}\n'
        )
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen([NATS_SERVER, "-c", str(config)], stderr=log)  # noqa: ASYNC220
        ports = self.folder / f"nats-server_{self.process.pid}.ports"
        async with asyncio.timeout(60):
            while not ports.exists() or not ports.read_text().strip():
                await asyncio.sleep(0.01)
        self.url = json.loads(ports.read_text())["nats"][0]

    async def _make_streams(self) -> None:
        js = self.client.jetstream()
        republish = RePublish(src="uns.v1.>", dest="live.uns.v1.>")
        common: dict[str, Any] = {"allow_direct": True, "allow_atomic": True}
        async with asyncio.timeout(60):
            if self.role == "hub":
                await js.add_stream(StreamConfig(name="H_LOCAL", subjects=["uns.v1.>"], **common))
                await js.add_stream(
                    StreamConfig(
                        name="H_INTEGRITY", sources=[StreamSource(name="H_LOCAL")], republish=republish, **common
                    )
                )
                await js.add_stream(StreamConfig(name="H_DLQ", subjects=["dlq.hub.>"], **common))
            else:
                await js.add_stream(
                    StreamConfig(name=f"E_{self.name}_I", subjects=["uns.v1.>"], republish=republish, **common)
                )
                await js.add_stream(StreamConfig(name=f"E_{self.name}_DLQ", subjects=[f"dlq.{self.name}.>"], **common))

    async def _answer(self) -> None:
        service = await nats.micro.add_service(self.client, name=f"millstream-{self.role}", version="0.1.0")

        async def on_status(request: nats.micro.Request) -> None:
            await request.respond(json.dumps(self.status).encode())

        endpoint = nats.micro.service.EndpointConfig(
            name="status", subject=f"millstream.node.{self.name}.status", handler=on_status
        )
        await service.add_endpoint(endpoint)
        if self.role == "hub":
            await self.client.subscribe("millstream.historian.query", cb=self._on_query)
        await self.client.flush()

    async def _on_query(self, msg: Msg) -> None:
        query = json.loads(msg.data)
        self.queries.append(query)
        if self.error is not None:
            await self.client.publish(msg.reply, headers={"Ms-Error": json.dumps(self.error)})
            return
        for row in range(len(self.history)):  # several parts, as a long answer has
            await self.client.publish(msg.reply, ipc(self.history.slice(row, 1)))
        await self.client.publish(msg.reply, headers={"Ms-Status": "done"})

    def write_node_file(self, pid: int) -> None:
        """node.json as a running node writes it."""
        (self.folder / "node.json").write_text(
            json.dumps(
                {
                    "role": self.role,
                    "name": self.name,
                    "path": "acme/plant1",
                    "pid": pid,
                    "nats_url": self.url,
                    "user": USER,
                    "password": PASSWORD,
                    "domain": "hub" if self.role == "hub" else self.name,
                }
            )
        )

    async def stored(self, stream: str, count: int) -> None:
        """Wait until a stream holds that many messages: sourcing takes a moment."""
        js = self.client.jetstream()
        async with asyncio.timeout(60):
            while (await js.stream_info(stream)).state.messages < count:
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Everything ends."""
        if self.client.is_connected:
            await self.client.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def ipc(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def status_of(role: str, name: str) -> dict[str, Any]:
    """A healthy node's status."""
    return {
        "role": role,
        "name": name,
        "version": "0.1.0",
        "started_ns": NOW_NS,
        "now_ns": None,
        "connectors": [],
        "publishers": [],
        "streams": [],
        "uplink": {"state": "up", "data_age_ms": 12, "cursor_seq": 10, "behind_messages": 0},
        "rss_mb": 80.0,
        "cpu_s": 1.5,
        "alarms": [],
    }


@asynccontextmanager
async def fake_node(folder: Path, role: str = "hub", name: str = "hub1") -> AsyncIterator[FakeNode]:
    """A running node, stopped on exit."""
    node = FakeNode(folder, role, name)
    try:
        await node.start()
        yield node
    finally:
        await node.stop()
