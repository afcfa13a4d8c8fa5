"""``millstream demo`` hands everything on to the demo's own parser."""

from __future__ import annotations


def demo(*arguments: str) -> int:
    """Show the whole path on real data, with a cut uplink and the ledger.

    Examples:

        millstream demo
        millstream demo --for 30s --cut 8s --json

    Parameters
    ----------
    arguments
        --for 30s, --cut 8s, --json, --keep FOLDER
    """
    from millstream.demo import main as run_demo

    return run_demo(list(arguments))
