"""``millstream torture`` hands everything on to its own parser."""

from __future__ import annotations


def torture(*arguments: str) -> int:
    """Break a plant on this machine in every way, and count the parts.

    Examples:

        millstream torture --for 60s --seed 7 --json
        millstream torture --for 30s --faults kill,cut,duplicate
        millstream torture power --json

    Parameters
    ----------
    arguments
        --for 60s, --seed 1, --faults kill,cut,..., --cuts 3, --json, --keep FOLDER
    """
    from millstream.torture import main as run_torture

    return run_torture(list(arguments))
