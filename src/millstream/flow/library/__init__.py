"""The flows that plants need first. Each is a type with a configuration; docs/reference/flows.md lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from millstream.flow.library._type import Build, FlowConfig, FlowType, OutputName, OutputPath

_WHERE = {
    "part_counter": ("_part_counter", "PART_COUNTER"),
    "rate": ("_rate", "RATE"),
    "machine_state": ("_machine_state", "MACHINE_STATE"),
    "oee": ("_oee", "OEE"),
    "oee_total": ("_oee_total", "OEE_TOTAL"),
    "energy": ("_energy", "ENERGY"),
    "change_of_state": ("_change_of_state", "CHANGE_OF_STATE"),
    "runs": ("_runs", "RUNS"),
    "derived_tag": ("_derived_tag", "DERIVED_TAG"),
    "unit_conversion": ("_unit_conversion", "UNIT_CONVERSION"),
    "deadband": ("_deadband", "DEADBAND"),
    "swinging_door": ("_deadband", "SWINGING_DOOR"),
    "dedup": ("_dedup", "DEDUP"),
    "alarm": ("_alarm", "ALARM"),
    "alarm_flood": ("_alarm_flood", "ALARM_FLOOD"),
    "spc": ("_spc", "SPC"),
    "downtime": ("_downtime", "DOWNTIME"),
    "quality": ("_quality", "QUALITY"),
    "notify": ("_notify", "NOTIFY"),
    "waveform": ("_waveform", "WAVEFORM"),
    "anomaly": ("_anomaly", "ANOMALY"),
    "order_made": ("_order_made", "ORDER_MADE"),
    "tool": ("_tool", "TOOL_MONITOR"),
    "state_model": ("_state_model", "STATE_MODEL"),
    "state_check": ("_state_check", "STATE_CHECK"),
    "line": ("_line", "LINE"),
    "remaining_life": ("_remaining_life", "REMAINING_LIFE"),
    "orders": ("_orders", "ORDERS"),
    "twin": ("_twin", "TWIN"),
}


class _Library(Mapping[str, FlowType]):
    """Each type is imported when it is asked for: a node or a worker runs few of them."""

    def __getitem__(self, name: str) -> FlowType:
        return _imported(*_WHERE[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_WHERE)

    def __len__(self) -> int:
        return len(_WHERE)

    def __contains__(self, name: object) -> bool:
        return name in _WHERE


@cache
def _imported(module: str, constant: str) -> FlowType:
    found = getattr(import_module(f"millstream.flow.library.{module}"), constant)
    assert isinstance(found, FlowType)
    return found


FLOW_TYPES: Mapping[str, FlowType] = _Library()
"""Built-in types by name."""

__all__ = ["FLOW_TYPES", "Build", "FlowConfig", "FlowType", "OutputName", "OutputPath"]
