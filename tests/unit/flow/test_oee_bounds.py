"""A machine that never rests: what OEE keeps of it stays below what the state of a key may be."""

from __future__ import annotations

import msgspec

from millstream.flow import Event, Input, TimePolicy
from millstream.flow._model import STATE_BYTES_MAX
from millstream.flow.library import FLOW_TYPES
from millstream.flow.library._calendar_windows import STATES_MAX
from millstream.flow.library._oee import BUCKETS_MAX, Bucket, Machine
from millstream.shop._orders import ORDERS_MAX, OrderSpan

BASE = 1_767_225_600_000_000_000  # 2026-01-01
MINUTE = 60 * 10**9


def test_changes_and_minutes_are_bounded_the_oldest_go_and_all_fits_into_the_state_of_a_key() -> None:
    now_ns = BASE + BUCKETS_MAX * MINUTE
    machine = Machine(
        states=[(now_ns - (STATES_MAX - n) * 10**9, ("EXECUTE", "SUSPENDED")[n % 2]) for n in range(STATES_MAX)],
        buckets=[Bucket(BASE + n * MINUTE, 60.0, 58.0, 2.0, 3.6e12) for n in range(BUCKETS_MAX)],
        totals={"produced": (now_ns - 1, 1000.0), "rejected": (now_ns - 1, 10.0)},
        orders=[OrderSpan(BASE + n * MINUTE, f"ORDER-{n:06}", 0, f"PRODUCT-{n:06}", 6e10) for n in range(ORDERS_MAX)],
        done={"hour": now_ns, "day": now_ns},
    )
    assert len(msgspec.msgpack.encode(machine)) < 0.95 * STATE_BYTES_MAX
    kind = FLOW_TYPES["oee"]
    config = kind.Config.model_validate(
        {"names": {"state": "state", "produced": "parts"}, "windows": ["hour", "day"], "ideal_cycle": "1s"}
    )
    flow = kind.build(
        "oee", (Input("acme/**", "state"), Input("acme/**", "count")), config, version=1, time=TimePolicy(0, None)
    )
    for tag, kind_of_tag, value in (("state", "state", "STOPPED"), ("parts", "count", 1001)):
        event = Event("acme", kind_of_tag, now_ns, value, source=f"acme:{tag}")
        machine, _ = flow.step(machine, event)
    assert STATES_MAX * 0.9 <= len(machine.states) <= STATES_MAX
    assert BUCKETS_MAX * 0.9 <= len(machine.buckets) <= BUCKETS_MAX
    assert machine.states[-1] == (now_ns, "STOPPED")
    assert machine.buckets[-1].produced == 1
    assert machine.gone_ns == machine.states[0][0], "what is gone corrects nothing any more"
