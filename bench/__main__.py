"""`python -m bench SCENARIO [ARGS]`: run one scenario of bench/, or list them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> int:
    """Run ``bench.<scenario>.main(argv)`` and return its exit status."""
    scenarios = sorted(p.parent.name for p in Path(__file__).parent.glob("*/__init__.py"))
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m bench SCENARIO [--json] [...]\nscenarios: " + ", ".join(scenarios))
        return 0
    if sys.argv[1] not in scenarios:
        print(f"no scenario {sys.argv[1]!r}, expected one of: {', '.join(scenarios)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
