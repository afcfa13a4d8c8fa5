"""A historian on a node's connection: the hub's and the edges' are made here, alike."""

from millstream.archive._events import HistoryEvents
from millstream.archive._jobs import HistoryJobs
from millstream.archive._node import node_historian
from millstream.archive._ports import NodeDeadLetters, NodeRequests, NodeStreamStates

__all__ = ["HistoryEvents", "HistoryJobs", "NodeDeadLetters", "NodeRequests", "NodeStreamStates", "node_historian"]
