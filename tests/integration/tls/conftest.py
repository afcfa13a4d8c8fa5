"""The ramp connector of the edge's tests, the operator of the trust tests."""

from __future__ import annotations

import sys
from pathlib import Path

for area in ("edge", "trust"):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / area))
