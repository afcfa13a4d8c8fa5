"""Flows in real nodes: worker processes, and the node's side of them."""

from millstream.worker._build import build_flow
from millstream.worker._deadletters import FlowDeadLetters
from millstream.worker._instance import run_instance
from millstream.worker._names import floor_of, flow_publisher, state_subject
from millstream.worker._spec import WorkerSpec
from millstream.worker._supervisor import FlowSupervisor, Surroundings

__all__ = [
    "FlowDeadLetters",
    "FlowSupervisor",
    "Surroundings",
    "WorkerSpec",
    "build_flow",
    "floor_of",
    "flow_publisher",
    "run_instance",
    "state_subject",
]
