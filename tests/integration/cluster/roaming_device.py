"""An MQTT device that knows all boxes of a site and goes to the next one when a box does not acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import paho.mqtt.client as paho

PATIENCE_S = 3.0  # for a PUBACK
PAUSE_S = 0.05
TOPIC = "dev/n"


class RoamingDevice:
    """Counts from 0, one number after another with QoS 1, always under one client id. `folders` are the data
    directories of the boxes that run."""

    def __init__(self, folders: Callable[[], list[Path]]) -> None:
        self._folders = folders
        self.next = 0
        self.sent_again: set[int] = set()
        """Those whose PUBACK did not come: as QoS 1 demands they were sent again, and may be there twice."""
        self.seen_at: set[str] = set()
        """The boxes that acknowledged something."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for folder in self._folders():
                with contextlib.suppress(OSError, TimeoutError, ValueError, RuntimeError):
                    await self._publish_at(folder)
            await asyncio.sleep(PAUSE_S)

    async def _publish_at(self, folder: Path) -> None:
        async with _connected(folder) as client:
            while True:
                sent = client.publish(TOPIC, json.dumps({"n": self.next}), qos=1)
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        while not sent.is_published():
                            await asyncio.sleep(0.01)
                except BaseException:
                    self.sent_again.add(self.next)
                    raise
                self.next += 1
                self.seen_at.add(folder.name)
                await asyncio.sleep(PAUSE_S)


@contextlib.asynccontextmanager
async def _connected(folder: Path) -> AsyncIterator[paho.Client]:
    node = json.loads((folder / "node.json").read_text(encoding="utf-8"))
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="scale", clean_session=False)
    client.username_pw_set(node["mqtt_user"], node["mqtt_password"])
    await asyncio.to_thread(client.connect, "127.0.0.1", node["mqtt_port"], 5)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)
