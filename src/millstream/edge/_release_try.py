"""A version is tried beside the one that runs, in a process of its own that changes nothing: does it start here, with
the configuration that runs, and does it read the data? It is asked by ``millstream edge --check --json``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from millstream.kernel import ConfigError
from millstream.release import PLACE, Launched

TRY_S = 120.0
SAID_BYTES_MAX = 64 << 10


class Tried(msgspec.Struct, frozen=True):
    """What a version says of itself. `findings` are what it cannot run of the configuration."""

    version: str
    file: str
    data_format: int
    readable_by: int
    findings: list[str] = []


async def try_version(launched: Launched, place: Path | None, version: str) -> Tried:
    """Ask the version in `place` (None: the installed one). Raises ConfigError (MS-2453) for one that does not start,
    is another one, or cannot run what this edge runs."""
    words = [*launched.command(place), "--check", "--json"]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=launched.environment(place, os.environ),
    )  # fmt: skip
    try:
        async with asyncio.timeout(TRY_S):
            said, complaints = await process.communicate()
    except TimeoutError:
        raise _unfit(version, f"it did not answer within {TRY_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = said[:SAID_BYTES_MAX].strip().splitlines()
    try:
        tried = msgspec.json.decode(lines[-1] if lines else b"", type=Tried)
    except msgspec.DecodeError:
        words_of_it = complaints.decode("utf-8", "replace").strip().splitlines()
        raise _unfit(version, words_of_it[-1][:300] if words_of_it else f"status {process.returncode}") from None
    if tried.findings:
        raise _unfit(version, "; ".join(tried.findings)[:300])
    is_inside = place is None or Path(tried.file).is_relative_to(place / PLACE)
    if tried.version != version or not is_inside:
        raise _unfit(version, f"{tried.version} at {tried.file} answered")
    return tried


def _unfit(version: str, why: str) -> ConfigError:
    return ConfigError(
        f"this version does not run what this edge runs: {why}", where=f"millstream {version}",
        next_step="nothing was changed; correct the configuration or the release", code="MS-2453",
    )  # fmt: skip
