"""A notification reaches a foreign broker, acknowledged, with its id."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "conformance"))
from cases.mosquitto_peer import broker, publisher

from millstream.client._notifier import publish
from millstream.config import MqttChannel
from millstream.kernel import Unreachable
from millstream.mqtt import BrokerConfig
from millstream.protocols.alarm import AlarmNote, Notification


@pytest.mark.needs("mosquitto")
async def test_a_broker_takes_a_notification_and_a_broker_that_is_gone_does_not(tmp_path: Path) -> None:
    note = AlarmNote("raised", "unacknowledged", "high", 1, message="oil is hot")
    told = Notification("a/1/shift/0", "acme/p1/press:alarm/hi", "shift", "0", ["room"], note)
    came: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    async with broker(tmp_path) as peer:
        channel = MqttChannel(type="mqtt", broker=BrokerConfig(host="127.0.0.1", port=peer.port), topic="acme/alarms")
        async with publisher(peer.port) as client:
            granted = asyncio.Event()
            client.on_subscribe = lambda *_: loop.call_soon_threadsafe(granted.set)
            client.on_message = lambda _client, _data, message: loop.call_soon_threadsafe(
                came.put_nowait, message.payload
            )
            client.subscribe("acme/#", qos=1)
            async with asyncio.timeout(60):
                await granted.wait()
                await publish(channel, told)
                found = json.loads(await came.get())
    assert (found["id"], found["subject"]) == ("a/1/shift/0", "[high] oil is hot (unacknowledged)")
    with pytest.raises(Unreachable):
        await publish(channel, told)
