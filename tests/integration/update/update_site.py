"""An edge as a process, started as a service would do it, and other versions of it: wheels of this source."""

from __future__ import annotations

import asyncio
import csv
import io
import sys
import tomllib
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millstream import __version__
from millstream.client import NodeCommand, connect
from millstream.config import HubConfig
from millstream.hub import HubNode
from millstream.kernel import PlantError
from millstream.release import Choice, ChoiceFile, pack
from millstream.rig import Child, write_document

HERE = Path(__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src" / "millstream"
DEADLINE_S = 90.0


def wheel(folder: Path, version: str, changes: Mapping[str, tuple[str, str]] | None = None, needs: str = "") -> Path:
    """This source as a wheel of that version. `changes`: in a file, a text for another."""
    folder.mkdir(exist_ok=True)
    path, info = folder / f"millstream-{version}-py3-none-any.whl", f"millstream-{version}.dist-info"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    every = {"__init__.py": (f'__version__ = "{__version__}"', f'__version__ = "{version}"'), **(changes or {})}
    record = io.StringIO()
    with zipfile.ZipFile(path, "w") as out:
        for file in sorted(SOURCE.rglob("*")):
            name = file.relative_to(SOURCE).as_posix()
            if not file.is_file() or "__pycache__" in name or name.startswith(("api/console/", "api/docs/")):
                continue
            data = file.read_bytes()
            if name in every:
                old, new = every[name]
                assert old.encode() in data, f"{name} has no {old}"
                data = data.replace(old.encode(), new.encode())
            out.writestr(f"millstream/{name}", data)
            csv.writer(record).writerow((f"millstream/{name}", "", ""))
        needed = "".join(f"Requires-Dist: {need}\n" for need in [*project["dependencies"], *([needs] if needs else [])])
        head = f"Metadata-Version: 2.1\nName: millstream\nVersion: {version}\n"
        out.writestr(f"{info}/METADATA", f"{head}Requires-Python: {project['requires-python']}\n{needed}\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        groups = {f"[{name}]": entries for name, entries in project["entry-points"].items()}
        lines = [line for name, e in groups.items() for line in (name, *(f"{k} = {v}" for k, v in e.items()))]
        out.writestr(f"{info}/entry_points.txt", "\n".join(lines) + "\n")
        out.writestr(f"{info}/RECORD", record.getvalue())
    return path


def release(folder: Path, version: str, changes: Mapping[str, tuple[str, str]] | None = None, needs: str = "") -> Path:
    """The same as a release."""
    target = folder / f"millstream-{version}.release"
    pack([wheel(folder / "wheels", version, changes, needs)], target)
    return target


@dataclass
class Site:
    """A hub in this process, an edge beside it that is started as often as it ends, as by a service."""

    folder: Path
    hub: HubNode
    edge: Child | None = None
    starts: list[int] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.folder / "edge"

    def choice(self) -> Choice | None:
        return ChoiceFile(self.data_dir).read()

    def kill_at(self, *points: str) -> None:
        """At each of these, one after the other; see `edge_killed`."""
        (self.folder / "KILL_AT").write_text(" ".join(points), encoding="utf-8")

    async def start(self) -> None:
        listener = self.hub.server.settings.leaf_listener
        assert listener is not None
        secret = self.folder / "hub" / "secrets" / "edges" / "e1"
        document = {
            "edge": {"name": "e1", "path": "acme/e1", "data_dir": "edge"},
            "uplink": {"url": f"nats://127.0.0.1:{listener.port}", "secret": {"file": str(secret)}},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
        }
        write_document(self.folder / "edge.yaml", document)
        by = [sys.executable, str(HERE / "edge_killed.py")]
        self.edge = await Child.start("edge", ["edge", "-c", "edge.yaml"], self.folder, by=by)
        self.starts.append(self.edge.process.pid)

    async def push(self, file: Path, signer: Any = None) -> str:
        async with connect(self.folder / "hub") as plant:
            plant.configs.signer = signer
            return (await plant.configs.code.push(file.read_bytes(), file.name, author="ada")).digest

    async def send(self, package: str, **args: Any) -> str:
        async with connect(self.folder / "hub") as plant:
            given = {"package": package, "healthy_within": "20s", **args}
            return await plant.commands.send("update", given, nodes=["e1"])

    async def over(self, id: str) -> NodeCommand:
        """How it ended; the edge is started again whenever it has ended meanwhile."""
        async with connect(self.folder / "hub") as plant:
            waiting = asyncio.ensure_future(plant.commands.wait(id, timeout_s=DEADLINE_S))
            while not waiting.done():
                await self.kept()
                await asyncio.wait([waiting], timeout=0.1)
            (found,) = waiting.result()
        return found

    async def kept(self) -> None:
        """Start the edge again if it has ended."""
        assert self.edge is not None
        if self.edge.process.returncode is not None:
            await self.edge.stop()
            await self.start()

    async def version(self) -> str:
        """Of the edge that runs, as it says itself."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                await self.kept()
                try:
                    async with connect(self.data_dir) as plant:
                        return str((await plant.status())[0]["version"])
                except PlantError:
                    await asyncio.sleep(0.1)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """A hub, and an edge that runs."""
    raw = {
        "hub": {"name": "h1", "data_dir": folder / "hub"}, "streams": {"max_bytes": "64MiB"},
        "edges": [{"name": "e1", "path": "acme/e1"}], "historian": None,
    }  # fmt: skip
    async with HubNode(HubConfig.model_validate(raw)) as hub:
        task = asyncio.ensure_future(hub.run())
        made = Site(folder, hub)
        try:
            await made.start()
            assert made.edge is not None
            await made.edge.wait_file(folder / "edge" / "node.json")
            yield made
        finally:
            if made.edge is not None:
                await made.edge.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
