"""The built-in flows against plain implementations: no part lost, no bound broken, no way out of an expression."""

from __future__ import annotations

import ast
import contextlib
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millstream.flow import Input, Kills, Tick, TimePolicy, drive
from millstream.flow._expression import Expression
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import ConfigError
from millstream.protocols.uns_payload import decode_sample, encode_sample
from millstream.sdk import Received

BASE = 1_767_225_600_000_000_000
SUBJECT = "uns.v1.acme._tag.x"
END = Tick(BASE + 10**18)
QUICK = settings(max_examples=80, deadline=None)


def run(
    kind: str, config: dict[str, Any], samples: list[tuple[int, Any]], *, lateness_ns: int = 0, restarts: bool = True
) -> list[tuple[int, Any]]:
    """(time less BASE, value) of what comes out for samples (ns after BASE, value) in this order, and then silence."""
    flow = FLOW_TYPES[kind].make("f", [Input("acme:x")], config, time=TimePolicy(lateness_ns=lateness_ns))
    items: list[Any] = [
        Received(SUBJECT, encode_sample(v, quality=0, source_time_ns=BASE + t, ingest_time_ns=0), None, n, 0)
        for n, (t, v) in enumerate(samples, 1)
    ]  # fmt: skip
    items.append(END)
    outcome = drive(flow, items)
    assert not outcome.rejected, outcome.rejected[0].detail
    if restarts:
        kills = Kills({i: i % 3 for i in range(0, len(items), 5)})
        assert drive(flow, items, unit_items=3, kills=kills).said() == outcome.said()
    records = [decode_sample(m.payload) for m in outcome.messages if "_event" not in m.subject]
    return [(record.time_ns - BASE, record.value) for record in records]


@QUICK
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.randoms(use_true_random=False), st.integers(0, 6))
def test_every_rising_edge_is_a_part_however_the_samples_are_mixed_up(
    levels: list[bool], rng: random.Random, reach: int
) -> None:
    samples: list[tuple[int, Any]] = [(t, level) for t, level in enumerate(levels)]
    mixed = sorted(samples, key=lambda s: s[0] + rng.random() * reach)  # nothing is more than `reach` late
    expected = sum(b and not a for a, b in pairwise(levels))
    got = run("part_counter", {}, mixed, lateness_ns=reach)
    assert [value for _, value in got] == list(range(expected + 1))


@QUICK
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=60), st.integers(1, 12))
def test_a_level_counts_when_it_has_held(changes: list[tuple[int, bool]], hold: int) -> None:
    at, samples = 0, []
    for step, level in changes:
        at += step
        samples.append((at, level))
    expected, level = 0, samples[0][1]
    runs: list[tuple[int, bool]] = []
    for t, new in samples:
        if not runs or runs[-1][1] != new:
            runs.append((t, new))
    for (start, new), (end, _) in zip(runs, [*runs[1:], (10**9, False)], strict=True):
        if new != level and end - start >= hold:
            level = new
            expected += level
    got = run("part_counter", {"hold": f"{hold}ns"}, samples)
    assert got[-1][1] == expected


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["", "", "", "restart"])), min_size=1, max_size=40),
    st.sampled_from([16, 32]), st.integers(-2000, 2000), st.booleans(),
)  # fmt: skip
def test_a_device_counter_is_followed_over_overflow_and_restart(
    steps: list[tuple[int, str]], bits: int, start: int, is_signed: bool
) -> None:
    span = 2**bits
    raw = start % span
    expected, samples = 0, [(0, raw)]
    for t, (made, what) in enumerate(steps, 1):
        if (
            what == "restart" and raw > made + 1 and span - raw + made > 1000
        ):  # else nobody can tell it from an overflow
            raw, expected = made, expected + made
        else:
            raw, expected = (raw + made) % span, expected + made
        samples.append((t, raw - span if is_signed and raw >= span // 2 else raw))
    got = run("part_counter", {"mode": "counter", "bits": bits, "max_step": 1000}, samples)
    assert got[-1][1] == expected


@example([(10**9, v) for v in (0, 1.5, 1.2, 0.9, 0)], 1.0, 200)  # a line that passes the newest but not the first
@example([(10**9, v) for v in (0, -1.5, -1.2, -0.9, 0)], 1.0, 200)
@QUICK
@given(
    st.lists(
        st.tuples(st.integers(1, 10**10), st.floats(-1e6, 1e6) | st.floats(-3, 3) | st.integers(-9, 9)),
        min_size=1,
        max_size=80,
    ),
    st.floats(1, 4) | st.floats(1e-3, 1e5), st.integers(1, 200),
)  # fmt: skip
def test_every_sample_lies_within_the_error_of_the_compressed_line(
    steps: list[tuple[int, float]], error: float, interval_s: int
) -> None:
    at, samples = 0, []
    for step, value in steps:
        at += step
        samples.append((at, value))
    kept = run("swinging_door", {"error": error, "max_interval": f"{interval_s}s"}, samples)
    assert kept == sorted(kept)
    assert set(kept) <= set(samples)
    assert (kept[0], kept[-1]) == (samples[0], samples[-1])
    slack = 1e-9 * max(1.0, *(abs(value) for _, value in samples))
    for at, value in samples:
        left = max(point for point in kept if point[0] <= at)
        right = min(point for point in kept if point[0] >= at)
        share = (at - left[0]) / (right[0] - left[0]) if right[0] > left[0] else 0.0
        assert abs(left[1] + (right[1] - left[1]) * share - value) <= error + slack


def test_a_straight_line_is_two_points() -> None:
    assert len(run("swinging_door", {"error": 0.1}, [(t * 10**9, t * 0.25) for t in range(500)])) == 2


@QUICK
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60), st.floats(0, 50))
def test_no_sample_is_farther_than_the_deadband_from_the_one_before_it_that_was_kept(
    values: list[float], bound: float
) -> None:
    kept = run("deadband", {"absolute": bound}, list(enumerate(values)))
    for at, value in enumerate(values):
        assert abs(max(point for point in kept if point[0] <= at)[1] - value) <= bound
    for (_, one), (_, other) in pairwise(kept):
        assert abs(one - other) > bound


