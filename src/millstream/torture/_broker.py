"""The plain way, for comparison: mosquitto, and a paho service that counts what it takes off the broker."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
from pathlib import Path

from millstream.rig import STOP_TIMEOUT_S, Child
from millstream.torture._disk import find_tool
from millstream.torture._site import TOPIC


def why_no_broker() -> str | None:
    """What is missing on this machine; None when nothing is."""
    if find_tool("mosquitto") is None:
        return "mosquitto is not installed"
    if importlib.util.find_spec("paho") is None:
        return "paho-mqtt is not installed"
    return None


class PlainBroker:
    """mosquitto with persistence, and the counter, both with their files below `data`."""

    def __init__(self, data: Path, logs: Path, port: int) -> None:
        self.counts_file = data / "counts.json"
        self._data = data
        self._logs = logs
        self._port = port
        self.broker: asyncio.subprocess.Process | None = None
        self.counter: Child | None = None
        self._striking = asyncio.Lock()

    async def strike(self, *, is_broker: bool) -> None:
        """kill -9 of one of the two, which is started again at once."""
        async with self._striking:
            if is_broker and self.broker is not None:
                self.broker.kill()
                await self.broker.wait()
                await self._start_broker()
            elif not is_broker and self.counter is not None:
                await self.counter.kill()
                await self.start_counter()

    async def start(self) -> None:
        """Both, as after a boot."""
        await self._start_broker()
        await self.start_counter()

    async def _start_broker(self) -> None:
        self._data.mkdir(exist_ok=True)
        config = self._data / "mosquitto.conf"
        config.write_text(
            f"listener {self._port} 127.0.0.1\nallow_anonymous true\nuser root\n"
            f"persistence true\npersistence_location {self._data}/\n",
            encoding="utf-8",
        )
        program = find_tool("mosquitto")
        assert program is not None
        with (self._logs / "mosquitto.log").open("ab") as log:
            self.broker = await asyncio.create_subprocess_exec(
                program, "-c", str(config), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def start_counter(self) -> None:
        """The service alone."""
        arguments = [
            "millstream.sim.naive_counter", "--port", str(self._port), "--file", str(self.counts_file),
            "--topic", f"{TOPIC}/+",
        ]  # fmt: skip
        self.counter = await Child.start("paho-counter", arguments, self._logs)
        await self.counter.wait_ready()

    @property
    def counted(self) -> int:
        """Parts, as the service saved them."""
        try:
            counts = json.loads(self.counts_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        return sum(int(n) for n in counts.values())

    def signal(self, number: signal.Signals) -> None:
        """To both."""
        if self.broker is not None and self.broker.returncode is None:
            self.broker.send_signal(number)
        if self.counter is not None:
            self.counter.signal(number)

    async def kill(self) -> None:
        """Both at once."""
        self.signal(signal.SIGKILL)
        if self.broker is not None:
            await self.broker.wait()
        if self.counter is not None:
            await self.counter.kill()

    async def stop(self) -> None:
        """In order, so that the counts are saved."""
        if self.counter is not None:
            await self.counter.stop()
        if self.broker is not None and self.broker.returncode is None:
            self.broker.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self.broker.wait()
            except TimeoutError:
                self.broker.kill()
                await self.broker.wait()
