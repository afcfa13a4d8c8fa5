"""What a person can ask of the demo."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from millstream.kernel import ConfigError, parse_duration_s


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Times in seconds. `keep` is the folder to leave behind for a look, None for a temporary one."""

    for_s: float
    cut_s: float
    is_json: bool
    keep: Path | None


def _duration(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_options(argv: list[str]) -> DemoOptions:
    """Parse the arguments of ``millstream demo``; exits with status 2 on a usage error."""
    parser = argparse.ArgumentParser(
        prog="millstream demo",
        description="A plant, an edge and a hub on this machine: the uplink is cut, the ledger shows what that cost.",
        epilog='example: millstream demo --for 30s --cut 8s --json; make demo ARGS="--for 30s --cut 8s"',
    )
    parser.add_argument("--for", dest="for_s", type=_duration, default=30.0, help="how long the devices produce (30s)")
    parser.add_argument("--cut", dest="cut_s", type=_duration, default=8.0, help="how long the uplink is cut (8s)")
    parser.add_argument("--json", dest="is_json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it behind")
    options = parser.parse_args(argv)
    if options.cut_s and options.cut_s > options.for_s * 0.7:
        parser.error(
            f"--cut is too long: expected at most 0.7 of --for ({options.for_s * 0.7:g}s), got {options.cut_s:g}s"
        )
    if options.for_s < 5:
        parser.error(f"--for is too short: expected at least 5s, got {options.for_s:g}s")
    return DemoOptions(options.for_s, options.cut_s, options.is_json, options.keep)
