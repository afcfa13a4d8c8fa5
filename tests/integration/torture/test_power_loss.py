"""The power is cut under real processes: what was acknowledged is there, and what was not synced is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.torture._disk import PowerCutDisk, why_no_power_cut

IMPOSSIBLE = why_no_power_cut()
needs_power = pytest.mark.skipif(IMPOSSIBLE is not None, reason=f"the power cannot be cut here: {IMPOSSIBLE}")


@needs_power
async def test_only_what_was_synced_survives_a_power_cut(tmp_path: Path) -> None:
    async with PowerCutDisk(tmp_path) as disk:
        for name in ("synced", "lazy"):
            with (disk.path / name).open("wb") as stream:
                stream.write(b"x" * 100_000)
                if name == "synced":
                    stream.flush()
                    os.fsync(stream.fileno())
        disk.cut()
        with pytest.raises(OSError):
            (disk.path / "later").write_bytes(b"x")
        await disk.restore()
        found = {path.name: path.stat().st_size for path in disk.path.iterdir() if path.is_file()}
        assert found.get("synced") == 100_000
        assert found.get("lazy", 0) == 0
    assert not disk.path.is_mount()


@needs_power
def test_integrity_keeps_all_where_the_lazy_ways_lose(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "millstream", "torture", "power", "--cuts", "2", "--seed", "7", "--json"]
    folder = tmp_path / "run"
    done = subprocess.run([*command, "--keep", str(folder)], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["parts_true"] > 50
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["is_control_failing"] is True
    lazy = next(s for s in report["services"] if "lazily" in s["service"])
    assert lazy["lost"] > 0
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    assert str(folder) not in mounts


def test_a_machine_that_cannot_cut_the_power_says_why(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    code = (
        "import os, sys; os.geteuid = lambda: 1000\n"
        "from millstream.cli import main; sys.exit(main(['torture', 'power', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "MS-0691" in done.stderr
    assert "needs root" in done.stderr
