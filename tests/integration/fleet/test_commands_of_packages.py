"""A command of a package that pip has installed: found by its entry point, as at a box."""

from __future__ import annotations

import asyncio
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from fleet_site import site

from millstream.rig import Child, write_document

CODE = """
class ZeroScale:
    description = "Set a scale to zero."
    schema = {
        "type": "object", "required": ["scale"], "additionalProperties": False,
        "properties": {"scale": {"type": "integer", "minimum": 1, "maximum": 8}},
    }
    time_limit_s = 30.0
    is_cancellable = True

    async def run(self, args, context):
        return {"zeroed": args["scale"], "by": context.who}
"""


async def installed(folder: Path) -> Path:
    """The package, in a folder of its own: a wheel that pip takes apart, with what it notes of it."""
    wheel, info = folder / "acme_scales-1.0-py3-none-any.whl", "acme_scales-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("acme_scales.py", CODE)
        out.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: acme-scales\nVersion: 1.0\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/entry_points.txt", "[millstream.commands]\nzero_scale = acme_scales:ZeroScale\n")
        out.writestr(f"{info}/RECORD", "acme_scales.py,,\n")
    words = ["install", "--quiet", "--no-index", "--no-deps", "--target", str(folder / "packages"), str(wheel)]
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull}
    pip = await asyncio.create_subprocess_exec(sys.executable, "-m", "pip", *words, env=env)
    assert await pip.wait() == 0
    return folder / "packages"


async def test_an_installed_package_offers_a_command_and_carries_it_out(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", str(await installed(tmp_path)))
    async with site(tmp_path, ["e1"]) as made:
        write_document(tmp_path / "edge.yaml", {
            "edge": {"name": "e1", "path": "acme/e1", "data_dir": "e1"},
            "uplink": {"url": f"nats://127.0.0.1:{made.leaf_port}", "secret": {"file": str(made.secret("e1"))}},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
        })  # fmt: skip
        edge = await Child.start("edge", ["millstream", "edge", "-c", "edge.yaml"], tmp_path)
        try:
            await edge.wait_file(tmp_path / "e1" / "node.json")
            async with made.plant() as plant:
                for scale, state, result in ((2, "done", {"zeroed": 2, "by": "ada"}), (9, "refused", None)):
                    id = await plant.commands.send("zero_scale", {"scale": scale}, nodes=["e1"], who="ada")
                    (found,) = await plant.commands.wait(id, timeout_s=60)
                    assert (found.state, found.result) == (state, result), found
                run = plant.fleet.query("'zero_scale' in commands", select=["command_types.zero_scale"])
                (facts,) = [match.facts async for match in run]
            assert facts["command_types"]["zero_scale"]["schema"]["properties"]["scale"]["maximum"] == 8
        finally:
            await edge.stop()
