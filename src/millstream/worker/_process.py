"""The worker process: bounds itself, runs its instance, reports on standard error to the node that started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

import msgspec

from millstream.flow import ProcessFullError
from millstream.kernel import ConfigError, FencedError, PlantError, SystemClock
from millstream.worker._build import build_flow
from millstream.worker._instance import Around, Instance
from millstream.worker._spec import SPEC_BYTES_MAX, WorkerSpec, decode_spec
from millstream.worker._watchdog import StepWatchdog

STOPPED, FAILED, MISCONFIGURED, FENCED, STUCK, FULL = 0, 1, 2, 3, 75, 76
_PR_SET_PDEATHSIG = 1


class PipeLog:
    """`Log` as JSON lines to the node: it writes them into its own log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def info(self, event: str, **fields: object) -> None:
        """A change of state worth one line."""
        self.put({"level": "info", "event": event, "fields": fields})

    def warning(self, event: str, **fields: object) -> None:
        """Something degraded; work goes on."""
        self.put({"level": "warning", "event": event, "fields": fields})

    def error(self, event: str, **fields: object) -> None:
        """Something stopped; a person may have to act."""
        self.put({"level": "error", "event": event, "fields": fields})

    def put(self, message: dict[str, Any]) -> None:
        """One line; a node that is gone does not matter, its worker ends with it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(msgspec.json.encode(message, enc_hook=str).decode() + "\n")
            self._stream.flush()


def main() -> int:
    """Run the order on standard input; returns the exit status."""
    log = PipeLog(_own_stderr())
    try:
        spec = decode_spec(sys.stdin.buffer.readline(SPEC_BYTES_MAX))
        die_with(spec.parent_pid)
        entry = spec.flow_entry()
        watchdog = StepWatchdog(entry.step_timeout, entry.max_memory, Path(spec.scratch), lambda: _end_stuck(log))
        flow = watchdog.guard(build_flow(entry, Path(spec.modules), Path(spec.scratch)))
    except PlantError as error:
        log.put({"level": "error", "event": "flow cannot start", "error": error.as_dict(), "text": str(error)})
        return MISCONFIGURED
    threading.Thread(target=_end_with_input, daemon=True, name="life line").start()
    bound_memory(entry.max_memory)
    watchdog.start()
    try:
        return asyncio.run(_run(spec, entry, flow, log))
    finally:
        watchdog.stop()


async def _run(spec: WorkerSpec, entry: Any, flow: Any, log: PipeLog) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        around = Around(SystemClock(), log, lambda status: log.put({"status": status}))
        await Instance(spec, entry, flow, around).run(stop)
    except PlantError as error:
        return _tell(log, error)
    except BaseExceptionGroup as group:
        plant, rest = group.split(PlantError)
        if plant is None or rest is not None:
            return _tell(log, group)
        return _tell(log, _first(plant))
    except Exception as error:  # noqa: BLE001 - the supervisor of this process; it starts another
        return _tell(log, error)
    return STOPPED


def _first(group: BaseExceptionGroup[PlantError]) -> PlantError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, PlantError)
    return error


def _tell(log: PipeLog, error: BaseException) -> int:
    if isinstance(error, PlantError):
        log.put({"level": "error", "event": "flow stops", "error": error.as_dict(), "text": str(error)})
        statuses = ((FencedError, FENCED), (ConfigError, MISCONFIGURED), (ProcessFullError, FULL))
        return next((status for kind, status in statuses if isinstance(error, kind)), FAILED)
    if isinstance(error, MemoryError):
        log.put({"level": "error", "event": "flow stops", "text": "no memory within 'max_memory'"})
        return FULL
    trace = "".join(traceback.format_exception(error))[-8000:]
    log.put({"level": "error", "event": "flow crashes", "text": f"{type(error).__name__}: {error}", "trace": trace})
    return FAILED


def _own_stderr() -> TextIO:
    """A copy of standard error; what the user's code prints goes nowhere."""
    pipe = os.fdopen(os.dup(2), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    return pipe


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere the life line does)."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent_pid and os.getppid() != parent_pid:
        os._exit(FAILED)


def _end_with_input() -> None:
    """The node keeps the other end of standard input open as long as it lives."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(FAILED)


def bound_memory(extra_bytes: int) -> None:
    """Let this process grow by so much; beyond it a step gets a MemoryError (see `StepWatchdog`)."""
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + extra_bytes
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))  # who has lowered `hard` may not raise it again


def _end_stuck(log: PipeLog) -> None:
    text = "a step cannot be interrupted"
    log.put({"level": "error", "event": "flow's process ends", "text": text})
    os._exit(STUCK)
