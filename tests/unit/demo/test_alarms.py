"""The demo's alarms on what its press shows: some in the first half minute, and no flood whoever looks for longer."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from millstream.demo._plant import OPCUA, SITE
from millstream.demo._shop import flows
from millstream.flow import Event, Input
from millstream.flow._model import EmitEvent
from millstream.flow.library import FLOW_TYPES
from millstream.model import GOOD
from millstream.sim._stamping import STRAINED, Stamping
from millstream.sim.opcua_plant import SIGNALS, Point

SECOND_NS = 10**9
PLACE = f"{SITE}/{OPCUA.name}"


def _told(minutes: int) -> list[EmitEvent]:
    document: dict[str, Any] = next(each for each in flows(0) if each["name"] == "alarms")
    flow = FLOW_TYPES[document["type"]].make("alarms", [Input(path) for path in document["inputs"]], document["config"])
    state, told, press, rng = flow.initial(), [], Stamping(random.Random(7)), random.Random(7)
    points = [
        Point(name, None, None, (mean, size, period_s), strained=STRAINED.get(name, 0.0))
        for name, _, mean, size, period_s in SIGNALS
    ]
    for step in range(minutes * 600):
        elapsed_s = step / 10
        shown = {point.name: point.value_at(elapsed_s, rng) for point in points}
        for name, value in (shown | press.changes(elapsed_s)).items():
            if f"{PLACE}:{name}" in document["inputs"]:
                time_ns = round(elapsed_s * SECOND_NS)
                state, effects = flow.step(state, Event(PLACE, "tag", time_ns, value, GOOD, f"{PLACE}:{name}"))
                told += [each for each in effects if isinstance(each, EmitEvent)]
    return told


def test_alarms_come_in_the_demo_s_half_minute_and_go_again() -> None:
    first = {(each.path, each.data["change"]) for each in _told(1) if each.time_ns <= 30 * SECOND_NS}
    for name in ("spindle-hot", "coolant-low"):
        assert {(f"{PLACE}:alarm/{name}", change) for change in ("raised", "returned")} <= first, name


def test_in_half_an_hour_there_are_few_and_no_ten_minutes_are_a_flood() -> None:
    raised = [each for each in _told(30) if each.data["change"] == "raised"]
    counts = Counter(each.path.rpartition("/")[2] for each in raised)
    assert (counts["spindle-hot"], counts["coolant-low"]) == (3, 3)
    assert 1 <= counts["guard"] <= 10
    times = [each.time_ns for each in raised]
    most = max(sum(1 for other in times if 0 <= other - one < 600 * SECOND_NS) for one in times)
    assert most <= 7  # more than ten are a flood
