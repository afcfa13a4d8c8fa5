"""The edge node: connectors, store and forward, on one machine."""

from millstream.edge._discover import Discoverer, Discovery, Found, Gentleness, discoverable, questions
from millstream.edge._lifecycle import Alarm, State
from millstream.edge._naming import snake_case, unique
from millstream.edge._node import EdgeNode
from millstream.edge._probe import BrowseResult, ProbeResult, browse, probe, starting_config

__all__ = [
    "Alarm",
    "BrowseResult",
    "Discoverer",
    "Discovery",
    "EdgeNode",
    "Found",
    "Gentleness",
    "ProbeResult",
    "State",
    "browse",
    "discoverable",
    "probe",
    "questions",
    "snake_case",
    "starting_config",
    "unique",
]
