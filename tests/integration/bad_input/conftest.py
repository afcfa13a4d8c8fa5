"""Helpers of the other integration tests and the peers of the conformance cases serve here too."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [
    str(HERE.parent / "edge"),
    str(HERE.parent / "modbus"),
    str(HERE.parent / "forward"),
    str(HERE.parent / "mqtt"),
    str(HERE.parents[1] / "conformance"),
]
