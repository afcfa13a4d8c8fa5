"""Stops whose states come late, within the flow's lateness, are the same stops and machine states as told in order."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import Input, Tick, TimePolicy, drive
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received

BASE = 1_767_225_600_000_000_000  # 2026-01-01
S = 10**9
LATE = 400  # seconds, the flow's lateness


def told(changes: list[tuple[int, str]]) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """The stops as they were told last, and the changes of the machine's state as put right."""
    messages = []
    for number, (second, state) in enumerate(changes, 1):
        time_ns = BASE + second * S
        payload = encode_sample(state, quality=0, source_time_ns=time_ns, ingest_time_ns=time_ns)
        messages.append(Received("uns.v1.acme.press._state.state", payload, None, number, 0))
    config = {"names": {"state": "state"}, "micro": "30s"}
    flow = FLOW_TYPES["downtime"].make("stops", [Input("acme/**:state", "state")], config, time=TimePolicy(LATE * S))
    outcome = drive(flow, [*messages, Tick(BASE + 3600 * S)])
    assert not outcome.rejected
    stops: dict[str, Any] = {}
    states: dict[int, str] = {}
    for message in outcome.messages:
        if "._event." in message.subject:
            data = msgspec.json.decode(message.payload)
            stops[data["start"]] = data
        else:
            sample = decode_sample(message.payload)
            states[sample.time_ns] = str(sample.value)
    kept = {start: (d["end"], d["state"], d["category"]) for start, d in stops.items() if not d.get("removed")}
    line = sorted(states.items())
    return kept, line[:1] + [now for before, now in pairwise(line) if before[1] != now[1]]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_states_that_come_late_within_the_lateness_end_in_the_same_stops(seed: int) -> None:
    rng = random.Random(seed)
    seconds = sorted(rng.sample(range(600), rng.randrange(1, 15)))
    changes = [(second, rng.choice(("Execute", "Held", "Aborted", "Idle"))) for second in seconds]
    late = sorted(changes, key=lambda change: change[0] + rng.random() * LATE)
    assert told(late) == told(changes)
