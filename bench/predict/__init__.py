"""What features, anomalies and tools of 64 channels at 1 kHz cost, and how soon after a sample they are there.

    python -m bench predict [--json] [--short] [--seconds 20] [--channels 64] [--repeat 3] [--edge]

Blocks of 32 ms of each channel come at once and go through the flow `waveform` (windows of 32 ms); the level that it
gives goes on through `anomaly`, and level and one band through `tool`, which learns cuts of 1.6 s, two seconds apart.
All run as the runner does, without any stream: decode, step, state, encoded outputs, the state record. Cores are
processor seconds by seconds of the plant. The delay is from the first sample of a block, which waits for the block to
be full, to the scores of all channels, on a core that nobody else wants: the time of the processor. In the end each
tool breaks at some sample of a cut: its load is gone. That delay is from this sample, through the features of its block
and of the next one, if it takes that, to the alarm, after all channels of that block. What the streams between sensor
and alarm add is not in either; `--edge` has them: breaks through a real edge node and its nats-server, kept as
`predict-edge`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench._report import Row, digest, finish, parser
from bench.predict import _cuts as cuts
from bench.predict._edge import edge_row
from millstream.flow import FlowCore, Input, KeyStore, TimePolicy
from millstream.flow.library import FLOW_TYPES
from millstream.model import GOOD, Block
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample
from millstream.sdk import Message, Received

CORES_MAX = 1.0
ARROW = VERSION_LINE + b"\r\n" + encode_header_lines((("Content-Type", ARROW_TYPE),)) + b"\r\n"
WAVEFORM = {
    "rate_hz": cuts.RATE_HZ, "window": f"{cuts.BLOCK_MS}ms", "features": ["rms", "peak", "crest_factor", "kurtosis"],
    "bands": cuts.BANDS,
}  # fmt: skip
ANOMALY = {"names": {"level": "force/rms"}, "learn": "5s"}


class _Stage:
    """One flow with its core, and the processor time that it took."""

    def __init__(self, kind: str, config: Mapping[str, Any], *inputs: Input) -> None:
        flow = FLOW_TYPES[kind].make(kind, inputs, config, time=TimePolicy(idle_ns=None))
        self._core: FlowCore[Any] = FlowCore(flow, KeyStore(), created={"IN": "made"})
        self._core.begin()
        self._seq = self.count = 0
        self.cpu_s = 0.0
        self.digests: list[str] = []  # a message each would keep the garbage collector busy

    def take(self, arrivals: Sequence[Received]) -> list[Message]:
        """All of them, and one commit at the end."""
        begun = time.process_time()
        outputs: list[Message] = []
        for received in arrivals:
            self._seq += 1
            message = Received(received.subject, received.payload, received.headers, self._seq, received.stored_time_ns)
            while not self._core.feed("IN", message):
                outputs += self._commit()
        outputs += self._commit()
        self.cpu_s += time.process_time() - begun
        self.count += len(outputs)
        self.digests.append(digest((m.subject, m.payload) for m in outputs))
        return outputs

    def _commit(self) -> list[Message]:
        messages = self._core.take().messages
        self._core.committed(self._seq)
        return messages


@dataclass(slots=True)
class _Plant:
    """The flows, and the delays in ms: of each round up to the scores, up to what is known of tools, and of breaks."""

    waves: _Stage
    odd: _Stage
    tools: _Stage
    scores_ms: list[float] = field(default_factory=list)
    tools_ms: list[float] = field(default_factory=list)
    breaks_ms: dict[int, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """Of all flows."""
        return self.waves.cpu_s + self.odd.cpu_s + self.tools.cpu_s


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("predict", __doc__ or "")
    options.add_argument("--seconds", type=int, default=20, help="of the plant")
    options.add_argument("--channels", type=int, default=64)
    options.add_argument("--repeat", type=int, default=3, help="the cheapest of so many runs counts")
    options.add_argument("--edge", action="store_true", help="only this: breaks of tools through a whole edge")
    chosen = options.parse_args(argv)
    if chosen.edge:
        sizes = [2] if chosen.short else sorted({16, chosen.channels})
        rows = [asyncio.run(edge_row(size, max(chosen.seconds, 16), is_short=chosen.short)) for size in sizes]
        return finish("predict-edge", argv, rows, chosen, scenario="predict")
    seconds, channels, repeat = (10, 2, 1) if chosen.short else (chosen.seconds, chosen.channels, chosen.repeat)
    plant = min((_run(seconds, channels) for _ in range(repeat)), key=lambda run: run.cpu_s)
    waves, odd, tools = plant.waves, plant.odd, plant.tools
    rows = [
        _cost("waveform", waves, seconds, channels),
        _cost("anomaly", odd, seconds, channels),
        _cost("tool", tools, seconds, channels),
        _delay(
            "waveform and anomaly: from a sample to its score, 99 %",
            plant.scores_ms,
            (waves.cpu_s + odd.cpu_s) / seconds,
            is_short=chosen.short,
        ),
        _delay(
            "waveform and tool: from a sample to what is known of the cut, 99 %",
            plant.tools_ms,
            (waves.cpu_s + tools.cpu_s) / seconds,
            is_short=chosen.short,
        ),
        _breaks(plant, channels, is_short=chosen.short),
    ]
    return finish("predict", argv, rows, chosen)


def _run(seconds: int, channels: int) -> _Plant:
    """All flows after so much time of the plant."""
    waves = _Stage("waveform", WAVEFORM, Input("acme/plant1/**:force"))
    odd = _Stage("anomaly", ANOMALY, Input("acme/plant1/**:force/rms", "kpi"))
    context = [Input(f"acme/plant1/**:{name}") for name in cuts.SAID]
    features = [Input(f"acme/plant1/**:force/{name}", "kpi") for name in cuts.LOADS]
    plant = _Plant(waves, odd, _Stage("tool", cuts.TOOL, *features, *context))
    breaks = cuts.breaks_of(channels, seconds)
    for first in range(0, seconds * cuts.RATE_HZ - cuts.BLOCK + 1, cuts.BLOCK):
        _round(plant, first, breaks)
    return plant


def _round(plant: _Plant, first: int, breaks: Mapping[int, int]) -> None:
    """One block of each channel, through all."""
    waves_s, odd_s, tools_s = plant.waves.cpu_s, plant.odd.cpu_s, plant.tools.cpu_s
    features = [_received(message) for message in plant.waves.take(_blocks(first, breaks))]
    plant.odd.take(features)
    said = plant.tools.take([*_context(first, len(breaks)), *features])
    waves_ms, filling_ms = (plant.waves.cpu_s - waves_s) * 1000, cuts.BLOCK_MS
    tools_ms = (plant.tools.cpu_s - tools_s) * 1000
    plant.scores_ms.append(filling_ms + waves_ms + (plant.odd.cpu_s - odd_s) * 1000)
    plant.tools_ms.append(filling_ms + waves_ms + tools_ms)
    for message in said:
        if "._alarm.tool.broken" in message.subject:
            channel = int(message.subject.split(".mill")[1].partition(".")[0])
            waited_ms = (first + cuts.BLOCK - breaks[channel]) * 1000 / cuts.RATE_HZ
            plant.breaks_ms.setdefault(channel, waited_ms + waves_ms + tools_ms)


def _blocks(first: int, breaks: Mapping[int, int]) -> list[Received]:
    """Noise about a tone while it cuts, the same in each run."""
    found = []
    numbers = np.arange(first, first + cuts.BLOCK, dtype=np.int64)
    times = cuts.START_NS + numbers * (1000 // cuts.RATE_HZ) * cuts.MS_NS
    for channel, broken in breaks.items():
        noise = np.random.default_rng(first * len(breaks) + channel).normal(size=cuts.BLOCK)
        block = Block(f"acme/plant1/mill{channel}:force", times, cuts.force(numbers, broken, noise))
        payload = encode_block(block, ingest_time_ns=int(times[-1]))
        found.append(Received(f"uns.v1.acme.plant1.mill{channel}._tag.force", payload, ARROW, 0, int(times[-1])))
    return found


def _context(first: int, channels: int) -> list[Received]:
    """What the controllers tell within this block."""
    told: list[tuple[str, Any, int]] = [(name, value, 0) for name, value in cuts.SETTINGS.items()] if first == 0 else []
    edges = [number for number in range(first, first + cuts.BLOCK) if number % cuts.PERIOD in (0, cuts.CUT)]
    told += [("cutting", number % cuts.PERIOD == 0, number) for number in edges]
    return [
        Received(
            f"uns.v1.acme.plant1.mill{channel}._tag.{name}",
            encode_sample(
                value, quality=GOOD, source_time_ns=cuts.START_NS + at * cuts.MS_NS, ingest_time_ns=cuts.START_NS
            ), None, 0, cuts.START_NS + at * cuts.MS_NS,
        )
        for name, value, at in told
        for channel in range(channels)
    ]  # fmt: skip


def _received(message: Message) -> Received:
    headers = VERSION_LINE + b"\r\n" + encode_header_lines(message.headers) + b"\r\n"
    return Received(message.subject, message.payload, headers, 0, cuts.START_NS)


def _cost(name: str, stage: _Stage, seconds: int, channels: int) -> Row:
    cores = stage.cpu_s / seconds
    return Row(
        f"{name}: {channels} channels at 1 kHz", f"{cores:.2f} cores", note=f"{stage.count / seconds:,.0f} outputs/s",
        result_hash=digest(stage.digests), details={"cores": cores, "outputs": stage.count},
    )  # fmt: skip


def _delay(measure: str, delays_ms: Sequence[float], cores: float, *, is_short: bool) -> Row:
    ordered = sorted(delays_ms)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    is_met = is_short or (p99 <= cuts.DELAY_MS_MAX and cores <= CORES_MAX)
    note = f"the block fills for {cuts.BLOCK_MS} ms, the rest is time of the processor; {cores:.2f} cores"
    return Row(
        measure, f"{p99:.0f} ms", f"at most {cuts.DELAY_MS_MAX:g} ms on one core", None,
        is_met, note, digest([len(delays_ms)]), {"p99_ms": p99, "p50_ms": p50, "cores": cores},
    )  # fmt: skip


def _breaks(plant: _Plant, channels: int, *, is_short: bool) -> Row:
    ordered = sorted(plant.breaks_ms.values())
    worst = ordered[-1] if ordered else float("inf")
    is_met = len(ordered) == channels and (is_short or worst <= cuts.DELAY_MS_MAX)
    return Row(
        "tool: from the sample of a break to its alarm, the slowest", f"{worst:.0f} ms",
        f"at most {cuts.DELAY_MS_MAX:g} ms", None, is_met,
        f"{len(ordered)} of {channels} breaks told", digest(sorted(plant.breaks_ms)),
        {"worst_ms": worst, "p50_ms": ordered[len(ordered) // 2] if ordered else None, "found": len(ordered)},
    )  # fmt: skip
