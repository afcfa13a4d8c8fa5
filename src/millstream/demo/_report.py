"""The demo's last word: a table for people, whose figures are also the JSON object for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from millstream.demo._account import TagAccount

RESULT_KEYS = (
    "samples_produced",
    "samples_edge",
    "samples_hub",
    "samples_historian",
    "lost",
    "duplicated",
    "out_of_order",
    "cut_s",
    "catch_up_s",
    "live_age_p99_ms",
    "edge_rss_mb",
)


def print_ledger(devices: Mapping[str, Sequence[TagAccount]], result: Mapping[str, Any], *, to_stderr: bool) -> None:
    """The ledger of the run, one row a device."""
    console = Console(stderr=to_stderr, highlight=False)
    table = Table(title="ledger: what the devices produced, against what the historian holds")
    for name in ("device", "tags", "produced", "stored", "lost", "duplicated", "out of order"):
        table.add_column(name, justify="left" if name == "device" else "right")
    for device, accounts in devices.items():
        table.add_row(
            device,
            str(len(accounts)),
            *(
                f"{sum(getattr(a, key) for a in accounts):,}"
                for key in ("produced", "stored", "lost", "duplicated", "out_of_order")
            ),
        )
    console.print(table)
    for key in RESULT_KEYS:
        value = result[key]
        console.print(f"  {key:<20} {value:,}" if isinstance(value, int) else f"  {key:<20} {value}")
    sys.stdout.flush()
