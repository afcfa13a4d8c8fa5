"""Energy as the flow gives it, corrected by what comes late, against what everything at once gives."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import Input, Kills, Tick, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.cloudevents import parse_time_ns
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import Meter, energy, metered

BASE = 1_767_225_600_000_000_000  # 2026-01-01
MIN, HOUR = 60 * 10**9, 3600 * 10**9
HOURS = 8
STATES = ("Execute", "Held", "Idle", "Unknown", "Aborted")
CONFIG = {"max_power": 30_000, "gap": "20min", "every": "0s", "demand": "30min"}


def received(number: int, time_ns: int, name: str, value: Any) -> Received:
    contract = {"state": "_state", "parts": "_count"}.get(name, "_tag")
    payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(f"uns.v1.acme.{contract}.{name}", payload, None, number, 0)


def windows_of(config: dict[str, Any], arrivals: list[tuple[float, int, str, Any]]) -> list[dict[str, Any]]:
    """All windows as last corrected; nothing differs when the flow is killed."""
    items: list[Any] = [
        received(number, BASE + at, name, value) for number, (_, at, name, value) in enumerate(sorted(arrivals), 1)
    ]
    items.append(Tick(BASE + (HOURS + 3) * HOUR))
    inputs = [Input("acme:**"), Input("acme:**", "state"), Input("acme:**", "count")]
    flow = FLOW_TYPES["energy"].make("energy", inputs, config, time=TimePolicy())
    outcome = drive(flow, items)
    assert not outcome.rejected
    kills = Kills({i: i % 3 for i in range(0, len(items), 4)})
    assert drive(flow, items, unit_items=3, kills=kills).said() == outcome.said()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for message in outcome.messages:
        if "._event." in message.subject:
            data = msgspec.json.decode(message.payload)
            before = found.get((data["window"], data["start"]))
            assert data["revision"] == (0 if before is None else before["revision"] + 1)
            found[data["window"], data["start"]] = data
    assert found
    return list(found.values())


def span_of(data: dict[str, Any]) -> tuple[int, int]:
    return parse_time_ns(data["start"]), parse_time_ns(data["end"])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_after_all_has_come_each_window_is_what_everything_at_once_gives(seed: int) -> None:
    rng = random.Random(seed)
    states = sorted(
        {rng.randrange(HOURS * 60) * MIN + 7: rng.choice(STATES) for _ in range(rng.randrange(1, 20))}.items()
    )
    total, readings = 0.0, []
    for minute in sorted(rng.sample(range(HOURS * 60), rng.randrange(2, 60))):
        total = 0.0 if rng.random() < 0.05 else total + rng.random() * (900_000 if rng.random() < 0.05 else 3000)
        readings.append((minute * MIN + 11, total))
    moments = sorted(rng.sample(range(HOURS * 60), rng.randrange(1, 30)))
    parts = list(zip((m * MIN + 13 for m in moments), sorted(rng.choices(range(500), k=len(moments))), strict=True))
    late = rng.random() * 300 * MIN  # states and readings come up to so late; parts in their order
    arrivals = [(at + rng.random() * late, at, "state", state) for at, state in states]
    arrivals += [(at + rng.choice((0.0, rng.random() * late)), at, "meter", wh) for at, wh in readings]
    arrivals += [(float(at), at, "parts", n) for at, n in parts]
    names = {"meter": "meter", "state": "state", "parts": "parts"}
    meter = Meter(20 * MIN, 30_000)
    for data in windows_of({**CONFIG, "names": names}, arrivals):
        window = span_of(data)
        made = sum(b[1] - a[1] for a, b in pairwise(parts) if window[0] <= BASE + b[0] < window[1])
        known = [(BASE + at, wh) for at, wh in readings]
        expected = energy(metered(known, meter), window, states=[(BASE + at, s) for at, s in states], parts=made)
        assert data["energy_wh"] == pytest.approx(expected.energy_wh, abs=2e-6)
        assert data["idle_wh"] == pytest.approx(expected.idle_wh, abs=2e-6)
        assert data["spread_wh"] == pytest.approx(expected.spread_wh, abs=2e-6)
        assert data["known"] == pytest.approx(expected.known, abs=2e-6)
        assert data["per_part_wh"] == pytest.approx(expected.per_part_wh, abs=2e-6)
        assert (data["parts"], data["doubts"]) == (made, list(expected.doubts))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_of_a_power_each_window_has_its_integral_and_no_time_is_known_twice(seed: int) -> None:
    rng = random.Random(seed)
    values, at = [], 0
    while at < HOURS * HOUR:
        values.append((at, rng.choice((-9000.0, 90_000.0) if rng.random() < 0.05 else (0.0, 5000.0, 25_000.0))))
        at += round(rng.choice((0.2, 0.7, 3, 11, 45)) * MIN) + rng.randrange(1000)
    config = {**CONFIG, "names": {"power": "power"}}
    for data in windows_of(config, [(float(at), at, "power", w) for at, w in values]):
        window = span_of(data)
        drawn = known_ns = 0.0
        for (start, watts), (after, _) in pairwise([*values, (10 * HOURS * HOUR, 0.0)]):
            over = min(BASE + after, BASE + start + 20 * MIN, window[1]) - max(BASE + start, window[0])
            if over > 0 and 0 <= watts <= 30_000:
                drawn, known_ns = drawn + watts * over / HOUR, known_ns + over
        assert data["known"] == pytest.approx(known_ns / (window[1] - window[0]), abs=2e-6)
        if known_ns:
            assert data["energy_wh"] == pytest.approx(drawn, abs=1e-3)
