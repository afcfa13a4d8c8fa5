"""The flows that plants need first. Each is a type with a configuration; docs/reference/flows.md lists them."""

from collections.abc import Mapping
from types import MappingProxyType

from millstream.flow.library._part_counter import PART_COUNTER
from millstream.flow.library._type import Build, FlowConfig, FlowType, OutputName, OutputPath

_ALL = (PART_COUNTER,)
FLOW_TYPES: Mapping[str, FlowType] = MappingProxyType({flow_type.name: flow_type for flow_type in _ALL})
"""Built-in types by name."""

__all__ = ["FLOW_TYPES", "Build", "FlowConfig", "FlowType", "OutputName", "OutputPath"]
