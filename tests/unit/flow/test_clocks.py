"""What of a clock that runs ahead flows believe: no device's clock makes what others say late for hours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from millstream.flow import Input, TimePolicy, drive
from millstream.flow._clock import excess_ns
from millstream.flow._codec import decode_facts
from millstream.flow.library import FLOW_TYPES
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample
from millstream.sdk import Received

BASE = 1_767_225_600_000_000_000
SECOND, MINUTE, HOUR = 10**9, 60 * 10**9, 3600 * 10**9
NEPAL = 5 * HOUR + 45 * MINUTE


@pytest.mark.parametrize(
    ("ahead", "excess"),
    [
        (-HOUR, 0),
        (11 * SECOND, 0),
        (5 * MINUTE, 0),
        (5 * MINUTE + 1, 5 * MINUTE + 1),
        (HOUR - 3 * SECOND, HOUR),
        (NEPAL + 90 * SECOND, NEPAL),
        (14 * HOUR, 14 * HOUR),
        (15 * HOUR + 1, 15 * HOUR + 1),
        (3 * HOUR + 7 * MINUTE, 3 * HOUR + 7 * MINUTE),
        (30 * 24 * HOUR, 30 * 24 * HOUR),
    ],
)
def test_a_clock_is_put_right_by_a_time_zone_or_by_all_that_it_is_ahead(ahead: int, excess: int) -> None:
    assert excess_ns(ahead) == excess


def test_a_block_in_local_time_keeps_the_distances_of_its_samples_and_its_place() -> None:
    took_ns = BASE + 3 * SECOND
    block = Block("acme:v", BASE + 2 * HOUR + 7 * np.arange(3), np.ones(3))
    payload = encode_block(block, ingest_time_ns=took_ns, clock="ahead")
    headers = f"NATS/1.0\r\nContent-Type: {ARROW_TYPE}\r\n\r\n".encode()
    facts = decode_facts("tag", Received("uns.v1.acme._tag.v", payload, headers, 1, took_ns))
    assert [fact.time_ns - BASE for fact in facts] == [0, 7, 14]


def said(ahead: int, machines: tuple[str, ...] = ("m",)) -> dict[str, list[Any]]:
    """What energy flows say of machines whose meters have the right time, while a controller that counts the parts of
    the first one is `ahead`; by machine."""
    config = {
        "names": {"meter": "e", "parts": "parts"},
        "windows": ["hour"],
        "demand": "5min",
        "wait": "0s",
        "max_power": 90_000,
    }
    time = TimePolicy(lateness_ns=30 * SECOND, idle_ns=5 * SECOND)
    flow = replace(FLOW_TYPES["energy"].make("f", [Input("acme/**")], config, time=time), piece_type=None)
    items: list[Received] = []
    for minute in range(100):
        at_ns = BASE + minute * MINUTE
        for machine in machines:
            off_ns = ahead if machine == "m" else 0
            for name, value, time_ns in (("parts", minute * 3, at_ns + off_ns), ("e", minute * 50.0, at_ns)):
                clock = "ahead" if time_ns > at_ns + 10 * SECOND else None
                payload = encode_sample(value, quality=0, source_time_ns=time_ns, ingest_time_ns=at_ns, clock=clock)
                items.append(Received(f"uns.v1.acme.{machine}._tag.{name}", payload, None, len(items) + 1, at_ns))
    made: dict[str, list[Any]] = {}
    for message in drive(flow, items).messages:
        made.setdefault(message.subject.split(".")[3], []).append((message.subject, message.payload))
    return made


@pytest.mark.parametrize("ahead", [3 * HOUR, 2 * HOUR + 20 * MINUTE, 24 * HOUR, 400 * 24 * HOUR])
def test_a_controller_that_is_hours_ahead_changes_no_figure_of_its_machine(ahead: int) -> None:
    right = said(0)
    assert len(right["m"]) > 20
    assert said(ahead) == right


def test_a_clock_that_is_believed_makes_no_other_machine_late() -> None:
    assert said(4 * MINUTE, ("m", "n"))["n"] == said(0, ("m", "n"))["n"]
