"""An edge with a ramp as a process: ``python ramp_edge.py EDGE.yaml``."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from ramp import CATALOG

from millstream.config import load_edge
from millstream.edge import EdgeNode


async def main() -> None:
    config, findings = load_edge(Path(sys.argv[1]), CATALOG)
    assert config is not None, findings
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await EdgeNode(config, connectors=CATALOG).run(stop)


if __name__ == "__main__":
    asyncio.run(main())
