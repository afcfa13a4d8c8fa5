"""Fixtures for all tests: foreign programs by name, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import peers  # lives in tools/, which is no package
from lanes import arrange  # beside this file
from millstream.kernel import calm_collector
from warm import weak_keys

weak_keys()

# What an example may take is no property of the code on a machine that others use too.
hypothesis.settings.register_profile(
    "millstream", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("millstream")

# Who starts the tests in the background may have interrupts ignored, and what they start would inherit that; the tests
# interrupt some of it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GONE_S = 15.0  # what ends "a moment later" on a machine under load
_HAS_FAILED = pytest.StashKey[bool]()
_MISSING: set[str] = set()
T = TypeVar("T")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A missing foreign program skips the test and is listed; with CI=true it fails it. A missing right only skips it:
    no installation brings that."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if not peers.is_present(name):
                _MISSING.add(name)
                if os.environ.get("CI") == "true" and name not in peers.RIGHTS:
                    pytest.fail(f"missing on this machine: {name} (CI installs it with tools/peers.py)", pytrace=False)
                pytest.skip(f"missing on this machine: {name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was missing by name."""
    for name in sorted(_MISSING):
        kind, remedy = ("right", "") if name in peers.RIGHTS else ("foreign program", " (make peers)")
        terminalreporter.write_line(f"missing {kind}: {name}{remedy}")


def _children() -> set[int]:
    own = list(Path("/proc/self/task").glob("*/children"))
    if own and not any(_text(file) for file in own):  # thousands of tests start none: 0.05 ms instead of a look at all
        return set()
    return {process.pid for process in psutil.Process().children(recursive=True) if _is_alive(process)}


def _is_alive(process: psutil.Process) -> bool:
    """A server's own children come and go while they are looked at."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _sockets() -> int:
    return sum(
        1
        for fd in Path("/proc/self/fd").iterdir()
        if (target := _readlink(fd)) is not None and target.startswith("socket:")
    )


def _sockets_above(count: int) -> set[int]:
    """What is more than `count`, after a look for cycles: a thread that ends late may hold one until then."""
    gc.collect()
    return set(range(max(0, _sockets() - count)))


def _text(path: Path) -> str:
    """Of a thread that may have ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _readlink(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which tests have failed: what those leave is no second failure."""
    report = yield
    item.stash[_HAS_FAILED] = item.stash.get(_HAS_FAILED, False) or report.failed
    return report


def pytest_runtest_logfinish() -> None:
    """What a failed test did not close is collected here, quietly, and not as a warning inside a test after it."""
    if hasattr(sys, "last_value"):
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            if hasattr(sys, name):
                delattr(sys, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a process, a thread or a socket. Tasks: `no_task_left_behind`.

    Fixtures of wider scope keep theirs, because what was there before the test does not count. A test that has failed
    is not asked: its traceback holds sockets, and its servers are ended here.
    """
    processes, threads, sockets = _children(), set(threading.enumerate()), _sockets()
    mask = os.umask(0o022)
    os.umask(mask)
    yield
    os.umask(
        mask
    )  # a node that a test runs in this process keeps its files to itself, and so would every test after it
    if request.node.stash.get(_HAS_FAILED, False):
        _end(_children() - processes)
        return
    left = _wait_gone(lambda: _children() - processes)
    assert not left, (
        f"processes left behind: {[psutil.Process(pid).cmdline() for pid in left if psutil.pid_exists(pid)]}"
    )
    alive = _wait_gone(
        lambda: {
            t
            for t in set(threading.enumerate()) - threads
            if t.is_alive() and not t.daemon and "asyncio_" not in t.name
        }
    )
    assert not alive, f"threads left behind: {alive}"
    if _sockets() > sockets:
        assert not _wait_gone(lambda: _sockets_above(sockets)), "sockets left behind"


def _end(pids: set[int]) -> None:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
            found[-1].kill()
    psutil.wait_procs(found, timeout=GONE_S)


def _wait_gone(find: Callable[[], set[T]]) -> set[T]:
    deadline = time.monotonic() + GONE_S
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture
async def no_task_left_behind(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail an asynchronous test that leaves a task running on its loop (given to each such test at collection)."""
    before = asyncio.all_tasks()
    yield
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GONE_S
    while (left := _tasks_since(before)) and loop.time() < deadline:
        await asyncio.sleep(0.01)
    assert not left or request.node.stash.get(_HAS_FAILED, False), f"tasks left behind: {left}"


def _tasks_since(before: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() - before if not task.done()} - {asyncio.current_task()}  # type: ignore[arg-type]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What thousands of tests are made of stays until the end: nothing looks for garbage in it, now or ever again. What
    comes later is looked through as rarely as in a node."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        calm_collector()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders stay together and the quick tests come last (`lanes`); every asynchronous one gets the task check."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = [items[index] for index in arrange([item.nodeid for item in items], workers)]
    for item in items:
        function = getattr(item, "function", None)
        if function is not None and inspect.iscoroutinefunction(function):
            item.fixturenames.insert(0, "no_task_left_behind")  # type: ignore[attr-defined]
