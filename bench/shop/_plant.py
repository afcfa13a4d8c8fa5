"""Machines that the shop bench watches: what they say, and what OEE has kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from millstream.flow import Flow, FlowCore, Input, KeyStore, TimePolicy
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.cloudevents import CloudEvent, encode_event, format_time
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import Fact, fact_event

START_NS = 1_767_225_600_000_000_000
MINUTE_NS, HOUR_NS, DAY_NS = 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
KEEP_NS = 2 * DAY_NS
UNTIL_NS = START_NS + KEEP_NS + HOUR_NS // 2
EXPLAIN, EVERY = "250ms", "500ms"  # how often a machine tells its line, and a line its figures, in the run of the lines
SEED = "acme/plant1/line0/m0"
OEE: dict[str, Any] = {
    "names": {"state": "state", "produced": "parts"}, "ideal_cycle": "900ms", "windows": ["shift", "hour", "day"],
    "shifts": [
        {"name": name, "start": start, "end": end, "days": "daily"}
        for name, start, end in (("early", "06:00", "14:00"), ("late", "14:00", "22:00"), ("night", "22:00", "06:00"))
    ],
    "every": "250ms", "live": "input", "orders": True,
}  # fmt: skip


def place(machine: int) -> str:
    """Of a machine: lines of ten."""
    return f"acme/plant1/line{machine // 10}/m{machine}"


def _received(machine: int, kind: str, name: str, value: Any, at_ns: int, seq: int) -> Received:
    subject = f"uns.v1.{place(machine).replace('/', '.')}._{kind}.{name}"
    return Received(
        subject, encode_sample(value, quality=0, source_time_ns=at_ns, ingest_time_ns=at_ns), None, seq, at_ns
    )  # fmt: skip


def count(machine: int, total: int, at_ns: int, seq: int) -> Received:
    """What `part_counter` says."""
    return _received(machine, "count", "parts", total, at_ns, seq)


def state(machine: int, name: str, at_ns: int, seq: int) -> Received:
    """What `machine_state` says."""
    return _received(machine, "state", "state", name, at_ns, seq)


def order(machine: int, start_ns: int, end_ns: int, seq: int) -> Received:
    """That an order ran, as somebody tells it."""
    data = {"product": "M6", "ideal_cycle_s": 0.8, "start": format_time(start_ns), "end": format_time(end_ns)}
    subject, event = fact_event(Fact(f"{place(machine)}:order/4711", "order", data), "bench", str(seq), end_ns)
    headers, payload = encode_event(event)
    block = VERSION_LINE + b"\r\n" + encode_header_lines(tuple(headers.items())) + b"\r\n"
    return Received(subject, payload, block, seq, end_ns)


def oee_flow(idle_ns: int | None = None, **changes: Any) -> Flow[Any]:
    """OEE by shift, hour and day, live with each input."""
    inputs = [
        Input("acme/**:state", "state"),
        Input("acme/**:parts", "count"),
        Input("acme/**:order/*", "context"),
    ]
    return FLOW_TYPES["oee"].make("oee", inputs, {**OEE, **changes}, time=TimePolicy(idle_ns=idle_ns))


def places_flow(idle_ns: int | None = None, **changes: Any) -> Flow[Any]:
    """OEE of each line and of the site, from what machines tell of theirs."""
    inputs, config = [Input("acme/**:oee/*", "event")], {"levels": [3, 2], **changes}
    return FLOW_TYPES["oee_total"].make("places", inputs, config, time=TimePolicy(idle_ns=idle_ns))


def running(machine: int, second: int, seq: int) -> Received:
    """What the flow `oee` tells of a running hour with `explain`, half an hour after it began."""
    at_ns = START_NS + HOUR_NS // 2 + second * 10**9 + machine * 10**9 // 1000
    spent_s = (at_ns - START_NS) / 1e9
    split = {"production": spent_s * 0.7, "delay": spent_s * 0.2, "down": spent_s * 0.1}
    data = {
        "window": "live", "revision": 0, "until": format_time(START_NS + HOUR_NS), "start": format_time(START_NS),
        "end": format_time(at_ns), "oee": 0.6, "availability": 0.7, "performance": 0.9, "quality": 0.95, "teep": 0.6,
        "known": 1.0, "planned_s": spent_s, "busy_s": spent_s, "spent_s": split,
        "states_s": {"Execute": split["production"], "Held": split["delay"], "Aborted": split["down"]},
        "produced": 2000.0 + second, "rejected": 100.0, "ideal_s": spent_s * 0.63,
        "losses_s": {"failures": split["down"], "small_stops": split["delay"], "speed": spent_s * 0.07},
        "small_stops": 40, "failures": 3, "mttr_s": 60.0, "mtbf_s": 420.0, "doubts": [],
    }  # fmt: skip
    event = CloudEvent(str(seq), "/flows/oee", "millstream.oee", data, at_ns, f"{place(machine)}:oee/live")
    headers, payload = encode_event(event)
    block = VERSION_LINE + b"\r\n" + encode_header_lines(tuple(headers.items())) + b"\r\n"
    return Received(f"uns.v1.{place(machine).replace('/', '.')}._event.oee.live", payload, block, seq, at_ns)


def seeded_entries(machines: int, until_ns: int) -> Iterator[tuple[str, bytes | None]]:
    """What OEE has kept of each machine after two days: one is worked out, the others are like it."""
    store = KeyStore()
    core: FlowCore[Any] = FlowCore(oee_flow(every="0s"), store, created={"IN": "made"})
    core.begin()
    seq = 0
    for minute in range(KEEP_NS // MINUTE_NS):
        at_ns = until_ns - KEEP_NS + minute * MINUTE_NS + 10**9
        for each in (
            [state(0, ("Execute", "Held")[minute // 2 % 2], at_ns, seq + 1)] if minute % 2 == 0 else []
        ) + [count(0, minute * 30, at_ns + 10**9, seq + 2)]:  # fmt: skip
            seq += 2
            while not core.feed("IN", type(each)(each.subject, each.payload, None, seq, each.stored_time_ns)):
                core.take()
                core.committed(seq)
        core.take()
        core.committed(seq)
    whole = [(key, store.get(key)) for key in store.all_keys()]
    for machine in range(machines):
        for key, raw in whole:
            yield place(machine) + key.removeprefix(SEED), raw
