"""Features of waveforms against waves whose features are known, and windows that are cut."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from millstream.flow import Flow, Input, Kills, drive
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import ConfigError
from millstream.model import Block
from millstream.protocols.uns_payload import ARROW_TYPE, decode_sample, encode_block, encode_sample
from millstream.protocols.uns_subject import decode_subject
from millstream.sdk import Received

BASE_NS = 1_767_225_600_000_000_000
MS_NS = 10**6
SUBJECT = "uns.v1.acme._tag.vibration"
ARROW = b"NATS/1.0\r\nContent-Type: " + ARROW_TYPE.encode() + b"\r\n\r\n"


def flow(**config: Any) -> Flow[Any]:
    """At 1 kHz."""
    return FLOW_TYPES["waveform"].make("f", [Input("acme:vibration")], {"rate_hz": 1000, **config})


def samples(values: Sequence[float], times_ms: Sequence[float] | None = None) -> list[Received]:
    """One message each."""
    times = times_ms if times_ms is not None else range(len(values))
    return [
        Received(
            SUBJECT,
            encode_sample(value, quality=0, source_time_ns=BASE_NS + round(at * MS_NS), ingest_time_ns=0), None, n, 0,
        )
        for n, (value, at) in enumerate(zip(values, times, strict=True), 1)
    ]  # fmt: skip


def blocks(values: Sequence[float], size: int) -> list[Received]:
    """Many in one message."""
    found = []
    for n, start in enumerate(range(0, len(values), size), 1):
        part = np.array(values[start : start + size])
        times = BASE_NS + np.arange(start, start + len(part), dtype=np.int64) * MS_NS
        found.append(
            Received(
                SUBJECT,
                encode_block(Block("acme:vibration", times, part), ingest_time_ns=0),
                ARROW,
                n,
                0,
            )
        )
    return found


def features(made: Flow[Any], items: Sequence[Received]) -> list[tuple[str, float]]:
    """What comes out, by the end of the name."""
    outcome = drive(made, items)
    assert outcome.rejected == []
    return [
        ("/".join(decode_subject(m.subject).names[1:]), decode_sample(m.payload).value)
        for m in outcome.messages
        if "._kpi." in m.subject
    ]


def test_a_sine_has_the_features_of_the_textbook() -> None:
    wave = [5 + 3 * math.sin(2 * math.pi * 50 * n / 1000) for n in range(1000)]
    wanted = ["mean", "rms", "peak", "peak_to_peak", "crest_factor", "kurtosis", "skewness"]
    found = dict(features(flow(features=wanted), samples(wave)))
    assert found == pytest.approx(
        {
            "mean": 5, "rms": 3 / math.sqrt(2), "peak": 3, "peak_to_peak": 6, "crest_factor": math.sqrt(2),
            "kurtosis": 1.5, "skewness": 0,
        },
        abs=1e-6,
    )  # fmt: skip


def test_noise_has_a_kurtosis_of_three_and_shocks_raise_it() -> None:
    rng = random.Random(1)
    noise = [rng.gauss(0, 1) for _ in range(10_000)]
    [(_, calm)] = features(flow(features=["kurtosis"], window="10s"), samples(noise))
    shocks = [value + (15 if n % 500 == 0 else 0) for n, value in enumerate(noise)]
    [(_, hard)] = features(flow(features=["kurtosis"], window="10s"), samples(shocks))
    assert calm == pytest.approx(3, abs=0.2)
    assert hard > 2 * calm


def test_each_band_holds_the_tone_that_lies_in_it() -> None:
    wave = [
        2 * math.sin(2 * math.pi * 60 * n / 1000) + 0.5 * math.sin(2 * math.pi * 240 * n / 1000) for n in range(1000)
    ]
    bands = {"low": (40, 80), "middle": (80, 200), "high": (200, 300)}
    config = {name: {"low_hz": low, "high_hz": high} for name, (low, high) in bands.items()}
    found = dict(features(flow(features=[], bands=config), samples(wave)))
    assert found == pytest.approx(
        {"band/low": 2 / math.sqrt(2), "band/middle": 0, "band/high": 0.5 / math.sqrt(2)}, abs=1e-3
    )


def test_the_envelope_shows_how_a_carrier_is_modulated() -> None:
    wave = [
        (2 + math.sin(2 * math.pi * 7 * n / 1000)) * math.sin(2 * math.pi * 250 * n / 1000)
        + 4 * math.sin(2 * math.pi * 20 * n / 1000)
        for n in range(4000)
    ]
    found = dict(
        features(flow(features=[], window="4s", envelope={"low_hz": 200, "high_hz": 300}), samples(wave))
    )  # fmt: skip
    assert found["envelope/mean"] == pytest.approx(2, rel=0.02)
    assert found["envelope/rms"] == pytest.approx(1 / math.sqrt(2), rel=0.02)


def test_what_has_no_value_is_not_given() -> None:
    found = dict(features(flow(), samples([0.1] * 1000)))
    assert found == {"rms": 0, "peak": 0}


def test_a_window_is_the_same_however_it_is_sent_and_wherever_it_is_killed() -> None:
    rng = random.Random(2)
    wave = [rng.gauss(0, 1) for _ in range(1024)]
    made = flow(window="128ms", bands={"low": {"low_hz": 0, "high_hz": 100}}, envelope={"low_hz": 100, "high_hz": 200})
    plain = features(made, samples(wave))
    assert len(plain) == 8 * 8
    assert features(made, blocks(wave, 100)) == plain
    items = blocks(wave, 50)
    torn = Kills({n: n % 5 for n in range(0, len(items), 3)})
    assert drive(made, items, unit_items=4, kills=torn).said() == drive(made, items).said()


def test_times_that_are_not_even_give_no_result_and_are_told_once() -> None:
    wave = [float(n % 7) for n in range(128)]
    gap = [n + (5 if n >= 40 else 0) + (9 if n >= 50 else 0) for n in range(128)]
    outcome = drive(flow(window="64ms", features=["rms"]), samples(wave, gap))
    told = [m for m in outcome.messages if "._event." in m.subject]
    assert len(told) == 1
    assert b'"lost":40' in told[0].payload
    assert b"uneven" in told[0].payload
    given = [decode_sample(m.payload).time_ns for m in outcome.messages if "._kpi." in m.subject]
    assert given == [BASE_NS + gap[113] * MS_NS]


def test_a_clock_that_is_set_back_begins_a_new_window_and_jitter_does_not() -> None:
    wave = [float(n % 7) for n in range(96)]
    made = flow(window="32ms", features=["rms"])
    assert len(features(made, samples(wave, [n + (0.3 if n % 2 else 0) for n in range(96)]))) == 3
    assert len(features(made, samples(wave, [n - (1000 if n >= 40 else 0) for n in range(96)]))) == 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"window": "1ms"}, "32 to 16384"),
        ({"window": "1min"}, "32 to 16384"),
        ({"bands": {"x": {"low_hz": 10, "high_hz": 600}}}, "half of rate_hz"),
        ({"bands": {"x": {"low_hz": 10, "high_hz": 10}}}, "low_hz is below"),
        ({"bands": {"x/y": {"low_hz": 10, "high_hz": 20}}}, "not a name of a band"),
        ({"bands": {"x": {"low_hz": 10.2, "high_hz": 10.4}}}, "narrower"),
        ({"envelope": {"low_hz": 0, "high_hz": 100}}, "between 0 and half"),
        ({"features": []}, "nothing is asked for"),
        ({"output": "waves"}, "contains {name}"),
    ],
)
def test_what_cannot_be_worked_out_is_refused(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        flow(**config)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    with pytest.raises(ConfigError, match="scipy") as caught:
        flow()
    assert caught.value.code == "MS-0106"
    assert "millstream[predict]" in str(caught.value)
