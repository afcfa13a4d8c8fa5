"""Commands of `millstream` without the half second that Python takes to import them.

The tests run hundreds of commands that end at once. Here a process that has imported them all waits, and each command
is a fork of it: its own process with its own folder, environment, streams and exit status, which runs
`millstream.cli.main` as a fresh one would. Who asked is a process too, which passes signals on and ends as the fork
does; killed, it takes the fork with it. What a test asks the system about by its number is started afresh.

    words = warm.command("status", "--json")      # what to give to subprocess
    await Child.start("hub", ["hub", "-c", "hub.yaml"], folder, by=warm.command())      # a node
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import socket
import sys

STARTED_AFRESH = ("demo", "torture", "sim", "top", "notify")  # they start other programs, or want a terminal
NODES = ("hub", "edge", "up")
_HERE = os.path.abspath(__file__)
_CLIENT = os.path.join(os.path.dirname(_HERE), "warm_client.py")
_address: list[str] = []


def command(*words: str) -> list[str]:
    """What runs this command line of `millstream`: by the waiting process where that makes no difference."""
    if words and words[0] in STARTED_AFRESH:
        return [sys.executable, "-m", "millstream", *words]
    return [sys.executable, "-S", "-E", _CLIENT, address(), *words]


def address() -> str:
    """Where the waiting process of this test process is asked; it is started at the first call and ends with us."""
    if not _address:
        name, (lifeline, kept) = f"\0millstream-tests-{os.getpid()}", os.pipe()
        os.set_inheritable(lifeline, True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with listener:
            listener.bind(name)
            listener.listen(64)
            os.set_inheritable(listener.fileno(), True)
            words = [sys.executable, _HERE, str(listener.fileno()), str(lifeline)]
            pid = os.posix_spawn(words[0], words, dict(os.environ))
            os.waitpid(pid, 0)  # it has left a process that is no child of ours
        os.close(lifeline)
        os.set_inheritable(kept, False)
        _address.append(name.replace("\0", "@"))
    return _address[0]


def _wait(listener: socket.socket, lifeline: int) -> None:
    """Fork for each that asks, until whoever started us is gone."""
    import select

    _load("cli", "client", "bus", "config", "flow", "login", "trust", "http")
    poll = select.poll()
    asked: dict[int, tuple[socket.socket, int]] = {}  # descriptor of the asking connection, or of its process -> both
    for descriptor in (listener.fileno(), lifeline):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        for descriptor in sorted(ready, key=listener.fileno().__eq__):  # who has ended is gone before another begins
            if descriptor == lifeline:
                for _, pid in asked.values():
                    os.kill(pid, signal.SIGKILL)
                return
            if descriptor == listener.fileno():
                connection = listener.accept()[0]
                if (pid := _fork(connection, listener, lifeline)) is None:
                    connection.close()
                    continue
                ended = os.pidfd_open(pid)
                asked[ended] = asked[connection.fileno()] = connection, pid
                poll.register(ended, select.POLLIN)
                poll.register(connection, select.POLLIN)
            elif descriptor in asked:
                connection, pid = asked[descriptor]
                if descriptor == connection.fileno():
                    _told(connection, pid, poll)
                    continue
                status = os.waitpid(pid, 0)[1]
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    while connection.recv(16):  # closed with something unread, it would take the status with it
                        pass
                with contextlib.suppress(OSError):
                    connection.send(str(status).encode())
                for one in (descriptor, connection.fileno()):
                    del asked[one]
                    with contextlib.suppress(KeyError):
                        poll.unregister(one)
                connection.close()
                os.close(descriptor)


def _load(*names: str) -> None:
    """Import them here, for all forks from now on."""
    import gc
    import importlib
    import pkgutil

    for name in names:
        package = importlib.import_module(f"millstream.{name}")
        for module in pkgutil.iter_modules(package.__path__):
            if module.name != "__main__":
                importlib.import_module(f"millstream.{name}.{module.name}")
    # Not pyarrow: it has a thread of its own, and a fork has only the thread that forks.
    assert len(os.listdir("/proc/self/task")) == 1
    gc.freeze()  # what is here now stays, and shared


def _told(connection: socket.socket, pid: int, poll: object) -> None:
    """A signal for the command; nothing more to read: whoever asked is gone, and the command with it."""
    said = connection.recv(16)
    os.kill(pid, int(said) if said else signal.SIGKILL)  # ours until it is waited for
    if not said:
        poll.unregister(connection)  # type: ignore[attr-defined]
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _fork(connection: socket.socket, *ours: socket.socket | int) -> int | None:
    """The process of a command; None when who asked for it has gone already."""
    try:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        words, folder, environment, umask = marshal.loads(message)
    except (OSError, ValueError, EOFError):
        return None
    if words and words[0] in NODES and "millstream.edge._node" not in sys.modules:
        _load("edge", "hub", "worker")  # at the first node: most processes of the tests start none
    if pid := os.fork():
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(3, 1024)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os.umask(umask)
        status = _run(words)
    finally:
        os._exit(status)


def _run(words: list[str]) -> int:
    import io
    import traceback

    from millstream.cli import main

    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding="utf-8", errors="backslashreplace",
        line_buffering=True,
    )  # fmt: skip
    sys.argv = ["millstream", *words]
    try:
        status = main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - as Python itself ends a program
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return status


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    os.setsid()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.path.pop(0)  # the tests' own modules
    _wait(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
