"""Orders that are told late, or again and again, end in the same figures as orders that were told at once."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import Input, Kills, Tick, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.cloudevents import encode_event, format_time
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import Fact, fact_event

BASE = 1_767_225_600_000_000_000  # 2026-01-01
MIN = 60 * 10**9
HOURS = 6
CONFIG: dict[str, Any] = {
    "names": {"state": "state", "produced": "parts"}, "orders": True, "windows": ["hour"], "every": "0s",
    "order_max": "2h",
}  # fmt: skip


def sample(contract: str, name: str, time_ns: int, value: Any) -> tuple[str, bytes, bytes | None]:
    payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return f"uns.v1.acme.press._{contract}.{name}", payload, None


def order(name: str, told_ns: int, data: dict[str, Any]) -> tuple[str, bytes, bytes | None]:
    subject, event = fact_event(Fact(f"acme/press:order/{name}", "order", data), "ada", f"{name}-{told_ns}", told_ns)
    headers, payload = encode_event(event)
    block = "NATS/1.0\r\n" + "".join(f"{key}: {text}\r\n" for key, text in headers.items()) + "\r\n"
    return subject, payload, block.encode()


def newest(arrivals: list[tuple[float, tuple[str, bytes, bytes | None]]], *, is_killed: bool) -> dict[str, Any]:
    """Each window as it was given last."""
    items: list[Any] = [
        Received(subject, payload, headers, number, 0)
        for number, (_, (subject, payload, headers)) in enumerate(sorted(arrivals, key=lambda each: each[0]), 1)
    ]
    items.append(Tick(BASE + (HOURS + 1) * 60 * MIN))
    inputs = [Input("acme/**", kind) for kind in ("state", "count", "context")]
    flow = FLOW_TYPES["oee"].make("oee", inputs, CONFIG, time=TimePolicy())
    kills = Kills({i: i % 3 for i in range(0, len(items), 4)}) if is_killed else None
    outcome = drive(flow, items, unit_items=3, kills=kills)
    assert not outcome.rejected
    told = [msgspec.json.decode(m.payload) for m in outcome.messages if "._event." in m.subject]
    return {data["start"]: {k: v for k, v in data.items() if k != "revision"} for data in told}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_orders_that_are_told_late_end_in_the_same_figures(seed: int) -> None:
    rng = random.Random(seed)
    facts = [(0.0, sample("state", "state", BASE + 7, "Execute")), (0.1, sample("count", "parts", BASE + 9, 0))]
    minutes = sorted(rng.sample(range(1, HOURS * 60), 12))
    for total, minute in enumerate(minutes, 1):
        facts.append((float(minute), sample("count", "parts", BASE + minute * MIN, total * 10)))
    starts = sorted(rng.sample(range(0, HOURS * 60, 5), 4))
    at_once, late = list(facts), list(facts)
    for n, start in enumerate(starts):
        data = {"product": f"M{n}", "ideal_cycle_s": float(rng.randrange(1, 60))}
        data["start"] = format_time(BASE + start * MIN)
        if rng.random() < 0.5:
            data["end"] = format_time(BASE + (start + rng.randrange(5, 120)) * MIN)
        at_once.append((0.2 + n / 100, order(f"o{n}", BASE + 10, data)))
        told = HOURS * 60 * rng.random()
        wrong = {**data, "start": format_time(BASE + rng.randrange(0, HOURS * 60) * MIN), "end": None}
        late.append((told, order(f"o{n}", BASE + int(told * MIN), wrong)))
        late.append((told + rng.random() * 60, order(f"o{n}", BASE + int(told * MIN), data)))
    assert newest(late, is_killed=rng.random() < 0.5) == newest(at_once, is_killed=False)
