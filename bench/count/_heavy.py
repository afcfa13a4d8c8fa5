"""The part counter with a step that computes for long: there the worker is what is full first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from millstream.flow import Effect, Event, Flow, Input, TimePolicy
from millstream.flow.library import FLOW_TYPES

ROUNDS = 3000  # of arithmetic for each event: some 200 us

_counter = FLOW_TYPES["part_counter"].make("heavy", [Input("acme/**:barrier")], {}, time=TimePolicy(idle_ns=None))


def step(state: Any, event: Event) -> tuple[Any, Sequence[Effect]]:
    """Compute, then count."""
    value = event.time_ns & 0xFFFF
    for _ in range(ROUNDS):
        value = (value * 1103515245 + 12345) & 0xFFFFFFFF
    if value < 0:  # never: but nobody may leave the work out
        return None, ()
    return _counter.step(state, event)


flow: Flow[Any] = replace(_counter, step=step)
