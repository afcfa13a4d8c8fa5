"""The edge node: connectors, store and forward, on one machine."""

from millstream.edge._discover import Discoverer, Discovery, Found, Gentleness, discoverable, questions
from millstream.edge._join import JoinedEdge, join_hub
from millstream.edge._lifecycle import Alarm, State
from millstream.edge._naming import connector_name, snake_case
from millstream.edge._node import EdgeNode
from millstream.edge._onboard import (
    ADDRESSES_BYTES_MAX,
    Survey,
    SurveyOptions,
    onboarded_file,
    parse_addresses,
    survey,
)
from millstream.edge._probe import BrowseResult, ProbeResult, browse, probe, starting_config
from millstream.edge._proposal import TagProposal
from millstream.edge._start_check import check_start

__all__ = [
    "ADDRESSES_BYTES_MAX",
    "Alarm",
    "BrowseResult",
    "Discoverer",
    "Discovery",
    "EdgeNode",
    "Found",
    "JoinedEdge",
    "Gentleness",
    "ProbeResult",
    "State",
    "Survey",
    "SurveyOptions",
    "TagProposal",
    "browse",
    "check_start",
    "connector_name",
    "join_hub",
    "discoverable",
    "onboarded_file",
    "parse_addresses",
    "probe",
    "questions",
    "snake_case",
    "starting_config",
    "survey",
]
