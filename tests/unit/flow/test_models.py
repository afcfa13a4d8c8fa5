"""Models: what their card says, how a flow scores with them, what it does not know, and how they are trained."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from millstream.cli import main
from millstream.cli._model import _from_history
from millstream.client import kind_of
from millstream.config import load_edge
from millstream.flow import (
    Flow,
    Input,
    Scorer,
    Training,
    TrainingRows,
    build_flow,
    drive,
    read_card,
    read_spec,
    scored_flow,
    train,
    verify,
    with_ticks,
)
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import ConfigError
from millstream.protocols.module import module_digest
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received
from millstream.shop import counts_of, edges_of, stability_index

MODEL = Path(__file__).resolve().parents[2] / "data" / "model" / "forest.onnx"
BASE_NS = 1_767_225_600_000_000_000
SECOND_NS = 10**9
BAD = 0x80000000
NAMES = {"level": "level", "heat": "heat"}
needs_runtime = pytest.mark.needs("onnxruntime")
needs_training = pytest.mark.needs("sklearn", "onnx")


def flow(**config: Any) -> Flow[Any]:
    """Of the model that is kept, whose rows hold ten seconds."""
    given = {"names": NAMES, **config}
    return scored_flow(MODEL.read_bytes(), "m", (Input("acme:*"),), given, "sha256:0")


def samples(rows: Sequence[tuple[float, str, Any, int]]) -> list[Received]:
    """Second, tag, value, quality."""
    return [
        Received(
            f"uns.v1.acme._tag.{name}",
            encode_sample(
                value, quality=quality, source_time_ns=BASE_NS + round(at * SECOND_NS), ingest_time_ns=BASE_NS
            ),
            None, number, BASE_NS + round(at * SECOND_NS),
        )
        for number, (at, name, value, quality) in enumerate(rows, 1)
    ]  # fmt: skip


def usual(count: int, heat: float = 0.0, seed: int = 5) -> list[tuple[float, str, Any, int]]:
    """Rows like those it was trained on, one each ten seconds; `heat` on top."""
    rng, found = random.Random(seed), list[tuple[float, str, Any, int]]()
    for number in range(count):
        level = 10 + 2 * math.sin(number / 40) + rng.gauss(0, 0.3)
        found.append((number * 10 + 2, "level", level, 0))
        found.append((number * 10 + 3, "heat", 20 + 3 * level + heat + rng.gauss(0, 0.5), 0))
    return found


def said(made: Flow[Any], rows: Sequence[tuple[float, str, Any, int]]) -> list[tuple[str, Any]]:
    """What it says: the last name of the path with the value, or the type's last word with the data."""
    found: list[tuple[str, Any]] = []
    for message in drive(made, with_ticks(made, samples(rows))).messages:
        kind = next((value for name, value in message.headers if name.lower() == "ce-type"), None)
        data = msgspec.json.decode(message.payload)
        name = kind.rpartition(".")[2] if kind else message.subject.rpartition("._kpi.")[2]
        found.append((name, data if kind else data["value"]))
    return found


@needs_runtime
def test_a_card_says_what_a_model_was_trained_on() -> None:
    card = Scorer(MODEL.read_bytes(), "m").card
    assert (card.name, card.version, [each.name for each in card.inputs]) == ("spindle", 3, ["level", "heat"])
    assert card.lineage.rows == 1000
    assert card.lineage.digest.startswith("sha256:")
    assert sum(card.inputs[0].counts) == 800
    assert kind_of("spindle.onnx", 1000) == "onnx"


@needs_runtime
def test_rows_are_scored_at_their_end_and_an_odd_one_raises_an_alarm() -> None:
    found = said(flow(), [*usual(5), (52, "level", 10.0, 0), (53, "heat", 90.0, 0), (63, "level", 10.0, 0)])
    scores = [value for name, value in found if name == "model.score"]
    assert len(scores) == 6
    assert max(scores[:5]) < 0.63883 <= scores[5]
    [raised] = [data for name, data in found if name == "raised"]
    assert (raised["of"], raised["limit"], raised["since"]) == ("spindle", 0.63883, "2026-01-01T00:01:00Z")


@needs_runtime
def test_a_row_holds_the_means_of_its_window() -> None:
    one = said(flow(), [(1, "level", 9.0, 0), (2, "level", 11.0, 0), (3, "heat", 50.0, 0), (12, "heat", 1.0, 0)])
    assert one[0] == ("model.score", Scorer(MODEL.read_bytes(), "m").scores([[10.0, 50.0]])[0])


