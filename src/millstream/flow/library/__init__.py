"""The flows that plants need first. Each is a type with a configuration; docs/reference/flows.md lists them."""

from collections.abc import Mapping
from types import MappingProxyType

from millstream.flow.library._alarm import ALARM
from millstream.flow.library._alarm_flood import ALARM_FLOOD
from millstream.flow.library._anomaly import ANOMALY
from millstream.flow.library._change_of_state import CHANGE_OF_STATE
from millstream.flow.library._deadband import DEADBAND, SWINGING_DOOR
from millstream.flow.library._dedup import DEDUP
from millstream.flow.library._derived_tag import DERIVED_TAG
from millstream.flow.library._downtime import DOWNTIME
from millstream.flow.library._energy import ENERGY
from millstream.flow.library._line import LINE
from millstream.flow.library._machine_state import MACHINE_STATE
from millstream.flow.library._notify import NOTIFY
from millstream.flow.library._oee import OEE
from millstream.flow.library._order_made import ORDER_MADE
from millstream.flow.library._part_counter import PART_COUNTER
from millstream.flow.library._rate import RATE
from millstream.flow.library._remaining_life import REMAINING_LIFE
from millstream.flow.library._runs import RUNS
from millstream.flow.library._spc import SPC
from millstream.flow.library._state_model import STATE_MODEL
from millstream.flow.library._tool import TOOL_MONITOR
from millstream.flow.library._type import Build, FlowConfig, FlowType, OutputName, OutputPath
from millstream.flow.library._unit_conversion import UNIT_CONVERSION
from millstream.flow.library._waveform import WAVEFORM

_ALL = (
    PART_COUNTER, RATE, MACHINE_STATE, OEE, ENERGY, CHANGE_OF_STATE, RUNS, DERIVED_TAG, UNIT_CONVERSION, DEADBAND,
    SWINGING_DOOR, DEDUP, ALARM, ALARM_FLOOD, SPC, DOWNTIME, NOTIFY, WAVEFORM, ANOMALY,
    ORDER_MADE, TOOL_MONITOR, STATE_MODEL, LINE, REMAINING_LIFE,
)  # fmt: skip
FLOW_TYPES: Mapping[str, FlowType] = MappingProxyType({flow_type.name: flow_type for flow_type in _ALL})
"""Built-in types by name."""

__all__ = ["FLOW_TYPES", "Build", "FlowConfig", "FlowType", "OutputName", "OutputPath"]
