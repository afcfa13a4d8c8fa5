"""A count flow on a real nats-server: exactly-once outputs a second, their age, and the restore of a large state.

    python -m bench count [--json] [--short] [--events 200000] [--keys 1000] [--restore-keys 1000000] [--repeat 2]
    python -m bench count --instances 1,2 [--json] [--short] [--events 200000] [--keys 1000] [--repeat 2]

The built-in part counter reads a full input stream and commits totals with its state and position in atomic batches;
both streams are synced before they answer. The loose run is the same without state record and position, which is
at-least-once. The same events go through a paho service on a Mosquitto (QoS 1, totals saved each second) and, where
the extra `bench` is installed, through Bytewax with its recovery store. Every run must come to the same totals.
Each is a process of its own with a server of its own; alternating, the best of each counts.

With `--instances` only this: the flow in so many worker processes of a node, over two partitions: the built-in
counter, and one whose steps compute for long, so that the worker is full before the server is. The processor time of
each process shows what was full, and what an instance does with a core. At last an instance is added under load, one is
killed, one is taken away, and what was said is compared with the events themselves and recounted by the ledger.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

from bench._report import Row, digest, finish, parser
from bench._server import BenchServer
from bench.count._load import program

EVENTS_PER_S_MIN, OUTPUTS_PER_S_MIN = 20_000, 10_000
AGE_P99_MS_MAX, RESTORE_S_MAX = 50.0, 10.0
LATENCY_EVENTS_PER_S, LATENCY_KEYS = 2_000, 100  # a tenth of the load
CASE_TIMEOUT_S = 900.0


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    from bench.count._instances import moving_row, scale_rows  # not beside `python -m bench.count._flow`

    options = parser("count", __doc__ or "")
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument("--mqtt-events", type=int, default=40_000, help="of them through the paho service")
    options.add_argument("--keys", type=int, default=1000)
    options.add_argument("--restore-keys", type=int, default=1_000_000)
    options.add_argument("--latency-s", type=int, default=20)
    options.add_argument("--instances", type=_numbers, default=(), help="only this: worker processes, such as 1,2")
    options.add_argument("--repeat", type=int, default=2, help="the best of so many alternating runs counts")
    chosen = options.parse_args(argv)
    if chosen.short:
        chosen.events, chosen.mqtt_events, chosen.keys, chosen.repeat = 2000, 400, 50, 1
        chosen.restore_keys, chosen.latency_s = 2000, 1
    if chosen.instances:
        rows = scale_rows(chosen.instances, chosen.events, chosen.keys, is_short=chosen.short, repeat=chosen.repeat)
        rows.append(moving_row(max(chosen.events // 2, 1), chosen.keys, is_short=chosen.short))
        return finish("count-instances", argv, rows, chosen, scenario="count")
    rows = [*_throughput(chosen), _latency(chosen), _restore(chosen), _paho(chosen), _bytewax(chosen)]
    return finish("count", argv, rows, chosen)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _case(case: str, *arguments: object) -> dict[str, Any]:
    """One case of `_flow` on a server of its own."""
    with BenchServer("integrity") as server:
        found = _run("bench.count._flow", case, server.url, *arguments)
        found["server_cpu_s"] = server.usage()[0]
    return found


def _run(module: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=CASE_TIMEOUT_S)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command[1:])} failed")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _throughput(chosen: Any) -> list[Row]:
    runs: dict[str, list[dict[str, Any]]] = {"exact": [], "loose": []}
    for _ in range(chosen.repeat):
        for case, found in runs.items():
            found.append(_case(case, chosen.events, chosen.keys, 0))
    best = {case: min(found, key=lambda f: float(f["seconds"])) for case, found in runs.items()}
    exact, loose = best["exact"], best["loose"]
    if exact["hash"] != loose["hash"]:
        raise SystemExit("bench: the two runs come to different totals")
    in_s, out_s = chosen.events / exact["seconds"], exact["outputs"] / exact["seconds"]
    cpu = f"{exact['cpu_s'] / chosen.events * 1e6:.1f} us of processor an event"
    return [
        Row(
            "events through a count flow, exactly once", f"{in_s:,.0f} events/s", f"at least {EVENTS_PER_S_MIN:,}",
            loose["seconds"] / exact["seconds"], chosen.short or in_s >= EVENTS_PER_S_MIN,
            f"{cpu}; ratio to the same at least once", exact["hash"], {**exact, "loose": loose},
        ),
        Row(
            "outputs committed with state and position", f"{out_s:,.0f} outputs/s", f"at least {OUTPUTS_PER_S_MIN:,}",
            None, chosen.short or out_s >= OUTPUTS_PER_S_MIN, f"{exact['commits']} commits",
            digest([exact["hash"], exact["outputs"]]), {"outputs": exact["outputs"]},
        ),
    ]  # fmt: skip


def _latency(chosen: Any) -> Row:
    count = LATENCY_EVENTS_PER_S * chosen.latency_s
    found = _case("latency", count, LATENCY_KEYS, LATENCY_EVENTS_PER_S)
    return Row(
        f"event to stored output, {LATENCY_EVENTS_PER_S:,} events/s", f"p99 {found['p99']:.1f} ms",
        f"below {AGE_P99_MS_MAX:g} ms", None, chosen.short or found["p99"] < AGE_P99_MS_MAX,
        f"p50 {found['p50']:.1f} ms, most {found['max']:.1f} ms; both streams synced",
        digest([found["outputs"]]), found,
    )  # fmt: skip


def _restore(chosen: Any) -> Row:
    found = _case("restore", 0, chosen.restore_keys, 0)
    if found["keys"] != chosen.restore_keys:
        raise SystemExit(f"bench: {found['keys']} of {chosen.restore_keys} keys came back")
    return Row(
        f"restore of {chosen.restore_keys:,} keys", f"{found['seconds']:.2f} s", f"below {RESTORE_S_MAX:g} s", None,
        chosen.short or found["seconds"] < RESTORE_S_MAX, f"{found['cpu_s']:.2f} s of processor",
        digest([found["keys"]]), found,
    )  # fmt: skip


def _paho(chosen: Any) -> Row:
    measure = "the same with paho and Mosquitto, QoS 1"
    if program() is None or importlib.util.find_spec("paho") is None:
        return Row(measure, "not measured", note="not available here")
    found = _run("bench.count._mqtt", chosen.mqtt_events, chosen.keys)
    rate = chosen.mqtt_events / found["seconds"]
    note = "totals saved each second: a crash loses or doubles up to that"
    return Row(measure, f"{rate:,.0f} events/s", note=note, result_hash=found["hash"], details=found)


def _bytewax(chosen: Any) -> Row:
    measure = "the same with Bytewax, recovery each 100 ms"
    if importlib.util.find_spec("bytewax") is None:
        return Row(measure, "not measured", note="not available here: install the extra bench")
    found = _run("bench.count._bytewax", chosen.events, chosen.keys)
    rate = chosen.events / found["seconds"]
    note = f"from file to file, unsynced, no broker; {found['cpu_s'] / chosen.events * 1e6:.1f} us an event"
    return Row(measure, f"{rate:,.0f} events/s", note=note, result_hash=found["hash"], details=found)
