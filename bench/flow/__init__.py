"""What one event costs a flow, without any stream: decode, step, state, encoded outputs, the state record.

    python -m bench flow [--json] [--short] [--events 200000] [--keys 1000] [--repeat 3]

Each built-in flow here runs through `FlowCore` as the runner does. The bare loop of the same run only decodes the
sample and calls the step, with the state kept as an object: the ratio says what recovery after a crash costs. Times are
of the processor, not of the clock on the wall.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bench._report import Row, digest, finish, parser
from millstream.flow import Event, Flow, FlowCore, Input, KeyStore, TimePolicy
from millstream.flow.library import FLOW_TYPES
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Message, Received

START_NS = 1_767_225_600_000_000_000
STEP_NS = 1_000_000
US_MAX = 25.0  # of one event: half of what 20,000 events/s leave on one core
FLOWS: dict[str, dict[str, Any]] = {
    "part_counter": {},
    "rate": {"of": "increment", "window": "1h", "every": "1min"},
    "swinging_door": {"error": 0.5},
}


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("flow", __doc__ or "")
    options.add_argument("--events", type=int, default=200_000)
    options.add_argument("--keys", type=int, default=1000)
    options.add_argument("--repeat", type=int, default=3, help="the best of so many alternating runs counts")
    chosen = options.parse_args(argv)
    count, repeat = (2000, 1) if chosen.short else (chosen.events, chosen.repeat)
    messages = _messages(count, min(chosen.keys, count))
    rows = [_row(name, messages, repeat, is_short=chosen.short) for name in FLOWS]
    return finish("flow", argv, rows, chosen)


def _messages(count: int, keys: int) -> list[Received]:
    """Light barriers of so many machines, which take turns."""
    return [
        Received(
            f"uns.v1.acme.plant1.machine{i % keys}._tag.barrier",
            encode_sample(
                i // keys % 2, quality=0, source_time_ns=START_NS + i * STEP_NS, ingest_time_ns=START_NS + i * STEP_NS
            ),
            None, i + 1, START_NS + i * STEP_NS,
        )
        for i in range(count)
    ]  # fmt: skip


def _row(name: str, messages: Sequence[Received], repeat: int, *, is_short: bool) -> Row:
    flow = FLOW_TYPES[name].make("bench", [Input("acme/**:barrier")], FLOWS[name], time=TimePolicy(idle_ns=None))
    bare_s = core_s = float("inf")
    outputs: list[Message] = []
    for _ in range(repeat):
        bare_s = min(bare_s, _bare(flow, messages))
        seconds, outputs = through_core(flow, messages)
        core_s = min(core_s, seconds)
    us = core_s / len(messages) * 1e6
    return Row(
        f"{name}: one event through the core", f"{us:.2f} us", f"at most {US_MAX:g} us", bare_s / core_s,
        is_short or us <= US_MAX, f"{len(outputs)} outputs of {len(messages)} events",
        digest((m.subject, m.payload) for m in outputs),
        {"us_per_event": us, "events_per_s": len(messages) / core_s, "bare_us_per_event": bare_s / len(messages) * 1e6},
    )  # fmt: skip


def through_core(flow: Flow[Any], messages: Sequence[Received]) -> tuple[float, list[Message]]:
    """Processor seconds for these messages, and what came out."""
    core: FlowCore[Any] = FlowCore(flow, KeyStore(), created={"IN": "made"})
    core.begin()
    outputs: list[Message] = []
    begun = time.process_time()
    for seq, message in enumerate(messages, 1):
        while not core.feed("IN", message):
            outputs += core.take().messages
            core.committed(seq)
        if core.is_full:
            outputs += core.take().messages
            core.committed(seq)
    outputs += core.take().messages
    return time.process_time() - begun, outputs


def _bare(flow: Flow[Any], messages: Sequence[Received]) -> float:
    states: dict[str, Any] = {}
    begun = time.process_time()
    for message in messages:
        record = decode_sample(message.payload)
        key = message.subject
        state = states.get(key)
        if state is None:
            state = flow.initial()
        states[key], _ = flow.step(
            state, Event("acme/plant1/m", "tag", record.time_ns, record.value, source="acme/plant1/m:barrier")
        )
    return time.process_time() - begun
