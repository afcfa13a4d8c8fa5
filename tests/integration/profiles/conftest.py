"""The peers of the conformance cases and the plants of other tests serve here too."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parents[1] / "conformance"), str(HERE.parent / "modbus")]
