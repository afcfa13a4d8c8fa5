"""The demo's alarms on what its press shows: each comes and goes, so that nobody finds the page of alarms empty."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

from millstream.demo._plant import OPCUA, SITE
from millstream.demo._shop import flows
from millstream.flow import Event, Input
from millstream.flow._model import EmitEvent
from millstream.flow.library import FLOW_TYPES
from millstream.model import GOOD
from millstream.sim._stamping import Stamping
from millstream.sim.opcua_plant import SIGNALS

SECOND_NS = 10**9
PLACE = f"{SITE}/{OPCUA.name}"


def _told(minutes: int) -> list[EmitEvent]:
    document: dict[str, Any] = next(each for each in flows(0) if each["name"] == "alarms")
    flow = FLOW_TYPES[document["type"]].make("alarms", [Input(path) for path in document["inputs"]], document["config"])
    state, told, press, rng = flow.initial(), [], Stamping(random.Random(7)), random.Random(7)
    for step in range(minutes * 600):
        elapsed_s = step / 10
        shown: dict[str, float] = {
            name: mean + size * math.sin(2 * math.pi * elapsed_s / period_s) + rng.gauss(0, size / 20)
            for name, _, mean, size, period_s in SIGNALS
        }
        for name, value in (shown | press.changes(elapsed_s)).items():
            if f"{PLACE}:{name}" in document["inputs"]:
                time_ns = round(elapsed_s * SECOND_NS)
                state, effects = flow.step(state, Event(PLACE, "tag", time_ns, value, GOOD, f"{PLACE}:{name}"))
                told += [each for each in effects if isinstance(each, EmitEvent)]
    return told


def test_each_alarm_of_the_demo_comes_in_its_half_minute_and_goes_again() -> None:
    first = {(each.path, each.data["change"]) for each in _told(1) if each.time_ns <= 30 * SECOND_NS}
    for name in ("spindle-hot", "coolant-low", "guard"):
        assert {(f"{PLACE}:alarm/{name}", change) for change in ("raised", "returned")} <= first, name


def test_they_do_not_flicker_and_become_a_flood_only_after_minutes() -> None:
    raised = Counter(each.path for each in _told(3) if each.data["change"] == "raised")
    assert raised[f"{PLACE}:alarm/spindle-hot"] == 3
    assert raised[f"{PLACE}:alarm/coolant-low"] in (10, 11)
    assert sum(1 for each in _told(1) if each.data["change"] == "raised") <= 10
