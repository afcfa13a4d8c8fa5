"""MQTT devices at the edge's own listener: a PUBACK means stored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import paho.mqtt.client as mqtt
from forward_site import Edge, running_edge, until

from millstream.bus import StreamBounds, find_stream


@contextlib.asynccontextmanager
async def device(edge: Edge, name: str = "dev1") -> AsyncIterator[mqtt.Client]:
    """An MQTT 3.1.1 client that this project did not write."""
    credentials = edge.server.mqtt_credentials
    assert credentials is not None
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
    client.username_pw_set(*credentials)
    client.max_inflight_messages_set(1)
    assert edge.server.settings.mqtt_port is not None
    await asyncio.to_thread(client.connect, "127.0.0.1", edge.server.settings.mqtt_port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def stored(edge: Edge) -> int:
    assert edge.streams.mqtt is not None
    info = await find_stream(edge.api, edge.streams.mqtt)
    return info.messages if info is not None else 0


async def test_the_first_acknowledged_message_after_the_start_is_stored(tmp_path: Path) -> None:
    """The server acknowledges and drops a PUBLISH while no consumer stands on its own stream."""
    async with running_edge(tmp_path, None, has_mqtt=True) as edge, device(edge) as client:
        sent = client.publish("dev/1.5/t", b"20.5", qos=1)
        await until(sent.is_published, "acknowledged")

        async def is_stored() -> bool:
            return await stored(edge) == 1

        await until(is_stored, "stored")
        message = await edge.api.get("E_e1_MQTT", 1)
        assert message is not None
        assert message.subject == "$MQTT.msgs.dev.1//5.t"
        assert message.payload == b"20.5"


async def test_acknowledged_messages_survive_a_server_killed_hard(tmp_path: Path) -> None:
    async with running_edge(tmp_path, None, has_mqtt=True) as edge, device(edge) as client:
        acknowledged = 0
        done: set[int] = set()  # paho's own `is_published` raises for what was queued while there was no link
        client.on_publish = lambda _client, _data, mid, _reason, _properties: done.add(mid)
        for number in range(50):
            sent = client.publish("dev/t", str(number).encode(), qos=1)
            if number == 25:
                assert edge.server.pid is not None
                os.kill(edge.server.pid, signal.SIGKILL)
            await until(lambda mid=sent.mid: mid in done, "acknowledged")  # type: ignore[misc]
            acknowledged += 1

        async def are_stored() -> bool:
            return await stored(edge) >= acknowledged

        await until(are_stored, "all that was acknowledged")


async def test_a_full_stream_holds_devices_back_instead_of_filling_the_disk(tmp_path: Path) -> None:
    async with (
        running_edge(tmp_path, None, has_mqtt=True, integrity=StreamBounds(40_000)) as edge,
        device(edge) as client,
    ):
        sent = [client.publish("dev/t", b"x" * 1000, qos=1) for _ in range(100)]
        await until(lambda: sent[30].is_published(), "some are taken")

        async def is_full() -> bool:
            info = await find_stream(edge.api, "$MQTT_msgs")
            return info is not None and info.bytes > 35_000

        await until(is_full, "both streams are full")
        await asyncio.sleep(1.0)  # the time in which a further PUBACK would come
        assert not sent[-1].is_published()
        taken = sum(s.is_published() for s in sent)
        info = await find_stream(edge.api, "$MQTT_msgs")
        assert info is not None
        assert await stored(edge) + info.messages >= taken


async def test_a_device_that_publishes_on_a_system_topic_raises_an_alarm(tmp_path: Path) -> None:
    """nats-server acknowledges it and does not store it: MQTT 3.1.1 has no refusal."""
    async with running_edge(tmp_path, None, has_mqtt=True) as edge, device(edge) as client:
        sent = client.publish("uns/v1/acme/e1/_tag/t", b"1", qos=1)
        await until(sent.is_published, "acknowledged")
        await until(lambda: edge.alarm("MS-0617") is not None, "the alarm")
        assert "uns.v1.acme.e1._tag.t" in (edge.alarm("MS-0617") or "")
