"""OEE as the flow gives it, corrected by what comes late, against the figures worked out from everything at once."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import Input, Kills, Tick, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import Calendar, Made, Shift, figures

BASE = 1_767_225_600_000_000_000  # 2026-01-01, a Thursday
MIN = 60 * 10**9
HOURS = 12
STATES = ("Execute", "Held", "Aborted", "Idle", "Planned", "Unknown", "Setup")
SHIFT = {
    "name": "day",
    "start": "02:00",
    "end": "10:00",
    "days": "daily",
    "breaks": [{"start": "04:00", "end": "04:30"}],
}
CONFIG = {
    "names": {"state": "state", "produced": "parts"}, "ideal_cycle": "45s", "shifts": [SHIFT], "windows": ["hour"],
    "every": "0s",
}  # fmt: skip


def received(number: int, time_ns: int, name: str, value: Any) -> Received:
    contract = "state" if name == "state" else "count"
    payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(f"uns.v1.acme._{contract}.{name}", payload, None, number, 0)


def newest_windows(said: list[Any]) -> dict[str, dict[str, Any]]:
    """The explanation of each window, as last corrected."""
    found: dict[str, dict[str, Any]] = {}
    for message in said:
        if "._event." in message.subject:
            data = msgspec.json.decode(message.payload)
            before = found.get(data["start"])
            assert before is None or before["revision"] + 1 == data["revision"]
            found[data["start"]] = data
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_after_all_has_come_each_window_is_what_everything_at_once_gives(seed: int) -> None:
    rng = random.Random(seed)
    states = sorted(
        {rng.randrange(HOURS * 60) * MIN + 7: rng.choice(STATES) for _ in range(rng.randrange(1, 40))}.items()
    )
    moments = sorted(rng.sample(range(HOURS * 60), rng.randrange(1, 60)))
    totals = list(zip((m * MIN + 11 for m in moments), sorted(rng.choices(range(500), k=len(moments))), strict=True))
    late = rng.random() * 300 * MIN  # states come up to so late; totals in their order
    arrivals = [(t + rng.random() * late, t, "state", s) for t, s in states]
    arrivals += [(t, t, "parts", n) for t, n in totals]
    items: list[Any] = [
        received(number, BASE + t, name, value) for number, (_, t, name, value) in enumerate(sorted(arrivals), 1)
    ]  # fmt: skip
    items += [Tick(BASE + (HOURS + 1) * 60 * MIN)]
    flow = FLOW_TYPES["oee"].make(
        "oee", [Input("acme:**", "state"), Input("acme:**", "count")], json.loads(json.dumps(CONFIG)), time=TimePolicy()
    )
    outcome = drive(flow, items)
    assert not outcome.rejected
    kills = Kills({i: i % 3 for i in range(0, len(items), 4)})
    assert drive(flow, items, unit_items=3, kills=kills).said() == outcome.said()

    calendar = Calendar("UTC", [Shift("day", 120, 600, tuple(range(7)), ((240, 270),))])
    made = [(b[0], b[1] - a[1]) for a, b in pairwise(totals)]
    known = [(BASE + t, s) for t, s in states]
    said = newest_windows(outcome.messages)
    assert said
    for data in said.values():
        start = next(BASE + h * 60 * MIN for h in range(-24, HOURS + 1) if _is(data["start"], BASE + h * 60 * MIN))
        planned = calendar.planned(start, start + 60 * MIN)
        count = sum(n for t, n in made if any(a <= BASE + t < b for a, b in planned))
        expected = figures(
            known, planned, Made(count, 0, count * 45e9), (start, start + 60 * MIN), small_stop_ns=5 * MIN
        )
        assert data["planned_s"] == expected.planned_ns / 1e9
        assert data["spent_s"] == {c.value: ns / 1e9 for c, ns in expected.spent_ns.items() if ns}
        assert (data["produced"], data["oee"], data["availability"]) == (count, expected.oee, expected.availability)
        assert (data["failures"], data["small_stops"]) == (expected.failures, expected.small_stops)


def _is(text: str, time_ns: int) -> bool:
    from millstream.protocols.cloudevents import format_time

    return text == format_time(time_ns)
