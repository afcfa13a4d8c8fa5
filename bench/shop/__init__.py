"""OEE of 1,000 machines live, a day of one line given again, and what one event costs after two days.

    python -m bench shop [--json] [--short] [--machines 1000] [--seconds 30]

Each machine makes a part a second and changes its state every ten seconds; the flows `machine_state`, `part_counter`
and `oee` follow it, one process, on one nats-server that syncs each batch. The age is that of an event when the first
live OEE that contains it arrives at a reader. Each machine has two days of states (a change every two minutes) and
minutes with parts behind it. They all begin at once, so that the window of each has to be worked out anew: how long
it takes until nothing older than a second waits is a row of its own, and ages count from there. A line is given again
when an order of a whole day is told late: the hours, shifts and the day of ten machines, from the input to the
encoded results, in processor time, without any stream. So is what the OEE of the lines and of the site costs
(`oee_total`): each machine tells once a second what its running hour is made of. In a run of its own the age of an
event is looked at when the figures of its line that contain it arrive, with machines that tell their lines of each
part at once and lines that give their figures twice a second; without these two settings a line is as late as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from bench._report import Row, digest, finish, parser
from bench._server import BenchServer
from bench.shop._plant import (
    DAY_NS,
    EVERY,
    EXPLAIN,
    UNTIL_NS,
    count,
    oee_flow,
    order,
    places_flow,
    running,
    seeded_entries,
    state,
)
from millstream.flow import FlowCore, KeyStore
from millstream.flow._codec import COMMIT_FORMAT, Commit

AGE_MS_MAX = 1000.0
RESTATE_S_MAX = 1.0
US_MAX = 250.0  # a quarter of a core for a thousand machines
LINE = 10


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("shop", __doc__ or "")
    options.add_argument("--machines", type=int, default=1000)
    options.add_argument("--seconds", type=int, default=30)
    options.add_argument("--no-live", action="store_true", help="without the part that needs a server")
    chosen = options.parse_args(argv)
    machines, seconds, line = (5, 2, 1) if chosen.short else (chosen.machines, chosen.seconds, LINE)
    rows = [_event(chosen.short), _restated(line, is_short=chosen.short), _places(machines, is_short=chosen.short)]
    if not chosen.no_live:
        rows += _live(machines, seconds, is_short=chosen.short)
        rows.append(_lines(machines, seconds, is_short=chosen.short))
    return finish("shop", argv, rows, chosen)


def _core(keys: int, until_ns: int) -> FlowCore[Any]:
    """OEE of so many machines that have worked for two days."""
    core: FlowCore[Any] = FlowCore(oee_flow(), KeyStore(), created={"IN": "made"})
    core.restore([(1, Commit(COMMIT_FORMAT, 1, {}, 0, 0, list(seeded_entries(keys, until_ns))))])
    core.begin()
    return core


def _event(is_short: bool) -> Row:
    """A part and now and then a state, of machines that take turns; a commit each ten."""
    keys, events = (1, 100) if is_short else (20, 4000)
    until_ns = UNTIL_NS
    core, outputs, record_bytes = _core(keys, until_ns), 0, 0
    inputs = []
    for n in range(events):
        at_ns = until_ns + n // keys * 10**9
        if n // keys % 10 == 9:
            inputs.append(state(n % keys, "Execute" if n // keys % 20 == 9 else "Held", at_ns, n + 1))
        else:
            inputs.append(count(n % keys, 100_000 + n // keys, at_ns, n + 1))
    begun = time.process_time()
    for n, received in enumerate(inputs):
        core.feed("IN", received)
        if n % 10 == 9:
            unit = core.take()
            core.committed(n + 2)
            outputs += len(unit.messages)
            record_bytes += sum(len(raw or b"") for _, raw in unit.commit.entries)
    us = (time.process_time() - begun) / events * 1e6
    return Row(
        "oee: one event of a machine with two days", f"{us:.0f} us", f"at most {US_MAX:g} us", None,
        is_short or us <= US_MAX, f"{outputs} live figures of {events} events, {record_bytes / events:,.0f} bytes of "
        "state an event", digest([outputs]), {"us_per_event": us, "record_bytes_per_event": record_bytes / events},
    )  # fmt: skip


def _restated(machines: int, *, is_short: bool) -> Row:
    """An order of the whole day before is told late for each machine of a line: its figures are others then."""
    core = _core(machines, UNTIL_NS)
    day_ns = UNTIL_NS - UNTIL_NS % DAY_NS - DAY_NS
    inputs = [order(machine, day_ns, day_ns + DAY_NS, machine + 1) for machine in range(machines)]
    begun, begun_s = time.process_time(), time.perf_counter()
    messages = []
    for seq, received in enumerate(inputs, 1):
        core.feed("IN", received)
        messages += core.take().messages
        core.committed(seq + 1)
    cpu_s, seconds = time.process_time() - begun, time.perf_counter() - begun_s
    given = sum("._event." in message.subject for message in messages)
    return Row(
        f"one day of a line of {machines} machines given again", f"{cpu_s:.2f} s", f"under {RESTATE_S_MAX:g} s",
        None, is_short or cpu_s < RESTATE_S_MAX, f"{given} windows, {len(messages)} results; on the clock of this run "
        f"{seconds:.2f} s", digest((m.subject, m.payload) for m in messages if "._event." not in m.subject),
        {"cpu_s": cpu_s, "seconds": seconds, "windows": given, "results": len(messages)},
    )  # fmt: skip


def _places(machines: int, *, is_short: bool) -> Row:
    """Each machine tells once a second what its running hour is made of; its line and the site follow once a second."""
    seconds = 2 if is_short else 10
    core: FlowCore[Any] = FlowCore(places_flow(), KeyStore(), created={"IN": "made"})
    core.begin()
    words = ((second, machine) for second in range(seconds) for machine in range(machines))
    inputs = [running(machine, second, seq) for seq, (second, machine) in enumerate(words, 1)]
    begun, longest_s, outputs = time.process_time(), 0.0, 0
    for n, received in enumerate(inputs):
        before = time.process_time()
        is_taken = core.feed("IN", received)
        longest_s = max(longest_s, time.process_time() - before)
        while n % 10 == 9 or not is_taken:
            outputs += len(core.take().messages)
            core.committed(n + 2)
            if is_taken:
                break
            is_taken = core.feed("IN", received)
    us = (time.process_time() - begun) / len(inputs) * 1e6
    return Row(
        f"OEE of the lines and the site of {machines:,} machines: one word of a machine", f"{us:.0f} us",
        f"at most {US_MAX:g} us", None, is_short or us <= US_MAX, f"{outputs} live figures of {len(inputs)} events, "
        f"each place at most once a second; the longest step {longest_s * 1000:.0f} ms", digest([outputs]),
        {"us_per_event": us, "longest_ms": longest_s * 1000},
    )  # fmt: skip


def _watched(machines: int, seconds: int, *more: str) -> tuple[dict[str, Any], float]:
    """What a plant of its own showed, and processor seconds of its server."""
    with BenchServer("integrity") as server:
        command = [sys.executable, "-m", "bench.shop._live", server.url, str(machines), str(seconds), *more]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        server_cpu_s, _ = server.usage()
    return json.loads(done.stdout), server_cpu_s


def _lines(machines: int, seconds: int, *, is_short: bool) -> Row:
    """The way of a part goes on: from its machine's running hour to the figures of its line."""
    found, server_cpu_s = _watched(machines, seconds, "lines")
    cores = found["flows_cpu_s"] / found["seconds"]
    return Row(
        f"{machines:,} machines live: from an event to the OEE of its line, 99 %", f"{found['p99']:.0f} ms",
        f"under {AGE_MS_MAX:g} ms", None, is_short or (found["p99"] < AGE_MS_MAX and not found["missing"]),
        f"half within {found['p50']:.0f} ms, all within {found['max']:.0f} ms; a machine tells its line at most each "
        f"{EXPLAIN}, a line its figures each {EVERY}; {found['figures']:,} of lines; the flows {cores:.2f} cores, "
        f"their server {server_cpu_s / found['seconds']:.2f}", digest([found["missing"]]), found,
    )  # fmt: skip


