"""Orders of a machine whose speed changes, against waves whose orders are known; envelopes that are struck so often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from millstream.flow import Event, Flow, Input
from millstream.flow._model import Emit, EmitEvent
from millstream.flow.library import FLOW_TYPES
from millstream.flow.library._features import Features, Limits
from millstream.kernel import ConfigError
from millstream.model import GOOD

BASE_NS = 1_767_225_600_000_000_000
FAN = "acme/fan"
ORDERS = {"unbalance": 1, "misalignment": 2, "meshing": 12.5}
Signal = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def flow(**config: Any) -> Flow[Any]:
    """At 1 kHz."""
    whole = {"signal": "vibration", "speed": "speed", "rate_hz": 1000, "window": "2s", "orders": ORDERS, **config}
    return FLOW_TYPES["orders"].make("f", [Input("acme/**")], whole)


def heard(
    signal: Signal, hz: Callable[[float], float], *, seconds: int = 4, speeds: tuple[float, float] = (0, 99)
) -> tuple[list[dict[str, float]], list[str]]:
    """Windows of orders, and the reasons for none. A speed ten times a second between `speeds`; `signal` takes angles
    in revolutions."""
    made = flow()
    state, figures, why = made.initial(), list[dict[str, float]](), list[str]()
    at_s = np.arange(seconds * 1000) / 1000
    speed = np.array([hz(at) for at in at_s])
    values = signal(np.concatenate(([0.0], np.cumsum((speed[1:] + speed[:-1]) / 2) / 1000)))
    for number, value in enumerate(values.tolist()):
        time_ns = BASE_NS + number * 1_000_000
        events = [Event(FAN, "tag", time_ns, value, GOOD, f"{FAN}:vibration", unit="mm/s")]
        if number % 100 == 0 and speeds[0] <= number / 1000 <= speeds[1]:
            events.insert(0, Event(FAN, "tag", time_ns, 60 * float(speed[number]), GOOD, f"{FAN}:speed", unit="rpm"))
        for event in events:
            state, effects = made.step(state, event)
            said = {e.path.rpartition("/")[2]: e.value for e in effects if isinstance(e, Emit)}
            figures += [said] if said else []
            why += [e.data["why"] for e in effects if isinstance(e, EmitEvent)]
        if number % 500 == 0:  # killed here, and gone on
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=made.state_type)
    return figures, why


def wave(angle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Amplitudes of 3, 1 and 0.5 at orders 1, 2 and 12.5, about a mean."""
    found: npt.NDArray[np.float64] = 5 + 3 * np.sin(2 * np.pi * angle) + np.sin(4 * np.pi * angle + 1)
    return found + 0.5 * np.sin(25 * np.pi * angle)


@pytest.mark.parametrize("hz", [lambda _: 10.0, lambda at: 8.0 + 2.5 * at, lambda at: 20 - 3 * at])
def test_orders_are_found_while_the_speed_changes(hz: Callable[[float], float]) -> None:
    figures, why = heard(wave, hz)
    assert why == []
    assert len(figures) == 2
    for window in figures:
        assert window["unbalance"] == pytest.approx(3 / np.sqrt(2), rel=0.02)
        assert window["misalignment"] == pytest.approx(1 / np.sqrt(2), rel=0.04)
        assert window["meshing"] == pytest.approx(0.5 / np.sqrt(2), rel=0.08)
    assert figures[0]["speed"] == pytest.approx((hz(0) + hz(2)) / 2, rel=0.01)


def test_what_does_not_turn_with_the_machine_is_at_no_order() -> None:
    """A hum of 50 Hz beside it, while the speed runs through 8 to 13 Hz: smeared over orders, little at each."""
    figures, _ = heard(wave, lambda at: 8 + 2.5 * at)
    hum, _ = heard(lambda a: wave(a) + np.sin(2 * np.pi * 50 * np.arange(len(a)) / 1000), lambda at: 8 + 2.5 * at)
    assert hum[0]["unbalance"] == pytest.approx(figures[0]["unbalance"], rel=0.02)


def test_without_a_speed_or_with_too_few_revolutions_nothing_is_known() -> None:
    figures, why = heard(wave, lambda _: 10.0, speeds=(99, 99))
    assert (figures, why) == ([], ["the speed is not known"])
    figures, why = heard(wave, lambda _: 10.0, seconds=8, speeds=(0, 2.5))
    assert (len(figures), why) == (2, ["the speed is not known"])
    figures, why = heard(wave, lambda _: 1.0)
    assert (figures, why) == ([], ["fewer than 4 revolutions in the window"])


def test_an_order_above_what_the_samples_show_is_left_out() -> None:
    figures, _ = heard(wave, lambda _: 40.0)
    assert "meshing" not in figures[0]
    assert "misalignment" in figures[0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"orders": {"a b": 1}}, "not a name of an order"),
        ({"orders": {"speed": 1}}, "not a name of an order"),
        ({"orders": {"a": 0}}, "between 0 and 1000"),
        ({"window": "10ms"}, "a window holds"),
        ({"speed": "vibration"}, "two tags"),
    ],
)
def test_what_cannot_be_followed_is_refused(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        flow(**config)


def test_how_often_a_resonance_is_struck_is_seen_in_the_spectrum_of_its_envelope() -> None:
    """A tone of 3 kHz whose size goes with 90 Hz, as a ball that passes a flaw: twice 0.5 at 90 Hz, and none at 60."""
    at_s = np.arange(8192) / 10_000
    values = (1 + 0.5 * np.sin(2 * np.pi * 90 * at_s)) * np.sin(2 * np.pi * 3000 * at_s)
    features = Features(
        (), {}, Limits(2500, 3500), rate_hz=10_000, size=8192,
        envelope_bands={"outer": Limits(80, 100), "inner": Limits(50, 70)},
    )  # fmt: skip
    found = features.of(values.astype("<f8").tobytes())
    assert found["envelope/band/outer"] == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
    assert found["envelope/band/inner"] < 0.01
    with pytest.raises(ConfigError, match="need an envelope"):
        FLOW_TYPES["waveform"].make(
            "f", [Input("a:b")], {"rate_hz": 1000, "envelope_bands": {"a": {"low_hz": 1, "high_hz": 9}}}
        )
