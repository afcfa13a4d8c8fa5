"""The connector inside a running edge: what a node says ends in the edge's stream, with its deaths and its gaps."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from cases.mosquitto_peer import broker
from cases.sparkplug_peer import EdgeNode as FieldNode
from cases.sparkplug_peer import now_ms, running
from sparkplug_kit import until, watching

from millstream.bus import Credentials, RawConnection, StreamApi, StreamReader
from millstream.config import InstalledConnectors, load_edge
from millstream.edge import EdgeNode
from millstream.protocols.sparkplug import DataType, Payload
from millstream.protocols.sparkplug_wire import encode_payload
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject

CONFIG = """
edge: {{name: e1, path: acme/plant1, data_dir: data}}
connectors:
  - name: fleet
    type: sparkplug
    config:
      host: 127.0.0.1
      port: {port}
      client_id: e1
      host_id: e1
      rebirth_interval: 1s
      reorder_timeout: 100ms
      auto_map: [{{filter: "c/#", path: "acme/plant1/{{node}}/{{device}}"}}]
    tags:
      - {{name: listed, address: "c/n#count", path: line, unit: pcs}}
"""


async def values_of(node: EdgeNode) -> dict[str, list[Any]]:
    """What the edge's stream holds now: tag -> values, or the quality's label."""
    found: dict[str, list[Any]] = {}
    credentials = Credentials(node.server.user, node.server.password)
    async with (
        asyncio.timeout(60),
        RawConnection(node.server.url, credentials=credentials) as connection,
        aclosing(StreamReader(connection).read("E_e1_I")) as lists,
    ):
        last_seq = (await StreamApi(connection).state("E_e1_I")).last_seq
        async for received in lists:
            for item in received:
                address = decode_subject(item.subject)
                if address.contract != "_tag":
                    continue
                values = found.setdefault(str(address.tag), [])
                if item.headers is not None and ARROW_TYPE.encode() in item.headers:
                    block = decode_block(item.payload)
                    values += [v.item() if hasattr(v, "item") else v for v in block.values]
                else:
                    values.append(decode_sample(item.payload).value)
            if received and received[-1].seq >= last_seq:
                break
    return found


def counters(node: EdgeNode) -> dict[str, Any]:
    """Of the one connector."""
    connectors: Any = node.status()["connectors"]
    return dict(connectors[0])


@pytest.mark.needs("mosquitto")
async def test_a_nodes_life_ends_in_the_edges_stream(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer, watching(peer.port) as watcher:
        (tmp_path / "edge.yaml").write_text(CONFIG.format(port=peer.port))
        config, findings = load_edge(tmp_path / "edge.yaml", InstalledConnectors())
        assert config is not None, findings
        field = FieldNode(peer.port, {"count": (DataType.INT32, 0)}, {"axis/speed": (DataType.DOUBLE, 0.5)})
        async with EdgeNode(config, connectors=InstalledConnectors()) as node:
            await until(lambda: any(b"true" in m.payload for m in watcher.of("STATE")))
            async with running(field):
                for i in range(1, 101):
                    field.data({"count": i})
                    field.data({"axis/speed": i / 2}, "d1")
                await until(lambda: counters(node)["samples_stored"] >= 202)
                field.skip()
                field.data({"count": 101})
                await until(lambda: counters(node)["source_gaps"] >= 1)
                watcher.client.publish(field.topic("NDATA"), b"\xff")
                await until(lambda: counters(node)["frames_quarantined"] >= 1)
                death = encode_payload(Payload(now_ms(), (field._bd(),)))
                watcher.client.publish(field.topic("NDEATH"), death)
                await until(lambda: counters(node)["samples_bad"] >= 2)
                await until(lambda: counters(node)["samples_stored"] >= counters(node)["samples_received"])
            found = await values_of(node)
    counts = found["acme/plant1/line:listed"]
    assert [value for value in counts if value is not None][:102] == list(range(102))
    speeds = found["acme/plant1/n/d1:axis/speed"]
    assert speeds[:101] == [0.5, *(i / 2 for i in range(1, 101))]
    assert None in counts  # the node lives on, and may be born again after its death was told
    assert None in speeds