@needs_runtime
def test_without_all_inputs_it_says_once_that_it_does_not_know() -> None:
    rows = [*usual(1), (12, "level", 10.0, 0), (22, "level", 10.0, 0), (31, "level", 10.0, 0), (32, "heat", None, BAD)]
    found = said(flow(), [*rows, (41, "level", 10.0, 0), (42, "heat", 50.0, 0), (51, "heat", 50.0, 0)])
    assert [(name, data["why"]) if name == "unknown" else name for name, data in found] == [
        "model.score", ("unknown", "heat was missing"), ("unknown", "heat was bad"), "model.score",
    ]  # fmt: skip
    assert found[1][1]["model"] == "spindle"


@needs_runtime
def test_inputs_that_are_spread_otherwise_are_told_as_drift() -> None:
    same = said(flow(drift_rows=250), usual(251))
    assert [name for name, _ in same if name.endswith("drift")] == ["model.level.drift", "model.heat.drift"]
    assert all(value < 0.25 for name, value in same if name.endswith(".drift"))
    other = said(flow(drift_rows=250), usual(251, heat=3.0))
    [drift] = [data for name, data in other if name == "drift"]
    assert drift["drifted"] == ["heat"]
    assert drift["index"]["heat"] > 0.25 > drift["index"]["level"]


@needs_runtime
def test_it_says_the_same_wherever_it_is_killed() -> None:
    rows = [*usual(20), (205, "level", 10.0, 0), (206, "heat", 95.0, 0), (222, "level", None, BAD), *usual(30)[46:]]
    items = with_ticks(flow(), samples(rows))
    outcome, problems = verify(lambda: flow(drift_rows=50), items)
    assert problems == []
    assert len(outcome.messages) > 20


@needs_runtime
def test_a_section_names_the_file_and_is_checked(tmp_path: Path) -> None:
    section = {"name": "m", "type": "model", "inputs": ["acme/**"], "module": MODEL.name, "config": {"names": NAMES}}
    made = build_flow(read_spec(section), MODEL.parent)
    assert made.outputs == ("alarm", "event", "kpi")
    file = tmp_path / "edge.yaml"
    text = f"edge: {{name: e1, path: acme, data_dir: d}}\nflows: [{json.dumps({**section, 'module': str(MODEL)})}]\n"
    file.write_text(text, encoding="utf-8")
    assert load_edge(file, {}, FLOW_TYPES)[1] == []
    file.write_text(text.replace('"heat": "heat"', '"cold": "cold"'), encoding="utf-8")
    _, [finding] = load_edge(file, {}, FLOW_TYPES)
    assert "the names are not the inputs of the model, expected heat, level, got cold, level" in finding.message


@needs_runtime
@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"no model", "not a model"), (b"", "not a model"), (MODEL.read_bytes()[:20_000], "not a model")],
)
def test_what_is_no_model_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        Scorer(data, "m")
    assert caught.value.code == "MS-0716"


@needs_runtime
def test_a_model_that_is_not_what_its_card_says_is_refused() -> None:
    data = MODEL.read_bytes()
    other = data.replace(b'"output":"score"', b'"output":"scorf"')
    assert other != data
    with pytest.raises(ConfigError, match="not what its card says"):
        Scorer(other, "m")
    with pytest.raises(ConfigError, match="says nothing of itself"):
        Scorer(data.replace(b"\x0a\x0amillstream", b"\x0a\x0amillstroom"), "m")


@pytest.mark.parametrize("raw", ["", "{}", "[]", '{"format": 2}'])
def test_a_card_that_is_none_is_refused(raw: str) -> None:
    with pytest.raises(ConfigError, match="card is none"):
        read_card(raw, "m")


def test_the_stability_index_is_nought_for_the_same_spread_and_large_for_another() -> None:
    rng = random.Random(1)
    was = [rng.gauss(0, 1) for _ in range(2000)]
    edges = edges_of(was)
    expected = counts_of(was, edges)
    assert stability_index(expected, expected) == 0
    assert stability_index(expected, counts_of([rng.gauss(0, 1) for _ in range(2000)], edges)) < 0.1
    assert stability_index(expected, counts_of([rng.gauss(1, 1) for _ in range(2000)], edges)) > 0.25
    assert edges_of([1.0] * 50) == [1.0]
    # Two bins of 50 and 50 that become 80 and 20, by hand: 0.297 * ln(80.5 / 50.5) + -0.297 * ln(20.5 / 50.5)
    assert stability_index([50, 50], [80, 20]) == pytest.approx(0.4063, abs=2e-4)


