"""What people say of parts, and how they put it right, gives the same figures whenever they say it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import Input, Tick, TimePolicy, drive
from millstream.flow._drive import Item
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.cloudevents import encode_event
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received
from millstream.shop import RejectAsk, reject_ask_event

BASE = 1_767_225_600_000_000_000  # 2026-01-01
S = 10**9
END = 3 * 3600
Told = tuple[int, Any]
"""A second and what comes then."""


def sample(name: str, kind: str, value: Any, second: int) -> Received:
    time_ns = BASE + second * S
    payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
    return Received(f"uns.v1.acme.press._{kind}.{name}", payload, None, 0, 0)


def said(ask: RejectAsk, second: int) -> Received:
    subject, event = reject_ask_event("acme/press:quality", ask, BASE + second * S)
    headers, payload = encode_event(event)
    block = "NATS/1.0\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items()) + "\r\n"
    return Received(subject, payload, block.encode(), 0, 0)


def numbered(messages: list[Any]) -> list[Item]:
    return [Received(m.subject, m.payload, m.headers, n, 0) for n, m in enumerate(messages, 1)]


def figures(told: list[Told]) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    """Parts of each minute, lots and windows of OEE as they stand in the end, without how often they were told."""
    ordered = sorted(told, key=lambda each: each[0])
    items = numbered([said(what, at) if isinstance(what, RejectAsk) else what for at, what in ordered])
    names = {"scrap": "scrap", "rework": "rework"}
    inputs = [Input("acme/**:scrap", "count"), Input("acme/**:rework", "count")]
    quality = drive(FLOW_TYPES["quality"].make("quality", inputs, {"names": names}, time=TimePolicy()), items)
    assert not quality.rejected
    minutes: dict[Any, Any] = {}
    lots: dict[Any, Any] = {}
    rejects = []
    for message in quality.messages:
        if "._event." in message.subject:
            data = msgspec.json.decode(message.payload)
            lots[data["lot"]] = None if data.get("removed") else (data["kind"], data["count"], data["reason"])
        else:
            found = decode_sample(message.payload)
            minutes[message.subject, found.time_ns] = found.value
            rejects.append(Received(message.subject, message.payload, None, 0, 0))
    parts = [what for _, what in ordered if isinstance(what, Received) and what.subject.endswith("_count.parts")]
    oee = FLOW_TYPES["oee"].make(
        "oee", [Input("acme/**", "state"), Input("acme/**", "count")],
        {
            "names": {"state": "state", "produced": "parts", "scrap": "quality/scrap", "rework": "quality/rework"},
            "ideal_cycle": "2s", "every": "0s",
        },
        time=TimePolicy(),
    )  # fmt: skip
    whole = numbered([sample("state", "state", "Execute", 0), *parts, *rejects])
    begun = 1 + len(parts)
    outcome = drive(oee, [*whole[:begun], Tick(BASE + (END + 60) * S), *whole[begun:]])
    assert not outcome.rejected
    windows: dict[Any, Any] = {}
    for message in outcome.messages:
        if "._event." in message.subject:
            data = msgspec.json.decode(message.payload)
            assert data.pop("revision") >= 0
            windows[data["start"]] = data
    return {at: n for at, n in minutes.items() if n}, {name: lot for name, lot in lots.items() if lot}, windows


def machine(rng: random.Random) -> list[Told]:
    """Parts, and what the counters of the machine say."""
    told: list[Told] = [(0, sample(name, "count", 0, 0)) for name in ("parts", "scrap", "rework")]
    totals = {"parts": 0, "scrap": 0, "rework": 0}
    for second in sorted(rng.sample(range(1, END), rng.randrange(1, 12))):
        name = rng.choice(("parts", "scrap", "scrap", "rework"))
        totals[name] += rng.randrange(1, 6)
        told.append((second, sample(name, "count", totals[name], second)))
    return told


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_said_late_and_put_right_is_as_if_it_had_been_said_right_at_once(seed: int) -> None:
    rng = random.Random(seed)
    counted = machine(rng)
    at_once, late = list(counted), list(counted)
    for number in range(rng.randrange(1, 6)):
        start, long = rng.randrange(0, END - 1800), rng.randrange(1, 1800)
        right = RejectAsk(
            f"c{number}", "ada", float(rng.randrange(1, 9)), rng.choice(("scrap", "rework")),
            BASE + start * S, BASE + (start + long) * S, rng.choice(("scratches", "dents", "")),
        )  # fmt: skip
        at_once.append((start + long, right))
        when = rng.randrange(start + long, END + 3600)
        late.append((when, right))
        if right.reason and rng.random() < 0.5:
            wrong = msgspec.structs.replace(right, count=float(rng.randrange(1, 20)), reason="oops", kind="scrap")
            put_right = RejectAsk(f"a{number}", "bob", right.count, right.kind, reason=right.reason, of=right.id)
            late[-1:] = [(when, wrong), (when + 60, put_right)]
    assert figures(late) == figures(at_once)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_what_was_taken_back_was_never_said_and_each_part_is_in_one_lot(seed: int) -> None:
    rng = random.Random(seed)
    counted = machine(rng)
    before, start = figures(counted), rng.randrange(0, END - 1800)
    span = (BASE + start * S, BASE + (start + 1800) * S)
    ask = RejectAsk("c", "ada", float(rng.randrange(1, 9)), "scrap", *span, "dents")
    back = RejectAsk("d", "ada", 0.0, of="c")
    assert figures([*counted, (END + 60, ask), (END + 120, back)]) == before
    minutes, lots, _ = figures([*counted, (END + 60, ask)])
    total, were = sum(minutes.values()), sum(before[0].values())
    assert ask.count is not None
    assert max(were, ask.count) <= total <= were + ask.count
    assert sum(lot[1] for lot in lots.values()) == total
