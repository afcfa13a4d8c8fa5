"""The real PostgreSQL, the queries' reference and the hubs are those of other tests."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[2]
_PARTS = ("integration/sql", "unit/historian", "integration/forward")
sys.path[:0] = [str(_TESTS / part) for part in _PARTS]
sys.path.append(str(_TESTS / "integration/trust"))
