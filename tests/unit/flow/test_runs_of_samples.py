"""What a flow absorbs of a block at once: outputs, state and positions are those of single samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.flow import Emit, Event, Flow, FlowCore, Input, KeyStore, Kills, Run, SetTimer, TimePolicy, drive
from millstream.flow._codec import decode_facts
from millstream.flow.library import FLOW_TYPES
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample
from millstream.sdk import Received
from millstream.worker import StepWatchdog

BASE_NS, MS_NS = 1_767_225_600_000_000_000, 10**6
SUBJECT = "uns.v1.acme._tag.vibration"
ARROW = b"NATS/1.0\r\nContent-Type: " + ARROW_TYPE.encode() + b"\r\n\r\n"
UNCERTAIN, BAD = 0x40000000, 0x80000000
STEPS_MS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.3, 0.7, 0.0, -40.0, 5.0, 0.4, 1.7)
Sampled = tuple[float, float, int]  # value, ms since the one before, quality


@cache
def waves_flow() -> Flow[Any]:
    """A waveform's; made when it is first needed, for it imports SciPy."""
    return FLOW_TYPES["waveform"].make(
        "f", [Input("acme:vibration")], {"rate_hz": 1000, "window": "32ms", "features": ["mean", "rms"]}
    )


sampled = st.tuples(
    st.integers(-9, 9).map(float) | st.sampled_from((float("nan"), float("inf"))),
    st.sampled_from(STEPS_MS),
    st.sampled_from((0, 0, 0, 0, 0, 0, UNCERTAIN, BAD)),
)
calm = st.lists(st.integers(-9, 9).map(lambda value: (float(value), 1.0, 0)), max_size=80)


@st.composite
def waves(draw: st.DrawFn) -> tuple[list[Sampled], list[int]]:
    """Mostly calm samples with odd ones in between, and the sizes of the blocks that they come in."""
    parts = draw(st.lists(st.tuples(calm, st.lists(sampled, max_size=3)), min_size=1, max_size=5))
    found = [each for quiet, odd in parts for each in (*quiet, *odd)]
    return found, draw(st.lists(st.integers(1, 70), min_size=1, max_size=8))


def blocks(wave: Sequence[Sampled], sizes: Sequence[int]) -> list[Received]:
    """The samples in blocks of these sizes, again and again."""
    times = BASE_NS + np.cumsum([round(step * MS_NS) for _, step, _ in wave]).astype(np.int64)
    values, quality = np.array([each[0] for each in wave]), np.array([each[2] for each in wave], np.uint32)
    found: list[Received] = []
    at = 0
    while at < len(wave):
        size = sizes[len(found) % len(sizes)]
        part = slice(at, at + size)
        payload = encode_block(Block("acme:vibration", times[part], values[part], quality[part]), ingest_time_ns=0)
        found.append(Received(SUBJECT, payload, ARROW, len(found) + 1, 0))
        at += size
    return found


@settings(deadline=None, max_examples=60)
@given(waves(), st.integers(0, 3), st.integers(0, 4))
def test_a_waveform_in_blocks_says_what_its_samples_say_one_by_one(
    made: tuple[list[Sampled], list[int]], unit_items: int, torn: int
) -> None:
    """Blocks cut anywhere, with bad, uneven and backward samples, committed and killed anywhere."""
    wave, sizes = made
    one_by_one = replace(waves_flow(), absorb=None)
    items = blocks(wave, sizes)
    plain, at_once = drive(one_by_one, items), drive(waves_flow(), items, unit_items=unit_items)
    assert at_once.said() == plain.said()
    assert at_once.refused() == plain.refused()
    assert at_once.state_bytes == plain.state_bytes
    killed = drive(waves_flow(), items, unit_items=3, kills=Kills(dict.fromkeys(range(0, len(items), 2), torn)))
    assert killed.said() == plain.said()
    alone = drive(one_by_one, blocks(wave, [1]))
    assert [(m.subject, m.payload) for m in at_once.messages if "._kpi." in m.subject] == [
        (m.subject, m.payload) for m in alone.messages if "._kpi." in m.subject
    ]


def test_a_block_that_fills_units_is_taken_to_its_end() -> None:
    """400 windows of two outputs are more than a unit takes: it goes on behind the sample where it was full."""
    wave = [(float(n % 11), 1.0, 0) for n in range(400 * 32 + 7)]
    items = blocks(wave, [len(wave)])
    outcome = drive(waves_flow(), items)
    assert outcome.said() == drive(replace(waves_flow(), absorb=None), items).said()
    assert len(outcome.messages) == 800


class Sum(msgspec.Struct, array_like=True):
    """Of ten numbers."""

    total: float = 0.0
    count: int = 0


