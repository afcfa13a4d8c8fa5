"""The state model of PackML: the steps of ISA-TR88.00.02, and those that one sees when acting states are short."""

from __future__ import annotations

import csv
import datetime
from collections import defaultdict
from pathlib import Path

import pytest

from millstream.flow import Input, drive, with_ticks
from millstream.flow._cases import read_lines
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.uns_payload import decode_sample
from millstream.shop import (
    CATEGORIES,
    MTCONNECT,
    PACKML_ACTING,
    PACKML_NUMBERS,
    PACKML_SEEN_STEPS,
    PACKML_STATES,
    PACKML_STEPS,
    Made,
    figures,
)

DATA = Path(__file__).resolve().parents[2] / "data" / "mazak-execution"
RUNNING = ("Execute", "Held")  # ACTIVE; FEED_HOLD and INTERRUPTED


def test_there_are_seventeen_states_and_each_is_known_to_oee() -> None:
    assert len(PACKML_STATES) == 17
    assert set(PACKML_STATES) <= set(CATEGORIES)
    assert set(MTCONNECT) | {"UNAVAILABLE"} <= set(CATEGORIES)
    assert (PACKML_NUMBERS[6], PACKML_NUMBERS[9], PACKML_NUMBERS[17]) == ("Execute", "Aborted", "Complete")


def test_every_state_can_be_left_and_be_come_to() -> None:
    for state in PACKML_STATES:
        assert PACKML_STEPS[state]
        assert any(state in after for after in PACKML_STEPS.values())
        assert state not in PACKML_SEEN_STEPS[state]
        assert PACKML_STEPS[state] <= PACKML_SEEN_STEPS[state]
    assert all(len(PACKML_STEPS[state]) <= 3 for state in PACKML_ACTING)


@pytest.mark.parametrize(
    ("before", "after", "is_step", "is_seen"),
    [
        ("Execute", "Holding", True, True), ("Execute", "Held", False, True), ("Idle", "Execute", False, True),
        ("Stopped", "Execute", False, False), ("Aborted", "Execute", False, False), ("Aborted", "Stopped", False, True),
        ("Held", "Complete", False, False), ("Execute", "Aborted", False, True), ("Complete", "Idle", False, True),
        ("Stopping", "Aborting", True, True), ("Aborting", "Stopping", False, False),
    ],
)  # fmt: skip
def test_steps_of_the_standard(before: str, after: str, is_step: bool, is_seen: bool) -> None:
    assert (after in PACKML_STEPS[before], after in PACKML_SEEN_STEPS[before]) == (is_step, is_seen)


def test_run_time_through_the_template_of_a_lathe_agrees_with_the_controllers_counter() -> None:
    """The five recorded days, each machine state through the flow `state_model`, against the reference."""
    with (DATA / "reference_state_seconds.csv").open(encoding="utf-8", newline="") as file:
        reference = {row["file"]: row for row in csv.DictReader(file)}
    with (DATA / "execution.csv").open(encoding="utf-8", newline="") as file:
        days: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in csv.DictReader(file):
            days[row["file"]].append((row["time"], row["state"]))
    config = {"of": "execution", "templates": {"lathe": "mtconnect"}}
    inputs = [Input("acme/**"), Input("acme/**:asset", "context")]
    assert len(days) == 5
    for name, rows in days.items():
        flow = FLOW_TYPES["state_model"].make("states", inputs, config)
        asset = (
            f'{{"time": "{rows[0][0]}", "path": "acme/mazak:asset", "kind": "context", '
            '"type": "millstream.context.asset", "data": {"template": "lathe"}}'
        )
        lines = [f'{{"time": "{at}", "path": "acme/mazak:execution", "value": "{state}"}}' for at, state in rows[:-1]]
        outcome = drive(flow, with_ticks(flow, read_lines("\n".join([asset, *lines]))))
        assert not outcome.rejected
        records = [decode_sample(message.payload) for message in outcome.messages]
        states = [(record.time_ns, str(record.value)) for record in records]
        end = datetime.datetime.fromisoformat(rows[-1][0])
        span = (states[0][0], int(end.timestamp()) * 10**9 + end.microsecond * 1000)
        found = figures(states, [span], Made(), span)
        expected: dict[str, float] = defaultdict(float)
        for raw, state in MTCONNECT.items():
            expected[state] += float(reference[name].get(raw) or 0)
        for state, seconds in expected.items():
            assert found.states_ns.get(state, 0) / 1e9 == pytest.approx(seconds, abs=2), (name, state)
        run_s = sum(found.states_ns.get(state, 0) for state in RUNNING) / 1e9
        assert run_s == pytest.approx(float(reference[name]["auto_time_increment"]), rel=0.04)
