"""Child processes of a whole plant on one machine: nodes and devices, started, asked and ended by pid."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from millstream.kernel import PlantError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LINE_BYTES_MAX = 1 << 24  # a device tells all its tags in one line


class Child:
    """One process with its log in a file. `ready` is what it printed as its first line of JSON (devices only)."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.ready: Mapping[str, Any] = {}

    @classmethod
    async def start(
        cls, name: str, arguments: Sequence[str], folder: Path, *, is_told: bool = False, by: Sequence[str] = ()
    ) -> Child:
        """Start ``python -m ...`` with standard error behind what stands in ``<folder>/<name>.log``.

        With `is_told` its standard input is a pipe for `tell`. `by`: what runs the arguments in place of ``python -m``.
        """
        log = folder / f"{name}.log"
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *(by or (sys.executable, "-m")),
                *arguments,
                stdin=asyncio.subprocess.PIPE if is_told else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                cwd=folder,
                limit=LINE_BYTES_MAX,
            )
        return cls(name, process, log)

    async def wait_ready(self, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait for the ready line of a device."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self.process.stdout.readline()
        except TimeoutError as error:
            raise self._problem("did not become ready in time") from error
        if not line:
            raise self._problem("ended before it was ready")
        self.ready = json.loads(line)

    async def wait_file(self, path: Path, field: str = "role") -> Mapping[str, Any]:
        """Wait until a node has written its ``node.json``, with this in it."""
        async with asyncio.timeout(READY_TIMEOUT_S):
            while True:
                if self.process.returncode is not None:
                    raise self._problem("ended before it was ready")
                with suppress(OSError, ValueError):
                    found = dict(json.loads(path.read_text(encoding="utf-8")))
                    if field in found:
                        return found
                await asyncio.sleep(0.05)

    async def tell(self, message: Mapping[str, Any]) -> None:
        """One line of JSON on its standard input, if it still runs."""
        assert self.process.stdin is not None
        with suppress(ConnectionError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            await self.process.stdin.drain()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL after a bound; returns the exit status."""
        if self.process.returncode is None:
            self.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._drain()
            except TimeoutError:
                self.signal(signal.SIGKILL)
                await self._drain()
        # The transport of a pipe that was read to its end closes itself only on the loop's next turn.
        await asyncio.sleep(0)
        return self.process.returncode if self.process.returncode is not None else -1

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self._drain()
        await asyncio.sleep(0)

    async def _drain(self) -> None:
        if self.process.stdout is not None:
            while await self.process.stdout.read(65536):
                pass
        await self.process.wait()

    def _problem(self, what: str) -> PlantError:
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-800:].strip()
        return PlantError(
            f"{self.name} {what}",
            got=tail or "no output",
            next_step=f"run with --keep FOLDER and read {self.log.name} there",
            code="MS-0690",
        )
