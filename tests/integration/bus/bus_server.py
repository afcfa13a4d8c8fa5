"""A real nats-server that tests can kill and start again on the same port and store."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from millstream.bus._connection import Credentials, RawConnection
from millstream.bus._jetstream import StreamApi
from millstream.protocols.ledger import LedgerVerifier
from millstream.sdk import Received

LEDGER = "uns.v1.acme.site._ledger.edge1.integrity"
SUBJECT = "uns.v1.acme.site.area._tag.temperature"
NATS_SERVER = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stderr=log)


def _state_of(thread: Path) -> str:
    """A letter: proc(5), the field behind the name in brackets."""
    return (thread / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


class Server:
    """One nats-server process, loopback only."""

    def __init__(self, root: Path, sync: str = "always", *, domain: str = "edge1", jetstream: str = "") -> None:
        self.root = root
        self.port = 0
        self.sync = sync
        self.domain, self.jetstream = domain, jetstream
        self.process: subprocess.Popen[bytes] | None = None
        self.credentials = Credentials("edge", "only-for-tests")

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start, or start again; returns once it takes connections."""
        config = self.root / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port or -1}"\nserver_name: "t"\nports_file_dir: "{self.root}"\n'
            f'jetstream {{ store_dir: "{self.root}/js", domain: "{self.domain}", sync_interval: {self.sync}\n'
            f"{self.jetstream} }}\n"
            f"accounts {{ PLANT: {{ jetstream: enabled, "
            f'users: [{{user: edge, password: "only-for-tests"}}] }}\n'
            f'SYS: {{ users: [{{user: system, password: "only-for-tests"}}] }} }}\nsystem_account: SYS\n'
        )
        with (self.root / "server.log").open("ab") as log:
            self.process = _spawn([NATS_SERVER, "-c", str(config)], log)
        ports = self.root / f"nats-server_{self.process.pid}.ports"
        async with asyncio.timeout(60):
            while not ports.exists() or not ports.read_text().strip():
                await asyncio.sleep(0.01)
            self.port = int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
            while not await self._answers():
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self.process is not None
        os.kill(self.process.pid, number)
        if number == signal.SIGSTOP:  # its threads stop one by one, and the last of them may still answer
            while any(_state_of(thread) not in "TZX" for thread in Path(f"/proc/{self.process.pid}/task").iterdir()):
                time.sleep(0.001)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        self.process = None

    async def restart(self) -> None:
        """kill -9, then start on the same store and port."""
        self.kill()
        await self.start()

    def connect(self) -> RawConnection:
        """A connection, to be entered."""
        return RawConnection(self.url, credentials=self.credentials)


async def make_stream(connection: RawConnection, name: str = "E_edge1_I", **config: Any) -> None:
    """An integrity stream, or what `config` says."""
    body = {
        "name": name, "subjects": ["uns.v1.>"], "allow_atomic": True, "allow_direct": True, "retention": "limits",
        "storage": "file", "discard": "new", **config,
    }  # fmt: skip
    await StreamApi(connection).request(f"STREAM.CREATE.{name}", body)


def recounted(messages: list[Received], stream: str = "E_edge1_I") -> LedgerVerifier:
    """The verifier after all of `messages`."""
    verifier = LedgerVerifier()
    for m in messages:
        count = 1
        if m.headers and b"Ms-Count: " in m.headers:
            count = int(m.headers.split(b"Ms-Count: ")[1].split(b"\r\n")[0])
        verifier.feed(stream, m.seq, m.subject, count, m.payload)
    return verifier
