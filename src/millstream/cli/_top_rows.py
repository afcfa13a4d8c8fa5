"""What ``top`` shows, as rows of text: pure functions of the nodes' status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millstream.cli._output import duration, shown, size

CONNECTOR_COLUMNS = ("node", "connector", "state", "samples/s", "age", "bad", "error")
STREAM_COLUMNS = ("node", "stream", "messages", "size", "last_seq")
SORT_COLUMNS = ("connector", "state", "samples/s", "age", "bad")
RATES_COUNT_MAX = 10_000  # connectors whose last count is kept


@dataclass(frozen=True, slots=True)
class ConnectorRow:
    """One connector. `rate_hz` is None until it was seen twice, `age_s` until a first value came."""

    node: str
    connector: str
    state: str
    rate_hz: float | None
    age_s: float | None
    bad: int
    error: str | None

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of CONNECTOR_COLUMNS."""
        rate = "" if self.rate_hz is None else f"{self.rate_hz:,.0f}" if self.rate_hz >= 10 else f"{self.rate_hz:.1f}"
        age = "" if self.age_s is None else duration(self.age_s)
        return (shown(self.node), shown(self.connector), shown(self.state), rate, age, str(self.bad), shown(self.error))


@dataclass(slots=True)
class Rates:
    """Samples per second of each connector between two looks."""

    _seen: dict[tuple[str, str, int], tuple[int, int]] = field(default_factory=dict)

    def feed(self, key: tuple[str, str, int], count: int, now_ns: int) -> float | None:
        """The rate since the last look; None at the first. A count that fell begins anew."""
        before = self._seen.get(key)
        if len(self._seen) >= RATES_COUNT_MAX and before is None:
            self._seen.clear()
        self._seen[key] = (count, now_ns)
        if before is None or count < before[0] or now_ns <= before[1]:
            return None
        return (count - before[0]) * 1e9 / (now_ns - before[1])


def connector_rows(nodes: Sequence[Mapping[str, Any]], rates: Rates, now_ns: int) -> list[ConnectorRow]:
    """All connectors of all nodes. `rates` remembers the counts from look to look."""
    rows = []
    for node in nodes:
        for connector in node.get("connectors") or ():
            name, place = str(connector.get("name")), str(node.get("name"))
            key = (place, name, int(node.get("started_ns") or 0))
            last_ns = connector.get("last_sample_ns")
            rows.append(
                ConnectorRow(
                    place,
                    name,
                    str(connector.get("state")),
                    rates.feed(key, int(connector.get("samples_received") or 0), now_ns),
                    (now_ns - last_ns) / 1e9 if last_ns else None,
                    int(connector.get("samples_bad") or 0) + int(connector.get("frames_quarantined") or 0),
                    connector.get("error"),
                )
            )
    return rows


def arranged(rows: Sequence[ConnectorRow], sort: str, text: str) -> list[ConnectorRow]:
    """Rows that hold `text`, sorted by a column of SORT_COLUMNS: numbers with the largest first."""
    kept = [row for row in rows if text.lower() in " ".join(row.cells()).lower()]
    if sort == "samples/s":
        return sorted(kept, key=lambda row: -(row.rate_hz or 0.0))
    if sort == "age":
        return sorted(kept, key=lambda row: -(row.age_s if row.age_s is not None else float("inf")))
    if sort == "bad":
        return sorted(kept, key=lambda row: -row.bad)
    return sorted(kept, key=lambda row: (row.state if sort == "state" else "", row.node, row.connector))


def stream_rows(nodes: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """All streams, in the order of STREAM_COLUMNS."""
    return [
        (
            shown(node.get("name")), shown(stream.get("name")), f"{int(stream.get('messages') or 0):,}",
            size(stream.get("bytes") or 0), str(stream.get("last_seq") or 0),
        )
        for node in nodes
        for stream in node.get("streams") or ()
    ]  # fmt: skip


def headline(nodes: Sequence[Mapping[str, Any]]) -> str:
    """Uplinks and alarms in a few lines."""
    lines = []
    for node in nodes:
        text = f"{node.get('role')} {node.get('name')}"
        uplink = node.get("uplink")
        if isinstance(uplink, dict) and uplink.get("state") not in (None, "none"):
            age = duration((uplink.get("data_age_ms") or 0) / 1e3)
            text += f"   uplink {uplink['state']}, {uplink.get('behind_messages') or 0} messages behind, oldest {age}"
        lines.append(shown(text))
        lines += [shown(f"  alarm {a.get('code')}: {a.get('message')}") for a in node.get("alarms") or ()]
    return "\n".join(lines) or "no node answers"
