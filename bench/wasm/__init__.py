"""What one event costs a flow whose step is a WebAssembly module, beside the same flow in Python.

    python -m bench wasm [--json] [--short] [--events 20000] [--keys 1000] [--repeat 3]

The flow `cycle` of examples/wasm, in Python, C and Rust: decode, step, state, encoded outputs, the state record. Each
event starts the module anew, which is most of the cost. All three have to say the same. Times are of the processor.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from bench._report import Row, digest, finish, parser
from bench.flow import through_core
from millstream.flow import Flow, build_flow, read_spec
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Message, Received

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "wasm" / "tests"
START_NS = 1_767_225_600_000_000_000
STEP_NS = 1_000_000
LANGUAGES = ("python", "c", "rust")


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when the languages differ."""
    options = parser("wasm", __doc__ or "")
    options.add_argument("--events", type=int, default=20_000)
    options.add_argument("--keys", type=int, default=1000)
    options.add_argument("--repeat", type=int, default=3, help="the best of so many alternating runs counts")
    chosen = options.parse_args(argv)
    count, repeat = (500, 1) if chosen.short else (chosen.events, chosen.repeat)
    messages = _messages(count, min(chosen.keys, count))
    best = dict.fromkeys(LANGUAGES, float("inf"))
    said: dict[str, list[Message]] = {}
    for _ in range(repeat):
        for language in LANGUAGES:
            seconds, said[language] = through_core(_example(language), messages)
            best[language] = min(best[language], seconds)
    rows = [_row(language, count, best, said) for language in LANGUAGES]
    return finish("wasm", argv, [*rows, _start_row(repeat)], chosen)


def _example(language: str) -> Flow[Any]:
    folder = EXAMPLES / language
    return build_flow(read_spec(yaml.safe_load((folder / "flow.yaml").read_text("utf-8"))), folder)


def _messages(count: int, keys: int) -> list[Received]:
    """Counters of so many machines, which take turns."""
    times = [START_NS + i * STEP_NS for i in range(count)]
    return [
        Received(
            f"uns.v1.acme.plant1.machine{i % keys}._count.parts",
            encode_sample(i // keys, quality=0, source_time_ns=at_ns, ingest_time_ns=at_ns), None, i + 1, at_ns,
        )
        for i, at_ns in enumerate(times)
    ]  # fmt: skip


def _row(language: str, count: int, best: dict[str, float], said: dict[str, list[Message]]) -> Row:
    us = best[language] / count * 1e6
    is_same = said[language] == said["python"]
    return Row(
        f"{language}: one event through the core", f"{us:.1f} us", "the outputs of Python",
        best[language] / best["python"], is_same, f"{count / best[language]:,.0f} events/s of one core",
        digest((m.subject, m.payload) for m in said[language]), {"us_per_event": us},
    )  # fmt: skip


def _start_row(repeat: int) -> Row:
    """What making the flow of a module costs: once a worker's start."""
    best = float("inf")
    for _ in range(repeat):
        begun = time.process_time()
        _example("rust")
        best = min(best, time.process_time() - begun)
    module = (EXAMPLES.parent / "rust" / "cycle.wasm").read_bytes()
    return Row(
        f"rust: compile a module of {len(module) >> 10} KiB", f"{best * 1e3:.0f} ms", is_met=True,
        note="once for each start of a worker", result_hash=digest([len(module)]),
    )  # fmt: skip
