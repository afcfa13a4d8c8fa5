"""Training a model at the hub. The only place that loads scikit-learn and onnx.

The forest becomes one TreeEnsembleRegressor, whose leaves hold the length of the path to them. The usual converter
makes some operators of each tree instead, which takes some hundred times longer for a single row, as an edge scores it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from millstream.flow._model_card import CARD_KEY, Lineage, ModelCard, ModelInput
from millstream.kernel import ConfigError, needs_extra
from millstream.protocols.cloudevents import format_time
from millstream.shop import counts_of, edges_of

ROWS_MIN = 200
TREES, SAMPLES = 100, 256  # as in the paper of the method
HELD_OUT_SHARE = 0.2  # the newest rows, which it is not trained on
OPSET, OPSET_ML, IR_VERSION = 17, 3, 8
OUTPUT = "score"
EULER_GAMMA = 0.5772156649015329


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows in the order of their times (UTC ns), each with a value for each name. `source`, `query` and `positions` are
    told in the card."""

    names: Sequence[str]
    times_ns: Sequence[int]
    rows: Sequence[Sequence[float]]
    every_ns: int
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Training:
    """What is asked of it: the model's name and version, which share of usual rows may be told as unusual, the seed,
    the time (UTC ns) and how many trees."""

    name: str
    version: int
    false_share: float
    seed: int
    now_ns: int
    trees: int = TREES


def train(given: TrainingRows, asked: Training) -> tuple[bytes, ModelCard]:
    """An isolation forest (F. T. Liu, K. M. Ting and Z.-H. Zhou, "Isolation Forest", ICDM 2008) as an ONNX file with
    its card. The same rows and seed give the same trees. Raises ConfigError: MS-0717 for too few rows, MS-0106."""
    if len(given.rows) < ROWS_MIN:
        raise ConfigError(
            "too few rows to train a model", where=given.source, expected=f"at least {ROWS_MIN}",
            got=str(len(given.rows)), next_step="take a longer time, or shorter rows with --every", code="MS-0717",
        )  # fmt: skip
    with needs_extra("training a model", "training"):
        import numpy as np
        import onnx
        import sklearn
        from sklearn.ensemble import IsolationForest
    whole = np.array(given.rows, dtype="<f8")
    taken = max(ROWS_MIN * 3 // 4, round(len(whole) * (1 - HELD_OUT_SHARE)))
    seen, held_out = whole[:taken].astype("float32"), whole[taken:].astype("float32")
    forest = IsolationForest(n_estimators=asked.trees, max_samples=min(SAMPLES, taken), random_state=asked.seed)
    forest.fit(seen)
    threshold = float(np.quantile(-forest.score_samples(seen), 1 - asked.false_share))
    above = -forest.score_samples(held_out) >= threshold
    digest = hashlib.sha256(np.array(given.times_ns, dtype="<i8").tobytes() + whole.tobytes()).hexdigest()
    columns = [whole[:taken, index].tolist() for index in range(len(given.names))]
    card = ModelCard(
        name=asked.name, version=asked.version, method="isolation forest", trained_at=format_time(asked.now_ns),
        inputs=[
            _input(name, given.tags.get(name, ""), column) for name, column in zip(given.names, columns, strict=True)
        ],
        every_ns=given.every_ns, output=OUTPUT,
        threshold=round(threshold, 6), held_out_rows=len(held_out), above_share=float(above.mean()),
        made_with={"scikit-learn": sklearn.__version__, "onnx": onnx.__version__},
        lineage=Lineage(
            source=given.source, query=dict(given.query), first=format_time(given.times_ns[0]),
            last=format_time(given.times_ns[-1]), rows=len(whole), digest=f"sha256:{digest}",
            positions=dict(given.positions),
        ),
    )  # fmt: skip
    made = _as_onnx(forest, len(given.names))
    entry = made.metadata_props.add()
    entry.key, entry.value = CARD_KEY, msgspec.json.encode(card).decode()
    data: bytes = made.SerializeToString()
    return data, card


def _input(name: str, tag: str, values: Sequence[float]) -> ModelInput:
    edges = edges_of(values)
    return ModelInput(
        name=name, tag=tag, low=min(values), high=max(values), edges=edges, counts=counts_of(values, edges)
    )


def _as_onnx(forest: Any, columns: int) -> Any:
    """The score 2^(-E(h) / c(psi)) of equation 2 in the paper."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    nodes = _nodes(forest)
    kinds = nodes.pop("nodes_modes")
    usual = len(forest.estimators_) * _path_length(forest.max_samples_)
    trees = helper.make_node(
        "TreeEnsembleRegressor", ["X"], ["paths"], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM",
        nodes_modes=kinds, **nodes,
    )  # fmt: skip
    graph = helper.make_graph(
        [
            trees,
            helper.make_node("Mul", ["paths", "per"], ["power"]),
            helper.make_node("Pow", ["two", "power"], [OUTPUT]),
        ],
        "isolation_forest",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        [
            numpy_helper.from_array(np.array(-1 / usual, dtype="float32"), "per"),
            numpy_helper.from_array(np.array(2, dtype="float32"), "two"),
        ],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_ML)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="millstream")


def _nodes(forest: Any) -> dict[str, Any]:
    """The attributes of the operator. A threshold is rounded down to float32, so that the same values lie below it."""
    import numpy as np

    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    found: dict[str, list[Any]] = {f"nodes_{name}": [] for name in names}
    found |= {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, estimator in enumerate(forest.estimators_):
        tree, depth = estimator.tree_, {0: 0}
        for node in range(tree.node_count):
            left, right = int(tree.children_left[node]), int(tree.children_right[node])
            is_leaf = left < 0
            limit = np.float32(tree.threshold[node])
            if float(limit) > tree.threshold[node]:
                limit = np.nextafter(limit, np.float32(-np.inf))
            row = (number, node, max(int(tree.feature[node]), 0), float(limit), "LEAF" if is_leaf else "BRANCH_LEQ",
                   max(left, 0), max(right, 0))  # fmt: skip
            for name, value in zip(names, row, strict=True):
                found[f"nodes_{name}"].append(value)
            if is_leaf:
                path = depth[node] + _path_length(int(tree.n_node_samples[node]))
                for name, value in zip(("treeids", "nodeids", "ids", "weights"), (number, node, 0, path), strict=True):
                    found[f"target_{name}"].append(value)
            else:
                depth[left] = depth[right] = depth[node] + 1
    return found


def _path_length(count: int) -> float:
    """Of an unsuccessful search among so many (equation 1): what a leaf with several rows still has below it."""
    if count <= 1:
        return 0.0
    return 1.0 if count == 2 else 2 * (math.log(count - 1) + EULER_GAMMA) - 2 * (count - 1) / count
