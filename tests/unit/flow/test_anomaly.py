"""Anomalies as a flow: when it begins to judge, what it tells of drift, what it refuses."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from millstream.flow import Flow, Input, drive
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import ConfigError
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received

BASE_NS = 1_767_225_600_000_000_000
SECOND_NS = 10**9


def flow(**config: Any) -> Flow[Any]:
    """Of one tag, which learns a hundred seconds."""
    whole = {"names": {"heat": "heat"}, "recent": 1, "learn": "100s", "memory": 200, **config}
    return FLOW_TYPES["anomaly"].make("f", [Input("acme:*")], whole)


def said(made: Flow[Any], values: list[float]) -> list[tuple[str, dict[str, Any]]]:
    """Events and alarms: the last word of the type, the data. A value a second."""
    items = [
        Received(
            "uns.v1.acme._tag.heat",
            encode_sample(value, quality=0, source_time_ns=BASE_NS + n * SECOND_NS, ingest_time_ns=0), None, n + 1, 0,
        )
        for n, value in enumerate(values)
    ]  # fmt: skip
    events = [message for message in drive(made, items).messages if "._kpi." not in message.subject]
    types = [next(value for name, value in m.headers if name.lower() == "ce-type") for m in events]
    data = [msgspec.json.decode(message.payload) for message in events]
    return [(kind.rpartition(".")[2], each) for kind, each in zip(types, data, strict=True)]


def kinds(made: Flow[Any], values: list[float]) -> list[str]:
    """The types only."""
    return [kind for kind, _ in said(made, values)]


def steady(count: int, about: float, seed: int = 1) -> list[float]:
    """Values between one below and one above."""
    rng = random.Random(seed)
    return [about + rng.uniform(-1, 1) for _ in range(count)]


def test_it_learns_for_its_time_and_for_enough_values() -> None:
    assert kinds(flow(), steady(100, 20)) == []
    assert kinds(flow(), steady(101, 20)) == ["learnt"]
    assert kinds(flow(learn="0s"), steady(29, 20)) == []
    assert kinds(flow(learn="0s"), steady(30, 20)) == ["learnt"]
    assert kinds(flow(learn="0s", recent=10), steady(299, 20)) == []


def test_a_lasting_change_is_an_alarm_and_then_drift_that_becomes_usual() -> None:
    """The drift is told until the new level is what was learnt; then it is quiet again."""
    found = said(flow(), [*steady(150, 20), *steady(1500, 30, 2)])
    assert [kind for kind, _ in found][:2] == ["learnt", "raised"]
    drifted = [data for kind, data in found if kind == "drift"]
    assert drifted[0]["was_mean"] == pytest.approx(20, abs=0.5)
    assert drifted[-1]["mean"] > 25
    later = kinds(flow(), [*steady(150, 20), *steady(3000, 30, 2)])
    assert later[: len(found)] == [kind for kind, _ in found]
    assert later.count("raised") == 1
    assert later[len(found) :].count("drift") <= 1


def test_usual_values_say_nothing_but_scores() -> None:
    assert kinds(flow(), steady(1000, 20)) == ["learnt"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"names": {f"n{i}": f"t{i}" for i in range(51)}}, "at most 50"),
        ({"output": "{name}/odd"}, "plain name"),
        ({"threshold": 0}, "greater than 0"),
        ({"memory": 5}, "greater than or equal to 100"),
    ],
)
def test_what_cannot_be_watched_is_refused(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        flow(**config)