def _live(machines: int, seconds: int, *, is_short: bool) -> list[Row]:
    found, server_cpu_s = _watched(machines, seconds)
    cores = found["flows_cpu_s"] / found["seconds"]
    return [
        Row(
            f"{machines:,} machines live: from an event to its OEE, 99 %", f"{found['p99']:.0f} ms",
            f"under {AGE_MS_MAX:g} ms", None, is_short or found["p99"] < AGE_MS_MAX,
            f"half within {found['p50']:.0f} ms, all within {found['max']:.0f} ms; {found['events']:,} events, "
            f"{found['figures']:,} live figures", digest([found["missing"]]), found,
        ),
        Row(
            f"{machines:,} machines begin at once, with two days behind them: until their figures keep up",
            f"{found['warm_s']:.1f} s", "", None, True,
            f"looked at from the third second on; {found['kept_mb']:.0f} MB of state", digest([found["missing"]]),
            {"warm_s": found["warm_s"]},
        ),
        Row(
            f"{machines:,} machines live: the flows' process", f"{cores:.2f} cores", "", None, True,
            f"its server {server_cpu_s / found['seconds']:.2f} cores, {found['rss_mb']:.0f} MB; parts told: "
            f"{found['parts']:,}, as made: {found['is_exact']}", digest([found["is_exact"]]), {"cores": cores},
        ),
    ]  # fmt: skip
