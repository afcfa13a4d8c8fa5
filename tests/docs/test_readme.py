"""The README is true: its commands and code run as a newcomer would run them, and what it points at is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import (
    ROOT,
    all_tags,
    beside,
    blocks,
    checkout,
    commands,
    environment,
    node_json,
    shell,
    simulated_plant,
    until_done,
    use_ports,
)

README = ROOT / "README.md"
SHELL = blocks(README, "sh")
MAKE, PREPARE, SIMULATE, RUN, LOOK, OWN = SHELL
ENDLESS = ("millstream tail",)
INTERRUPTED = 130
HANDED_DOWN = ("MFLAGS", "ARGS", "JOBS", "PYTHON")  # by the `make test` that runs this


def test_every_make_target_of_the_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README.read_text(encoding="utf-8")))
    assert {"demo", "test", "setup", "bench"} <= named <= targets


def recipe(line: str) -> str:
    """What make would run for a line of the page, on a machine where everything is set up; the last command of it."""
    words = line.replace("make ", f"make --no-print-directory -C {ROOT} -n -o .venv/.runtime -o .venv/.dev ", 1)
    said = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True, env=without_make())
    return said.stdout.strip().splitlines()[-1]


def without_make() -> dict[str, str]:
    """The environment without what `make test` itself hands down."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name not in HANDED_DOWN
    }


def test_make_hands_the_arguments_to_the_program() -> None:
    demo, with_arguments, test = commands(MAKE)
    assert recipe(demo) == ".venv/bin/millstream demo"
    assert recipe(with_arguments) == ".venv/bin/millstream demo --for 30s --cut 8s --json"
    assert recipe(test).startswith(".venv/bin/python tools/run_tests.py -n ")


async def test_a_newcomer_gets_from_the_copy_to_the_ledger(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    said = await asyncio.to_thread(shell, root, root, PREPARE.replace("make setup\n", "") + "pwd\n")
    assert said.returncode == 0, said.stderr
    plant = Path(said.stdout.splitlines()[-1])
    assert "no errors" in said.stderr
    async with simulated_plant(root, plant, *commands(SIMULATE)) as ports:
        use_ports(plant / "up.yaml", {**ports, 4222: 0, 1883: 0})
        async with beside(root, plant, *commands(RUN)):
            await node_json(plant / "data" / "edge")
            await all_tags(root, plant, 10)
            for line in commands(LOOK):
                await look(root, plant, line)
            for block in blocks(README, "python"):
                (plant / "page.py").write_text(block, encoding="utf-8")
                out = await until_done(root, plant, "python page.py")
                assert "rows of Arrow" in out
            for line in commands(OWN):
                await until_done(root, plant, line)
            assert "counter_000" in (plant / "found.yaml").read_text(encoding="utf-8")
            assert_private(plant / "data")


async def look(root: Path, plant: Path, line: str) -> None:
    """One command of the page: it ends with 0 and says something, or goes on saying something until it is stopped."""
    if not line.startswith(ENDLESS):
        assert (await until_done(root, plant, line)) or line.endswith("doctor"), line
        return
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec {line}", cwd=plant, env=environment(root), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"acme/plant1" in await asyncio.wait_for(process.stdout.readline(), 60)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == INTERRUPTED


def assert_private(data: Path) -> None:
    """What a node keeps is its user's own: samples, passwords and logs alike."""
    bare = []
    for path in data.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the nodes run, and their files come and go
            bare += [path] if path.stat(follow_symlinks=False).st_mode & 0o077 else []
    assert bare == []


def local_links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return [link for link in found if "://" not in link]


PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("README.md")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [link for link in local_links(page) if not (page.parent / link).exists()] == []


def test_the_proofs_that_the_status_names_exist() -> None:
    named = re.findall(r"`(tests/[^`]+)`", README.read_text(encoding="utf-8"))
    assert len(named) >= 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_index_of_the_docs_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in local_links(index)}
    pages = {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {index.resolve()}
    assert {str(page.relative_to(ROOT)) for page in pages - linked} == set()


def test_the_picture_is_well_formed_and_described() -> None:
    picture = xml.etree.ElementTree.parse(ROOT / "docs" / "data-path.svg").getroot()
    assert picture.get("viewBox")
    assert "ledger" in (picture.findtext("{http://www.w3.org/2000/svg}desc") or "")
