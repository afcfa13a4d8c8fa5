"""Facts of a tenant's site for who runs its hub, from the status that the tenant exports: names, states, counts and
codes, never a value or a text that could hold one. Pure.

They are called as an edge calls its own facts, so that a filter that fits at one fits at the other; what a status does
not tell (hardware, disk, labels) is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMED_COUNT_MAX = 256  # connectors, streams or flows of one site
ALARMS_COUNT_MAX = 50
TEXT_CHARS_MAX = 64
_OF_CONNECTOR = {
    "opens": "opens", "samples": "samples_received", "samples_bad": "samples_bad", "samples_dead": "samples_dead",
    "source_gaps": "source_gaps",
}  # fmt: skip
_OF_LINK = ("behind_messages", "cursor_seq")


def site_facts(tenant: str, name: str, place: str, status: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
    """What a site says is a tenant's, so it may be anything: what is not as expected is left out."""
    link = status.get("uplink")
    link = link if isinstance(link, dict) else {}
    facts: dict[str, Any] = {
        "tenant": tenant, "name": name, "path": place, "role": "edge",
        "version": {"millstream": _text(status.get("version"))},
        "link": {"state": _text(link.get("state")), **{each: _count(link.get(each)) for each in _OF_LINK}},
        "connectors": {each: _connector(raw) for each, raw in _named(status, "connectors")},
        "streams": {
            each: {"messages": _count(raw.get("messages")), "bytes": _count(raw.get("bytes"))}
            for each, raw in _named(status, "streams")
        },
        "flows": {
            each: {"state": _text(raw.get("state")), "version": _text(raw.get("version"))}
            for each, raw in _named(status, "flows")
        },
        "alarms": [{"code": _text(raw.get("code"))} for raw in _each(status, "alarms")][:ALARMS_COUNT_MAX],
    }  # fmt: skip
    started_ns = _count(status.get("started_ns"))
    if started_ns is not None:
        facts["uptime_s"] = max(0, now_ns - started_ns) // 10**9
    return _known(facts)


def _connector(raw: Mapping[str, Any]) -> dict[str, Any]:
    state = _text(raw.get("state"))
    counts = {ours: _count(raw.get(theirs)) for ours, theirs in _OF_CONNECTOR.items()}
    return {"type": _text(raw.get("type")), "state": "ok" if state == "connected" else state, **counts}


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there: a filter that asks for it says so."""
    return {
        key: _known(value) if isinstance(value, dict) else value for key, value in facts.items() if value is not None
    }


def _each(status: Mapping[str, Any], what: str) -> list[Mapping[str, Any]]:
    raw = status.get(what)
    return [each for each in raw if isinstance(each, dict)] if isinstance(raw, list) else []


def _named(status: Mapping[str, Any], what: str) -> list[tuple[str, Mapping[str, Any]]]:
    found = [(_text(each.get("name")), each) for each in _each(status, what)]
    return [(name, each) for name, each in found if name is not None][:NAMED_COUNT_MAX]


def _text(value: object) -> str | None:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
