"""How long a site does not collect while another version of Millstream is started at it, and while it goes back.

Everything is real but the device: a hub, an edge as a service starts it, a release of this source under another
version, and a Modbus device (simulated, loopback) that is read ten times a second. The edge is told `update` at the
hub; the gap is between the last sample that the one version stored and the first of the other, by their own times, less
the time between two samples.
"""

from __future__ import annotations

import csv
import io
import itertools
import tomllib
import zipfile
from pathlib import Path

import pyarrow.compute as pc

import millstream
from bench._nodes import open_rig, poll
from bench._report import Row, digest
from bench.fleet._plant import hub_document, secret_of, site_name
from millstream.client import Plant, connect
from millstream.release import pack

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "millstream"
VERSION = "99.0.0"
EVERY_MS = 100
SETTLE_SAMPLES = 30
UPDATE_S_MAX = 600.0
LEFT_OUT = ("api/console/", "api/docs/")  # files of the browser: nothing that an edge without an API reads


async def update_rows() -> list[Row]:
    """To the other version, and back to the installed one."""
    async with open_rig() as rig:
        device = await rig.start("device", ["bench.connectors._devices", "modbus", "1", "0"])
        await device.wait_ready()
        _, node = await rig.start_node("hub", hub_document(rig.folder, 1))
        name = site_name(0)
        await rig.start_node("edge", {
            "edge": {"name": name, "path": f"acme/{name}", "data_dir": str(rig.folder / "edge")},
            "uplink": {
                "url": f"nats://127.0.0.1:{node['leaf_port']}", "secret": {"file": str(secret_of(rig.folder, name))},
            },
            "connectors": [{
                "name": "device", "path": "device", "type": "modbus", "sampling_interval": f"{EVERY_MS}ms",
                "config": {"host": "127.0.0.1", "port": device.ready["port"]},
                "tags": [{"name": "r0", "address": "holding:0:uint16"}],
            }],
        })  # fmt: skip
        release = rig.folder / "millstream.release"
        pack([_wheel(rig.folder)], release)
        async with connect(node=rig.folder / "hub") as plant:
            code = await plant.configs.code.push(release.read_bytes(), release.name, author="bench")
            return [
                await _switch(plant, name, code.digest, "to another version"),
                await _switch(plant, name, "installed", "back to the installed one"),
            ]


async def _switch(plant: Plant, name: str, package: str, what: str) -> Row:
    begun = first = len(await _times_ms(plant))

    async def are_more() -> bool:
        return len(await _times_ms(plant)) >= begun + SETTLE_SAMPLES

    await poll(are_more, timeout_s=60, what="values of the device")
    id = await plant.commands.send("update", {"package": package}, nodes=[name])
    (found,) = await plant.commands.wait(id, timeout_s=UPDATE_S_MAX)
    assert found.state == "done", found
    begun = len(await _times_ms(plant))
    await poll(are_more, timeout_s=60, what="values of the device behind the update")
    times_ms = (await _times_ms(plant))[first:]
    gap_s = (max(later - before for before, later in itertools.pairwise(times_ms)) - EVERY_MS) / 1e3
    note = f"a Modbus device that is read each {EVERY_MS} ms; a device or stream that can be rewound loses nothing"
    return Row(
        f"update {what}: gap in collecting", f"{gap_s:.1f} s", note=note, result_hash=digest([1]),
        details={"gap_s": gap_s, "result": dict(found.result or {})},
    )  # fmt: skip


async def _times_ms(plant: Plant) -> list[int]:
    """Of all samples that the edge holds, in order."""
    table = await plant.fleet.data("acme/**:r0", last="1h", deadline=60).table()
    if not len(table):
        return []
    return sorted(pc.divide(pc.cast(table["timestamp"], "int64"), 1_000_000).to_pylist())


def _wheel(folder: Path) -> Path:
    """This source under another version."""
    path, info = folder / f"millstream-{VERSION}-py3-none-any.whl", f"millstream-{VERSION}.dist-info"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    record = io.StringIO()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(SOURCE.rglob("*")):
            name = file.relative_to(SOURCE).as_posix()
            if not file.is_file() or "__pycache__" in name or name.startswith(LEFT_OUT):
                continue
            data = file.read_bytes()
            if name == "__init__.py":
                data = data.replace(millstream.__version__.encode(), VERSION.encode())
            out.writestr(f"millstream/{name}", data)
            csv.writer(record).writerow((f"millstream/{name}", "", ""))
        needed = "".join(f"Requires-Dist: {need}\n" for need in project["dependencies"])
        head = f"Metadata-Version: 2.1\nName: millstream\nVersion: {VERSION}\n"
        out.writestr(f"{info}/METADATA", f"{head}Requires-Python: {project['requires-python']}\n{needed}\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        groups = {f"[{name}]": entries for name, entries in project["entry-points"].items()}
        lines = [line for name, e in groups.items() for line in (name, *(f"{k} = {v}" for k, v in e.items()))]
        out.writestr(f"{info}/entry_points.txt", "\n".join(lines) + "\n")
        out.writestr(f"{info}/RECORD", record.getvalue())
    return path
