"""What every scenario prints: rows with a figure and its target, for people or as one JSON object."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench._server import BenchServer

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Row:
    """One line of the table. `ratio` is to the bare loop of the same run; `result_hash` is of what was computed, so
    that two runs of the same size can be compared; it never depends on speed."""

    measure: str
    figure: str
    target: str = ""
    ratio: float | None = None
    is_met: bool = True
    note: str = ""
    result_hash: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def parser(name: str, about: str) -> argparse.ArgumentParser:
    """The options that each scenario has."""
    options = argparse.ArgumentParser(prog=f"bench {name}", description=about)
    options.add_argument("--json", action="store_true", help="print one JSON object")
    options.add_argument("--save", action="store_true", help="keep the result in bench/results, for the page in docs/")
    options.add_argument("--short", action="store_true", help="a small input that shows the shape, not the speed")
    return options


def finish(
    name: str, argv: Sequence[str], rows: Sequence[Row], chosen: argparse.Namespace, *, scenario: str = ""
) -> int:
    """Print, keep if asked to; 1 when a target is missed. `scenario` when the result has another name than it."""
    shown = [argument for argument in argv if argument not in ("--json", "--save")]
    document = {
        "bench": name, "command": " ".join(["python -m bench", scenario or name, *shown]), "date": _today(),
        "machine": machine(), "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    if chosen.save:
        (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if chosen.json:
        print(json.dumps(document))
    else:
        for row in rows:
            ratio = "" if row.ratio is None else f"  ratio {row.ratio:.2f}"
            target = f"  (to reach: {row.target})" if row.target else ""
            print(f"{row.measure:44} {row.figure}{ratio}{target}{'' if row.is_met else '  MISSED'}  {row.note}")
    return 0 if all(row.is_met for row in rows) else 1


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def machine() -> dict[str, Any]:
    """Where the figures come from, and how busy it was with other work."""
    server = subprocess.run([BenchServer.program(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {
        "cores": os.cpu_count(), "processor": platform.machine(), "kernel": platform.release(),
        "python": platform.python_version(), "millstream": version("millstream"), "nats_server": server.strip(),
        "load_1min": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def digest(parts: Iterable[object]) -> str:
    """A short hash of what was computed."""
    found = hashlib.sha256()
    for part in parts:
        found.update(repr(part).encode())
    return found.hexdigest()[:16]
