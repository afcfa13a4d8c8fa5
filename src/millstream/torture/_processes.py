"""Finding and striking the processes of a node: always by pid, always only our own children."""

from __future__ import annotations

import contextlib
import signal

import psutil

from millstream.rig import Child

SERVER = "nats-server"
WORKER_MARK = "millstream.worker"


def family(child: Child) -> list[psutil.Process]:
    """A child and all below it, the child first."""
    try:
        process = psutil.Process(child.process.pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def server_of(child: Child) -> psutil.Process | None:
    """The node's nats-server, if it runs now."""
    for process in family(child)[1:]:
        with contextlib.suppress(psutil.Error):
            if process.name() == SERVER:
                return process
    return None


def workers_of(child: Child) -> list[psutil.Process]:
    """The node's flow workers."""
    found = []
    for process in family(child)[1:]:
        with contextlib.suppress(psutil.Error):
            if process.name() != SERVER and WORKER_MARK in process.cmdline()[1:4]:
                found.append(process)
    return found


def strike(process: psutil.Process, number: signal.Signals) -> None:
    """A signal, if it still runs."""
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
