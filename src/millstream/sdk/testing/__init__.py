"""The conformance kit for connectors, virtual clocks and a virtual-time loop. For tests only, never at run time.

A connector passes when every check of `check_names` holds for its `ConformanceCase`; see `run_check`.
"""

from millstream.sdk.testing._case import ConformanceCase, ExpectedValue, NotApplicable, Peer
from millstream.sdk.testing._clock import JumpingClock, LoopClock, VirtualClock, VirtualTimeLoop, run_virtual
from millstream.sdk.testing._faults import FaultLayer, FaultyWire, WireFault
from millstream.sdk.testing._leaks import Resources, assert_nothing_left, held_resources
from millstream.sdk.testing._paper import CLAIMS, README_HEADINGS
from millstream.sdk.testing._running import (
    StaleWaiverError,
    check_names,
    connector_names,
    load_connector,
    run_check,
)

__all__ = [
    "CLAIMS",
    "README_HEADINGS",
    "ConformanceCase",
    "ExpectedValue",
    "FaultLayer",
    "FaultyWire",
    "JumpingClock",
    "LoopClock",
    "NotApplicable",
    "Peer",
    "Resources",
    "StaleWaiverError",
    "VirtualClock",
    "VirtualTimeLoop",
    "WireFault",
    "assert_nothing_left",
    "check_names",
    "connector_names",
    "held_resources",
    "load_connector",
    "run_check",
    "run_virtual",
]
