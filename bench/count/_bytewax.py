"""The same count with Bytewax at its strongest guarantee: recovery store, and a file sink that is cut back on resume.

    python -m bench.count._bytewax EVENTS KEYS

State, input position and length of the output are snapshotted every 100 ms in SQLite. Input and output are files: there
is no broker in it, which is to its advantage.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench._report import digest
from bench.count._load import level

EPOCH = timedelta(milliseconds=100)


def count(state: tuple[int, int] | None, now: str) -> tuple[tuple[int, int], str | None]:
    """Rising edges."""
    total, before = state or (0, 0)
    is_part = now == "1" and not before
    return (total + is_part, int(now)), f"{total + 1}" if is_part else None


def run(events: int, keys: int) -> dict[str, Any]:
    """Seconds for the whole flow, from start to its last snapshot."""
    from bytewax import operators as op
    from bytewax.connectors.files import FileSink, FileSource
    from bytewax.dataflow import Dataflow
    from bytewax.recovery import RecoveryConfig, init_db_dir
    from bytewax.testing import run_main

    with tempfile.TemporaryDirectory(prefix="millstream-bench-") as name:
        folder = Path(name)
        lines = (f"machine{n % keys} {level(n, keys)}\n" for n in range(events))
        (folder / "in").write_text("".join(lines), encoding="utf-8")
        (folder / "out").touch()
        (folder / "recovery").mkdir()
        init_db_dir(folder / "recovery", 1)
        flow = Dataflow("count")
        read = op.input("in", flow, FileSource(folder / "in", batch_size=1000))
        keyed = op.map("key", read, lambda line: tuple(line.split()))
        counted = op.stateful_map("count", keyed, count)
        said = op.filter_map("said", counted, lambda pair: (pair[0], f"{pair[0]} {pair[1]}") if pair[1] else None)
        op.output("out", said, FileSink(folder / "out"))
        begun, cpu = time.perf_counter(), time.process_time()
        run_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(folder / "recovery")))
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        found = [line.split() for line in (folder / "out").read_text(encoding="utf-8").splitlines()]
    totals = {key: int(total) for key, total in found}
    return {"seconds": seconds, "cpu_s": cpu, "outputs": len(found), "hash": digest(sorted(totals.items()))}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
