"""Ingest and reading speed of the data plane, each as a ratio to a bare protocol loop in the same run.

`python -m bench ingest [--json] [--scale 1.0]`. Every figure has its own nats-server and its own client process, so
CPU time and peak memory are its own. The bare loop is a blocking socket that sends prepared bytes of the same server
operation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from typing import Any

from bench.ingest._server import BenchServer, has_slow_disk

SLOW_SYNC_MS = 5
RATIO_MIN = 0.5
K, M = 1000, 1_000_000
ROWS = (
    # name, client case, bare case, server kind, messages, samples a message, least rate, rate in samples
    ("one-sample, integrity", "integrity", "bare_integrity", "integrity", 60 * K, 1, 15 * K, False),
    ("one-sample, integrity, units of 1", "integrity_single", "bare_integrity", "integrity", 60 * K, 1, 15 * K, False),
    (f"one-sample, integrity, {SLOW_SYNC_MS} ms sync", "integrity", "bare_integrity", "slow", 40 * K, 1, 7 * K, False),
    ("one-sample, throughput", "throughput", "bare_throughput", "throughput", 300 * K, 1, 100 * K, False),
    ("one-sample, throughput, units of 1", "throughput_single", "bare_throughput", "throughput", 300 * K, 1, 100 * K,
     False),
    ("blocks of 1,000, integrity", "integrity", "bare_integrity", "integrity", 6 * K, 1000, M, True),
    ("blocks of 1,000, throughput", "throughput", "bare_throughput", "throughput", 10 * K, 1000, M, True),
    ("blocks of 1,000, Arrow encoding too", "blocks_encoded", "bare_throughput", "throughput", 10 * K, 1000, M, True),
    ("reading one-sample", "read", "bare_read", "throughput", 300 * K, 1, 100 * K, False),
)  # fmt: skip


def main(argv: list[str]) -> int:
    """Run all rows; exit status 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="bench ingest")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of messages")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs counts")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    options = parser.parse_args(argv)
    results = [run(*row, scale=options.scale, repeat=options.repeat) for row in ROWS if options.only in row[0]]
    if options.json:
        print(json.dumps({"bench": "ingest", "machine": machine(), "rows": results}))
    else:
        show(results)
    return 0 if all(r.get("is_met", True) for r in results) else 1


def run(
    name: str,
    case: str,
    bare: str,
    kind: str,
    messages: int,
    samples: int,
    target: int,
    in_samples: bool,
    *,
    scale: float,
    repeat: int,
) -> dict[str, Any]:
    """One row: the client's case and the bare loop, each on a fresh server."""
    if kind == "slow" and not has_slow_disk():
        return {"measure": name, "not_available": "strace cannot delay syncs here", "target_per_s": target}
    count = max(2000, int(messages * scale) // 1000 * 1000)
    # Other work on the machine only ever slows a run down, so the best of a few alternating runs is the figure.
    pairs = [(measure(case, kind, count, samples), measure(bare, kind, count, samples)) for _ in range(repeat)]
    ours = max((ours for ours, _ in pairs), key=_rate)
    loop = max((loop for _, loop in pairs), key=_rate)
    rate = ours["messages_per_s"] * (samples if in_samples else 1)
    ratio = ours["messages_per_s"] / loop["messages_per_s"]
    ratio_min = (
        0.0 if case == "blocks_encoded" else RATIO_MIN
    )  # the loop sends prepared bytes, so that is no comparison
    return {
        "measure": name, "messages_per_s": round(ours["messages_per_s"]),
        "samples_per_s": round(ours["messages_per_s"] * samples), "ratio": round(ratio, 2), "target_per_s": target,
        "target_ratio": ratio_min, "is_met": rate >= target and ratio >= ratio_min, "ours": ours, "bare_loop": loop,
    }  # fmt: skip


def _rate(result: dict[str, Any]) -> float:
    return float(result["messages_per_s"])


def measure(case: str, kind: str, count: int, samples: int) -> dict[str, Any]:
    """One case in a process of its own."""
    with BenchServer("integrity" if kind == "slow" else kind, SLOW_SYNC_MS if kind == "slow" else 0) as server:
        command = [sys.executable, "-m", "bench.ingest._case", case, server.url, kind, str(count), str(samples)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
        result: dict[str, Any] = json.loads(done.stdout)
        result["server_cpu_s"], result["server_peak_rss_mb"] = server.usage()
    return result


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    version = subprocess.run([BenchServer.program(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {"cores": os.cpu_count(), "python": platform.python_version(), "nats_server": version.strip(),
            "kernel": platform.release()}  # fmt: skip


def show(results: list[dict[str, Any]]) -> None:
    """The table for people."""
    print(
        f"{'measure':38} {'messages/s':>11} {'samples/s':>12} {'ratio':>6} {'cpu s (client/server)':>22} {'rss MB':>10}"
    )
    for r in results:
        if "not_available" in r:
            print(f"{r['measure']:38} not available: {r['not_available']}")
            continue
        ours = r["ours"]
        cpu = f"{ours['client_cpu_s']:.2f}/{ours['server_cpu_s']:.2f}"
        rss = f"{ours['client_peak_rss_mb']:.0f}/{ours['server_peak_rss_mb']:.0f}"
        mark = "" if r["is_met"] else "  below target"
        rates = f"{r['messages_per_s']:>11,} {r['samples_per_s']:>12,} {r['ratio']:>6.2f}"
        print(f"{r['measure']:38} {rates} {cpu:>22} {rss:>10}{mark}")
