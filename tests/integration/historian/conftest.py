"""The real PostgreSQL and the queries' reference are those of other tests."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_TESTS / "integration" / "sql"), str(_TESTS / "unit" / "historian")]
