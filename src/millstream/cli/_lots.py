"""Lots of scrap and rework as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millstream.cli._output import print_table


def print_lots(lots: Sequence[Mapping[str, Any]]) -> None:
    """Oldest first, as they stand now."""
    rows = [
        (
            lot["path"], lot["start"][:19], lot["end"][:19], f"{lot['count']:g}", lot["kind"], lot.get("reason"),
            lot.get("by"), lot.get("who"), lot["lot"] if lot.get("by") == "person" else None,
        )
        for lot in lots
    ]  # fmt: skip
    print_table(("rejects", "from", "to", "parts", "kind", "reason", "by", "who", "lot"), rows, right=("parts",))
