"""One process of nats-server: started, checked before anybody relies on it, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from millstream.bus._cluster_config import LIVE_PATH, WRITE_ERROR
from millstream.bus._server_config import ServerSettings
from millstream.bus._server_files import note_child
from millstream.bus._server_log import LogTail, explain_start
from millstream.bus._server_program import find_program, launching
from millstream.bus._store_repair import find_lost
from millstream.kernel import Clock, PlantError, Unreachable

START_TIMEOUT_S = 120.0  # a store of tens of gigabytes is scanned before the server is ready
STOP_TIMEOUT_S = 10.0


class ServerChild:
    """The process below `data_dir`, whose configuration file stands there. `monitor` asks the running one for a page,
    `is_disk_full` says whether it may be up without being well."""

    def __init__(
        self, data_dir: Path, log_tail: LogTail, clock: Clock, program: str | None,
        monitor: Callable[[str], Awaitable[Any]], is_disk_full: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._data_dir, self._log_tail, self._clock, self._program = data_dir, log_tail, clock, program
        self._monitor, self._is_disk_full = monitor, is_disk_full
        self.process: asyncio.subprocess.Process | None = None
        self.starts_count = 0

    @property
    def running(self) -> asyncio.subprocess.Process | None:
        """The process, as long as it has not ended."""
        return None if self.process is None or self.process.returncode is not None else self.process

    async def start(self, settings: ServerSettings) -> None:
        """Start the process and wait until it is ready and checked; on failure it is stopped again. Raises PlantError,
        `LostStreamError` for a stream that it cannot read any more."""
        self._log_tail.skip_to_end()
        folder = self._data_dir / "server"
        program = self._program or find_program()
        early = folder / "nats-server.err"  # what the server says before it has opened its log file
        with early.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *launching(is_hub=settings.leaf_listener is not None),
                *(program, "-c", str(folder / "nats-server.conf")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                process_group=0,  # a Ctrl-C in the terminal is for the node, which needs its server to stop in order
            )
        self.process = process
        self.starts_count += 1
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._wait_healthy(process, settings)
            note_child(self._data_dir, process.pid)
            await self._check_sync(settings)
        except TimeoutError as error:
            await self.stop()
            raise PlantError(
                "nats-server is not ready", where=settings.js_domain, expected=f"ready within {START_TIMEOUT_S:g} s",
                next_step=f"read {self._log_tail.path}", code="MS-0600",
            ) from error  # fmt: skip
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it; one that does not go in time is killed."""
        process = self.process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await asyncio.shield(process.wait())
        self.process = None

    def reread(self) -> None:
        """Have it read its configuration file again."""
        with contextlib.suppress(ProcessLookupError):
            if self.process is not None:
                self.process.send_signal(signal.SIGHUP)

    async def _wait_healthy(self, process: asyncio.subprocess.Process, settings: ServerSettings) -> None:
        delay_s = 0.02
        while True:
            if process.returncode is not None:
                early = (self._data_dir / "server" / "nats-server.err").read_text(encoding="utf-8", errors="replace")
                raise explain_start(
                    self._log_tail.peek() + early.splitlines(), where=settings.js_domain, log_path=self._log_tail.path
                )
            with contextlib.suppress(Unreachable):
                health = await self._monitor("/healthz" if settings.cluster is None else LIVE_PATH)
                if health.get("status") == "ok" or (WRITE_ERROR in str(health.get("error")) and self._is_disk_full()):
                    return  # on a full disk it runs, serves what it has, and is watched
                if (lost := find_lost(str(health.get("error")))) is not None:
                    raise lost
            await self._clock.sleep(delay_s)
            delay_s = min(0.25, delay_s * 1.5)

    async def _check_sync(self, settings: ServerSettings) -> None:
        """The promise of this product: the running server, not only its file, syncs before it acknowledges."""
        domain = settings.js_domain
        try:
            page = await self._monitor("/jsz?config=true")
        except Unreachable as error:
            raise PlantError("the server does not tell how it syncs", where=domain, code="MS-0604") from error
        config = page.get("config") or {}
        if config.get("domain") != domain:
            raise PlantError(
                "a port is taken", where=f"127.0.0.1:{settings.monitor_port}",
                expected=f"the monitor of {domain}", got=f"another server, of domain {config.get('domain')}",
                next_step="end that server, or set another monitor_port", code="MS-0601",
            )  # fmt: skip
        if not config.get("sync_always"):
            raise PlantError(
                "the server does not sync every message", where=domain, expected="sync_interval: always",
                got=str(config.get("sync_interval")), code="MS-0604",
            )  # fmt: skip
