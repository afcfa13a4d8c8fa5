"""Flows in real nodes: worker processes, and the node's side of them."""

from millstream.worker._build import build_flow
from millstream.worker._control import CONTROL_STREAM, FlowControl
from millstream.worker._deadletters import FlowDeadLetters
from millstream.worker._director import FlowDirector
from millstream.worker._instance import Around, Instance
from millstream.worker._names import floor_of, flow_publisher, state_subject
from millstream.worker._process import STUCK, bound_memory
from millstream.worker._spec import WorkerSpec
from millstream.worker._supervisor import FlowSupervisor, Surroundings
from millstream.worker._watchdog import StepWatchdog

__all__ = [
    "Around",
    "CONTROL_STREAM",
    "FlowControl",
    "FlowDirector",
    "FlowDeadLetters",
    "FlowSupervisor",
    "Instance",
    "STUCK",
    "StepWatchdog",
    "Surroundings",
    "WorkerSpec",
    "bound_memory",
    "build_flow",
    "floor_of",
    "flow_publisher",
    "state_subject",
]
