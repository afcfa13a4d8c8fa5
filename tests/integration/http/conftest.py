"""The scripted server is that of the conformance case, the edge as a process that of files, the certificates those of
MQTT."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "conformance"))
for area in ("files", "mqtt"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / area))
