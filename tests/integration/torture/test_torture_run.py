"""`millstream torture` on real processes, with short seeds. Seeds that once found something stand here for good."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from millstream.torture._network import why_no_packet_loss

NO_LOSS = why_no_packet_loss()


def torture(folder: Path, *arguments: str, by: Sequence[str] = ("-m", "millstream")) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, *by, "torture", "--json", "--keep", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_every_part_is_counted_once_through_kills_cuts_and_repetitions(tmp_path: Path) -> None:
    """By somebody without rights, whom the fault that needs them is told to be missing."""
    code = "import os, sys; os.geteuid = lambda: 1000\nfrom millstream.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["--for", "10s", "--seed", "7", "--faults", "kill,cut,duplicate,drop"]
    status, report, text = torture(tmp_path / "run", *arguments, by=("-c", code))
    assert status == 0, text
    assert report["seed"] == 7
    assert report["parts_true"] == report["parts_counted"] > 30
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["faults"]["kill"] >= 1
    assert report["faults"]["cut"] >= 1
    assert report["recovery_s_p99"] is not None
    assert report["resent_by_devices"] > 0
    assert report["is_at_rest"] is True
    assert "root" in report["missing"]["drop"]
    assert "drop" not in report["faults"]
    assert "without drop" in text


def test_all_faults_together_come_to_rest_and_packets_are_lost_in_a_network_of_our_own(tmp_path: Path) -> None:
    """Seed 34 once filled a store so that it could never be trimmed again."""
    wanted = {"full"} if NO_LOSS else {"full", "drop"}
    found: set[str] = set()
    for time in ("20s", "60s", "180s"):  # a machine under load comes to fewer faults in the same time
        status, report, text = torture(tmp_path / time, "--for", time, "--seed", "34")
        assert status == 0, text
        assert report["is_at_rest"] is True
        assert ("drop" in report["missing"]) == (NO_LOSS is not None)
        found |= {fault for fault, count in report["faults"].items() if count}
        if wanted <= found:
            break
    assert wanted <= found
    if NO_LOSS is None:
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
        assert "millstream_torture" not in tables.stdout


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
