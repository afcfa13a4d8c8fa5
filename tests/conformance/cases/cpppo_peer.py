"""cpppo's simulated Logix controller as a process, behind a relay that can fall silent, be cut or talk nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import peers  # lives in tools/, which is no package
from cases.loopback import Loopback

CHUNK_BYTES = 65536


@dataclass
class Cpppo:
    """A controller on loopback, the same port again after a restart. `status` is its Identity's status word."""

    tags: Sequence[str]
    folder: Path
    status: int = 0x3160
    arguments: Sequence[str] = ()
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start and wait until it says where it listens."""
        config = self.folder / "cpppo.cfg"
        config.write_text(f"[Identity]\nStatus Word = {self.status}\nProduct Name = Mixer 4\n")
        self.process = await asyncio.create_subprocess_exec(
            str(peers.venv_python("cpppo")), "-m", "cpppo.server.enip", "--address-output", "--config", str(config),
            "--address", f"127.0.0.1:{self.port}", *self.arguments, *self.tags,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=self.folder,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while not (line := await self.process.stdout.readline()).startswith(b"Network TCP"):
                assert line, "cpppo ended before it was ready"
        self.port = int(line.rpartition(b",")[2].strip(b" )\n"))

    async def stop(self) -> None:
        """Gone at once, as with a power cut."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.process = None


@contextlib.asynccontextmanager
async def controller(*tags: str, status: int = 0x3160, arguments: Sequence[str] = ()) -> AsyncIterator[Cpppo]:
    """Running, and gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        peer = Cpppo(tags, Path(folder), status, arguments)
        await peer.start()
        try:
            yield peer
        finally:
            await peer.stop()


@dataclass
class Relay(Loopback):
    """Between a session and a controller. `poison` replaces what comes next from the controller."""

    target_port: int
    poison: bytes | None = None
    is_silent: bool = False
    requests_count: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on, both ways."""
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, far, is_answer=False)),
            asyncio.ensure_future(self._pump(far_reader, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            far.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if is_answer and self.poison is not None:
                    data, self.poison = self.poison, None
                self.requests_count += not is_answer
                if not (is_answer and self.is_silent):
                    writer.write(data)
                    await writer.drain()
