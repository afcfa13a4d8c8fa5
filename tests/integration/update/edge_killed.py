"""``millstream edge -c edge.yaml``, killed once where the file KILL_AT beside says: ``python edge_killed.py edge ...``.

`fetch`: a part of a release is here. `unpack`: all of it is. `try`: it is unpacked. `switched`: the choice is on disk,
and nothing else has happened. Several, one after the other.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from millstream.cli import main
from millstream.edge import _modules, _update
from millstream.release import ChoiceFile, Package

KILL_AT = Path("KILL_AT")


def die_at(point: str) -> None:
    points = KILL_AT.read_text(encoding="utf-8").split() if KILL_AT.exists() else []
    if points[:1] == [point]:
        KILL_AT.write_text(" ".join(points[1:]), encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)


def put(path: Path, *args: Any, whole: Any = _modules._put) -> None:
    whole(path, *args)
    if path.parent.name == "fetched":
        die_at("fetch")


def unpack(self: Package, folder: Path, whole: Any = Package.unpack) -> None:
    die_at("unpack")
    whole(self, folder)


async def try_version(*args: Any, whole: Any = _update.try_version) -> Any:
    die_at("try")
    return await whole(*args)


def write(self: ChoiceFile, choice: Any, whole: Any = ChoiceFile.write) -> None:
    whole(self, choice)
    if choice.trial is not None and not choice.trial.starts:
        die_at("switched")


_modules._put = put  # type: ignore[assignment]
Package.unpack = unpack  # type: ignore[method-assign]
ChoiceFile.write = write  # type: ignore[method-assign]
_update.try_version = try_version  # type: ignore[assignment]

if __name__ == "__main__":
    sys.exit(main())
