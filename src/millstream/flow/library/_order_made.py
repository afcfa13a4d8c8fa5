"""Totals of each order: what was made for it, added up and put right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millstream.flow._model import Effect, EmitEvent, Event, Flow, Input, TimePolicy, key_of_asset
from millstream.flow.library._type import FlowConfig, FlowType, OutputName
from millstream.protocols.cloudevents import format_time
from millstream.shop import ORDER_MADE_TYPE, OrdersMade, add_window, made_data

WINDOW_TYPE = "millstream.oee"


class OrderMadeConfig(FlowConfig):
    """How the totals are called."""

    output: OutputName = "made"
    """Name of the events at the machine, with the order behind it: `made/4711-10`."""


class _Add:
    """The step."""

    def __init__(self, config: OrderMadeConfig) -> None:
        self._output = config.output

    def __call__(self, kept: OrdersMade, event: Event) -> tuple[OrdersMade, Sequence[Effect]]:
        if event.is_timer or event.type != WINDOW_TYPE:
            return kept, ()
        return kept, [self._told(event, kept, order) for order in add_window(kept, event.value)]

    def _told(self, event: Event, kept: OrdersMade, order: str) -> EmitEvent:
        total = kept.orders[order]
        data = dict(made_data(order, total, format_time(total.until_ns)))
        return EmitEvent(f"{event.key}:{self._output}/{order}", ORDER_MADE_TYPE, data, total.until_ns)


def _build(
    name: str, inputs: tuple[Input, ...], config: OrderMadeConfig, *, version: int, time: TimePolicy
) -> Flow[Any]:
    return Flow(name, inputs, _Add(config), OrdersMade, OrdersMade, key_of_asset, None, ("event",), time, version)


ORDER_MADE = FlowType(
    "order_made", OrderMadeConfig, _build,
    "Adds up what was made for each order, good and rejected, from the windows that `oee` gives (inputs of kind "
    "`event`: one size of window, such as `**:oee/hour`, of a flow `oee` with `orders: true`). A window that is put "
    "right later changes the totals by the difference; each total comes with a revision that only grows. It is what "
    "`millstream erp` confirms.",
)  # fmt: skip
