"""An edge node that keeps to the specification, on paho and our codec: births, aliases, one counter, rebirth."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import paho.mqtt.client as paho

from millstream.protocols.sparkplug import BD_SEQ, REBIRTH, DataType, Metric, Payload, Property
from millstream.protocols.sparkplug_value import to_raw
from millstream.protocols.sparkplug_wire import decode_payload, encode_payload

Values = dict[str, tuple[DataType, Any]]
UNITS = {"engUnit": Property(DataType.STRING, "mm/s")}


def now_ms() -> int:
    """UTC."""
    return time.time_ns() // 1_000_000


class EdgeNode:
    """One node with one device. `values` are those of the node, `device_values` those of its device d1."""

    def __init__(self, port: int, values: Values, device_values: Values, *, group: str = "c", name: str = "n") -> None:
        self.port, self.group, self.name = port, group, name
        self.values, self.device_values = dict(values), dict(device_values)
        self.seq, self.bd_seq = 0, -1
        self.commands: list[Payload] = []
        self.rebirths_count = 0
        self.is_born = threading.Event()
        self._lock = threading.RLock()  # paho calls from its own thread
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"edge-{group}-{name}")
        self.client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # seconds as fractions work
        self.client.on_pre_connect = self._on_pre_connect
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message

    def topic(self, kind: str, device: str | None = None) -> str:
        """Of one of its messages."""
        levels = ["spBv1.0", self.group, kind, self.name] + ([device] if device else [])
        return "/".join(levels)

    def _on_pre_connect(self, client: paho.Client, _userdata: Any) -> None:
        self.bd_seq = (self.bd_seq + 1) % 256
        client.will_set(self.topic("NDEATH"), encode_payload(Payload(now_ms(), (self._bd(),))), qos=1)

    def _bd(self) -> Metric:
        return Metric(BD_SEQ, timestamp_ms=now_ms(), datatype=DataType.INT64, raw=to_raw(DataType.INT64, self.bd_seq))

    def _on_connect(self, client: paho.Client, *_rest: Any) -> None:
        client.subscribe([(self.topic("NCMD"), 1), (self.topic("DCMD", "d1"), 1)])
        self.births()
        self.is_born.set()

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        payload = decode_payload(message.payload)
        if any(metric.name == REBIRTH for metric in payload.metrics):
            self.rebirths_count += 1
            self.births()
        else:
            self.commands.append(payload)

    def births(self) -> None:
        """NBIRTH, then DBIRTH."""
        with self._lock:
            self.seq = 0
            rebirth = Metric(REBIRTH, datatype=DataType.BOOLEAN, raw=to_raw(DataType.BOOLEAN, False))
            self.send("NBIRTH", (self._bd(), rebirth, *self.metrics(self.values, 1)))
            self.send("DBIRTH", self.metrics(self.device_values, 1000), "d1")

    def metrics(self, values: Values, first_alias: int) -> tuple[Metric, ...]:
        """As a birth has them."""
        return tuple(
            Metric(name, first_alias + i, now_ms(), datatype, to_raw(datatype, value), properties=UNITS)
            for i, (name, (datatype, value)) in enumerate(values.items())
        )

    def data(self, values: dict[str, Any], device: str | None = None) -> None:
        """New values by their names; they go out by alias."""
        with self._lock:
            known = self.values if device is None else self.device_values
            first = 1 if device is None else 1000
            aliases = {name: first + i for i, name in enumerate(known)}
            metrics = []
            for name, value in values.items():
                datatype = known[name][0]
                known[name] = (datatype, value)
                metrics.append(Metric(None, aliases[name], now_ms(), None, to_raw(datatype, value)))
            self.send("NDATA" if device is None else "DDATA", tuple(metrics), device)

    def send(self, kind: str, metrics: tuple[Metric, ...], device: str | None = None) -> None:
        """The next message."""
        with self._lock:
            payload = encode_payload(Payload(now_ms(), metrics, self.seq))
            self.seq = (self.seq + 1) % 256
            self.client.publish(self.topic(kind, device), payload)

    def skip(self) -> None:
        """A message that never comes."""
        with self._lock:
            self.seq = (self.seq + 1) % 256


@asynccontextmanager
async def running(node: EdgeNode, *, is_born: bool = True) -> AsyncIterator[EdgeNode]:
    """Connected until the end, and born when this begins; with `is_born` false it waits for something."""
    await asyncio.to_thread(node.client.connect, "127.0.0.1", node.port)
    node.client.loop_start()
    try:
        async with asyncio.timeout(60):  # paho's own thread does that, some time after it is connected
            while not (node.is_born.is_set() if is_born else node.client.is_connected()):
                await asyncio.sleep(0.005)
        yield node
    finally:
        node.client.reconnect_delay_set(3600, 3600)
        await end(node.client)


async def end(client: paho.Client) -> None:
    """Disconnect and free all; paho leaves its pair of sockets to the collector, which warns."""
    client.disconnect()
    await asyncio.to_thread(client.loop_stop)
    client._reset_sockets()
    client.on_pre_connect = client.on_connect = client.on_message = client.on_subscribe = None
