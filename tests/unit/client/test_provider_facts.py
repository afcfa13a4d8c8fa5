"""What a provider takes from the status of a tenant's site, which may say anything."""

from __future__ import annotations

from typing import Any

from millstream.client._provider_facts import ALARMS_COUNT_MAX, NAMED_COUNT_MAX, TEXT_CHARS_MAX, site_facts

STATUS: dict[str, Any] = {
    "version": "1.2.0", "started_ns": 10**9,
    "uplink": {"state": "flowing", "behind_messages": 3, "error": "a text with 31415"},
    "connectors": [
        {"name": "boiler", "type": "opcua", "state": "connected", "opens": 1, "samples_received": 7, "error": "31415"},
        {"name": "press", "type": "modbus", "state": "waiting", "last_value": 31415},
    ],
    "streams": [{"name": "E_e1_I", "messages": 5, "bytes": 500}],
    "flows": [{"name": "oee", "state": "running", "version": "2", "config": {"secret": 31415}}],
    "alarms": [{"code": "MS-0609", "message": "31415"}], "values": {"speed": 31415},
}  # fmt: skip


def test_names_states_counts_and_codes_are_taken_and_no_text_that_could_hold_a_value() -> None:
    facts = site_facts("acme", "e1", "acme/e1", STATUS, 61 * 10**9)
    assert facts == {
        "tenant": "acme", "name": "e1", "path": "acme/e1", "role": "edge", "version": {"millstream": "1.2.0"},
        "link": {"state": "flowing", "behind_messages": 3}, "uptime_s": 60,
        "connectors": {
            "boiler": {"type": "opcua", "state": "ok", "opens": 1, "samples": 7},
            "press": {"type": "modbus", "state": "waiting"},
        },
        "streams": {"E_e1_I": {"messages": 5, "bytes": 500}}, "flows": {"oee": {"state": "running", "version": "2"}},
        "alarms": [{"code": "MS-0609"}],
    }  # fmt: skip


def test_what_is_not_as_expected_is_left_out_and_what_is_too_much_is_cut() -> None:
    odd = {
        "version": "x" * 1000, "started_ns": "soon", "uplink": [1], "connectors": {"a": 1}, "streams": [1, {"name": 2}],
        "flows": [{"name": str(number)} for number in range(10_000)], "alarms": [{"code": "c"}] * 10_000,
    }  # fmt: skip
    facts = site_facts("acme", "e1", "acme/e1", odd, 0)
    assert facts["version"]["millstream"] == "x" * TEXT_CHARS_MAX
    assert len(facts["flows"]) == NAMED_COUNT_MAX
    assert len(facts["alarms"]) == ALARMS_COUNT_MAX
    assert (facts["link"], facts["connectors"], facts["streams"]) == ({}, {}, {})
    assert "uptime_s" not in facts
