"""The last word of a run: a table for people, one JSON object for programs, and whether all is equal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

KEYS = (
    "seed", "faults", "missing", "parts_true", "parts_counted", "lost", "duplicated", "resent_by_devices",
    "lines_lost_at_source", "recovery_s_p50", "recovery_s_p99", "rest_s", "node_restarts", "node_failures",
)  # fmt: skip


def is_passed(report: Mapping[str, Any]) -> bool:
    """True when every part is counted exactly once in every sink, and, for power cuts, the controls have lost."""
    is_power_right = all(
        part["lost"] == 0
        and part["duplicated"] == 0
        and part["parts_true"] > 0
        and part["is_control_failing"]
        and part.get("is_equal", True)
        for part in (report, report.get("power") or {})
        if "power_cuts" in part
    )
    return is_power_right and bool(report.get("is_equal", "power_cuts" in report))


def print_report(report: Mapping[str, Any], *, is_json: bool) -> None:
    """With `is_json` the table goes to standard error, and standard output holds the object alone."""
    console = Console(stderr=is_json, highlight=False)
    for key in KEYS:
        if report.get(key) not in (None, {}, []):
            console.print(f"  {key:<22} {report[key]}")
    services = (report.get("power") or report).get("services") or []
    rows = [*services, *([_as_service(report["comparison"])] if report.get("comparison") else [])]
    if rows:
        table = Table(title="side by side")
        for name in ("service", "acked", "survived", "lost", "duplicated"):
            table.add_column(name, justify="left" if name == "service" else "right")
        for row in rows:
            table.add_row(*(str(row[name]) for name in ("service", "acked", "survived", "lost", "duplicated")))
        console.print(table)
    for account in [*report.get("details", []), *(report.get("power") or {}).get("details", [])]:
        console.print(f"  not equal: {account}")
    console.print("[bold green]all equal[/]" if is_passed(report) else "[bold red]not equal[/]")
    if is_json:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


def _as_service(comparison: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "service": f"{comparison['service']}, same faults",
        "acked": comparison["parts_true"],
        "survived": comparison["parts_counted"],
        "lost": comparison["lost"],
        "duplicated": comparison["duplicated"],
    }
