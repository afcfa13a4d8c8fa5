"""What the tests of pages share: the code in a page, its commands in a shell, and programs that run beside them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import warm
from millstream.config import InstalledConnectors, load_edge
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import free_port

ROOT = Path(__file__).resolve().parents[2]
UP_TIMEOUT_S = 150
AFRESH = "|".join(warm.STARTED_AFRESH)
SIM_PORTS = {"opcua": 4840, "modbus": 5020, "mtconnect": 7878}  # what the examples name


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code of a page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def check_flows(page: Path, folder: Path, names: Sequence[str]) -> None:
    """The first YAML of the page is the flows of an edge, and sound."""
    file = folder / "edge.yaml"
    file.write_text(f"edge: {{name: e1, path: acme/plant1, data_dir: d}}\n{blocks(page, 'yaml')[0]}", encoding="utf-8")
    config, findings = load_edge(file, InstalledConnectors(), FLOW_TYPES)
    assert findings == []
    assert config is not None
    assert [flow.name for flow in config.flows] == list(names)


def evaluation_of(page: Path) -> tuple[list[str], list[str]]:
    """Write the page's second YAML, which has a name, into the folder that this process is in. Gives the words of the
    two commands: of what makes the series, and of what evaluates them."""
    name, _, text = blocks(page, "yaml")[1].partition("\n")
    file = Path(name.removeprefix("# "))
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    made, evaluated = (line.split() for line in blocks(page, "sh")[0].splitlines())
    return made, evaluated


def is_table_of(page: Path, said: str) -> bool:
    """Whether this is the page's first text, but for the width of its columns."""
    return [line.split() for line in said.splitlines()] == [
        line.split() for line in blocks(page, "text")[0].splitlines()
    ]


def lay_out(page: Path, root: Path) -> None:
    """Write the files of a page: the blocks that begin with their name."""
    for block in [*blocks(page, "yaml"), *blocks(page, "json")]:
        if name := re.match(r"# (\S+\.\w+)\n", block):
            file = root / name.group(1)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block[name.end() :], encoding="utf-8")


def commands(block: str) -> list[str]:
    """The commands of a block, without comments."""
    lines = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in block.splitlines())
    return [line for line in lines if line]


def checkout(folder: Path) -> Path:
    """A folder that looks like the repository after `make setup`, with the programs of this test's environment."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    bin_folder = folder / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "activate").write_text(f'PATH="{bin_folder}:$PATH"\n', encoding="utf-8")
    shims = {  # as an activated environment would have them
        "python": f'exec "{sys.executable}" "$@"\n',
        "millstream": f'case "$1" in {AFRESH}) exec "{sys.executable}" -m millstream "$@";; esac\n'
        f'exec {shlex.join(warm.command())} "$@"\n',
    }
    for name, text in shims.items():
        shim = bin_folder / name
        shim.write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
        shim.chmod(0o755)
    return folder


def environment(root: Path) -> dict[str, str]:
    """That of a person with a fresh terminal in the activated environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
    return {**kept, "PATH": f"{root / '.venv' / 'bin'}:{os.environ['PATH']}", "NO_COLOR": "1"}


def shell(root: Path, cwd: Path, text: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run commands as a person would."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=cwd,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Terminal:
    """A person in a checkout, with a free port for each fixed one of the page."""

    def __init__(self, root: Path, *fixed: str) -> None:
        self.root = root
        self._ports = {port: str(free_port()) for port in fixed}

    def with_ports(self, text: str) -> str:
        """The text as it stands on this machine."""
        for fixed, free in self._ports.items():
            text = text.replace(fixed, free)
        return text

    async def run(self, text: str) -> str:
        """Run commands; what they print. They have to succeed."""
        done = await asyncio.to_thread(shell, self.root, self.root, self.with_ports(text))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def use_ports(file: Path, ports: Mapping[int, int]) -> None:
    """Put free ports in the place of the fixed ones of an example."""
    text = file.read_text(encoding="utf-8")
    for fixed, free in ports.items():
        text = re.sub(rf"\b{fixed}\b", str(free), text)
    file.write_text(text, encoding="utf-8")


@asynccontextmanager
async def beside(root: Path, cwd: Path, line: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that goes on until it is interrupted, as by Ctrl-C in its own terminal; it must end with 0."""
    with (cwd / "beside.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", f"exec {line}", cwd=cwd, env=environment(root), start_new_session=True,
            stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            async with asyncio.timeout(UP_TIMEOUT_S):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
    said = (cwd / "beside.log").read_text(encoding="utf-8")
    assert process.returncode == 0, f"{line}: {said}"
    assert "Traceback" not in said, said


async def first_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """What a simulated device says once it is ready."""
    assert process.stdout is not None
    return dict(json.loads(await asyncio.wait_for(process.stdout.readline(), UP_TIMEOUT_S)))


@asynccontextmanager
async def simulated_plant(
    root: Path, cwd: Path, line: str = "python -m millstream.sim"
) -> AsyncIterator[dict[int, int]]:
    """The simulated plant on free ports; gives them by the ports that the examples name."""
    free = " ".join(f"--{name}-port 0" for name in SIM_PORTS)
    async with beside(root, cwd, f"{line} {free}") as process:
        ready = await first_line(process)
        yield {SIM_PORTS[name]: port for name, port in ready.items()}


async def node_json(data_dir: Path) -> dict[str, Any]:
    """What a node says of itself once it is up."""
    async with asyncio.timeout(UP_TIMEOUT_S):
        while not (data_dir / "node.json").is_file():
            await asyncio.sleep(0.05)
    return dict(json.loads((data_dir / "node.json").read_text(encoding="utf-8")))


async def until_done(root: Path, cwd: Path, text: str, lines_min: int = 0) -> str:
    """Run commands again until they succeed and say so much (what was just stored takes a moment); gives standard
    output."""
    try:
        async with asyncio.timeout(UP_TIMEOUT_S):
            while True:
                said = await asyncio.to_thread(shell, root, cwd, text)
                if said.returncode == 0 and len(said.stdout.splitlines()) >= lines_min:
                    break
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{text}: {said.stdout}{said.stderr}") from None
    return said.stdout


async def all_tags(root: Path, cwd: Path, count: int) -> list[str]:
    """The paths of the namespace, as soon as so many have a value."""
    async with asyncio.timeout(UP_TIMEOUT_S):
        while True:
            said = await asyncio.to_thread(shell, root, cwd, "millstream tree --json")
            found = json.loads(said.stdout)["tags"] if said.returncode == 0 else []
            tags = [entry["path"] for entry in found if entry["kind"] == "tag"]  # servers tell events beside them
            if len(tags) >= count:
                return tags
            await asyncio.sleep(0.2)
