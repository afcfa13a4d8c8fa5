"""`python -m bench SCENARIO [ARGS]`: run one scenario of bench/, all of them, or list them."""

from __future__ import annotations

import ast
import importlib
import signal
import sys
from pathlib import Path
from types import FrameType

FOLDER = Path(__file__).parent


def scenarios() -> dict[str, str]:
    """Each scenario with the first sentence of what it measures."""
    found = {}
    for path in sorted(FOLDER.glob("*/__init__.py")):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.parent.name] = about.partition("\n")[0]
    return found


def main() -> int:
    """Run ``bench.<scenario>.main(argv)`` and return its exit status."""
    known = scenarios()
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print("usage: python -m bench SCENARIO [--json] [--short] [...]\n")
        for each, about in known.items():
            print(f"  {each:10} {about}")
        print(f'  {"all":10} Each of them in turn.\n\nSCENARIO --help tells the rest; make bench ARGS="ingest --json"')
        return 0
    if name == "all":
        statuses = [int(importlib.import_module(f"bench.{each}").main(rest) or 0) for each in known]
        return max(statuses)
    if name not in known:
        print(f"no scenario {name!r}, expected one of: {', '.join([*known, 'all'])}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"bench.{name}").main(rest) or 0)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that every scope is left and no process stays behind


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(main())
