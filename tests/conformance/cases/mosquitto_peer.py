"""A Mosquitto broker as a process, and a client of another make that publishes to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho

from millstream.kernel import free_port


def program(name: str) -> str:
    """Where it lies; brokers are often outside the user's PATH."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    assert path is not None, f"{name} is missing"
    return path


@dataclass
class Mosquitto:
    """A broker on loopback that keeps its sessions over a restart. With `password` it admits only the user `edge`."""

    folder: Path
    port: int = 0
    password: str | None = None
    extra: str = ""
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, on the same port again after a break, and wait until it answers."""
        self.port = self.port or free_port()
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"persistence_location {self.folder}/",
            "persistence true",
            self.extra,
        ]
        if os.geteuid() == 0:
            lines.append("user root")
        if self.password is None:
            lines.append("allow_anonymous true")
        else:
            await asyncio.to_thread(self._write_password, self.password)
            lines.append(f"password_file {self.folder}/passwords")
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self.process = await asyncio.create_subprocess_exec(
            program("mosquitto"), "-c", str(self.folder / "mosquitto.conf"), stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    def _write_password(self, password: str) -> None:
        subprocess.run(
            [program("mosquitto_passwd"), "-b", "-c", str(self.folder / "passwords"), "edge", password], check=True
        )

    async def stop(self) -> None:
        """SIGTERM: sessions are written down. One that comes just before its loop begins is forgotten: told again."""
        if self.process is not None and self.process.returncode is None:
            async with asyncio.timeout(60):
                while self.process.returncode is None:
                    self.process.terminate()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.process.wait(), 5)
        self.process = None


@contextlib.asynccontextmanager
async def broker(folder: Path, *, password: str | None = None, extra: str = "") -> AsyncIterator[Mosquitto]:
    """Running, and gone afterwards."""
    peer = Mosquitto(folder, password=password, extra=extra)
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()


@contextlib.asynccontextmanager
async def publisher(port: int, user: str | None = None, password: str | None = None) -> AsyncIterator[paho.Client]:
    """A connected client that comes back by itself."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=f"publisher-{port}")
    client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # seconds as fractions work
    if user is not None:
        client.username_pw_set(user, password)
    await asyncio.to_thread(client.connect, "127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def published(client: paho.Client, topic: str, *payloads: bytes, qos: int = 1) -> None:
    """Publish, and wait for the last PUBACK."""
    sent = [client.publish(topic, payload, qos=qos) for payload in payloads]
    async with asyncio.timeout(60):
        while not all(info.is_published() for info in sent):
            await asyncio.sleep(0.005)