@QUICK
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 5)), min_size=1, max_size=40))
def test_produced_in_each_window_adds_up_to_all_that_was_produced(steps: list[tuple[int, int]]) -> None:
    total, samples = 0, [(0, 0)]
    for at, made in sorted(steps):
        total += made
        samples.append((1 + at * 1_000_000, total))
    config = {"window": "100ms", "every": "100ms", "keep": "0s"}
    got = run("rate", config, samples)
    assert sum(value for _, value in got) == total
    increments = [(b[0], b[1] - a[1]) for a, b in pairwise(samples)]
    by_increment = run("rate", {**config, "of": "increment"}, increments)
    assert {at: v for at, v in by_increment if v} == {at: v for at, v in got if v}


@QUICK
@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from("abc")), min_size=1, max_size=40))
def test_each_business_key_passes_once_until_it_is_forgotten(arrivals: list[tuple[int, str]]) -> None:
    arrivals.sort()
    expected, known = [], {}
    for at, key in arrivals:
        if key not in known or at - known[key] >= 100:
            known[key] = at
            expected.append((at, key))
    assert run("dedup", {"forget_after": "100ns"}, arrivals) == expected


NAMES = ("a", "b", "execution")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "a.real", "a.__class__", "(lambda: 1)()", "[x for x in (1, 2)]", "open('f')", "a[0]",
        "f'{a}'", "a := 1", "abs(x=1)", "abs", "1 if", "c + 1", "a @ b", "a << 60", "~a", "'x' 'y'.upper()",
        "await a", "b'1'", "...", "1j", "a if b else yield", "", "(" * 250 + ")" * 250, "+".join("a" * 300),
        "a" * 2000,
    ],
)  # fmt: skip
def test_what_is_no_small_expression_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Expression(text, NAMES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a + b * 2", 7), ("a / 0", None), ("a % 0", None), ("10 ** 400", None), ("(-8) ** 0.5", None),
        ("sqrt(-a)", None), ("missing is known", ...), ("a < b < 4", True), ("a > b or b == 3", True),
        ('execution in ("READY", "ACTIVE")', True), ("not a", False), ("-a", -1), ("clamp(b, 0, 2)", 2),
        ("bit(b, 1)", True), ("bit(b, 64)", False), ("a if a > 5 else b", 3), ('execution == "READY"', False),
        ("round(b / 7, 2)", 0.43), ("max(a, b, 9)", 9), ("None", None),
    ],
)  # fmt: skip
def test_an_expression_means_what_it_means_in_python(text: str, value: Any) -> None:
    if value is ...:
        with pytest.raises(ConfigError):
            Expression(text, NAMES)
    else:
        assert Expression(text, NAMES)({"a": 1, "b": 3, "execution": "ACTIVE"}) == value


def test_a_missing_value_makes_arithmetic_none_and_comparisons_false() -> None:
    for text in ("a + 1", "-a", "abs(a)"):
        assert Expression(text, NAMES)({"a": None}) is None
    for text in ("a > 0", "a < 0", "a in (1, 2)", "0 < a < 2"):
        assert Expression(text, NAMES)({}) is False
    assert Expression("a == None", NAMES)({}) is True


@QUICK
@given(st.text(alphabet="ab01.+-*/%()<>=!, \"'notinelsf", max_size=40))
def test_an_expression_never_does_more_than_python_would(text: str) -> None:
    """Whatever is accepted gives what Python gives, or no value."""
    try:
        expression = Expression(text, ("a", "b"))
    except ConfigError:
        return
    names = {"a": 3, "b": 0.5, "abs": abs, "min": min, "max": max, "round": round}
    with contextlib.suppress(TypeError):
        got = expression({"a": 3, "b": 0.5})
        if got is not None and "**" not in text:
            tree = ast.Expression(ast.parse(text.strip(), mode="eval").body)
            assert got == eval(compile(tree, "expression", "eval"), {"__builtins__": {}}, names)
