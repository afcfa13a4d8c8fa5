"""What the demo's edge works out of its machines (states, stops, parts, rejects, alarms, OEE), and what its plant knows
of them: equipment, a shift, products, orders, reasons."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from millstream.demo._plant import MODBUS, MQTT, OPCUA, SHDR, SHDR_PARTS, SITE, WAVEFORM
from millstream.protocols.cloudevents import format_time
from millstream.shop import Fact

PRESS, MILL = f"{SITE}/{OPCUA.name}", f"{SITE}/{SHDR.name}"
PARTS_FLOW = "parts"
STATE = "execution"  # the controllers' own word for it, at both machines
SHIFT_HOURS = 8
IDLE = "2s"  # so long nothing may come until a timer is due all the same
MINUTE_NS = 60 * 10**9
_CONDITIONS = [
    {
        "name": "spindle-hot", "of": "temperature", "above": 51.5, "deadband": 2, "priority": "high",
        "message": "the spindle is hot", "response": "look at the coolant",
    },
    {
        "name": "coolant-low", "of": "pressure", "below": 5.3, "deadband": 0.2, "priority": "medium",
        "message": "little coolant", "response": "look at the filter",
    },
    {
        "name": "guard", "of": "guard", "states": [1], "on_delay": "5s", "priority": "low",
        "message": "the guard stays open",
    },
]  # fmt: skip
_PLACES = {
    "name": "places", "type": "oee_total", "idle": IDLE,
    "inputs": [{"pattern": f"{SITE}/**:oee/*", "kind": "event"}],
    "config": {"levels": [SITE.count("/") + 1], "every": "2s", "known": 0.0},
}  # fmt: skip


def flows(start_ns: int) -> list[dict[str, Any]]:
    """The edge's flows. The shift begins in the minute of `start_ns`, since nothing is known of the time before."""
    return [
        {
            "name": "states", "type": "state_model", "idle": IDLE,
            "inputs": [f"{PRESS}:{STATE}", f"{MILL}:{STATE}", {"pattern": f"{SITE}/**:asset", "kind": "context"}],
            "config": {"of": STATE, "templates": {"press": "packml", "machining-centre": "mtconnect"}},
        },
        {
            "name": PARTS_FLOW, "type": "part_counter", "idle": IDLE,
            "inputs": [f"{PRESS}:strokes", f"{MILL}:{SHDR_PARTS}"], "config": {"mode": "counter"},
        },
        {
            "name": "stops", "type": "downtime", "idle": IDLE, "lateness": "2s",
            "inputs": [
                {"pattern": f"{SITE}/**:state", "kind": "state"}, {"pattern": f"{SITE}/**:order/*", "kind": "context"},
                f"{PRESS}:infeed", f"{PRESS}:guard_open", f"{MILL}:{STATE}",
            ],
            "config": {
                "names": {"state": "state", "infeed": "infeed", "guard": "guard_open", "controller": STATE},
                "rules": [
                    {"reason": "starved", "when": "infeed == 0", "category": "idle"},
                    {"reason": "guard-open", "when": "guard == 1"},
                    {"reason": "feed-hold", "when": 'controller == "FEED_HOLD"'},
                    {"reason": "waits-for-start", "when": 'controller == "READY"', "category": "idle"},
                ],
                "categories": {"meeting": "planned", "tool-change": "setup"}, "micro": "1s",
            },
        },
        {
            "name": "quality", "type": "quality", "idle": IDLE, "inputs": [f"{PRESS}:rejected", f"{PRESS}:reject_code"],
            "config": {
                "names": {"scrap": "rejected", "reason": "reject_code"}, "reasons": {"7": "burrs", "9": "scratches"},
            },
        },
        {
            "name": "alarms", "type": "alarm", "idle": IDLE,
            "inputs": [f"{PRESS}:{name}" for name in ("spindle_temperature", "coolant_pressure", "guard_open")],
            "config": {
                "names": {"temperature": "spindle_temperature", "pressure": "coolant_pressure", "guard": "guard_open"},
                "conditions": _CONDITIONS,
            },
        },
        {
            "name": "oee", "type": "oee", "idle": IDLE,
            "inputs": [
                {"pattern": f"{SITE}/**:downtime/state", "kind": "state"}, {"pattern": f"{SITE}/**", "kind": "count"},
                {"pattern": f"{SITE}/**:order/*", "kind": "context"},
            ],
            "config": {
                "names": {
                    "state": "downtime/state", "produced": "parts",
                    "scrap": "quality/scrap", "rework": "quality/rework",
                },
                "orders": True, "shifts": _shifts(start_ns), "windows": ["shift"], "live": "input", "every": "2s",
                "explain": "5s",
                "known": 0.0,  # in the shift's first minute the plant was not there yet: the figures are of the rest
            },
        },
        _PLACES,
    ]  # fmt: skip


def facts(start_ns: int) -> Sequence[Fact]:
    """What is told of the plant before it runs, as `millstream context import` would from tables."""
    start = format_time(start_ns - start_ns % MINUTE_NS)
    return [
        _asset(PRESS, "press", "stamping press"),
        _asset(MILL, "machining-centre", "machining centre, a recorded day"),
        _asset(f"{SITE}/{MODBUS.name}", "", "steam boiler"),
        _asset(f"{SITE}/{MQTT.name}", "", "checkweigher"),
        _asset(f"{SITE}/{WAVEFORM}", "", "turning cell, recorded at 1 kHz"),
        *_order(PRESS, "4711", "lid", "lids", 0.4, 5000, start),
        *_order(MILL, "4712", "flange", "flanges", 21.3, 40, start),
        _reason("meeting", "planned"),
        _reason("tool-change", "unplanned"),
        _reason("starved", "unplanned"),
        _reason("guard-open", "unplanned"),
        _reason("feed-hold", "unplanned"),
        _reason("waits-for-start", "unplanned"),
        _reason("burrs", "scrap"),
        _reason("scratches", "scrap"),
    ]


def _shifts(start_ns: int) -> list[dict[str, str]]:
    began = datetime.datetime.fromtimestamp(start_ns / 1e9, datetime.UTC)
    ends = [(began + datetime.timedelta(hours=SHIFT_HOURS * n)).strftime("%H:%M") for n in range(4)]
    return [
        {"name": name, "start": ends[n], "end": ends[n + 1], "days": "daily"}
        for n, name in enumerate(("first", "second", "third"))
    ]


def _asset(path: str, template: str, description: str) -> Fact:
    data = {"level": "work_unit", "template": template, "description": description}
    return Fact(f"{path}:asset", "asset", {key: value for key, value in data.items() if value})


def _order(path: str, order: str, product: str, name: str, cycle_s: float, quantity: int, start: str) -> Sequence[Fact]:
    return [
        Fact(f"{SITE}:product/{product}", "product", {"ideal_cycle_s": cycle_s, "name": name}),
        Fact(
            f"{path}:order/{order}", "order",
            {"order": order, "product": product, "ideal_cycle_s": cycle_s, "start": start, "quantity": quantity},
        ),
    ]  # fmt: skip


def _reason(name: str, kind: str) -> Fact:
    return Fact(f"{SITE}:reason/{name}", "reason", {"kind": kind})
