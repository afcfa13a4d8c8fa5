"""How fast a stream of a real nats-server becomes the historian's Arrow batches, and rows become durable.

    python -m bench historian [--json] [--short] [--messages 300000] [--repeat 3]

Two ratios: to the bare loop that only takes each message off the wire, and to the same loop with JSON decoding. Once
for a stream as an edge has it, once for a hub's, where each message has a header that tells its origin. And how
fast a history of 10,000 tags, one sealed day and a quarter of the next one, answers for a day of one tag in means of
15 min, while 100,000 samples a second go into it: the targets are what the bare engine took for it, beside a writer for
the sealed day, and quiet for rows in the order of arrival.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench._report import Row, digest, finish, parser
from bench._server import BenchServer
from bench.historian._beside import answer_beside_ingest
from bench.historian._streams import EDGE, HUB, TAGS_COUNT
from millstream.historian._columns import to_columns
from millstream.historian._rows import Rows
from millstream.historian._store import Commit, HistoryStore, Position
from millstream.kernel import calm_collector

RATE_MIN, RATIO_MIN = 100_000, 0.5
SEALED_MS_MAX, NEWEST_MS_MAX = 43.0, 92.0
TAGS, SAMPLES, SECONDS = 10_000, 4320, 20.0  # a sample each 20 s is a day


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("historian", __doc__ or "")
    options.add_argument("--messages", type=int, default=300_000)
    options.add_argument("--repeat", type=int, default=3, help="the best of so many alternating runs counts")
    chosen = options.parse_args(argv)
    count, repeat = (2000, 1) if chosen.short else (chosen.messages, chosen.repeat)
    rows = []
    for stream, what in ((HUB, "a hub's stream"), (EDGE, "an edge's stream")):
        with BenchServer("throughput") as server:
            last_seq = int(_measure("fill", server.url, stream, count)["last_seq"])
            rows.append(_reading(server, stream, what, last_seq, count, repeat, is_short=chosen.short))
    rows.append(_committing(count))
    rows += _answering(is_short=chosen.short)
    return finish("historian", argv, rows, chosen)


def _measure(case: str, url: str, stream: str, number: int) -> dict[str, Any]:
    """One case in a process of its own."""
    command = [sys.executable, "-m", "bench.historian._case", case, url, stream, str(number)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _reading(
    server: BenchServer, stream: str, what: str, last_seq: int, count: int, repeat: int, *, is_short: bool
) -> Row:
    best: dict[str, dict[str, Any]] = {}
    for _ in range(repeat):
        for case in ("arrow", "bare", "bare_json"):
            found = _measure(case, server.url, stream, last_seq)
            if case not in best or found["wall_s"] < best[case]["wall_s"]:
                best[case] = found
    ours, bare, bare_json = best["arrow"], best["bare"], best["bare_json"]
    rate, ratio, ratio_json = count / ours["wall_s"], *(b["wall_s"] / ours["wall_s"] for b in (bare, bare_json))
    is_exact = ours["rows"] == count and ours["is_clean"]
    cpu = {case: f"{found['cpu_s'] / count * 1e6:.1f} us" for case, found in best.items()}
    return Row(
        f"reading {what} into Arrow batches", f"{rate:,.0f} messages/s", f"{RATE_MIN:,} messages/s, ratio {RATIO_MIN}",
        ratio=round(ratio, 2), is_met=is_exact and (is_short or (rate >= RATE_MIN and ratio >= RATIO_MIN)),
        note=f"{cpu['arrow']}, the loop {cpu['bare']}; ratio {ratio_json:.2f} to a loop that decodes JSON too "
        f"({cpu['bare_json']}); {ours['rss_mb']:.0f} MB",
        result_hash=str(ours["result_hash"]),
        details={
            "messages_per_s": round(rate), "ratio_to_json_loop": round(ratio_json, 2),
            "cpu_us_a_message": {k: round(v["cpu_s"] / count * 1e6, 2) for k, v in best.items()},
            "wall_us_a_message": {k: round(v["wall_s"] / count * 1e6, 2) for k, v in best.items()},
            "rows": ours["rows"],
        },
    )  # fmt: skip


def _committing(count: int) -> Row:
    number = np.arange(count)
    columns = to_columns(20.0 + number % 977 / 10)
    rows = Rows(
        (number % TAGS_COUNT).astype(np.uint32), number * 100_000 + 10**18, number, np.zeros(count, np.uint32),
        columns.kind, columns.value, columns.whole, columns.text,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store = HistoryStore(Path(folder))
        store.open()
        begun = time.perf_counter()
        store.commit(Commit(Position("H_INTEGRITY", 1, count), 0, rows, ()))
        commit_s = time.perf_counter() - begun
        store.close()
    return Row(
        "rows into the store, one commit", f"{count / commit_s:,.0f} rows/s", result_hash=digest([count]),
        details={"rows_per_s": round(count / commit_s)},
    )  # fmt: skip


def _answering(*, is_short: bool) -> list[Row]:
    tags, samples, rate, seconds = (20, 200, 1000, 0.3) if is_short else (TAGS, SAMPLES, RATE_MIN, SECONDS)
    calm_collector()  # as a node does
    with tempfile.TemporaryDirectory() as folder:
        found = answer_beside_ingest(Path(folder), tags, samples, rate=rate, seconds=seconds)
    taken, rows = found.taken.rows_per_s, []
    quiet_cpu_ms = found.quiet.cpu_s * 500 / len(found.quiet.newest_ms)
    for what, quiet, times, target in (
        ("a sealed day", found.quiet.sealed_ms, found.asked.sealed_ms, SEALED_MS_MAX),
        ("the newest 24 hours", found.quiet.newest_ms, found.asked.newest_ms, NEWEST_MS_MAX),
    ):
        ordered = sorted(times)
        p50, p99 = statistics.median(times), ordered[int(len(ordered) * 0.99)]
        is_met = is_short or (p50 <= target and taken >= 0.99 * rate)
        rows.append(
            Row(
                f"{what} of one of {tags:,} tags in windows of 15 min, beside {rate:,} samples/s", f"{p50:.0f} ms",
                f"half within {target:g} ms", None, is_met,
                f"99 % within {p99:.0f} ms; {len(times)} questions, {taken:,.0f} samples/s decoded and stored beside; "
                f"alone half within {statistics.median(quiet):.0f} ms; a question takes {quiet_cpu_ms:.0f} ms of the "
                "processor",
                digest([found.buckets]),
                {"p50_ms": p50, "p99_ms": p99, "p50_alone_ms": statistics.median(quiet), "questions": len(times),
                 "rows_per_s": taken, "tags": tags, "quiet_cpu_ms": quiet_cpu_ms},
            )
        )  # fmt: skip
    alone = found.alone
    cpu_ms = alone.cpu_s / alone.rows * 1e6
    rows.append(
        Row(
            f"{rate:,} samples/s of {tags:,} tags decoded and stored, beside the questions", f"{taken:,.0f} samples/s",
            f"{rate:,} samples/s", None, is_short or taken >= 0.99 * rate,
            f"alone {alone.rows_per_s:,.0f} samples/s and {cpu_ms:.1f} ms of the processor for 1,000",
            digest([tags]), {"rows_per_s": taken, "rows_alone_per_s": alone.rows_per_s, "cpu_ms_per_1000": cpu_ms},
        )
    )  # fmt: skip
    return rows
