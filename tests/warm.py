"""Commands of `millstream` without the half second that Python takes to import them.

The tests run hundreds of commands that end at once. Here a process that has imported them all waits, and each command
is a fork of it: its own process with its own folder, environment, streams and exit status, which runs
`millstream.cli.main` as a fresh one would. Who asked is a process too, which passes signals on and ends as the fork
does; killed, it takes the fork with it. What a test asks the system about by its number is started afresh.

    words = warm.command("status", "--json")      # what to give to subprocess
    await Child.start("hub", ["hub", "-c", "hub.yaml"], folder, by=warm.command())      # a node
    words = warm.python("-m", "millstream.sim.opcua_plant", "--port", "0")      # what Python would be started with

The workers of flows are such forks, too: those of a node in the test's process and of one that is a fork. A node that
is started afresh (by the demo, by the torture) starts its workers so.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import socket
import sys
from collections.abc import Iterator

STARTED_AFRESH = ("demo", "torture", "sim", "top", "notify")  # they start other programs, or want a terminal
NODES = ("hub", "edge", "up")
WORKER = ("-m", "millstream.worker")
OPCUA_PLANT = "millstream.sim.opcua_plant"
_HERE = os.path.abspath(__file__)
_CLIENT = os.path.join(os.path.dirname(_HERE), "warm_client.py")
_address: list[str] = []


def command(*words: str) -> list[str]:
    """What runs this command line of `millstream`: by the waiting process where that makes no difference."""
    if words and words[0] in STARTED_AFRESH:
        return [sys.executable, "-m", "millstream", *words]
    return [sys.executable, "-S", "-E", _CLIENT, address(), *words]


def python(*words: str) -> list[str]:
    """What runs `python -m MODULE ...` or `python FILE ...`, of modules that import Millstream and little else.

    Its number is that of who asked for it: one that is to be stopped (SIGSTOP) is started afresh.
    """
    return [sys.executable, "-S", "-E", _CLIENT, address(), *words]


def settle() -> None:
    """Come back when whoever was killed is gone with all that it held: after `wait`, before a look at its files."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(address().replace("@", "\0"))
        socket.send_fds(connection, [marshal.dumps(([], "/", {}, 0))], [0, 1, 2])
        connection.recv(1)


class Worker:
    """What a node of the test's process starts each worker as; the waiting process is there at the first one."""

    def __iter__(self) -> Iterator[str]:
        return iter(_worker(address()))


def _worker(where: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", _CLIENT, where, *WORKER)


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
                if (pid := _fork(connection, listener)) is None:
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
    weak_keys()
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has only the thread that forks"
    gc.freeze()  # what is here now stays, and shared


def weak_keys() -> None:
    """Seal key stores at the least cost: each command of an operator spends a fifth of a second on the real one, twice.
    What a store was sealed at stands in it."""
    from nacl.pwhash import argon2id

    argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_INTERACTIVE = argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN


def _load_history() -> None:
    """What a node loads at its start to keep a history, without the thread that pyarrow would give its allocator."""
    import importlib

    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    for module in ("pyarrow.parquet", "pyarrow.compute", "duckdb"):
        importlib.import_module(module)
    assert len(os.listdir("/proc/self/task")) == 1


def _told(connection: socket.socket, pid: int, poll: object) -> None:
    """A signal for the command; nothing more to read: whoever asked is gone, and the command with it."""
    said = connection.recv(16)
    os.kill(pid, int(said) if said else signal.SIGKILL)  # ours until it is waited for
    if not said:
        poll.unregister(connection)  # type: ignore[attr-defined]
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _fork(connection: socket.socket, listener: socket.socket) -> int | None:
    """The process of a command; None when who asked for it has gone already."""
    try:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        words, folder, environment, umask = marshal.loads(message)
    except (OSError, ValueError, EOFError):
        return None
    if not words:  # `settle`
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    is_worker, is_python = tuple(words) == WORKER, words[0] == "-m" or words[0].endswith(".py")
    if (is_python or words[0] in (*NODES, "flow")) and "millstream.edge._node" not in sys.modules:
        _load("edge", "hub", "worker")  # at the first node: most processes of the tests start none
        _load_history()
    if is_python and not is_worker:
        _load_for(words)
    if pid := os.fork():
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    status, own = 70, f"@{listener.getsockname()[1:].decode()}"
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(3, 1024)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os.umask(umask)
        status = _run_worker() if is_worker else _run(words, own, is_python)
    finally:
        os._exit(status)


def _run_worker() -> int:
    import io

    from millstream.worker import _process

    # Its node is no parent of it here; it hears of its end as it does where there is no Linux, by its standard input.
    _process.die_with = lambda _: None  # type: ignore[assignment]
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.argv = list(WORKER)
    return _process.main()


def _load_for(words: list[str]) -> None:
    """What the module or file imports from here, for it and all after it."""
    import importlib

    with contextlib.suppress(ImportError):
        for module in ("historian", "historian._decode") if words[0] != "-m" else ():
            importlib.import_module(f"millstream.{module}")
        if words[0] == "-m":
            importlib.import_module(words[1])
            if words[1] == OPCUA_PLANT:
                _load_address_space()
    assert len(os.listdir("/proc/self/task")) == 1


def _load_address_space() -> None:
    """The nodes of the standard, which each OPC UA server would make anew in most of a second; a fork has its own."""
    import gc

    from asyncua.server.address_space import AddressSpace, NodeManagementService
    from asyncua.server.standard_address_space import standard_address_space as standard

    if standard.fill_address_space.__module__ == __name__:
        return
    nodes = AddressSpace()
    gc.disable()
    standard.fill_address_space(NodeManagementService(nodes))
    gc.freeze()
    gc.enable()

    def fill_address_space(service: NodeManagementService) -> None:
        for name in nodes.keys():  # noqa: SIM118 - it is no mapping
            service._aspace[name] = nodes[name]

    standard.fill_address_space = fill_address_space


def _python(words: list[str]) -> None:
    """As Python itself starts it."""
    import runpy

    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        sys.modules.pop(words[1], None)  # it runs from its first line, as if it had not been imported yet
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        sys.path.insert(0, os.path.dirname(words[0]))
        runpy.run_path(words[0], run_name="__main__")


def _run(words: list[str], own: str, is_python: bool) -> int:
    import io
    import traceback

    from millstream.cli import main

    if words[0] in NODES or words[0].endswith(".py"):  # a module may look at its workers by their numbers
        from millstream.worker import _supervisor

        _supervisor.PROGRAM = _worker(own)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding="utf-8", errors="backslashreplace",
        line_buffering=True,
    )  # fmt: skip
    try:
        if is_python:
            _python(words)
            status = 0
        else:
            sys.argv = ["millstream", *words]
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
