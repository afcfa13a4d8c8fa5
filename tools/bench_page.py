"""The page of measured figures, from the results that are kept in bench/results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
INTRO = """# Benchmarks

This page is written by `tools/docs_gen.py` from `bench/results/*.json`, which are what the commands below printed; a
test keeps it fresh. `make bench` lists the scenarios, `make bench ARGS="ingest"` runs one and
`make bench ARGS="all --json"` all of them.

A ratio compares with a bare loop in the same run: a blocking socket that does the same server operation with prepared
bytes, or takes each message off the wire, and nothing else. Ours and the loop take turns, each in a process of its own
and with a server of its own, and the best run of each counts, since other work on the machine only ever slows a run
down. `us` are microseconds of processor time a message: they say more than rates and ratios when the load of the
machine is far above its number of cores, as those are then what was left over. `make bench ARGS="all --save"` on a
quiet machine, then `make gen`, writes this page anew.
"""


def results() -> list[dict[str, Any]]:
    """The documents, by name of the scenario."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def benchmark_page() -> str:
    """The whole page."""
    return INTRO + "".join(_section(document) for document in results())


def _method(scenario: str) -> list[str]:
    """How its figures come about, where that takes more words than a row has."""
    path = ROOT / "bench" / scenario / "method.md"
    return [path.read_text(encoding="utf-8").strip() + "\n"] if path.exists() else []


def _section(document: dict[str, Any]) -> str:
    machine = document["machine"]
    lines = [
        f"\n## {document['bench']}\n",
        f"`{document['command']}`, {document['date']}: {machine['cores']} cores ({machine['processor']}), "
        f"Linux {machine['kernel']}, Python {machine['python']}, {machine['nats_server']}; "
        f"load of the machine at the end {machine['load_1min']:g}.\n",
        *_method(document["command"].split()[3]),
        "| measure | measured | ratio | to reach | reached | |\n|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        reached = "" if not row["target"] else "yes" if row["is_met"] else "no"
        lines.append(f"| {row['measure']} | {row['figure']} | {ratio} | {row['target']} | {reached} | {row['note']} |")
    return "\n".join(lines) + "\n"
