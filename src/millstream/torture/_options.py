"""What a person can ask of `millstream torture`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from millstream.kernel import ConfigError, parse_duration_s
from millstream.torture._plan import KINDS

POWER = "power"
FOR_MIN_S = 5.0


@dataclass(frozen=True, slots=True)
class TortureOptions:
    """`faults` are kinds of faults, `power_cuts` how often the power is cut, `keep` a folder to leave behind."""

    for_s: float
    seed: int
    faults: tuple[str, ...]
    power_cuts: int
    is_json: bool
    keep: Path | None


def _duration(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _faults(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in (*KINDS, POWER)]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join((*KINDS, POWER))}, got {', '.join(unknown)!r}")
    return names


def parse_options(argv: list[str]) -> TortureOptions:
    """Parse the arguments of ``millstream torture``; exits with status 2 on a usage error."""
    parser = argparse.ArgumentParser(
        prog="millstream torture",
        description="Break a plant of light barriers on this machine in every way, and count the parts.",
        epilog="examples: millstream torture --for 60s --seed 7 --json; millstream torture power --json",
    )
    parser.add_argument("what", nargs="?", choices=[POWER], help="only cut the power (Linux, root)")
    parser.add_argument("--for", dest="for_s", type=_duration, default=60.0, help="how long faults come (60s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same faults (1)")
    parser.add_argument(
        "--faults", type=_faults, default=KINDS, help=f"some of {','.join((*KINDS, POWER))} (all but the last)"
    )
    parser.add_argument("--cuts", type=int, default=3, help="how often the power is cut (3)")
    parser.add_argument("--json", dest="is_json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it behind")
    options = parser.parse_args(argv)
    if options.for_s < FOR_MIN_S:
        parser.error(f"--for is too short: expected at least {FOR_MIN_S:g}s, got {options.for_s:g}s")
    if options.cuts < 1:
        parser.error(f"--cuts is too small: expected at least 1, got {options.cuts}")
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep must be a new or empty folder: {options.keep}")
    kinds = () if options.what == POWER else tuple(k for k in options.faults if k != POWER)
    has_power = options.what == POWER or POWER in options.faults
    return TortureOptions(
        options.for_s, options.seed, kinds, options.cuts if has_power else 0, options.is_json, options.keep
    )
