"""The node's side of one flow: starts its workers, watches them, starts them again with growing pauses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from millstream.bus import Credentials, node_tls
from millstream.config import FlowEntry
from millstream.kernel import Backoff, Clock
from millstream.sdk import Log
from millstream.worker._process import FULL, MISCONFIGURED
from millstream.worker._spec import WorkerSpec, encode_spec

STOP_TIMEOUT_S = 10.0
SOUND_NS = 30_000_000_000  # a worker that ran for so long begins with the shortest pause again
CRASHES_BEFORE_ALARM = 3
LINE_BYTES_MAX = 1 << 20
PROGRAM: Iterable[str] = (sys.executable, "-m", "millstream.worker")  # what each worker is started as


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all workers of a node share."""

    node: str
    place: str
    url: str
    credentials: Credentials
    inputs: tuple[str, ...]
    output: str
    deadletters: str
    data_dir: Path
    has_origins: bool = False
    generation: int = 1


@dataclass(slots=True)
class _Worker:
    index: int
    state: str = "new"
    pid: int | None = None
    starts_count: int = 0
    crashes: int = 0
    error: dict[str, Any] | None = None
    text: str | None = None
    since_ns: int = 0
    status: int | None = None

    @property
    def is_hopeless(self) -> bool:
        """The last one ended because of what the file says, or of what the steps keep: it will again."""
        return self.status in (MISCONFIGURED, FULL)


class FlowSupervisor:
    """Runs the workers of one flow. `run` until cancelled; it never raises for what a worker does. `on_end` is told
    each instance whose process has ended."""

    def __init__(
        self, entry: FlowEntry, around: Surroundings, *, clock: Clock, log: Log, on_end: Callable[[str], None]
    ) -> None:
        self.entry = entry
        self._around = around
        self._clock = clock
        self._log = log
        self._on_end = on_end
        self._stop = asyncio.Event()
        self.workers = [_Worker(index) for index in range(entry.instances)]

    def stop(self) -> None:
        """Let the workers finish what they have; `run` then returns."""
        self._stop.set()

    async def run(self) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as group:
            for worker in self.workers:
                group.create_task(self._keep(worker), name=f"flow {self.entry.name} worker {worker.index}")
            await self._stop.wait()

    # -- one worker ---------------------------------------------------------------------------------------------------

    async def _keep(self, worker: _Worker) -> None:
        backoff = Backoff(floor_s=0.2, ceiling_s=30.0)
        while not self._stop.is_set():
            began_ns = self._clock.monotonic_ns()
            status = worker.status = await self._run_once(worker)
            if self._stop.is_set():
                break
            if self._clock.monotonic_ns() - began_ns > SOUND_NS:
                backoff.reset()
                worker.crashes = 0
            worker.crashes += 1
            self._enter(worker, "waiting")
            delay_s = backoff.next_s()
            self._log.warning(
                "worker ended", flow=self.entry.name, worker=worker.index, status=status, again_in_s=round(delay_s, 1)
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stop.wait()
        self._enter(worker, "stopped")

    async def _run_once(self, worker: _Worker) -> int:
        """One process from start to end; its exit status."""
        spec = self._spec(worker)
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, limit=LINE_BYTES_MAX,
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # address space that nobody uses counts against its bound
            process_group=0,  # a Ctrl-C in the terminal is for the node, which ends its workers in order
        )  # fmt: skip
        worker.pid, worker.starts_count = process.pid, worker.starts_count + 1
        self._enter(worker, "starting")
        ending: asyncio.Task[None] | None = None
        try:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(encode_spec(spec))
                await process.stdin.drain()
            ending = asyncio.get_running_loop().create_task(self._end_when_told(process))
            await self._listen(worker, process)
            return await process.wait()
        finally:
            if ending is not None:
                ending.cancel()
            with contextlib.suppress(ProcessLookupError):
                if process.returncode is None:
                    process.kill()
            await process.wait()
            self._on_end(spec.instance)
            if process.stdin is not None:
                process.stdin.close()
            worker.pid = None

    async def _end_when_told(self, process: asyncio.subprocess.Process) -> None:
        await self._stop.wait()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            await self._clock.sleep(STOP_TIMEOUT_S)
            process.kill()

    def _spec(self, worker: _Worker) -> WorkerSpec:
        around, entry, login = self._around, self.entry, self._around.credentials
        return WorkerSpec(
            node=around.node, place=around.place, url=around.url, user=login.user, password=login.password,
            creds_file=str(login.creds_file) if login.creds_file is not None else None, tls=node_tls(login.tls),
            inputs=list(around.inputs), output=around.output, deadletters=around.deadletters,
            scratch=str(around.data_dir / "flows" / f"{entry.name}-{worker.index}"),
            entry=entry.model_dump(mode="json", exclude_defaults=True),
            instance=f"{around.node}-{worker.index}-{secrets.token_hex(3)}", parent_pid=os.getpid(),
            has_origins=around.has_origins, modules=str(around.data_dir / "modules"),
        )  # fmt: skip

    async def _listen(self, worker: _Worker, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:  # longer than the bound
                continue
            if not line:
                return
            try:
                message = msgspec.json.decode(line)
            except msgspec.DecodeError:
                self._log.warning(
                    "worker says", flow=self.entry.name, text=line[:500].decode("utf-8", "replace").strip()
                )
                continue
            self._take(worker, message)

    def _take(self, worker: _Worker, message: dict[str, Any]) -> None:
        if "status" in message:
            if worker.state != "running":
                self._enter(worker, "running")
            return
        if "text" in message:
            worker.error, worker.text = message.get("error"), message["text"]
        write: Callable[..., None] = getattr(self._log, message.get("level", "info"), self._log.info)
        fields = {"text": message["text"]} if "text" in message else message.get("fields") or {}
        write(str(message.get("event")), **{"flow": self.entry.name, "worker": worker.index, **fields})

    def _enter(self, worker: _Worker, state: str) -> None:
        if worker.state != state:
            worker.state, worker.since_ns = state, self._clock.now_ns()

    # -- what others see ----------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """The workers as the node's status shows them."""
        return [
            {
                "index": w.index, "state": w.state, "pid": w.pid, "starts_count": w.starts_count, "error": w.text,
                "since_ns": w.since_ns, "is_misconfigured": w.status == MISCONFIGURED,
            }
            for w in self.workers
        ]  # fmt: skip
