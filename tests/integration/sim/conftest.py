"""The kits of the connectors that read the simulated devices."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve()
for folder in ("modbus", "s7", "sparkplug"):
    sys.path.insert(0, str(HERE.parents[1] / folder))
sys.path.insert(0, str(HERE.parents[2] / "conformance"))
