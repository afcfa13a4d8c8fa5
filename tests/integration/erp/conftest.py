"""What the tests of flows in real nodes share serves here too."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("edge", "flow"):
    sys.path.append(str(Path(__file__).resolve().parents[1] / folder))
