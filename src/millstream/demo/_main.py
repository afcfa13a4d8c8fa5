"""The entry of ``millstream demo``."""

from __future__ import annotations

import asyncio

from millstream.demo._options import parse_options


def main(argv: list[str]) -> int:
    """Parse, run, return the exit status."""
    options = parse_options(argv)
    from millstream.demo._run import run_demo  # NATS, Arrow and DuckDB are not needed for --help

    return asyncio.run(run_demo(options))
