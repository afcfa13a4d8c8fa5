"""The uplink as a process of its own, so that the load does not slow it down: SIGUSR1 cuts it, SIGUSR2 repairs it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from millstream.sim import FaultProxy


async def serve(target_port: int) -> None:
    """Until SIGTERM; the first line of output tells the port."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with FaultProxy("127.0.0.1", target_port) as proxy:
        loop.add_signal_handler(signal.SIGUSR1, proxy.cut)
        loop.add_signal_handler(signal.SIGUSR2, proxy.restore)
        print(json.dumps({"port": proxy.port}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
