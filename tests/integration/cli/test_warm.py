"""The process that runs commands for the tests makes no difference: streams, folder, environment, signals, status."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import warm
from millstream.rig import Child

EDGE = "edge: {name: e1, path: acme/plant1, data_dir: data}\n"


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        warm.command(*words), cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_a_command_is_as_one_started_afresh(tmp_path: Path) -> None:
    """Both streams, the exit status, the folder and the environment."""
    (tmp_path / "wrong.yaml").write_text("edge: 7\n", encoding="utf-8")
    for words, status in ((["check", "wrong.yaml"], 6), (["nonsense"], 2), (["explain", "MS-0100"], 0)):
        for environment in ({}, {"NO_COLOR": "1", "COLUMNS": "40"}):
            warm_one = run(*words, cwd=tmp_path, **environment)
            fresh = subprocess.run(
                [sys.executable, "-m", "millstream", *words], cwd=tmp_path, env={**os.environ, **environment},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert warm_one.returncode == fresh.returncode == status, (words, warm_one.stderr, fresh.stderr)
            assert (warm_one.stdout, warm_one.stderr) == (fresh.stdout, fresh.stderr)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_reaches_the_command(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """One that waits for a server which never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"nats://127.0.0.1:{server.getsockname()[1]}"
        words = warm.command("get", "acme/x:y", "--url", url, "--timeout", "600")
        with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE) as process, server.accept()[0]:
            for _ in range(60):  # asyncio 3.11 can lose the first: the cancelled wait ended in the same moment
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                    break
            assert process.returncode == status


def test_what_starts_other_programs_is_started_afresh() -> None:
    assert warm.command("sim", "run", "modbus") == [sys.executable, "-m", "millstream", "sim", "run", "modbus"]


def test_a_file_and_a_module_run_as_python_runs_them(tmp_path: Path) -> None:
    """Own words, neighbours, name, status; killed, they have let go of what they held when `settle` is back."""
    (tmp_path / "near.py").write_text("import fcntl, sys\n")
    (tmp_path / "far.py").write_text(
        "import near\nfile = open(near.sys.argv[1], 'a')\nnear.fcntl.flock(file, near.fcntl.LOCK_EX)\n"
        "print(__name__, flush=True)\nnear.sys.exit(int(input()))\n"
    )
    words = warm.python(str(tmp_path / "far.py"), str(tmp_path / "held"))
    for said in (b"3\n", None):
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"__main__\n"
            if said is not None:
                process.communicate(said)
                assert process.returncode == 3
            process.kill()
            process.wait()
    warm.settle()
    with (tmp_path / "held").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    done = subprocess.run(warm.python("-m", "millstream", "--version"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[0].isdecimal()) == (0, True), done.stderr


def runs(pid: int) -> bool:
    """What is gone may wait for a moment until somebody takes its status."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def test_a_node_is_as_one_started_afresh(tmp_path: Path) -> None:
    """What it says, what it leaves and how it ends; and with whoever asked for it killed, it is gone at once."""
    (tmp_path / "edge.yaml").write_text(EDGE, encoding="utf-8")
    note, ends = tmp_path / "data" / "node.json", []
    for way, by, end in (
        ("fork", warm.command(), signal.SIGTERM),
        ("fresh", [sys.executable, "-m", "millstream"], signal.SIGTERM),
        ("killed", warm.command(), signal.SIGKILL),
    ):
        note.unlink(missing_ok=True)
        edge = await Child.start(way, ["edge", "-c", "edge.yaml", "--json"], tmp_path, by=by)
        found = await edge.wait_file(note)
        async with asyncio.timeout(60):
            while "edge is up" not in edge.log.read_text(encoding="utf-8"):
                await asyncio.sleep(0.02)
        edge.signal(end)
        await edge.stop()
        async with asyncio.timeout(60):  # killed, it has let go of its streams before it is gone
            while runs(found["pid"]):
                await asyncio.sleep(0.01)
        assert edge.process.returncode == (-end if end == signal.SIGKILL else 0)
        log = [json.loads(line) for line in edge.log.read_text(encoding="utf-8").splitlines()]
        told = {line["event"] for line in log if line["level"] == "info"}  # a slow disk or processor may warn in one
        ends.append((told, {**found, "pid": None}))
    fork, fresh, killed = ends
    assert fork == fresh  # to the port and the password, which the first one has left
    assert (fresh[0] - killed[0], killed[1]) == ({"e1: edge stops"}, fresh[1])