def given_rows(count: int, seed: int = 1) -> TrainingRows:
    """Two numbers that depend on each other."""
    rng = random.Random(seed)
    rows = [[level := rng.gauss(10, 1), 3 * level + rng.gauss(0, 0.1)] for _ in range(count)]
    return TrainingRows(["a", "b"], [BASE_NS + n * SECOND_NS for n in range(count)], rows, SECOND_NS, "test")


@needs_runtime
@needs_training
def test_a_trained_model_scores_as_the_library_it_was_trained_with() -> None:
    from sklearn.ensemble import IsolationForest

    given, asked = given_rows(500), Training("m", 1, 0.01, 7, BASE_NS, trees=20)
    data, card = train(given, asked)
    rows = np.array(given.rows[:400], dtype="float32")
    forest = IsolationForest(n_estimators=20, max_samples=256, random_state=7).fit(rows)
    odd = [*given.rows, [10.0, 60.0], [0.0, 0.0]]
    assert Scorer(data, "m").scores(odd) == pytest.approx(-forest.score_samples(np.array(odd, "float32")), abs=1e-5)
    assert card.held_out_rows == 100
    assert card.above_share < 0.1
    assert module_digest(train(given, asked)[0]) == module_digest(data)
    assert train(given_rows(500, seed=2), asked)[1].lineage.digest != card.lineage.digest


@needs_runtime
@needs_training
def test_a_model_is_trained_shown_and_tried_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f"2026-01-01T00:{n // 60:02}:{n % 60:02},{10 + n % 7},{30 + 2 * (n % 7)}" for n in range(400)]
    rows.write_text("\n".join(["time,level,heat", *lines]), encoding="utf-8")
    file = tmp_path / "mill.onnx"
    words = ["--input", "level", "--input", "heat", "--every", "1s", "--data", str(rows), "--json"]
    assert main(["model", "train", str(file), *words]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert (trained["name"], trained["lineage"]["rows"]) == ("mill", 400)
    assert trained["digest"] == module_digest(file.read_bytes())
    assert main(["model", "show", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained
    assert main(["model", "score", str(file), str(rows), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drift"]["level"] < 0.25


def test_too_few_rows_and_wrong_inputs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("time,level\n2026-01-01T00:00:00,1\n", encoding="utf-8")
    begin = ["model", "train", str(tmp_path / "m.onnx"), "--every", "1s"]
    for words, expected in (
        (["--input", "level", "--data", str(rows)], "MS-0717"),
        (["--input", "heat", "--data", str(rows)], "a column is missing"),
        (["--input", "level"], "not an input"),
        (["--input", "level", "--data", str(rows), "--false-share", "2"], "not a share"),
    ):
        assert main([*begin, *words]) != 0
        assert expected in capsys.readouterr().err


class History:
    """As much of a plant as training asks for."""

    node = SimpleNamespace(name="hub1")
    is_cut = False

    async def ledger(self) -> Any:
        """One publisher."""
        row = SimpleNamespace(place="acme/plant1", node="e1", publisher="tags", total_messages=17)
        return SimpleNamespace(rows=[row])

    async def history(self, paths: list[str], start: str, end: str, **asked: Any) -> pa.Table:
        """Three windows; of the second one input has none."""
        assert (start, end, asked["aggregate"], asked["quality"], asked["kind"]) == (
            "-1h",
            "now",
            "mean",
            "good",
            "kpi",
        )
        times = pa.array([0, 1_000_000, 2_000_000, 0, 2_000_000], type=pa.timestamp("us", "UTC"))
        tags = [paths[0]] * 3 + [paths[1]] * 2
        return pa.table({"tag": tags, "timestamp": times, "mean": [1.0, 2.0, 3.0, 10.0, 30.0]}).replace_schema_metadata(
            {"truncated": "true"} if self.is_cut else {}
        )


def test_rows_of_the_history_hold_all_inputs_and_say_where_they_are_from() -> None:
    query = {"start": "-1h", "end": "now", "kind": "kpi"}
    plant: Any = History()
    rows = asyncio.run(_from_history(plant, {"a": "acme:a", "b": "acme:b"}, SECOND_NS, query))
    assert (rows.names, rows.rows) == (["a", "b"], [[1.0, 10.0], [3.0, 30.0]])
    assert rows.times_ns == [0, 2 * SECOND_NS]
    assert rows.source == "history of hub1"
    assert rows.positions == {"acme/plant1 e1/tags": 17}
    assert rows.query["tags"] == ["acme:a", "acme:b"]
    plant.is_cut = True
    with pytest.raises(ConfigError, match="more rows than one answer holds"):
        asyncio.run(_from_history(plant, {"a": "acme:a", "b": "acme:b"}, SECOND_NS, query))
