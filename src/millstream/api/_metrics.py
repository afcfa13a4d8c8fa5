"""Prometheus text exposition (version 0.0.4) of the historian."""

from __future__ import annotations

from dataclasses import fields

from millstream.historian import STATES, HistorianStats
from millstream.protocols.ledger import OriginAccount

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TOTALS = {
    "messages": "messages stored",
    "samples": "samples stored",
    "events": "events and alarms stored",
    "repeats": "messages left out as repeats",
    "dead_letters": "messages that could not be decoded",
    "gap_messages": "messages gone before they were read",
    "expired": "samples that came after retention had dropped their day",
}
_NOW = {
    "rows": "samples in the history",
    "tags": "known tags",
    "disk_bytes": "size on disk",
    "sealed_days": "sealed days",
    "dead_letters_waiting": "dead letters not handed over yet",
}


def metrics_text(stats: HistorianStats) -> str:
    """All metrics, one a line."""
    lines: list[str] = []
    for name, about in _TOTALS.items():
        _metric(lines, f"millstream_historian_{name}_total", "counter", about, [("", getattr(stats, name))])
    for name, about in _NOW.items():
        _metric(lines, f"millstream_historian_{name}", "gauge", about, [("", getattr(stats, name))])
    states = [(_label("state", state), int(state == stats.state)) for state in STATES]
    _metric(lines, "millstream_historian_state", "gauge", "1 for the state that the historian is in", states)
    streams = [(_label("stream", s.stream), s) for s in stats.streams]
    _metric(
        lines, "millstream_historian_position", "gauge", "last stored sequence", [(k, s.position) for k, s in streams]
    )
    _metric(
        lines,
        "millstream_historian_lag_messages",
        "gauge",
        "messages not stored yet",
        [(k, s.lag_messages) for k, s in streams if s.lag_messages is not None],
    )
    _metric(
        lines,
        "millstream_historian_held_back",
        "gauge",
        "1 while the stream cannot be stored",
        [(k, int(s.error is not None)) for k, s in streams],
    )
    for field in fields(OriginAccount):
        if not field.name.endswith("_seq"):
            _metric(
                lines,
                f"millstream_ledger_{field.name}",
                "gauge",
                f"{field.name} of the origin, recounted",
                [(_label("origin", o), getattr(a, field.name)) for o, a in sorted(stats.ledger.items())],
            )
    return "\n".join(lines) + "\n"


def _metric(lines: list[str], name: str, kind: str, about: str, values: list[tuple[str, int]]) -> None:
    if values:
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{labels} {value}" for labels, value in values]


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{{{name}="{escaped}"}}'
