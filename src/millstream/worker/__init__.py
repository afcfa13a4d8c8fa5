"""Flows in real nodes: worker processes, and the node's side of them."""

from typing import TYPE_CHECKING

from millstream.kernel import lazy_names

if TYPE_CHECKING:
    from millstream.worker._build import build_flow
    from millstream.worker._control import CONTROL_STREAM, FlowControl
    from millstream.worker._deadletters import FlowDeadLetters
    from millstream.worker._director import FlowDirector
    from millstream.worker._flow_audit import TellFlow, flow_teller
    from millstream.worker._instance import Around, Instance
    from millstream.worker._names import floor_of, flow_publisher, state_subject
    from millstream.worker._process import STUCK, bound_memory
    from millstream.worker._spec import WorkerSpec
    from millstream.worker._supervisor import FlowSupervisor, Surroundings
    from millstream.worker._watchdog import StepWatchdog
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "_build": "build_flow",
            "_control": "CONTROL_STREAM FlowControl",
            "_deadletters": "FlowDeadLetters",
            "_director": "FlowDirector",
            "_flow_audit": "TellFlow flow_teller",
            "_instance": "Around Instance",
            "_names": "floor_of flow_publisher state_subject",
            "_process": "STUCK bound_memory",
            "_spec": "WorkerSpec",
            "_supervisor": "FlowSupervisor Surroundings",
            "_watchdog": "StepWatchdog",
        },
    )

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
    "TellFlow",
    "Surroundings",
    "WorkerSpec",
    "bound_memory",
    "build_flow",
    "floor_of",
    "flow_publisher",
    "state_subject",
    "flow_teller",
]
