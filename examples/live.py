"""Print live values of a site, and stop after some: `python live.py acme/plant1 --count 20`.

Run it in the folder of a running node, or name the node with MILLSTREAM_NODE.
"""

import argparse
import asyncio
from contextlib import aclosing

import millstream


async def follow(pattern: str, count: int) -> None:
    """Print `count` readings, the last known values first."""
    async with millstream.connect() as plant, aclosing(plant.live(pattern, initial=True)) as readings:
        async for reading in readings:
            print(f"{reading.path} = {reading.value} {reading.unit or ''} ({reading.quality.label})")
            count -= 1
            if count <= 0:
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="**")
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    asyncio.run(follow(arguments.pattern, arguments.count))
