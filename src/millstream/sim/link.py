"""A link that can be cut, by Ctrl-C: python -m millstream.sim.link --listen 7423 --to 7422.

Put it between an edge and its hub: the edge's `uplink` names the one port, the hub's `leaf_port` is the other. End it
and the link is cut; start it again and it is whole. `--delay` and `--rate` make it slow. The first line on standard
output has its port.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from millstream.sim._proxy import Fault, FaultProxy


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m millstream.sim.link", description="A link that can be cut.")
    parser.add_argument("--listen", type=int, default=0, help="port on loopback; 0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1", help="where it leads")
    parser.add_argument("--to", type=int, required=True, help="port where it leads")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    parser.add_argument("--rate", type=float, default=None, help="bytes a second, each way")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace) -> None:
    """Be the link until a signal."""
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with FaultProxy(options.host, options.to, listen_port=options.listen) as proxy:
        proxy.set(Fault(delay_s=options.delay, bytes_per_s=options.rate))
        sys.stdout.write(json.dumps({"port": proxy.port}) + "\n")
        sys.stdout.flush()
        await ending.wait()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    asyncio.run(run(_options(arguments)))


if __name__ == "__main__":
    main()
