"""Lost packets: a network of our own in which a rule drops them. Linux, root, nftables."""

from __future__ import annotations

import asyncio
import os
import subprocess

from millstream.torture._disk import CLONE_NEWNET, find_tool, own_namespace

TABLE = "millstream_torture"
PROGRAMS = ("nft", "ip")


def why_no_packet_loss() -> str | None:
    """What keeps this machine from dropping packets; None when nothing does."""
    if os.geteuid() != 0:
        return "needs root: it makes a network namespace"
    missing = [name for name in PROGRAMS if find_tool(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def enter_own_network() -> str | None:
    """Leave the machine's network for one that has a loopback only; all children follow. Before any thread exists.
    The reason when that is refused."""
    reason = own_namespace(CLONE_NEWNET)
    if reason is not None:
        return reason
    try:
        _call("ip", "link", "set", "lo", "up")
        _call("nft", f"add table inet {TABLE}")
        _call("nft", f"add chain inet {TABLE} input {{ type filter hook input priority 0; }}")
    except (OSError, subprocess.CalledProcessError) as error:
        return str(error)
    return None


def _call(name: str, *arguments: str) -> None:
    subprocess.run([find_tool(name) or name, *arguments], check=True, capture_output=True)


async def drop(ports: dict[int, float]) -> None:
    """From now on lose this share of the packets to and from each port, and no others."""
    rules = [f"flush chain inet {TABLE} input"]
    for port, share in ports.items():
        rules += [
            f"add rule inet {TABLE} input tcp {way} {port} numgen random mod 1000 < {round(share * 1000)} drop"
            for way in ("dport", "sport")
        ]
    await asyncio.to_thread(_call, "nft", "; ".join(rules))
