"""`millstream torture` on real processes, with short seeds. Seeds that once found something stand here for good."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from millstream.torture._network import why_no_packet_loss

NO_LOSS = why_no_packet_loss()


def torture(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "millstream", "torture", "--json", "--keep", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_every_part_is_counted_once_through_kills_cuts_and_repetitions(tmp_path: Path) -> None:
    status, report, text = torture(tmp_path / "run", "--for", "10s", "--seed", "7", "--faults", "kill,cut,duplicate")
    assert status == 0, text
    assert report["seed"] == 7
    assert report["parts_true"] == report["parts_counted"] > 30
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["faults"]["kill"] >= 1
    assert report["faults"]["cut"] >= 1
    assert report["recovery_s_p99"] is not None
    assert report["resent_by_devices"] > 0
    assert report["is_at_rest"] is True


def test_all_faults_together_come_to_rest(tmp_path: Path) -> None:
    """Seed 34 once filled a store so that it could never be trimmed again."""
    for time in ("20s", "60s", "180s"):  # a machine under load comes to fewer faults in the same time
        status, report, text = torture(tmp_path / time, "--for", time, "--seed", "34")
        assert status == 0, text
        assert report["is_at_rest"] is True
        if "full" in report["faults"]:
            return
    raise AssertionError(f"no store was filled: {report['faults']}")


@pytest.mark.skipif(NO_LOSS is not None, reason=f"no packets can be dropped here: {NO_LOSS}")
def test_lost_packets_stay_in_a_network_of_our_own(tmp_path: Path) -> None:
    status, report, text = torture(tmp_path / "run", "--for", "6s", "--seed", "2", "--faults", "drop,delay")
    assert status == 0, text
    assert report["faults"]["drop"] >= 1
    assert report["missing"] == {}
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    assert "millstream_torture" not in tables.stdout


def test_a_fault_that_cannot_be_had_here_is_told_and_left_out(tmp_path: Path) -> None:
    code = "import os, sys; os.geteuid = lambda: 1000\nfrom millstream.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["torture", "--for", "5s", "--faults", "drop,duplicate", "--json", "--keep", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ},
    )  # fmt: skip
    report = json.loads(done.stdout.splitlines()[-1])
    assert "root" in report["missing"]["drop"]
    assert "drop" not in report["faults"]
    assert "without drop" in done.stderr


def test_a_run_that_is_told_to_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "millstream", "torture", "--for", "60s", "--faults", "kill,pause"]
    process = subprocess.Popen([*command, "--keep", str(folder)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = next(line for line in process.stderr if line.startswith("seed"))  # the devices run, faults begin
    assert "faults in 60 s" in line
    process.terminate()
    process.stderr.read()
    process.stderr.close()
    assert process.wait(120) == 130
    left = [p.cmdline() for p in psutil.process_iter() if _is_of(p, folder)]
    assert left == []


def _is_of(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(str(folder) in part for part in process.cmdline())
    except psutil.Error:
        return False
