"""What doctor finds, from facts alone: each usual fault, its severity, and a next step."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.kernel import AuthError
from millstream.protocols.diagnosis import Facts, from_error, judge

NOW = 1_790_000_000_000_000_000


def stream(name: str, *, messages: int = 1, used: int = 0, bound: int = 1000, discard: str = "old") -> dict[str, Any]:
    return {
        "config": {"name": name, "max_bytes": bound, "discard": discard},
        "state": {"messages": messages, "bytes": used},
    }


def node(**fields: Any) -> dict[str, Any]:
    return {"role": "edge", "name": "e1", **fields}


def connector(state: str, **fields: Any) -> dict[str, Any]:
    return node(connectors=[{"name": "plc", "state": state, "last_sample_ns": NOW, **fields}])


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(NOW, sync_always=False), [("critical", "sync")]),
        (Facts(NOW, sync_always=True), []),
        (Facts(NOW, disk=(50, 100)), []),
        (Facts(NOW, disk=(9, 100)), [("warning", "disk")]),
        (Facts(NOW, disk=(2, 100)), [("critical", "disk")]),
        (Facts(NOW, skews_s={"hub": 0.5}), []),
        (Facts(NOW, skews_s={"hub": -3.0}), [("warning", "clock")]),
        (Facts(NOW, skews_s={"hub": 3600.0}), [("critical", "clock")]),
        (Facts(NOW, streams=[stream("E_e1_DLQ", messages=2)]), [("warning", "dead letters")]),
        (Facts(NOW, streams=[stream("E_e1_DLQ", messages=0)]), []),
        (Facts(NOW, streams=[stream("E_e1_I", used=850)]), [("warning", "streams")]),
        (Facts(NOW, streams=[stream("E_e1_I", used=960, discard="new")]), [("critical", "streams")]),
        (Facts(NOW, streams=[stream("E_e1_I", used=999, bound=-1)]), []),
        (Facts(NOW, streams=[stream("$MQTT_msgs", used=999)]), []),
        (Facts(NOW, nodes=[node(uplink={"state": "cut", "behind_messages": 4})]), [("critical", "uplink")]),
        (Facts(NOW, nodes=[node(uplink={"state": "hung"})]), [("critical", "uplink")]),
        (Facts(NOW, nodes=[node(uplink={"state": "behind"})]), [("warning", "uplink")]),
        (Facts(NOW, nodes=[node(uplink={"state": "flowing"})]), []),
        (Facts(NOW, nodes=[connector("connected")]), []),
        (Facts(NOW, nodes=[connector("stopped", error="wrong password")]), [("critical", "connectors")]),
        (Facts(NOW, nodes=[connector("degraded")]), [("warning", "connectors")]),
        (Facts(NOW, nodes=[connector("waiting")]), [("warning", "connectors")]),
        (Facts(NOW + 100 * 10**9, nodes=[connector("connected")]), [("info", "connectors")]),
        (Facts(NOW, nodes=[connector("connected", source_gaps=3)]), [("warning", "connectors")]),
        (Facts(NOW, nodes=[node(alarms=[{"code": "MS-0607", "message": "x"}])]), [("warning", "alarms")]),
        (Facts(NOW, nodes=[node(ledger={"E_e1_I": {"is_clean": False, "gaps": 3}})]), [("critical", "ledger")]),
        (Facts(NOW, nodes=[node(ledger={"E_e1_I": {"is_clean": True}})]), []),
        (Facts(NOW, nodes=[node(historian={"error": "disk"})]), [("critical", "historian")]),
    ],
)
def test_each_usual_fault_is_found(facts: Facts, expected: list[tuple[str, str]]) -> None:
    found = judge(facts)
    assert [(finding.severity, finding.check) for finding in found] == expected
    assert all(finding.next_step and finding.message for finding in found)


def test_a_stalled_source_is_found() -> None:
    broken = {
        **stream("H_INTEGRITY"),
        "sources": [{"name": "E_e1_I", "error": {"description": "flow control stalled"}}],
    }
    assert [f.check for f in judge(Facts(NOW, streams=[broken]))] == ["sources"]


def test_the_worst_comes_first() -> None:
    found = judge(
        Facts(
            NOW,
            nodes=[node(alarms=[{"code": "MS-0607", "message": "x"}], uplink={"state": "cut"})],
            streams=[stream("E_e1_DLQ", messages=2)],
        )
    )
    assert [f.severity for f in found] == ["critical", "warning", "warning"]


def test_what_a_device_says_cannot_move_the_terminal() -> None:
    [finding] = judge(Facts(NOW, nodes=[connector("waiting", error="\x1b[2J")]))
    assert "\x1b" not in finding.message


def test_an_error_becomes_a_finding_with_its_next_step() -> None:
    finding = from_error("node", AuthError("refused", where="nats://x:1", next_step="use another password"))
    assert (finding.severity, finding.message, finding.next_step, finding.code) == (
        "critical", "nats://x:1: refused", "use another password", "MS-0201",
    )  # fmt: skip