class Adder:
    """Sums of ten numbers; notes how many samples came alone, and which runs."""

    def __init__(self) -> None:
        self.alone = 0
        self.runs: list[int] = []

    def step(self, state: Sum, event: Event) -> tuple[Sum, Sequence[Any]]:
        """Says each sum, and what is late; a 7 sets a timer, and then the sum begins anew."""
        if event.is_timer:
            return Sum(), [Emit("acme:sum", state.total, event.time_ns)]
        self.alone += 1
        state.total, state.count = state.total + event.value, state.count + 1
        effects: list[Any] = [SetTimer("anew", event.time_ns + 3 * MS_NS)] if event.value == 7 else []
        if event.is_late:
            effects.append(Emit("acme:late", event.value, event.time_ns))
        if state.count < 10:
            return state, effects
        return Sum(), [*effects, Emit("acme:sum", state.total, event.time_ns)]

    def absorb(self, state: Sum, run: Run) -> int:
        """Up to the ninth, and no 7; fails at a 5 behind having changed the state."""
        count = min(len(run.values), 9 - state.count)
        sevens = np.flatnonzero(run.values[:count] == 7)
        count = int(sevens[0]) if len(sevens) else count
        state.total += float(run.values[:count].sum())
        state.count += count
        if 5 in run.values[:count]:
            raise ValueError("a five")
        self.runs.append(count)
        return count

    def flow(self, **changes: Any) -> Flow[Sum]:
        """In the order of the stream."""
        flow = Flow("sums", (Input("acme:vibration"),), self.step, Sum, Sum, time=TimePolicy(idle_ns=None))
        return replace(flow, **{"absorb": self.absorb, **changes})


def said(adder: Adder, values: Sequence[float], *, is_run: bool = True, steps_ms: Sequence[float] = ()) -> list[Any]:
    """All that comes of two blocks."""
    steps = steps_ms or [1.0] * len(values)
    items = blocks([(value, step, 0) for value, step in zip(values, steps, strict=True)], [len(values) // 2])
    return drive(adder.flow() if is_run else adder.flow(absorb=None), items).said()


def test_a_block_whose_clock_is_a_month_ahead_ends_where_it_was_taken() -> None:
    times = BASE_NS + 30 * 86_400 * 10**9 + MS_NS * np.arange(3)
    for clock, first_ns in (("ahead", BASE_NS - 2 * MS_NS), (None, int(times[0]))):
        payload = encode_block(Block("acme:vibration", times, np.ones(3)), ingest_time_ns=BASE_NS, clock=clock)
        for is_run in (False, True):
            facts = decode_facts("tag", Received(SUBJECT, payload, ARROW, 1, BASE_NS), is_run=is_run)
            assert [fact.time_ns for fact in facts] == [first_ns + n * MS_NS for n in range(3)]


def test_samples_that_only_change_the_state_come_as_runs() -> None:
    adder = Adder()
    assert said(adder, [1.0] * 36) == said(Adder(), [1.0] * 36, is_run=False)
    assert (adder.runs, adder.alone) == ([9, 8, 1, 9, 6], 3), "each run is asked for once"


def test_a_key_with_timers_is_stepped_until_they_have_fired() -> None:
    values = [1.0, 7.0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    adder = Adder()
    assert said(adder, values) == said(Adder(), values, is_run=False)
    assert adder.alone < len(values)


def test_an_absorb_that_fails_has_changed_nothing() -> None:
    values = [1.0, 5.0, 2.0] * 7
    adder = Adder()
    assert said(adder, values) == said(Adder(), values, is_run=False)


def test_samples_that_go_back_in_time_are_stepped_as_late_ones() -> None:
    steps = [1.0, 1.0, 1.0, 1.0, -2.5, 1.0, 1.0, 1.0, -0.5, -5.0, 9.0, 1.0, -1.0, 1.0] * 3
    values = [float(n % 5) for n in range(len(steps))]
    found = said(Adder(), values, steps_ms=steps)
    assert found == said(Adder(), values, is_run=False, steps_ms=steps)
    assert any("late" in subject for subject, _, _ in found)


def test_a_flow_with_another_key_by_value_gets_each_sample() -> None:
    adder = Adder()
    drive(adder.flow(regroup=lambda event: f"k{event.value % 2:g}"), blocks([(1.0, 1.0, 0)] * 30, [30]))
    assert (adder.runs, adder.alone) == ([], 30)


def test_single_messages_and_their_counts_stay_as_they_were() -> None:
    adder = Adder()
    core: FlowCore[Sum] = FlowCore(adder.flow(), KeyStore(), created={"IN": "made"})
    core.begin()
    payload = encode_sample(1.0, quality=0, source_time_ns=BASE_NS, ingest_time_ns=0)
    core.feed("IN", Received(SUBJECT, payload, None, 1, 0))
    core.feed("IN", blocks([(1.0, 1.0, 0)] * 8, [8])[0]._replace(seq=2))
    assert (core.counts.events, core.counts.messages, adder.alone, adder.runs) == (9, 2, 1, [8])


def test_the_watchdog_lets_runs_through_and_looks_at_each_sample_behind_a_note(tmp_path: Path) -> None:
    """A process that ended in a step has left a note: then each sample is asked for by itself."""

    def guarded(adder: Adder) -> Flow[Any]:
        return StepWatchdog(1.0, 1 << 20, tmp_path, lambda: None).guard(adder.flow())

    calm, noted = Adder(), Adder()
    items = blocks([(1.0, 1.0, 0)] * 8, [8])
    drive(guarded(calm), items)
    (tmp_path / "stuck.txt").write_text("something\n")
    drive(guarded(noted), items)
    assert (calm.runs, calm.alone) == ([8], 0)
    assert (noted.runs, noted.alone) == ([], 8)
